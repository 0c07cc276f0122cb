# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restore points are kept: numbers, days, weeks, months, and what is never pruned."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._candidate import Mark, Point, choose_release
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import NOTHING_RUNS, identifier
from ansible_collections.schedgen.rollback.plugins.module_utils._retention import Kept, Policy, decide

GOOD, SAFETY = "the last good one", "the newest safety restore point: it undoes the last rollback"
OTHER, ROLLBACK = "the last good one of another release", "it records the last rollback"
MARK = "its bad mark holds for other restore points of its release"
ONE = Policy(last=1, daily=0, weekly=0, monthly=0)


def taken(when: str, **more: Any) -> Point:
    """A restore point of an unhealthy release, so that no rule but those on numbers and spans keeps it."""
    at = datetime.fromisoformat(when).replace(tzinfo=timezone.utc)
    return Point(**{"id": identifier(at), "release": "v1", "verdict": "unhealthy", **more})


def reasons(points: list[Point], policy: Policy) -> list[str]:
    """Why each is kept, in the order in which the points were given."""
    kept = {entry.id: entry.reason for entry in decide(points, policy)}
    return [kept[point.id] for point in points]


@pytest.mark.parametrize("name", ["last", "daily", "weekly", "monthly"])
def test_a_negative_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^retention '{name}' is -1: it must be 0 or more$"):
        Policy(**{name: -1})


def test_a_policy_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a retention of 0 everywhere would keep nothing: at least one number must"):
        Policy(0, 0, 0, 0)


def test_defaults() -> None:
    assert Policy() == Policy(last=10, daily=7, weekly=4, monthly=6)


def test_nothing_to_decide() -> None:
    assert decide([], Policy()) == ()


def test_newest_first_whatever_the_order_given() -> None:
    old, middle, new = (taken(f"2026-11-{day} 10:00") for day in (20, 21, 22))
    assert decide([middle, old, new], Policy(2, 0, 0, 0)) == (
        Kept(new.id, "number 1 of the 2 newest"),
        Kept(middle.id, "number 2 of the 2 newest"),
        Kept(old.id, ""),
    )


@pytest.mark.parametrize(
    ("policy", "times", "expected"),
    [
        # Midnight UTC is the edge of a day.
        (Policy(0, 2, 0, 0), ["2026-11-21 00:00", "2026-11-21 23:59:59.999", "2026-11-22 00:00"],
         ["", "the newest of day 2026-11-21", "the newest of day 2026-11-22"]),
        # A day without a restore point does not use up a place.
        (Policy(0, 2, 0, 0), ["2026-11-01 10:00", "2026-11-10 10:00", "2026-11-22 10:00"],
         ["", "the newest of day 2026-11-10", "the newest of day 2026-11-22"]),
        # Sunday and Monday are different weeks.
        (Policy(0, 0, 2, 0), ["2026-11-16 00:00", "2026-11-22 23:59", "2026-11-23 00:00"],
         ["", "the newest of week 2026-W47", "the newest of week 2026-W48"]),
        # The week of new year is one week: 28 December 2026 to 3 January 2027 is 2026-W53.
        (Policy(0, 0, 2, 0), ["2026-12-27 10:00", "2026-12-31 10:00", "2027-01-03 10:00"],
         ["the newest of week 2026-W52", "", "the newest of week 2026-W53"]),
        # 30 December 2024 is in the first week of 2025.
        (Policy(0, 0, 9, 0), ["2024-12-29 10:00", "2024-12-30 10:00", "2025-01-05 10:00", "2025-01-06 10:00"],
         ["the newest of week 2024-W52", "", "the newest of week 2025-W01", "the newest of week 2025-W02"]),
        (Policy(0, 0, 0, 2), ["2026-09-30 10:00", "2026-10-31 23:59:59.999", "2026-11-01 00:00"],
         ["", "the newest of month 2026-10", "the newest of month 2026-11"]),
        # The same month of two years are two months.
        (Policy(0, 0, 0, 2), ["2025-11-22 10:00", "2026-11-22 10:00"],
         ["the newest of month 2025-11", "the newest of month 2026-11"]),
        # One restore point can be the newest of all three: it is told once, and each rule counts it.
        (Policy(1, 1, 1, 2), ["2026-10-22 10:00", "2026-11-21 10:00", "2026-11-22 10:00"],
         ["the newest of month 2026-10", "", "number 1 of the 1 newest"]),
        (Policy(2, 3, 0, 0), ["2026-11-20 10:00", "2026-11-21 10:00", "2026-11-22 09:00", "2026-11-22 10:00"],
         ["the newest of day 2026-11-20", "the newest of day 2026-11-21", "number 2 of the 2 newest",
          "number 1 of the 2 newest"]),
        (Policy(5, 0, 0, 0), ["2026-11-22 10:00"], ["number 1 of the 5 newest"]),
    ],
)  # fmt: skip
def test_numbers_and_spans(policy: Policy, times: list[str], expected: list[str]) -> None:
    assert reasons([taken(when) for when in times], policy) == expected


