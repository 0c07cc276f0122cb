#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell people what happens, by webhook, e-mail or command. The action plugin of the same name does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: send_notice
short_description: Tell people what happens, by webhook, e-mail or command
description:
  - Sends one message to every receiver that wants the event, by M(ansible.builtin.uri), C(community.general.mail) and
    M(ansible.builtin.command).
  - A receiver that is dead, slow or wrongly declared fails nothing. It is named in the result, with the reason.
  - Addresses of webhooks beyond their host, passwords and headers are in no result and no log.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.attributes.on_controller
  - schedgen.rollback.attributes
options:
  event:
    description:
      - What the message is about.
    type: str
    required: true
    choices: [start, success, failure, escalation]
  message:
    description:
      - The parts of the message, any of C(application), C(hosts), C(title), C(happened), C(impact), C(done),
        C(needed), C(report), C(run), C(owner), C(reason).
    type: dict
    default: {}
  targets:
    description:
      - Receivers, each a mapping with C(type) (V(webhook), V(email), V(command)), C(name), C(events), C(timeout),
        C(body), and what its type needs.
    type: list
    elements: dict
    default: []
  names:
    description:
      - Names of the receivers to send to, whatever events they want.
    type: list
    elements: str
  timeout:
    description:
      - Seconds that a receiver gets that does not say so itself.
    type: float
    default: 5
  probe:
    description:
      - Whether to reach for every receiver without sending anything. A webhook's and a mail server's port is connected
        to, and a command is looked for.
    type: bool
    default: false
attributes:
  action:
    support: full
    description: Runs on the controller.
  check_mode:
    support: full
    description: Sends nothing.
  diff_mode:
    support: none
    description: Returns no differences.
notes:
  - E-mail needs the collection C(community.general) on the controller.
"""

EXAMPLES = r"""
- name: Tell the team
  schedgen.rollback.send_notice:
    event: failure
    message:
      application: schedgen
      happened: the backend does not become healthy
    targets:
      - name: team
        type: webhook
        url: "{{ team_webhook }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
deliveries:
  description: Of every receiver, whether it was told, and why not.
  type: list
  elements: dict
  returned: always
undelivered:
  description: Names of the receivers that were not told.
  type: list
  elements: str
  returned: always
rows:
  description: What a report shows of this.
  type: list
  elements: dict
  returned: always
text:
  description: The message.
  type: str
  returned: always
rollback_screen:
  description: What the operator's screen shows of this.
  type: dict
  returned: always
"""
