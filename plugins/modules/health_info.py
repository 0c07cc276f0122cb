#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_info
short_description: Prove that a Compose application is healthy
description:
  - Probes everything that is declared about an application on this host in parallel, under one deadline, again and
    again until enough good rounds have followed each other, and returns a verdict with its reasons.
  - The verdict is V(healthy), V(unhealthy) or V(inconclusive). What could not be observed is inconclusive, never
    healthy and never unhealthy.
  - A probe that hangs holds nothing up. It is inconclusive when its time is over.
  - An unhealthy application is not a failure of this module, unless O(fail_unless_healthy=true).
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.actiongroup_rollback
  - schedgen.rollback.attributes.info_module
options:
  project:
    description:
      - Name of the Compose project. The default is the value of O(application).
    type: str
  checks:
    description:
      - Declared health checks, each a mapping with a C(type) and that type's options. The collection's documentation
        of health checks lists them all.
      - An unknown type, an unknown option or a wrong value is an error that names the check and the option.
      - C(container) - every container of C(service) runs, passes its own health check and does not restart;
        C(replicas), C(min_uptime), C(max_restarts), C(settle), C(health), C(completed).
      - C(http) - the answer of C(url), or of C(port) and C(path) on every container of C(service); C(status),
        C(body), C(json), C(expect_headers), C(latency), C(tls_days), C(method), C(headers), C(token_file),
        C(follow_redirects), C(validate_certs), C(ca_file). Redirects are not followed unless C(follow_redirects) says
        so.
      - C(tcp) - C(port) of C(host), or of every container of C(service), accepts connections.
      - C(sql) - the login works, and the first value that C(query) returns is as C(equals), C(not_equals), C(min),
        C(max) and C(matches) say. The session is read-only.
      - C(migrations) - the newest applied migration is C(head), by the books of C(tool) in C(table).
      - C(image) - every running container of C(service) runs the image C(id).
      - C(log) - the containers of C(service) logged at most C(limit) lines that match C(pattern) and not C(ignore) in
        the last C(since) seconds, since a time, or since their V(start).
      - C(command) - C(argv), run on the host (or C(inside) the containers of C(service)) without a shell, ends with
        exit code C(rc) and prints what C(stdout) matches.
      - C(prometheus) - every value of the instant query C(query) at C(url) is as C(equals), C(not_equals), C(min) and
        C(max) say. An empty answer is inconclusive.
      - All types know C(name), C(critical) (default V(true); a check that is not critical only leaves a note),
        C(service) (whose health it shows), C(depends_on) (services whose failure explains this one) and C(timeout) (5
        seconds).
    type: list
    elements: dict
    default: []
  derive:
    description:
      - Whether to derive checks from the running project - every service runs and is healthy, every published port
        answers, the database lets its user in.
      - V(auto) derives them when O(checks) is empty.
    type: str
    choices: [auto, always, never]
    default: auto
  containers:
    description:
      - Services that must run, whatever else is declared or derived.
    type: dict
    default: {}
    suboptions:
      services:
        description: Names of services. One without a container makes the application unhealthy.
        type: list
        elements: str
        default: []
      replicas:
        description: How many containers of a service must run, by service.
        type: dict
        default: {}
      min_uptime:
        description: Seconds that each of their containers must have been running.
        type: float
        default: 0
      max_restarts:
        description:
          - How many restarts one of their containers may have behind it. Without it any number, but a container that
            has restarted must then run for 10 seconds, and one that restarts while it is watched is not healthy.
        type: int
  images:
    description:
      - Image id that every container of a service must run, by service.
    type: dict
    default: {}
  database:
    description:
      - How to reach the application's PostgreSQL database. It is needed for checks of type C(sql) and C(migrations).
    type: dict
    default: {}
    suboptions:
      name:
        description: Name of the database. Empty says that there is none.
        type: str
        default: ""
      service:
        description: Compose service that runs the database server.
        type: str
        default: postgres
      user:
        description: Name to log in with. The default is the name of the database.
        type: str
        default: ""
      host:
        description:
          - Host name or address of a server outside the Compose project. Empty says that it is in the project.
        type: str
        default: ""
      port:
        description: Port of the server.
        type: int
        default: 5432
      password_file:
        description:
          - File on the host that holds the password. When it is empty the password is read from the database
            container's own environment.
        type: str
        default: ""
  deadline:
    description:
      - Seconds after which the verdict is given in any case.
    type: float
    default: 120
  successes:
    description:
      - How many good rounds must follow each other.
    type: int
    default: 3
  interval:
    description:
      - Seconds from the start of one round to the start of the next.
    type: float
    default: 1
  min_healthy:
    description:
      - Seconds that the application must have been healthy without a break.
    type: float
    default: 0
  fail_fast:
    description:
      - Whether to stop before the deadline when two rounds in a row saw a critical fault that does not go away by
        itself, such as a wrong image or a container that has exited and will not be restarted.
    type: bool
    default: false
  fail_unless_healthy:
    description:
      - Whether the module fails when the verdict is not V(healthy).
    type: bool
    default: false
