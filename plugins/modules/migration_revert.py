#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take migrations back to the history that a restore point recorded."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_revert
short_description: Take migrations back to the history that a restore point recorded
description:
  - Runs the migration tool from the image of the release that made the migrations, in a one-off container. It works
    while that release's service is crash-looping. Do this before the images are switched.
  - The steps are rehearsed first on a throwaway server of the same image, which the tool finds under the live one's
    name on a network that leads nowhere. What they leave has to be equal to, or compatible with, the recorded schema.
  - Then the code services are stopped, the live database is copied inside its server, and one step after the other is
    taken and checked. When one fails, the copy is put back and the services are started again.
  - On success the services stay stopped, because the release that they have does not fit the schema any more. Switch
    to the release of the restore point next.
  - The copy stays, under the name that is returned. Nothing is ever dropped.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.admin
  - schedgen.rollback.project.migration
  - schedgen.rollback.project.run
  - schedgen.rollback.project.steps
  - schedgen.rollback.project.rehearsal
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    details:
      - The steps are found and judged. Nothing is rehearsed, stopped or taken back.
  diff_mode:
    support: full
    details:
      - Shows the applied migrations before and after.
options:
  state:
    description:
      - V(rehearsed) finds the steps, judges and rehearses them. V(reverted) takes them as well.
    type: str
    choices: [rehearsed, reverted]
    default: reverted
  to:
    description:
      - The restore point whose migration history is gone back to.
    type: str
    required: true
  rehearse:
    description:
      - Whether V(reverted) rehearses first. Switch it off only where V(rehearsed) was just done.
    type: bool
    default: true
  copy:
    description:
      - Whether a copy of the live database is set aside first.
    type: bool
    default: true
  put_back:
    description:
      - Whether the copy is put back when a step fails. Otherwise the database stays as the failed step left it, the
        copy stays beside it, and the services stay stopped.
    type: bool
    default: true
  accept_loss:
    description:
      - Go on although a revert cannot bring back what a destructive migration took, or destroys rows with
        O(copy=false).
    type: bool
    default: false
  stop_services:
    description:
      - Whether the code services are stopped first. Without that they have to be stopped already.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Rehearse the way back while the application runs
  schedgen.rollback.migration_revert:
    application: schedgen
    state: rehearsed
    to: 20261122T131500.123Z
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm

- name: Take the migrations back
  schedgen.rollback.migration_revert:
    application: schedgen
    run: "{{ begun.run }}"
    to: 20261122T131500.123Z
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
  async: 1800
  poll: 1
"""

RETURN = r"""
steps:
  description: The migrations to take back, in order.
  returned: success
  type: list
  elements: str
undone:
  description: The migrations that were taken back.
  returned: with O(state=reverted)
  type: list
  elements: str
rehearsal:
  description: Verdict (equal, compatible, unproven), notes, and what it could not show.
  returned: when it was rehearsed
  type: dict
verdict:
  description: How the schema compares with the recorded one afterwards (equal, compatible, unproven).
  returned: with O(state=reverted)
  type: str
set_aside:
  description: Name of the database in which what was live before is kept, empty when there was nothing to do.
  returned: with O(state=reverted)
  type: str
seconds:
  description: Seconds from the services stopped to the last step checked.
  returned: with O(state=reverted)
  type: float
put_back:
  description: Whether, after a failure, the database is what it was before.
  returned: on failure with O(state=reverted)
  type: bool
kept:
  description: Name of the database that the failed steps left, when the copy was put back.
  returned: on failure with O(state=reverted)
  type: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: success
  type: dict
