# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a host in a rollback whose database goes back on another host. Private to this collection.

What runs here must not write into a database of another release: it stops before the database goes back there, and
starts when that is done. Between the two the controller leads; without it the services stay stopped.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _compose,
    _database_plan as dbplan,
    _database_rollback,
    _releases,
    _runs,
    _switching,
    _volumes,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._database_plan import DatabasePlan
from ansible_collections.schedgen.rollback.plugins.module_utils._database_rollback import Aim, Planned, Wish
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Release
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

# For so long nobody else may have a stopped host, in seconds: its database is at work elsewhere.
WAITING = 3600.0


def aim(store: Store, wish: Wish) -> Aim:
    """Return where this host goes: to what was asked for, or for an undo to before the rollback it took part in.

    Raises ``RestoreError`` where an undo has nothing to go back to.
    """
    if wish.how != dbplan.UNDO:
        label = next((point.summary().label for point in store.points() if point.id == wish.to), "")
        return Aim(wish.to, wish.to, label or wish.to, wish.to if label else "")
    # The rollback that this host took part in last, as the database's own host did.
    run, safety = _runs.last_stop(store)
    if not safety:
        raise RestoreError(
            f"no rollback of {store.application} that could be undone is known on this host",
            next_step="Leave it out (-e rollback_hosts=…), and take it back with quick-rollback.yml -e rollback_to=….",
        )
    return Aim(safety, safety, store.point(safety).summary().label, undoes=run)


def plan(
    client: Any,
    store: Store,
    application: _releases.Application,
    wish: Wish,
    staging: str,
    *,
    run: str,
    place: str,
    database: str,
    database_service: str,
    pretend: bool,
) -> Planned:
    """Return this host's plan. Raises ``RestoreError`` where there is no way, and what preparing the release raises.

    ``place`` is where the database goes back: elsewhere, or nowhere because it is the target's already.
    """
    where_to = aim(store, wish)
    goes = _database_rollback.extent(client, store, application, wish, where_to, database_service)
    prepared, _running = _switching.prepare(
        client,
        store,
        application,
        where_to.release,
        staging,
        database_service=database_service,
        login=None,
        judge=lambda _target: Judgement("unknown", ("the database is on another host",)),
        fetch=not pretend,
        pull_timeout=wish.pull_timeout,
        whole=goes.whole,
        volumes=[*goes.names, *goes.emptied],
    )
    if where_to.undoes and not pretend:
        _volumes.keep(store, run, goes.volumes)
    made = DatabasePlan(
        application=application.name,
        database=database,
        how=dbplan.ELSEWHERE if place == dbplan.ELSEWHERE else dbplan.NOTHING,
        target=where_to.source,
        label=where_to.label,
        release=prepared.plan,
        ready=True,
        warnings=prepared.plan.warnings,
        whole=goes.whole,
        volumes=goes.names,
        emptied=goes.emptied,
    )
    return Planned(made, prepared, where_to.lines)


class ElsewhereChange:
    """The database's part here: it has gone back already, and nothing here can take that back."""

    def carry_out(self) -> None:
        """Have nothing to do: the services are stopped since before the database went back."""

    def put_back(self) -> None:
        """Raise ``RestoreError``: the release before must not run on that database."""
        raise RestoreError("it has gone back on its own host")

    def check(self) -> None:
        """Have nothing to hold: the database's own host has compared it."""


def stop(client: Any, store: Store, run: str, project: str, before: Release, target: Release) -> list[str]:
    """Stop the services that go back; return the names of the containers that ran. Raises ``EngineError``."""
    services = _switching.services_that_go_back(before, target)
    ran = [
        state for state in _compose.containers(client, project, services=services) if state.state in _compose.AT_WORK
    ]
    store.still_held(run)
    # Written before it is done: whoever starts them again has to know them also when this is killed.
    store.journal(run, _runs.STOP, "started", containers=[state.id for state in ran])
    _compose.stop(client, project, services)
    store.journal(run, _runs.STOP, "done")
    return [state.name for state in ran]


def start(client: Any, store: Store, run: str) -> tuple[int, list[str]]:
    """Start what :func:`stop` has stopped; return how many containers that are, and what is wrong with some."""
    journal = store.read_journal(run)
    stopped = [entry for entry in journal if entry["step"] == _runs.STOP and entry["status"] == "started"]
    identifiers = stopped[-1]["containers"] if stopped else []
    wrong = _compose.start(client, identifiers)
    store.journal(run, _runs.START_AGAIN, "failed" if wrong else "done", problems=wrong)
    return len(identifiers), wrong
