# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of `make test`: which jobs there are, which is next, what came of them, what is told at the end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jobs
import lanes
import pytest
import record
import stages
from jobs import Count, Job, Outcome, Tried

# -- jobs --------------------------------------------------------------------------------------------------------------


def test_every_test_file_and_scenario_belongs_to_a_stage() -> None:
    named = {job.name for stage in jobs.STAGES for job in jobs.jobs_of(stage, thorough=True)}
    files = {str(path.relative_to(jobs.ROOT)) for path in jobs.ROOT.glob("tests/*/test_*.py")}
    assert {name for name in files if not name.startswith(("tests/unit/", "tests/house/"))} <= named
    assert {f"molecule/{path.parent.name}" for path in jobs.ROOT.glob("molecule/*/molecule.yml")} <= named
    assert {"units", "sanity", "lint/mypy", "faults/application"} <= named


def test_a_stage_of_no_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no stage lnt"):
        jobs.jobs_of("lnt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lint/mypy", ["-m", "mypy"]),
        ("units", ["tests/unit"]),
        ("tests/unit/test_stages.py", ["tests/unit/test_stages.py"]),
        ("tests/integration/test_fleet.py::test_all[a]", ["tests/integration/test_fleet.py::test_all[a]"]),
        ("molecule/failures", ["test", "--scenario-name", "failures"]),
        ("faults/database", ["--place", "database"]),
        ("faults/database/swap: second run, nobody gets in", ["--only", "swap: second run, nobody gets in"]),
    ],
)
def test_one_thing_alone_is_run_by_its_name(name: str, words: list[str]) -> None:
    argv = list(jobs.only(name).argv)
    assert [word for word in argv if word in words] == words


def test_one_case_of_a_scenario_is_run_alone() -> None:
    job = jobs.only("molecule/failures/lock-held")
    assert job.environment["ROLLBACK_TESTS_CASE"] == "lock-held"
    assert jobs.only("molecule/failures").environment["ROLLBACK_TESTS_CASE"] == ""


@pytest.mark.parametrize("name", ["nothing", "lint/black", "molecule/none", "faults/none", "tests/unit/test_none.py"])
def test_what_has_no_such_name_is_said(name: str) -> None:
    with pytest.raises(ValueError, match="nothing is called"):
        jobs.only(name)


def test_a_file_that_works_on_the_application_is_known_by_its_fixtures() -> None:
    found = {job.name: job.application for job in jobs.jobs_of("integration")}
    assert found["tests/integration/test_quick_rollback.py"]
    assert not found["tests/integration/test_fleet.py"]


# -- what came of a job ------------------------------------------------------------------------------------------------

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.integration.test_a" name="test_good" time="2.5"/>
<testcase classname="tests.integration.test_a" name="test_bad[x]" time="1"><failure message="no">def test_bad():
    x = 1
&gt;   assert x == 2
E   assert 1 == 2