"""

import functools
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _compose,
    _failure,
    _migration_revert,
    _migration_toolbox,
    _rehearsal,
    _schema,
    _words,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_toolbox import RevertError
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

RESTORE = "Restore the database instead: ansible-playbook database-rollback.yml."


class Revert:
    """One call of the module."""

    def __init__(self, store: Store, parameters: Mapping[str, Any]) -> None:
        self.store, self.parameters = store, parameters
        self.client = _compose.connect()
        self.project = parameters["project_name"] or parameters["application"]
        if not parameters["database"] or parameters["migration_tool"] == "none":
            raise RevertError("the application has no database, or no migration tool is declared")
        self.database = database_of(store, self.client, parameters)
        self.settings = _schema.settings_of(parameters)
        against = _schema.reference(store, parameters["to"])
        if against is None or against.history is None:
            raise RevertError(
                f"restore point {parameters['to']} did not record the migration history: there is nothing to go back to"
            )
        self.against = against
        self.history: tuple[str, ...] = against.history
        self.told = functools.partial(store.journal, parameters["run"])

    def refuse_loss(self, found: _schema.Assessment) -> None:
        """Raise when a revert would lose what nobody agreed to lose."""
        compared = found.comparison
        if compared is None or self.parameters["accept_loss"]:
            return
        if compared.revert == "cannot":
            raise RevertError(f"a revert is no way back: {'; '.join(compared.revert_reasons)}")
        if compared.revert == "destroys" and not self.parameters["copy"]:
            raise RevertError(f"without a copy set aside a revert {'; '.join(compared.revert_reasons)}")

    def carry_out(self, *, pretend: bool) -> dict[str, Any]:
        """Do what the state asks for; return the module's result."""
        lines = []
        if not pretend:
            # A tool that outlived the run that started it would go on beside this one.
            _migration_toolbox.sweep(self.client, self.parameters["application"])
        if not pretend and self.parameters["state"] == "reverted":
            services = self.parameters["code_services"]
            lines += _migration_revert.recover(self.database, self.project, services, self.told)
        found = _schema.assess(self.database.login, self.settings, self.against)
        if found.missing:
            raise RevertError(
                f"recorded as applied and applied no more: {', '.join(found.missing)}: no revert brings them back"
            )
        label = self.against.label
        if not found.added:
            return {
                "changed": bool(lines),
                "steps": [],
                "undone": [],
                "set_aside": "",
                "verdict": found.judgement.verdict,
                "seconds": 0.0,
                "rollback_screen": {"headline": f"Nothing to do: the migrations are those of {label}", "lines": lines},
            }
        self.refuse_loss(found)
        tools = _migration_toolbox.Toolbox(
            self.client,
            self.parameters["application"],
            self.project,
            _migration_toolbox.service_of(self.parameters),
            self.settings,
        )
        way = tools.steps(self.database.login, self.history)
        names = [step.undoes for step in way]
        result: dict[str, Any] = {"changed": True, "steps": names}
        lines += [f"{number}. take back {name}" for number, name in enumerate(names, start=1)]
        if found.comparison is not None and found.comparison.revert_reasons:
            lines += [f"This {reason}" for reason in found.comparison.revert_reasons]
        reverts = self.parameters["state"] == "reverted"
        if not pretend and (self.parameters["rehearse"] or not reverts):
            lines += self.rehearse(tools, way, result)
        if pretend or not reverts:
            result["changed"] = bool(pretend and reverts)
            result["rollback_screen"] = {
                "headline": f"{_words.times(len(way), 'migration')} to take back to {label}",
                "lines": lines,
            }
            return result
        return self.revert(tools, way, found, result, lines)

    def rehearse(self, tools: _migration_toolbox.Toolbox, way: Any, result: dict[str, Any]) -> list[str]:
        """Rehearse, and return what to tell of it. Raises RevertError when the outcome is wrong."""
        self.told("rehearsal", "begun")
        try:
            rehearsal = _rehearsal.rehearse(self.client, tools, self.database.login, way, self.against.catalog)
        except _migration_toolbox.StepFailed as error:
            raise RevertError(f"the rehearsal failed at {error}") from error
        self.told("rehearsal", "done", verdict=rehearsal.verdict, seconds=rehearsal.seconds)
        if rehearsal.verdict == "wrong":
            raise RevertError(
                f"the rehearsal left a schema that {self.against.label} cannot live with:"
                f" {'; '.join(rehearsal.reasons)}"
            )
        result["rehearsal"] = asdict(rehearsal)
        told = [f"Rehearsed in {rehearsal.seconds:.1f} s: {rehearsal.verdict}"]
        told += [f"Left behind: {note}" for note in rehearsal.notes]
        return [*told, *(f"Limit: {limit}" for limit in rehearsal.limits)]

    def revert(
        self,
        tools: _migration_toolbox.Toolbox,
        way: Any,
        found: _schema.Assessment,
        result: dict[str, Any],
        lines: list[str],
    ) -> dict[str, Any]:
        """Stop the services and take the steps. On failure the services run again where the database is whole."""
        # The terminal or the connection may go away now; what was begun is brought to its end.
        for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        started = time.monotonic()
        stopped: tuple[str, ...] = ()
        if self.parameters["stop_services"]:
            self.told("stop", "begun", services=list(self.parameters["code_services"]))
            stopped = _compose.stop(self.client, self.project, self.parameters["code_services"])
            self.told("stop", "done")
        try:
            done = _migration_revert.revert(
                tools,
                self.database,
                way,
                self.against.catalog,
                self.against.id,
                copy=self.parameters["copy"],
                restore=self.parameters["put_back"],
                told=self.told,
            )
        except _migration_revert.RevertFailed as error:
            if error.put_back:
                error.problem = "; ".join(_compose.start(self.client, stopped))
            raise
        except Exception:
            # Nothing was changed yet: no step was taken before the copy stood aside.
            _compose.start(self.client, stopped)
            raise
        after = list(self.history)
        result.update(
            undone=list(done.undone),
            verdict=done.verdict,
            set_aside=done.copy,
            seconds=round(time.monotonic() - started, 3),
            diff={
                "before_header": "applied migrations",
                "after_header": "applied migrations",
                "before": "".join(f"{name}\n" for name in found.applied),
                "after": "".join(f"{name}\n" for name in after),
            },
        )
        lines += [f"Left behind: {note}" for note in done.notes]
        kept = f"; what was live is kept as database {done.copy}" if done.copy else ""
        result["rollback_screen"] = {
            "headline": f"{_words.times(len(done.undone), 'migration')} taken back: the schema is {done.verdict} with"
            f" {self.against.label}{kept}",
            "lines": list(dict.fromkeys(lines)),
            "rows": [{"label": "Set aside", "value": done.copy}] if done.copy else [],
        }
        return result


