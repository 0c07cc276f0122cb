# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to tell, what, whether it arrived, and what of it may be read: as tables."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _notice as notice
from ansible_collections.schedgen.rollback.plugins.module_utils._notice import Delivery, Target

HOOK = {
    "name": "team",
    "type": "webhook",
    "url": "https://u:sesame1@chat.example.org/services/T0/B0/swordfish?k=hidden99",
}
MAIL = {"name": "lead", "type": "email", "to": ["lead@example.org"], "password": "opensesame", "events": ["escalation"]}
PIPE = {"name": "pager", "type": "command", "argv": ["/usr/bin/page", "--key", "longsecretkey"], "events": ["failure"]}
NO_STATUS = "Status code was -1 and not [200]: "
EVERYBODY = [HOOK, MAIL, PIPE]
FIELDS = notice.message(
    "failure",
    {
        "application": "schedgen",
        "hosts": ["app1", "app2"],
        "happened": 'it says "no"',
        "impact": "users wait",
        "done": "nothing",
        "needed": "you",
        "report": "app1:/r.md",
        "reason": "v3 answers 500",
    },
)
TEXT = """\
[schedgen] Rollback FAILED on app1, app2
What happened: it says "no"
Impact: users wait
Done: nothing
Needed: you
Reason: v3 answers 500
Report: app1:/r.md"""


def target(declared: dict[str, Any]) -> Target:
    (found,) = notice.choose([declared], "failure", [declared["name"]])
    return found


@pytest.mark.parametrize(
    ("event", "names", "chosen"),
    [
        ("start", None, ["team"]),
        ("success", None, ["team"]),
        ("failure", None, ["team", "pager"]),
        # Nobody is woken by an escalation who has not asked for it, or stands on its level.
        ("escalation", None, ["lead"]),
        ("escalation", ["pager", "team"], ["team", "pager"]),
        ("escalation", [], ["lead"]),
    ],
)
def test_who_is_told(event: str, names: list[str] | None, chosen: list[str]) -> None:
    assert [item.name for item in notice.choose(EVERYBODY, event, names)] == chosen


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("http://x/", "must be a list of targets"),
        (["http://x/"], "must be a mapping"),
        ([{"type": "pigeon"}], "type must be one of webhook, email, command"),
        ([{"url": "http://x/"}], "type must be one of webhook, email, command"),
        ([{"type": "webhook"}], "url is missing"),
        ([{"type": "webhook", "url": "chat.example.org"}], "url must start with http:// or https://"),
        ([{"type": "email"}], "to is missing"),
        ([{"type": "command"}], "argv is missing"),
        (
            [{"type": "command", "argv": "page --now"}],
            "argv must be a list of words, the program first (there is no shell)",
        ),
        ([{**HOOK, "events": ["strat"]}], "events must be of start, success, failure, escalation"),
        ([{**HOOK, "timeout": "soon"}], "timeout must be a number of seconds"),
        (
            [{**PIPE, "events": ["start"], "shell": "x"}],
            "unknown option shell; command knows argv, body, chdir, events, name, timeout, type",
        ),
    ],
)
def test_a_mistake_is_kept_to_be_told(declared: Any, problem: str) -> None:
    (found,) = notice.choose(declared, "start")
    assert found.problem == problem


def test_a_name_that_nobody_has_is_told() -> None:
    (found,) = notice.choose(EVERYBODY, "escalation", ["nobody"])
    assert (found.name, found.problem) == ("nobody", "no target of this name is declared")


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ValueError, match="the event 'lunch' is none of start, success, failure, escalation"):
        notice.choose([], "lunch")


def test_the_message() -> None:
    assert FIELDS["text"] == TEXT
    assert notice.subject(FIELDS) == "[schedgen] Rollback FAILED on app1, app2"


def test_a_message_leaves_out_what_nobody_said() -> None:
    assert notice.message("start", {"application": "a", "title": "Soon"})["text"] == "[a] Soon"


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        (HOOK, {"text": TEXT}),
        (MAIL, TEXT + "\n"),
        (PIPE, TEXT + "\n"),
        (
            {**HOOK, "body": {"msg": "{event}: {text}", "n": 1, "l": ["{hosts}"]}},
            {"msg": f"failure: {TEXT}", "n": 1, "l": ["app1, app2"]},
        ),
        # Braces that name no field are the operator's own.
        ({**HOOK, "body": '{"a": {"b": "{application}"}, "c": "{x}"}'}, '{"a": {"b": "schedgen"}, "c": "{x}"}'),
        ({**PIPE, "body": "{title}"}, "Rollback FAILED"),
    ],
)
def test_the_body(declared: dict[str, Any], body: Any) -> None:
    assert notice.body(target(declared), FIELDS) == body


