# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send one message to several receivers by the modules that exist for it; a dead receiver stops nothing."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.schedgen.rollback.plugins.module_utils import _notice

# Types are judged later: a mistake in a declaration is told, and must not stop the rollback that the message is about.
ARGUMENTS: dict[str, Any] = {
    "event": {"type": "str", "required": True},
    **{name: {"type": "raw"} for name in ("message", "targets", "names", "timeout", "probe")},
}
# What a module may take to start and end, beyond the receiver's own time, in seconds.
GRACE = 3.0


class TooLate(Exception):
    """A receiver took longer than it was given."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the block after so many seconds: a server that sends a byte now and then passes any timeout on a read."""

    def ring(_number: int, _frame: Any) -> None:
        raise TooLate

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ActionModule(ActionBase):
    """Runs on the controller; the sending modules run where the task is delegated to."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send, and tell of every receiver whether it was reached. Fails for wrong arguments of its own alone."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            event = str(arguments.get("event") or "")
            probe = boolean(arguments.get("probe") or False)
            declared, timeout = arguments.get("targets") or [], float(arguments.get("timeout") or 5)
            # A probe is of each, whatever events they want.
            targets = (
                _notice.every(declared, timeout)
                if probe
                else _notice.choose(declared, event, arguments.get("names"), timeout)
            )
            fields = _notice.message(event, arguments.get("message") or {})
        except (TypeError, ValueError) as error:
            return {"failed": True, "msg": f"the message cannot be made: {error}"}
        check = bool(self._task.check_mode)
        deliveries = [
            _notice.not_sent(target, target.problem)
            if target.problem
            else self._probe(target, task_vars or {})
            if probe
            else _notice.not_sent(target, "check mode")
            if check
            else self._send(target, fields, task_vars or {})
            for target in targets
        ]
        screen = _notice.answers(deliveries) if probe else _notice.told(event, deliveries, check=check)
        return {
            "changed": not probe and any(item.sent for item in deliveries),
            "deliveries": [asdict(item) for item in deliveries],
            "undelivered": [item.target for item in deliveries if not item.sent],
            "rows": screen.get("rows", []),
            "text": fields["text"],
            "rollback_screen": screen,
        }

    def _probe(self, target: _notice.Target, task_vars: dict[str, Any]) -> _notice.Delivery:
        """Reach for a receiver: delivered means that it is there."""
        asked = _notice.probe(target)
        if asked is None:
            program = str(target.options["argv"][0])
            there = bool(shutil.which(program))
            return _notice.delivery(target, {"failed": not there, "msg": f"there is no program {program}"})
        try:
            with _at_most(target.timeout + GRACE):
                return _notice.delivery(target, self._execute_module(asked[0], asked[1], task_vars=task_vars))
        except TooLate:
            return _notice.not_sent(target, _notice.too_late(target))

    def _send(self, target: _notice.Target, fields: dict[str, str], task_vars: dict[str, Any]) -> _notice.Delivery:
        module, arguments = _notice.call(target, fields)
        if target.type == "command" and shutil.which("timeout"):
            # Given up by us alone, it would go on without anybody who waits for it.
            arguments["argv"] = ["timeout", f"{target.timeout:g}", *arguments["argv"]]
        shown = self._task.no_log
        # Modules write their arguments to the system's log, and addresses of webhooks are secrets.
        self._task.no_log = True
        try:
            with _at_most(target.timeout + GRACE):
                result = self._execute_module(module_name=module, module_args=arguments, task_vars=task_vars)
        except TooLate:
            return _notice.not_sent(target, _notice.too_late(target))
        except AnsibleError as error:
            reason = str(error)
            if target.type == "email" and "was not found" in reason:
                reason = "the collection community.general is not installed on the controller"
            return _notice.not_sent(target, reason)
        finally:
            self._task.no_log = shown
        return _notice.delivery(target, result)
