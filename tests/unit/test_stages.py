# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stages of the tests add up to, and when the reference application is taken down again."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
import stages
from stages import Count

LAB = """\
import pathlib, sys
log = pathlib.Path(__file__).with_name("log")
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
sys.exit(int(pathlib.Path(__file__).with_name(sys.argv[1]).exists()))
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the lab's command line that notes its calls; a file named like a call makes that one fail."""
    (tmp_path / "lab.py").write_text(LAB)
    monkeypatch.setattr(stages, "LAB", tmp_path / "lab.py")
    return tmp_path


def staged(monkeypatch: pytest.MonkeyPatch, **counts: Count) -> None:
    for name, count in counts.items():
        lane = stages.BESIDE if name in stages.BESIDE else stages.ON_THE_LAB
        monkeypatch.setitem(lane, name, partial(Count, count.passed, count.failed, count.skipped))


def test_everything_is_counted_and_one_failure_fails(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    staged(monkeypatch, lint=Count(8, 0, 0), units=Count(700, 1, 2))
    assert stages.main(["lint", "units"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "708 passed, 1 failed, 2 skipped"
    assert not (lab / "log").exists(), "these two need no lab"


def test_nothing_run_is_not_success(monkeypatch: pytest.MonkeyPatch) -> None:
    staged(monkeypatch, lint=Count())
    assert stages.main(["lint"]) == 1


def test_a_lab_that_was_not_there_is_brought_up_once_and_removed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged(monkeypatch, molecule=Count(3), integration=Count(4), faults=Count(5))
    (lab / "status").touch()
    assert stages.main(["molecule", "integration", "faults"]) == 0
    assert (lab / "log").read_text().splitlines() == ["status", "up", "down --everything"]


def test_what_a_lane_beside_says_is_shown_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def talks() -> Count:
        stages.say("from here")
        assert stages.run(["echo", "from a command"], 10)[0] == 0
        assert "from a command" not in capfd.readouterr().out
        return Count(1)

    monkeypatch.setitem(stages.BESIDE, "lint", talks)
    assert stages.main(["lint"]) == 0
    assert "=== lint\nfrom here\nfrom a command\n" in capfd.readouterr().out


def test_a_stage_that_breaks_fails_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    staged(monkeypatch, units=Count(5))
    monkeypatch.setitem(stages.BESIDE, "lint", lambda: Count(int("none")))
    assert stages.main(["lint", "units"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 1 failed"


def test_nothing_is_begun_when_the_time_is_over(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "WHOLE", 0)
    (lab / "status").touch()
    assert stages.main(["integration"]) == 1
    assert (lab / "log").read_text().splitlines() == ["down --everything"]


def test_a_lab_that_was_there_stays(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged(monkeypatch, integration=Count(4))
    assert stages.main(["integration"]) == 0
    assert (lab / "log").read_text().splitlines() == ["status", "up"]


def test_a_lab_that_does_not_come_up_fails_the_stages_that_need_it(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    staged(monkeypatch, lint=Count(8), molecule=Count(3))
    (lab / "status").touch()
    (lab / "up").touch()
    assert stages.main(["lint", "molecule"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "8 passed, 1 failed"
    assert (lab / "log").read_text().splitlines() == ["status", "up", "up", "down --everything"]


@pytest.mark.parametrize(
    ("code", "last", "count"),
    [
        (0, '{"faults": 9, "lost": 0, "lied": 0, "converged": 9}', Count(9)),
        (1, '{"faults": 9, "lost": 0, "lied": 0, "converged": 7}', Count(7, 2)),
        (1, '{"faults": 9, "lost": 2, "lied": 0, "converged": 9}', Count(8, 1)),
        (1, "Traceback", Count(0, 1)),
        (0, "{}", Count(0, 1)),
    ],
)
def test_faults_are_counted_by_their_last_line(code: int, last: str, count: Count) -> None:
    assert stages.faults_told(code, f"a table\n{last}\n") == count


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "GRACE", 0.3)
    code, output = stages.run(["sh", "-c", "sleep 600 & echo $!; wait"], 0.3, capture=True)
    assert code == 124
    child, _newline, told = output.partition("\n")
    assert "took longer than" in told
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline, "the child outlived the limit"
        time.sleep(0.01)


def _lives(process: str) -> bool:
    try:
        return "State:\tZ" not in Path("/proc", process, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