def test_what_is_filled_in_is_not_filled_again() -> None:
    fields = {**FIELDS, "happened": "{needed}"}
    assert notice.fill("{happened}", fields) == "{needed}"


def test_a_webhook_is_sent_by_uri() -> None:
    module, arguments = notice.call(target({**HOOK, "headers": {"X-Id": 1}, "timeout": 2}), FIELDS)
    assert module == "ansible.builtin.uri"
    assert arguments == {
        "url": HOOK["url"],
        "method": "POST",
        "body": {"text": TEXT},
        "body_format": "json",
        "headers": {"X-Id": "1"},
        "status_code": [200, 201, 202, 203, 204],
        "validate_certs": True,
        "timeout": 2,
        "follow_redirects": "none",
        "use_proxy": True,
    }


def test_an_own_text_is_sent_as_it_is() -> None:
    _module, arguments = notice.call(target({**HOOK, "body": "{title}", "ca_path": "/ca.pem", "method": "PUT"}), FIELDS)
    assert (arguments["body"], arguments["body_format"]) == ("Rollback FAILED", "raw")
    assert (arguments["ca_path"], arguments["method"]) == ("/ca.pem", "PUT")


def test_an_e_mail_is_sent_by_mail() -> None:
    module, arguments = notice.call(
        target({**MAIL, "host": "mx", "port": 25, "sender": "a@b", "subject": "{event}!"}), FIELDS
    )
    assert module == "community.general.mail"
    assert arguments == {
        "to": ["lead@example.org"],
        "sender": "a@b",
        "host": "mx",
        "port": 25,
        "password": "opensesame",
        "subject": "failure!",
        "body": TEXT + "\n",
        "timeout": 5,
    }


def test_a_command_reads_the_message() -> None:
    module, arguments = notice.call(target({**PIPE, "chdir": "/tmp"}), FIELDS)
    assert module == "ansible.builtin.command"
    assert arguments == {"argv": PIPE["argv"], "stdin": TEXT + "\n", "stdin_add_newline": False, "chdir": "/tmp"}
    assert not any("schedgen" in word for word in arguments["argv"])


@pytest.mark.parametrize(
    ("declared", "place"),
    [
        (HOOK, "https://chat.example.org"),
        (MAIL, "lead@example.org"),
        ({**MAIL, "to": "a@example.org"}, "a@example.org"),
        (PIPE, "page"),
        ({"name": "typo", "type": "webhook", "ulr": "x"}, ""),
        ({"name": "typo", "type": "email"}, ""),
        ({"name": "typo", "type": "command"}, ""),
    ],
)
def test_the_place_tells_no_secret(declared: dict[str, Any], place: str) -> None:
    assert notice.place(target(declared)) == place


@pytest.mark.parametrize(
    ("declared", "result", "reason"),
    [
        (
            HOOK,
            {"status": -1, "msg": NO_STATUS + "Request failed: <urlopen error [Errno 111] Connection refused>"},
            "Connection refused",
        ),
        (HOOK, {"status": -1, "msg": NO_STATUS + "Request failed: <urlopen error timed out>"}, "no answer within 5 s"),
        (
            HOOK,
            {"status": -1, "msg": NO_STATUS + "Connection failure: The read operation timed out"},
            "no answer within 5 s",
        ),
        (
            HOOK,
            {"status": 500, "msg": "Status code was 500 and not [200]: HTTP Error 500: Internal"},
            "it answered 500",
        ),
        (HOOK, {"msg": f"cannot reach {HOOK['url']}"}, "cannot reach ********"),
        (HOOK, {"msg": "no such path /services/T0/B0/swordfish"}, "no such path ********"),
        (HOOK, {"msg": "bad word swordfish, hidden99 or sesame1"}, "bad word ********, ******** or ********"),
        ({**HOOK, "headers": {"X-Auth": "Bearer topsecret1"}}, {"msg": "topsecret1 is wrong"}, "******** is wrong"),
        (MAIL, {"msg": "Initiate connection\nfailed: opensesame"}, "Initiate connection failed: ********"),
        (
            PIPE,
            {"rc": 3, "stderr": "trace\nno route for longsecretkey\n"},
            "it ended with code 3: no route for ********",
        ),
        (
            {**PIPE, "argv": ["sh", "-c", "curl 'https://a/?key=longsecretkey'"]},
            {"rc": 3, "stderr": "bad key: longsecretkey"},
            "it ended with code 3: bad key: ********",
        ),
        (PIPE, {"rc": 3}, "it ended with code 3"),
        (PIPE, {"rc": 124}, "no answer within 5 s"),
        (
            PIPE,
            {"msg": "[Errno 2] No such file or directory: b'/usr/bin/page'"},
            "[Errno 2] No such file or directory: b'/usr/bin/page'",
        ),
        (PIPE, {}, "no reason was given"),
    ],
)
def test_why_nobody_was_told(declared: dict[str, Any], result: dict[str, Any], reason: str) -> None:
    receiver = target(declared)
    found = notice.delivery(receiver, {"failed": True, **result})
    assert found == Delivery(receiver.name, receiver.type, notice.place(receiver), False, reason)


