# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The jobs that the stages of the tests consist of: what each runs, where it can run, and how to read what came of it.

A job's name is what `make only TEST=…` takes; a test of it has a longer name, which `make only` takes as well.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
PLUGINS = "collections/ansible_collections/schedgen/rollback/plugins"
STAGES = ("lint", "units", "sanity", "integration", "awx", "molecule", "faults")
# Where a job that names a file for its results wants that file's path.
RESULTS = "{results}"
THOROUGH = "thorough"
# What names the reference application in a test's text: it is brought up where such a test runs.
APPLICATION = re.compile(r"\bat_v1\b|\bhttp_500\b|\bapplication_up\b|\bmark\.application\b")
LINT = {
    "ansible-lint": ["ansible-lint", "--offline", "--nocolor", "-q"],
    "yamllint": ["yamllint", "--strict", "."],
    "ruff-check": ["ruff", "check", "."],
    "ruff-format": ["ruff", "format", "--check", "."],
    "mypy": [PYTHON, "-m", "mypy", PLUGINS, "tests", "demo"],
    "changelog": ["antsibull-changelog", "lint"],
    "plugin-documentation": ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."],
    "role-documentation": [PYTHON, "tests/tools/role_docs.py"],
}
FAULTS = {"database": False, "migrations": False, "application": True}
# In seconds: a job that takes longer is ended.
LIMIT = 1500.0
LIMIT_THOROUGH = 4 * 3600.0
# In seconds: where no run was recorded yet, the longest jobs are known from here.
SECONDS = {
    "lint/ansible-lint": 120.0,
    "lint/mypy": 60.0,
    "sanity": 230.0,
    "units": 50.0,
    "tests/integration/test_database_rollback.py": 65.0,
    "tests/integration/test_deployment_info.py": 125.0,
    "tests/integration/test_discover.py": 55.0,
    "tests/integration/test_fleet.py": 685.0,
    "tests/integration/test_health_info.py": 90.0,
    "tests/integration/test_hotfix.py": 450.0,
    "tests/integration/test_installed_collection.py": 75.0,
    "tests/integration/test_migrations_modules.py": 220.0,
    "tests/integration/test_migrations_tools.py": 150.0,
    "tests/integration/test_migrations_typeorm.py": 170.0,
    "tests/integration/test_monitor.py": 200.0,
    "tests/integration/test_notify.py": 95.0,
    "tests/integration/test_postgresql_restore.py": 220.0,
    "tests/integration/test_postgresql_versions.py": 95.0,
    "tests/integration/test_quick_rollback.py": 540.0,
    "tests/integration/test_refusals.py": 50.0,
    "tests/integration/test_restore_points.py": 140.0,
    "tests/integration/test_schedule.py": 230.0,
    "tests/integration/test_screen.py": 75.0,
    "tests/awx/test_awx_setup.py": 130.0,
    "tests/awx/test_runner.py": 170.0,
    "molecule/config-rollback": 110.0,
    "molecule/database-rollback": 335.0,
    "molecule/failures": 260.0,
    "molecule/full-rollback": 255.0,
    "molecule/pre-deploy-backup": 115.0,
    "molecule/quick-rollback": 240.0,
    "molecule/readiness": 85.0,
    "molecule/rollback": 445.0,
    "faults/application": 270.0,
    "faults/database": 380.0,
    "faults/migrations": 150.0,
}
USUAL = 20.0


