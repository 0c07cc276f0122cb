# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checklists of the operators' guide, each line ticked by what happened. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _report_facts, _words

BEFORE, AFTER = "Before the rollback", "After the rollback"


@dataclass(frozen=True)
class Line:
    """One line of a checklist. ``told`` is what happened, or what a person has to do where it is open."""

    title: str
    text: str
    done: bool
    told: str


def _steps(report: Mapping[str, Any], step: str) -> list[Mapping[str, Any]]:
    return [entry for entry in report.get("steps", ()) if entry.get("step") == step and entry.get("status") == "done"]


def _sent(report: Mapping[str, Any], event: str) -> list[str]:
    """Return the receivers that were told of an event."""
    return [
        str(entry.get("target", ""))
        for entry in report.get("notifications") or ()
        if entry.get("event") == event and entry.get("sent")
    ]


def _before(report: Mapping[str, Any]) -> list[Line]:
    decision, plan = report.get("decision") or {}, report.get("plan") or {}
    findings = [str(entry["told"]) for entry in decision.get("findings", ())]
    reason = str(report.get("reason") or "")
    cause = "; ".join(filter(None, [reason, *findings]))
    kind = str(decision.get("type") or plan.get("how") or report.get("type") or "")
    safety = [entry["id"] for entry in _steps(report, "restore point") if entry.get("purpose") == "safety"]
    told = _sent(report, "start")
    probes = (report.get("verification") or {}).get("probes") or ()
    nothing = report.get("outcome") == "nothing to do"
    return [
        Line(
            BEFORE,
            "Identify the issue and root cause",
            bool(cause),
            cause or "no reason was given and nothing was observed: pass -e reason=… or begin with assess.yml",
        ),
        Line(
            BEFORE,
            "Determine rollback scope (app, database, full)",
            bool(plan),
            f"{kind}: {plan.get('running_label')} to {plan.get('label')}" if plan else "no plan was made",
        ),
        Line(
            BEFORE,
            "Take backup of current state",
            bool(safety) or nothing,
            f"safety restore point {safety[-1]}" if safety else "nothing was changed" if nothing else "none was taken",
        ),
        Line(
            BEFORE,
            "Notify team of rollback action",
            bool(told),
            f"told: {', '.join(told)}"
            if told
            else "nobody was told by this run: set rollback_notify, or tell the team",
        ),
        Line(BEFORE, "Document the issue", bool(cause), "this report" if cause else "write down what was seen"),
        Line(
            BEFORE,
            "Prepare verification steps",
            bool(probes),
            _words.times(len(probes), "check") if probes else "no check was made: declare rollback_health_checks",
        ),
    ]


def _after(report: Mapping[str, Any]) -> list[Line]:
    verification, watched = report.get("verification") or {}, report.get("monitoring") or {}
    verdict = str(verification.get("verdict") or "")
    reasons = "; ".join(verification.get("reasons") or ())
    ending = "success" if report.get("outcome") in ("success", "nothing to do") else "failure"
    told = _sent(report, ending) + _sent(report, "escalation")
    plan = report.get("plan") or {}
    left = plan.get("running_label") or "the release that was left"
    return [
        Line(
            AFTER,
            "Verify System Health",
            verdict == "healthy",
            f"{verdict}, {_words.times(len(verification.get('probes') or ()), 'check')}"
            if verdict == "healthy"
            else f"{verdict or 'not verified'}{': ' + reasons if reasons else ''}; run verify-deployment.yml",
        ),
        Line(
            AFTER,
            "Monitor Metrics",
            watched.get("verdict") == "healthy",
            f"{watched['verdict']} for {watched.get('seconds', 0):.0f} s"
            if watched.get("verdict")
            else "run ansible-playbook monitor.yml",
        ),
        Line(
            AFTER,
            "Notify Stakeholders",
            bool(told),
            f"told: {', '.join(told)}" if told else "tell the team and the users",
        ),
        Line(AFTER, "Document Incident", True, "this report; add what only people know"),
        Line(AFTER, "Plan Fix", False, f"schedule a fix of {left} and deploy it with its own verification"),
        Line(AFTER, "Review Process", False, "look through the lines that are open here, and what took long"),
    ]


def lines(report: Mapping[str, Any]) -> list[Line]:
    """Return both checklists of a run, those of a rollback alone."""
    if not _report_facts.is_rollback(report):
        return []
    return [*_before(report), *_after(report)]


def open_lines(checked: Sequence[Line]) -> list[str]:
    """Return what a person still has to do."""
    return [f"{line.text}: {line.told}" for line in checked if not line.done]
