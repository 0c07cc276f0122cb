#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore the content of named volumes beside the live one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_restore
short_description: Restore the content of named volumes beside the live one
description:
  - Restores volumes of a restore point into folders beside their content and compares every file with what was
    recorded. The live content is not touched; M(schedgen.rollback.database_rollback) swaps it while the services are
    stopped.
  - Also removes content that a rollback has set aside, and nothing else does.
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
      - V(beside) restores. V(absent) removes the folder O(set_aside).
    type: str
    choices: [beside, absent]
    default: beside
  run:
    description:
      - The run that holds the application's lock.
    type: str
    default: ''
  project_name:
    description:
      - Name of the Compose project; the application's name when not set.
    type: str
  point:
    description:
      - The restore point, with O(state=beside).
    type: str
    default: ''
  volumes:
    description:
      - The volumes, with O(state=beside).
    type: list
    elements: str
    default: []
  empty:
    description:
      - The volumes that get an empty folder instead, with O(state=beside).
    type: list
    elements: str
    default: []
  set_aside:
    description:
      - A folder that a rollback named as set aside, with O(state=absent).
    type: path
"""

EXAMPLES = r"""
- name: Restore the object store beside the live one
  schedgen.rollback.volume_restore:
    application: schedgen
    run: "{{ begun.run }}"
    point: 20261122T131500.123Z
    volumes: [schedgen_minio_data]

- name: Remove what a rollback has set aside, when nobody needs it any more
  schedgen.rollback.volume_restore:
    application: schedgen
    state: absent
    set_aside: /var/lib/docker/volumes/schedgen_minio_data/rollback-20261122T131500.123Z-full
"""

RETURN = r"""
restored:
  description: What was restored, with C(name), C(folder) of the live content and C(beside).
  returned: with O(state=beside)
  type: list
  elements: dict
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments, _compose, _failure, _volumes
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store
from ansible_collections.schedgen.rollback.plugins.module_utils._volumes import VolumeError


def restore(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Restore every volume beside its live content."""
    client = _compose.connect()
    project = parameters["project_name"] or parameters["application"]
    manifest = store.point(parameters["point"]).manifest
    recorded = {str(entry["name"]): entry for entry in manifest.volumes} if manifest else {}
    restored, lines = [], []
    for name in parameters["volumes"]:
        if name not in recorded:
            raise VolumeError(f"restore point {parameters['point']} does not have the content of volume {name}")
        content = _volumes.usable(client, project, name)
        told = f"{recorded[name]['files']} files, {recorded[name]['bytes'] / 1e6:.1f} MB"
        lines.append(f"{name}: {told}, beside the live content")
        if not pretend:
            restored.append(
                _volumes.restore_beside(store, parameters["run"], parameters["point"], content, recorded[name])
            )
    for name in parameters["empty"]:
        content = _volumes.usable(client, project, name)
        lines.append(f"{name}: empty, beside the live content")
        if not pretend:
            restored.append(_volumes.empty_beside(parameters["run"], parameters["point"], name, content))
    if restored:
        _volumes.keep(store, parameters["run"], restored)
    number = len(parameters["volumes"]) + len(parameters["empty"])
    return {
        "changed": number > 0,
        "restored": [asdict(entry) for entry in restored],
        "rollback_screen": {"headline": f"{number} volumes made beside, every file as recorded", "lines": lines},
    }


def remove(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Remove content that was set aside. Raises ``VolumeError`` for any other folder."""
    path = os.path.realpath(parameters["set_aside"] or "")
    known = [entry for run in store.runs() for entry in _volumes.kept(store, run)]
    if path not in {os.path.realpath(entry.beside) for entry in known}:
        raise VolumeError(f"{path} is no folder that a rollback of {store.application} has set aside")
    there = os.path.isdir(path)
    if there and not pretend:
        shutil.rmtree(path)
    return {"changed": there, "rollback_screen": {"headline": f"{path} is removed"}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.RUN,
            "state": {"type": "str", "choices": ["beside", "absent"], "default": "beside"},
            "project_name": {"type": "str"},
            "point": {"type": "str", "default": ""},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "empty": {"type": "list", "elements": "str", "default": []},
            "set_aside": {"type": "path"},
        },
        required_if=[("state", "absent", ("set_aside",)), ("state", "beside", ("point",))],
        supports_check_mode=True,
    )
    parameters = module.params
    work = restore if parameters["state"] == "beside" else remove
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if module.check_mode:
            result = work(store, parameters, pretend=True)
        else:
            with store.held(parameters["run"]):
                result = work(store, parameters, pretend=False)
    except EXPECTED as error:
        happened = f"{str(error)[:1].upper()}{str(error)[1:]}."
        module.fail_json(
            msg=_failure.explain(
                happened, "Nothing that runs was touched.", next_step(error, "Mend the cause and run it again.")
            )
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
