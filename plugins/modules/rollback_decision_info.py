#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide how bad a failure is and what to go back with. The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_decision_info
short_description: Decide how bad a failure is, and what to go back with
description:
  - Says from the evidence of M(schedgen.rollback.deployment_info) how bad it is, which rollback type is right, in which
    steps, why, what was rejected, what is at stake and who has to agree.
  - Decides on the controller; no host is asked. What the evidence leaves open is not guessed, the decision is then
    C(inconclusive).
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.info_module
options:
  evidence:
    description:
      - What M(schedgen.rollback.deployment_info) returned, of every host of the application.
    type: list
    elements: dict
    required: true
  thresholds:
    description:
      - From where on something counts, in place of the defaults. C(critical_error_rate) 0.25, C(major_error_rate) 0.05
        and C(minor_error_rate) 0.01 are shares of requests; C(critical_latency) 10, C(major_latency) 2 and
        C(minor_latency) 1 are seconds of the 95th percentile; C(requests) 10 is how many are needed for either.
      - C(critical_components) 2 is how many services that carry code are down, C(critical_hosts) 2 how many hosts are
        affected; C(minor_restarts) 1 and C(minor_log_errors) 10 are counts of one service.
    type: dict
    default: {}
  auto_escalate:
    description:
      - How far a run may go by itself. A critical failure takes the application back at once at every level; what
        changes data needs the level for it.
    type: str
    choices: [none, application, database, full]
    default: application
  type:
    description:
      - The rollback type that the operator asks for. The decision's own when empty.
    type: str
    choices: ['', quick, configuration, revert, restore, full]
    default: ''
  tried:
    description:
      - Rollback types that were tried already, in order. The decision goes on along the tree, each at most once.
    type: list
    elements: str
    default: []
  declared:
    description:
      - What a rollback cannot take back or needs a person for. C(external) and C(third_party) are lists of interfaces
        and services, C(order) is a list of services that go back together, C(manual) is a list of sentences.
      - Where something is declared, an approval is asked for.
    type: dict
    default: {}
  switches:
    description:
      - Declared feature switches, each with C(name) and C(symptoms), a list of words. The one whose words fit the
        symptom is proposed first for what is minor.
    type: list
    elements: dict
    default: []
  windows:
    description:
      - Target times in seconds by rollback type, in place of C(quick) 300, C(configuration) 600, C(revert) and
        C(restore) 900, C(full) 1800.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the application
  schedgen.rollback.deployment_info:
    application: schedgen
    symptom: 500 errors
  register: found

- name: Decide
  schedgen.rollback.rollback_decision_info:
    evidence: ["{{ found.evidence }}"]
    auto_escalate: database
  register: decided

- name: Show it
  ansible.builtin.debug:
    msg: "{{ decided.decision.reasons }}"
"""

RETURN = r"""
decision:
  description:
    - C(severity) is C(critical), C(major), C(minor), C(none) or C(unknown). C(type) is C(quick), C(configuration),
      C(revert), C(restore), C(full), C(none) or C(inconclusive).
    - C(action) is C(go), C(confirm), C(propose) (a targeted fix), C(ask) (a person has to decide) or C(nothing).
    - C(target) is the restore point. C(findings), C(reasons), C(rejected), C(blockers), C(stake), C(steps) and
      C(needs) are for people. C(expected) has C(seconds), C(from), C(window) and C(fits).
    - C(hash) identifies what would be done.
  returned: always
  type: dict
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""
