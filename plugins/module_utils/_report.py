# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a run from its journal. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _checklist, _report_facts

OUTCOMES = ("success", "nothing to do", "failed", "interrupted")
#: What a run without the lock may take beyond its window before it counts as killed, in seconds.
UNLOCKED_GRACE = 300.0


def duration(seconds: float) -> str:
    """Return seconds as people say them: 4.2 s, 3 min 05 s."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def may_still_run(journal: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    """Whether a run that holds no lock may still be at work: its window, and some minutes to end, are not over."""
    begin = next((entry for entry in journal if entry.get("step") == "run" and entry.get("status") == "started"), None)
    if begin is None or begin.get("lock", True):
        return False
    started = datetime.fromisoformat(begin["at"])
    return (now - started).total_seconds() < float(begin.get("window", 0)) + UNLOCKED_GRACE


def _row(*cells: Any) -> str:
    """Return one line of a table; what would end a cell or the line is told otherwise."""
    told = ("<br>".join(str(cell).splitlines()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(told)} |"


def against_window(seconds: float, window: float) -> str:
    """Return a duration held against its time window; a window of 0 is none."""
    if window <= 0:
        return duration(seconds)
    verdict = "met" if seconds <= window else "missed"
    return f"{duration(seconds)} (window {duration(window)}: {verdict})"


def build(
    run: str,
    application: str,
    journal: Sequence[Mapping[str, Any]],
    outcome: str,
    finished: datetime,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the report as plain data. Raises ValueError for an unknown outcome or a journal without a start."""
    if outcome not in OUTCOMES:
        raise ValueError(f"the outcome '{outcome}' is not one of {', '.join(OUTCOMES)}")
    begin = next((entry for entry in journal if entry.get("step") == "run" and entry.get("status") == "started"), None)
    if begin is None:
        raise ValueError(f"the journal of run {run} has no start")
    started = datetime.fromisoformat(begin["at"])
    seconds = max(0.0, (finished - started).total_seconds())
    steps = [
        {
            "after_s": round((datetime.fromisoformat(entry["at"]) - started).total_seconds(), 3),
            **{key: value for key, value in entry.items() if key != "at"},
        }
        for entry in journal
    ]
    return {
        "run": run,
        "application": application,
        "type": begin.get("type", ""),
        "owner": begin.get("owner", ""),
        "reason": begin.get("reason", ""),
        "started": begin["at"],
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        # Of a run without the lock it is how long it may be at work, and no target to meet.
        "window": float(begin.get("window", 0)) if begin.get("lock", True) else 0.0,
        "outcome": outcome,
        "steps": steps,
        **facts,
    }


def _decided(decision: Mapping[str, Any]) -> list[str]:
    """Return what was decided before the run, and why; nothing where an operator chose the playbook."""
    if not decision:
        return []
    lines = ["", f"## Decision: {decision['severity']}, {decision['type']} ({decision['hash']})", ""]
    lines += [f"- {finding['severity']}: {finding['told']}" for finding in decision["findings"]]
    for title, sentences in (
        ("Because", decision["reasons"]),
        ("Not", [f"{option}: {why}" for option, why in decision["rejected"]]),
        ("At stake", decision["stake"]),
        ("For a person", decision["blockers"]),
        ("Not observed", decision["needs"]),
    ):
        if sentences:
            lines += ["", f"{title}:", "", *(f"- {sentence}" for sentence in sentences)]
    return lines


def _told(report: Mapping[str, Any]) -> list[str]:
    """Return what came of it: readiness, before and after, what is set aside, how to undo it, limits, monitoring."""
    lines = []
    findings = _report_facts.readiness(report)
    if findings:
        lines += ["", "## Readiness", "", "| | | |", "| --- | --- | --- |", *(_row(*found) for found in findings)]
    pairs = _report_facts.before_after(report)
    if pairs:
        lines += ["", "## Before and after", "", "| | before | after |", "| --- | --- | --- |"]
        lines += [_row(*pair) for pair in pairs]
    watched = report.get("monitoring") or {}
    if watched:
        lines += ["", f"## Monitoring: {watched.get('verdict', 'inconclusive')}", "", "| after | failed | of | p95 |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            _row(f"{item['elapsed']} s", item["failed"], item["requests"], item.get("p95") or "")
            for item in watched.get("series") or ()
        ]
    command = _report_facts.undo(report)
    for heading, sentences in (
        ("Set aside", _report_facts.set_aside(report)),
        ("To undo it", [f"`{command}`"] if command else []),
        ("Limits that apply", _report_facts.limits(report)),
    ):
        if sentences:
            lines += ["", f"## {heading}", "", *(f"- {sentence}" for sentence in sentences)]
    return lines


def title(report: Mapping[str, Any]) -> str:
    """Return what kind of run it was, in words."""
    kind = str(report["type"])
    return _report_facts.TITLES.get(kind, f"{kind.capitalize()} rollback")


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    lines = [
        f"# {title(report)} of {report['application']}: {report['outcome']}",
        "",
        "| | |",
        "| --- | --- |",
        _row("Run", report["run"]),
        _row("Started by", report["owner"] or "unknown"),
        _row("Reason", report["reason"] or "none given"),
        _row("Started", report["started"]),
        _row("Duration", against_window(report["seconds"], report["window"])),
    ]
    plan = report.get("plan") or {}
    if plan:
        lines += [
            _row("From", f"{plan['running_label']} ({plan['running']})"),
            _row("To", f"{plan['label']} ({plan['kind']} {plan['target']})"),
        ]
    lines += [_row(row["label"], row["value"]) for row in report.get("rows", ())]
    if report.get("message"):
        lines += ["", "## What went wrong", "", "```text", str(report["message"]), "```"]
    lines += _decided(report.get("decision") or {})
    if plan.get("steps"):
        lines += ["", "## Plan", ""] + [f"{number}. {step}" for number, step in enumerate(plan["steps"], start=1)]
    for heading, sentences in (
        ("Reasons", plan.get("reasons", ())),
        ("Rejected", [f"{option}: {why}" for option, why in plan.get("rejected", ())]),
        ("At stake", plan.get("stake", ())),
    ):
        if sentences:
            lines += ["", f"## {heading}", "", *(f"- {sentence}" for sentence in sentences)]
    if plan.get("warnings"):
        lines += ["", "## Warnings", ""] + [f"- {warning}" for warning in plan["warnings"]]
    lines += ["", "## Timeline", "", "| after | step | | |", "| --- | --- | --- | --- |"]
    for step in report["steps"]:
        took = f"{step['seconds']} s" if "seconds" in step else ""
        lines.append(_row(f"{step['after_s']} s", step["step"], step["status"], step.get("message") or took))
    verification = report.get("verification") or {}
    if verification:
        lines += ["", f"## Verification: {verification.get('verdict', 'inconclusive')}", ""]
        lines += [f"- {reason}" for reason in verification.get("reasons", ())]
        probes = verification.get("probes", ())
        if probes:
            lines += ["", "| check | verdict | took | |", "| --- | --- | --- | --- |"]
            lines += [
                _row(probe["name"], probe["verdict"], f"{probe['seconds']} s", probe["message"]) for probe in probes
            ]
    lines += _told(report)
    checked = _checklist.lines(report)
    for heading in dict.fromkeys(line.title for line in checked):
        lines += ["", f"## {heading}", ""]
        lines += [
            f"- [{'x' if line.done else ' '}] {line.text}: {' '.join(line.told.split())}"
            for line in checked
            if line.title == heading
        ]
    return "\n".join(lines) + "\n"
