#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the migrations of a release that is to be deployed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_apply
short_description: Apply the migrations of a release that is to be deployed
description:
  - For an application that does not apply its migrations when it starts. They are applied by the release's own image,
    in a one-off container, while what runs before goes on.
  - A step that waits for a lock, or that takes too long, is stopped. What was left then is told exactly.
  - Take a restore point first. Whether what runs can live with the schema afterwards is compared and told.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.migration
  - schedgen.rollback.project.run
  - schedgen.rollback.project.steps
  - schedgen.rollback.project.values
  - schedgen.rollback.project.pull
  - schedgen.rollback.project.apply
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    description: The command is found and told, and nothing is applied. Which migrations are pending is not known then.
  diff_mode:
    support: full
    details:
      - Shows the applied migrations before and after.
options:
  release:
    description:
      - What is to be deployed, a git tag or commit, or images as service=tag,service=tag.
      - When empty, what runs, with the values of O(environment).
    type: str
    default: ''
  safety:
    description:
      - The restore point that was taken before, to name it where that is needed.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Apply the migrations of v3
  schedgen.rollback.migration_apply:
    application: schedgen
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend]
    database: schedgen
    migration_tool: typeorm
    release: v3
"""

RETURN = r"""
applied:
  description: The migrations that were applied, in order.
  returned: always, unless nothing was started
  type: list
  elements: str
verdict:
  description: Whether what ran before can live with the schema now (equal, compatible, incompatible).
  returned: success, not in check mode
  type: str
seconds:
  description: Seconds that it took.
  returned: success
  type: float
rollback_screen:
  description: What the operator's screen shows of this.
  returned: success
  type: dict