def test_what_arrived() -> None:
    assert notice.delivery(target(PIPE), {"rc": 0}) == Delivery("pager", "command", "page", True)


GOOD = Delivery("team", "webhook", "https://chat.example.org", True)
DEAD = Delivery("lead", "email", "lead@example.org", False, "Connection refused")


@pytest.mark.parametrize(
    ("deliveries", "check", "headline", "lines", "rows"),
    [
        ([GOOD], False, "told of the start: team", [], ["team"]),
        (
            [GOOD, DEAD],
            False,
            "told of the start: team",
            ["not told: lead, lead@example.org: Connection refused"],
            ["team; NOT told: lead (Connection refused)"],
        ),
        (
            [DEAD],
            False,
            "nobody could be told of the start",
            ["not told: lead, lead@example.org: Connection refused"],
            ["NOT told: lead (Connection refused)"],
        ),
        (
            [Delivery("typo", "webhook", "", False, "url is missing")],
            False,
            "nobody could be told of the start",
            ["not told: typo: url is missing"],
            ["NOT told: typo (url is missing)"],
        ),
        ([GOOD, DEAD], True, "would tell of the start: team, lead", [], []),
    ],
)
def test_the_screen(deliveries: list[Delivery], check: bool, headline: str, lines: list[str], rows: list[str]) -> None:
    screen = notice.told("start", deliveries, check=check)
    assert (screen["headline"], screen["lines"]) == (headline, lines)
    assert screen["rows"] == [{"label": "Told (start)", "value": value} for value in rows]


def test_the_screen_is_silent_about_nobody() -> None:
    assert notice.told("start", []) == {}


LEVELS = [
    {"role": "on-call", "name": "Kim", "contact": "+1 555 0100", "targets": ["pager"], "wait": 60},
    {"role": "technical-lead", "name": "Sam", "targets": "lead"},
    {"role": "The owner", "contact": "owner@example.org"},
]


def test_levels_in_their_order() -> None:
    levels, wrong = notice.levels(LEVELS, EVERYBODY, 300.0)
    assert wrong == []
    assert levels == [
        {"role": "On-Call Engineer", "who": "Kim (+1 555 0100)", "targets": ["pager"], "wait": 60.0},
        {"role": "Technical Lead", "who": "Sam", "targets": ["lead"], "wait": 300.0},
        {"role": "The owner", "who": "owner@example.org", "targets": [], "wait": 300.0},
    ]


@pytest.mark.parametrize(
    ("contacts", "targets", "names"),
    [([], [], []), ([], [HOOK], []), ([], EVERYBODY, [["lead"]]), ([], "nonsense", [])],
)
def test_without_contacts_those_who_want_escalations_are_one_level(
    contacts: Any, targets: Any, names: list[list[str]]
) -> None:
    levels, _wrong = notice.levels(contacts, targets, 300.0)
    assert [level["targets"] for level in levels] == names


@pytest.mark.parametrize(
    ("contacts", "wrong"),
    [
        ("Kim", "rollback_contacts must be a list of levels"),
        (["Kim"], "level 1 of rollback_contacts must be a mapping"),
        ([{"role": "on-call", "phone": "1"}], "level 1 of rollback_contacts: unknown option phone"),
        ([{"role": "on-call", "wait": "soon"}], "level 1 of rollback_contacts: wait must be a number of seconds"),
    ],
)
def test_a_mistake_in_the_contacts_is_told(contacts: Any, wrong: str) -> None:
    assert notice.levels(contacts, [], 300.0)[1] == [wrong]


@pytest.mark.parametrize(
    ("contacts", "rows"),
    [
        (
            [],
            [
                ("Technical Lead", "no contact is configured (rollback_contacts)"),
                ("DevOps Team", "no contact is configured (rollback_contacts)"),
                ("On-Call Engineer", "no contact is configured (rollback_contacts)"),
            ],
        ),
        (
            [*LEVELS[:2], {"role": "devops-team"}, {}],
            [
                ("On-Call Engineer", "Kim (+1 555 0100)"),
                ("Technical Lead", "Sam"),
                ("DevOps Team", "no name or number is given"),
                ("Level 4", "no name or number is given"),
            ],
        ),
    ],
)
def test_who_is_to_be_called(contacts: Any, rows: list[tuple[str, str]]) -> None:
    assert notice.call_list(contacts) == [{"label": label, "value": value} for label, value in rows]
