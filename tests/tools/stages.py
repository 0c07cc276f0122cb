#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run stages of the tests, go on after a failure, and end with one line that counts everything.

    stages.py STAGE …

    lint  units  sanity  beside  faults                  do not touch the reference application
    molecule  integration  application-faults  alone     work on it, one after the other

Where stages of both kinds are asked for, the two kinds run side by side, each in its order; what the first kind says is
shown when a stage of it is over. `alone` has the tests that measure a gap and comes last, when nothing else runs.
`thorough` as a further word takes in the tests and faults that `make test` leaves out.

The reference application is brought up once, and every trace of it is removed again if it was not there before.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "demo" / "lab.py"
PYTHON = sys.executable
PLUGINS = "collections/ansible_collections/schedgen/rollback/plugins"

# In seconds. The whole is ended with a summary before somebody else ends it without one.
WHOLE = 5000
LIMITS = {"check": 300, "units": 300, "sanity": 900, "scenario": 1500, "tests": 3600, "faults": 2400, "lab": 600}
# What a command that is ended has to tell, and to clean up (seconds).
GRACE = 45
BEGAN = time.monotonic()


@dataclass(frozen=True)
class Count:
    """What a stage has to add to the closing line."""

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


# Commands that run now. Each is in a process group of its own, which an interrupt from the keyboard does not reach.
_LIVING: set[int] = set()
_OVER = threading.Event()


class _Lane(threading.local):
    """What a lane has said and not shown yet; None where everything is shown at once."""

    held: list[str] | None = None


_LANE = _Lane()


def end_all(number: int, _frame: FrameType | None) -> None:
    """End what runs, and then this; the reference application is still taken down."""
    _OVER.set()
    for group in list(_LIVING):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
    sys.exit(128 + number)


def say(text: str) -> None:
    """Print at once, because the output of commands follows; a lane beside keeps it until its stage is over."""
    if _LANE.held is None:
        print(text, flush=True)
    else:
        _LANE.held.append(text)


def run(argv: list[str], limit: float, *, capture: bool = False, last: bool = False) -> tuple[int, str]:
    """Run a command in its own process group, so that nothing of it outlives the limit; ``last`` cleans up."""
    if not last:
        limit = min(limit, BEGAN + WHOLE - time.monotonic())
        if _OVER.is_set() or limit <= 0:
            say("not begun: the time for all tests is over")
            return 124, ""
    piped = capture or _LANE.held is not None
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        text=True,
        start_new_session=True,
    )
    _LIVING.add(process.pid)
    late = False
    try:
        output, _nothing = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        late = True
        output = _end(process)
    finally:
        _LIVING.discard(process.pid)
    if late:
        output = f"{output}\nstopped: it took longer than {limit:.0f} s"
    if not capture:
        if piped:
            say((output or "").rstrip())
        elif late:
            say(output.strip())
    return 124 if late else process.returncode, output or ""


def _end(process: subprocess.Popen[str]) -> str:
    """End a command with all it started; return what it still said."""
    # As from a keyboard, to it alone: pytest then tells what failed, and writes its report.
    process.send_signal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=GRACE)[0] or ""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    return process.communicate()[0] or ""


def lint() -> Count:
    """Run every reader of the source; two at a time, and show what the failing ones say."""
    mypy = [PLUGINS, "tests", *(["demo"] if LAB.exists() else [])]
    checks = {
        "ansible-lint": ["ansible-lint", "--offline", "--nocolor", "-q"],
        "yamllint": ["yamllint", "--strict", "."],
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": [PYTHON, "-m", "mypy", *mypy],
        "changelog": ["antsibull-changelog", "lint"],
        "plugin documentation": ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."],
        "role documentation": [PYTHON, "tests/tools/role_docs.py"],
    }

    def check(name: str) -> tuple[int, str, float]:
        started = time.monotonic()
        code, output = run(checks[name], LIMITS["check"], capture=True)
        return code, output, time.monotonic() - started

    count = Count()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (code, output, seconds) in zip(checks, pool.map(check, checks)):
            say(f"lint: {name}: {'FAILED' if code else 'ok'} in {seconds:.0f} s")
            if code:
                say(output.rstrip())
            count += Count(failed=1) if code else Count(passed=1)
    return count


def units() -> Count:
    """Run the unit and house tests."""
    return pytest(("tests/unit", "tests/house"), LIMITS["units"])


def sanity() -> Count:
    """Run ansible-test sanity; its own closing line has the numbers."""
    code, output = run([PYTHON, "tests/tools/sanity.py"], LIMITS["sanity"], capture=True)
    say(output.rstrip())
    told = re.search(r"^sanity: (\d+) passed, (\d+) failed$", output, re.MULTILINE)
    if told is None:
        return Count(failed=1)
    count = Count(int(told.group(1)), int(told.group(2)))
    return count if not code or count.failed else count + Count(failed=1)


def molecule() -> Count:
    """Run each scenario by itself, in the order of their names."""
    count = Count()
    for scenario in sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")):
        started = time.monotonic()
        os.environ["ROLLBACK_TESTS"] = "thorough" if THOROUGH.is_set() else ""
        say(f"molecule: {scenario}")
        code, _output = run(["molecule", "test", "--scenario-name", scenario], LIMITS["scenario"])
        say(f"molecule: {scenario}: {'FAILED' if code else 'ok'} in {time.monotonic() - started:.0f} s")
        count += Count(failed=1) if code else Count(passed=1)
    return count


