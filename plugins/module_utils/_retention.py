# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which restore points are kept. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.schedgen.rollback.plugins.module_utils._candidate import (
    Point,
    good_points,
    last_rollback,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import moment


@dataclass(frozen=True)
class Policy:
    """How many restore points are kept: the newest ``last``, and the newest of so many days, weeks and months."""

    last: int = 10
    daily: int = 7
    weekly: int = 4
    monthly: int = 6

    def __post_init__(self) -> None:
        """Refuse negative numbers and a policy that would keep nothing."""
        for name in ("last", "daily", "weekly", "monthly"):
            if getattr(self, name) < 0:
                raise ValueError(f"retention '{name}' is {getattr(self, name)}: it must be 0 or more")
        if self.last + self.daily + self.weekly + self.monthly == 0:
            raise ValueError("a retention of 0 everywhere would keep nothing: at least one number must be above 0")


@dataclass(frozen=True)
class Kept:
    """A restore point with the reason why it is kept; ``reason`` is '' for one that is pruned."""

    id: str
    reason: str


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _week(when: datetime) -> str:
    year, week, _weekday = when.isocalendar()
    return f"{year}-W{week:02d}"


def _month(when: datetime) -> str:
    return f"{when:%Y-%m}"


def decide(points: Sequence[Point], policy: Policy) -> tuple[Kept, ...]:
    """Return every restore point, newest first, with why it is kept or '' when it may go.

    Never pruned are pinned ones, the newest safety point, and what :func:`choose_release` goes by: the last good one
    (which could be the candidate), the last good one of another release (which is it while the former's release
    runs), the record of the last rollback, and a bad mark for as long as another restore point has its release.
    """
    newest_first = sorted(points, key=lambda point: point.id, reverse=True)
    reasons: dict[str, str] = {}
    for point in newest_first:
        if point.pinned:
            reasons.setdefault(point.id, "pinned")
    good = good_points(newest_first)
    if good:
        reasons.setdefault(good[0].id, "the last good one")
    other = next((point for point in good if point.release != good[0].release), None)
    if other is not None:
        reasons.setdefault(other.id, "the last good one of another release")
    safety = next((point for point in newest_first if point.purpose == "safety"), None)
    if safety is not None:
        reasons.setdefault(safety.id, "the newest safety restore point: it undoes the last rollback")
    rollback = last_rollback(newest_first)
    if rollback is not None:
        reasons.setdefault(rollback.id, "it records the last rollback")
    for number, point in enumerate(newest_first[: policy.last], start=1):
        reasons.setdefault(point.id, f"number {number} of the {policy.last} newest")
    usable = [point for point in newest_first if not point.problem]
    spans: tuple[tuple[str, int, Callable[[datetime], str]], ...] = (
        ("day", policy.daily, _day),
        ("week", policy.weekly, _week),
        ("month", policy.monthly, _month),
    )
    for word, count, key in spans:
        seen: list[str] = []
        for point in usable:
            span = key(moment(point.id))
            if span in seen:
                continue
            if len(seen) == count:
                break
            seen.append(span)
            reasons.setdefault(point.id, f"the newest of {word} {span}")
    unmarked = {point.release for point in newest_first if point.bad is None and point.id in reasons}
    marks = {point.release: point for point in reversed(newest_first) if point.bad is not None}
    for release in unmarked & set(marks):
        reasons.setdefault(marks[release].id, "its bad mark holds for other restore points of its release")
    return tuple(Kept(point.id, reasons.get(point.id, "")) for point in newest_first)
