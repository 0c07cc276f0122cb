# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes shared by the modules of this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of attributes: the bare names here, and ready-made sets below."""

    # A module that extends this states its own support for the modes, and for the group where it is in none.
    DOCUMENTATION = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/schedgen.rollback.rollback) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - schedgen.rollback.rollback
  check_mode:
    description: Can run in C(check_mode) and say what would change without changing anything.
  diff_mode:
    description: Returns what was changed, or would be changed in C(check_mode), when C(diff) is asked for.
"""

    # The same as above, for whoever names it.
    ACTIONGROUP_ROLLBACK = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/schedgen.rollback.rollback) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - schedgen.rollback.rollback
"""

    # For what an action plugin does on the controller. Named first: what is said first counts.
    ON_CONTROLLER = r"""
options: {}
attributes:
  action_group:
    support: none
    details:
      - It is about no application, and has none of the options that the group is for.
"""

    # For modules that only look.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module does not change anything.
  diff_mode:
    support: N/A
    details:
      - This module does not change anything.
  idempotent:
    description: A second run with the same arguments changes nothing, when nothing else changed in between.
    support: full
    details:
      - This module does not change anything.
"""
