# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a release could be rolled back: tables over the pure rules."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _candidate, _readiness
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import NOTHING_RUNS
from ansible_collections.schedgen.rollback.plugins.module_utils._readiness import Finding, Forecast, Held

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
POINT = "20261125T100000.000Z"


def point(name: str = POINT, **more: Any) -> _candidate.Point:
    values = {"release": "r1", "verdict": "healthy", "parts": ("release", "database"), "purpose": "deploy", **more}
    return _candidate.Point(name, **values)


@pytest.mark.parametrize(
    ("held", "grades", "words"),
    [
        pytest.param(Held("backend", "r/backend:v1", True, "registry"), ["ready"], "backend (registry)", id="registry"),
        pytest.param(Held("worker", "worker:v1", False, "store"), ["ready"], "worker (store)", id="image store"),
        pytest.param(Held("worker", "worker:v1", False, "nowhere"), ["warning"], "on this host alone", id="nowhere"),
        pytest.param(
            Held("backend", "r/backend:v1", False, "registry"), ["warning"], "its tag may move", id="no digest"
        ),
    ],
)
def test_images(held: Held, grades: list[str], words: str) -> None:
    found = _readiness.images([held])
    assert [finding.grade for finding in found] == grades
    assert words in found[0].told


@pytest.mark.parametrize(
    ("points", "proofs", "chosen", "grades"),
    [
        pytest.param([], {}, "", {"restore point": "blocker"}, id="none"),
        pytest.param([point(release="r2")], {}, "", {"restore point": "blocker"}, id="of another release"),
        pytest.param([point(purpose="safety")], {}, "", {"restore point": "blocker"}, id="a safety point"),
        pytest.param([point(verdict="unhealthy")], {}, "", {"restore point": "blocker"}, id="was not healthy"),
        pytest.param([point(parts=("release",))], {}, POINT, {"restore point": "blocker"}, id="without its database"),
        pytest.param([point()], {}, POINT, {"restore point": "ready", "proof": "warning"}, id="never proven"),
        pytest.param([point()], {POINT: "today"}, POINT, {"restore point": "ready", "proof": "ready"}, id="proven"),
        pytest.param(
            [point("20261123T100000.000Z")],
            {},
            "20261123T100000.000Z",
            {"restore point": "warning", "proof": "warning"},
            id="too old",
        ),
        pytest.param(
            [point("20261125T110000.000Z", parts=("release",)), point()],
            {POINT: "today"},
            POINT,
            {"restore point": "ready", "proof": "ready"},
            id="the newest with a database before a newer one without",
        ),
    ],
)
def test_restore_point(
    points: list[_candidate.Point], proofs: dict[str, str], chosen: str, grades: dict[str, str]
) -> None:
    found_point, found = _readiness.restore_point(points, proofs, "r1", NOW, max_age=24, database=True)
    assert found_point == chosen
    assert {finding.topic: finding.grade for finding in found} == grades


def test_without_a_database_no_proof_is_asked_for() -> None:
    _point, found = _readiness.restore_point([point(parts=("release",))], {}, "r1", NOW, max_age=0, database=False)
    assert [finding.grade for finding in found] == ["ready"]


def test_a_restore_point_whose_database_is_on_another_host() -> None:
    chosen, found = _readiness.restore_point(
        [point(parts=("release",))], {}, "r1", NOW, max_age=0, database=True, dumped_at="db1"
    )
    assert (chosen, [(finding.topic, finding.grade) for finding in found]) == (POINT, [("restore point", "ready")])
    assert "its database part is on db1" in found[0].told


@pytest.mark.parametrize(("host", "grade", "words"), [
    ("app1", "ready", "app1 rehearses them for all"),
    ("nowhere", "warning", "were not rehearsed: no host has both"),
])  # fmt: skip
def test_another_host_rehearses_or_none(host: str, grade: str, words: str) -> None:
    found = _readiness.rehearsed_elsewhere(host)
    assert (found.topic, found.grade) == ("migrations", grade)
    assert words in found.told


def test_a_host_without_code_needs_no_release() -> None:
    points = [point(release=NOTHING_RUNS)]
    chosen = [
        _readiness.restore_point(points, {}, NOTHING_RUNS, NOW, max_age=0, database=True, code=code)[0]
        for code in (True, False)
    ]
    assert chosen == ["", POINT]


PENDING = ("AddThing1",)
DROPS = Forecast(PENDING, fits="incompatible", reasons=("column a.b was dropped",), revert="cannot",
                 revert_reasons=("cannot bring back what column a.b held",), back="compatible")  # fmt: skip


