#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an earlier run's report again, and sum up what runs came to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_report
short_description: Write an earlier run's report again, and sum up what runs came to
description:
  - Writes the report of a run again, from what it kept, with a monitoring window that came later.
  - Sums up the runs of an application, how many there were of each kind, how they ended, and how long they took.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    description: The report is returned and not written.
  diff_mode:
    support: none
options:
  run:
    description:
      - The run whose report is written again. V(last) for the newest rollback. When empty, runs are summed up alone.
    type: str
    default: ''
  limit:
    description:
      - How many of the newest runs are summed up.
    type: int
    default: 200
"""

EXAMPLES = r"""
- name: How often did rollbacks help?
  schedgen.rollback.rollback_report:
    application: schedgen
  register: told

- name: Have the last rollback's report again
  schedgen.rollback.rollback_report:
    application: schedgen
    run: last
"""

RETURN = r"""
run:
  description: The run whose report it is. Empty where none was asked for.
  returned: always
  type: str
report:
  description: The report in Markdown.
  returned: with O(run)
  type: str
page:
  description: The report as one HTML page that needs nothing else.
  returned: with O(run)
  type: str
path:
  description: The run's folder on the host.
  returned: with O(run)
  type: str
kinds:
  description: For every kind of run, C(kind), C(runs), C(outcomes), C(helped) and C(median_s), C(longest_s).
  returned: always
  type: list
  elements: dict
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _failure,
    _report,
    _report_facts,
    _report_files,
    _summary,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoreError


def chosen(reports: list[dict[str, Any]], run: str) -> dict[str, Any]:
    """Return the report that is asked for, with the window that watched it. Raises StoreError."""
    wanted = [entry for entry in reports if entry["run"] == run or (run == "last" and _report_facts.is_rollback(entry))]
    if not wanted:
        known = ", ".join(entry["run"] for entry in reports[:3]) or "none"
        raise StoreError(f"there is no report of run '{run}'; the newest: {known}")
    return _summary.with_window(wanted[0], reports)


def look(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Sum up, and write a report again where one is asked for."""
    reports = store.reports(parameters["limit"])
    kinds = _summary.kinds(reports)
    result: dict[str, Any] = {"changed": False, "run": "", "kinds": kinds}
    headline = f"{len(reports)} runs"
    if parameters["run"]:
        report = chosen(reports, parameters["run"])
        told = _report_files.forms(report) if pretend else _report_files.write(store, report)
        result.update(changed=not pretend, run=report["run"], path=store.run_path(report["run"]), **told)
        headline = f"{_report.title(report)} {report['run']}: {report['outcome']}; report written again"
    result["rollback_screen"] = {
        "headline": headline,
        "lines": [_summary.line(kind) for kind in kinds],
        "rows": [{"label": "Report", "value": f"{result['path']}/report.html"}] if result["run"] else [],
    }
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.RUN,
            "limit": {"type": "int", "default": 200},
        },
        supports_check_mode=True,
    )
    try:
        store = Store(module.params["state_dir"], module.params["application"])
        result = look(store, module.params, pretend=module.check_mode)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"{error}.", "Nothing was touched.", next_step(error, "status.yml lists runs: -e rollback_run=<run>.")
            )
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
