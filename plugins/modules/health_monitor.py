#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_monitor
short_description: Watch a Compose application for a while, round by round
description:
  - Each round runs the health checks, asks the front door some times, asks Prometheus where it is given, and looks at
    restarts, error lines in the logs and the database.
  - The window ends early when the failure is clear - too many requests failed, a critical check was unhealthy in
    several rounds in a row, or a container restarted.
  - The verdict is V(healthy), V(unhealthy) or V(inconclusive). What was asked for and could not be observed is
    inconclusive, never healthy.
  - With O(run) the series is written to that run's journal, and the next call with the same run takes it up where this
    one ended. So one window can be made of several calls, each of which shows how things stand.
  - Nothing that runs is changed. An unhealthy application is not a failure of this module.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.actiongroup_rollback
attributes:
  check_mode:
    support: full
    details:
      - Looks once, and writes nothing.
  diff_mode:
    support: none
options:
  run:
    description:
      - The run whose journal gets the series. Without it one call is the whole window.
    type: str
    default: ''
  project:
    description:
      - Name of the Compose project. The default is the value of O(application).
    type: str
  checks:
    description:
      - Declared health checks, as M(schedgen.rollback.health_info) takes them.
    type: list
    elements: dict
    default: []
  derive:
    description:
      - Whether to derive checks from the running project. V(auto) derives them when O(checks) is empty.
    type: str
    choices: [auto, always, never]
    default: auto
  services:
    description:
      - Services that must run, whatever else is declared or derived.
    type: list
    elements: str
    default: []
  database:
    description:
      - How to reach the application's PostgreSQL database. Where it is named, its login is checked in every round.
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
        description: Host of a server outside the Compose project. Empty says that it is in the project.
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
  traffic:
    description:
      - Where the front door is, in C(urls), and C(validate_certs). Without C(urls), what critical checks of type
        C(http) ask for, and without such checks the published ports that speak HTTP.
      - No answer, and an answer with a status from 500, count as failed.
    type: dict
    default: {}
  requests:
    description:
      - How many requests a round makes.
    type: int
    default: 10
  prometheus:
    description:
      - A Prometheus server, with C(url), the instant queries C(error_rate) (a share from 0 to 1) and C(p95) (seconds),
        and C(token_file), C(validate_certs), C(ca_file).
    type: dict
    default: {}
  window:
    description:
      - How long to watch, in seconds.
    type: float
    default: 600
  interval:
    description:
      - Seconds from the start of one round to the start of the next.
    type: float
    default: 10
  rounds:
    description:
      - How many rounds this call makes at most. V(0) makes all that are left.
    type: int
    default: 0
  threshold:
    description:
      - Share of failed requests beyond which the application is unhealthy.
    type: float
    default: 0.05
  samples:
    description:
      - Requests that are needed to judge their error rate before the window is over.
    type: int
    default: 20
  unhealthy_rounds:
    description:
      - Rounds in a row in which a critical check must be unhealthy to end the window early.
    type: int
    default: 3
  p95:
    description:
      - Seconds beyond which the 95th percentile of the latency is too slow, in as many rounds in a row. V(0) for no
        limit.
    type: float
    default: 0
notes:
  - Logins, passwords and tokens of checks are masked in everything that is returned and recorded.
"""

EXAMPLES = r"""
- name: Watch it for ten minutes, in one call
  schedgen.rollback.health_monitor:
    application: schedgen
    database:
      name: schedgen
  register: watched

- name: Watch it for half a minute of ten, and leave the rest to further calls
  schedgen.rollback.health_monitor:
    application: schedgen
    run: "{{ begun.run }}"
    rounds: 3
    traffic:
      urls:
        - https://app.example.org/health
    prometheus:
      url: http://127.0.0.1:9090
      error_rate: sum(rate(http_requests_total{code=~"5.."}[1m])) / sum(rate(http_requests_total[1m]))
"""

RETURN = r"""
verdict:
  description: V(healthy), V(unhealthy) or V(inconclusive); while the window lasts, that of the newest round.
  type: str
  returned: always
  sample: unhealthy
reasons:
  description: Why the verdict is not V(healthy), in plain sentences.
  type: list
  elements: str
  returned: always
  sample: ["18 of 20 requests failed in the last 2 rounds (90.0 %, more than 5.0 %)"]
notes:
  description: What else was seen, and what could not be observed.
  type: list
  elements: str
  returned: always
  sample: ["3 error lines in the logs"]
done:
  description: Whether the window is over, or the failure is clear.
  type: bool
  returned: always
early:
  description: Whether it ended before the window was over.
  type: bool
  returned: always
series:
  description: Every round of the window so far.
  type: list
  elements: dict
  returned: always
  contains:
    at:
      description: When it ended, in UTC.
      type: str
    elapsed:
      description: Seconds since the window began.
      type: float
    verdict:
      description: The verdict of its health checks.
      type: str
    reasons:
      description: Why it is not V(healthy).
      type: list
      elements: str
    requests:
      description: Requests that said something.
      type: int
    failed:
      description: Those of them that failed.
      type: int
    unobserved:
      description: Requests that said nothing, for instance because a name could not be resolved.
      type: int
    error_rate:
      description: Share of failed requests; none without requests.
      type: float
    p95:
      description: 95th percentile of the latency in seconds.
      type: float
    restarts:
      description: Restarts of all containers since the window began; none when they could not be observed.
      type: int
    restarted:
      description: Which services restarted, in words.
      type: list
      elements: str
    replaced:
      description: Services with a container that was not there when the window began.
      type: list
      elements: str
    log_errors:
      description: Error lines in all logs since the round before; none when no log could be read.
      type: int
    database:
      description: The verdict on the database; empty where there is none.
      type: str
    prometheus:
      description: What Prometheus said, C(error_rate) and C(p95).
      type: dict
