#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Begin and end a run: lock, journal and report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_run
short_description: Begin and end a run on an application, with its lock, journal and report
description:
  - A run is one execution of a playbook on one application. While it lives it holds the application's lock, which
    names its owner and reason, and which expires when it is not renewed.
  - Ending a run writes its report and gives the lock back. A run that was killed is ended by the next one.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  state:
    description:
      - V(started) takes the lock and opens the journal, V(finished) writes the report and gives the lock back.
    type: str
    choices: [started, finished]
    required: true
  run:
    description:
      - The run's id. With O(state=started) one is made when it is not given.
    type: str
    default: ''
  type:
    description:
      - What the run does, for instance V(quick) or V(backup).
    type: str
    default: quick
  owner:
    description:
      - Who asks for it.
    type: str
    default: ''
  reason:
    description:
      - Why.
    type: str
    default: ''
  takeover:
    description:
      - Take the lock even from a run that still renews it.
    type: bool
    default: false
  respect_freeze:
    description:
      - Refuse to begin while deployments of the application are frozen, see M(schedgen.rollback.rollback_freeze).
    type: bool
    default: false
  lock:
    description:
      - Whether the run takes the application's lock. With V(false) it keeps nobody out, and must change nothing on the
        application.
    type: bool
    default: true
  window:
    description:
      - Target time in seconds. V(0) for none. With O(lock=false), how long the run is going to be at work; some
        minutes later it counts as killed.
    type: float
    default: 0
  outcome:
    description:
      - How the run ended, with O(state=finished).
    type: str
    choices: [success, nothing to do, failed]
    default: success
  facts:
    description:
      - What the report tells beside the journal, with keys such as V(rows), V(plan), V(verification), V(message).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Begin a quick rollback
  schedgen.rollback.rollback_run:
    application: schedgen
    state: started
    type: quick
    owner: alex
    reason: v3 answers 500
    window: 300
  register: begun

- name: Begin a run that only looks, and keeps no rollback out
  schedgen.rollback.rollback_run:
    application: schedgen
    state: started
    type: monitor
    lock: false
    window: 600

- name: End it
  schedgen.rollback.rollback_run:
    application: schedgen
    state: finished
    run: "{{ begun.run }}"
    outcome: success
"""

RETURN = r"""
run:
  description: The run's id.
  returned: always
  type: str
  sample: 20261122T131500.123Z-quick
path:
  description: Its folder on the host, with journal and report.
  returned: always
  type: str
taken_over:
  description: The lock of a run that did not renew it any more, and that was taken over. Empty when there was none.
  returned: with O(state=started)
  type: dict
interrupted:
  description: Earlier runs that never ended, and whose report was written now.
  returned: with O(state=started)
  type: list
  elements: str
seconds:
  description: How long the run took.
  returned: with O(state=finished)
  type: float
outcome:
  description: How the run ended.
  returned: with O(state=finished)
  type: str
report:
  description: The report in Markdown.
  returned: with O(state=finished)
  type: str
page:
  description: The report as one HTML page that needs nothing else.
  returned: with O(state=finished)
  type: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
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
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import identifier
from ansible_collections.schedgen.rollback.plugins.module_utils._store import (
    Frozen,
    LockHeld,
    Store,
    StoreError,
    now,
)

# How many of the newest reports are looked through for the rollback that a window belongs to.
RECENT = 20
# Where the roles have Ansible write what its background jobs come to: for root alone, and gone after a reboot.
JOBS = "/run/schedgen-rollback"


