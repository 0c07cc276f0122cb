# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the time of a schedule as the five fields of cron."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cron_fields
short_description: Write the time of a schedule as the five fields of cron
description:
  - Takes the times that systemd and cron both know, such as V(02:15), V(*:20) and V(Mon..Fri 02:15).
author:
  - schedgen.rollback contributors (@schedgen)
options:
  _input:
    description:
      - The time.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ 'Sun 04:30' | schedgen.rollback.cron_fields }}"
"""

RETURN = r"""
_value:
  description: The five fields.
  type: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.schedgen.rollback.plugins.module_utils import _schedule


def cron_fields(at: str) -> str:
    """Return it; what cannot be written so is an error of the template."""
    try:
        return _schedule.cron_fields(at)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"cron_fields": cron_fields}
