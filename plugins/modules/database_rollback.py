#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the database of a Compose application back together with its release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_rollback
short_description: Take the database of a Compose application back together with its release
description:
  - Goes back by a revert of migrations, or by a restore beside the live database and a swap, and to the release that
    belongs to it.
  - With O(state=prepared) the way is chosen from the comparison of the live schema with the recorded one, a revert is
    rehearsed, images are fetched, files are staged. Nothing that runs is touched. The result is a plan with its reasons
    and with the data at stake.
  - With O(state=switched) that plan is carried out as one operation. The services that carry code are stopped, the
    database goes back, the release is switched, and it has to be healthy. When anything fails, the database and the
    release that were there before are put back. Nothing is dropped.
  - Run O(state=switched) under C(async), so that it goes on when the controller is gone.
  - An application may run on several hosts, of which one has the database. There the database goes back; with
    O(where=elsewhere) another host takes part in that. Its services stop with O(state=stopped) before, and after it
    O(state=switched) takes its release back and starts them, or O(state=started) starts again what was stopped.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.admin
  - schedgen.rollback.project.migration
  - schedgen.rollback.project.pooler
  - schedgen.rollback.project.run
  - schedgen.rollback.project.steps
  - schedgen.rollback.project.rehearsal
  - schedgen.rollback.project.pull
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    details:
      - The plan is made; images are not fetched, a revert is not rehearsed, and nothing is carried out.
  diff_mode:
    support: full
    details:
      - Shows the release, the database and the migrations before and after.
options:
  state:
    description:
      - V(prepared) makes the plan, V(switched) carries out the plan that was prepared for O(run).
      - With O(where=elsewhere), V(stopped) stops the services that go back, and V(started) starts those again that were
        stopped by it.
    type: str
    choices: [prepared, switched, stopped, started]
    required: true
  to:
    description:
      - The restore point to go to. Empty for the candidate.
      - With O(file) the release to go to, as for M(schedgen.rollback.compose_release). Empty leaves it as it is.
    type: str
    default: ''
  how:
    description:
      - V(auto) chooses between V(revert) and V(restore). V(undo) goes back to the database that the last rollback set
        aside, and to the release that ran with it.
    type: str
    choices: [auto, revert, restore, undo]
    default: auto
  where:
    description:
      - Where the database goes back. V(here), on this host. V(elsewhere), on another host of this rollback. The
        services here then stay stopped when this host fails after it, because the release before must not run on that
        database. V(nowhere), because on that other host it is the target's already.
      - But for V(here), O(to) says where to go, and with O(how=undo) it is to before the rollback it took part in.
    type: str
    choices: [here, elsewhere, nowhere]
    default: here
  damage_since:
    description:
      - Since when data are damaged, in UTC, as C(2026-11-22T13:15:00Z). Without O(to), the newest restore point with a
        database from before that moment is the candidate, and the way is a restore.
    type: str
    default: ''
  file:
    description:
      - A plain SQL dump on the host, gzipped or not, instead of a restore point.
    type: path
  name:
    description:
      - With O(how=undo), the set-aside database to go back to. The one that was live last when empty.
    type: str
    default: ''
  accept_loss:
    description:
      - Let a revert go on that cannot bring back what a destructive migration took.
    type: bool
    default: false
  rehearse:
    description:
      - Whether a revert is rehearsed on a throwaway server.
    type: bool
    default: true
  jobs:
    description:
      - How many tables a restore will fill at once, for the preflight.
    type: int
    default: 2
  count_limit:
    description:
      - Up to how many megabytes of database the rows of every table are counted after a restore.
    type: int
    default: 512
  safety:
    description:
      - The safety restore point, with O(state=switched). Its release is put back when something fails.
    type: str
    default: ''
  plan:
    description:
      - The hash of the plan that was approved, with O(state=switched). Another plan is refused.
    type: str
    default: ''
  deadline:
    description:
      - Seconds that the target has to become healthy.
    type: float
    default: 120
  whole:
    description:
      - Take every service back but the database's server, as a full rollback does, and not only those that carry code.
    type: bool
    default: false
  volumes:
    description:
      - With O(whole=true), the volumes whose content goes back too.
    type: list
    elements: str
    default: []
  empty_volumes:
    description:
      - With O(whole=true), the volumes that are empty afterwards, such as a cache's.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Choose the way back and show it
  schedgen.rollback.database_rollback:
    application: schedgen
    state: prepared
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
  register: prepared

