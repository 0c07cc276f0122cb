# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a job on a host is waited for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.schedgen.rollback.plugins.action.wait_for_job import result_of

WORKS: dict[str, Any] = {"finished": 0, "started": 1}
DONE: dict[str, Any] = {"finished": 1, "changed": True}
HALF: dict[str, Any] = {"failed": True, "msg": "Could not parse job output"}
LOST: dict[str, Any] = {"failed": True, "msg": "could not find job", "_ansible_parsed": True}


def waited(answers: list[Any]) -> tuple[dict[str, Any], float]:
    """Return what it came to and after how many seconds; an answer of None is a host that does not answer for ten."""
    now = 0.0
    left = iter(answers)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def ask() -> dict[str, Any]:
        nonlocal now
        answer = next(left)
        if answer is None:
            now += 10
            raise AnsibleConnectionFailure("no route to host")
        return dict(answer)

    told = result_of(ask, interval=5, limit=60, silence=40, sleep=sleep, clock=lambda: now)
    return told, now


@pytest.mark.parametrize(
    ("answers", "told", "seconds"),
    [
        pytest.param([DONE], DONE, 5, id="at the first look"),
        pytest.param([WORKS, WORKS, DONE], DONE, 15, id="later"),
        pytest.param([HALF, DONE], DONE, 10, id="half written at first"),
        pytest.param([WORKS, LOST], LOST, 10, id="gone after a reboot"),
        pytest.param([WORKS, None, None, WORKS, DONE], DONE, 45, id="silent for a while"),
        pytest.param([None, None, WORKS, None, None, DONE], DONE, 70, id="silent twice, for a while each time"),
    ],
)
def test_what_a_job_came_to(answers: list[Any], told: dict[str, Any], seconds: float) -> None:
    assert waited(answers) == (told, seconds)


def test_a_job_that_takes_too_long() -> None:
    told, seconds = waited([WORKS] * 20)
    assert told["failed"]
    assert "did not complete within the requested time - 60s" in told["msg"]
    assert seconds == 65


def test_a_host_that_stays_silent_is_not_waited_for() -> None:
    with pytest.raises(AnsibleConnectionFailure, match="has not answered for 45 s"):
        waited([WORKS] + [None] * 10)