def report_of(store: Store, run: str, outcome: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's report, made of its journal, as plain data."""
    return _report.build(run, store.application, store.read_journal(run), outcome, now(), facts)


def tell_the_rollback(store: Store, report: Mapping[str, Any]) -> None:
    """Write the report of the rollback before a monitoring window again, with what the window showed."""
    reports = store.reports(RECENT)
    earlier = (entry for entry in reports if entry["run"] < report["run"] and _report_facts.is_rollback(entry))
    rollback = next(earlier, None)
    if rollback is not None:
        _report_files.write(store, _summary.with_window(rollback, reports))


def end_interrupted(store: Store) -> list[str]:
    """Write the report of every run that never ended; return their ids. Only the lock's holder may call this.

    A run without the lock may still be at work: it is left alone as long as its own time allows.
    """
    ended = []
    for run in store.runs():
        journal = store.read_journal(run)
        if _report.may_still_run(journal, now()):
            continue
        if journal and not os.path.exists(os.path.join(store.run_path(run), "report.json")):
            store.journal(run, "run", "interrupted")
            told = {"message": "The run was killed before it could end by itself."}
            _report_files.write(store, report_of(store, run, "interrupted", told))
            ended.append(run)
    return ended


def start(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Take the lock and open the journal. Raises LockHeld and Frozen, also when nothing is to be changed."""
    run = parameters["run"] or f"{identifier(now())}-{parameters['type']}"
    path = os.path.join(store.runs_dir, run)
    freeze = store.frozen() if parameters["respect_freeze"] else None
    if freeze is not None:
        raise Frozen(store.application, freeze)
    if pretend:
        held = store.lock() if parameters["lock"] else None
        if held is not None and held.run != run and not store.expired(held) and not parameters["takeover"]:
            raise LockHeld(store.application, held)
        return {"changed": False, "run": "", "path": path, "taken_over": {}, "interrupted": [], "rollback_screen": {}}
    os.makedirs(JOBS, mode=0o700, exist_ok=True)
    stale, interrupted = None, []
    if parameters["lock"]:
        stale = store.acquire(run, parameters["owner"], parameters["reason"], takeover=parameters["takeover"])
        interrupted = end_interrupted(store)
    store.begin_run(run)
    begin = {key: parameters[key] for key in ("type", "owner", "reason", "window", "lock")}
    store.journal(run, "run", "started", **begin, taken_over=asdict(stale) if stale else None, interrupted=interrupted)
    lines = []
    if stale:
        lines.append(f"Took over the lock of {stale.owner}, run {stale.run}, held since {stale.since}")
    lines += [f"Run {name} had been killed; its report is written now" for name in interrupted]
    return {
        "changed": True,
        "run": run,
        "path": path,
        "taken_over": asdict(stale) if stale else {},
        "interrupted": interrupted,
        "rollback_screen": {
            "headline": f"Run {run}, for {parameters['owner'] or 'unknown'}",
            "lines": lines,
            "rows": [{"label": "Reason", "value": parameters["reason"]}] if parameters["reason"] else [],
        },
    }


def finish(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Write the report and give the lock back."""
    run, outcome = parameters["run"], parameters["outcome"]
    store.journal(run, "run", "finished", outcome=outcome)
    report = report_of(store, run, outcome, parameters["facts"])
    forms = _report_files.write(store, report)
    if report["type"] == "monitor" and report.get("monitoring"):
        tell_the_rollback(store, report)
    store.release(run)
    path = store.run_path(run)
    rows = [
        {"label": "Outcome", "value": outcome},
        {"label": "Duration", "value": _report.against_window(report["seconds"], report["window"])},
        {"label": "Report", "value": os.path.join(path, "report.html")},
        {"label": "Journal", "value": os.path.join(path, "journal.jsonl")},
        {"label": "Restore points", "value": store.points_dir},
        *(parameters["facts"].get("rows") or []),
    ]
    return {
        "changed": True,
        "run": run,
        "path": path,
        "seconds": report["seconds"],
        "outcome": outcome,
        **forms,
        "rollback_screen": {"headline": f"{outcome}; report written", "rows": rows},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.RUN,
            "state": {"type": "str", "choices": ["started", "finished"], "required": True},
            "type": {"type": "str", "default": "quick"},
            "owner": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "takeover": {"type": "bool", "default": False},
            "respect_freeze": {"type": "bool", "default": False},
            "lock": {"type": "bool", "default": True},
            "window": {"type": "float", "default": 0},
            "outcome": {"type": "str", "choices": ["success", "nothing to do", "failed"], "default": "success"},
            "facts": {"type": "dict", "default": {}},
        },
        required_if=[("state", "finished", ("run",))],
        supports_check_mode=True,
    )
    try:
        store = Store(module.params["state_dir"], module.params["application"])
        if module.params["state"] == "started":
            result = start(store, module.params, pretend=module.check_mode)
        elif module.check_mode or not module.params["run"]:
            result = {"changed": False, "run": "", "path": "", "rollback_screen": {}}
        else:
            result = finish(store, module.params)
    except LockHeld as error:
        module.fail_json(
            msg=_failure.explain(
                f"Refused: {error}.",
                "Nothing was touched.",
                error.next_step,
            ),
            lock=asdict(error.lock),
        )
    except Frozen as error:
        module.fail_json(msg=_failure.explain(f"Refused: {error}.", "Nothing was touched.", error.next_step))
    except (StoreError, ValueError, OSError) as error:
        module.fail_json(
            msg=_failure.explain(
                str(error), "Nothing that runs was touched by this step.", "Mend the cause and run it again."
            )
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