- name: Go back
  schedgen.rollback.database_rollback:
    application: schedgen
    state: switched
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
    safety: "{{ safety.id }}"
    plan: "{{ prepared.plan.hash }}"
  async: 1800
  poll: 2
"""

RETURN = r"""
volumes_set_aside:
  description: Folders with the content that volumes had before.
  returned: with O(state=switched)
  type: list
  elements: str
plan:
  description:
    - The plan. C(how) is revert, restore, undo, elsewhere or nothing, with C(hash), C(steps), C(reasons), C(rejected),
      C(stake), C(warnings) and the C(release) part.
  returned: success
  type: dict
  sample:
    hash: 3f0a51b6c2de
    how: revert
    target: 20261122T131500.123Z
    migrations: [AddJobPriority1761000000001]
expected:
  description: The image id that each code service is to run.
  returned: success
  type: dict
head:
  description: The newest migration that is to be applied afterwards. Empty when that is not known.
  returned: success
  type: str
told:
  description: What became of the services that were stopped.
  returned: with O(state=started)
  type: str
stopped:
  description: Names of the containers that were stopped.
  returned: with O(state=stopped)
  type: list
  elements: str
configuration:
  description: Of every file that differs, its C(path) and the C(keys) whose values differ. Values are not told.
  returned: with O(state=prepared)
  type: list
  elements: dict
set_aside:
  description: The name of the database that was live before. Empty when the database was not changed.
  returned: with O(state=switched)
  type: str
outage:
  description: For how many seconds nobody could connect to the database, with a swap.
  returned: with O(state=switched)
  type: float
rows:
  description: What became of the rows. C(recorded) and C(now) are sums, C(fewer) says which tables have fewer.
  returned: with O(state=switched), after a restore
  type: dict
release:
  description: Fingerprint of the release that runs afterwards.
  returned: with O(state=switched)
  type: str
timings:
  description: Seconds that each step of the critical section took.
  returned: with O(state=switched)
  type: dict
put_back:
  description: Whether, after a failure, what was there before is there, because it was put back or never touched.
  returned: on failure
  type: bool
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _compose,
    _database_plan as dbplan,
    _database_rollback,
    _elsewhere,
    _failure,
    _migration_toolbox,
    _runs,
    _schema,
    _switching,
    _volumes,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import Database, RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import application_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store, StoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._swap import pooler_of

HERE = dbplan.PLACES[0]
STOPPED = (
    "The services here are stopped, because the database goes back on its own host; nothing else was touched here."
)
UNTOUCHED = "Nothing that runs was touched: the application and its database are as they were."


def wish_of(parameters: Mapping[str, Any]) -> _database_rollback.Wish:
    """Return what the operator asked for."""
    return _database_rollback.Wish(
        to=parameters["to"],
        how=parameters["how"],
        damage_since=parameters["damage_since"],
        file=parameters["file"] or "",
        name=parameters["name"],
        accept_loss=parameters["accept_loss"],
        rehearse=parameters["rehearse"],
        jobs=parameters["jobs"],
        pull_timeout=parameters["pull_timeout"],
        whole=parameters["whole"],
        volumes=tuple(parameters["volumes"]),
        empty_volumes=tuple(parameters["empty_volumes"]),
    )


def planner_of(
    store: Store, parameters: Mapping[str, Any], *, pretend: bool
) -> tuple[Callable[[str], _database_rollback.Planned], Callable[[], list[str]]]:
    """Return what makes the plan from a staging folder, and what puts right before what a killed run left."""
    client, application, wish = _compose.connect(), application_of(parameters), wish_of(parameters)
    if parameters["where"] != HERE:
        make = functools.partial(
            _elsewhere.plan,
            client,
            store,
            application,
            wish,
            run=parameters["run"],
            place=parameters["where"],
            database=parameters["database"],
            database_service=parameters["database_service"],
            pretend=pretend,
        )
        return make, list
    planner = _database_rollback.Planner(
        client,
        store,
        application,
        database_of(store, client, parameters),
        _schema.settings_of(parameters),
        # Only a revert needs it: a host with the database alone has none.
        functools.partial(_migration_toolbox.service_of, parameters),
        wish,
        database_service=parameters["database_service"],
        pretend=pretend,
    )
    return planner.plan, planner.put_right


