#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run stages of the tests in order, go on after a failure, and end with one line that counts everything.

    stages.py STAGE …          lint  units  sanity  molecule  integration  faults

The last three work on the reference application. It is brought up once for all of them, and every trace of it is
removed again if it was not there before.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "demo" / "lab.py"
PYTHON = sys.executable
PLUGINS = "collections/ansible_collections/schedgen/rollback/plugins"

# The three stages that need the reference application.
ON_THE_LAB = ("molecule", "integration", "faults")
LIMITS = {"check": 300, "units": 300, "sanity": 600, "scenario": 1500, "integration": 3000, "faults": 1200, "lab": 900}


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


def end_all(number: int, _frame: FrameType | None) -> None:
    """End what runs, and then this; the reference application is still taken down."""
    for group in list(_LIVING):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
    sys.exit(128 + number)


def say(text: str) -> None:
    """Print at once: the output of commands follows."""
    print(text, flush=True)


def run(argv: list[str], limit: float, *, capture: bool = False) -> tuple[int, str]:
    """Run a command in its own process group, so that nothing of it outlives the limit."""
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        text=True,
        start_new_session=True,
    )
    _LIVING.add(process.pid)
    try:
        output, _nothing = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # As from a keyboard: pytest then still tells what failed and writes its report.
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, _nothing = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _nothing = process.communicate()
        message = f"stopped: it took longer than {limit:.0f} s"
        if not capture:
            say(message)
        return 124, f"{output or ''}\n{message}"
    finally:
        _LIVING.discard(process.pid)
    return process.returncode, output or ""


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
    return pytest("units", "tests/unit")


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
        say(f"molecule: {scenario}")
        code, _output = run(["molecule", "test", "--scenario-name", scenario], LIMITS["scenario"])
        say(f"molecule: {scenario}: {'FAILED' if code else 'ok'} in {time.monotonic() - started:.0f} s")
        count += Count(failed=1) if code else Count(passed=1)
    return count


def integration() -> Count:
    """Run the integration tests."""
    return pytest("integration", "tests/integration")


def faults() -> Count:
    """Run a third of the faults, every kind among them; one that is not sound is told in its row's own words."""
    code, output = run([PYTHON, "tests/faults/run_faults.py", "--third"], LIMITS["faults"], capture=True)
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


def pytest(stage: str, folder: str) -> Count:
    """Run one folder of tests; a folder with test files in which none runs is a failure."""
    if not list((ROOT / folder).glob("**/test_*.py")):
        say(f"{stage}: no tests in {folder}")
        return Count()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary, "report.xml")
        code, _output = run(
            [PYTHON, "-m", "pytest", folder, "-q", "--durations=20", f"--junit-xml={report}"], LIMITS[stage]
        )
        if not report.exists():
            return Count(failed=1)
        count = Count()
        for suite in ElementTree.parse(report).iter("testsuite"):
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            count += Count(max(0, total - failed - skipped), failed, skipped)
    return count if not code or count.failed else count + Count(failed=1)


STAGES: dict[str, Callable[[], Count]] = {
    "lint": lint,
    "units": units,
    "sanity": sanity,
    "molecule": molecule,
    "integration": integration,
    "faults": faults,
}


def main(names: list[str]) -> int:
    """Run the stages that were named, and tell what came of each."""
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        say(__doc__ or "")
        return 2
    results: list[tuple[str, Count, float]] = []
    lab_is_up = lab_is_ours = False
    try:
        for name in names:
            started = time.monotonic()
            say(f"\n=== {name}")
            if name in ON_THE_LAB and not lab_is_up and LAB.exists():
                lab_is_ours = run([PYTHON, str(LAB), "status"], LIMITS["lab"], capture=True)[0] != 0
                lab_is_up = run([PYTHON, str(LAB), "up"], LIMITS["lab"])[0] == 0
                if not lab_is_up:
                    say(f"{name}: the reference application did not come up")
                    results.append((name, Count(failed=1), time.monotonic() - started))
                    continue
            results.append((name, STAGES[name](), time.monotonic() - started))
    finally:
        if lab_is_ours:
            say("\n=== taking the reference application down")
            run([PYTHON, str(LAB), "down", "--everything"], LIMITS["lab"])
    say("\n=== summary")
    for name, count, seconds in results:
        say(f"{name:<12} {count!s:<40} {seconds:6.0f} s")
    total = sum((count for _name, count, _seconds in results), Count())
    say(str(total))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    sys.exit(main(sys.argv[1:]))
