# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator reads, as tables of input and lines."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _timeline as timeline

WHEN = datetime(2026, 11, 22, 13, 20, 5, tzinfo=timezone.utc)
RULE = "-" * 80


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("a\tb", "a   b"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("right to left \u202e mark", "right to left  mark"),
        ("ümläut 漢字", "ümläut 漢字"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert timeline.clean(text) == expected


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("errors ▁▂▃▄▅▆▇█", "utf-8", "errors ▁▂▃▄▅▆▇█"),
        ("errors ▁▂▃▄▅▆▇█", "ascii", "errors _.:-=+*#"),
        ("errors ▁", "latin-1", "errors _"),
        ("errors ▁", "no such encoding", "errors _"),
        ("plain", "ascii", "plain"),
    ],
)
def test_a_small_picture_is_drawn_with_what_the_output_has(text: str, encoding: str, expected: str) -> None:
    assert timeline.writable(text, encoding) == expected


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("abc", 3), ("漢字", 4), ("e\u0301", 1)])
def test_columns(text: str, expected: int) -> None:
    assert timeline.columns(text) == expected


@pytest.mark.parametrize(
    ("text", "keywords", "expected"),
    [
        ("", {}, []),
        ("one two", {}, ["one two"]),
        ("one two three", {"width": 7}, ["one two", "three"]),
        ("one two three", {"width": 8, "indent": "  "}, ["  one", "  two", "  three"]),
        ("one two three", {"width": 8, "hanging": "  "}, ["one two", "  three"]),
        ("first\nsecond", {"hanging": "  "}, ["first", "second"]),
        ("first\n\nsecond", {}, ["first", "second"]),
        ("  own indent\nnone", {}, ["  own indent", "none"]),
        ("name      value", {}, ["name      value"]),
        ("name      value", {"width": 12}, ["name value"]),
        ("abcdefghij", {"width": 4}, ["abcd", "efgh", "ij"]),
        ("ab cdefghij", {"width": 4, "hanging": " "}, ["ab", " cde", " fgh", " ij"]),
        ("漢字漢字", {"width": 5}, ["漢字", "漢字"]),
        ("漢", {"width": 1}, ["漢"]),
        (" " * 60 + "far right", {"width": 80}, ["far right"]),
    ],
)
def test_wrap(text: str, keywords: dict[str, Any], expected: list[str]) -> None:
    assert timeline.wrap(text, **keywords) == expected


@pytest.mark.parametrize("length", range(1, 200, 7))
def test_wrapped_text_never_passes_the_edge_and_loses_nothing(length: int) -> None:
    text = " ".join("x" * (1 + (length * index) % 97) for index in range(30))
    lines = timeline.wrap(text, indent=timeline.MARGIN, hanging="  ")
    assert max(map(timeline.columns, lines)) <= timeline.WIDTH
    assert "".join("".join(lines).split()) == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("two\nlines", 20, "two lines"),
        ("exactly ten", 11, "exactly ten"),
        ("the quick brown fox", 12, "the quick..."),
        ("the quick, brown fox", 15, "the quick..."),
        ("abcdefghijklmno", 10, "abcdefg..."),
    ],
)
def test_shorten(text: str, width: int, expected: str) -> None:
    assert timeline.shorten(text, width) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (2.14, "2.1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (95, "1 min 35 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert timeline.duration(seconds) == expected


def test_duration_refuses_a_negative_one() -> None:
    with pytest.raises(ValueError, match="negative"):
        timeline.duration(-1)


def test_clock_is_utc() -> None:
    assert timeline.clock(datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))) == "23:30:00"


@pytest.mark.parametrize(
    ("playbook", "application", "hosts", "check", "expected"),
    [
        (
            "quick-rollback.yml",
            "schedgen",
            ["app1"],
            False,
            ["quick-rollback.yml: schedgen on app1                     2026-11-22 13:20:05 UTC", "=" * 80],
        ),
        (
            "site.yml",
            "",
            [],
            True,
            [
                "site.yml                                                 2026-11-22 13:20:05 UTC",
                "=" * 80,
                "CHECK MODE: nothing is changed. What follows is what would happen.",
            ],
        ),
        (
            "quick-rollback.yml",
            "schedgen",
            [f"application{number}" for number in range(12)],
            False,
            ["quick-rollback.yml: schedgen on 12 hosts                 2026-11-22 13:20:05 UTC", "=" * 80],
        ),
        (
            "quick-rollback.yml",
            "an-application-with-a-long-name",
            ["application-host-one.example.org"],
            False,
            [
                "quick-rollback.yml: an-application-with-a-long-name on",
                "  application-host-one.example.org",
                "2026-11-22 13:20:05 UTC",
                "=" * 80,
            ],
        ),
    ],
)
def test_title(playbook: str, application: str, hosts: list[str], check: bool, expected: list[str]) -> None:
    assert timeline.title(playbook, application, hosts, WHEN, check=check) == expected