@pytest.mark.parametrize(
    ("forecast", "dump", "grade", "words"),
    [
        pytest.param(Forecast(), True, "ready", "changes no schema", id="no migration"),
        pytest.param(
            Forecast(failure="it broke", left=("table x is new",)),
            True,
            "blocker",
            "it broke; a part of them was done: table x is new",
            id="fails half-way",
        ),
        pytest.param(
            Forecast(PENDING, fits="compatible", revert="loses nothing", back="equal"),
            True,
            "ready",
            "a quick rollback is enough",
            id="the older release can live with it",
        ),
        pytest.param(
            Forecast(PENDING, fits="compatible", revert="loses nothing", back="wrong", back_reasons=("table y",)),
            True,
            "warning",
            "led to another schema in the rehearsal: table y",
            id="compatible, and its way back is wrong",
        ),
        pytest.param(
            Forecast(PENDING, fits="incompatible", reasons=("b is NOT NULL",), revert="loses nothing", back="equal"),
            True,
            "ready",
            "taking them back was rehearsed: equal",
            id="goes back by migrations",
        ),
        pytest.param(
            Forecast(PENDING, fits="incompatible", reasons=("b is NOT NULL",), revert="destroys",
                     revert_reasons=("destroys column c, 3 rows",), back="equal"),
            True,
            "warning",
            "destroys column c, 3 rows",
            id="going back destroys",
        ),
        pytest.param(
            Forecast(PENDING, fits="incompatible", reasons=("b",), revert="loses nothing", back="failed",
                     back_reasons=("no down",)),
            True,
            "warning",
            "taking them back failed in the rehearsal: no down: the way back is the restore",
            id="going back fails",
        ),
        pytest.param(DROPS, True, "warning", "cannot bring back what column a.b held", id="destructive, with a dump"),
        pytest.param(DROPS, False, "blocker", "no restore point with the database", id="destructive, without a dump"),
        pytest.param(
            Forecast(PENDING, fits="equal", limits=("it ran without rows",)),
            True,
            "warning",
            "rehearsal: it ran without rows",
            id="limits are told",
        ),
    ],
)  # fmt: skip
def test_migrations(forecast: Forecast, dump: bool, grade: str, words: str) -> None:
    found = _readiness.migrations(forecast, dump=dump)
    worst = max(found, key=lambda finding: _readiness.GRADES.index(finding.grade))
    assert worst.grade == grade
    assert words in worst.told


@pytest.mark.parametrize(
    ("answers", "grade", "words"),
    [
        pytest.param([], "warning", "nobody would be told", id="none declared"),
        pytest.param([{"target": "team", "sent": True, "reason": ""}], "ready", "team", id="answers"),
        pytest.param(
            [{"target": "team", "sent": True, "reason": ""}, {"target": "mail", "sent": False, "reason": "refused"}],
            "warning",
            "mail (refused)",
            id="one is dead",
        ),
    ],
)
def test_receivers(answers: list[dict[str, Any]], grade: str, words: str) -> None:
    (found,) = _readiness.receivers(answers)
    assert (found.grade, words in found.told) == (grade, True)


def test_lock_and_freeze_are_in_the_way() -> None:
    held = {"owner": "alex", "since": "12:00", "run": "r"}
    freeze = {"owner": "sam", "since": "12:00", "reason": ""}
    assert [finding.grade for finding in _readiness.lock({}, {})] == ["ready"]
    assert [finding.grade for finding in _readiness.lock(held, freeze)] == ["blocker", "blocker"]


def test_health_checks() -> None:
    assert _readiness.health_checks([], 3).grade == "ready"
    assert _readiness.health_checks(["worker"], 0).grade == "warning"


@pytest.mark.parametrize(
    ("grades", "verdict", "stopped"),
    [
        pytest.param([], "not ready", [0, 0, 0], id="nothing was looked at"),
        pytest.param(["ready"], "ready", [0, 0, 0], id="ready"),
        pytest.param(["ready", "warning"], "ready with warnings", [0, 0, 1], id="warning"),
        pytest.param(["blocker", "warning"], "not ready", [0, 1, 2], id="blocker"),
    ],
)
def test_verdict_and_gate(grades: list[str], verdict: str, stopped: list[int]) -> None:
    found = [Finding("topic", grade, "told") for grade in grades]
    assert _readiness.verdict(found) == verdict
    assert [len(_readiness.stopped(found, gate)) for gate in _readiness.GATES] == stopped
    assert [len(_readiness.stopped(found, gate, ["topic", "x"])) for gate in _readiness.GATES] == stopped
    assert [len(_readiness.stopped(found, gate, ["other"])) for gate in _readiness.GATES] == [0, 0, 0]


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="none, blocker, warning"):
        _readiness.stopped([], "sometimes")


def test_the_worst_comes_first() -> None:
    found = [Finding("a", "ready", "fine"), Finding("b", "blocker", "two\nlines", "Mend it.")]
    assert _readiness.lines(found) == ["BLOCKER b: two lines. Mend it.", "READY a: fine."]
