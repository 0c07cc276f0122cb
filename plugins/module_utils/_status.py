# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an application stands for a rollback: one table of what there is. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _candidate, _manifest, _report, _words

# How many restore points and runs a table shows.
SHOWN = 5


@dataclass(frozen=True)
class Point:
    """A restore point as the table shows it. ``proven`` is when its database was proven to restore, '' for never."""

    id: str
    label: str
    purpose: str
    verdict: str
    parts: tuple[str, ...] = ()
    problem: str = ""
    bad: str = ""
    pinned: bool = False
    proven: str = ""

    @property
    def usable(self) -> bool:
        """Whether a rollback could go to it: it can be read, was healthy when taken, and is not marked bad."""
        return not self.problem and not self.bad and self.verdict == "healthy" and self.purpose != "safety"


def proven_at(events: Sequence[Mapping[str, Any]]) -> str:
    """Return when the events last say that the database can be restored, '' where the last word is that it cannot."""
    for event in reversed(events):
        if event.get("event") in ("proven", "not proven"):
            return str(event.get("at", "")) if event["event"] == "proven" else ""
    return ""


def shown(summary: _candidate.Point, events: Sequence[Mapping[str, Any]]) -> Point:
    """Return what the table shows of a restore point."""
    return Point(
        id=summary.id,
        label=summary.label,
        purpose=summary.purpose,
        verdict=summary.verdict,
        parts=summary.parts if not summary.problem else (),
        problem=summary.problem,
        bad=summary.bad.reason or "no reason given" if summary.bad else "",
        pinned=summary.pinned,
        proven=proven_at(events),
    )


def age(point_id: str, now: datetime) -> float:
    """Return how many hours ago a restore point was begun."""
    return max(0.0, (now - _manifest.moment(point_id)).total_seconds() / 3600)


def ago(hours: float) -> str:
    """Return hours as people say them."""
    if hours < 1:
        return f"{_words.number_text(round(hours * 60))} min"
    return (
        f"{_words.number_text(round(hours, 1))} h" if hours < 48 else f"{_words.number_text(round(hours / 24, 1))} days"
    )


def newest(points: Sequence[Point], *, proven: bool) -> Point | None:
    """Return the newest restore point that a rollback could go to, of those that are proven where that is asked."""
    usable = [point for point in points if point.usable and (point.proven or not proven)]
    return max(usable, key=lambda point: point.id, default=None)


def wrong(points: Sequence[Point], now: datetime, *, max_age: float, max_proven_age: float) -> list[str]:
    """Return, in sentences, what is past a limit. Limits are in hours, 0 for none."""
    told = []
    for limit, proven, what in ((max_age, False, "usable"), (max_proven_age, True, "proven")):
        if limit <= 0:
            continue
        point = newest(points, proven=proven)
        if point is None:
            told.append(f"there is no {what} restore point")
        elif age(point.id, now) > limit:
            told.append(
                f"the newest {what} restore point, {point.id}, is {ago(age(point.id, now))} old: limit {ago(limit)}"
            )
    return told


def point_line(point: Point, now: datetime) -> str:
    """Return one restore point in a line."""
    what = ", ".join(point.parts) or "nothing"
    state = point.problem or (f"bad: {point.bad}" if point.bad else point.verdict)
    marks = ", proven" if point.proven else ""
    marks += ", pinned" if point.pinned else ""
    label = f" {point.label}" if point.label else ""
    return f"{point.id}{label}: {point.purpose}, {what}; {state}{marks}; {ago(age(point.id, now))} ago"


def run_line(report: Mapping[str, Any]) -> str:
    """Return one run in a line."""
    took = _report.duration(float(report.get("seconds") or 0))
    return f"{report['run']}: {report['outcome']}, {took}, by {report.get('owner') or 'unknown'}"


def lines(status: Mapping[str, Any], points: Sequence[Point], now: datetime) -> list[str]:
    """Return the whole table in lines."""
    told = [
        f"Restore point {point_line(point, now)}" for point in sorted(points, key=lambda p: p.id, reverse=True)[:SHOWN]
    ]
    told += [f"Run {run_line(report)}" for report in status["runs"][:SHOWN]]
    told += [f"Set aside: database {entry['name']}" for entry in status["databases"] if entry["kind"] == "set aside"]
    told += [f"Set aside: volume content {path}" for path in status["volumes"]]
    lock, freeze = status["lock"], status["freeze"]
    if lock:
        told.append(f"Lock: held by {lock['owner']} for run {lock['run']} since {lock['since']}")
    if freeze:
        told.append(f"Frozen by {freeze['owner']} since {freeze['since']}: {freeze['reason'] or 'no reason given'}")
    return told
