#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a database beside the live one, swap the two, and swap back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore
short_description: Restore a PostgreSQL database beside the live one and swap the two
description:
  - Never restores into the live database. A copy is restored beside it, compared with what the restore point recorded,
    and closed to everybody until it is swapped in.
  - The swap renames both databases in one transaction. What was live is set aside under another name, closed, with
    every row that it had. Nothing is dropped but copies, and what O(state=absent) names.
  - Each call first puts right what a killed one left. It opens a live database that is still fenced, and drops copies
    that were never verified.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project.database
  - schedgen.rollback.project.admin
  - schedgen.rollback.project.pooler
  - schedgen.rollback.project.run
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  project_name:
    description:
      - Name of the Compose project. The application's name when it is not given.
    type: str
  state:
    description:
      - V(prepared) restores O(id) or O(file) beside the live database and compares it. A copy that is kept ready is
        used.
      - V(swapped) does the same where it is not done yet, and swaps the copy in. The live database may be in use.
      - V(undone) swaps the set-aside database back in that was live last, or O(name). Doing it twice undoes the undo,
        but not within one O(run), and not when the O(run) before was killed before it could tell of its undo.
      - V(absent) drops the database O(name), which was set aside, kept ready or prepared, or the prepared copy of
        O(id).
    type: str
    choices: [prepared, swapped, undone, absent]
    required: true
  id:
    description:
      - The restore point.
    type: str
    default: ''
  file:
    description:
      - A plain SQL dump on the host, gzipped or not, instead of O(id).
      - It is read to its end before anything of it is run, and its statements are run as a role without any right on
        the server. A dump with commands of psql or with a COPY that reads or writes files is refused.
    type: path
  name:
    description:
      - A database that was set aside, kept ready or prepared, as M(schedgen.rollback.postgresql_restore_info) names it.
    type: str
    default: ''
  jobs:
    description:
      - How many tables are restored at once.
    type: int
    default: 2
  drill:
    description:
      - With O(state=prepared), whether no swap is to follow. What would hinder one does not matter then, and the dump
        is restored even where a copy is kept ready.
    type: bool
    default: false
  again:
    description:
      - With O(state=swapped), whether to restore even where the live database was restored from this very source.
    type: bool
    default: false
  owner:
    description:
      - Who asks, for the lock.
    type: str
    default: ''
  reason:
    description:
      - Why, for the lock.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Restore the database beside the live one
  schedgen.rollback.postgresql_restore:
    application: schedgen
    database: schedgen
    state: prepared
    id: 20261122T131500.123Z

- name: Swap it in
  schedgen.rollback.postgresql_restore:
    application: schedgen
    database: schedgen
    state: swapped
    id: 20261122T131500.123Z
  async: 3600
  poll: 1

- name: Swap back
  schedgen.rollback.postgresql_restore:
    application: schedgen
    database: schedgen
    state: undone

- name: Drop what was set aside
  schedgen.rollback.postgresql_restore:
    application: schedgen
    database: schedgen
    state: absent
    name: schedgen_old_20261122t140000123z
"""

RETURN = r"""
database:
  description: The database beside the live one that was prepared, swapped in or dropped.
  returned: always
  type: str
  sample: schedgen_side_20261122t131500123z
source:
  description: The restore point or dump that the live database holds, or the prepared copy with O(state=prepared).
  returned: always
  type: str
  sample: 20261122T131500.123Z
set_aside:
  description: The name that the database has now that was live before. Empty when nothing was swapped.
  returned: always
  type: str
  sample: schedgen_old_20261122t140000123z
ready:
  description: Whether a copy was used that had been kept ready.
  returned: with O(state=prepared) and O(state=swapped)
  type: bool
outage:
  description: For how many seconds nobody could connect.
  returned: when databases were swapped
  type: float
  sample: 0.02
timings:
  description: Seconds of each step.
  returned: with O(state=prepared) and O(state=swapped)
  type: dict
  sample: {checksums: 0.1, restore: 4.2, verify: 0.8, total: 5.3}
