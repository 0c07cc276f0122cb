#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a job on a host. The action plugin of the same name does the work."""

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
      - Seconds between two looks.
    type: float
    default: 5
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
    description: Asks from the controller.
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