def tests_of(words: str) -> Count:
    """Run the integration tests, and those of AWX, that carry these marks."""
    return pytest(
        ("tests/integration", "tests/awx"),
        LIMITS["tests"],
        words if THOROUGH.is_set() else f"({words}) and not thorough",
    )


def faults(*choice: str) -> Count:
    """Run faults, a third with every kind among them; one that is not sound is told in its row's own words."""
    part = [] if THOROUGH.is_set() else ["--third"]
    code, output = run([PYTHON, "tests/faults/run_faults.py", *part, *choice], LIMITS["faults"], capture=True)
    say(output.rstrip())
    return faults_told(code, output)


def faults_told(code: int, output: str) -> Count:
    """Count what the fault tests say in their last line. Lost writes and lies fail whatever converged."""
    try:
        told = json.loads(output.rstrip().rpartition("\n")[2])
        total, converged = int(told["faults"]), int(told["converged"])
    except (ValueError, KeyError, TypeError):
        return Count(failed=1)
    count = Count(converged, total - converged)
    return count if not code or count.failed else Count(max(0, converged - 1), 1)


def pytest(folders: tuple[str, ...], limit: float, words: str = "") -> Count:
    """Run some folders of tests, those with some marks; that none runs is a failure."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary, "report.xml")
        chosen = ["-m", words] if words else []
        argv = [PYTHON, "-m", "pytest", *folders, "-q", "--durations=15", f"--junit-xml={report}", *chosen]
        code, _output = run(argv, limit)
        if not report.exists():
            return Count(failed=1)
        count = Count()
        for suite in ElementTree.parse(report).iter("testsuite"):
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            count += Count(max(0, total - failed - skipped), failed, skipped)
    return count if not code or count.failed else count + Count(failed=1)


THOROUGH = threading.Event()
BESIDE: dict[str, Callable[[], Count]] = {
    "lint": lint,
    "units": units,
    "sanity": sanity,
    "beside": partial(tests_of, "not application"),
    "faults": partial(faults, "--without", "rollback by"),
}
ON_THE_LAB: dict[str, Callable[[], Count]] = {
    "molecule": molecule,
    "integration": partial(tests_of, "application and not alone"),
    "application-faults": partial(faults, "--only", "rollback by"),
    "alone": partial(tests_of, "alone"),
}
# Of the stages beside, those that use the engine and the images that come with the reference application.
NEED_THE_ENGINE = ("beside", "faults")
LAST = "alone"


class Results:
    """What came of each stage, from both lanes."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Count, float]] = []
        self.lab_decided = threading.Event()
        self.lab_is_up = False

    def stage(self, name: str, work: Callable[[], Count]) -> None:
        """Run one stage and note what came of it; what breaks in it is a failure of that stage alone."""
        started = time.monotonic()
        say(f"\n=== {name}")
        try:
            if name in (*ON_THE_LAB, *NEED_THE_ENGINE):
                self.lab_decided.wait()
                if not self.lab_is_up:
                    say(f"{name}: the reference application did not come up")
                    self.rows.append((name, Count(failed=1), time.monotonic() - started))
                    return
            count = work()
        except Exception as error:
            say(f"{name}: {error!r}")
            count = Count(failed=1)
        self.rows.append((name, count, time.monotonic() - started))

    def beside(self, names: list[str]) -> None:
        """Run the stages that do not touch the reference application."""
        for name in names:
            _LANE.held = []
            self.stage(name, BESIDE[name])
            told, _LANE.held = "\n".join(_LANE.held), None
            say(told)

    def on_the_lab(self, names: list[str]) -> None:
        """Run the stages that work on the reference application."""
        for name in names:
            self.stage(name, ON_THE_LAB[name])


def main(words: list[str]) -> int:
    """Run the stages that were named, and tell what came of each."""
    names = [word for word in words if word != "thorough"]
    if set(names) - set(BESIDE) - set(ON_THE_LAB) or not names:
        say(__doc__ or "")
        return 2
    (THOROUGH.set if "thorough" in words else THOROUGH.clear)()
    results = Results()
    lab_is_ours = False
    lane = threading.Thread(target=results.beside, args=([name for name in names if name in BESIDE],), daemon=True)
    try:
        lane.start()
        if any(name in (*ON_THE_LAB, *NEED_THE_ENGINE) for name in names) and LAB.exists():
            lab_is_ours = run([PYTHON, str(LAB), "status"], LIMITS["lab"], capture=True)[0] != 0
            # A registry that hangs once is no reason to give up.
            results.lab_is_up = any(run([PYTHON, str(LAB), "up"], LIMITS["lab"])[0] == 0 for _try in range(2))
        results.lab_decided.set()
        results.on_the_lab([name for name in names if name in ON_THE_LAB and name != LAST])
        lane.join()
        results.on_the_lab([name for name in names if name == LAST])
    finally:
        if lab_is_ours:
            say("\n=== taking the reference application down")
            run([PYTHON, str(LAB), "down", "--everything"], LIMITS["lab"], last=True)
    say("\n=== summary")
    for name, count, seconds in results.rows:
        say(f"{name:<18} {count!s:<40} {seconds:6.0f} s")
    total = sum((count for _name, count, _seconds in results.rows), Count())
    say(str(total))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    sys.exit(main(sys.argv[1:]))