tests/integration/test_a.py:3: AssertionError</failure></testcase>
<testcase classname="tests.integration.test_a" name="test_left" time="0"><skipped message="left"/></testcase>
</testsuite></testsuites>"""
BAD = "tests/integration/test_a.py::test_bad[x]"


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(JUNIT)
    found = jobs.outcome(Job("integration", "a", (), reads="pytest"), 1, "", 4, tmp_path / "a")
    assert found.count == Count(1, 1, 1)
    assert found.tried == (
        Tried("tests/integration/test_a.py::test_good", 2.5),
        Tried(BAD, 1.0, "E   assert 1 == 2\ntests/integration/test_a.py:3: AssertionError"),
    )


def test_a_file_that_cannot_be_read_is_named_as_make_only_takes_it(tmp_path: Path) -> None:
    told = '<testcase classname="" name="tests.integration.test_a" time="0"><error message="x">no such name</error>'
    (tmp_path / "a.xml").write_text(f"<testsuites><testsuite>{told}</testcase></testsuite></testsuites>")
    found = jobs.outcome(Job("integration", "a", (), reads="pytest"), 2, "", 4, tmp_path / "a")
    assert (found.count, found.tried[0].name) == (Count(0, 1), "tests/integration/test_a.py")


def test_a_failed_test_of_a_scenario_is_run_again_with_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "s.xml").write_text(JUNIT)
    (tmp_path / "s.cases").write_text('{"name": "lock-held", "seconds": 30}\n')
    found = jobs.outcome(Job("molecule", "molecule/failures", (), reads="scenario"), 1, "", 40, tmp_path / "s")
    assert found.count == Count(1, 1, 1)
    assert [(test.name, test.seconds) for test in found.tried] == [
        ("molecule/failures", 0),
        ("molecule/failures/lock-held", 30),
    ]
    assert "assert 1 == 2" in found.tried[0].failure


@pytest.mark.parametrize(
    ("rows", "code", "count"),
    [
        ([("a", True, [])], 0, Count(1)),
        ([("a", True, []), ("b", False, ["2 acknowledged writes are lost"])], 1, Count(1, 1)),
        ([], 1, Count(0, 1)),
        ([], 0, Count(0, 1)),
    ],
)
def test_a_report_of_the_fault_tests_is_read(
    tmp_path: Path, rows: list[tuple[str, bool, list[str]]], code: int, count: Count
) -> None:
    told = [{"name": name, "seconds": 9, "sound": sound, "against": against} for name, sound, against in rows]
    (tmp_path / "f.json").write_text(json.dumps(told))
    found = jobs.outcome(Job("faults", "faults/database", (), reads="faults"), code, "broke", 9, tmp_path / "f")
    assert found.count == count
    assert bool([test for test in found.tried if test.failure]) is bool(count.failed)


@pytest.mark.parametrize(
    ("reads", "code", "said", "count"),
    [
        ("exit code", 0, "", Count(1)),
        ("exit code", 1, "line 3 is too long", Count(0, 1)),
        ("sanity", 0, "sanity: 24 passed, 0 failed\n", Count(24)),
        ("sanity", 1, "sanity: 22 passed, 2 failed\n", Count(22, 2)),
        ("sanity", 1, "Traceback", Count(0, 1)),
        ("pytest", 2, "no module named x", Count(0, 1)),
        ("pytest", 0, "", Count(0, 1)),
        ("pytest", 124, "stopped: it took longer than 3 s", Count(0, 1)),
    ],
)
def test_what_breaks_counts_as_one_failure_and_nothing_tried_is_no_success(
    tmp_path: Path, reads: str, code: int, said: str, count: Count
) -> None:
    found = jobs.outcome(Job("lint", "lint/x", (), reads=reads), code, said, 1, tmp_path / "none")
    assert found.count == count
    failures = [test.failure for test in found.tried if test.failure]
    assert bool(failures) is bool(count.failed)
    assert not said or not failures or said.strip() in failures[0]


def test_a_long_failure_is_told_shortly() -> None:
    told = jobs.shortly("\n".join(["def test():", *(f"E   line {number}" for number in range(50)), "a.py:3: Error"]))
    lines = told.splitlines()
    assert len(lines) == jobs.READABLE + 1
    assert (lines[0], lines[-2], lines[-1]) == ("E   line 0", "E   line 49", "a.py:3: Error")


# -- lanes -------------------------------------------------------------------------------------------------------------

HERE, SHORT = Job("lint", "here", ()), Job("lint", "short", ())
ENGINE, APPLICATION = Job("awx", "engine", (), True), Job("molecule", "application", (), True, True)
OTHER = Job("molecule", "other", (), True, True)
TAKES = {"here": 5.0, "short": 1.0, "engine": 50.0, "application": 60.0, "other": 30.0}


@pytest.mark.parametrize(
    ("ready", "up", "order"),
    [
        pytest.param(False, False, ["here", "short", "engine", "application", "other"], id="no machine yet"),
        pytest.param(True, False, ["engine", "here", "short", "application", "other"], id="nothing runs there"),
        pytest.param(True, True, ["application", "other", "engine", "here", "short"], id="the application runs there"),
    ],
)
def test_a_lane_takes_the_longest_job_that_suits_it(ready: bool, up: bool, order: list[str]) -> None:
    queue = lanes.Queue([SHORT, OTHER, APPLICATION, HERE, ENGINE], TAKES)
    taken = []
    while job := queue.take(machines_ready=ready, application_up=up, one_application=False):
        taken.append(job.name)
    assert taken == order


def test_where_there_is_one_application_one_job_has_it() -> None:
    queue = lanes.Queue([OTHER, APPLICATION], TAKES)
    first = queue.take(machines_ready=True, application_up=False, one_application=True)
    assert first == APPLICATION
    assert queue.take(machines_ready=True, application_up=False, one_application=True) is None
    assert len(queue) == 1
    queue.free_application()
    assert queue.take(machines_ready=True, application_up=False, one_application=True) == OTHER


def test_where_there_is_one_application_what_works_on_it_goes_first() -> None:
    queue = lanes.Queue([HERE, ENGINE, OTHER, APPLICATION], TAKES)
    taken = []
    while job := queue.take(machines_ready=True, application_up=False, one_application=True):
        taken.append(job.name)
    assert taken == ["application", "engine", "here"]


def test_a_report_that_was_cut_short_is_a_failure_and_the_lane_goes_on(tmp_path: Path) -> None:
    cut = Job("integration", "cut", ("sh", "-c", f"echo '<half' > {jobs.RESULTS}"), reads="pytest")
    queue = lanes.Queue([cut, SHORT], TAKES | {"cut": 90.0})
    commands = lanes.Commands(60)
    found = {
        outcome.job.name: outcome for outcome in lanes.Lanes(queue, commands, tmp_path, lambda _text: None, None).run()
    }
    assert found["cut"].count == Count(failed=1)
    assert "ParseError" in found["cut"].tried[0].failure
    assert "short" in found


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "GRACE", 0.3)
    code, output = lanes.Commands(60).run(["sh", "-c", "sleep 600 & echo $!; wait"], 0.3)
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


def test_nothing_is_begun_when_the_time_for_all_is_over() -> None:
    assert lanes.Commands(0).run(["true"], 10) == (124, "not begun: the time for all tests is over")
    stopped = lanes.Commands(60)
    stopped.stop()
    assert stopped.run(["true"], 10)[0] == 124


def run_of(tmp_path: Path, *chosen: Job) -> list[Outcome]:
    said: list[str] = []
    queue = lanes.Queue(chosen, {})
    return lanes.Lanes(queue, lanes.Commands(60), tmp_path, said.append, None).run()


def test_jobs_run_and_what_came_of_each_is_known(tmp_path: Path) -> None:
    found = run_of(tmp_path, Job("lint", "good", ("true",)), Job("lint", "bad", ("sh", "-c", "echo worse; exit 3")))
    assert {outcome.job.name: outcome.count for outcome in found} == {"good": Count(1), "bad": Count(0, 1)}
    assert (tmp_path / "bad.log").read_text() == "worse\n"


def test_a_job_is_told_where_its_results_go(tmp_path: Path) -> None:
    write = ("sh", "-c", f"echo '[]' > {jobs.RESULTS}; test $ADDED = {jobs.RESULTS}")
    job = Job("faults", "faults/a b", write, reads="faults", environment={"ADDED": jobs.RESULTS})
    (outcome,) = run_of(tmp_path, job)
    assert (tmp_path / "faults_a_b.json").read_text() == "[]\n"
    assert outcome.tried[0].failure == "nothing was tried"


# -- what is told ------------------------------------------------------------------------------------------------------

OUTCOMES = [
    Outcome(HERE, Count(1), 5, (Tried("here", 5),)),
    Outcome(Job("integration", "a", ()), Count(1, 1), 40, (Tried("a::good", 30), Tried(BAD, 9, "E   assert 1 == 2"))),
]


def test_the_end_tells_failures_slow_tests_stages_and_what_was_before() -> None:
    run = record.run_of(OUTCOMES, 41.0, 0.9)
    before = record.Run(100.0, 0.66, {}, {"lint": 7.0}, {"a::good": 60.0})
    lines = record.summary(OUTCOMES, run, before)
    text = "\n".join(lines)
    assert f"FAILED {BAD}\n  E   assert 1 == 2\n  again, alone: make only TEST='{BAD}'" in text
    rows = [line.split() for line in lines]
    assert ["30.0", "60", "a::good"] in rows
    assert rows.index(["30.0", "60", "a::good"]) < rows.index(["9.0", "-", BAD])
    assert ["integration", "1", "passed,", "1", "failed", "40", "-"] in rows
    assert ["lint", "1", "passed,", "0", "failed", "5", "7"] in rows
    assert ["all,", "by", "clock", "41", "100"] in rows
    assert ["processors", "busy", "90%", "66%"] in rows


def test_no_more_than_forty_slow_tests_are_told() -> None:
    run = record.Run(tests={f"t{number}": number for number in range(100)})
    assert len(record.slowest(run, record.Run())) == record.SLOWEST + 2
    assert record.slowest(record.Run(), record.Run()) == []


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(record, "LAST", tmp_path / "last.json")
    monkeypatch.setattr(record, "BEFORE", tmp_path / "before.json")
    monkeypatch.setattr(record, "GREEN", tmp_path / "green")
    return tmp_path


def test_a_run_is_kept_beside_the_one_before(kept: Path) -> None:
    first, second = record.Run(10.0, 0.5, {"a": 1.0}), record.Run(9.0, 0.6, {"a": 2.0})
    record.keep(first)
    record.keep(second)
    assert (record.read(kept / "last.json"), record.read(kept / "before.json")) == (second, first)
    assert record.known_seconds() == {"a": 2.0}
    (kept / "last.json").write_text('{"other": 1}')
    assert record.read(kept / "last.json") == record.Run()


@pytest.mark.parametrize(
    ("seen", "changed", "green", "words"),
    [
        ("", "", False, "never seen green"),
        ("1" * 40, "", False, "seen green on tree 111111111111; committed now is 222222222222"),
        ("2" * 40, "", True, "seen green on what is committed now, tree 222222222222"),
        ("2" * 40, " M a.py", True, "there are changes that are not committed"),
    ],
)
def test_whether_this_was_seen_green(
    kept: Path, monkeypatch: pytest.MonkeyPatch, seen: str, changed: str, green: bool, words: str
) -> None:
    if seen:
        (kept / "green").write_text(f"{seen}\n")
    monkeypatch.setattr(record, "git", lambda *asked: changed if asked[0] == "status" else "2" * 40)
    assert record.tested()[0] is green
    assert words in record.tested()[1]
    assert record.tree() == ("" if changed else "2" * 40)


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def staged(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have `all` stages consist of one job, which fails where a file is there."""
    monkeypatch.setattr(record, "RESULTS", kept / "results")
    monkeypatch.setattr(record, "tree", lambda: "2" * 40)
    job = Job("lint", "one", ("test", "!", "-e", str(kept / "fail")))
    monkeypatch.setattr(
        jobs, "jobs_of", lambda stage, *, thorough=False: [job] if stage == "lint" and not thorough else []
    )
    return kept


def test_a_green_run_of_everything_is_remembered_by_its_tree(staged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["all"]) == 0
    assert (staged / "green").read_text() == f"{'2' * 40}\n"
    assert record.read(staged / "last.json").jobs.keys() == {"one"}
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"


def test_a_run_that_fails_or_is_no_run_of_everything_is_not(staged: Path) -> None:
    (staged / "fail").touch()
    assert stages.main(["all"]) == 1
    (staged / "fail").unlink()
    assert stages.main(["lint"]) == 0
    assert not (staged / "green").exists()


@pytest.mark.parametrize("words", [[], ["nonsense"], ["only", "nonsense"], ["all", "thorough"]])
def test_nothing_to_run_is_no_success(staged: Path, words: list[str]) -> None:
    assert stages.main(words) == 2
    assert not (staged / "green").exists()
