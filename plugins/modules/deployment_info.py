#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a deployment and hold it against where a rollback would go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_info
short_description: Observe a deployment, and hold it against where a rollback would go
description:
  - One look at a host gives the evidence that M(schedgen.rollback.rollback_decision_info) decides from. What runs
    against the restore point (images, files, configuration, commit); containers, restarts, exits, health, log errors;
    migrations added since and the catalogue comparison; SQL assertions, checksum failures and rows against the restore
    point; requests through the front door, and Prometheus; what the operator reported.
  - Everything is observed at once under one deadline. What could not be observed is named, with the reason.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.migration
  - schedgen.rollback.project.admin
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.info_module
options:
  to:
    description:
      - Where the operator asked to go. The candidate when empty.
    type: str
    default: ''
  checks:
    description:
      - Declared health checks, as M(schedgen.rollback.health_info) takes them. Derived when empty.
    type: list
    elements: dict
    default: []
  assertions:
    description:
      - What has to be true of the data. Each has C(name), C(query), one of C(equals), C(not_equals), C(min), C(max) and
        C(matches) for the first value, and C(critical) (true).
    type: list
    elements: dict
    default: []
  row_limits:
    description:
      - How many rows a table may lose against the restore point, by table, and C(default). A number below 1 is a share;
        0.1 where nothing is said.
    type: dict
    default: {}
  traffic:
    description:
      - How the front door is asked. C(urls) (those of the HTTP checks when empty), C(requests) 20, C(concurrency) 10,
        C(seconds) 2.2 for all of them, C(failed) [5xx] for the statuses that count, C(validate_certs) true.
    type: dict
    default: {}
  prometheus:
    description:
      - C(url) of a Prometheus, and the queries C(error_rate) (a share) and C(p95) (seconds); C(token_file), C(headers),
        C(validate_certs) and C(ca_file) as in a check.
    type: dict
    default: {}
  amcheck:
    description:
      - Also check every B-tree index with C(amcheck), smallest first, where that extension is installed.
    type: bool
    default: false
  count_limit:
    description:
      - Up to how many megabytes of database rows are counted.
    type: int
    default: 512
  symptom:
    description:
      - What the operator sees, in words.
    type: str
    default: ''
  reason:
    description:
      - Why the operator asks.
    type: str
    default: ''
  since:
    description:
      - Since when, in UTC.
    type: str
    default: ''
  deadline:
    description:
      - Seconds for all observations.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: What is going on?
  schedgen.rollback.deployment_info:
    application: schedgen
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
    assertions:
      - name: every job has a title
        query: SELECT count(*) FROM jobs WHERE title = ''
        equals: 0
    symptom: 500 errors since 14:10
  register: found
"""

RETURN = r"""
evidence:
  description:
    - What was observed, with C(running), C(candidate), C(services), C(health), C(changed), C(schema), C(corruption),
      C(written), C(traffic), C(durations), C(reported), and C(missing) for what could not be observed.
  returned: always
  type: dict
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import functools
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _checks,
    _compose,
    _evidence,
    _evidence_rules,
    _failure,
    _probes,
    _report,
    _schema,
    _words,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import application_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

NUMBERS = {"requests": int, "concurrency": int, "seconds": float}