def prepare(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Make the plan; return the module's result. Raises what planning raises."""
    make, put_right = planner_of(store, parameters, pretend=pretend)
    done = []
    parent = None
    if not pretend:
        store.prepare()
        parent = store.root
        done = put_right()
    staging = tempfile.mkdtemp(prefix=f"{TEMPORARY}staging-", dir=parent)
    try:
        planned = make(staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    plan = planned.plan
    if not pretend and parameters["run"]:
        _database_rollback.write_plan(store, parameters["run"], planned)
        store.journal(parameters["run"], "plan", "done", hash=plan.hash, target=plan.target, steps=plan.sentences())
    fetched = any(image.place != "present" for image in plan.release.images)
    return {
        "changed": plan.changed if pretend else bool(fetched or done),
        "plan": dbplan.plan_to_dict(plan),
        **expected(plan),
        "configuration": planned.prepared.configuration(),
        "diff": diff(plan),
        "rollback_screen": screen(plan, [*done, *planned.lines]),
    }


def expected(plan: dbplan.DatabasePlan) -> dict[str, Any]:
    """Return what a verification afterwards holds the application against."""
    return {
        "expected": {image.service: image.image_id for image in plan.release.images},
        "head": plan.recorded[-1] if plan.recorded else "",
    }


def diff(plan: dbplan.DatabasePlan) -> dict[str, str]:
    """Return release, database and migrations before and after, for ``--diff``."""
    before = [f"release: {plan.release.running_label}", f"database: {plan.database}"]
    before += [f"migration: {name}" for name in reversed(plan.migrations)]
    after = [f"release: {plan.release.label}"]
    after.append(f"database: {plan.target}" if plan.how in (dbplan.RESTORE, dbplan.UNDO) else before[1])
    names = {"before_header": plan.release.running_label, "after_header": plan.label}
    return {**names, "before": "\n".join(before) + "\n", "after": "\n".join(after) + "\n"}


def screen(plan: dbplan.DatabasePlan, done: list[str]) -> dict[str, Any]:
    """Return what the operator's screen shows of a plan."""
    words = {
        dbplan.REVERT: "take its migrations back",
        dbplan.RESTORE: "restore its database",
        dbplan.UNDO: "undo the last rollback of the database",
        dbplan.ELSEWHERE: "while its database goes back on another host",
        dbplan.NOTHING: "its database is there already",
    }
    release = plan.release
    headline = f"Plan {plan.hash}: {release.running_label} -> {plan.label} ({plan.target}), {words[plan.how]}"
    if not plan.changed:
        headline = f"Nothing to do: {plan.label} runs already, with the database of {plan.target}"
    lines = [*done, *(f"{number}. {step}" for number, step in enumerate(plan.sentences(), start=1))]
    lines += [f"Reason: {reason}" for reason in plan.reasons]
    lines += [f"Rejected: {option}, because {why}" for option, why in plan.rejected]
    lines += [f"At stake: {sentence}" for sentence in plan.stake]
    lines += [f"Note: {warning}" for warning in plan.warnings]
    return {
        "headline": headline,
        "lines": lines,
        "rows": [
            {"label": "From", "value": f"{release.running_label} ({release.running})"},
            {"label": "To", "value": f"{plan.label} ({plan.target})"},
            {"label": "By", "value": words[plan.how]},
        ],
    }


def switch(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the prepared plan; return the module's result. Raises SwitchError and what comes before anything."""
    run, application = parameters["run"], application_of(parameters)
    client = _compose.connect()
    prepared = _switching.read_plan(store, run, application)
    plan = _database_rollback.read_plan(store, run)
    if parameters["plan"] and parameters["plan"] != plan.hash:
        raise _switching.PrepareError(f"the approved plan is {parameters['plan']}, the prepared one is {plan.hash}")
    before, folder = _switching.before_of(client, store, application, plan.release, parameters["safety"])
    here = parameters["where"] == HERE
    database = database_of(store, client, parameters) if here else None
    change = None
    if database is not None and plan.how != dbplan.NOTHING:
        settings = _schema.settings_of(parameters)

        def tools() -> _migration_toolbox.Toolbox:
            service = _migration_toolbox.service_of(parameters)
            return _migration_toolbox.Toolbox(client, application.name, application.project, service, settings)

        change = _database_rollback.DatabaseChange(database, plan, tools, settings, pooler_of(database, parameters))
        if plan.how != dbplan.REVERT:
            change.incoming()
    if plan.whole:
        before = before.all_along(parameters["database_service"])
    volumes = volumes_change(store, client, plan, run)
    elsewhere = _elsewhere.ElsewhereChange() if plan.how == dbplan.ELSEWHERE else None
    parts = [part for part in (change, elsewhere, volumes) if part is not None]
    _switching.bring_to_an_end()
    operation = _switching.Switch(
        client,
        store,
        run,
        prepared,
        before,
        folder,
        deadline=parameters["deadline"],
        change=_volumes.Changes(*parts) if parts else None,
    )
    timings = operation.carry_out()
    release, marked = _switching.record(client, store, run, application, plan.release, parameters["safety"])
    if change is not None and plan.how == dbplan.RESTORE and any(point.id == plan.target for point in store.points()):
        with contextlib.suppress(OSError, StoreError):
            store.append_event(plan.target, "swapped in", run=run, set_aside=change.set_aside, seconds=change.outage)
    rows, told = compare_rows(store, database, plan, parameters["count_limit"] << 20) if database else ({}, [])
    return {
        "changed": True,
        "plan": dbplan.plan_to_dict(plan),
        **expected(plan),
        "release": release,
        "set_aside": change.set_aside if change else "",
        "volumes_set_aside": [entry.beside for entry in volumes.restored] if volumes else [],
        "outage": change.outage if change else 0.0,
        "rows": rows,
        "timings": timings,
        "rollback_screen": ended(plan, change, timings, [*volumes_told(volumes), *told, *marked]),
    }


def stop(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stop what must not run while the database goes back elsewhere. Raises EngineError, and what comes before that."""
    run, application = parameters["run"], application_of(parameters)
    client = _compose.connect()
    prepared = _switching.read_plan(store, run, application)
    plan = _database_rollback.read_plan(store, run)
    before, _folder = _switching.before_of(client, store, application, plan.release, parameters["safety"])
    if plan.whole:
        before = before.all_along(parameters["database_service"])
    stopped = _elsewhere.stop(client, store, run, application.project, before, prepared.target)
    headline = f"{', '.join(stopped) or 'nothing'} stopped until the database has gone back"
    return {"changed": bool(stopped), "stopped": stopped, "rollback_screen": {"headline": headline}}


def start(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Start again what was stopped."""
    started, wrong = _elsewhere.start(_compose.connect(), store, parameters["run"])
    told = "Its services were stopped for the database and started again; nothing else was touched."
    if wrong:
        told = f"Its services were stopped for the database, and not all start again: {'; '.join(wrong)}."
    return {"changed": started > 0, "told": told, "rollback_screen": {"headline": told}}


def volumes_change(store: Store, client: Any, plan: dbplan.DatabasePlan, run: str) -> _volumes.VolumesChange | None:
    """Return the volumes' part of the plan, None where it has none. Raises PrepareError where it is not prepared."""
    wanted = {*plan.volumes, *plan.emptied}
    if not wanted:
        return None
    restored = [entry for entry in _volumes.kept(store, run) if entry.name in wanted and entry.inode]
    missing = sorted(wanted - {entry.name for entry in restored})
    if missing:
        raise _switching.PrepareError(f"the content of {', '.join(missing)} was not restored beside the live one")

    def told(step: str, status: str, **details: Any) -> None:
        with contextlib.suppress(OSError, StoreError):
            store.journal(run, step, status, **details)

    return _volumes.VolumesChange(client, restored, told)


def volumes_told(volumes: _volumes.VolumesChange | None) -> list[str]:
    """Return where the content of each volume is that was live before."""
    return (
        [f"Volume {entry.name}: what was there is set aside as {entry.beside}" for entry in volumes.restored]
        if volumes
        else []
    )


def compare_rows(
    store: Store, database: Database, plan: dbplan.DatabasePlan, limit: int
) -> tuple[dict[str, Any], list[str]]:
    """Count the rows after a restore and hold them against what was recorded; return that and what to tell.

    The application writes already, so that fewer rows are told and no error: the copy was compared before it went
    live.
    """
    if plan.how != dbplan.RESTORE:
        return {}, []
    manifest = None
    # A plain dump is no restore point.
    with contextlib.suppress(StoreError):
        manifest = store.point(plan.target).manifest
    if manifest is None or not manifest.database:
        return {}, []
    recorded: dict[str, int] = manifest.database["rows"]
    try:
        found, why = _database_rollback.count_rows(database, limit)
    except DatabaseError as error:
        found, why = {}, f"rows were not counted: {error}"
    if why:
        return {}, [why]
    fewer = dbplan.fewer_rows(recorded, found)
    total = {"recorded": sum(recorded.values()), "now": sum(found.values()), "fewer": fewer}
    told = f"Rows: {total['recorded']} were recorded, {total['now']} are there now"
    return total, [told, *(f"Note: {sentence}" for sentence in fewer)]


def ended(
    plan: dbplan.DatabasePlan,
    change: _database_rollback.DatabaseChange | None,
    timings: Mapping[str, float],
    lines: list[str],
) -> dict[str, Any]:
    """Return what the operator's screen shows at the end."""
    shown = [f"Took: {', '.join(f'{name} {seconds} s' for name, seconds in timings.items())}", *lines]
    rows = []
    if change is not None:
        shown += [f"Left behind by the steps back: {note}" for note in change.notes]
        shown.insert(0, f"Set aside, with every row that was written: {change.set_aside}")
        rows = [{"label": "Set aside", "value": change.set_aside}]
    how = {
        dbplan.REVERT: f"{len(plan.migrations)} migrations were taken back",
        dbplan.RESTORE: f"its database is the one of {plan.target}",
        dbplan.UNDO: f"its database is again {plan.target}",
        dbplan.ELSEWHERE: "its database went back on its own host",
        dbplan.NOTHING: f"its database was that of {plan.target} already",
    }
    return {"headline": f"{plan.label} runs and is healthy; {how[plan.how]}", "lines": shown, "rows": rows}


def explain_failure(parameters: Mapping[str, Any], error: _switching.SwitchError) -> str:
    """Return the three parts of a critical section that failed."""
    store = Store(parameters["state_dir"], parameters["application"])
    journal = os.path.join(store.runs_dir, parameters["run"], "journal.jsonl")
    if error.put_back:
        state = (
            "What was there before was put back: the same database is live, and the same images, files and number of"
            " containers run again. Databases of the attempt are kept and listed by postgresql_restore_info."
        )
        following = "See the journal for the step that failed, mend the cause, or choose another way or target."
    else:
        state = f"What was there before could NOT be put back whole: {error.detail}."
        following = (
            "Nothing was dropped. Run this again: it goes on from here. The safety restore point is"
            f" {parameters['safety']}."
        )
    return _failure.explain(
        f"The rollback of the database failed: {error.reason}.", state, f"{following} Journal: {journal}"
    )


STATES: dict[str, Callable[[Store, Mapping[str, Any]], dict[str, Any]]] = {
    "switched": switch,
    "stopped": stop,
    "started": start,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            **_arguments.MIGRATION,
            **_arguments.POOLER,
            **_arguments.RUN,
            **_arguments.STEPS,
            **_arguments.REHEARSAL,
            **_arguments.PULL,
            "state": {"type": "str", "choices": ["prepared", *STATES], "required": True},
            "to": {"type": "str", "default": ""},
            "how": {"type": "str", "choices": list(dbplan.WAYS), "default": "auto"},
            "where": {"type": "str", "choices": list(dbplan.PLACES), "default": HERE},
            "damage_since": {"type": "str", "default": ""},
            "file": {"type": "path"},
            "name": {"type": "str", "default": ""},
            "accept_loss": {"type": "bool", "default": False},
            "rehearse": {"type": "bool", "default": True},
            "jobs": {"type": "int", "default": 2},
            "count_limit": {"type": "int", "default": 512},
            "safety": {"type": "str", "default": ""},
            "plan": {"type": "str", "default": ""},
            "deadline": {"type": "float", "default": 120},
            "whole": {"type": "bool", "default": False},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "empty_volumes": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[
            ("state", "prepared", ("project_src",)),
            ("state", "switched", ("project_src", "run", "safety")),
            ("state", "stopped", ("project_src", "run", "safety")),
            ("state", "started", ("project_src", "run")),
        ],
        supports_check_mode=True,
    )
    parameters = module.params
    store = None
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if module.check_mode:
            planned = parameters["state"] in ("prepared", "switched")
            result = prepare(store, parameters, pretend=True) if planned else {"changed": True}
        else:
            with store.held(parameters["run"]):
                act = STATES.get(parameters["state"])
                result = act(store, parameters) if act else prepare(store, parameters, pretend=False)
            if parameters["state"] == "stopped":
                store.renew(parameters["run"], lease=_elsewhere.WAITING)
    except _switching.SwitchError as error:
        module.fail_json(msg=explain_failure(parameters, error), put_back=error.put_back)
    except EXPECTED as error:
        state = error.state if isinstance(error, RestoreError) else UNTOUCHED
        journal = store.read_journal(parameters["run"]) if store else ()
        if _runs.is_stopped(journal):
            state = STOPPED
        happened = f"{str(error)[:1].upper()}{str(error)[1:]}"
        # Who has stopped other hosts for this has to know that nothing was begun.
        begun = bool(_runs.switches_of(journal))
        module.fail_json(
            msg=_failure.explain(happened, state, next_step(error, "Mend the cause and run it again.")),
            put_back=not begun,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
