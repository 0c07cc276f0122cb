#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a job on a host: one look, which ends when the job ends. The action plugin of this name looks again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_job
short_description: Wait for a job on a host, and not for a host that is gone
description:
  - Waits for a task that was started with C(async) and C(poll=0), and returns what it came to.
  - Ansible's own waiting asks a host that does not answer until the whole time of the job is over, which can be hours.
    Here such a host is unreachable after O(silence) seconds. What was begun on it goes on there.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.attributes.on_controller
  - schedgen.rollback.attributes
options:
  job:
    description:
      - What the task that started the job has registered. Where it ran without being a job, its own result is returned.
    type: dict
    required: true
  interval:
    description:
      - Seconds that one look waits on the host for the end of the job.
      - Whether the host still answers is known after each look. Over SSH without C(ServerAliveInterval) a host that is
        gone is not noticed during a look; there, looks do not wait, and follow each other every two seconds.
    type: float
    default: 10
  limit:
    description:
      - Seconds that the job may take.
    type: float
    required: true
  silence:
    description:
      - Seconds that the host may be silent.
    type: float
    default: 120
attributes:
  action:
    support: full
    description: Asks from the controller. On the host, the module waits for the end of the job.
  check_mode:
    support: full
    description: In check mode nothing is a job, and the task's own result is returned.
  diff_mode:
    support: none
    description: Returns no differences of its own.
"""

EXAMPLES = r"""
- name: Switch
  schedgen.rollback.compose_release:
    application: schedgen
    state: switched
    run: "{{ begun.run }}"
  async: 900
  poll: 0
  register: job

- name: Wait for it
  schedgen.rollback.wait_for_job:
    job: "{{ job }}"
    limit: 900
  register: switched
"""

RETURN = r"""
ansible_job_id:
  description: The job. What the job returned is beside it.
  returned: when it was a job
  type: str
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# Seconds between two looks at a small file in the host's memory.
PAUSE = 0.05
# Where the roles of this collection keep their jobs, and for how many seconds what is over stays there.
FOLDER = "/run/schedgen-rollback"
KEPT = 86400


def read(path: str) -> dict[str, Any]:
    """Return what is written down of a job, with ``finished``. Raises OSError where its file is gone.

    As Ansible's own async_status has it: a file without ``started`` is what the module itself has said at its end, and
    one that is no JSON yet is being written.
    """
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    try:
        told = dict(json.loads(text))
    except (ValueError, TypeError):
        return {"started": 1, "finished": 0}
    return {**told, "finished": 1 if "started" not in told else told.get("finished", 0)}


def look(
    path: str,
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return what a job came to as soon as it is over, or what is known of it after ``seconds``. Raises OSError."""
    end = clock() + seconds
    while True:
        told = read(path)
        if told["finished"] or clock() >= end:
            return told
        sleep(PAUSE)


def forget_old(folder: str, now: float) -> None:
    """Remove what jobs of the days before have left in a folder; nothing that was never a job's result."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if re.fullmatch(r"j\d+\.\d+", entry.name) and now - entry.stat().st_mtime > KEPT:
                os.unlink(entry.path)


def main() -> None:
    """Wait for one look."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "dict", "required": True},
            "interval": {"type": "float", "default": 10},
            "limit": {"type": "float", "required": True},
            "silence": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    name, path = (str(module.params["job"].get(key, "")) for key in ("ansible_job_id", "results_file"))
    try:
        told = look(path, module.params["interval"])
    except OSError:
        module.fail_json(msg=f"could not find job {name}", ansible_job_id=name, started=1, finished=1)
    if os.path.dirname(path) == FOLDER:
        forget_old(FOLDER, time.time())
    # The job's own module has made it fit for Ansible already: a second time would be once too often.
    sys.stdout.write(f"\n{json.dumps({'ansible_job_id': name, **told})}\n")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