"""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _catalog,
    _compose,
    _environment,
    _failure,
    _migration_toolbox,
    _migration_tools,
    _postgres,
    _releases,
    _schema,
    _targets,
    _words,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_toolbox import RevertError
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store, StoreError


class ApplyFailed(Exception):
    """The tool did not end well; ``applied`` are the migrations that stayed, ``left`` what else is different now."""

    def __init__(self, reason: str, applied: tuple[str, ...], left: tuple[str, ...]) -> None:
        self.applied, self.left = applied, left
        super().__init__(reason)


class Unknown(Exception):
    """The tool ran, and what it did cannot be read."""


def toolbox(store: Store, client: Any, parameters: Mapping[str, Any], *, pull: bool) -> _migration_toolbox.Toolbox:
    """Return the release's own tool. Raises what resolving the release raises, and RevertError."""
    application = _releases.application_of(parameters)
    running = _releases.read(client, application)
    staging = tempfile.mkdtemp(prefix=f"{TEMPORARY}staging-", dir=store.root if pull else None)
    try:
        target = _environment.resolve(
            client,
            store,
            application,
            running,
            parameters["release"],
            staging,
            values=_environment.values_of(parameters["environment"]),
            pull=pull,
            timeout=parameters["pull_timeout"],
        )
        return _migration_toolbox.of_target(client, parameters, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def apply(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Apply what is pending; return the module's result. Raises ApplyFailed, and RevertError where it cannot begin."""
    client, tool = _compose.connect(), parameters["migration_tool"]
    login = _postgres.login_of(client, parameters)
    if login is None or tool == "none":
        raise RevertError("the application has no database, or no migration tool is declared")
    if not pretend:
        # A tool that outlived the run that started it would go on beside this one.
        _migration_toolbox.sweep(client, parameters["application"])
    tools = toolbox(store, client, parameters, pull=not pretend)
    argv = _migration_tools.apply_command(tools.commands)
    if not argv:
        raise RevertError(f"no command is known that applies {tool}'s migrations: set rollback_migration_apply_command")
    release, command = parameters["release"], _migration_tools.told(argv)
    if pretend:
        headline = f"The migrations of {release} would be applied: {command}"
        return {"changed": True, "applied": [], "seconds": 0.0, "rollback_screen": {"headline": headline}}
    before, _facts = _schema.catalogue(login)
    recorded = _schema.history(login, tools.settings)
    if parameters["run"]:
        store.journal(parameters["run"], "migrate", "started", command=command)
    ran = tools.run(argv, on_timeout=_migration_toolbox.end_sessions(login))
    bad = bool(ran.rc or ran.timed_out)
    try:
        after, facts = _schema.catalogue(login, before)
        now = _schema.history(login, tools.settings)
    except _postgres.DatabaseError as error:
        _told(store, parameters["run"], "failed", message=str(error))
        raise Unknown(f"{command} {ran.reason if bad else 'ended well'}, and then the database: {error}") from error
    applied = tuple(_migration_tools.since(tool, now, recorded)[0] or ())
    compared = _catalog.compare(before, after, added=applied, facts=facts)
    _told(store, parameters["run"], "failed" if bad else "done", applied=list(applied), seconds=round(ran.seconds, 3))
    if bad:
        raise ApplyFailed(
            f"{command} {ran.reason}", applied, tuple(difference.told for difference in compared.differences)
        )
    lines = [f"{number}. {name}" for number, name in enumerate(applied, start=1)]
    if compared.verdict == "incompatible":
        lines += [f"What still runs cannot live with this: {reason}" for reason in compared.reasons]
    told = f"{_words.times(len(applied), 'migration')} of {release} applied" if applied else f"{release} has no new one"
    return {
        "changed": bool(applied or compared.differences),
        "applied": list(applied),
        "verdict": compared.verdict,
        "seconds": round(ran.seconds, 3),
        "diff": {
            "before_header": "applied migrations",
            "after_header": "applied migrations",
            "before": "".join(f"{name}\n" for name in recorded),
            "after": "".join(f"{name}\n" for name in now),
        },
        "rollback_screen": {
            "headline": told,
            "lines": lines,
            "rows": [{"label": "Migrations", "value": ", ".join(applied)}] if applied else [],
        },
    }


def _told(store: Store, run: str, status: str, **details: Any) -> None:
    """Write to the journal where that can be done: what the tool did is done."""
    if run:
        with contextlib.suppress(OSError, StoreError):
            store.journal(run, "migrate", status, **details)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.MIGRATION,
            **_arguments.RUN,
            **_arguments.STEPS,
            **_arguments.VALUES,
            **_arguments.PULL,
            **_arguments.APPLY,
            "release": {"type": "str", "default": ""},
            "safety": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    parameters = {**module.params, "release": module.params["release"] or _targets.RUNNING}
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if module.check_mode:
            result = apply(store, parameters, pretend=True)
        else:
            store.prepare()
            with store.held(parameters["run"]):
                result = apply(store, parameters, pretend=False)
    except ApplyFailed as error:
        back = f"-e rollback_to={parameters['safety'] or '<restore point>'}"
        stayed = f"Applied are {', '.join(error.applied)}." if error.applied else "None of them is recorded as applied."
        left = (
            f" In the schema is different now: {'; '.join(error.left)}." if error.left else " The schema is as it was."
        )
        module.fail_json(
            msg=_failure.explain(
                f"The migrations of {parameters['release']} were not applied: {error}.",
                f"{stayed}{left} No service was replaced: what ran before runs.",
                "Mend the release and deploy it again, or take the database back:"
                f" ansible-playbook database-rollback.yml {back}"
                if error.applied or error.left
                else "Mend the release.",
            ),
            changed=bool(error.applied or error.left),
            applied=list(error.applied),
        )
    except Unknown as error:
        module.fail_json(
            msg=_failure.explain(
                f"What the migrations of {parameters['release']} did is not known: {error}.",
                "They may be applied, all of them or some. No service was replaced: what ran before runs.",
                "Look at the database. Run again, what is still pending is applied."
                f" Back: ansible-playbook database-rollback.yml -e rollback_to={parameters['safety']}",
            ),
            changed=True,
        )
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"The migrations were not applied: {error}.",
                "The database is as it was, and no service was replaced.",
                next_step(error, "Mend the cause and run it again."),
            ),
            applied=[],
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
