#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the databases beside an application's live one, and what a restore would set aside."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore_info
short_description: Show set-aside databases, restored copies and what a restore would set aside
description:
  - Lists the databases that rollbacks set aside, the copies that are kept ready, and the copies that were prepared.
  - Estimates what was inserted, updated and deleted since a restore point, and counts exactly, on request, the rows
    that a set-aside database holds and the live one does not.
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
      - Name of the Compose project. The application's name when it is not given.
    type: str
  id:
    description:
      - A restore point, to estimate what changed in the live database since.
    type: str
    default: ''
  exact:
    description:
      - Set-aside databases whose rows are compared with the live one's. Both are read completely.
      - A set-aside database is opened for the moment in which this connects, and read only.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: List what was set aside
  schedgen.rollback.postgresql_restore_info:
    application: schedgen
    database: schedgen

- name: Show what a restore would set aside
  schedgen.rollback.postgresql_restore_info:
    application: schedgen
    database: schedgen
    id: 20261122T131500.123Z
"""

RETURN = r"""
live:
  description: The live database. Empty when there is none of that name.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    size:
      description: Its size in bytes.
      type: int
    open:
      description: Whether it lets anybody in. One that does not was left so by a killed swap.
      type: bool
    restored_from:
      description: The restore point or dump that it was restored from. Empty when it never was.
      type: str
databases:
  description: The databases beside it, those of one kind newest first.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    kind:
      description: V(set aside), V(ready), V(side), or V(crashed) for a copy that a killed run left.
      type: str
    point:
      description: The restore point or dump that it holds. Empty for one that was never restored.
      type: str
    at:
      description: When it was set aside or verified.
      type: str
    age_hours:
      description: How long ago that was.
      type: float
    size:
      description: Its size in bytes.
      type: int
    run:
      description: The run that made it.
      type: str
    rows_only_here:
      description: By table, the rows that the live database does not hold. Only for those in O(exact).
      type: dict
at_stake:
  description: By table, what changed in the live database since O(id).
  returned: with O(id)
  type: dict
at_stake_known_by:
  description: How that is known, in words.
  returned: with O(id)
  type: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments, _failure, _swap
from ansible_collections.schedgen.rollback.plugins.module_utils._database_plan import told_change
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import moment
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import client_of
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import Beside, megabytes
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now


def describe(entry: Beside, kind: str, when: datetime) -> dict[str, Any]:
    """Return what is shown of one database beside the live one."""
    mark = entry.mark
    at = mark.at if mark else ""
    told = {"name": entry.name, "kind": kind, "size": entry.size, "at": at, "age_hours": None}
    try:
        then = moment(at) if "." in at else datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        told["age_hours"] = round((when - then).total_seconds() / 3600, 2)
    except ValueError:
        pass
    return {**told, "point": mark.point if mark else "", "run": mark.run if mark else ""}


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read the server's databases, and what is asked of their contents."""
    store = Store(parameters["state_dir"], parameters["application"])
    database = database_of(store, client_of(parameters), parameters)
    stands = database.standing()
    when = now()
    kinds = (("set aside", stands.aside), ("ready", stands.ready), ("side", stands.sides), ("crashed", stands.crashed))
    shown = [describe(entry, kind, when) for kind, entries in kinds for entry in entries]
    lines = [f"{entry['name']}: {entry['kind']}, {megabytes(entry['size'])}" for entry in shown]
    for name in parameters["exact"]:
        chosen = next((entry for entry in shown if entry["name"] == name and entry["kind"] == "set aside"), None)
        if chosen is None:
            raise RestoreError(f"there is no set-aside database {name}", "Nothing was touched.")
        chosen["rows_only_here"] = _swap.only_in(database, name)
        lines += [
            f"{name}: {rows['rows']} rows of {table} are not in {database.name}"
            for table, rows in chosen["rows_only_here"].items()
        ]
    live: dict[str, Any] = {}
    if stands.live is not None:
        live = {
            "name": stands.live.name,
            "size": stands.live.size,
            "open": stands.live.open,
            "restored_from": stands.restored_from,
        }
    result: dict[str, Any] = {"live": live, "databases": shown}
    if parameters["id"]:
        point = store.point(parameters["id"])
        if point.manifest is None or not point.manifest.database:
            raise RestoreError(f"restore point {parameters['id']} has no database part", "Nothing was touched.")
        result["at_stake"], result["at_stake_known_by"] = _swap.at_stake(database, point.manifest.database)
        lines += [
            f"Since {parameters['id']}: {told_change(table, change)}" for table, change in result["at_stake"].items()
        ]
        lines.append(f"Known by: {result['at_stake_known_by']}")
    headline = f"{len(stands.aside)} set-aside databases, {len(stands.ready)} kept ready, {len(stands.sides)} prepared"
    result["rollback_screen"] = {"headline": headline, "lines": lines}
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            "project_name": {"type": "str"},
            "id": {"type": "str", "default": ""},
            "exact": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except EXPECTED as error:
        happened = f"postgresql_restore_info: {error}"
        module.fail_json(
            msg=_failure.explain(happened, "Nothing was touched.", next_step(error, "Mend the cause and run it again."))
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
