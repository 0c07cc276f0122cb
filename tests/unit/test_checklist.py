# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every line of the guide's checklists: ticked by what happened, and open when it is made untrue."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._checklist import lines, open_lines

DONE: dict[str, Any] = {
    "type": "quick",
    "outcome": "success",
    "reason": "v2 answers 500",
    "plan": {"running_label": "v2", "label": "v1"},
    "steps": [{"step": "restore point", "status": "done", "purpose": "safety", "id": "20261122T131500.123Z"}],
    "verification": {"verdict": "healthy", "reasons": [], "probes": [{"name": "front door"}]},
    "monitoring": {"verdict": "healthy", "seconds": 600},
    "notifications": [
        {"event": "start", "target": "team chat", "sent": True},
        {"event": "success", "target": "team chat", "sent": True},
    ],
}
ALWAYS_OPEN = {"Plan Fix", "Review Process"}
GUIDE = [
    "Identify the issue and root cause",
    "Determine rollback scope (app, database, full)",
    "Take backup of current state",
    "Notify team of rollback action",
    "Document the issue",
    "Prepare verification steps",
    "Verify System Health",
    "Monitor Metrics",
    "Notify Stakeholders",
    "Document Incident",
    "Plan Fix",
    "Review Process",
]


def still_open(**changed: Any) -> set[str]:
    return {line.text for line in lines({**DONE, **changed}) if not line.done} - ALWAYS_OPEN


def test_every_line_of_the_guide_is_there_in_its_order() -> None:
    assert [line.text for line in lines(DONE)] == GUIDE


def test_all_is_ticked_where_all_was_done() -> None:
    assert still_open() == set()


@pytest.mark.parametrize(
    ("changed", "opened"),
    [
        ({"reason": ""}, {"Identify the issue and root cause", "Document the issue"}),
        ({"reason": "", "decision": {"type": "quick", "findings": [{"told": "outage"}]}}, set()),
        ({"plan": {}}, {"Determine rollback scope (app, database, full)"}),
        ({"steps": []}, {"Take backup of current state"}),
        (
            {"steps": [{"step": "restore point", "status": "done", "purpose": "deploy", "id": "x"}]},
            {"Take backup of current state"},
        ),
        ({"steps": [], "outcome": "nothing to do"}, set()),
        ({"notifications": []}, {"Notify team of rollback action", "Notify Stakeholders"}),
        (
            {"notifications": [{"event": "start", "target": "team chat", "sent": False}]},
            {"Notify team of rollback action", "Notify Stakeholders"},
        ),
        ({"verification": {}}, {"Prepare verification steps", "Verify System Health"}),
        ({"verification": {"verdict": "inconclusive", "probes": [{}]}}, {"Verify System Health"}),
        ({"verification": {"verdict": "unhealthy", "probes": [{}]}}, {"Verify System Health"}),
        ({"monitoring": {}}, {"Monitor Metrics"}),
        ({"monitoring": {"verdict": "unhealthy", "seconds": 30}}, {"Monitor Metrics"}),
        ({"outcome": "failed"}, {"Notify Stakeholders"}),
        (
            {"outcome": "failed", "notifications": [{"event": "escalation", "target": "on-call", "sent": True}]},
            {"Notify team of rollback action"},
        ),
    ],
)
def test_a_line_is_open_when_it_is_made_untrue(changed: dict[str, Any], opened: set[str]) -> None:
    assert still_open(**changed) == opened


def test_what_is_open_says_what_a_person_does() -> None:
    told = open_lines(lines({**DONE, "reason": "", "notifications": [], "verification": {}, "monitoring": {}}))
    assert len(told) == 9
    for words in (
        "pass -e reason=",
        "set rollback_notify",
        "run verify-deployment.yml",
        "ansible-playbook monitor.yml",
    ):
        assert any(words in sentence for sentence in told), words


@pytest.mark.parametrize("kind", ["assess", "backup", "deploy", "drill", "monitor", "readiness"])
def test_what_is_no_rollback_has_no_checklist(kind: str) -> None:
    assert lines({**DONE, "type": kind}) == []
