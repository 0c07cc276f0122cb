# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets stay out of what people and files get to see."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a/x", "http://a/x"),
        ("http://user:pw@a:80/x", "http://a:80/x"),
        ("https://a/x?page=2&token=abc", "https://a/x?page=2&token=********"),
        ("https://a/x?q=a%20b", "https://a/x?q=a%20b"),
        ("http://[broken", "********"),
    ],
)
def test_addresses(url: str, shown: str) -> None:
    assert _redact.redact_url(url) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("all is well", "all is well"),
        ("connect postgres://schedgen:pa55word@db/x", "connect postgres://********@db/x"),
        ("DB_PASSWORD=abc other=1", "DB_PASSWORD=******** other=1"),
        ('{"token": "abc", "n": 1}', '{"token": ********, "n": 1}'),
        ("password: 'a b' c", "password: ******** c"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ********"),
        ("the key is known-secret!", "the key is ********!"),
        (["known-secret", 1, None], ["********", 1, None]),
        ({"password": "x", "n": {"api_key": "y", "m": "known-secret"}},
         {"password": "********", "n": {"api_key": "********", "m": "********"}}),
    ],
)  # fmt: skip
def test_values(value: Any, shown: Any) -> None:
    assert _redact.redact(value, ["known-secret"]) == shown


def test_a_short_secret_does_not_mask_every_sentence() -> None:
    assert _redact.redact("backend is down", ["is"]) == "backend is down"


def test_declared_checks() -> None:
    declared = {
        "checks": [{"type": "http", "url": "http://u:p@a/?key=1", "headers": {"X-Api-Key": "abc", "Host": "a"}}],
        "database": {"password_file": "/run/secrets/db"},
    }
    assert _redact.redact_declared(declared) == {
        "checks": [
            {"type": "http", "url": "http://a/?key=********", "headers": {"X-Api-Key": "********", "Host": "a"}}
        ],
        "database": {"password_file": "/run/secrets/db"},
    }
