# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restore point a rollback goes to, and why the others are passed over."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._candidate import (
    Choice,
    Mark,
    PassedOver,
    Point,
    choose_configuration,
    choose_database,
    choose_release,
    good_points,
    labels,
    last_rollback,
    mark_in_force,
    pinned,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import NOTHING_RUNS

NEWEST = "the newest one that was healthy when taken and is not what runs now"
BY_PERSON = Mark("2026-11-22T13:00:00Z", "500s on login")
BY_ROLLBACK = Mark("2026-11-22T13:00:00Z", "500s on login", target="1", release_after="v1")


def point(point_id: str, release: str = "", **more: Any) -> Point:
    return Point(**{"id": point_id, "release": release or f"v{point_id}", "verdict": "healthy", **more})


@pytest.mark.parametrize(
    ("events", "mark"),
    [
        ([], None),
        ([{"event": "pinned"}], None),
        ([{"event": "bad", "at": "t1", "reason": "slow"}], Mark("t1", "slow")),
        ([{"event": "bad"}], Mark("", "")),
        (
            [{"event": "bad", "at": "t1", "reason": "slow", "target": "1", "release_after": "v1", "run": "r"}],
            Mark("t1", "slow", "1", "v1"),
        ),
        ([{"event": "bad", "at": "t1"}, {"event": "good", "at": "t2"}], None),
        ([{"event": "good"}, {"event": "bad", "at": "t2", "reason": "x"}], Mark("t2", "x")),
        ([{"event": "bad", "at": "t1"}, {"event": "good"}, {"event": "bad", "at": "t3", "reason": "y"}],
         Mark("t3", "y")),
        # The last one counts, whole: nothing of an earlier mark is mixed in.
        ([{"event": "bad", "at": "t1", "target": "1", "release_after": "v1"}, {"event": "bad", "at": "t2"}],
         Mark("t2", "")),
    ],
)  # fmt: skip
def test_mark_in_force(events: Any, mark: Mark | None) -> None:
    assert mark_in_force(events) == mark


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], False),
        ([{"event": "pinned"}], True),
        ([{"event": "pinned"}, {"event": "bad"}], True),
        ([{"event": "pinned"}, {"event": "unpinned"}], False),
        ([{"event": "unpinned"}, {"event": "pinned"}], True),
    ],
)
def test_pinned(events: Any, state: bool) -> None:
    assert pinned(events) is state


def test_labels_are_gathered_and_sorted() -> None:
    events: list[dict[str, Any]] = [
        {"event": "labelled", "labels": ["release-7", "audit"]},
        {"event": "bad"},
        {"event": "labelled", "labels": ["audit"]},
        {"event": "labelled"},
    ]
    assert labels(events) == ("audit", "release-7")
    assert labels([]) == ()


@pytest.mark.parametrize(
    ("passed", "reason"),
    [
        (point("2", problem="the manifest is no JSON"), "it cannot be used: the manifest is no JSON"),
        (point("2", purpose="safety"), "it is a safety restore point, taken before a rollback"),
        (point("2", bad=BY_PERSON), "it is marked bad: 500s on login (2026-11-22T13:00:00Z)"),
        (point("2", bad=Mark("t", "")), "it is marked bad: no reason given (t)"),
        (point("2", NOTHING_RUNS), "no service that carries code was running when it was taken"),
        (point("2", "v9"), "its release is the one running now"),
        (point("2", verdict="unhealthy"), "the application was unhealthy when it was taken"),
        (point("2", verdict="inconclusive"), "the application was inconclusive when it was taken"),
        # The first reason that holds is told: a broken one is not judged any further.
        (point("2", "v9", problem="x", purpose="safety", bad=BY_PERSON), "it cannot be used: x"),
        (point("2", "v9", purpose="safety", bad=BY_PERSON), "it is a safety restore point, taken before a rollback"),
        (point("2", "v9", verdict="unhealthy"), "its release is the one running now"),
    ],
)
def test_one_is_passed_over_with_its_reason(passed: Point, reason: str) -> None:
    assert choose_release([point("1"), passed], "v9") == Choice("1", NEWEST, (PassedOver("2", reason),))


def test_the_newest_is_chosen_in_whatever_order_they_come() -> None:
    points = [point("2"), point("3"), point("1")]
    assert choose_release(points, "v9") == Choice("3", NEWEST)
    assert choose_release(points, "v3") == Choice("2", NEWEST, (PassedOver("3", "its release is the one running now"),))


