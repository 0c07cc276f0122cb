# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an application stands: which restore point counts, and what is past a limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._status import (
    Point,
    age,
    ago,
    lines,
    newest,
    point_line,
    proven_at,
    wrong,
)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
OLD = Point("20261123T120000.000Z", "v1", "deploy", "healthy", ("release", "database"), proven="2026-11-23T12:00:05Z")
NEW = Point("20261125T110000.000Z", "v2", "deploy", "healthy", ("release",))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], ""),
        ([{"event": "proven", "at": "t1"}], "t1"),
        ([{"event": "proven", "at": "t1"}, {"event": "not proven", "at": "t2"}], ""),
        ([{"event": "not proven", "at": "t1"}, {"event": "proven", "at": "t2"}, {"event": "pinned"}], "t2"),
    ],
)
def test_the_last_proof_counts(events: list[dict[str, Any]], told: str) -> None:
    assert proven_at(events) == told


@pytest.mark.parametrize(
    ("change", "usable"),
    [
        ({}, True),
        ({"purpose": "safety"}, False),
        ({"bad": "500s"}, False),
        ({"problem": "no JSON"}, False),
        ({"verdict": "unhealthy"}, False),
        ({"verdict": "inconclusive"}, False),
        ({"pinned": True}, True),
    ],
)
def test_what_a_rollback_could_go_to(change: dict[str, Any], usable: bool) -> None:
    assert (newest([OLD, replace(NEW, **change)], proven=False) == replace(NEW, **change)) is usable


def test_the_newest_of_each_kind() -> None:
    assert newest([OLD, NEW], proven=False) == NEW
    assert newest([OLD, NEW], proven=True) == OLD
    assert newest([NEW], proven=True) is None
    assert newest([], proven=False) is None


@pytest.mark.parametrize(
    ("points", "max_age", "max_proven_age", "words"),
    [
        ([], 0, 0, []),
        ([], 24, 0, ["there is no usable restore point"]),
        ([NEW], 0, 24, ["there is no proven restore point"]),
        ([OLD, NEW], 1, 48, []),
        ([OLD, NEW], 0.99, 0, ["the newest usable restore point, 20261125T110000.000Z, is 1 h old: limit 59 min"]),
        ([OLD, NEW], 0, 47, ["the newest proven restore point, 20261123T120000.000Z, is 2 days old: limit 47 h"]),
    ],
)
def test_limits(points: list[Point], max_age: float, max_proven_age: float, words: list[str]) -> None:
    assert wrong(points, NOW, max_age=max_age, max_proven_age=max_proven_age) == words


@pytest.mark.parametrize(
    ("hours", "told"), [(0, "0 min"), (0.5, "30 min"), (1, "1 h"), (36.26, "36.3 h"), (48, "2 days"), (60, "2.5 days")]
)
def test_how_long_ago(hours: float, told: str) -> None:
    assert ago(hours) == told


def test_a_clock_that_was_set_back() -> None:
    assert age("20271125T110000.000Z", NOW) == 0.0


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (OLD, "20261123T120000.000Z v1: deploy, release, database; healthy, proven; 2 days ago"),
        (replace(NEW, pinned=True), "20261125T110000.000Z v2: deploy, release; healthy, pinned; 1 h ago"),
        (replace(NEW, bad="500s"), "20261125T110000.000Z v2: deploy, release; bad: 500s; 1 h ago"),
        (Point(NEW.id, "", "manual", "inconclusive", problem="x"), "20261125T110000.000Z: manual, nothing; x; 1 h ago"),
    ],
)
def test_a_restore_point_in_a_line(point: Point, told: str) -> None:
    assert point_line(point, NOW) == told


def test_the_table() -> None:
    status = {
        "runs": [{"run": "r-quick", "outcome": "success", "seconds": 8.3, "owner": ""}],
        "databases": [{"name": "schedgen_old_1", "kind": "set aside"}, {"name": "schedgen_ready_1", "kind": "ready"}],
        "volumes": ["/v/rollback-r"],
        "lock": {"owner": "ana", "run": "r", "since": "t"},
        "freeze": {"owner": "ben", "since": "t", "reason": ""},
    }
    told = lines(status, [OLD, NEW], NOW)
    assert [line.split(":")[0] for line in told] == [
        "Restore point 20261125T110000.000Z v2",
        "Restore point 20261123T120000.000Z v1",
        "Run r-quick",
        "Set aside",
        "Set aside",
        "Lock",
        "Frozen by ben since t",
    ]
    assert told[2] == "Run r-quick: success, 8.3 s, by unknown"
