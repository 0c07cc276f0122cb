# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before and after, what is set aside, which limits apply: tables over the pure rules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _report_facts

SAFETY = {"step": "restore point", "status": "done", "purpose": "safety", "id": "20261122T131500.123Z"}
SWITCHED = {"step": "switch", "status": "done"}
IMAGE = {"service": "backend", "image_id": "sha256:11", "points_to": "sha256:22", "reference": "backend:v1"}
QUICK: dict[str, Any] = {
    "application": "schedgen",
    "outcome": "success",
    "steps": [SAFETY, SWITCHED],
    "plan": {
        "running_label": "v2",
        "label": "v1",
        "images": [IMAGE, {**IMAGE, "service": "worker", "points_to": "sha256:11"}],
        "files": [[".env", "put back"]],
        "replace": ["backend"],
        "schema": {"added": [], "reasons": []},
    },
    "configuration": [{"path": ".env", "keys": ["LOG_LEVEL"]}],
}
DATABASE: dict[str, Any] = {
    **QUICK,
    "configuration": [],
    "rows": [{"label": "Set aside", "value": "schedgen_aside"}, {"label": "Told", "value": "team"}],
    "counted": {"recorded": 10, "now": 11},
    "plan": {
        "running_label": "v2",
        "label": "v1",
        "release": {**QUICK["plan"], "files": [], "images": [], "replace": ["backend", "frontend"]},
        "migrations": ["Add1"],
        "volumes": ["uploads"],
        "stake": ["jobs: about 3 inserted"],
        "rejected": [["revert", "cannot bring back what column a.b held"]],
    },
}


def test_before_and_after_of_the_code() -> None:
    assert _report_facts.before_after(QUICK) == [
        ("release", "v2", "v1"),
        ("image of backend", "22", "11 (backend:v1)"),
        ("file", ".env", "put back"),
        ("keys of .env", "LOG_LEVEL", "as recorded (values are not shown)"),
    ]


def test_before_and_after_of_the_data() -> None:
    assert _report_facts.before_after(DATABASE) == [
        ("release", "v2", "v1"),
        ("migration", "Add1", "taken back"),
        ("volume", "uploads", "content of the restore point"),
        ("rows in all", "10 were recorded", "11 after the restore"),
        ("rows", "jobs: about 3 inserted", "in the set-aside database"),
    ]


@pytest.mark.parametrize("report", [{**QUICK, "steps": [SAFETY]}, {**QUICK, "plan": {}}], ids=["failed", "no plan"])
def test_nothing_is_said_of_what_did_not_happen(report: dict[str, Any]) -> None:
    assert _report_facts.before_after(report) == []
    assert _report_facts.limits(report) == []


def test_what_is_set_aside_and_how_it_is_read() -> None:
    database, volume, release = _report_facts.set_aside(DATABASE)
    assert "psql -d schedgen_aside" in database
    assert "volume uploads" in volume
    assert release == "release v2: safety restore point 20261122T131500.123Z"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "ansible-playbook undo-rollback.yml -e rollback_application=schedgen"),
        ({"steps": [SAFETY]}, ""),
        ({"outcome": "nothing to do"}, ""),
    ],
)
def test_how_it_is_undone(changed: dict[str, Any], told: str) -> None:
    assert _report_facts.undo({**QUICK, **changed}) == told


# The operators' guide names them; each is told where it applies, and only there.
ALWAYS = {"External API changes", "Third-party service updates"}


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        pytest.param(QUICK["plan"], ALWAYS, id="code alone"),
        pytest.param({**QUICK["plan"], "replace": ["a", "b"]}, {*ALWAYS, "Multi-service coordination"}, id="services"),
        pytest.param(
            {**QUICK["plan"], "schema": {"added": ["Add1"], "reasons": []}},
            {*ALWAYS, "Schema changes with data transformation"},
            id="migrations stay",
        ),
        pytest.param(
            {**QUICK["plan"], "schema": {"added": [], "reasons": ["column a.b was dropped"]}},
            {*ALWAYS, "Destructive data migrations"},
            id="a column is gone",
        ),
        pytest.param(
            DATABASE["plan"],
            {
                *ALWAYS,
                "Destructive data migrations",
                "User-generated data conflicts",
                "Schema changes with data transformation",
                "Multi-service coordination",
            },
            id="all of them",
        ),
    ],
)
def test_limits(plan: dict[str, Any], told: set[str]) -> None:
    assert {sentence.partition(":")[0] for sentence in _report_facts.limits({**QUICK, "plan": plan})} == told
