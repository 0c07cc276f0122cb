# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Prometheus is told: the text format, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._metrics import (
    STATES,
    Backup,
    Family,
    families,
    render,
    state_of,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._status import Point

OLD = Point("20261123T120000.000Z", "v1", "deploy", "healthy", ("release", "database"), proven="2026-11-23T12:00:05Z")
NEW = Point("20261125T110000.500Z", "v2", "scheduled", "healthy", ("release",))


def report(
    kind: str, outcome: str, finished: str = "2026-11-25T11:00:10.000+00:00", seconds: float = 9.5
) -> dict[str, Any]:
    return {"type": kind, "outcome": outcome, "finished": finished, "seconds": seconds}


def told(*points: Point, backup: Backup | None = None, reports: Any = (), **stands: bool) -> list[str]:
    found = families(points, backup, list(reports), **{"locked": False, "frozen": False, **stands})
    return [line for line in render(found, {"application": "a"}).splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("samples", "lines"),
    [
        ([({}, 1)], ['schedgen_rollback_x{application="a"} 1']),
        ([({}, True)], ['schedgen_rollback_x{application="a"} 1']),
        ([({}, 1.5)], ['schedgen_rollback_x{application="a"} 1.5']),
        ([({}, 1795604400.123)], ['schedgen_rollback_x{application="a"} 1795604400.123']),
        ([({}, 5e12)], ['schedgen_rollback_x{application="a"} 5000000000000']),
        (
            [({"type": "quick"}, 1), ({"type": "full"}, 2)],
            [
                'schedgen_rollback_x{application="a",type="quick"} 1',
                'schedgen_rollback_x{application="a",type="full"} 2',
            ],
        ),
        ([({"type": 'a"b\\c\nd'}, 1)], ['schedgen_rollback_x{application="a",type="a\\"b\\\\c\\nd"} 1']),
    ],
)
def test_the_text_format(samples: Any, lines: list[str]) -> None:
    text = render([Family("x", "gauge", "In words.", tuple(samples))], {"application": "a"})
    head = ["# HELP schedgen_rollback_x In words.", "# TYPE schedgen_rollback_x gauge"]
    assert text == "\n".join([*head, *lines]) + "\n"


def test_a_metric_without_samples_is_left_out() -> None:
    assert render([Family("x", "gauge", "In words.", ()), Family("y", "counter", "Of\ntwo.", (({}, 0),))], {}) == (
        "# HELP schedgen_rollback_y Of\\ntwo.\n# TYPE schedgen_rollback_y counter\nschedgen_rollback_y{} 0\n"
    )


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "usable"),
        ({"bad": "500s"}, "bad"),
        ({"bad": "500s", "verdict": "unhealthy"}, "bad"),
        ({"verdict": "unhealthy"}, "unhealthy"),
        ({"verdict": "inconclusive"}, "inconclusive"),
        ({"purpose": "safety", "bad": "500s"}, "safety"),
        ({"problem": "no JSON", "purpose": "safety"}, "unreadable"),
    ],
)
def test_a_restore_point_is_counted_once(change: dict[str, Any], state: str) -> None:
    point = replace(NEW, **change)
    assert state_of(point) == state
    counts = {line for line in told(point) if "restore_points{" in line}
    assert counts == {
        f'schedgen_rollback_restore_points{{application="a",state="{name}"}} {int(name == state)}' for name in STATES
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (told(), 'backup_last_success_timestamp_seconds{application="a"} 0'),
        (told(), 'restore_point_usable_timestamp_seconds{application="a"} 0'),
        (told(NEW), 'restore_point_proven_timestamp_seconds{application="a"} 0'),
        (told(OLD, NEW), 'restore_point_usable_timestamp_seconds{application="a"} 1795604400.5'),
        (told(OLD, NEW), 'restore_point_proven_timestamp_seconds{application="a"} 1795435200'),
        (told(backup=Backup(9.0, 2.5, 1 << 30)), 'backup_last_success_timestamp_seconds{application="a"} 9'),
        (told(backup=Backup(9.0, 2.5, 1 << 30)), 'backup_last_duration_seconds{application="a"} 2.5'),
        (told(backup=Backup(9.0, 2.5, 1 << 30)), 'backup_last_size_bytes{application="a"} 1073741824'),
        (told(), 'lock_held{application="a"} 0'),
        (told(locked=True), 'lock_held{application="a"} 1'),
        (told(frozen=True), 'deployments_frozen{application="a"} 1'),
    ],
)
def test_what_is_told(lines: list[str], expected: str) -> None:
    assert f"schedgen_rollback_{expected}" in lines


def test_runs_by_type_and_outcome() -> None:
    lines = told(
        reports=[
            report("quick", "failed", seconds=99),
            report("quick", "success", "2026-11-25T11:00:10.250+00:00", 9.5),
            report("quick", "success", "2026-11-24T11:00:10.000+00:00", 4),
            report("backup", "interrupted"),
        ]
    )
    assert [line.replace("schedgen_rollback_run", "") for line in lines if "_run" in line] == [
        's_total{application="a",type="backup",outcome="interrupted"} 1',
        's_total{application="a",type="quick",outcome="failed"} 1',
        's_total{application="a",type="quick",outcome="success"} 2',
        '_last_end_timestamp_seconds{application="a",type="backup",outcome="interrupted"} 1795604410',
        '_last_end_timestamp_seconds{application="a",type="quick",outcome="failed"} 1795604410',
        '_last_end_timestamp_seconds{application="a",type="quick",outcome="success"} 1795604410.25',
        '_last_duration_seconds{application="a",type="backup",outcome="interrupted"} 9.5',
        '_last_duration_seconds{application="a",type="quick",outcome="failed"} 99',
        '_last_duration_seconds{application="a",type="quick",outcome="success"} 9.5',
    ]


def test_what_never_was_has_no_duration() -> None:
    assert not [line for line in told() if "duration" in line or "size" in line or "runs_total" in line]
