#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the live schema and its migrations with a restore point's."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_info
short_description: Compare the live schema and its migrations with a restore point's
description:
  - Reads the applied migrations from the tool's own table, and the schema from the server's catalogue. No container
    is started for this.
  - Says what was added since a restore point, whether the older release can live with the schema as it is, and what
    going back by migrations would lose.
  - What migrations did to rows is in no catalogue. That is said, and not judged.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.migration
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.info_module
options:
  to:
    description:
      - The restore point to compare with. The newest one that knows the migration history, is not marked bad and is
        no safety point, when empty.
    type: str
    default: ''
  try_tool:
    description:
      - Also start the migration tool in a one-off container, with the command that lists, in a database session that
        cannot write. A tool that does not start is reported in its own words.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Can the release before live with the schema, and what would a revert lose?
  schedgen.rollback.migration_info:
    application: schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
    try_tool: true
  register: schema
"""

RETURN = r"""
to:
  description: The restore point that was compared with, empty when there is none.
  returned: always
  type: str
applied:
  description: The applied migrations in the order of the tool's table. For Alembic, the current revisions.
  returned: always
  type: list
  elements: str
added:
  description: Migrations applied since the restore point.
  returned: when the restore point knows the history
  type: list
  elements: str
missing:
  description: Migrations that were applied then and are not now.
  returned: when the restore point knows the history
  type: list
  elements: str
can_revert:
  description: Whether the tool can take migrations back at all.
  returned: always
  type: bool
cannot_revert:
  description: Why it cannot, and what to do instead.
  returned: always
  type: str
judgement:
  description:
    - Whether the older release can live with the live schema. C(verdict) is C(equal), C(compatible),
      C(incompatible) or C(unknown), with reasons and notes in sentences.
  returned: always
  type: dict
comparison:
  description:
    - The comparison of both catalogues. C(revert) is C(not needed), C(loses nothing), C(destroys) or
      C(cannot), with its reasons, rows included.
  returned: when a catalogue was recorded with the restore point
  type: dict
fingerprint:
  description: Identifies the live schema.
  returned: always
  type: str
tool:
  description: Whether the tool started, the command, and its own words when it did not.
  returned: with O(try_tool=true)
  type: dict
  sample:
    starts: false
    command: node_modules/.bin/typeorm migration:show -d dist/data-source.js
    words: Cannot find module './missing-entity.js'
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _catalog,
    _compose,
    _failure,
    _migration_toolbox,
    _migration_tools,
    _schema,
    _words,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import login_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

ALTERNATIVES = (
    "Instead: restore the database from a restore point (ansible-playbook database-rollback.yml), or name an image"
    " whose tool starts with -e rollback_migration_image=<image>."
)


def try_tool(client: Any, login: Any, parameters: Mapping[str, Any], settings: _schema.Settings) -> dict[str, Any]:
    """Start the tool and say how that went."""
    try:
        tools = _migration_toolbox.Toolbox(
            client,
            parameters["application"],
            parameters["project_name"] or parameters["application"],
            _migration_toolbox.service_of(parameters),
            settings,
        )
        ran = tools.try_tool(login)
    except (_migration_toolbox.RevertError, ValueError) as error:
        return {"starts": False, "command": "", "words": str(error)}
    if ran is None:
        return {"starts": None, "command": "", "words": "no command that lists is declared: it was not tried"}
    starts = ran.rc == 0 and not ran.timed_out
    return {
        "starts": starts,
        "command": _migration_tools.told(ran.argv),
        "words": "" if starts else ran.reason,
    }


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read and compare; return the module's result."""
    client = _compose.connect()
    login = login_of(client, parameters)
    if login is None or parameters["migration_tool"] == "none":
        raise _migration_toolbox.RevertError("the application has no database, or no migration tool is declared")
    settings = _schema.settings_of(parameters)
    store = Store(parameters["state_dir"], parameters["application"])
    against = _schema.reference(store, parameters["to"])
    found = _schema.assess(login, settings, against)
    cannot = "" if settings.revert else _migration_tools.tool_of(settings.tool, settings.table).cannot_revert
    result: dict[str, Any] = {
        "to": against.id if against else "",
        "applied": list(found.applied),
        "can_revert": not cannot,
        "cannot_revert": cannot,
        "judgement": asdict(found.judgement),
        "fingerprint": _catalog.fingerprint(found.live),
    }
    if found.added is not None and found.missing is not None:
        result.update(added=list(found.added), missing=list(found.missing))
    if found.comparison is not None:
        result["comparison"] = _catalog.to_dict(found.comparison)
    if parameters["try_tool"]:
        result["tool"] = try_tool(client, login, parameters, settings)
    result["rollback_screen"] = screen(found, against, result)
    return result


def screen(found: _schema.Assessment, against: _schema.Reference | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the operator's screen shows."""
    if against is None:
        return {
            "headline": f"{_words.times(len(found.applied), 'migration')} applied; nothing recorded to compare with"
        }
    added = found.added or ()
    lines = [f"Added since {against.label}: {', '.join(added)}"] if added else []
    lines += [f"{against.label} cannot live with it: {reason}" for reason in found.judgement.reasons]
    lines += [f"{against.label} can live with it: {note}" for note in found.judgement.notes]
    if found.comparison is not None and found.comparison.revert != "not needed":
        why = f": {'; '.join(found.comparison.revert_reasons)}" if found.comparison.revert_reasons else ""
        lines.append(f"A revert {found.comparison.revert}{why}")
    tool = result.get("tool") or {}
    if tool.get("starts") is False:
        lines += [f"The migration tool does not start: {tool['words']}", ALTERNATIVES]
    return {
        "headline": f"Schema against {against.label} ({against.id}): {found.judgement.verdict},"
        f" {_words.times(len(added), 'migration')} added since",
        "lines": lines,
        "rows": [{"label": "Schema", "value": f"{found.judgement.verdict} with {against.label}"}],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.MIGRATION,
            "to": {"type": "str", "default": ""},
            "try_tool": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"The schema cannot be compared: {error}.",
                "Nothing was touched.",
                next_step(error, f"Mend the cause and run it again. {ALTERNATIVES}"),
            )
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