def traffic_of(given: Mapping[str, Any]) -> _evidence.Traffic:
    """Return how the front door is asked. Raises ValueError for a name or a value that is none."""
    values: dict[str, Any] = {}
    known = set(_evidence.Traffic.__dataclass_fields__)
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"traffic has no '{name}': {', '.join(sorted(known))}")
        try:
            if name in NUMBERS:
                values[name] = NUMBERS[name](value)
            elif name == "validate_certs":
                values[name] = str(value).lower() in ("true", "yes", "on", "1")
            else:
                values[name] = tuple(str(item) for item in ([value] if isinstance(value, (str, int)) else value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"traffic: {name} is '{value}'") from error
    return _evidence.Traffic(**values)


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Observe. Raises ValueError for what is declared wrongly; what cannot be observed is in the result."""
    store = Store(parameters["state_dir"], parameters["application"])
    named = parameters["database"]
    wish = _evidence.Wish(
        checks=parameters["checks"],
        assertions=parameters["assertions"],
        row_limits=parameters["row_limits"],
        traffic=traffic_of(parameters["traffic"]),
        prometheus=parameters["prometheus"],
        amcheck=parameters["amcheck"],
        to=parameters["to"],
        count_limit=parameters["count_limit"] << 20,
        deadline=parameters["deadline"],
    )
    # What is declared wrongly is told before anything is looked at.
    _checks.parse_checks(wish.checks)
    _checks.parse_checks([{**entry, "type": "sql"} for entry in wish.assertions])
    for table in wish.row_limits:
        _evidence_rules.row_limit(table, wish.row_limits)
    site = _probes.Site(
        parameters["project_name"] or parameters["application"],
        _probes.Database(
            name=named,
            service=parameters["database_service"],
            user=parameters["database_user"] or named,
            host=parameters["database_host"],
            port=parameters["database_port"],
            password_file=parameters["database_password_file"] or "",
        ),
        min(10.0, parameters["deadline"] / 2),
    )
    client = functools.partial(_compose.connect, timeout=site.engine_timeout)
    observer = _evidence.Observer(
        store,
        application_of(parameters),
        site,
        _schema.settings_of(parameters),
        (lambda: database_of(store, client(), parameters)) if named else None,
        wish,
    )
    reported = {name: parameters[name] for name in ("symptom", "reason", "since")}
    evidence = {**observer.observe(), "reported": reported}
    return {"evidence": evidence, "rollback_screen": screen(evidence)}


def screen(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the operator's screen shows: what is well in a line, what is not in a line each."""
    running, candidate = evidence["running"], evidence["candidate"]
    told = []
    if candidate:
        told.append(f"Against {candidate['label']} ({candidate['id']}): {candidate['reason']}")
    else:
        told.append(f"Nothing to hold it against: {evidence['no_candidate'] or 'see below'}")
    changed = evidence["changed"]
    for what, names in (("Images", changed["images"]), ("Configuration of", changed["configuration"])):
        if names:
            told.append(f"{what} differ: {', '.join(names)}")
    for entry in changed["files"]:
        keys = f" ({', '.join(entry['keys'])})" if entry["keys"] else ""
        told.append(f"File {entry['path']} was {entry['change']}{keys}")
    schema = evidence["schema"]
    if schema:
        told.append(f"Schema: {schema['verdict']}, {_words.times(len(schema['added']), 'migration')} added since")
    traffic = evidence["traffic"]
    if traffic and traffic["error_rate"] is not None:
        slow = "" if traffic["p95"] is None else f", 95 % within {_words.number_text(traffic['p95'])} s"
        share = _words.number_text(traffic["error_rate"] * 100)
        told.append(f"Requests: {traffic['requests']} by {traffic['source']}, {share} % failed{slow}")
    told += [f"Not observed: {entry['what']}: {entry['why']}" for entry in evidence["missing"]]
    return {
        "headline": f"{running['label'] or 'nothing'} runs: {evidence['health']['verdict']},"
        f" observed in {_report.duration(evidence['seconds'])}",
        "lines": told,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.MIGRATION,
            **_arguments.ADMIN,
            "to": {"type": "str", "default": ""},
            "checks": {"type": "list", "elements": "dict", "default": []},
            "assertions": {"type": "list", "elements": "dict", "default": []},
            "row_limits": {"type": "dict", "default": {}},
            "traffic": {"type": "dict", "default": {}},
            "prometheus": {"type": "dict", "default": {}},
            "amcheck": {"type": "bool", "default": False},
            "count_limit": {"type": "int", "default": 512},
            "symptom": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "since": {"type": "str", "default": ""},
            "deadline": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"The evidence cannot be gathered: {error}.",
                "Nothing was touched.",
                next_step(error, "Mend the cause and run it again."),
            )
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
