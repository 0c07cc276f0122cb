# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a job on a host, and no longer than allowed for a host that does not answer."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

ARGUMENTS = {
    "job": {"type": "dict", "required": True},
    "interval": {"type": "float", "default": 5},
    "limit": {"type": "float", "required": True},
    "silence": {"type": "float", "default": 120},
}


def result_of(
    ask: Callable[[], dict[str, Any]],
    *,
    interval: float,
    limit: float,
    silence: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Ask every ``interval`` seconds until the job is over, at most ``limit`` seconds; return what it came to.

    Raises AnsibleConnectionFailure for a host that did not answer for ``silence`` seconds.
    """
    begun = answered = clock()
    while True:
        sleep(interval)
        try:
            told = ask()
        except AnsibleConnectionFailure as error:
            silent = clock() - answered
            if silent < silence:
                continue
            raise AnsibleConnectionFailure(
                f"it has not answered for {silent:.0f} s; what was begun there goes on where it runs ({error})"
            ) from error
        answered = clock()
        # A file that is half written cannot be read; the next look can.
        if told.get("finished") or (told.get("failed") and told.get("_ansible_parsed")):
            return told
        if answered - begun > limit:
            return {"failed": True, "msg": f"did not complete within the requested time - {limit:.0f}s"}


class ActionModule(ActionBase):
    """Asks as Ansible's own ``poll`` does. That one asks a host that is gone until the job's whole time is over."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the job came to."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        job = arguments.pop("job")
        if "ansible_job_id" not in job:
            # It ran without being a job, and was shown then.
            return {key: value for key, value in job.items() if key not in ("rollback_screen", "diff", "invocation")}
        asking = {"jid": job["ansible_job_id"], "_async_dir": posixpath.dirname(job["results_file"])}

        def ask(mode: str = "status") -> dict[str, Any]:
            told: dict[str, Any] = self._execute_module(
                module_name="ansible.legacy.async_status", module_args={**asking, "mode": mode}, task_vars=task_vars
            )
            return told

        told = result_of(ask, **arguments)
        if told.get("finished"):
            ask("cleanup")
        return told
