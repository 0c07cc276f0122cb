#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a declared feature of an application off, and on again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: feature_switch
short_description: Switch a declared feature of an application off, and on again
description:
  - Where one feature of a release fails and everything else is well, turning it off is the smallest fix. This runs what
    was declared for that, a command on the host or a request from it.
  - Whether the application is well afterwards is for M(schedgen.rollback.health_info) to say.
author:
  - schedgen.rollback contributors (@schedgen)
requirements:
  - requests, for a switch that is a request
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.project.run
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  name:
    description:
      - The feature.
    type: str
    required: true
  to:
    description:
      - Whether it is switched off or on.
    type: str
    choices: ['off', 'on']
    default: 'off'
  switches:
    description:
      - Every declared switch, with C(name), C(turn_off) and C(turn_on). Each of those has either C(command), a list of
        words that are run in O(chdir) without a shell, or C(url) with C(method) (default V(POST)), C(headers), C(body)
        (an object is sent as JSON) and C(status) (the codes that mean success).
      - C(timeout) is in seconds, 30 by default.
    type: list
    elements: dict
    required: true
  chdir:
    description:
      - Folder that commands run in, for instance the project's.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Turn the new editor off
  schedgen.rollback.feature_switch:
    application: schedgen
    run: "{{ begun.run }}"
    name: new-editor
    chdir: /opt/schedgen
    switches:
      - name: new-editor
        turn_off:
          command: [docker, compose, exec, -T, backend, node, dist/flags.js, new-editor, 'off']
        turn_on:
          command: [docker, compose, exec, -T, backend, node, dist/flags.js, new-editor, 'on']
"""

RETURN = r"""
changed:
  description: Whether it is switched otherwise than the last switch of it by this collection left it.
  returned: always
  type: bool
to:
  description: Whether the feature is off or on now.
  returned: success
  type: str
said:
  description: The last lines of what the command or the server said, without secrets.
  returned: success
  type: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: success
  type: dict
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _command,
    _failure,
    _features,
    _libraries,
    _redact,
    _runs,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoreError


class SwitchFailed(Exception):
    """What was declared did not end well."""


def carry_out(action: _features.Action, chdir: str) -> str:
    """Run the command or make the request; return what it said. Raises SwitchFailed."""
    secrets = [*action.headers.values(), *([action.body] if isinstance(action.body, str) else [])]
    if action.command:
        try:
            done = _command.check(action.command, timeout=action.timeout, cwd=chdir)
        except _command.CommandError as error:
            raise SwitchFailed(str(_redact.redact(str(error), secrets))) from error
        return str(_redact.redact(_command.last_lines(done.stdout) or _command.last_lines(done.stderr), secrets))
    requests = _libraries.requests()
    sent = {"data": action.body} if isinstance(action.body, str) else {"json": action.body}
    where = f"{action.method} {_redact.redact_url(action.url)}"
    try:
        with requests.Session() as session:
            # A proxy of the host's is not meant for this, and what redirects has switched nothing.
            session.trust_env = False
            answer = session.request(
                action.method,
                action.url,
                headers=dict(action.headers),
                timeout=action.timeout,
                allow_redirects=False,
                **sent,
            )
    except requests.exceptions.RequestException as error:
        # Its own text has the whole address, and a login that may be in it.
        raise SwitchFailed(f"{where}: {type(error).__name__}") from error
    said = str(_redact.redact(_command.last_lines(answer.text[:4000]), secrets))
    if answer.status_code not in action.status:
        raise SwitchFailed(f"{where} answered {answer.status_code}: {said or 'nothing'}")
    return said


def switch(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Switch the feature; return the module's result. Raises SwitchFailed, and ValueError for a bad declaration."""
    name, to, run = parameters["name"], parameters["to"], parameters["run"]
    action = _features.action(parameters["switches"], name, to)
    how = " ".join(action.command) or f"{action.method} {_redact.redact_url(action.url)}"
    how = str(_redact.redact(how))
    if pretend:
        headline = f"{name} would be switched {to}: {how}"
        return {"changed": True, "to": to, "said": "", "rollback_screen": {"headline": headline}}
    with store.held(run):
        before = _runs.feature(store, name)
        if run:
            store.journal(run, _runs.FEATURE, "started", feature=name, to=to, how=how)
        started = time.monotonic()
        try:
            said = carry_out(action, parameters["chdir"])
        except SwitchFailed as error:
            _told(store, run, "failed", message=str(error), seconds=round(time.monotonic() - started, 3))
            raise
        _told(store, run, "done", feature=name, to=to, seconds=round(time.monotonic() - started, 3))
    return {
        "changed": before != to,
        "to": to,
        "said": said,
        "rollback_screen": {
            "headline": f"{name} is switched {to}: {how}",
            "lines": said.splitlines(),
            "rows": [{"label": "Feature", "value": f"{name}: {to}"}],
        },
    }


def _told(store: Store, run: str, status: str, **details: Any) -> None:
    """Write to the journal where that can be done: what was switched is switched."""
    if run:
        with contextlib.suppress(OSError, StoreError):
            store.journal(run, _runs.FEATURE, status, **details)


def main() -> None:
    """Run the module."""
    # ansible-test imports modules with a stand-in that has no log.
    AnsibleModule.log = _redact.log_without(getattr(AnsibleModule, "log", None), "switches")
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.RUN,
            "name": {"type": "str", "required": True},
            "to": {"type": "str", "choices": list(_features.WAYS), "default": "off"},
            "switches": {"type": "list", "elements": "dict", "required": True},
            "chdir": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    invocation = {"module_args": _redact.redact_declared(parameters)}
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        result = switch(store, parameters, pretend=module.check_mode)
    except SwitchFailed as error:
        module.fail_json(
            msg=_failure.explain(
                f"{parameters['name']} could not be switched {parameters['to']}: {error}.",
                "Whether a part of it was done only the application can say; nothing else was touched.",
                "Mend the cause and run it again, or roll back: ansible-playbook rollback.yml.",
            ),
            invocation=invocation,
        )
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(f"{error}.", "Nothing was touched.", next_step(error, "Correct it and run it again.")),
            invocation=invocation,
        )
    module.exit_json(invocation=invocation, **result)


if __name__ == "__main__":
    main()
