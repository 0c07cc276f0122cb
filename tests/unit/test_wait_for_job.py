# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a job on a host is waited for."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.schedgen.rollback.plugins.action.wait_for_job import notices_silence, result_of
from ansible_collections.schedgen.rollback.plugins.modules import wait_for_job as module

WORKS: dict[str, Any] = {"finished": 0, "started": 1}
DONE: dict[str, Any] = {"finished": 1, "changed": True}
HALF: dict[str, Any] = {"failed": True, "msg": "Could not parse job output"}
LOST: dict[str, Any] = {"failed": True, "msg": "could not find job", "_ansible_parsed": True}


def waited(answers: list[Any], pause: float = 0.0) -> tuple[dict[str, Any], float]:
    """Return what it came to and after how many seconds; an answer of None is a host that does not answer for ten."""
    now = 0.0
    left = iter(answers)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def ask(seconds: float) -> dict[str, Any]:
        nonlocal now
        answer = next(left)
        # It answers when the job is over, or when it was asked to wait no longer.
        now += 1 if answer == DONE else seconds if answer == WORKS else 0
        if answer is None:
            now += 10
            raise AnsibleConnectionFailure("no route to host")
        return dict(answer)

    told = result_of(ask, interval=20, limit=60, silence=40, pause=pause, sleep=sleep, clock=lambda: now)
    return told, now


@pytest.mark.parametrize(
    ("answers", "told", "seconds"),
    [
        pytest.param([DONE], DONE, 1, id="at the first look"),
        pytest.param([WORKS, WORKS, DONE], DONE, 41, id="later"),
        pytest.param([HALF, DONE], DONE, 6, id="no answer that can be read at first"),
        pytest.param([WORKS, LOST], LOST, 20, id="gone after a reboot"),
        pytest.param([None, WORKS, DONE], DONE, 36, id="silent for a while"),
        pytest.param([None, None, WORKS, None, DONE], DONE, 66, id="silent twice, for a while each time"),
    ],
)
def test_what_a_job_came_to(answers: list[Any], told: dict[str, Any], seconds: float) -> None:
    assert waited(answers) == (told, seconds)


def test_a_job_that_takes_too_long() -> None:
    told, seconds = waited([WORKS] * 20)
    assert told["failed"]
    assert "did not complete within the requested time - 60s" in told["msg"]
    assert seconds == 60


def test_a_host_that_stays_silent_is_not_waited_for() -> None:
    with pytest.raises(AnsibleConnectionFailure, match="has not answered for 40 s"):
        waited([WORKS] + [None] * 10)


RUNNING = '{"started": 1, "finished": 0, "ansible_job_id": "j1.2"}'


def test_between_questions_that_do_not_wait_there_is_a_pause() -> None:
    assert waited([WORKS, WORKS, WORKS, DONE], pause=2.0) == (DONE, 7.0)


@pytest.mark.parametrize(
    ("transport", "options", "expected"),
    [
        ("local", "", True),
        ("ssh", "-C -o ControlMaster=auto -o ServerAliveInterval=10", True),
        ("ssh", "-C -o ControlMaster=auto -o ControlPersist=60s", False),
        ("docker", "", False),
    ],
)
def test_which_connection_notices_a_host_that_is_gone(transport: str, options: str, expected: bool) -> None:
    assert notices_silence(transport, options) is expected


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        pytest.param(RUNNING, 0, id="it runs"),
        pytest.param("", 0, id="not yet written"),
        pytest.param('{"changed": tr', 0, id="half written"),
        pytest.param('{"changed": true}', 1, id="what the module has said"),
        pytest.param(
            '{"started": 1, "finished": 1, "failed": 1, "msg": "Timeout exceeded"}', 1, id="ended at its time"
        ),
    ],
)
def test_what_is_written_down_of_a_job(tmp_path: Path, text: str, finished: int) -> None:
    path = tmp_path / "j1.2"
    path.write_text(text)
    assert module.read(str(path))["finished"] == finished


def test_a_look_ends_when_the_job_ends(tmp_path: Path) -> None:
    path, slept = tmp_path / "j1.2", []
    path.write_text(RUNNING)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            path.write_text('{"changed": true}')

    assert module.look(str(path), 60, sleep=sleep, clock=lambda: sum(slept)) == {"changed": True, "finished": 1}
    assert len(slept) == 3


def test_a_look_ends_after_its_time_and_says_that_the_job_runs(tmp_path: Path) -> None:
    path, slept = tmp_path / "j1.2", [0.0]
    path.write_text(RUNNING)
    assert not module.look(str(path), 1, sleep=slept.append, clock=lambda: sum(slept))["finished"]
    with pytest.raises(FileNotFoundError):
        module.look(str(tmp_path / "gone"), 1)


def test_only_what_old_jobs_have_left_is_removed(tmp_path: Path) -> None:
    for name in ("j111111111111.22", "j333333333333.44", "notes"):
        (tmp_path / name).touch()
    old = time.time() - 2 * module.KEPT
    for name in ("j111111111111.22", "notes"):
        os.utime(tmp_path / name, (old, old))
    module.forget_old(str(tmp_path), time.time())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j333333333333.44", "notes"]
    module.forget_old(str(tmp_path / "gone"), time.time())
