# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are shown without their secrets, whatever the line looks like."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._masking import mask_line, mask_pair

# No line of an env file may show any part of this.
SECRET = "Zq7hunter2Xv"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", ""),
        ("   ", "   "),
        ("TAG=v3", "TAG=(hidden)"),
        ("  TAG = v3  ", "  TAG =(hidden)"),
        ("TAG='v3'", "TAG=(hidden)"),
        ("export TAG=v3", "export TAG=(hidden)"),
        ("TAG: v3", "TAG: (hidden)"),
        ("- TAG=v3", "- TAG=(hidden)"),
        ('"TAG": "v3"', '"TAG": (hidden)'),
        ("a.b-c=v3", "a.b-c=(hidden)"),
        ("TAG=", "TAG="),
        ("TAG=  ", "TAG=  "),
        ("# the front door", "# (hidden)"),
        ("  #TAG=v3", "# (hidden)"),
        ("TAG", "(hidden)"),
        ("TAG:v3", "(hidden)"),
        ("the rest of a value", "(hidden)"),
        ("1=v3", "(hidden)"),
        ("postgres://u:p@h/d", "(hidden)"),
    ],
)
def test_every_value_of_an_env_file_is_hidden(line: str, shown: str) -> None:
    assert mask_line(line, every_value=True) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("image: registry:5000/backend:v3", "image: registry:5000/backend:v3"),
        ("  - 8080:80", "  - 8080:80"),
        ("services:", "services:"),
        ("secrets:", "secrets:"),
        ("# a remark", "# a remark"),
        ("worker_processes 4;", "worker_processes 4;"),
        ("proxy_pass http://backend:3000;", "proxy_pass http://backend:3000;"),
        ("LOG_LEVEL=debug", "LOG_LEVEL=debug"),
        ("POSTGRES_PASSWORD: abc", "POSTGRES_PASSWORD: (hidden)"),
        ("    db_pass = abc", "    db_pass =(hidden)"),
        ('  - "JWT_SECRET=abc"', '  - "JWT_SECRET=(hidden)'),
        ('"apiKey": "abc",', '"apiKey": (hidden)'),
        ("SESSION_SALT=abc", "SESSION_SALT=(hidden)"),
        ("SENTRY_DSN=https://abc@sentry.example/1", "SENTRY_DSN=(hidden)"),
        ("POSTGRES_PASSWORD:", "POSTGRES_PASSWORD:"),
        ("export DB_PASSWORD=abc", "export DB_PASSWORD=(hidden)"),
        ("#DB_PASSWORD=abc", "#DB_PASSWORD=(hidden)"),
        ("# the old password was: abc", "# the old password (hidden)"),
        ("environment: {A: 1, DB_PASS: abc}", "environment: {A: 1, DB_PASS: (hidden)"),
        ('{"n": 1, "token": "abc"}', '{"n": 1, "token": (hidden)'),
        ("command: redis-server --requirepass abc", "command: redis-server --requirepass (hidden)"),
        ('command: ["redis-server", "--requirepass", "abc"]', 'command: ["redis-server", "--requirepass", (hidden)'),
        ("command: app --password=abc -v", "command: app --password=(hidden)"),
        ("requirepass abc", "requirepass (hidden)"),
        ("<password>abc</password>", "<password>(hidden)"),
        ('proxy_set_header Authorization "Bearer abc";', "proxy_set_header Authorization (hidden)"),
        # Logins in addresses.
        ("url: postgres://u:abc@db:5432/x", "url: postgres://(hidden)@db:5432/x"),
        ("url: postgres://:abc@db/x", "url: postgres://(hidden)@db/x"),
        ("a http://u:abc@h/1 b amqp://v:abc@q/2", "a http://(hidden)@h/1 b amqp://(hidden)@q/2"),
        ("url: postgres://u:a/b@c@db/x", "url: postgres://(hidden)@db/x"),
        ("remote: https://ghp_abc@github.example/x.git", "remote: https://(hidden)@github.example/x.git"),
        ("url: http://h:8080/x?y=1", "url: http://h:8080/x?y=1"),
        ("mail: someone@example.com", "mail: someone@example.com"),
        ("image: r:5000/b@sha256:aa", "image: r:5000/b@sha256:aa"),
    ],
)
def test_elsewhere_what_sounds_like_a_secret_is_hidden(line: str, shown: str) -> None:
    assert mask_line(line, every_value=False) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"A={SECRET}",
        f"A = {SECRET}",
        f"export A={SECRET}",
        f"A: {SECRET}",
        f"A:{SECRET}",
        f"  - A={SECRET}",
        f"# A={SECRET}",
        f"#{SECRET}",
        f"A=1 # {SECRET}",
        f"A='{SECRET}",
        SECRET,
        f"postgres://u:{SECRET}@h/d",
        f'A="first\n{SECRET}=\nlast"',
        f'A="first\n# {SECRET}\nlast"\nB=2',
        f"A='first\nB={SECRET}\n{SECRET}'",
        f"A=-----BEGIN PRIVATE KEY-----\n{SECRET}=\n-----END PRIVATE KEY-----",
        f'A="-----BEGIN PRIVATE KEY-----\n{SECRET}=\n-----END PRIVATE KEY-----"\nB={SECRET}',
    ],
)
def test_no_line_of_an_env_file_shows_a_value(text: str) -> None:
    for pair in ((text, "A=1\n"), ("A=1\n", text), (text, text)):
        for shown in mask_pair(*pair, "env"):
            assert SECRET not in shown