@dataclass(frozen=True)
class Count:
    """What a job or stage has to add to the closing line."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        """Add up two counts."""
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        """Return the closing line's words."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True)
class Job:
    """One command of a stage.

    ``machine`` says that it needs a machine of its own, ``application`` that it works on the reference application,
    ``reads`` what its results are: an exit code, pytest's report, that of the fault tests, or the lines of sanity.
    """

    stage: str
    name: str
    argv: tuple[str, ...]
    machine: bool = False
    application: bool = False
    reads: str = "exit code"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The beginning of the names of its files."""
        return re.sub(r"[^\w.-]+", "_", self.name)


@dataclass(frozen=True)
class Tried:
    """One test of a job: its name for `make only`, how long it took in seconds, and why it failed."""

    name: str
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    job: Job
    count: Count
    seconds: float
    tried: tuple[Tried, ...] = ()
    said: str = ""


def jobs_of(stage: str, *, thorough: bool = False) -> list[Job]:
    """Return the jobs of a stage."""
    if stage == "lint":
        return [Job(stage, f"lint/{name}", tuple(argv)) for name, argv in LINT.items()]
    if stage == "units":
        return [pytest(stage, "units", ["tests/unit", "tests/house"], machine=False)]
    if stage == "sanity":
        return [Job(stage, "sanity", (PYTHON, "tests/tools/sanity.py"), reads="sanity")]
    if stage in ("integration", "awx"):
        return [file_job(stage, path, thorough=thorough) for path in test_files(stage) if thorough or is_tried(path)]
    if stage == "molecule":
        return [scenario(path.parent.name, thorough=thorough) for path in sorted(ROOT.glob("molecule/*/molecule.yml"))]
    if stage == "faults":
        return [fault_job(place, [] if thorough else ["--third"]) for place in FAULTS]
    raise ValueError(f"there is no stage {stage}: {', '.join(STAGES)}")


def test_files(stage: str) -> list[Path]:
    """Return the files with a stage's tests."""
    return sorted((ROOT / "tests" / stage).glob("test_*.py"))


def is_tried(path: Path) -> bool:
    """Whether a file has tests that `make test` runs: not where all of them are left to `make test-all`."""
    return not re.search(rf"^pytestmark = .*\b{THOROUGH}\b", path.read_text(), re.MULTILINE)


def file_job(stage: str, path: Path, *, thorough: bool = False) -> Job:
    """Return the job of one file of tests."""
    name = str(path.relative_to(ROOT))
    words = [] if thorough else ["-m", f"not {THOROUGH}"]
    return pytest(stage, name, [name], words, application=bool(APPLICATION.search(path.read_text())))


def pytest(
    stage: str,
    name: str,
    chosen: Iterable[str],
    words: Iterable[str] = (),
    *,
    machine: bool = True,
    application: bool = False,
) -> Job:
    """Return a job that runs pytest."""
    argv = (PYTHON, "-m", "pytest", *chosen, "-q", f"--junit-xml={RESULTS}", *words)
    return Job(stage, name, argv, machine, application, "pytest")


def scenario(name: str, case: str = "", *, thorough: bool = False) -> Job:
    """Return the job of a molecule scenario, or of one case of it."""
    environment = {
        # Pytest takes its options from here as a shell would.
        "PYTEST_ADDOPTS": f"--junit-xml='{RESULTS}'",
        "ROLLBACK_TESTS": THOROUGH if thorough or case else "",
        "ROLLBACK_TESTS_CASE": case,
    }
    argv = ("molecule", "test", "--scenario-name", name)
    known = f"molecule/{name}" + (f"/{case}" if case else "")
    return Job("molecule", known, argv, machine=True, application=True, reads="scenario", environment=environment)


def fault_job(place: str, words: Iterable[str] = (), name: str = "") -> Job:
    """Return the job of the faults at one place."""
    argv = (PYTHON, "tests/faults/run_faults.py", "--place", place, "--report", RESULTS, *words)
    return Job("faults", name or f"faults/{place}", argv, True, FAULTS[place], "faults")


def only(name: str) -> Job:
    """Return the job that runs one thing alone. Raises ValueError where nothing has this name."""
    kind, _slash, rest = name.partition("/")
    if kind == "lint" and rest in LINT:
        return next(job for job in jobs_of("lint") if job.name == name)
    if name in ("units", "sanity"):
        return jobs_of(name)[0]
    if kind == "molecule" and (ROOT / kind / rest.partition("/")[0] / "molecule.yml").exists():
        chosen, _slash, case = rest.partition("/")
        return scenario(chosen, case)
    if kind == "faults" and rest.partition("/")[0] in FAULTS:
        place, _slash, row = rest.partition("/")
        return fault_job(place, ["--only", row] if row else [], name)
    path = ROOT / name.partition("::")[0]
    if kind == "tests" and path.exists():
        stage = "units" if "unit" in path.parts or "house" in path.parts else path.parent.name
        text = path.read_text() if path.is_file() else ""
        return pytest(stage, name, [name], machine=stage != "units", application=bool(APPLICATION.search(text)))
    raise ValueError(
        f"nothing is called {name!r}: give a file of tests or a test in it, molecule/SCENARIO[/CASE],"
        " faults/PLACE[/ROW], lint/CHECK, units or sanity"
    )


