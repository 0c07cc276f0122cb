# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What earlier runs did, read from journals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Release, ServiceRelease
from ansible_collections.schedgen.rollback.plugins.module_utils._runs import (
    START_AGAIN,
    STOP,
    feature,
    interrupted_target,
    is_third,
    last_stop,
    last_switch,
    release_after,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

FIRST, SECOND = "20261122T131500.000Z-full", "20261122T141500.000Z-quick"
BEGUN: tuple[str, dict[str, Any]] = ("started", {"target": "P1"})


def store_with(folder: Path, runs: dict[str, list[tuple[str, dict[str, Any]]]]) -> Store:
    store = Store(str(folder), "shop")
    store.prepare()
    for run, switches in runs.items():
        store.begin_run(run)
        for status, more in switches:
            store.journal(run, "switch", status, **more)
    return store


@pytest.mark.parametrize(
    ("runs", "target"),
    [
        ({}, ""),
        ({FIRST: []}, ""),
        ({FIRST: [BEGUN]}, "P1"),
        ({FIRST: [BEGUN], SECOND: []}, "P1"),
        ({FIRST: [BEGUN, ("done", {"target": "P1"})]}, ""),
        ({FIRST: [BEGUN, ("failed", {"put_back": True})]}, ""),
        ({FIRST: [BEGUN, ("failed", {"put_back": False})]}, "P1"),
        ({FIRST: [BEGUN], SECOND: [("started", {"target": "P2"}), ("done", {"target": "P2"})]}, ""),
        ({FIRST: [BEGUN, ("done", {})], SECOND: [("started", {"target": "P2"})]}, "P2"),
    ],
)
def test_a_switch_that_neither_ended_nor_was_put_back_has_a_target(
    tmp_path: Path, runs: dict[str, list[tuple[str, dict[str, Any]]]], target: str
) -> None:
    assert interrupted_target(store_with(tmp_path, runs)) == target


@pytest.mark.parametrize(
    ("running", "third"),
    [
        ({}, False),
        ({"web": "bad", "api": "bad"}, False),
        ({"web": "good", "api": "good"}, False),
        ({"web": "good", "api": "bad"}, False),
        ({"web": "good"}, False),
        ({"web": "next", "api": "good"}, True),
        ({"web": "good", "api": "good", "worker": "next"}, True),
        ({"web": "good", "api": "good", "db": "next"}, False),
    ],
)
def test_a_third_release_is_none_of_an_interrupted_switch(running: dict[str, str], third: bool) -> None:
    def release(images: dict[str, str]) -> Release:
        return Release({name: ServiceRelease(image, "", code=name != "db") for name, image in images.items()})

    before, target = (release(dict.fromkeys(("web", "api", "db"), image)) for image in ("bad", "good"))
    assert is_third(release(running), before, target) is third


@pytest.mark.parametrize(
    ("runs", "run"),
    [
        ({}, ""),
        ({FIRST: [BEGUN]}, ""),
        ({FIRST: [BEGUN, ("done", {})], SECOND: [BEGUN, ("failed", {"put_back": True})]}, FIRST),
        ({FIRST: [BEGUN, ("done", {})], SECOND: [BEGUN, ("done", {})]}, SECOND),
    ],
)
def test_the_last_switch_is_one_that_came_to_its_end(
    tmp_path: Path, runs: dict[str, list[tuple[str, dict[str, Any]]]], run: str
) -> None:
    assert last_switch(store_with(tmp_path, runs)) == (run, "")


@pytest.mark.parametrize(
    ("steps", "run"),
    [
        ([], FIRST),
        ([(STOP, "started")], SECOND),
        ([(STOP, "started"), (STOP, "done")], SECOND),
        ([(STOP, "started"), (STOP, "done"), (START_AGAIN, "failed")], SECOND),
        ([(STOP, "started"), (STOP, "done"), (START_AGAIN, "done")], FIRST),
    ],
)
def test_a_host_that_stopped_for_a_database_elsewhere_took_part(
    tmp_path: Path, steps: list[tuple[str, str]], run: str
) -> None:
    store = store_with(tmp_path, {FIRST: [BEGUN, ("done", {})], SECOND: []})
    for step, status in steps:
        store.journal(SECOND, step, status)
    assert last_switch(store) == (run, "")
    assert last_stop(store) == (run if run == SECOND else "", "")


@pytest.mark.parametrize(("point", "release"), [("P1", ""), ("P2", "abc")])
def test_the_release_after_the_last_switch_is_that_of_its_target(tmp_path: Path, point: str, release: str) -> None:
    store = store_with(
        tmp_path,
        {
            FIRST: [BEGUN, ("done", {"target": "P1"})],
            SECOND: [("started", {"target": "P2"}), ("done", {"target": "P2"})],
        },
    )
    store.journal(FIRST, "release", "done", release="old")
    store.journal(SECOND, "release", "done", release="abc")
    assert release_after(store, point) == release


def test_where_a_feature_was_switched_to_last(tmp_path: Path) -> None:
    store = store_with(tmp_path, {FIRST: [], SECOND: []})
    store.journal(FIRST, "feature switch", "done", feature="editor", to="off")
    store.journal(FIRST, "feature switch", "done", feature="payment", to="off")
    store.journal(SECOND, "feature switch", "done", feature="editor", to="on")
    store.journal(SECOND, "feature switch", "failed", feature="payment", to="on")
    assert [feature(store, name) for name in ("editor", "payment", "other")] == ["on", "off", ""]
