#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch the code services of a Compose application to another release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_release
short_description: Switch the code services of a Compose application to another release
description:
  - Makes the services that carry code what a restore point, a git tag or given images say, that is files, images and
    containers. Stateful services keep running, and the database is not changed.
  - With O(state=prepared) everything that can fail is done before anything that runs is touched. Images are fetched,
    files are staged and rendered, the database login is tried, migrations are compared. The result is a plan.
  - With O(state=switched) that plan is carried out, until the target is healthy and runs exactly the planned images.
    When that fails, what was there before is put back, and the module fails.
  - Run O(state=switched) under C(async), so that it goes on when the controller is gone.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.run
  - schedgen.rollback.project.values
  - schedgen.rollback.project.pull
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    details:
      - With O(state=prepared) images are looked for and not fetched. With O(state=switched) the plan is made and not
        carried out.
  diff_mode:
    support: full
    details:
      - Shows files and images before and after. Values of env files, and of keys that sound like secrets, are hidden.
options:
  state:
    description:
      - V(prepared) makes the plan, V(switched) carries out the plan that was prepared for O(run).
    type: str
    choices: [prepared, switched]
    required: true
  to:
    description:
      - Where to go. A restore point's id, a git tag or commit, or images per service as
        C(service=tag,service=sha256:...,service=repository:tag).
      - Needed for O(state=prepared), where O(environment) is empty.
    type: str
    default: ''
  accept_schema:
    description:
      - Go on although the target cannot live with the database's schema, or nobody knows whether it can.
    type: bool
    default: false
  start_first:
    description:
      - Services whose new containers are started and healthy before the old ones are stopped.
      - They must have no published port and no container name, and what calls them must look up their addresses again
        within O(start_first_overlap).
    type: list
    elements: str
    default: []
  start_first_overlap:
    description:
      - Seconds that the new containers of O(start_first) have to be well beside the old ones before those are stopped,
        with O(state=switched).
      - Longer than what calls them keeps an address that it looked up. An nginx with C(resolver ... valid=1s) keeps it
        for up to two seconds.
    type: float
    default: 3
  safety:
    description:
      - The safety restore point, with O(state=switched). It is what is put back when the switch fails.
    type: str
    default: ''
  plan:
    description:
      - The hash of the plan that was approved, with O(state=switched). Another plan is refused.
    type: str
    default: ''
  mark:
    description:
      - Whether the release that is left behind is marked bad, as a rollback does. A deployment does not.
    type: bool
    default: true
  deadline:
    description:
      - Seconds that the target has to become healthy.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: Prepare the way back
  schedgen.rollback.compose_release:
    application: schedgen
    state: prepared
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
    to: 20261122T131500.123Z
  register: prepared

- name: Prepare another value of a variable
  schedgen.rollback.compose_release:
    application: schedgen
    state: prepared
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    environment: "{{ {'PAYMENT_URL': 'https://pay.example.com'} | to_json }}"

- name: Go back
  schedgen.rollback.compose_release:
    application: schedgen
    state: switched
    run: "{{ begun.run }}"
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    safety: "{{ safety.id }}"
    plan: "{{ prepared.plan.hash }}"
  async: 600
  poll: 1
"""

RETURN = r"""
plan:
  description: The plan, with its hash, its steps in sentences, whether it changes anything, schema and warnings.
  returned: success
  type: dict
  sample:
    hash: 3f0a51b6c2de
    changed: true
    steps: ["replace the containers of backend, frontend"]
expected:
  description: The image id that each code service is to run.
  returned: success
  type: dict
  sample:
    backend: sha256:0d5e6f
configuration:
  description: Of every file that differs, its C(path) and the C(keys) whose values differ. Values are not told.
  returned: with O(state=prepared)
  type: list
  elements: dict
  sample:
    - path: .env
      keys: [LOG_LEVEL]
release:
  description: Fingerprint of the release that runs after the switch.
  returned: with O(state=switched)
  type: str
timings:
  description: Seconds that each step of the critical section took.
  returned: with O(state=switched)
  type: dict
put_back:
  description: Whether, after a failure, what was there before is there again.
  returned: on failure with O(state=switched)
  type: bool
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _compose,
    _environment,
    _failure,
    _masking,
    _plan,
    _postgres,
    _schema,
    _switching,
    _targets,
    _words,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import login_of
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import application_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store


