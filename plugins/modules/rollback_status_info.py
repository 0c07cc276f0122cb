#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how an application stands for a rollback."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_status_info
short_description: Say how an application stands for a rollback
description:
  - Restore points with their age and proof, runs with their outcome, what is set aside, the lock and the freeze.
  - Says what is past a limit, for monitoring.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project.database
  - schedgen.rollback.project.admin
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.info_module
options:
  project_name:
    description:
      - Name of the Compose project; the application's name when not set.
    type: str
  max_age:
    description:
      - Hours that the newest usable restore point may be old. V(0) for no limit.
    type: float
    default: 0
  max_proven_age:
    description:
      - Hours that the newest restore point may be old whose database was proven by a drill or by a copy kept ready.
        V(0) for no limit.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: Is there a restore point of today, and one of this week that is proven?
  schedgen.rollback.rollback_status_info:
    application: schedgen
    database: schedgen
    max_age: 24
    max_proven_age: 168
  register: status
"""

RETURN = r"""
points:
  description: Restore points, newest first, with C(id), C(label), C(verdict), C(proven) and C(age_hours).
  returned: always
  type: list
  elements: dict
runs:
  description: Reports of earlier runs, newest first.
  returned: always
  type: list
  elements: dict
databases:
  description: Databases beside the live one. Empty where the server could not be asked, see C(notes).
  returned: always
  type: list
  elements: dict
volumes:
  description: Folders with volume content that rollbacks have set aside.
  returned: always
  type: list
  elements: str
lock:
  description: Who holds the application's lock, empty when nobody does.
  returned: always
  type: dict
freeze:
  description: Who keeps deployments out, empty when nobody does.
  returned: always
  type: dict
wrong:
  description: What is past a limit, in sentences.
  returned: always
  type: list
  elements: str
notes:
  description: What could not be looked at, and why.
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
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments, _failure, _status, _volumes
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import client_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now

REPORTED = ("run", "type", "outcome", "seconds", "owner", "started")


def databases(store: Store, parameters: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the databases beside the live one, and why they could not be looked at."""
    if not parameters["database"]:
        return [], []
    try:
        stands = database_of(store, client_of(parameters), parameters).standing()
    except EXPECTED as error:
        return [], [f"the database's server could not be asked: {error}"]
    kinds = (("set aside", stands.aside), ("ready", stands.ready))
    return [{"name": entry.name, "kind": kind, "size": entry.size} for kind, entries in kinds for entry in entries], []


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state folder, and the server's databases."""
    store = Store(parameters["state_dir"], parameters["application"])
    when = now()
    points = [_status.shown(point.summary(), point.events) for point in store.points()]
    lock, freeze = store.lock(), store.frozen()
    beside, notes = databases(store, parameters)
    kept = {entry.beside for run in store.runs() for entry in _volumes.kept(store, run)}
    status: dict[str, Any] = {
        "points": [{**asdict(point), "age_hours": round(_status.age(point.id, when), 2)} for point in reversed(points)],
        "runs": [{name: report.get(name, "") for name in REPORTED} for report in store.reports(4 * _status.SHOWN)],
        "databases": beside,
        "volumes": sorted(path for path in kept if os.path.isdir(path)),
        "lock": asdict(lock) if lock else {},
        "freeze": asdict(freeze) if freeze else {},
        "wrong": _status.wrong(
            points, when, max_age=parameters["max_age"], max_proven_age=parameters["max_proven_age"]
        ),
        "notes": notes,
    }
    usable, proven = (_status.newest(points, proven=asked) for asked in (False, True))
    rows = [
        {"label": label, "value": f"{point.id} ({_status.ago(_status.age(point.id, when))} ago)" if point else "none"}
        for label, point in (("Newest usable", usable), ("Newest proven", proven))
    ]
    status["rollback_screen"] = {
        "headline": "; ".join(status["wrong"]) or f"{len(points)} restore points, {len(store.runs())} runs",
        "lines": [*_status.lines(status, points, when), *(f"Note: {note}" for note in notes)],
        "rows": rows,
    }
    return status


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            "project_name": {"type": "str"},
            "max_age": {"type": "float", "default": 0},
            "max_proven_age": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"{error}.", "Nothing was touched.", next_step(error, "Mend the cause and run it again.")
            )
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
