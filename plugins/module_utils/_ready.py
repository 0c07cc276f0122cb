# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a restore point's database ready to be swapped in, and give such copies up. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _pgtools, _restore, _restore_plan as plan
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import (
    Database,
    RestoreError,
    disk_of,
    drop,
    look_at_server,
    read_standing,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError
from ansible_collections.schedgen.rollback.plugins.module_utils._store import now


@dataclass(frozen=True)
class Policy:
    """How databases are kept ready: ``asked`` is auto, restored, template or none.

    ``auto`` keeps those below ``limit`` bytes; ``keep`` copies at most, ``days`` long.
    """

    asked: str = "none"
    limit: int = 2 << 30
    keep: int = 2
    days: float = 7.0
    jobs: int = 2


def keep(database: Database, point_id: str, recorded: Mapping[str, Any], policy: Policy) -> tuple[str, list[str]]:
    """Make a ready copy of a restore point that was just taken, as configured; return its name and notes.

    With ``auto`` what hinders it is a note. A copy that is not what was recorded is an error always: then the backup
    itself does not hold. Raises :class:`RestoreError`, ``ToolError`` and ``DatabaseError``.
    """
    with database.cursor() as cursor:
        server = look_at_server(database, cursor)
    needed = plan.room_needed(recorded["size"], server.wal, recorded["bytes"])
    how, why = plan.ready_choice(
        policy.asked, size=recorded["size"], limit=policy.limit, free=server.free, needed=needed
    )
    if how == "none":
        return "", [f"the database is not kept ready: {why}"] if why else []
    if policy.asked == "auto":
        try:
            _restore.judge(database, recorded, dump=recorded["bytes"], jobs=policy.jobs, swap=False)
        except RestoreError as error:
            return "", [f"the database is not kept ready: {error}"]
    try:
        if how == "template":
            done = _restore.copy_live(database, point_id, recorded)
        else:
            done = _restore.prepare(database, point_id, jobs=policy.jobs, kind="ready", swap=False)
    except (RestoreError, _pgtools.ToolError) as error:
        database.store.append_event(point_id, "not proven", run=database.run, reason=str(error))
        raise RestoreError(
            f"restore point {point_id} was taken, and its database could not be kept ready: {error}",
            "The live database was not touched; no copy was left.",
            "Find out why before relying on this restore point, or take one with database_ready=none.",
        ) from error
    if how == "restored":
        database.store.append_event(point_id, "proven", run=database.run, seconds=done.timings["total"])
    database.store.append_event(point_id, "ready", run=database.run, database=done.name, how=how)
    return done.name, []


def give_up_old(database: Database, policy: Policy) -> list[str]:
    """Drop ready copies that are too many, too old, of restore points that are gone, or in the way of a full disk.

    Return what was dropped and why, in sentences; the dumps stay.
    """
    points = [point.id for point in database.store.points()]
    told = []
    with database.cursor() as cursor:
        ready = read_standing(cursor, database).ready
        free, total = disk_of(database, cursor)
        gone = plan.ready_to_drop(
            ready, now(), points=points, keep=policy.keep, days=policy.days, free=free, total=total
        )
        for entry in gone:
            drop(cursor, entry.name)
            told.append(f"the ready copy {entry.name} of {entry.point} was dropped: {entry.reason}")
            if entry.point in points:
                database.store.append_event(entry.point, "not ready", database=entry.name, reason=entry.reason)
    return told


def after_backup(
    database: Database, point_id: str, recorded: Mapping[str, Any], policy: Policy
) -> tuple[str, list[str]]:
    """Keep a new restore point's database ready as configured, and give up old copies; return its name and notes."""
    try:
        name, notes = keep(database, point_id, recorded, policy)
        return name, [*notes, *give_up_old(database, policy)]
    except DatabaseError as error:
        if policy.asked in ("restored", "template"):
            raise
        return "", [f"ready copies could not be looked at: {error}"]