@pytest.mark.parametrize(
    ("points", "choice"),
    [
        ([], Choice("", "there is no restore point")),
        ([point("1", "v9")],
         Choice("", "no restore point qualifies", (PassedOver("1", "its release is the one running now"),))),
    ],
)  # fmt: skip
def test_none_qualifies(points: list[Point], choice: Choice) -> None:
    assert choose_release(points, "v9") == choice


def test_a_bad_release_is_bad_in_all_its_restore_points() -> None:
    points = [point("1"), point("2", "v2"), point("3", "v2"), point("4", "v2", purpose="safety", bad=BY_PERSON)]
    choice = choose_release(points, "v9")
    assert choice.id == "1"
    assert choice.passed_over == (
        PassedOver("4", "it is a safety restore point, taken before a rollback"),
        PassedOver("3", "its release is marked bad: 500s on login"),
        PassedOver("2", "its release is marked bad: 500s on login"),
    )


def test_of_several_marks_the_newest_restore_point_speaks() -> None:
    points = [point("1"), point("2", "v2", bad=Mark("t", "old")), point("3", "v2"), point("4", "v2", bad=Mark("t", ""))]
    reasons = {entry.id: entry.reason for entry in choose_release(points, "v9").passed_over}
    assert reasons == {
        "4": "it is marked bad: no reason given (t)",
        "3": "its release is marked bad: no reason given",
        "2": "it is marked bad: old (t)",
    }


def test_a_mark_that_is_taken_back_holds_for_none() -> None:
    mark = mark_in_force([{"event": "bad", "at": "t1"}, {"event": "good", "at": "t2"}])
    points = [point("1"), point("2", "v2"), point("3", "v2", purpose="safety", bad=mark)]
    assert choose_release(points, "v9").id == "2"


def test_a_mark_on_a_release_without_a_name_condemns_nothing() -> None:
    unreadable = Point("3", problem="truncated", bad=BY_PERSON)
    assert choose_release([point("1"), unreadable], "v9").id == "1"


AFTER = [point("1", "v1"), point("2", "v2"), point("3", "v2", purpose="safety", bad=BY_ROLLBACK)]


def test_the_target_of_the_last_rollback_still_runs() -> None:
    assert choose_release(AFTER, "v1") == Choice(
        "1",
        "the last rollback went to restore point 1 (2026-11-22T13:00:00Z);"
        " it still runs and nothing was deployed since",
        satisfied=True,
    )


def test_a_backup_of_the_target_changes_nothing() -> None:
    assert choose_release([*AFTER, point("4", "v1")], "v1").satisfied


def test_a_target_that_no_restore_point_described() -> None:
    mark = Mark("2026-11-22T13:00:00Z", "", release_after="v1")
    choice = choose_release([point("3", "v2", purpose="safety", bad=mark)], "v1")
    assert choice == Choice(
        "",
        "the last rollback went to the release that was asked for (2026-11-22T13:00:00Z);"
        " it still runs and nothing was deployed since",
        satisfied=True,
    )


@pytest.mark.parametrize(
    ("running", "chosen"),
    [("v3", "1"), ("v2", "1"), (NOTHING_RUNS, "1"), ("", "1")],
    ids=["deployed since", "what is bad runs again", "nothing runs", "not known"],
)
def test_something_else_runs_after_a_rollback(running: str, chosen: str) -> None:
    choice = choose_release(AFTER, running)
    assert (choice.id, choice.satisfied) == (chosen, False)


def test_nothing_runs_and_the_last_rollback_left_nothing() -> None:
    mark = Mark("t", "", target="1", release_after=NOTHING_RUNS)
    choice = choose_release([point("1"), point("2", purpose="safety", bad=mark)], NOTHING_RUNS)
    assert (choice.id, choice.satisfied) == ("1", False)


def test_only_the_last_rollback_counts() -> None:
    points = [
        *AFTER,
        point("4", "v3", purpose="safety", bad=Mark("t", "", target="0", release_after="v0")),
    ]
    assert choose_release(points, "v0").satisfied
    assert not choose_release(points, "v1").satisfied


def test_a_rollback_that_was_undone_is_not_the_last_one() -> None:
    undone = [point("1", "v1"), point("2", "v2"), point("3", "v2", purpose="safety")]
    choice = choose_release(undone, "v1")
    assert (choice.id, choice.satisfied) == ("2", False)


