# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a database goes back: every way to choose, and what a plan says and is approved by."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Comparison, Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._database_plan import (
    DatabasePlan,
    Observed,
    choose,
    fewer_rows,
    plan_from_dict,
    plan_to_dict,
    told_change,
    utc,
    with_rehearsal,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._plan import Image, Plan


def judged(verdict: str, added: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> Judgement:
    return Judgement(verdict, ("why",) if verdict == "incompatible" else (), (), added, missing)


def compared(revert: str, *reasons: str) -> Comparison:
    return Comparison("incompatible", (), (), revert, reasons, (), (), ())


ADDED = judged("incompatible", ("M4", "M5"))
SEEN = Observed("auto", "v1", ADDED, compared("loses nothing"), dump=True)
DESTRUCTIVE = replace(SEEN, comparison=compared("cannot", "cannot bring back what table t held"))
NO_REASON = "with that of v1, and no migration was applied since: there is no reason to change the database"
SAME = replace(SEEN, judgement=judged("equal"), comparison=compared("not needed"))


@pytest.mark.parametrize(
    ("seen", "how", "reasons"),
    [
        (SEEN, "revert", ("2 migrations applied since can be taken back, and rows stay",)),
        (replace(SEEN, judgement=judged("compatible", ("M4",))), "revert",
         ("1 migration applied since can be taken back, and rows stay",)),
        (with_rehearsal(SEEN, "compatible", ()), "revert",
         ("2 migrations applied since can be taken back, and rows stay",
          "rehearsed: the schema is compatible with that of v1")),
        (replace(SEEN, comparison=compared("destroys", "destroys table t with 3 rows")), "revert",
         ("2 migrations applied since can be taken back, and rows stay",
          "what that destroys stays in the copy that is set aside")),
        (DESTRUCTIVE, "restore", ("a revert cannot bring back what table t held",)),
        (replace(DESTRUCTIVE, accept_loss=True), "revert",
         ("2 migrations applied since can be taken back, and rows stay",)),
        (with_rehearsal(SEEN, "wrong", ["column c was dropped"]), "restore",
         ("the rehearsal left a schema that v1 cannot live with: column c was dropped",)),
        (with_rehearsal(SEEN, "failed", ["step 1 of 2"]), "restore", ("the rehearsal failed: step 1 of 2",)),
        (replace(SEEN, obstacle="the tool does not start"), "restore", ("the tool does not start",)),
        (replace(SEEN, comparison=None), "restore",
         ("no catalogue was recorded with v1: what a revert leaves could not be compared",)),
        (replace(SEEN, comparison=None, dump=False), "revert",
         ("2 migrations applied since can be taken back, and rows stay",)),
        (replace(SEEN, judgement=judged("incompatible", ("M4",), ("M3",))), "restore",
         ("no revert brings back migrations that are applied no more: M3",)),
        (replace(SAME, judgement=judged("incompatible")), "restore", ("no migration was applied since",)),
        (replace(SEEN, damaged=True), "restore", ("data were reported as damaged",)),
        (replace(SAME, damaged=True), "restore", ("data were reported as damaged",)),
        (replace(SAME, asked="restore"), "restore", ("it was asked for",)),
        (replace(SEEN, asked="restore"), "restore", ("it was asked for",)),
        (replace(SAME, plain=True), "restore", ("a dump was named",)),
        (replace(SEEN, asked="revert"), "revert", ("it was asked for",)),
        # A second run: the database is there, and what is left to do is the release.
        (replace(SAME, there=True), "nothing", ("the database is that of v1 already",)),
        (replace(SAME, there=True, asked="restore"), "nothing", ("the database is that of v1 already",)),
        (replace(SAME, there=True, asked="revert"), "nothing", ("the database is that of v1 already",)),
        # It was there, and somebody has migrated since.
        (replace(SEEN, there=True), "revert", ("2 migrations applied since can be taken back, and rows stay",)),
        (replace(DESTRUCTIVE, there=True), "restore", ("a revert cannot bring back what table t held",)),
    ],
)  # fmt: skip
def test_the_way_and_its_reasons(seen: Observed, how: str, reasons: tuple[str, ...]) -> None:
    choice = choose(seen)
    assert (choice.how, choice.reasons, choice.refusal) == (how, reasons, "")


@pytest.mark.parametrize(
    ("seen", "rejected"),
    [
        (SEEN, (("restore", "rows written since would be set aside with the database"),)),
        (replace(SEEN, dump=False), (("restore", "v1 has no database part"),)),
        (DESTRUCTIVE, (("revert", "a revert cannot bring back what table t held"),)),
        (replace(SEEN, damaged=True), (("revert", "it takes the schema back, and not what was written into rows"),)),
        (replace(SEEN, comparison=None), (("revert", "its outcome could not be proven"),)),
        (replace(SAME, plain=True), ()),
    ],
)
def test_what_was_rejected_and_why(seen: Observed, rejected: tuple[tuple[str, str], ...]) -> None:
    assert choose(seen).rejected == rejected


@pytest.mark.parametrize(
    ("seen", "refusal"),
    [
        (SAME, f"the schema is equal {NO_REASON}"),
        (replace(SAME, judgement=judged("compatible")), f"the schema is compatible {NO_REASON}"),
        (replace(DESTRUCTIVE, dump=False), "a revert cannot bring back what table t held, and v1 has no database part"),
        (replace(SAME, asked="restore", dump=False), "v1 has no database part"),
        (replace(SEEN, damaged=True, dump=False), "v1 has no database part"),
        (replace(DESTRUCTIVE, asked="revert"), "a revert cannot bring back what table t held"),
        (replace(SAME, asked="revert"), "no migration was applied since"),
        (with_rehearsal(replace(SEEN, asked="revert"), "wrong", ["column c was dropped"]),
         "the rehearsal left a schema that v1 cannot live with: column c was dropped"),
        (replace(SEEN, asked="revert", plain=True), "a plain dump does not say which migrations it has"),
    ],
)  # fmt: skip
def test_no_way(seen: Observed, refusal: str) -> None:
    assert choose(seen).refusal == refusal


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
RELEASE = Plan(
    application="schedgen",
    kind="restore point",
    target="20261122T131500.123Z",
    label="v1",
    running="0123456789ab",
    running_label="v2",
    images=(Image("backend", A, "registry", "r:5000/backend:v1", A),),
    commit="",
    ref="",
    files=(),
    replace=("backend",),
    start_first=(),
    start=(),
    remove=(),
    scale=(),
    schema=Judgement("unknown"),
)
QUIET = replace(RELEASE, replace=(), images=(replace(RELEASE.images[0], place="present"),))
PLAN = DatabasePlan(
    "schedgen", "shop", "revert", "20261122T131500.123Z", "v1", RELEASE, ("M5", "M4"), ("M1",), False,
    ("because",), (("restore", "not needed"),), ("rows",), ("mind this",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (PLAN, ["stop the services that carry code", "copy shop inside its server and set the copy aside",
                "take back M5", "take back M4", "pull from the registry by digest: backend",
                "replace the containers of backend", "start the services"]),
        (replace(PLAN, how="restore", migrations=(), release=QUIET),
         ["restore the database of 20261122T131500.123Z beside the live one, and compare it",
          "stop the services that carry code",
          "swap the database of 20261122T131500.123Z in; what is live is set aside", "start the services"]),
        (replace(PLAN, how="restore", ready=True, migrations=(), release=QUIET),
         ["stop the services that carry code",
          "swap the database of 20261122T131500.123Z in; what is live is set aside", "start the services"]),
        (replace(PLAN, how="undo", target="shop_old_1", ready=True, migrations=(), release=QUIET),
         ["stop the services that carry code", "swap shop_old_1 in; what is live is set aside", "start the services"]),
        (replace(PLAN, how="restore", ready=True, migrations=(), release=QUIET, whole=True, volumes=("files",)),
         ["restore the content of volume files beside the live one, and compare it",
          "stop all services but the database's",
          "swap the database of 20261122T131500.123Z in; what is live is set aside",
          "swap the content of volume files in; what is there is set aside", "start the services"]),
        (replace(PLAN, how="nothing", release=QUIET, whole=True, volumes=("files",)),
         ["restore the content of volume files beside the live one, and compare it",
          "stop all services but the database's",
          "swap the content of volume files in; what is there is set aside", "start the services"]),
        (replace(PLAN, how="nothing", release=QUIET, whole=True, emptied=("cache",)),
         ["stop all services but the database's", "empty volume cache; what is there is set aside",
          "start the services"]),
        (replace(PLAN, how="elsewhere", release=QUIET),
         ["stop the services that carry code", "wait until shop has gone back on its host", "start the services"]),
        (replace(PLAN, how="nothing", release=QUIET), []),
        (replace(PLAN, how="nothing"), ["pull from the registry by digest: backend",
                                        "replace the containers of backend"]),
    ],
)  # fmt: skip
def test_steps_in_the_order_in_which_they_happen(plan: DatabasePlan, told: list[str]) -> None:
    assert plan.sentences() == told
    assert plan.changed is bool(told)


# What may change while a person thinks it over.
PASSING = {"recorded", "ready", "reasons", "rejected", "stake", "warnings", "label"}


@pytest.mark.parametrize("name", [field.name for field in fields(DatabasePlan)])
def test_an_approval_is_bound_to_what_the_plan_does(name: str) -> None:
    others: dict[str, Any] = {
        "release": replace(RELEASE, replace=()),
        "ready": True,
        "whole": True,
        "volumes": ("shop_files",),
        "emptied": ("shop_cache",),
    }
    value = getattr(PLAN, name)
    other = others.get(name, f"{value}x" if isinstance(value, str) else ())
    assert (replace(PLAN, **{name: other}).hash == PLAN.hash) is (name in PASSING)


def test_where_an_image_lies_and_what_is_known_of_the_schema_are_no_part_of_it() -> None:
    fetched = replace(
        RELEASE, images=(replace(RELEASE.images[0], place="present"),), schema=Judgement("equal"), warnings=("x",)
    )
    assert replace(PLAN, release=fetched).hash == PLAN.hash
    assert replace(PLAN, release=replace(RELEASE, images=(replace(RELEASE.images[0], image_id=B),))).hash != PLAN.hash


def test_there_and_back_through_json() -> None:
    data = json.loads(json.dumps(plan_to_dict(PLAN)))
    assert (data["hash"], data["changed"], data["steps"]) == (PLAN.hash, True, PLAN.sentences())
    assert (data["running_label"], data["kind"]) == ("v2", "revert")
    assert plan_from_dict(data) == PLAN
    with pytest.raises(ValueError, match="not the one that was prepared"):
        plan_from_dict({**data, "target": "20260101T000000.000Z"})
    del data["stake"]
    with pytest.raises(ValueError, match=r"the plan cannot be read: KeyError\('stake'\)"):
        plan_from_dict(data)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T13:15:00Z", "2026-11-22T13:15:00Z"),
        (" 2026-11-22 13:15 ", "2026-11-22T13:15:00Z"),
        ("2026-11-22T13:15:00.9+02:00", "2026-11-22T11:15:00Z"),
        ("2026-11-22", "2026-11-22T00:00:00Z"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert utc(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "13:15", "2026-13-01"])
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="is no moment: write it as"):
        utc(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gone": True, "rows_then": 3}, "t: is gone, it had 3 rows"),
        ({"inserted": 1, "updated": 2, "deleted": 3}, "t: about 1 inserted, 2 updated, 3 deleted"),
        ({"rows_now": 5, "rows_then": 4}, "t: about 5 rows, 4 then"),
    ],
)
def test_changes_in_words(change: dict[str, Any], told: str) -> None:
    assert told_change("t", change) == told


@pytest.mark.parametrize(
    ("recorded", "found", "told"),
    [
        ({"a": 1}, {"a": 1, "b": 0}, []),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}, ["b has 1 rows, 2 were recorded"]),
        ({"a": 0}, {}, ["a has no rows, 0 were recorded"]),
    ],
)
def test_fewer_rows(recorded: dict[str, int], found: dict[str, int], told: list[str]) -> None:
    assert fewer_rows(recorded, found) == told
