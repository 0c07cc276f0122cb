# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide on the controller, without a round trip to any host."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.schedgen.rollback.plugins.module_utils import _decision, _failure, _severity

ARGUMENTS: dict[str, Any] = {
    "evidence": {"type": "list", "elements": "dict", "required": True},
    "thresholds": {"type": "dict", "default": {}},
    "auto_escalate": {"type": "str", "choices": list(_decision.LEVELS), "default": "application"},
    "type": {"type": "str", "choices": ["", *_decision.TYPES], "default": ""},
    "tried": {"type": "list", "elements": "str", "default": []},
    "declared": {"type": "dict", "default": {}},
    "switches": {"type": "list", "elements": "dict", "default": []},
    "windows": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """The action plugin."""

    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the decision and what the screen shows of it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            policy = _decision.Policy(
                thresholds=_severity.thresholds_of(given["thresholds"]),
                auto=given["auto_escalate"],
                windows={name: float(value) for name, value in {**_decision.WINDOWS, **given["windows"]}.items()},
                declared=given["declared"],
                switches=given["switches"],
                asked=given["type"],
                tried=tuple(given["tried"]),
            )
            decision = _decision.decide(given["evidence"], policy)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"the evidence has no {error}" if isinstance(error, KeyError) else str(error)
            raise AnsibleActionFail(
                _failure.explain(
                    f"No decision can be made: {reason}.", "Nothing was touched.", "Mend the cause and run it again."
                )
            ) from error
        result.update(changed=False, decision=_decision.to_dict(decision), rollback_screen=_decision.screen(decision))
        return result