needed:
  description: Bytes that the preflight wanted free.
  returned: with O(state=prepared) and O(state=swapped)
  type: int
notes:
  description: What was not compared, and what the operator should know, in sentences.
  returned: always
  type: list
  elements: str
swept:
  description: What killed runs had left and was put right, in sentences.
  returned: always
  type: list
  elements: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _databases,
    _failure,
    _pgtools,
    _plain_load,
    _restore,
    _swap,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import Database, RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import client_of
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import megabytes
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoreError

UNTOUCHED = "The live database was not touched."


def source_of(parameters: Mapping[str, Any]) -> str:
    """Return the name of what is to be restored, as a mark has it."""
    return _plain_load.point_of(parameters["file"]) if parameters["file"] else parameters["id"]


def prepare(database: Database, parameters: Mapping[str, Any], *, swap: bool) -> dict[str, Any]:
    """Restore beside and compare; return the module's result."""

    def progress(step: str) -> None:
        database.store.journal(database.run, "database restore", step, source=source_of(parameters))

    if parameters["file"]:
        done = _plain_load.prepare(database, parameters["file"], swap=swap, progress=progress)
    else:
        try:
            done = _restore.prepare(
                database,
                parameters["id"],
                jobs=parameters["jobs"],
                swap=swap,
                fresh=parameters["drill"],
                progress=progress,
            )
        except (RestoreError, _pgtools.ToolError) as error:
            if parameters["drill"] and any(point.id == parameters["id"] for point in database.store.points()):
                database.store.append_event(parameters["id"], "not proven", run=database.run, reason=str(error))
            raise
        if done.changed:
            database.store.append_event(
                parameters["id"], "proven", run=database.run, seconds=done.timings["total"], host=os.uname().nodename
            )
    how = "kept ready" if done.ready else "restored beside the live one before"
    if done.changed:
        how = f"restored beside the live one and compared in {done.timings['total']:.1f} s"
    notes = [*done.differences, *done.notes]
    return {
        "changed": done.changed,
        "database": done.name,
        "source": done.point,
        "set_aside": "",
        "ready": done.ready,
        "timings": dict(done.timings),
        "needed": done.needed,
        "notes": notes,
        "rollback_screen": {
            "headline": f"Database of {done.point}: {how}",
            "lines": [f"Note: {note}" for note in notes],
            "rows": [{"label": "Restored copy", "value": done.name}],
        },
    }


