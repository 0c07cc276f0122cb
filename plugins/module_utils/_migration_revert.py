# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take migrations back on the live database, with a copy of it set aside first. Private to this collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _compose,
    _migration_tools,
    _swap,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import Database, RestoreError, sweep
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_toolbox import (
    RevertError,
    Toolbox,
    take_steps,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import FAILED, Beside
from ansible_collections.schedgen.rollback.plugins.module_utils._schema import catalogue, history
from ansible_collections.schedgen.rollback.plugins.module_utils._store import LockLost


@dataclass(frozen=True)
class Reverted:
    """What a revert did: the migrations taken back, the copy that is kept, and how the schema compares."""

    undone: tuple[str, ...]
    copy: str
    verdict: str
    notes: tuple[str, ...]
    seconds: float


class RevertFailed(Exception):
    """A revert that did not come to its end.

    ``put_back`` tells that the copy is live again, ``kept`` is then the name of what was live before; ``copy`` is the
    copy that still stands aside; ``problem`` says why it could not be put back.
    """

    def __init__(
        self, reason: str, history: Sequence[str], *, put_back: bool, kept: str = "", copy: str = "", problem: str = ""
    ) -> None:
        self.reason, self.history = reason, tuple(history)
        self.put_back, self.kept, self.copy, self.problem = put_back, kept, copy, problem
        super().__init__(reason)


def revert(
    tools: Toolbox,
    database: Database,
    way: Sequence[_migration_tools.Step],
    recorded: _catalog.Catalog | None,
    target: str,
    *,
    copy: bool = True,
    restore: bool = True,
    told: Callable[..., None] = lambda *_words, **_details: None,
) -> Reverted:
    """Set a copy of the live database aside and take the steps back on it; the application has to be stopped.

    ``target`` is the restore point that this goes to. With ``copy`` false nothing is set aside. With ``restore`` the
    copy is put back when a step fails, or when the schema that they leave is not one that the recorded release can
    live with. Raises :class:`RevertFailed`, and ``RestoreError`` while nothing was changed yet.
    """
    started = time.monotonic()
    aside = None
    if copy and way:
        told("set_aside", "begun")
        aside = _swap.set_copy_aside(database, target, lasting=restore)
        told("set_aside", "done", database=aside.name)
    notes: tuple[str, ...] = ()
    verdict = "unproven"
    try:
        take_steps(tools, database.login, way, told=told)
        if recorded is not None:
            live, facts = catalogue(database.login, recorded)
            after = _catalog.compare(recorded, live, facts=facts)
            verdict, notes = after.verdict, after.notes
            if verdict == "incompatible":
                raise RevertError(
                    "every migration was taken back, and what that leaves is nothing that the recorded release can"
                    f" live with: {'; '.join(after.reasons)}"
                )
        if aside is not None:
            _swap.keep_copy(database, aside)
    except LockLost:
        # Who has the lock now decides which database is to be live.
        raise
    except Exception as error:
        raise _given_up(tools, database, aside if restore else None, aside, str(error), told) from error
    undone = tuple(step.undoes for step in way)
    return Reverted(undone, aside.name if aside else "", verdict, notes, seconds=round(time.monotonic() - started, 3))


def put_back(database: Database, copy: Beside) -> str:
    """Make a revert's copy the live database again; return the name under which what was live is kept.

    Raises ``RestoreError`` and ``DatabaseError``; then the live database is what it was.
    """
    return _swap.swap(database, copy, note=FAILED).aside


def _given_up(
    tools: Toolbox,
    database: Database,
    chosen: Beside | None,
    aside: Beside | None,
    reason: str,
    told: Callable[..., None],
) -> RevertFailed:
    """Put back the chosen copy, if any, and return the failure to raise."""
    kept, problem = "", ""
    now: Sequence[str] = ()
    try:
        now = history(database.login, tools.settings)
    except DatabaseError as error:
        problem = str(error)
    told("revert", "failed", reason=reason, history=list(now))
    if chosen is not None:
        told("put_back", "begun")
        try:
            kept, problem = put_back(database, chosen), ""
            told("put_back", "done", kept=kept)
        except (DatabaseError, RestoreError) as error:
            problem = str(error)
            told("put_back", "failed", reason=problem)
    standing = aside.name if aside is not None and not kept else ""
    return RevertFailed(reason, now, put_back=bool(kept), kept=kept, copy=standing, problem=problem)


def recover(
    database: Database,
    project: str,
    services: Sequence[str],
    told: Callable[..., Any] = lambda *_words, **_details: None,
) -> list[str]:
    """Put right what a killed run left: whole again, before anything else. Return what was done, in sentences.

    Where a container of these ``services`` was started since a revert was killed half-way, nobody but a person knows
    which database is right. Raises ``RevertError`` then, and what
    :func:`put_back` raises.
    """
    done = sweep(database)
    unfinished = database.standing().unfinished
    if unfinished is None:
        return done
    found = _compose.containers(database.client, project, services=services)
    started = [state.name for state in found if state.running]
    if started:
        raise RevertError(
            f"an earlier revert did not come to its end (its copy is database {unfinished.name}), and the application"
            f" was started since ({', '.join(started)}): which of the two databases is right, a person must say. To"
            " take the copy: stop these services and run this again. To keep the live one: drop the copy with the"
            f" module postgresql_restore, state=absent, name={unfinished.name}"
        )
    kept = put_back(database, unfinished)
    told("put_back", "done", kept=kept, copy=unfinished.name)
    return [*done, f"An earlier revert was killed half-way: its copy is live again, what it left is database {kept}"]