# -- what came of a job ------------------------------------------------------------------------------------------------

READABLE = 15


def outcome(job: Job, code: int, said: str, seconds: float, results: Path) -> Outcome:
    """Read what came of a job from its exit code, from what it said and from its files, whose names begin alike."""
    if job.reads == "pytest":
        count, tried = by_pytest(Path(f"{results}.xml"))
    elif job.reads == "scenario":
        count, tried = by_scenario(job.name, results)
    elif job.reads == "faults":
        count, tried = by_faults(job.name, Path(f"{results}.json"))
    elif job.reads == "sanity":
        count, tried = by_sanity(said)
    else:
        count, tried = Count(passed=1), []
    if code and not count.failed:
        # It broke where no test is to blame, or before its first one.
        count = Count(count.passed if job.reads != "exit code" else 0, 1, count.skipped)
        tried = [*tried, Tried(job.name, seconds, last_lines(said))]
    if not code and not (count.passed or count.skipped):
        count, tried = Count(failed=1), [Tried(job.name, seconds, "nothing was tried")]
    return Outcome(job, count, seconds, tuple(tried or [Tried(job.name, seconds)]), said)


def last_lines(text: str, most: int = READABLE) -> str:
    """Return the last lines of what a command said."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-most:])


def by_pytest(report: Path) -> tuple[Count, list[Tried]]:
    """Read pytest's report."""
    if not report.exists():
        return Count(), []
    count, tried = Count(), []
    for case in ElementTree.parse(report).iter("testcase"):
        place, name = str(case.get("classname")), str(case.get("name"))
        # A file that cannot be read as tests stands there under its own name.
        name = f"{place.replace('.', '/')}.py::{name}" if place else f"{name.replace('.', '/')}.py"
        against = [case.find(kind) for kind in ("failure", "error")]
        failures = [str(found.text or found.get("message")) for found in against if found is not None]
        if case.find("skipped") is not None:
            count += Count(skipped=1)
            continue
        count += Count(failed=1) if failures else Count(passed=1)
        tried.append(Tried(name, float(case.get("time", 0)), shortly("\n".join(failures))))
    return count, tried


def by_scenario(name: str, results: Path) -> tuple[Count, list[Tried]]:
    """Read the report on a scenario's tests, and how long its cases took."""
    count, tests = by_pytest(Path(f"{results}.xml"))
    scenario_name = "/".join(name.split("/")[:2])
    # A test of a scenario looks at what its cases wrote down: they are run again with it.
    failed = [Tried(scenario_name, 0, f"{test.name}\n{test.failure}") for test in tests if test.failure]
    cases = Path(f"{results}.cases")
    rows = [json.loads(line) for line in cases.read_text().splitlines()] if cases.exists() else []
    return count, [*failed, *(Tried(f"{scenario_name}/{row['name']}", row["seconds"]) for row in rows)]


def by_faults(name: str, report: Path) -> tuple[Count, list[Tried]]:
    """Read the report of the fault tests: a row that lost writes or lied has failed, whatever converged."""
    rows = json.loads(report.read_text()) if report.exists() else []
    place = "/".join(name.split("/")[:2])
    tried = [Tried(f"{place}/{row['name']}", row["seconds"], "\n".join(row["against"])) for row in rows]
    failed = sum(not row["sound"] for row in rows)
    return Count(len(rows) - failed, failed), tried


def by_sanity(said: str) -> tuple[Count, list[Tried]]:
    """Read the closing line of the sanity tests."""
    told = re.search(r"^sanity: (\d+) passed, (\d+) failed$", said, re.MULTILINE)
    if told is None:
        return Count(), []
    count = Count(int(told.group(1)), int(told.group(2)))
    return count, [Tried("sanity", 0, last_lines(said))] if count.failed else []


def shortly(failure: str) -> str:
    """Return what is worth reading of a failure that pytest describes: what was expected, and where."""
    lines = failure.splitlines()
    told = [line for line in lines if line.startswith("E ")] or [line for line in lines if line.strip()]
    where = [line for line in lines if re.match(r"\S+\.py:\d+: ", line)]
    kept = told if len(told) <= READABLE else [*told[: READABLE - 5], "E   …", *told[-4:]]
    return "\n".join([line[:300] for line in [*kept, *where[-1:]]])