def test_a_persons_mark_is_no_rollback() -> None:
    assert last_rollback([point("1", bad=BY_PERSON), point("2")]) is None
    found = last_rollback([point("1", bad=BY_ROLLBACK), point("3", bad=BY_PERSON), point("2", bad=BY_ROLLBACK)])
    assert found is not None
    assert found.id == "2"


def test_good_points_are_those_that_could_be_chosen() -> None:
    points = [
        point("1"),
        point("2", "v2"),
        point("3", "v3", verdict="unhealthy"),
        point("4", "v4", problem="x"),
        point("5", NOTHING_RUNS),
        point("6", "v2", purpose="safety", bad=BY_ROLLBACK),
        point("7"),
    ]
    assert [entry.id for entry in good_points(points)] == ["7", "1"]
    # A host without code: nothing that carries code ever runs there.
    assert [entry.id for entry in good_points(points, code=False)] == ["7", "5", "1"]


CREATED = {str(number): f"2026-11-22T1{number}:00:00Z" for number in range(5)}


def with_database(point_id: str, release: str = "", **more: Any) -> Point:
    return point(point_id, release, parts=("release", "database"), **more)


@pytest.mark.parametrize(
    ("points", "since", "chosen", "passed"),
    [
        ([with_database("1"), with_database("2")], "2026-11-22T13:30:00Z", "2", []),
        # The release that runs does not matter, and neither does how healthy it was, nor why it was taken.
        ([with_database("1", verdict="unhealthy", purpose="scheduled")], "2026-11-22T13:30:00Z", "1", []),
        ([with_database("1"), with_database("2")], "2026-11-22T12:00:00Z", "1",
         ["it was taken at 2026-11-22T12:00:00Z, and data are damaged since 2026-11-22T12:00:00Z"]),
        ([with_database("1"), point("2")], "2026-11-22T13:30:00Z", "1", ["it has no database part"]),
        ([with_database("1"), with_database("2", problem="no manifest")], "2026-11-22T13:30:00Z", "1",
         ["it cannot be used: no manifest"]),
        ([with_database("1"), with_database("2", "bad"), point("3", "bad", bad=BY_PERSON)], "2026-11-22T13:30:00Z", "1",
         ["it has no database part", "its release is marked bad"]),
        ([with_database("2")], "2026-11-22T11:00:00Z", "",
         ["it was taken at 2026-11-22T12:00:00Z, and data are damaged since 2026-11-22T11:00:00Z"]),
        ([], "2026-11-22T11:00:00Z", "", []),
    ],
)  # fmt: skip
def test_the_database_from_before_the_damage(points: list[Point], since: str, chosen: str, passed: list[str]) -> None:
    choice = choose_database(points, CREATED, since)
    assert (choice.id, [entry.reason for entry in choice.passed_over]) == (chosen, passed)


@pytest.mark.parametrize(
    ("interrupted", "running", "chosen"),
    [
        ("2", "v2", "2"),
        # It had not come there yet, or something else was deployed since: the usual rules.
        ("2", "v9", "2"),
        ("2", "v1", "2"),
        ("1", "v9", "2"),
        ("", "v2", "1"),
        ("3", "v3", "2"),
    ],
)
def test_a_switch_that_was_killed_is_brought_to_its_end(interrupted: str, running: str, chosen: str) -> None:
    points = [point("1"), point("2"), point("3", problem="the manifest is no JSON")]
    assert choose_release(points, running, interrupted).id == chosen


@pytest.mark.parametrize(
    ("images", "running", "chosen", "words"),
    [
        ({"1": True, "2": True, "3": True}, "v3", "2", NEWEST),
        ({"1": True, "2": False, "3": True}, "v3", "1", NEWEST),
        ({"1": False, "2": False, "3": True}, "v3", "", "no restore point has the images that run now"),
        ({}, "v9", "", "no restore point has the images that run now"),
    ],
)
def test_the_configuration_goes_back_where_the_images_stay(
    images: dict[str, bool], running: str, chosen: str, words: str
) -> None:
    choice = choose_configuration([point("1"), point("2"), point("3")], running, images)
    assert choice.id == chosen
    assert words in choice.reason
    others = {passed.id for passed in choice.passed_over if "other images" in passed.reason}
    assert others == {name for name in ("1", "2", "3") if not images.get(name)}