@pytest.mark.parametrize("text", [SECRET, f"a={SECRET}", f"{SECRET}=", f"{SECRET}==\n", f"\n# {SECRET}\n"])
def test_nothing_of_a_secrets_file_is_shown(text: str) -> None:
    for shown in (*mask_pair(text, "x", "secret"), *mask_pair("x", text, "secret")):
        assert SECRET not in shown


@pytest.mark.parametrize("kind", ["compose", "configuration", "changed", "untracked"])
@pytest.mark.parametrize(
    "text",
    [
        f"tls_key: |\n  -----BEGIN PRIVATE KEY-----\n  {SECRET}\n\n  {SECRET}\nnext: 1",
        f"password: >-\n  {SECRET}\nnext: 1",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\nnext: 1",
        f"pem: -----BEGIN PRIVATE KEY----- {SECRET} -----END PRIVATE KEY-----\nnext: 1",
        f"password = '{SECRET}\n{SECRET}'\nnext: 1",
    ],
)
def test_secrets_of_several_lines(text: str, kind: str) -> None:
    shown, _after = mask_pair(text, "", kind)
    assert SECRET not in shown
    # What follows is shown again.
    assert shown.endswith("next: 1\n")


@pytest.mark.parametrize(
    ("before", "after", "kind", "shown"),
    [
        ("", "", "env", ("", "")),
        ("A=1\n", "A=1\n", "env", ("A=(hidden)\n", "A=(hidden)\n")),
        # Secrets of the same length, and yet told apart.
        ("A=aaaa\nB=1\n", "A=bbbb\nB=1\n", "env",
         ("A=(hidden, before)\nB=(hidden)\n", "A=(hidden, after)\nB=(hidden)\n")),
        ("A=1\n", "A=1\nB=2\n", "env", ("A=(hidden)\n", "A=(hidden)\nB=(hidden, after)\n")),
        ("A=1\nB=2\n", "B=2\nA=1\n", "env", ("A=(hidden)\nB=(hidden)\n", "B=(hidden)\nA=(hidden)\n")),
        ("A=\n", "A=1\n", "env", ("A=\n", "A=(hidden, after)\n")),
        ("", "A=1", "env", ("", "A=(hidden, after)\n")),
        ("# old\n", "# new\n", "env", ("# (hidden, before)\n", "# (hidden, after)\n")),
        ("tag: v3\npassword: a\n", "tag: v4\npassword: b\n", "compose",
         ("tag: v3\npassword: (hidden, before)\n", "tag: v4\npassword: (hidden, after)\n")),
        ("u: x://a:b@h\n", "u: x://a:c@h\n", "configuration",
         ("u: x://(hidden, before)@h\n", "u: x://(hidden, after)@h\n")),
        ("aaaa\n", "bbbb\n", "secret", ("(hidden, before)\n", "(hidden, after)\n")),
        ("aaaa\n", "aaaa\n", "secret", ("(hidden)\n", "(hidden)\n")),
        ("a: 1\r\n", "a: 2\r\n", "changed", ("a: 1\n", "a: 2\n")),
    ],
)  # fmt: skip
def test_two_versions(before: str, after: str, kind: str, shown: tuple[str, str]) -> None:
    assert mask_pair(before, after, kind) == shown