@pytest.mark.parametrize(
    ("role", "entry", "descriptions", "expected"),
    [
        ("schedgen.rollback.app_rollback", "main", [], "App rollback"),
        ("schedgen.rollback.app_rollback", "put_back", [], "App rollback: put back"),
        ("backup", "main", ["Take a restore point."], "Take a restore point"),
        ("backup", "main", ["", "Second"], "Second"),
        ("backup", "main", ["x" * 80, "Shorter"], "Shorter"),
        ("backup", "main", ["x" * 80], "Backup"),
        ("", "main", [], ""),
    ],
)
def test_phase_title(role: str, entry: str, descriptions: list[str], expected: str) -> None:
    assert timeline.phase_title(role, entry, *descriptions) == expected


def test_phase_lines() -> None:
    assert timeline.phase_start(WHEN, "Check everything") == "13:20:05  Check everything"
    assert timeline.phase_end(2.14) == "          done in 2.1 s"
    assert timeline.phase_end(75, failed=True) == "          FAILED after 1 min 15 s"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Take it", "Take it"), ("sub | Take it", "Take it"), ("a | b | Take  it", "Take it"), ("a|b", "a|b")],
)
def test_task_name(name: str, expected: str) -> None:
    assert timeline.task_name(name) == expected


ROW = {"label": "From", "value": "v3"}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, timeline.Screen()),
        ({"rollback_screen": None}, timeline.Screen()),
        ({"rollback_screen": "text"}, timeline.Screen()),
        ({"rollback_screen": {"headline": "h"}}, timeline.Screen("h")),
        ({"rollback_screen": {"headline": 7, "lines": "one"}}, timeline.Screen("7", ("one",))),
        ({"rollback_screen": {"lines": ["a", 2]}}, timeline.Screen("", ("a", "2"))),
        (
            {"rollback_screen": {"rows": [ROW, "bad", {"value": "no label"}]}},
            timeline.Screen("", (), (("From", "v3"),)),
        ),
        ({"rollback_screen": {"rows": [{"label": "n", "value": 3}]}}, timeline.Screen("", (), (("n", "3"),))),
        ({"ansible_stats": {"data": {"rollback_screen": {"headline": "h"}}}}, timeline.Screen("h")),
        ({"ansible_stats": {"data": []}}, timeline.Screen()),
        ({"rollback_screen": {"headline": "secret"}, "_ansible_no_log": True}, timeline.Screen()),
        ({"rollback_screen": {"headline": "secret"}, "censored": "hidden"}, timeline.Screen()),
        ({"rollback_screen": {"headline": "\x1b[2Jwiped"}}, timeline.Screen("wiped")),
    ],
)
def test_screen(result: dict[str, Any], expected: timeline.Screen) -> None:
    assert timeline.screen(result) == expected


@pytest.mark.parametrize(
    ("said", "host", "expected"),
    [
        (timeline.Screen("head", ("line",)), "", ["          head", "            line"]),
        (timeline.Screen("head", ("line",)), "app1", ["          app1: head", "            line"]),
        (timeline.Screen("", ("line",)), "", ["          line"]),
        (timeline.Screen("", ("line",)), "app1", ["          app1:", "            line"]),
        (timeline.Screen(), "app1", []),
    ],
)
def test_screen_lines(said: timeline.Screen, host: str, expected: list[str]) -> None:
    assert timeline.screen_lines(said, host) == expected


def test_screen_lines_of_one_text() -> None:
    said = timeline.Screen("first", ("second",))
    assert timeline.screen_lines(said, deeper=False) == ["          first", "          second"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (["a", 2], "a\n2"),
        ([], "[]"),
        ({"a": [1]}, '{\n  "a": [\n    1\n  ]\n}'),
        (None, "null"),
        (True, "true"),
    ],
)
def test_plain(value: object, expected: str) -> None:
    assert timeline.plain(value) == expected


TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nValueError: wrong\n'


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"msg": "What happened: a\nState: b\nNext: c"}, "What happened: a\nState: b\nNext: c"),
        ({"msg": "Task failed: Module failed: broken"}, "broken"),
        ({"msg": "Task failed: Action failed: broken"}, "broken"),
        ({"msg": "Task failed: Finalization failed"}, "Finalization failed"),
        ({"msg": ["one", "two"]}, "one\ntwo"),
        ({"msg": "Assertion failed", "assertion": "a == b"}, "Assertion failed\nNot true: a == b"),
        ({"msg": "", "assertion": False}, "Not true: false"),
        (
            {"msg": "non-zero return code", "rc": 2, "cmd": ["ls"], "stderr": "\nls: no\n"},
            "The command ended with code 2:\nls: no",
        ),
        ({"msg": "non-zero return code", "rc": 1, "cmd": "false"}, "The command ended with code 1"),
        ({"msg": "no such file", "rc": None, "cmd": "x"}, "no such file"),
        ({"rc": 3, "cmd": "x", "stdout": "out"}, "The command ended with code 3:\nout"),
        ({"stderr": "only this"}, "only this"),
        (
            {"msg": "MODULE FAILURE", "module_stderr": TRACEBACK, "exception": TRACEBACK},
            "MODULE FAILURE\nValueError: wrong\nRun again with -vvv to see all of it.",
        ),
        ({}, "The task failed and gave no reason. Run again with -vvv to see all of it."),
        ({"msg": "secret", "_ansible_no_log": True}, timeline.HIDDEN),
        ({"censored": "because"}, timeline.HIDDEN),
    ],
)
def test_failure_text(result: dict[str, Any], expected: str) -> None:
    assert timeline.failure_text(result) == expected


def test_failure_text_of_long_output_is_its_end() -> None:
    output = "\n".join(f"line {number}" for number in range(100))
    text = timeline.failure_text({"cmd": "x", "rc": 1, "stderr": output})
    assert text.splitlines() == ["The command ended with code 1:", *(f"line {number}" for number in range(90, 100))]


THREE_PARTS = (
    "What happened: image registry.example.org/schedgen/backend:v2 cannot be fetched\n"
    "State: nothing was changed; v3 keeps running\n"
    "Next: ansible-playbook quick-rollback.yml -e rollback_to=20261122T131500.123Z -e rollback_reason=x"
)


@pytest.mark.parametrize(
    ("failure", "name_host", "expected"),
    [
        (
            timeline.Failure("app1", "role : sub | Fetch images", THREE_PARTS),
            False,
            [
                "          FAILED: Fetch images",
                "          What happened: image registry.example.org/schedgen/backend:v2 cannot",
                "            be fetched",
                "          State: nothing was changed; v3 keeps running",
                "          Next: ansible-playbook quick-rollback.yml -e",
                "            rollback_to=20261122T131500.123Z -e rollback_reason=x",
            ],
        ),
        (timeline.Failure("app1", "Do", "no"), True, ["          app1: FAILED: Do", "          no"]),
        (
            timeline.Failure("app1", "Do", "timed out", unreachable=True),
            False,
            ["          app1: UNREACHABLE: Do", "          timed out"],
        ),
    ],
)
def test_failure_lines(failure: timeline.Failure, name_host: bool, expected: list[str]) -> None:
    assert timeline.failure_lines(failure, name_host=name_host) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (THREE_PARTS, "image registry.example.org/schedgen/backend:v2 cannot be fetched"),
        ("one\ntwo", "one"),
        ("\n\none", "one"),
        ("The command ended with code 2:\nls: no", "The command ended with code 2: ls: no"),
        ("", ""),
    ],
)
def test_summary(text: str, expected: str) -> None:
    assert timeline.summary(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("What happened: a\nNext: do it", (("Next", "do it"),)), ("no parts", ()), ("", ())]
)
def test_next_row(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert timeline.next_row(text) == expected


@pytest.mark.parametrize(
    ("name", "check", "items", "expected"),
    [
        ("x | Write it", False, [], "changed: Write it"),
        ("Write it", True, [], "would change: Write it"),
        ("Write it", False, [{"changed": True}, {}], "changed: Write it (1 of 2 items)"),
    ],
)
def test_changed_text(name: str, check: bool, items: list[dict[str, Any]], expected: str) -> None:
    assert timeline.changed_text(name, check=check, items=items) == expected


@pytest.mark.parametrize(
    ("seconds", "what", "hosts", "detail", "expected"),
    [
        (3.7, "Dump", [], "", "          3 s: Dump"),
        (75, "sub | Dump", [], "", "          1 min 15 s: Dump"),
        (12, "Wait", ["a", "b"], "attempt 2 of 5", "          12 s: Wait, attempt 2 of 5 (a, b)"),
        (12, "x" * 90, [], "", "          12 s: " + "x" * 60 + "..."),
        (12, "Wait", [f"application{n}" for n in range(9)], "", "          12 s: Wait (9 hosts)"),
    ],
)
def test_moving(seconds: float, what: str, hosts: list[str], detail: str, expected: str) -> None:
    line = timeline.moving(seconds, what, hosts, detail=detail)
    assert line == expected
    assert timeline.columns(line) < timeline.WIDTH


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_moving_line_stays_on_a_narrow_terminal(width: int) -> None:
    assert timeline.columns(timeline.moving(100, "Restore the database beside the live one", width=width)) < width


@pytest.mark.parametrize(
    ("elapsed", "previous", "expected"),
    [
        (9.9, 0, False),
        (10, 0, True),
        (19, 10, False),
        (20, 10, True),
        (70, 60, False),
        (90, 60, True),
        (119, 90, False),
    ],
)
def test_beat_due(elapsed: float, previous: float, expected: bool) -> None:
    assert timeline.beat_due(elapsed, previous, 10) is expected


def test_a_later_row_replaces_the_earlier_one_in_its_place() -> None:
    rows = timeline.merge_rows({}, [("From", "v3"), ("To", "v2")])
    assert list(timeline.merge_rows(rows, [("From", "v4"), ("Verified", "yes")]).items()) == [
        ("From", "v4"),
        ("To", "v2"),
        ("Verified", "yes"),
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, []),
        ({"app1": {}}, []),
        ({"app1": {"From": "v3", "Verified": "healthy"}}, [RULE, "From      v3", "Verified  healthy", RULE]),
        (
            {"app1": {"From": "v3"}, "app2": {"From": "v4"}, "localhost": {}},
            [RULE, "app1", "  From  v3", "app2", "  From  v4", RULE],
        ),
        (
            {
                "app1": {
                    "From": "v3",
                    "Journal": "/var/lib/schedgen-rollback/schedgen/runs/20261122T131500.123Z/journal.jsonl",
                }
            },
            [
                RULE,
                "From     v3",
                "Journal",
                "  /var/lib/schedgen-rollback/schedgen/runs/20261122T131500.123Z/journal.jsonl",
                RULE,
            ],
        ),
        ({"app1": {"Long": "x" * 90}}, [RULE, "Long  " + "x" * 74, "      " + "x" * 16, RULE]),
        ({"app1": {"Empty": ""}}, [RULE, "Empty  -", RULE]),
        (
            {"app1": {"A label that is longer than it should be": "value", "Short": "value"}},
            [
                RULE,
                "A label that is longer than it should be",
                "                          value",
                "Short                     value",
                RULE,
            ],
        ),
    ],
)
def test_table(rows: dict[str, dict[str, str]], expected: list[str]) -> None:
    assert timeline.table(rows) == expected
    assert all(timeline.columns(line) <= timeline.WIDTH for line in expected)


