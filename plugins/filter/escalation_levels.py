# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the contacts of an escalation in the order in which they are called."""

from __future__ import annotations

DOCUMENTATION = r"""
name: escalation_levels
short_description: Put the contacts of an escalation in the order in which they are called
description:
  - Returns the levels, and rows and lines that say who is to be called and what is wrong with the declaration.
author:
  - schedgen.rollback contributors (@schedgen)
positional: targets, wait
options:
  _input:
    description:
      - Contacts, first level first, each a mapping with C(role), C(name), C(contact), C(targets) and C(wait).
    type: list
    elements: dict
    required: true
  targets:
    description:
      - The receivers of messages. Without contacts, those that want escalations are the only level.
    type: list
    elements: dict
    default: []
  wait:
    description:
      - Seconds to the next level, where a contact does not say so.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Say who is called first
  ansible.builtin.debug:
    msg: "{{ (contacts | schedgen.rollback.escalation_levels).levels | first }}"
"""

RETURN = r"""
_value:
  description: A mapping with C(levels), C(rows) and C(lines).
  type: dict
"""

from typing import Any, Callable

from ansible_collections.schedgen.rollback.plugins.module_utils import _notice


def escalation_levels(contacts: Any, targets: Any = (), wait: Any = 300.0) -> dict[str, Any]:
    """Return the levels of an escalation, and its call list with the mistakes in the declaration."""
    levels, wrong = _notice.levels(contacts, targets, float(wait))
    rows = _notice.call_list(contacts)
    lines = [*(f"{row['label']}: {row['value']}" for row in rows), *wrong]
    return {"levels": levels, "rows": rows, "lines": lines}


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"escalation_levels": escalation_levels}
