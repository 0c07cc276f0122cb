# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a command for a line of a crontab."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cron_command
short_description: Write a command for a line of a crontab
description:
  - Quotes the words for the shell, and the percent signs for cron.
author:
  - schedgen.rollback contributors (@schedgen)
options:
  _input:
    description:
      - The words of the command.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ ['/usr/bin/env', 'ansible-playbook'] | schedgen.rollback.cron_command }}"
"""

RETURN = r"""
_value:
  description: The command in one line.
  type: str
"""

from collections.abc import Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.schedgen.rollback.plugins.module_utils import _schedule


def cron_command(argv: Sequence[str]) -> str:
    """Return it; what cannot be written so is an error of the template."""
    try:
        return _schedule.cron_command(argv)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"cron_command": cron_command}
