# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide the hosts of a rollback into batches, the first one a canary."""

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
short_description: Divide hosts into batches, the first one a canary
description:
  - Returns the hosts in batches, in their order.
author:
  - schedgen.rollback contributors (@schedgen)
positional: sizes
options:
  _input:
    description:
      - The hosts.
    type: list
    elements: str
    required: true
  sizes:
    description:
      - How many hosts the first batch has, the second, and so on, as numbers or as shares of all hosts. The last one is
        used until no host is left.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say who is first
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | schedgen.rollback.batches([1, '25%', '100%'])) | first }}"
"""

RETURN = r"""
_value:
  description: A list of lists of hosts.
  type: list
  elements: list
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.schedgen.rollback.plugins.module_utils import _batches


def batches(hosts: Any, sizes: Any) -> list[list[str]]:
    """Divide hosts into batches; a size that is none is said."""
    try:
        return _batches.batches([str(host) for host in hosts], sizes)
    except ValueError as error:
        raise AnsibleFilterError(f"rollback_batches: {error}") from error


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"batches": batches}
