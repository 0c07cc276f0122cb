# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sum up what runs came to. Pure; private to this collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _report, _report_facts


def watched(report: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the newest monitoring window after a rollback and before the next one; empty for none."""
    found: Mapping[str, Any] = {}
    for entry in sorted(reports, key=lambda each: str(each["run"])):
        if entry["run"] <= report["run"]:
            continue
        if _report_facts.is_rollback(entry):
            break
        if entry.get("type") == "monitor" and entry.get("monitoring"):
            found = entry["monitoring"]
    return found


def with_window(report: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a rollback's report with what the window after it showed, where there was one."""
    found = watched(report, reports)
    return {**report, "monitoring": found} if found else dict(report)


def kinds(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for every kind of run how many there were, how they ended, and how long they took in seconds.

    A rollback helped when it ended with success: that includes a verification that found the application healthy.
    """
    told = []
    for kind in sorted({str(entry.get("type", "")) for entry in reports}):
        mine = [entry for entry in reports if entry.get("type") == kind]
        seconds = [float(entry.get("seconds") or 0) for entry in mine]
        outcomes = Counter(str(entry.get("outcome", "")) for entry in mine)
        told.append(
            {
                "kind": kind,
                "runs": len(mine),
                "outcomes": dict(sorted(outcomes.items())),
                "helped": outcomes["success"] if _report_facts.is_rollback(mine[0]) else None,
                "median_s": round(median(seconds), 1),
                "longest_s": round(max(seconds), 1),
            }
        )
    return told


def line(kind: Mapping[str, Any]) -> str:
    """Return one kind of run in a line."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in kind["outcomes"].items())
    helped = "" if kind["helped"] is None else f"; helped {kind['helped']} of {kind['runs']} times"
    return (
        f"{kind['kind']}: {kind['runs']} ({outcomes}){helped}; median {_report.duration(kind['median_s'])},"
        f" longest {_report.duration(kind['longest_s'])}"
    )
