# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the restore point that a rollback goes to. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import NOTHING_RUNS


@dataclass(frozen=True)
class Mark:
    """A bad mark that counts: who put it, and, for a rollback, where it went and what ran afterwards."""

    at: str
    reason: str
    target: str = ""
    release_after: str = ""


@dataclass(frozen=True)
class Point:
    """A restore point as the choice sees it. ``problem`` says why it cannot be read ('' when it can).

    ``fleet`` are the hosts that were asked for it together, ``whole`` tells whether it is on all of them.
    """

    id: str
    purpose: str = "manual"
    release: str = ""
    label: str = ""
    verdict: str = "inconclusive"
    bad: Mark | None = None
    pinned: bool = False
    labels: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("release",)
    problem: str = ""
    fleet: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class PassedOver:
    """A restore point that was not chosen, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """The candidate (``id`` is '' when there is none), why it is the one, and what was passed over.

    ``satisfied`` tells that the last rollback's target still runs, so there is nothing to do.
    """

    id: str
    reason: str
    passed_over: tuple[PassedOver, ...] = ()
    satisfied: bool = False


def mark_in_force(events: Iterable[Mapping[str, Any]]) -> Mark | None:
    """Return the bad mark that the events leave in force: the last one, unless a later ``good`` took it back."""
    mark: Mark | None = None
    for event in events:
        if event.get("event") == "bad":
            mark = Mark(
                at=str(event.get("at", "")),
                reason=str(event.get("reason", "")),
                target=str(event.get("target", "")),
                release_after=str(event.get("release_after", "")),
            )
        elif event.get("event") == "good":
            mark = None
    return mark


def pinned(events: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the events leave the restore point pinned."""
    state = False
    for event in events:
        if event.get("event") in ("pinned", "unpinned"):
            state = event["event"] == "pinned"
    return state


def labels(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the labels that the events leave, sorted."""
    found: set[str] = set()
    for event in events:
        if event.get("event") == "labelled":
            found.update(event.get("labels", ()))
    return tuple(sorted(found))


def last_rollback(points: Iterable[Point]) -> Point | None:
    """Return the restore point whose bad mark records the last rollback, None when there was none."""
    rollbacks = (point for point in points if point.bad is not None and point.bad.release_after)
    return max(rollbacks, key=lambda point: point.id, default=None)


def good_points(points: Sequence[Point], *, code: bool = True) -> tuple[Point, ...]:
    """Return the restore points that could be the candidate if another release ran, newest first.

    ``code`` tells whether the host has services with code at all: a host of a database alone has none, and its restore
    points are as good without.
    """
    newest_first = sorted(points, key=lambda point: point.id, reverse=True)
    bad_releases = _bad_releases(newest_first)
    return tuple(point for point in newest_first if not _why_not(point, "", bad_releases, code=code))


def _bad_releases(newest_first: Sequence[Point]) -> dict[str, Point]:
    """Return the newest marked restore point of every release that is marked bad."""
    return {point.release: point for point in reversed(newest_first) if point.bad is not None and point.release}


def choose_release(points: Sequence[Point], running: str, interrupted: str = "") -> Choice:
    """Choose the candidate for the application, given the release that runs now.

    ``interrupted`` is where the last switch went, if it was killed before it could say that it was done: where that
    release runs already, what is left to do is its rest. Otherwise the candidate is the newest restore point that is
    complete, was healthy when taken, is no safety point, is not marked bad (nor records a release that is), and whose
    release is not the one running.
    """
    newest_first = sorted(points, key=lambda point: point.id, reverse=True)
    rollback = last_rollback(newest_first)
    mark = rollback.bad if rollback is not None else None
    if mark is not None and running not in ("", NOTHING_RUNS) and mark.release_after == running:
        where = f"restore point {mark.target}" if mark.target else "the release that was asked for"
        return Choice(
            mark.target,
            f"the last rollback went to {where} ({mark.at}); it still runs and nothing was deployed since",
            satisfied=True,
        )
    for point in newest_first:
        if point.id == interrupted and not point.problem and point.release == running:
            return Choice(point.id, "a run that was killed had come there, and may have left something to do")
    bad_releases = _bad_releases(newest_first)
    passed: list[PassedOver] = []
    for point in newest_first:
        reason = _why_not(point, running, bad_releases)
        if not reason:
            return Choice(
                point.id, "the newest one that was healthy when taken and is not what runs now", tuple(passed)
            )
        passed.append(PassedOver(point.id, reason))
    return Choice("", "no restore point qualifies" if passed else "there is no restore point", tuple(passed))


def choose_configuration(points: Sequence[Point], running: str, images: Mapping[str, bool]) -> Choice:
    """Choose the restore point to take the configuration back to: the candidate among those with the images that run.

    ``images`` tells of each restore point whether its services that carry code had the images that run now.
    """
    same = [point for point in points if images.get(point.id)]
    choice = choose_release(same, running)
    others = tuple(
        PassedOver(point.id, "its services run other images now: a quick rollback takes both back")
        for point in sorted(points, key=lambda point: point.id, reverse=True)
        if not images.get(point.id)
    )
    reason = choice.reason if choice.id else "no restore point has the images that run now with another configuration"
    return replace(choice, reason=reason, passed_over=(*choice.passed_over, *others))


def choose_database(points: Sequence[Point], created: Mapping[str, str], damaged_since: str) -> Choice:
    """Choose the restore point for a database whose data are damaged since a moment, whichever release runs.

    The newest one with a database part from before that moment. ``created`` is when each was begun, and
    ``damaged_since`` the moment, both in UTC as RFC 3339 with seconds.
    """
    newest_first = sorted(points, key=lambda point: point.id, reverse=True)
    bad_releases = _bad_releases(newest_first)
    passed: list[PassedOver] = []
    for point in newest_first:
        reason = ""
        if point.problem:
            reason = f"it cannot be used: {point.problem}"
        elif not point.whole:
            reason = _not_whole(point)
        elif "database" not in point.parts:
            reason = "it has no database part"
        elif created[point.id] >= damaged_since:
            reason = f"it was taken at {created[point.id]}, and data are damaged since {damaged_since}"
        elif point.bad is not None or point.release in bad_releases:
            reason = "its release is marked bad"
        if not reason:
            why = f"the newest one with a database from before {damaged_since}"
            return Choice(point.id, why, tuple(passed))
        passed.append(PassedOver(point.id, reason))
    return Choice("", f"no restore point has a database from before {damaged_since}", tuple(passed))


def _not_whole(point: Point) -> str:
    return f"it was not completed on all the hosts that were asked for it ({', '.join(point.fleet)})"


def _why_not(point: Point, running: str, bad_releases: Mapping[str, Point], *, code: bool = True) -> str:
    """Return why ``point`` cannot be the candidate, '' when it can."""
    if point.problem:
        return f"it cannot be used: {point.problem}"
    if not point.whole:
        return _not_whole(point)
    if point.purpose == "safety":
        return "it is a safety restore point, taken before a rollback"
    if point.bad is not None:
        return f"it is marked bad: {point.bad.reason or 'no reason given'} ({point.bad.at})"
    if code and point.release == NOTHING_RUNS:
        return "no service that carries code was running when it was taken"
    if point.release in bad_releases:
        return f"its release is marked bad: {bad_releases[point.release].bad.reason or 'no reason given'}"  # type: ignore[union-attr]
    if point.release == running:
        return "its release is the one running now"
    if point.verdict != "healthy":
        return f"the application was {point.verdict} when it was taken"
    return ""
