#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List restore points, choose the candidate and verify checksums."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point_info
short_description: List restore points, choose the candidate and verify checksums
description:
  - Lists the restore points of an application on a host.
  - Chooses the one that a rollback goes to when the operator names none, with the reason for each one passed over.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  id:
    description:
      - Look at this restore point alone.
    type: str
  candidate:
    description:
      - Choose the candidate for an application rollback. This reads what runs, so it needs O(project_src).
    type: bool
    default: false
  configuration:
    description:
      - With O(candidate=true), choose for the configuration alone, among the restore points with the images that run.
    type: bool
    default: false
  last_switch:
    description:
      - Also find the last run that has switched to its end, which is what an undo undoes.
    type: bool
    default: false
  verify:
    description:
      - Compare every file with its recorded checksum.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show which restore point a rollback would go to
  schedgen.rollback.restore_point_info:
    application: schedgen
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    candidate: true

- name: Verify the files of all restore points
  schedgen.rollback.restore_point_info:
    application: schedgen
    verify: true
"""

RETURN = r"""
points:
  description: Restore points, newest first.
  returned: always
  type: list
  elements: dict
  sample:
    - id: 20261122T131500.123Z
      label: v1
      purpose: deploy
      verdict: healthy
      bad: ''
running:
  description: Fingerprint and label of the release that runs.
  returned: with O(candidate=true)
  type: dict
candidate:
  description: Its id ('' when there is none), the reason, what was passed over, and whether there is nothing to do.
  returned: with O(candidate=true)
  type: dict
problems:
  description: What is wrong with files, by restore point.
  returned: with O(verify=true)
  type: dict
lock:
  description: Who holds the application's lock, empty when nobody does.
  returned: always
  type: dict
last_switch:
  description:
    - The last run that has switched to its end, the safety restore point that it took (empty where it took none or it
      is gone), and whether a database was part of it.
  returned: with O(last_switch=true)
  type: dict
  sample:
    run: 20261122T131500.123Z-quick
    safety: 20261122T131502.456Z
    database: false
leftovers:
  description: What killed runs left. The next restore point removes it.
  returned: always
  type: list
  elements: str
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
    _candidate,
    _compose,
    _failure,
    _releases,
    _runs,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Release
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import application_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoredPoint


def describe(point: StoredPoint) -> dict[str, Any]:
    """Return what is shown of one restore point."""
    summary = point.summary()
    manifest = point.manifest
    return {
        "id": point.id,
        "path": point.path,
        "problem": point.problem,
        "label": summary.label,
        "release": summary.release,
        "purpose": summary.purpose,
        "verdict": summary.verdict,
        "parts": list(summary.parts),
        "bad": "" if summary.bad is None else summary.bad.reason or "marked bad",
        "pinned": summary.pinned,
        "labels": list(summary.labels),
        "reason": manifest.reason if manifest else "",
        "owner": manifest.owner if manifest else "",
        "created": manifest.created if manifest else "",
        "seconds": manifest.seconds if manifest else 0.0,
        "bytes": sum(entry["size"] for entry in manifest.checksums.values()) if manifest else 0,
        "migrations": list((manifest.migrations or {}).get("applied", [])) if manifest else [],
        "notes": list(manifest.notes) if manifest else [],
        "events": [dict(event) for event in point.events],
    }


def has_images(point: StoredPoint, running: Release) -> bool:
    """Whether the services that carry code run the images that they had in a restore point."""
    if point.manifest is None:
        return False
    then, now = (
        {name: service.image_id for name, service in release.services.items() if service.code}
        for release in (point.manifest.release, running)
    )
    return then == now


def look(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state folder, and what runs where the candidate is asked for."""
    store = Store(parameters["state_dir"], parameters["application"])
    points = [store.point(parameters["id"])] if parameters["id"] else store.points()
    lock = store.lock()
    result: dict[str, Any] = {
        "points": [describe(point) for point in reversed(points)],
        "lock": asdict(lock) if lock else {},
        "leftovers": store.leftovers(),
    }
    if parameters["last_switch"]:
        run, safety = _runs.last_switch(store)
        database = bool(run) and os.path.exists(os.path.join(store.run_path(run), _runs.DATABASE_PLAN))
        result["last_switch"] = {"run": run, "safety": safety, "database": database}
    lines = []
    headline = f"{len(points)} restore points"
    if parameters["verify"]:
        result["problems"] = {point.id: wrong for point in points if (wrong := store.verify(point))}
        headline += f", {len(result['problems'])} damaged" if result["problems"] else ", every file as recorded"
        lines += [f"{name}: {'; '.join(wrong)}" for name, wrong in result["problems"].items()]
    if parameters["candidate"]:
        running = _releases.running_release(_compose.connect(), application_of(parameters))
        summaries = [point.summary() for point in points]
        if parameters["configuration"]:
            images = {point.id: has_images(point, running) for point in points}
            choice = _candidate.choose_configuration(summaries, running.id, images)
        else:
            choice = _candidate.choose_release(summaries, running.id, _runs.interrupted_target(store))
        result["running"] = {"id": running.id, "label": running.label}
        result["candidate"] = asdict(choice)
        labels = {point.id: point.summary().label for point in points}
        chosen = f"{labels.get(choice.id, '')} {choice.id}".strip() or "none"
        headline = f"Candidate: {chosen}"
        lines.append(f"Because: {choice.reason}")
        lines += [f"Passed over: {passed.id} {labels[passed.id]}: {passed.reason}" for passed in choice.passed_over]
    result["rollback_screen"] = {"headline": headline, "lines": lines}
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            "id": {"type": "str"},
            "candidate": {"type": "bool", "default": False},
            "configuration": {"type": "bool", "default": False},
            "last_switch": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": False},
        },
        required_if=[("candidate", True, ("project_src",))],
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                str(error), "Nothing was touched.", next_step(error, "Mend the cause and run it again.")
            )
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