notes:
  - A project without any container, with nothing declared about it, is inconclusive. A service that is declared or
    needed by another one, and has no container, is unhealthy.
  - Logins, passwords and tokens of checks are masked in everything that is returned. Prefer C(token_file) to a
    header.
"""

EXAMPLES = r"""
- name: Prove that the application is healthy, by checks that are derived from it
  schedgen.rollback.health_info:
    application: schedgen
    database:
      name: schedgen
  register: health

- name: Prove that it runs what it should, and that it works
  schedgen.rollback.health_info:
    application: schedgen
    images:
      backend: "sha256:{{ expected_backend }}"
    containers:
      services: [backend, frontend, pdf-worker]
      replicas:
        pdf-worker: 2
    checks:
      - name: front door
        type: http
        service: backend
        url: http://127.0.0.1:8080/health
        json:
          status: ok
        latency: 1
      - name: jobs are there
        type: sql
        query: SELECT count(*) FROM jobs
        min: 1
      - name: no errors in the log
        type: log
        service: backend
        since: start
        critical: false
    database:
      name: schedgen
    deadline: 60
    min_healthy: 5
    fail_unless_healthy: true
"""

RETURN = r"""
verdict:
  description: V(healthy), V(unhealthy) or V(inconclusive).
  type: str
  returned: always
  sample: unhealthy
reasons:
  description: Why the verdict is not V(healthy), in plain sentences, causes before their effects.
  type: list
  elements: str
  returned: always
  sample:
    - postgres has exited with code 1
    - backend is unhealthy because postgres has exited with code 1
notes:
  description: What is wrong with checks that are not critical.
  type: list
  elements: str
  returned: always
  sample: []
probes:
  description: Every check with its last result.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the check.
      type: str
    type:
      description: Its type.
      type: str
    critical:
      description: Whether it counts for the verdict.
      type: bool
    verdict:
      description: V(healthy), V(unhealthy) or V(inconclusive).
      type: str
    seconds:
      description: How long it took.
      type: float
    message:
      description: What it saw, in a sentence.
      type: str
    observed:
      description: What it saw, as data that depends on its type.
      type: dict
    service:
      description: The service that it speaks about.
      type: str
    depends_on:
      description: Services that this one needs.
      type: list
      elements: str
    final:
      description: Whether waiting cannot change it.
      type: bool
attempts:
  description: How many rounds of probes were made.
  type: int
  returned: always
  sample: 3
successes:
  description: How many good rounds in a row there were at the end.
  type: int
  returned: always
  sample: 3
seconds:
  description: How long the whole call took.
  type: float
  returned: always
  sample: 2.1
rollback_screen:
  description: What an operator's screen shows of this.
  type: dict
  returned: always
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _checks, _health, _libraries, _probes, _redact
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import EngineError
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import explain
from ansible_collections.schedgen.rollback.plugins.module_utils._health import Outcome