def database_login(client: Any, parameters: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the database's login, None where it cannot be had, and why."""
    try:
        login = login_of(client, parameters)
    except _postgres.DatabaseError as error:
        return None, f"the database cannot be asked: {error}"
    return login, "" if login else "the application has no database"


def prepare(
    store: Store, parameters: Mapping[str, Any], *, pretend: bool
) -> tuple[_switching.Prepared, dict[str, Any]]:
    """Prepare the switch; return it with the module's result. Raises what preparing raises."""
    client = _compose.connect()
    application = application_of(parameters)
    login, reason = database_login(client, parameters)
    settings = _schema.Settings(parameters["migration_tool"], parameters["migration_table"])
    parent = None
    if not pretend:
        store.prepare()
        parent = store.root
    staging = tempfile.mkdtemp(prefix=f"{TEMPORARY}staging-", dir=parent)
    # What is carried out later has to be there then.
    kept = "" if pretend or not parameters["run"] else store.run_path(parameters["run"])
    try:
        prepared, running = _switching.prepare(
            client,
            store,
            application,
            parameters["to"] or _targets.RUNNING,
            staging,
            database_service=parameters["database_service"],
            login=login,
            judge=functools.partial(_targets.judge_schema, login, settings, reason),
            start_first=parameters["start_first"],
            fetch=not pretend,
            pull_timeout=parameters["pull_timeout"],
            values=_environment.values_of(parameters["environment"]),
            kept=kept,
        )
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    plan = prepared.plan
    if not pretend and parameters["run"]:
        _switching.write_plan(store, parameters["run"], prepared)
        store.journal(parameters["run"], "plan", "done", hash=plan.hash, target=plan.target, steps=plan.sentences())
    fetched = [image.service for image in plan.images if image.place != "present"]
    result = {
        "changed": plan.changed if pretend else bool(fetched),
        "plan": _plan.plan_to_dict(plan),
        "expected": {image.service: image.image_id for image in plan.images},
        "configuration": prepared.configuration(),
        "diff": diffs(prepared, running.release),
        "rollback_screen": screen(plan),
    }
    return prepared, result


def diffs(prepared: _switching.Prepared, running: Any) -> list[dict[str, str]]:
    """Return images and files before and after, for ``--diff``, without secrets."""
    plan = prepared.plan
    before = "".join(
        f"{image.service}: {running.services[image.service].image_id}\n"
        for image in plan.images
        if image.service in running.services
    )
    after = "".join(f"{image.service}: {image.image_id}\n" for image in plan.images)
    shown = [{"before_header": "images that run", "after_header": "images to run", "before": before, "after": after}]
    for path, kind, old, new in prepared.file_diffs:
        masked_old, masked_new = _masking.mask_pair(old, new, kind)
        shown.append({"before_header": path, "after_header": path, "before": masked_old, "after": masked_new})
    return [entry for entry in shown if entry["before"] != entry["after"]]


def screen(plan: _plan.Plan) -> dict[str, Any]:
    """Return what the operator's screen shows of a plan."""
    steps = plan.sentences()
    headline = f"Plan {plan.hash}: {plan.running_label} -> {plan.label} ({plan.kind} {plan.target})"
    if not plan.changed:
        headline = f"Nothing to do: {plan.label} runs already"
    lines = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    lines += [f"Note: {warning}" for warning in plan.warnings]
    return {
        "headline": headline,
        "lines": [*lines, *schema_lines(plan)],
        "rows": [
            {"label": "From", "value": f"{plan.running_label} ({plan.running})"},
            {"label": "To", "value": f"{plan.label} ({plan.kind} {plan.target})"},
        ],
    }


def schema_lines(plan: _plan.Plan) -> list[str]:
    """Say how the database's schema compares with the target's."""
    schema = plan.schema
    if schema.verdict == "unknown":
        return [f"Schema: not compared: {'; '.join(schema.reasons)}"]
    told = {"equal": f"that of {plan.label}", "compatible": f"{plan.label} can live with it"}
    since = f", {_words.times(len(schema.added), 'migration')} added since" if schema.added else ""
    head = f"Schema: {told.get(schema.verdict, f'{plan.label} cannot live with it')}{since}"
    return [head, *(f"Note: {note}" for note in schema.notes)]


def schema_refusal(plan: _plan.Plan, parameters: Mapping[str, Any]) -> str:
    """Return why the schema forbids an application rollback, '' when it does not."""
    schema = plan.schema
    if parameters["accept_schema"] or not plan.changed:
        return ""
    if schema.verdict == "incompatible":
        return f"{plan.label} cannot live with the database as it is; {'; '.join(schema.reasons)}"
    compared = plan.kind == "restore point" and parameters["database"]
    if schema.verdict == "unknown" and compared and any("cannot be asked" in reason for reason in schema.reasons):
        return f"whether the database fits {plan.label} is not known: {'; '.join(schema.reasons)}"
    return ""


def switch(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the prepared plan and return the module's result. Raises SwitchError and PrepareError."""
    run, application = parameters["run"], application_of(parameters)
    client = _compose.connect()
    prepared = _switching.read_plan(store, run, application)
    plan = prepared.plan
    if parameters["plan"] and parameters["plan"] != plan.hash:
        raise _switching.PrepareError(f"the approved plan is {parameters['plan']}, the prepared one is {plan.hash}")
    before, folder = _switching.before_of(client, store, application, plan, parameters["safety"])
    _switching.bring_to_an_end()
    deadline, overlap = parameters["deadline"], parameters["start_first_overlap"]
    operation = _switching.Switch(client, store, run, prepared, before, folder, deadline=deadline, overlap=overlap)
    timings = operation.carry_out()
    release, marked = _switching.record(
        client, store, run, application, plan, parameters["safety"], mark=parameters["mark"]
    )
    told = ", ".join(f"{name} {seconds} s" for name, seconds in timings.items())
    return {
        "changed": True,
        "plan": _plan.plan_to_dict(plan),
        "expected": {image.service: image.image_id for image in plan.images},
        "release": release,
        "timings": timings,
        "rollback_screen": {
            "headline": f"{plan.label} runs: {len(plan.images)} services have the planned images and are healthy",
            "lines": [f"Took: {told}", *marked],
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.RUN,
            **_arguments.VALUES,
            **_arguments.PULL,
            "state": {"type": "str", "choices": ["prepared", "switched"], "required": True},
            "to": {"type": "str", "default": ""},
            "accept_schema": {"type": "bool", "default": False},
            "start_first": {"type": "list", "elements": "str", "default": []},
            "start_first_overlap": {"type": "float", "default": 3},
            "safety": {"type": "str", "default": ""},
            "plan": {"type": "str", "default": ""},
            "mark": {"type": "bool", "default": True},
            "deadline": {"type": "float", "default": 120},
        },
        required_if=[("state", "prepared", ("project_src",)), ("state", "switched", ("project_src",))],
        supports_check_mode=True,
    )
    parameters = module.params
    untouched = "Nothing that runs was touched: the application is as it was."
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if parameters["state"] == "prepared" or module.check_mode:
            if not parameters["to"] and not parameters["environment"]:
                raise ValueError("'to' or 'environment' is needed to make a plan")
            prepared, result = prepare(store, parameters, pretend=module.check_mode)
            refusal = schema_refusal(prepared.plan, parameters)
            if refusal:
                module.fail_json(
                    msg=_failure.explain(
                        f"Refused: {refusal}.",
                        untouched,
                        "Roll the database back as well: ansible-playbook database-rollback.yml. If you know that"
                        f" {prepared.plan.label} can live with this schema: -e rollback_accept_schema=yes.",
                    ),
                    plan=result["plan"],
                )
        else:
            with store.held(parameters["run"]):
                result = switch(store, parameters)
    except _switching.SwitchError as error:
        root = os.path.join(store.runs_dir, parameters["run"])
        if error.put_back:
            state = "What ran before was put back: the same images, files and number of containers run again."
            following = (
                "See what the target's containers say (docker compose logs), name another one with -e rollback_to=<id>."
            )
        else:
            state = f"What ran before could NOT be put back whole: {error.detail}."
            following = (
                f"The safety restore point is {parameters['safety']}."
                f" Run this again, or go back with -e rollback_to={parameters['safety']}."
            )
        module.fail_json(
            msg=_failure.explain(
                f"The switch failed: {error.reason}.", state, f"{following} Journal: {root}/journal.jsonl"
            ),
            put_back=error.put_back,
        )
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                str(error), untouched, next_step(error, "Mend the cause, or name another target with -e rollback_to=….")
            )
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