def failure(error: _migration_revert.RevertFailed) -> str:
    """Return the three parts of a failed revert."""
    applied = f"the newest applied migration is {error.history[-1] if error.history else 'none'}"
    if error.put_back:
        state = (
            "The copy that was set aside is live again, with every migration applied as before; what the failed steps"
            f" left is kept as database {error.kept}."
        )
        state += f" But {error.problem}." if error.problem else " The services were started again."
        return _failure.explain(f"The revert failed: {error.reason}.", state, RESTORE)
    copy = f" The database as it was before is {error.copy}." if error.copy else " No copy was set aside."
    problem = f" It could not be put back: {error.problem}." if error.problem else ""
    return _failure.explain(
        f"The revert failed: {error.reason}.",
        f"The live database is as the failed step left it; {applied}.{copy}{problem} The services are stopped.",
        f"Run this again to put the copy back and try once more. {RESTORE}" if error.copy else RESTORE,
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            **_arguments.MIGRATION,
            **_arguments.RUN,
            **_arguments.STEPS,
            **_arguments.REHEARSAL,
            "state": {"type": "str", "choices": ["rehearsed", "reverted"], "default": "reverted"},
            "to": {"type": "str", "required": True},
            "rehearse": {"type": "bool", "default": True},
            "copy": {"type": "bool", "default": True},
            "put_back": {"type": "bool", "default": True},
            "accept_loss": {"type": "bool", "default": False},
            "stop_services": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if module.check_mode:
            result = Revert(store, parameters).carry_out(pretend=True)
        else:
            with store.held(parameters["run"]):
                result = Revert(store, parameters).carry_out(pretend=False)
    except _migration_revert.RevertFailed as error:
        module.fail_json(msg=failure(error), put_back=error.put_back, kept=error.kept, set_aside=error.copy)
    except EXPECTED as error:
        database = error.state if isinstance(error, RestoreError) else "The database is as it was."
        module.fail_json(
            msg=_failure.explain(
                f"The migrations were not taken back: {error}.",
                f"{database} The services run as before.",
                next_step(error, f"Mend the cause and run it again. {RESTORE}"),
            ),
            put_back=False,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