FAILURE = timeline.Failure("app1", "Switch", THREE_PARTS)
STOPPED = timeline.Failure(
    "app3", "Fail", "What happened: The rollback was stopped because of another host: app1.\nState: x\nNext: y"
)
LOST = timeline.Failure("app2", "Ping", "timed out", unreachable=True)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (
            timeline.Ending("quick-rollback.yml", 14.2, hosts=1),
            "DONE: quick-rollback.yml finished in 14 s (exit code 0)",
        ),
        (
            timeline.Ending("quick-rollback.yml", 14.2, hosts=3),
            "DONE: quick-rollback.yml finished on 3 hosts in 14 s (exit code 0)",
        ),
        (
            timeline.Ending("q.yml", 14.2, hosts=1, outcomes=("schedgen runs v2 again.",)),
            "DONE: q.yml finished in 14 s: schedgen runs v2 again (exit code 0)",
        ),
        (
            timeline.Ending("q.yml", 14.2, hosts=2, outcomes=("v2", "v3")),
            "DONE: q.yml finished on 2 hosts in 14 s (exit code 0)",
        ),
        (
            timeline.Ending("q.yml", 1, hosts=1, outcomes=("v2",), check=True),
            "DONE: check only, nothing was changed (exit code 0)",
        ),
        (
            timeline.Ending("q.yml", 1, hosts=1, failed=("app1",), failures=(FAILURE,)),
            "FAILED: image registry.example.org/schedgen/backend:v2 cannot... (exit code 2)",
        ),
        (
            timeline.Ending("q.yml", 1, hosts=2, failed=("app1",), unreachable=("app2",), failures=(FAILURE, LOST)),
            "FAILED: app2, app1: cannot be reached (exit code 4: unreachable)",
        ),
        (
            timeline.Ending("q.yml", 1, hosts=2, failed=("app3", "app1"), failures=(STOPPED, FAILURE)),
            "FAILED: app3, app1: image registry.example.org/schedgen/backend... (exit code 2)",
        ),
        (
            timeline.Ending("q.yml", 1, hosts=2, failed=("app3",), failures=(STOPPED,)),
            "FAILED: app3: The rollback was stopped because of another... (exit code 2)",
        ),
        (timeline.Ending("q.yml", 1, hosts=1, failed=("app1",)), "FAILED: q.yml did not finish (exit code 2)"),
        (timeline.Ending("q.yml", 1), "NOTHING DONE: no host matched, so no task ran (exit code 0)"),
    ],
)
def test_outcome(ending: timeline.Ending, expected: str) -> None:
    assert timeline.outcome(ending) == expected
    assert timeline.columns(expected) <= timeline.WIDTH
