# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier runs did, read from their journals. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Release
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

# The plan of the database in a run's folder, where one is part of the run.
DATABASE_PLAN = "database_plan.json"
# The steps of a host that stops until the database has gone back on another one, and that starts again without that.
STOP, START_AGAIN = "stop for the database", "start again"
# The step of a declared feature that is switched.
FEATURE = "feature switch"


def switches_of(journal: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what a journal says of the run's switch, in the order in which it happened."""
    return [entry for entry in journal if entry["step"] == "switch"]


def is_over(switches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a switch came to its end, or was put back. There has to be at least one entry of it."""
    last = switches[-1]
    return bool(last["status"] == "done" or (last["status"] == "failed" and last.get("put_back")))


def interrupted(store: Store) -> tuple[str, str]:
    """Return the last run that has switched and where it went, where it neither ended nor was put back; else ''."""
    for run in reversed(store.runs()):
        switches = switches_of(store.read_journal(run))
        if switches:
            return ("", "") if is_over(switches) else (run, str(switches[0].get("target", "")))
    return "", ""


def interrupted_target(store: Store) -> str:
    """Return the restore point that the last switch went to, where it neither ended nor was put back; else ''."""
    return interrupted(store)[1]


def is_third(running: Release, before: Release, target: Release) -> bool:
    """Whether something runs that is neither of the releases between which a switch was interrupted, nor a mixture."""

    def images(release: Release, name: str) -> str:
        service = release.services.get(name)
        return service.image_id if service else ""

    return any(
        service.image_id not in (images(before, name), images(target, name))
        for name, service in running.services.items()
        if service.code
    )


def taken_by(store: Store, run: str, purpose: str = "") -> str:
    """Return the last restore point that a run took (of one purpose) and that can be read, '' where there is none."""
    taken = [
        str(entry["id"])
        for entry in store.read_journal(run)
        if entry["step"] == "restore point" and entry["status"] == "done" and purpose in ("", entry.get("purpose"))
    ]
    there = {point.id for point in store.points() if point.manifest is not None}
    return next((point_id for point_id in reversed(taken) if point_id in there), "")


def is_stopped(journal: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run has stopped this host for a database elsewhere, and did not start it again as if nothing were."""
    steps = [entry for entry in journal if entry["step"] in (STOP, START_AGAIN)]
    return bool(steps) and not (steps[-1]["step"] == START_AGAIN and steps[-1]["status"] == "done")


def last_switch(store: Store) -> tuple[str, str]:
    """Return the last run that has switched, and the restore point that it took before; '' for none.

    A host that stopped for a database elsewhere has taken part in that rollback, however its own part ended: to undo
    it, every host goes back to before the same rollback.
    """
    for run in reversed(store.runs()):
        journal = store.read_journal(run)
        switched = any(entry["status"] == "done" for entry in switches_of(journal))
        if switched or is_stopped(journal):
            return run, taken_by(store, run)
    return "", ""


def last_stop(store: Store) -> tuple[str, str]:
    """Return the last run that stopped this host for a database elsewhere, and the restore point that it took before.

    A later run may have brought this host to where that one went: to undo the rollback it does not count.
    """
    run = next((run for run in reversed(store.runs()) if is_stopped(store.read_journal(run))), "")
    return (run, taken_by(store, run)) if run else ("", "")


def release_after(store: Store, point: str) -> str:
    """Return the release that ran after the last switch, where that went to this restore point; '' otherwise.

    It can have another fingerprint than the recorded one: what ran then may not have been what its files said.
    """
    for run in reversed(store.runs()):
        journal = store.read_journal(run)
        switches = [entry for entry in switches_of(journal) if entry["status"] == "done"]
        if switches:
            released = [str(entry["release"]) for entry in journal if entry["step"] == "release"]
            return released[-1] if released and switches[-1].get("target") == point else ""
    return ""


def feature(store: Store, name: str) -> str:
    """Return what the last switch of a declared feature came to (off or on), '' where none is known."""
    for run in reversed(store.runs()):
        for entry in reversed(store.read_journal(run)):
            if entry["step"] == FEATURE and entry["status"] == "done" and entry.get("feature") == name:
                return str(entry["to"])
    return ""
