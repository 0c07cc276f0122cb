# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a job on a host, and no longer than allowed for a host that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

ARGUMENTS = {
    "job": {"type": "dict", "required": True},
    "interval": {"type": "float", "default": 10},
    "limit": {"type": "float", "required": True},
    "silence": {"type": "float", "default": 120},
}


# Seconds before a host that gave no answer is asked again, and before one that is asked for no more than a moment.
BETWEEN = 5.0
PAUSE = 2.0


def notices_silence(transport: str, options: str) -> bool:
    """Whether a connection ends by itself when its host is gone in the middle of a question.

    Only then the question may be a long one. ``options`` are what ssh is started with: without ServerAliveInterval it
    waits until TCP gives up (ssh_config(5)).
    """
    return transport == "local" or (transport == "ssh" and "serveraliveinterval" in options.lower())


def result_of(
    ask: Callable[[float], dict[str, Any]],
    *,
    interval: float,
    limit: float,
    silence: float,
    pause: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Ask until the job is over, at most ``limit`` seconds; return what it came to.

    ``ask`` is told how many seconds one question may wait for the end: ``interval``, and no more than are left; none
    where there is a ``pause`` between questions in its place. Raises AnsibleConnectionFailure for a host that did not
    answer for ``silence`` seconds.
    """
    begun = answered = clock()
    while True:
        try:
            told = ask(0.0 if pause else max(0.0, min(interval, begun + limit - answered)))
        except AnsibleConnectionFailure as error:
            silent = clock() - answered
            if silent < silence:
                sleep(min(interval, BETWEEN))
                continue
            raise AnsibleConnectionFailure(
                f"it has not answered for {silent:.0f} s; what was begun there goes on where it runs ({error})"
            ) from error
        answered = clock()
        if told.get("finished") or (told.get("failed") and told.get("_ansible_parsed")):
            return told
        if told.get("failed"):
            # It gave no answer that can be read; the next one may.
            sleep(min(interval, BETWEEN))
        elif pause:
            sleep(pause)
        if answered - begun >= limit:
            return {"failed": True, "msg": f"did not complete within the requested time - {limit:.0f}s"}


class ActionModule(ActionBase):
    """Has the host tell when the job ends.

    Ansible's own ``poll`` looks every so often, and asks a host that is gone until the job's whole time is over.
    """

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the job came to."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        job = arguments.pop("job")
        if "ansible_job_id" not in job:
            # It ran without being a job, and was shown then.
            return {key: value for key, value in job.items() if key not in ("rollback_screen", "diff", "invocation")}
        asking = {"job": {key: job[key] for key in ("ansible_job_id", "results_file")}, **arguments}

        def ask(seconds: float) -> dict[str, Any]:
            told: dict[str, Any] = self._execute_module(
                module_name="schedgen.rollback.wait_for_job",
                module_args={**asking, "interval": seconds},
                task_vars=task_vars,
            )
            return told

        names = ("ssh_args", "ssh_common_args", "ssh_extra_args") if self._connection.transport == "ssh" else ()
        options = " ".join(str(self._connection.get_option(name) or "") for name in names)
        patient = notices_silence(self._connection.transport, options)
        return result_of(ask, pause=0.0 if patient else PAUSE, **arguments)
