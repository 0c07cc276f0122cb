# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults' table, and how what was seen after a fault is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fault_table
import pytest
from fault_table import FAULTS, HOST, Fault, Row, Seen, Table

CLEAR = "What happened: the disk is full.\nState: The live database was not touched.\nNext: Make room."
FAULT = Fault("disk full", "restore", "rows are loaded", "fails", "disk is full")
BEFORE = Seen(2, CLEAR, asked=False, unchanged=True)
AFTER = Seen(0, "", asked=True, unchanged=False)


def test_rows_have_names_of_their_own_and_moments_that_exist() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {fault.ending for fault in FAULTS} <= set(fault_table.ENDINGS)
    for fault in FAULTS:
        assert not fault.kind.startswith("kill") or fault.moment in fault_table.MOMENTS, fault.name
        assert fault.names or fault.ending not in ("fails", "either"), fault.name
    for moment in fault_table.MOMENTS.values():
        assert not moment.after or moment.after in fault_table.MOMENTS
    assert set(fault_table.MOMENTS) - {fault.moment for fault in FAULTS} <= {
        moment.after for moment in fault_table.MOMENTS.values()
    }


def test_a_third_has_every_kind_and_every_operation() -> None:
    chosen = fault_table.third(FAULTS)
    assert {fault.kind for fault in chosen} == {fault.kind for fault in FAULTS}
    assert {fault.operation for fault in chosen} == {fault.operation for fault in FAULTS}
    # Each of these takes a minute.
    playbooks = [fault for fault in chosen if fault.operation.startswith("rollback by")]
    others = [fault for fault in FAULTS if not fault.operation.startswith("rollback by")]
    assert 0.3 < (len(chosen) - len(playbooks)) / len(others) < 0.45
    names = ["rollback by revert", "rollback by restore", "rollback by restore, of everything"]
    assert [fault.operation for fault in playbooks] == names
    assert [fault for fault in FAULTS if fault in chosen] == chosen


def test_a_clear_failure_that_converges_is_sound() -> None:
    row = fault_table.judge(FAULT, BEFORE, AFTER, 0)
    assert row.sound
    assert (row.first, row.converged) == ("failed (2)", True)


JUDGED: list[tuple[dict[str, Any], dict[str, Any], int, str]] = [
    ({"rc": 0}, {}, 0, "exit code 0, and what was asked for is not there"),
    ({"unchanged": False}, {}, 0, "said that nothing was touched"),
    ({"message": "Traceback"}, {}, 0, "has not its three parts"),
    ({"message": CLEAR.replace("full", "odd")}, {}, 0, "does not name its cause"),
    ({"open": False}, {}, 0, "nobody gets into the live database after the first run"),
    ({"broken": ("index x is not valid",)}, {}, 0, "after the first run: index x is not valid"),
    ({}, {"rc": 2, "message": CLEAR}, 0, "the second run ended with 2"),
    ({}, {"asked": False}, 0, "the second run ended with exit code 0, and what was asked for is not there"),
    ({}, {"left": ("database y without a mark",)}, 0, "left behind: database y without a mark"),
    ({}, {"open": False}, 0, "the second run ended with exit code 0, and nobody gets into the live database"),
    ({}, {}, 3, ""),
]


@pytest.mark.parametrize(("first", "second", "lost", "told"), JUDGED)
def test_what_is_not_as_it_has_to_be(first: dict[str, Any], second: dict[str, Any], lost: int, told: str) -> None:
    row = fault_table.judge(FAULT, replace(BEFORE, **first), replace(AFTER, **second), lost)
    assert not row.sound
    assert told in "; ".join((*row.lied, *row.wrong))
    assert row.converged is not bool(second)


def test_what_a_killed_run_did_not_say_is_not_held_against_it() -> None:
    killed = Fault(HOST, "swap", "swapped", "killed")
    assert fault_table.judge(killed, Seen(None, "", asked=False, unchanged=True, open=False), AFTER, 0).sound
    alone = replace(killed, ending="lives")
    assert not fault_table.judge(alone, Seen(None, "", asked=False, unchanged=True), AFTER, 0).sound


def test_a_message_with_detail_on_several_lines_is_clear() -> None:
    assert fault_table.unclear("What happened: a\nb\nState: c\nNext: d", "b") == []


def test_the_table_is_aligned_and_its_sum_is_json() -> None:
    table = Table(FAULTS)
    good, bad = Row(FAULT, 0, (), (), True, 120, 9.4, "killed"), Row(FAULT, 2, ("a lie",), ("a fault",), False)
    heading, rule = table.head().splitlines()
    assert [len(part) for part in rule.split("  ")] == table.widths
    assert heading.index("converged") == table.line(good).index("yes")
    assert table.line(bad).splitlines()[1:] == ["    LIED: a lie", "    WRONG: a fault"]
    assert json.loads(fault_table.summary([good, bad])) == {"faults": 2, "lost": 2, "lied": 1, "converged": 1}