def swap(database: Database, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Have the live database be the one of the source; return the module's result."""
    source = source_of(parameters)
    if database.standing().restored_from == source and not parameters["again"]:
        return {
            "changed": False,
            "database": database.name,
            "source": source,
            "set_aside": "",
            "ready": False,
            "timings": {},
            "needed": 0,
            "notes": [],
            "rollback_screen": {"headline": f"{database.name} is the database of {source} already"},
        }
    result = prepare(database, parameters, swap=True)
    incoming = database.standing().ready_for(source)
    if incoming is None:
        raise RestoreError(f"the restored copy of {source} is gone", next_step="Run it again.")
    done = _swap.swap(database, incoming, pooler=_swap.pooler_of(database, parameters))
    record(database, done, "" if parameters["file"] else source)
    headline = f"{database.name} is the database of {source} now; nobody could connect for {done.outage:.2f} s"
    return {
        **result,
        "changed": True,
        "set_aside": done.aside,
        "outage": done.outage,
        "rollback_screen": screen(headline, done, f"{source}, swapped in {done.outage:.2f} s", result["notes"]),
    }


def record(database: Database, done: _swap.Swapped, point: str = "") -> None:
    """Write a swap into the run's journal, and to the restore point. A failure says that the swap itself is done."""
    try:
        database.store.journal(
            database.run,
            "database swap",
            "done",
            source=done.point,
            set_aside=done.aside,
            seconds=done.outage,
            sessions_ended=done.ended,
        )
        if point:
            database.store.append_event(
                point, "swapped in", run=database.run, set_aside=done.aside, seconds=done.outage
            )
    except (OSError, StoreError) as error:
        aside = f"; what was live before is set aside as {done.aside}" if done.aside else ""
        held = f"the database of {done.point}" if done.point else "the one that was set aside"
        raise RestoreError(
            f"the swap is done, and could not be recorded: {error}",
            f"{database.name} is {held} now, and open{aside}.",
            "Mend the state folder and run it again: it will find nothing more to do."
            if point or database.run
            else "Mend the state folder. Do not run it again: that would swap once more.",
        ) from error


def screen(headline: str, done: _swap.Swapped, value: str, notes: list[str]) -> dict[str, Any]:
    """Return what the operator's screen shows of a swap."""
    rows = [{"label": "Database", "value": value}]
    lines = [f"Note: {note}" for note in notes]
    if done.aside:
        rows.append({"label": "Set aside", "value": done.aside})
        lines.insert(0, f"Set aside, with every row that was written: {done.aside}")
    return {"headline": headline, "lines": lines, "rows": rows}


def is_over(database: Database, aside: str, run: str) -> bool:
    """Whether the run that set a database aside by an undo told of it and ended: another undo is another wish then."""
    if not run:
        return True
    if run == database.run:
        return False
    try:
        journal = database.store.read_journal(run)
    except StoreError:
        return True
    told = [entry for entry in journal if entry["step"] == "database swap" and entry.get("set_aside") == aside]
    ended = any(entry["step"] == "run" and entry["status"] == "finished" for entry in journal)
    return bool(told) and (ended or any("told_by" in entry for entry in told))


def undo(database: Database, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Swap a set-aside database back in; return the module's result."""
    newest = database.standing().newest_aside
    mark = newest.mark if newest is not None else None
    if (
        newest is not None
        and mark is not None
        and mark.note == "undone"
        and not is_over(database, newest.name, mark.run)
    ):
        if mark.run != database.run:
            # What a killed run has done and not told is done now: a second swap would take it back.
            database.store.journal(mark.run, "database swap", "done", set_aside=newest.name, told_by=database.run)
        return {
            "changed": False,
            "database": database.name,
            "source": mark.successor_point,
            "set_aside": newest.name,
            "notes": [],
            "rollback_screen": {"headline": f"{database.name} was swapped back in already"},
        }
    done, mark = _swap.put_back(database, parameters["name"], pooler=_swap.pooler_of(database, parameters))
    record(database, done)
    what = f"restored from {mark.point}" if mark.point else "never restored"
    headline = f"{database.name} is again the database that was set aside at {mark.at} ({what})"
    return {
        "changed": True,
        "database": database.name,
        "source": mark.point,
        "set_aside": done.aside,
        "outage": done.outage,
        "notes": [],
        "rollback_screen": screen(headline, done, f"as it was set aside at {mark.at}", []),
    }


def chosen_name(database: Database, parameters: Mapping[str, Any]) -> str:
    """Return the database that is to be absent."""
    if parameters["name"]:
        return str(parameters["name"])
    for entry in database.standing().sides:
        if entry.mark and entry.mark.point == parameters["id"]:
            return entry.name
    return ""


def remove(database: Database, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Drop one database beside the live one; return the module's result."""
    name = chosen_name(database, parameters)
    gone = _databases.remove(database, name) if name else None
    if gone is not None:
        kind = gone.mark.kind if gone.mark else "side"
        database.store.journal(database.run, "database removed", "done", name=name, kind=kind)
        headline = f"Dropped {name} ({kind}, {megabytes(gone.size)})"
    else:
        headline = f"There is no {name}" if name else f"There is no prepared copy of {parameters['id']}"
    return {
        "changed": gone is not None,
        "database": name,
        "source": gone.mark.point if gone is not None and gone.mark else "",
        "set_aside": "",
        "notes": [],
        "rollback_screen": {"headline": headline},
    }


def foretell(database: Database, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a real run would do, after the same checks, and do nothing."""
    state, stands = parameters["state"], database.standing()
    notes: list[str] = []
    changed, source, name = True, "", ""
    if state in ("prepared", "swapped"):
        source = source_of(parameters)
        there = stands.ready_for(source)
        changed = there is None if state == "prepared" else stands.restored_from != source or parameters["again"]
        if there is None and changed:
            swaps = not parameters["drill"]
            if parameters["file"]:
                _held, verdict = _plain_load.judge(database, parameters["file"], swap=swaps)
            else:
                part, _folder = _restore.check_files(database, parameters["id"])
                verdict = _restore.judge(database, part, dump=part["bytes"], jobs=parameters["jobs"], swap=swaps)
            notes = [*verdict.notes, f"{megabytes(verdict.needed)} are needed beside the live database, and are free"]
        name = there.name if there else ""
        verb = "swap in" if state == "swapped" else "restore beside the live one"
        headline = f"would {verb} the database of {source}" if changed else f"nothing to do: it is that of {source}"
    elif state == "undone":
        aside = {entry.name: entry for entry in stands.aside}
        chosen = aside.get(parameters["name"]) if parameters["name"] else stands.newest_aside
        if chosen is None:
            raise RestoreError(f"there is no set-aside database of {database.name} to go back to")
        name, headline = chosen.name, f"would swap {chosen.name} back in"
    else:
        name = chosen_name(database, parameters)
        changed = any(entry.name == name for entry in (*stands.aside, *stands.ready, *stands.sides))
        headline = f"would drop {name}" if changed else f"there is no {name}"
    return {
        "changed": changed,
        "database": name,
        "source": source,
        "set_aside": "",
        "notes": notes,
        "swept": [],
        "rollback_screen": {"headline": headline, "lines": [f"Note: {note}" for note in notes]},
    }


def carry_out(parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Do what the parameters ask for and return the module's result."""
    store = Store(parameters["state_dir"], parameters["application"])
    database = database_of(store, client_of(parameters), parameters)
    if pretend:
        return foretell(database, parameters)
    with store.held(parameters["run"], owner=parameters["owner"], reason=parameters["reason"]):
        swept = _databases.sweep(database)
        if parameters["state"] == "prepared":
            result = prepare(database, parameters, swap=not parameters["drill"])
        elif parameters["state"] == "swapped":
            result = swap(database, parameters)
        elif parameters["state"] == "undone":
            result = undo(database, parameters)
        else:
            result = remove(database, parameters)
    told = result["rollback_screen"]
    told["lines"] = [*[f"Left by a killed run: {line}" for line in swept], *told.get("lines", [])]
    return {**result, "changed": result["changed"] or bool(swept), "swept": swept}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            **_arguments.RUN,
            **_arguments.POOLER,
            "project_name": {"type": "str"},
            "state": {"type": "str", "choices": ["prepared", "swapped", "undone", "absent"], "required": True},
            "id": {"type": "str", "default": ""},
            "file": {"type": "path"},
            "name": {"type": "str", "default": ""},
            "jobs": {"type": "int", "default": 2},
            "drill": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
            "owner": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    if parameters["state"] in ("prepared", "swapped") and bool(parameters["id"]) == bool(parameters["file"]):
        module.fail_json(
            msg=_failure.explain(
                "one of id and file has to be given.", UNTOUCHED, "Name a restore point or a dump, and run it again."
            )
        )
    if parameters["state"] == "absent" and bool(parameters["id"]) == bool(parameters["name"]):
        module.fail_json(
            msg=_failure.explain("one of id and name has to be given.", UNTOUCHED, "Say which, and run it again.")
        )
    try:
        result = carry_out(parameters, pretend=module.check_mode)
    except EXPECTED as error:
        state = error.state if isinstance(error, RestoreError) else UNTOUCHED
        happened = f"postgresql_restore {parameters['state']}: {error}"
        module.fail_json(msg=_failure.explain(happened, state, next_step(error, "Mend the cause and run it again.")))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