def test_what_is_never_pruned() -> None:
    points = [
        taken("2026-01-01", pinned=True),
        taken("2026-01-02", verdict="healthy", release="v0"),
        taken("2026-01-03", verdict="healthy", release="v1"),
        taken("2026-01-04", verdict="healthy", release="v2"),
        taken("2026-01-05", verdict="healthy", release="v2"),
        taken("2026-01-06", verdict="healthy", purpose="safety", release="v3"),
        taken("2026-01-07", verdict="healthy", purpose="safety", release="v3"),
        taken("2026-01-08"),
        taken("2026-01-09"),
    ]
    assert reasons(points, ONE) == ["pinned", "", OTHER, "", GOOD, "", SAFETY, "", "number 1 of the 1 newest"]


@pytest.mark.parametrize(
    "more",
    [
        {"problem": "the manifest is no JSON"},
        {"purpose": "safety"},
        {"bad": Mark("t", "")},
        {"verdict": "inconclusive"},
        {"release": "v9"},
        {"release": NOTHING_RUNS},
    ],
    ids=["unreadable", "safety", "marked bad", "not known to be healthy", "of a bad release", "nothing ran"],
)
def test_what_is_not_good_takes_no_place_from_the_last_good_one(more: dict[str, Any]) -> None:
    points = [
        taken("2026-01-01", verdict="healthy"),
        taken("2026-01-02", **{"verdict": "healthy", "release": "v2", **more}),
        taken("2026-01-03", release="v9", purpose="safety", bad=Mark("t", "", "1", "v1")),
        taken("2026-01-04"),
    ]
    assert reasons(points, ONE)[0] == GOOD


def test_an_unreadable_one_stands_for_no_day() -> None:
    points = [taken("2026-01-01 10:00"), taken("2026-01-01 11:00", problem="truncated")]
    assert reasons(points, Policy(0, 1, 0, 0)) == ["the newest of day 2026-01-01", ""]


def test_marks_are_kept_as_long_as_they_matter() -> None:
    points = [
        taken("2026-01-01", release="v2", pinned=True),
        taken("2026-01-02", release="v2", purpose="safety", bad=Mark("t", "first", "1", "v1")),
        taken("2026-01-03", release="v2", purpose="safety", bad=Mark("t", "second", "1", "v1")),
        taken("2026-01-04", release="v3", purpose="safety", bad=Mark("t", "third", "1", "v1")),
        taken("2026-01-05", release="v4", purpose="safety", bad=Mark("t", "by a person")),
        taken("2026-01-06", release="v1"),
    ]
    assert reasons(points, ONE) == ["pinned", "", MARK, ROLLBACK, SAFETY, "number 1 of the 1 newest"]


@pytest.mark.parametrize("seed", range(40))
def test_pruning_never_changes_where_a_rollback_goes(seed: int) -> None:
    """Whatever runs: the choice among those kept is the choice among all."""
    draw = random.Random(seed)
    begin = datetime(2026, 11, 1, tzinfo=timezone.utc)
    releases = ["v1", "v2", "v3", "v4", NOTHING_RUNS]
    points = []
    for number in range(30):
        safety = draw.random() < 0.3
        mark = Mark("t", "", "x", draw.choice(releases[:4])) if safety and draw.random() < 0.7 else None
        points.append(
            Point(
                identifier(begin + timedelta(hours=9 * number)),
                purpose="safety" if safety else "deploy",
                release=draw.choice(releases),
                verdict=draw.choice(["healthy", "healthy", "unhealthy", "inconclusive"]),
                bad=mark or (Mark("t", "by a person") if draw.random() < 0.1 else None),
                problem="truncated" if draw.random() < 0.1 else "",
            )
        )
    policy = draw.choice([ONE, Policy(3, 2, 0, 0), Policy(0, 0, 1, 0)])
    kept = {entry.id for entry in decide(points, policy) if entry.reason}
    assert len(kept) < len(points)
    left = [point for point in points if point.id in kept]
    for running in [*releases, "v9"]:
        before, after = choose_release(points, running), choose_release(left, running)
        assert (after.id, after.satisfied) == (before.id, before.satisfied)
