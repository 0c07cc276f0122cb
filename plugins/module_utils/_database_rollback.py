# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the rollback of a database with its release, and carry its database part out. Private to this collection."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _candidate,
    _database_plan as dbplan,
    _databases,
    _invariants,
    _migration_revert,
    _migration_toolbox,
    _migration_tools,
    _plain_load,
    _plan,
    _rehearsal,
    _releases,
    _restore,
    _restore_plan,
    _runs,
    _schema,
    _swap,
    _switching,
    _targets,
    _volumes,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._database_plan import DatabasePlan, Observed
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import Database, RestoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import moment
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_toolbox import RevertError, StepFailed
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import RECOVERY, DatabaseError
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import FAILED, UNDONE, Beside, Mark
from ansible_collections.schedgen.rollback.plugins.module_utils._store import (
    Store,
    StoreError,
    now,
    timestamp,
    write_file,
)


@dataclass(frozen=True)
class Wish:
    """What the operator asked for: the arguments of the same names of the module ``database_rollback``."""

    to: str = ""
    how: str = "auto"
    damage_since: str = ""
    file: str = ""
    name: str = ""
    accept_loss: bool = False
    rehearse: bool = True
    jobs: int = 2
    pull_timeout: float = 300
    whole: bool = False
    volumes: tuple[str, ...] = ()
    empty_volumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extent:
    """How far a rollback goes: whether every service goes back, and the volumes whose content does, or is emptied."""

    whole: bool = False
    volumes: tuple[_volumes.Restored, ...] = ()
    emptied: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the volumes whose content goes back."""
        return tuple(entry.name for entry in self.volumes)


@dataclass(frozen=True)
class Aim:
    """Where a rollback goes: the database's source and the release's target.

    ``point`` is the restore point ('' for a plain dump and for an undo), ``aside`` the database that an undo swaps
    back in (None where that was done by a run which was killed afterwards). ``undoes`` is the run that is undone.
    """

    source: str
    release: str
    label: str
    point: str = ""
    aside: Beside | None = None
    undoes: str = ""
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """A plan with its release part as it was prepared, and what to tell of how it came about."""

    plan: DatabasePlan
    prepared: _switching.Prepared
    lines: tuple[str, ...] = ()


def deployed_since(client: Any, store: Store, application: _releases.Application, point: str) -> bool:
    """Whether something was deployed since the last rollback to a restore point, as far as this host can tell.

    Then what was restored from it has been written to by another release, and is not its content any more. A rollback
    to it that was killed is no deployment, although its release does not run yet: only a third release is one.
    """
    manifests = {found.id: found.manifest for found in store.points()}
    manifest = manifests.get(point)
    if manifest is None:
        return False
    running = _releases.running_release(client, application)
    interrupted, target = _runs.interrupted(store)
    if target == point:
        before = manifests.get(_runs.taken_by(store, interrupted))
        return before is not None and _runs.is_third(running, before.release, manifest.release)
    if any(entry.code for entry in manifest.release.services.values()):
        return running.id not in (manifest.release.id, _runs.release_after(store, point))
    # A host without code sees deployments only by the restore points that were taken before them.
    run, _safety = _runs.last_switch(store)
    later = (found.manifest for found in store.points() if found.manifest is not None and found.id > run)
    return bool(run) and any(found.purpose == "deploy" for found in later)


def extent(
    client: Any, store: Store, application: _releases.Application, wish: Wish, aim: Aim, database_service: str
) -> Extent:
    """Return how far a rollback goes. An undo goes as far as the run that it undoes.

    Raises ``VolumeError`` for a volume that cannot be swapped, ``RestoreError`` for one that was not recorded.
    """
    if aim.undoes:
        with contextlib.suppress(_switching.PrepareError):
            return Extent(read_plan(store, aim.undoes).whole, tuple(_volumes.undoing(store, aim.undoes)))
        return Extent()
    if not wish.whole:
        return Extent()
    manifest = store.point(aim.point).manifest if aim.point else None
    recorded = {str(entry["name"]): entry for entry in manifest.volumes} if manifest else {}
    missing = sorted(set(wish.volumes) - set(recorded))
    if missing:
        raise RestoreError(
            f"restore point {aim.point or aim.source} does not have the content of {', '.join(missing)}",
            next_step="Leave it out of rollback_volumes, or name another restore point (-e rollback_to=<id>).",
        )
    both = sorted(set(wish.volumes) & set(wish.empty_volumes))
    if both:
        raise ValueError(
            f"{', '.join(both)} cannot go back and be emptied: rollback_volumes and rollback_empty_volumes"
        )
    server = _volumes.of_service(client, application.project, database_service)
    again = deployed_since(client, store, application, aim.point)
    wanted, emptied = [], []
    for name in (*wish.volumes, *wish.empty_volumes):
        content = _volumes.usable(client, application.project, name, server)
        if not again and _volumes.is_there(store, aim.point, name):
            continue
        if name in wish.empty_volumes:
            emptied.append(name)
            continue
        short = _volumes.room(content, int(recorded[name]["bytes"]))
        if short:
            raise RestoreError(f"volume {name} cannot be restored: {short}", next_step="Make room.")
        wanted.append(_volumes.Restored(name, aim.point, content, "", 0))
    return Extent(True, tuple(wanted), tuple(emptied))


class Planner:
    """Find out how the database goes back, and everything that can fail, while the application still runs."""

    def __init__(
        self,
        client: Any,
        store: Store,
        application: _releases.Application,
        database: Database,
        settings: _schema.Settings,
        service: Callable[[], str],
        wish: Wish,
        *,
        database_service: str,
        pretend: bool,
    ) -> None:
        self.client, self.store, self.application, self.database = client, store, application, database
        self.settings, self.service, self.wish = settings, service, wish
        self.database_service, self.pretend = database_service, pretend

    @functools.cached_property
    def stands(self) -> _restore_plan.Standing:
        """How things stand on the server; the lock keeps them so while the plan is made."""
        return self.database.standing()

    def put_right(self) -> list[str]:
        """Put right what a killed run left, before anything else; return what was done.

        Raises ``RevertError`` where a revert was killed half-way and the application was started since.
        """
        _migration_toolbox.sweep(self.client, self.application.name)
        return _migration_revert.recover(
            self.database,
            self.application.project,
            self.application.code_services,
            functools.partial(self.store.journal, self.database.run),
        )

    def plan(self, staging: str) -> Planned:
        """Return the plan. Raises ``RestoreError`` where there is no way, and what preparing the release raises."""
        aim = self.undo() if self.wish.how == dbplan.UNDO else self.aim()
        there = self.stands.live is not None
        goes = extent(self.client, self.store, self.application, self.wish, aim, self.database_service)
        prepared, _running = _switching.prepare(
            self.client,
            self.store,
            self.application,
            aim.release,
            staging,
            database_service=self.database_service,
            login=self.database.login if there else None,
            judge=lambda _target: Judgement("unknown", ("the database goes back as well",)),
            fetch=not self.pretend,
            pull_timeout=self.wish.pull_timeout,
            whole=goes.whole,
            volumes=[*goes.names, *goes.emptied],
        )
        if self.wish.how == dbplan.UNDO:
            plan = DatabasePlan(
                application=self.application.name,
                database=self.database.name,
                how=dbplan.UNDO if aim.aside else dbplan.NOTHING,
                target=aim.source,
                label=aim.label,
                release=prepared.plan,
                ready=True,
                stake=("what was written since is set aside with the database that is live now",) if aim.aside else (),
                warnings=(*aim.warnings, *prepared.plan.warnings),
            )
        else:
            plan = self.forward(aim, prepared.plan)
        plan = replace(plan, whole=goes.whole, volumes=goes.names, emptied=goes.emptied)
        if goes.whole and plan.how == dbplan.REVERT:
            raise RestoreError(
                "a full rollback restores the database, and takes no migration back",
                next_step="ansible-playbook database-rollback.yml takes migrations back.",
            )
        if aim.undoes and not self.pretend:
            _volumes.keep(self.store, self.database.run, goes.volumes)
        return Planned(plan, prepared, aim.lines)

    # -- where to ----------------------------------------------------------------------------------------------------

    def aim(self) -> Aim:
        """Return where to go: what was asked for, else the candidate. Raises ``RestoreError`` when there is none."""
        wish = self.wish
        if wish.file:
            label = os.path.basename(wish.file)
            return Aim(_plain_load.point_of(wish.file), wish.to or _targets.RUNNING, label)
        lines: tuple[str, ...] = ()
        point_id = wish.to
        begun = None if point_id else self._unfinished(dbplan.REVERT, dbplan.RESTORE)
        if begun is not None and any(point.id == begun[1].target for point in self.store.points()):
            point_id = begun[1].target
            lines = (f"Run {begun[0]} was killed on its way there",)
        if not point_id:
            points = self.store.points()
            summaries = [point.summary() for point in points]
            if wish.damage_since:
                # When its snapshot was over: a dump that was begun before the damage may hold it.
                created = {
                    point.id: timestamp(moment(point.id) + timedelta(seconds=point.manifest.seconds))
                    for point in points
                    if point.manifest is not None
                }
                since = dbplan.utc(wish.damage_since)
                if since > timestamp(now()):
                    raise ValueError(f"{since} lies in the future: rollback_damage_since is in UTC")
                choice = _candidate.choose_database(summaries, created, since)
            else:
                running = _releases.running_release(self.client, self.application)
                choice = _candidate.choose_release(summaries, running.id)
            labels = {summary.id: summary.label for summary in summaries}
            lines = (
                f"Because: {choice.reason}",
                *(f"Passed over: {passed.id} {labels[passed.id]}: {passed.reason}" for passed in choice.passed_over),
            )
            point_id = choice.id
            if not point_id:
                raise RestoreError(
                    f"there is no restore point to go back to: {'; '.join(lines)}",
                    next_step="Name one (-e rollback_to=<restore point>), say since when data are damaged"
                    " (-e rollback_damage_since=2026-11-22T13:15:00Z), or name a plain dump (-e rollback_dump=<file>).",
                )
        point = self.store.point(point_id)
        if point.manifest is None:
            raise RestoreError(f"restore point {point_id} cannot be used: {point.problem}")
        return Aim(point_id, point_id, point.manifest.release.label, point_id, lines=lines)

    def undo(self) -> Aim:
        """Return the way back from the last rollback of the database, or from the one that set ``name`` aside."""
        with self.database.cursor() as cursor:
            blocked = _restore_plan.swap_blockers(_databases.look_at_server(self.database, cursor))
        if blocked:
            raise RestoreError("; ".join(blocked), next_step="Mend what is named and run it again.")
        stands = self.stands
        aside = {entry.name: entry for entry in stands.aside}
        chosen = aside.get(self.wish.name) if self.wish.name else stands.newest_aside
        if chosen is None or chosen.mark is None:
            what = f"no set-aside database {self.wish.name}" if self.wish.name else "no set-aside database"
            raise RestoreError(
                f"there is {what} of {self.database.name} to go back to",
                next_step="The module postgresql_restore_info lists what there is.",
            )
        run = chosen.mark.run
        begun = self._unfinished(dbplan.UNDO)
        if begun is not None and begun[0] == run and not self.wish.name:
            line = f"Run {run} was killed after its swap: what is left to do is the release"
            return Aim(begun[1].target, begun[1].release.target, begun[1].label, undoes=run, lines=(line,))
        safety = self._safety_of(run)
        if safety:
            label = self.store.point(safety).summary().label
            return Aim(chosen.name, safety, label, aside=chosen, undoes=run)
        if self.wish.to:
            return Aim(chosen.name, self.wish.to, self.wish.to, aside=chosen, undoes=run)
        raise RestoreError(
            f"no safety restore point belongs to {chosen.name}, so that the release which ran with it is not known",
            next_step="Name the release: -e rollback_to=<restore point, tag or images>; for the one that runs"
            f' -e \'{{"rollback_to": "{_targets.RUNNING}"}}\'.',
        )

    def _unfinished(self, *ways: str) -> tuple[str, DatabasePlan] | None:
        """Return the last run that changed the database, with its plan, where it did so in one of these ways.

        None when it came to its end, or put back what it had changed.
        """
        for run in reversed(self.store.runs()):
            try:
                plan = read_plan(self.store, run)
            except _switching.PrepareError:
                continue
            switches = _runs.switches_of(self.store.read_journal(run))
            if not switches or plan.how == dbplan.NOTHING:
                continue
            return None if _runs.is_over(switches) or plan.how not in ways else (run, plan)
        return None

    def _safety_of(self, run: str) -> str:
        """Return the safety restore point that a run took, '' where it took none or it is gone."""
        return _runs.taken_by(self.store, run, "safety") if run in self.store.runs() else ""

    # -- how ---------------------------------------------------------------------------------------------------------

    def forward(self, aim: Aim, release: _plan.Plan) -> DatabasePlan:
        """Choose between a revert and a restore, rehearse a revert, and return the plan."""
        wish, database = self.wish, self.database
        against = _schema.reference(self.store, aim.point) if aim.point else None
        found = None
        unknown = "a plain dump records nothing"
        if against is not None:
            try:
                found = _schema.assess(database.login, self.settings, against)
            except DatabaseError as error:
                # A restore does not need the live database; a revert is no way then.
                unknown = f"the live database cannot be read: {error}"
        manifest = self.store.point(aim.point).manifest if aim.point else None
        seen = Observed(
            asked=wish.how,
            label=aim.label,
            judgement=found.judgement if found else Judgement("unknown", (unknown,)),
            comparison=found.comparison if found else None,
            dump=bool(wish.file or (manifest and manifest.database)),
            plain=bool(wish.file),
            damaged=bool(wish.damage_since),
            there=self._is_there(aim.source),
            accept_loss=wish.accept_loss,
        )
        choice = dbplan.choose(seen)
        steps: tuple[_migration_tools.Step, ...] = ()
        warnings: list[str] = []
        if choice.how == dbplan.REVERT and not choice.refusal:
            history = against.history if against and against.history is not None else ()
            seen, steps, warnings = self.rehearsed(seen, history, against.catalog if against else None)
            choice = dbplan.choose(seen)
        if choice.refusal:
            raise RestoreError(
                f"no rollback of the database to {aim.label} ({aim.source}): {choice.refusal}",
                next_step=self._other_ways(choice),
            )
        ready = False
        stake: list[str] = []
        if choice.how == dbplan.RESTORE:
            ready, stake, notes = self.restorable(aim, manifest.database if manifest else None)
            warnings = notes
        elif choice.how == dbplan.REVERT:
            stake = [f"this {reason}" for reason in (seen.comparison.revert_reasons if seen.comparison else ())]
            stake.append("rows written since stay, but for what the steps themselves do to them")
        return DatabasePlan(
            application=self.application.name,
            database=database.name,
            how=choice.how,
            target=aim.source,
            label=aim.label,
            release=release,
            migrations=tuple(step.undoes for step in steps) if choice.how == dbplan.REVERT else (),
            recorded=against.history if against else None,
            ready=ready,
            reasons=choice.reasons,
            rejected=choice.rejected,
            stake=tuple(stake),
            warnings=(*aim.warnings, *release.warnings, *warnings),
        )

    def _other_ways(self, choice: dbplan.Choice) -> str:
        if choice.how == dbplan.NOTHING:
            return (
                "For the code alone: ansible-playbook quick-rollback.yml. If data are damaged:"
                " -e rollback_damage_since=<UTC time>, or -e rollback_database_how=restore."
            )
        if choice.how == dbplan.REVERT:
            return "Restore instead: -e rollback_database_how=restore. Another restore point: -e rollback_to=<id>."
        return "Name another restore point (-e rollback_to=<id>) or a plain dump (-e rollback_dump=<file>)."

    def _is_there(self, source: str) -> bool:
        """Whether the live database is the one of ``source`` already, by the way that is asked for."""
        stands, wish = self.stands, self.wish
        before = stands.predecessor
        if stands.restored_from == source and before is not None and before.mark is not None:
            if not wish.damage_since:
                return not deployed_since(self.client, self.store, self.application, source)
            # What was put back or undone in between tells nothing of when these data were restored.
            return before.mark.note == "" and timestamp(moment(before.mark.at)) > dbplan.utc(wish.damage_since)
        return stands.reverted_to == source and wish.how != dbplan.RESTORE and not wish.damage_since

    def rehearsed(
        self, seen: Observed, history: tuple[str, ...], catalog: Mapping[str, Any] | None
    ) -> tuple[Observed, tuple[_migration_tools.Step, ...], list[str]]:
        """Find the steps back and rehearse them; return what was seen, the steps and warnings."""
        try:
            tools = self.tools()
            way = tools.steps(self.database.login, history)
            blocked = self.copy_blockers()
            if blocked:
                return replace(seen, obstacle=f"the live database cannot be copied first: {'; '.join(blocked)}"), (), []
            if self.pretend or not self.wish.rehearse:
                return seen, way, ["the steps back were not rehearsed"]
            rehearsal = _rehearsal.rehearse(self.client, tools, self.database.login, way, catalog)
        except StepFailed as error:
            return dbplan.with_rehearsal(seen, "failed", [str(error)]), (), []
        except (RevertError, ValueError) as error:
            return replace(seen, obstacle=f"the migrations cannot be taken back: {error}"), (), []
        self.store.journal(self.database.run, "rehearsal", "done", verdict=rehearsal.verdict, seconds=rehearsal.seconds)
        warnings = [f"left behind by the steps back: {note}" for note in rehearsal.notes]
        return (
            dbplan.with_rehearsal(seen, rehearsal.verdict, rehearsal.reasons),
            way,
            [*warnings, *(f"limit of the rehearsal: {limit}" for limit in rehearsal.limits)],
        )

    def copy_blockers(self) -> tuple[str, ...]:
        """Return what forbids the copy of the live database that a revert makes first."""
        live = self.stands.live
        with self.database.cursor() as cursor:
            server = _databases.look_at_server(self.database, cursor)
        return _restore_plan.copy_blockers(server, live.size if live else 0)

    def tools(self) -> _migration_toolbox.Toolbox:
        """Return the migration tool of the release that runs."""
        return _migration_toolbox.Toolbox(
            self.client, self.application.name, self.application.project, self.service(), self.settings
        )

    def restorable(self, aim: Aim, recorded: Mapping[str, Any] | None) -> tuple[bool, list[str], list[str]]:
        """Check that the source can be restored and swapped in; return whether it is ready, what is at stake, notes.

        Raises ``RestoreError`` with everything that forbids it.
        """
        database, wish = self.database, self.wish
        ready = self.stands.ready_for(aim.source) is not None
        notes: list[str] = []
        if ready:
            with database.cursor() as cursor:
                blocked = _restore_plan.swap_blockers(_databases.look_at_server(database, cursor))
            if blocked:
                raise RestoreError("; ".join(blocked), next_step="Mend what is named and run it again.")
        elif wish.file:
            notes += _plain_load.judge(database, wish.file)[1].notes
        else:
            part, _folder = _restore.check_files(database, aim.point)
            notes += _restore.judge(database, part, dump=part["bytes"], jobs=wish.jobs).notes
        if recorded is None:
            stake = [f"all that {database.name} holds now is set aside: a plain dump has nothing to compare"]
            return ready, stake, notes
        try:
            changes, known_by = _swap.at_stake(database, recorded)
        except DatabaseError as error:
            return ready, [f"what the live database holds cannot be read: {error}"], notes
        stake = [f"set aside: {dbplan.told_change(table, change)}" for table, change in changes.items()]
        return ready, [*(stake or ["no change since then was counted"]), f"known by: {known_by}"], notes


# -- the database part of the critical section ------------------------------------------------------------------------


class DatabaseChange:
    """The database part of a plan: a revert, or a swap. It can be put back as long as the run lasts."""

    def __init__(
        self,
        database: Database,
        plan: DatabasePlan,
        tools: Callable[[], _migration_toolbox.Toolbox],
        settings: _schema.Settings,
        pooler: _swap.Pooler | None,
    ) -> None:
        self.database, self.plan = database, plan
        self._tools, self._settings, self._pooler = tools, settings, pooler
        self.set_aside = ""
        self.outage = 0.0
        self._done = False
        # What an undo swaps in, as it was marked before: an undo that fails leaves it so.
        self._was: Mark | None = None
        self.notes: tuple[str, ...] = ()

    def _told(self, step: str, status: str, **details: Any) -> None:
        if status == "begun":
            self.database.store.still_held(self.database.run)
        self.database.store.journal(self.database.run, f"database {step}", status, **details)

    def incoming(self) -> Beside:
        """Return the database that is to be swapped in. Raises ``RestoreError`` when it is not there."""
        stands = self.database.standing(deadline=RECOVERY)
        if self.plan.how == dbplan.UNDO:
            found = next((entry for entry in stands.aside if entry.name == self.plan.target), None)
        else:
            found = stands.ready_for(self.plan.target)
        if found is None:
            raise RestoreError(f"the database of {self.plan.target} is not beside the live one any more")
        return found

    def carry_out(self) -> None:
        """Take the migrations back, or swap. The services are stopped."""
        if self.plan.how == dbplan.REVERT:
            self._revert()
            return
        note, incoming = "", self.incoming()
        if self.plan.how == dbplan.UNDO:
            note, self._was = UNDONE, incoming.mark
        done = _swap.swap(self.database, incoming, note=note, pooler=self._pooler)
        self.set_aside, self.outage, self._done = done.aside, done.outage, True
        self._told("swap", "done", source=self.plan.target, set_aside=done.aside, seconds=done.outage)

    def _revert(self) -> None:
        store, login = self.database.store, self.database.login
        against = _schema.reference(store, self.plan.target)
        if against is None or against.history is None:
            raise RevertError(f"restore point {self.plan.target} did not record the migration history")
        tools = self._tools()
        way = tools.steps(login, against.history)
        found = tuple(step.undoes for step in way)
        if found != self.plan.migrations:
            raise RevertError(f"the steps back are not those of the plan any more: {', '.join(found) or 'none'}")
        done = _migration_revert.revert(tools, self.database, way, against.catalog, self.plan.target, told=self._told)
        self.set_aside, self.notes = done.copy, done.notes

    def put_back(self) -> None:
        """Have the database live again that was live when the run began. What took its place is kept."""
        before = self.database.standing(deadline=RECOVERY).predecessor
        if before is None or before.mark is None:
            return
        if before.mark.run == self.database.run and before.mark.note != FAILED:
            note, run = (self._was.note, self._was.run) if self._was else (FAILED, "")
            kept = _swap.swap(self.database, before, note=note, run=run, pooler=self._pooler).aside
            with contextlib.suppress(OSError, StoreError):
                self._told("put back", "done", kept=kept)

    def check(self) -> None:
        """Raise ``RestoreError`` unless the live database is the planned one, with the recorded migrations."""
        stands, plan = self.database.standing(deadline=RECOVERY), self.plan
        wrong = []
        # Where there was no live database before, nothing was set aside that could name what took its place.
        swapped = stands.restored_from == plan.target or (self._done and not self.set_aside)
        if plan.how == dbplan.RESTORE and not swapped:
            wrong.append(f"the live database is not the one of {plan.target}")
        if plan.how == dbplan.REVERT and stands.reverted_to != plan.target:
            wrong.append(f"the live database was not taken back to {plan.target}")
        if plan.recorded is not None and self._settings.tool != "none":
            applied = _schema.history(self.database.login, self._settings)
            if tuple(applied) != plan.recorded:
                newest = applied[-1] if applied else "none"
                wrong.append(f"the applied migrations are not those of {plan.label}: the newest is {newest}")
        if wrong:
            raise RestoreError("; ".join(wrong))


def count_rows(database: Database, limit: int) -> tuple[dict[str, int], str]:
    """Count the rows of every table of the live database, and say why that was not done.

    Databases above ``limit`` bytes are not counted: that would take longer than it tells.
    """
    with database.cursor(database.name) as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = int(cursor.fetchone()[0])
        if size > limit:
            return {}, f"rows were not counted: the database has {_restore_plan.megabytes(size)}"
        cursor.execute("SET statement_timeout TO '30s'")
        cursor.execute(_invariants.TABLES)
        rows = {}
        for schema, name in cursor.fetchall():
            cursor.execute(_invariants.count_statement(schema, name, hashed=False))
            rows[f"{schema}.{name}"] = int(cursor.fetchone()[0])
    return rows, ""


# -- the plan on disk -------------------------------------------------------------------------------------------------


def write_plan(store: Store, run: str, planned: Planned) -> None:
    """Keep a plan in its run's folder, for the critical section that carries it out."""
    _switching.write_plan(store, run, planned.prepared)
    document = dbplan.plan_to_dict(planned.plan)
    write_file(os.path.join(store.run_path(run), _runs.DATABASE_PLAN), json.dumps(document, indent=1) + "\n")


def read_plan(store: Store, run: str) -> DatabasePlan:
    """Return the plan that was prepared for a run. Raises ``PrepareError`` when there is none."""
    try:
        with open(os.path.join(store.run_path(run), _runs.DATABASE_PLAN), encoding="utf-8") as stream:
            return dbplan.plan_from_dict(json.load(stream))
    except (FileNotFoundError, ValueError) as error:
        raise _switching.PrepareError(f"run {run} has no prepared plan for the database: {error}") from error