requests:
  description: Requests of all rounds that said something.
  type: int
  returned: always
  sample: 610
failed_requests:
  description: Those of them that failed.
  type: int
  returned: always
  sample: 0
error_rate:
  description: Share of failed requests of all rounds; none without requests.
  type: float
  returned: always
p95:
  description: The slowest 95th percentile of a round, in seconds.
  type: float
  returned: always
sparkline:
  description: The error rate of the rounds as a line of blocks.
  type: str
  returned: always
seconds:
  description: How long the window has lasted.
  type: float
  returned: always
rollback_screen:
  description: What an operator's screen shows of this.
  type: dict
  returned: always
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _checks,
    _libraries,
    _monitoring,
    _probes,
    _redact,
    _watching,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import explain
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoreError


def argument_spec() -> dict[str, Any]:
    """Return the module's options."""
    return {
        **_arguments.APPLICATION,
        **_arguments.RUN,
        "project": {"type": "str"},
        "checks": {"type": "list", "elements": "dict", "default": []},
        "derive": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
        "services": {"type": "list", "elements": "str", "default": []},
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
        "traffic": {"type": "dict", "default": {}},
        "requests": {"type": "int", "default": 10},
        "prometheus": {"type": "dict", "default": {}},
        "window": {"type": "float", "default": 600},
        "interval": {"type": "float", "default": 10},
        "rounds": {"type": "int", "default": 0},
        "threshold": {"type": "float", "default": 0.05},
        "samples": {"type": "int", "default": 20},
        "unhealthy_rounds": {"type": "int", "default": 3},
        "p95": {"type": "float", "default": 0},
    }


def begin(params: Mapping[str, Any], *, pretend: bool) -> _watching.Watch:
    """Make the watch that the options describe, or take it up. Raises ValueError, StoreError, MissingLibrary."""
    limits = _monitoring.rules(
        params["window"],
        params["interval"],
        params["threshold"],
        params["samples"],
        params["unhealthy_rounds"],
        params["p95"],
    )
    database = params["database"]
    found = _probes.Database()
    if database.get("name"):
        found = _probes.Database(**{**database, "user": database.get("user") or database["name"]})
    wanted = _watching.Wanted(
        site=_probes.Site(params["project"] or params["application"], found),
        declared=tuple(params["checks"]),
        required=tuple(_checks.required_checks(params["services"])),
        derive=params["derive"],
        traffic=_watching.traffic(params["traffic"]),
        requests=max(1, params["requests"]),
        prometheus=_watching.prometheus(params["prometheus"]),
    )
    store = Store(params["state_dir"], params["application"])
    return _watching.Watch(wanted, limits, store, "" if pretend else params["run"])


def watch(params: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Make rounds, and return what the module returns."""
    watched = begin(params, pretend=pretend)
    decision = watched.go_on(1 if pretend else params["rounds"])
    series = watched.series
    done = decision.clear or watched.over or pretend
    requests, failed = sum(item.requests for item in series), sum(item.failed for item in series)
    slow = [item.latency for item in series if item.latency is not None]
    return {
        "changed": False,
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "notes": list(decision.notes),
        "done": done,
        "early": decision.clear and not watched.over,
        "series": [item.as_dict() for item in series],
        "requests": requests,
        # Not "failed": by that word Ansible knows a task that failed.
        "failed_requests": failed,
        "error_rate": failed / requests if requests else None,
        "p95": max(slow) if slow else None,
        "sparkline": _monitoring.line_of(series, watched.limits),
        "seconds": round(series[-1].elapsed, 3) if series else 0.0,
        "rollback_screen": _monitoring.screen(series, watched.limits, decision, done=done, early=not watched.over),
    }


def main() -> None:
    """Run as an Ansible module."""
    # ansible-test imports modules with a stand-in that has no log.
    AnsibleModule.log = _redact.log_without(getattr(AnsibleModule, "log", None), "checks", "traffic", "prometheus")
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    invocation = {"module_args": _redact.redact_declared(module.params)}
    application = module.params["application"]
    try:
        result = watch(module.params, pretend=module.check_mode)
    except ValueError as error:
        module.fail_json(
            msg=explain(
                f"{application} cannot be watched as it is asked: {error}",
                "Nothing was changed.",
                "Correct the variable and run the same command again.",
            ),
            invocation=invocation,
        )
    except _libraries.MissingLibrary as error:
        module.fail_json(
            msg=explain(
                f"{application} cannot be watched: {error}",
                "Nothing was changed.",
                error.next_step,
            ),
            invocation=invocation,
        )
    except (StoreError, OSError) as error:
        module.fail_json(
            msg=explain(str(error), "Nothing that runs was changed.", "Mend the cause and run it again."),
            invocation=invocation,
        )
    module.exit_json(invocation=invocation, **result)


if __name__ == "__main__":
    main()
