#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a copy of a run's report on the controller. The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keep_report
short_description: Keep a copy of a run's report on the controller
description:
  - Writes a report as Markdown and as one HTML page into a folder of the controller, for its user alone.
  - That it cannot be written is told, and stops nothing.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.attributes.on_controller
  - schedgen.rollback.attributes
options:
  folder:
    description:
      - The folder on the controller. It is made where it is missing.
    type: path
    required: true
  name:
    description:
      - Name of the files, without an ending.
    type: str
    required: true
  report:
    description:
      - The report in Markdown.
    type: str
    required: true
  page:
    description:
      - The report as an HTML page.
    type: str
    required: true
attributes:
  action:
    support: full
    description: Runs on the controller.
  check_mode:
    support: full
    description: Writes nothing.
  diff_mode:
    support: none
    description: Returns no differences.
"""

EXAMPLES = r"""
- name: Keep the report
  schedgen.rollback.keep_report:
    folder: ~/reports
    name: "{{ finished.run }}-{{ inventory_hostname }}"
    report: "{{ finished.report }}"
    page: "{{ finished.page }}"
"""

RETURN = r"""
path:
  description: The HTML page, empty where nothing was written.
  type: str
  returned: always
problem:
  description: Why nothing was written.
  type: str
  returned: always
rollback_screen:
  description: What the operator's screen shows of this.
  type: dict
  returned: always
"""