def argument_spec() -> dict[str, Any]:
    """Return the module's options."""
    return {
        "application": {"type": "str", "required": True},
        "state_dir": {"type": "path", "default": "/var/lib/schedgen-rollback"},
        "project": {"type": "str"},
        "checks": {"type": "list", "elements": "dict", "default": []},
        "derive": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
        "containers": {
            "type": "dict",
            "default": {},
            "options": {
                "services": {"type": "list", "elements": "str", "default": []},
                "replicas": {"type": "dict", "default": {}},
                "min_uptime": {"type": "float", "default": 0},
                "max_restarts": {"type": "int"},
            },
        },
        "images": {"type": "dict", "default": {}},
        "database": {
            "type": "dict",
            "default": {},
            "options": {
                "name": {"type": "str", "default": ""},
                "service": {"type": "str", "default": "postgres"},
                "user": {"type": "str", "default": ""},
                "host": {"type": "str", "default": ""},
                "port": {"type": "int", "default": 5432},
                "password_file": {"type": "str", "default": "", "no_log": False},
            },
        },
        "deadline": {"type": "float", "default": 120},
        "successes": {"type": "int", "default": 3},
        "interval": {"type": "float", "default": 1},
        "min_healthy": {"type": "float", "default": 0},
        "fail_fast": {"type": "bool", "default": False},
        "fail_unless_healthy": {"type": "bool", "default": False},
    }


def site_of(params: Mapping[str, Any]) -> _probes.Site:
    """Return the application that the options describe."""
    wanted = params["database"]
    database = _probes.Database()
    if wanted.get("name"):
        database = _probes.Database(**{**wanted, "user": wanted.get("user") or wanted["name"]})
    # An engine that hangs must not hold the call past its deadline.
    patience = min(10.0, max(1.0, params["deadline"] / 2))
    return _probes.Site(params["project"] or params["application"], database, patience)


def assess(params: Mapping[str, Any]) -> Outcome:
    """Probe what the options ask for. Raises ValueError for bad options, MissingLibrary."""
    started = time.monotonic()
    rules = _checks.policy(
        params["deadline"], params["successes"], params["interval"], params["min_healthy"], params["fail_fast"]
    )
    site = site_of(params)
    wanted = params["containers"]
    required = _checks.required_checks(
        wanted.get("services") or (),
        params["images"],
        wanted.get("replicas"),
        wanted.get("min_uptime") or 0.0,
        wanted.get("max_restarts"),
    )
    try:
        checks = _probes.collect(site, params["checks"], required, params["derive"])
    except EngineError as error:
        return _health.no_data(f"the checks could not be derived: {error}", time.monotonic() - started)
    return _probes.watch(site, checks, rules, started=started)


def as_result(outcome: Outcome) -> dict[str, Any]:
    """Return what the module returns of an outcome."""
    return {
        "verdict": outcome.verdict,
        "reasons": list(outcome.reasons),
        "notes": list(outcome.notes),
        "probes": [item.as_dict() for item in outcome.results],
        "attempts": outcome.attempts,
        "successes": outcome.streak,
        "seconds": round(outcome.seconds, 3),
        "rollback_screen": _health.screen(outcome),
    }


def main() -> None:
    """Run as an Ansible module."""
    # ansible-test imports modules with a stand-in that has no log.
    AnsibleModule.log = _redact.log_without(getattr(AnsibleModule, "log", None), "checks")
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    invocation = {"module_args": _redact.redact_declared(module.params)}
    application = module.params["application"]
    try:
        outcome = assess(module.params)
    except ValueError as error:
        module.fail_json(
            msg=explain(
                f"the health checks of {application} cannot be used: {error}",
                "nothing was probed and nothing was changed",
                "correct the check (rollback_health_checks) and run the same command again",
            ),
            invocation=invocation,
        )
    except _libraries.MissingLibrary as error:
        module.fail_json(
            msg=explain(
                f"the health of {application} cannot be probed: {error}",
                "nothing was probed and nothing was changed",
                error.next_step,
            ),
            invocation=invocation,
        )
    result = as_result(outcome)
    if module.params["fail_unless_healthy"] and outcome.verdict != "healthy":
        module.fail_json(
            msg=explain(
                f"{application} is {outcome.verdict}: {'; '.join(outcome.reasons)}",
                "the application was only looked at, nothing was changed",
                "see the probes in this result; quick-rollback.yml goes back to the last good release",
            ),
            invocation=invocation,
            **result,
        )
    module.exit_json(changed=False, invocation=invocation, **result)


if __name__ == "__main__":
    main()
