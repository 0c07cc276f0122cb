# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a scheduled command as systemd and as cron have it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: schedule_lines
short_description: Write a scheduled command as systemd and as cron have it
description:
  - Quotes the words, so that nothing in them is a variable, a specifier of systemd or the end of cron's line.
author:
  - schedgen.rollback contributors (@schedgen)
positional: at
options:
  _input:
    description:
      - The words of the command.
    type: list
    elements: str
    required: true
  at:
    description:
      - When it is due, in a form that both know, such as V(02:15), V(02,14:15), V(*:20) and V(Mon..Fri 02:15).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the line of a crontab
  ansible.builtin.debug:
    msg: "{{ made.fields }} root {{ made.cron }}"
  vars:
    made: "{{ ['/usr/bin/env', 'true'] | schedgen.rollback.schedule_lines('Sun 04:30') }}"
"""

RETURN = r"""
_value:
  description: >-
    A mapping with C(systemd), the command for C(ExecStart=), C(fields) and C(cron), time and command of a crontab, and
    C(problem), which says why it cannot be scheduled and is empty where it can.
  type: dict
"""

from typing import Any, Callable

from ansible_collections.schedgen.rollback.plugins.module_utils import _schedule


def schedule_lines(argv: Any, at: Any) -> dict[str, str]:
    """Return a scheduled command in each form, or what is wrong with it."""
    words = [str(word) for word in argv]
    try:
        return {
            "systemd": _schedule.systemd_command(words),
            "cron": _schedule.cron_command(words),
            "fields": _schedule.cron_fields(str(at)),
            "problem": "",
        }
    except ValueError as error:
        return {"systemd": "", "cron": "", "fields": "", "problem": str(error)}


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"schedule_lines": schedule_lines}
