# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run of the tests came to, kept beside that of the run before, and shown with what changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import STAGES, Count, Outcome

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "tests"
RESULTS = FOLDER / "results"
LAST, BEFORE = FOLDER / "last.json", FOLDER / "before.json"
# Beside the tools, so that both go together: the tree that was seen green.
GREEN = ROOT / ".venv" / "last-green"
SLOWEST = 40


@dataclass(frozen=True)
class Run:
    """What is kept of a run: seconds of the whole, of each job and of each test, and the processors' busy share."""

    seconds: float = 0.0
    busy: float = 0.0
    jobs: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    tests: Mapping[str, float] = field(default_factory=dict)


def read(path: Path) -> Run:
    """Return a run that was kept; an empty one where there is none, or none that can be read."""
    try:
        return Run(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return Run()


def run_of(outcomes: Sequence[Outcome], seconds: float, busy: float) -> Run:
    """Return what is kept of a run."""
    stages: dict[str, float] = {}
    for outcome in outcomes:
        stages[outcome.job.stage] = stages.get(outcome.job.stage, 0.0) + outcome.seconds
    return Run(
        round(seconds, 1),
        round(busy, 3),
        {outcome.job.name: round(outcome.seconds, 1) for outcome in outcomes},
        {stage: round(taken, 1) for stage, taken in stages.items()},
        {test.name: round(test.seconds, 2) for outcome in outcomes for test in outcome.tried if test.seconds >= 1},
    )


def keep(run: Run) -> None:
    """Keep a run of everything; the one before it is kept too."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if LAST.exists():
        LAST.replace(BEFORE)
    LAST.write_text(json.dumps(vars(run), indent=1, default=dict))


def known_seconds() -> dict[str, float]:
    """Return how long each job took in the last run that was kept."""
    return dict(read(LAST).jobs)


class Processors:
    """How much of the processors' time was used, from now on."""

    def __init__(self) -> None:
        self._begin = self._now()

    @staticmethod
    def _now() -> tuple[int, int]:
        """Return ticks that were used, and all ticks, of all processors since the machine started."""
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers) - numbers[3] - numbers[4], sum(numbers)

    def busy(self) -> float:
        """Return the share that was used, between 0 and 1."""
        used, whole = (now - then for now, then in zip(self._now(), self._begin))
        return used / whole if whole else 0.0


# -- shown at the end --------------------------------------------------------------------------------------------------


def summary(outcomes: Sequence[Outcome], run: Run, before: Run) -> list[str]:
    """Return the lines at the end: failures, the slowest tests, each stage, and what all of it adds up to."""
    lines = [*failures(outcomes), *slowest(run, before)]
    lines += ["", f"{'stage':<14}{'':<34}{'jobs, s':>9}{'last run':>10}"]
    for stage in STAGES:
        mine = [outcome for outcome in outcomes if outcome.job.stage == stage]
        if mine:
            count = sum((outcome.count for outcome in mine), Count())
            lines.append(f"{stage:<14}{count!s:<34}{run.stages[stage]:>9.0f}{_seconds(before.stages.get(stage)):>10}")
    lines.append(f"{'all, by clock':<48}{run.seconds:>9.0f}{_seconds(before.seconds or None):>10}")
    told = f"{before.busy:.0%}" if before.busy else "-"
    lines.append(f"{'processors busy':<48}{f'{run.busy:.0%}':>9}{told:>10}")
    return lines


def _seconds(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"


def slowest(run: Run, before: Run) -> list[str]:
    """Return the tests that took longest, in seconds, with what they took in the run before."""
    rows = sorted(run.tests.items(), key=lambda row: -row[1])[:SLOWEST]
    if not rows:
        return []
    lines = ["", f"{'seconds':>8}{'last run':>10}  the {len(rows)} slowest tests"]
    return [*lines, *(f"{taken:>8.1f}{_seconds(before.tests.get(name)):>10}  {name}" for name, taken in rows)]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Return every failure, shortly, with the command that runs that test alone."""
    lines = []
    for outcome in outcomes:
        for test in outcome.tried:
            if test.failure:
                lines += ["", f"FAILED {test.name}", *(f"  {line}" for line in test.failure.splitlines())]
                lines.append(f"  again, alone: make only TEST='{test.name}'")
    return ["", "=== failures", *lines] if lines else []


# -- the tree that was seen green --------------------------------------------------------------------------------------


def git(*words: str) -> str:
    """Ask git about this repository; empty where it gives no answer."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def tree() -> str:
    """Return the hash of the tree that is checked out; empty where something is changed and not committed."""
    return "" if git("status", "--porcelain") else git("rev-parse", "HEAD^{tree}")


def tested() -> tuple[bool, str]:
    """Tell whether what is committed now was seen green by `make test`."""
    seen: Any = GREEN.read_text().strip() if GREEN.exists() else ""
    now = git("rev-parse", "HEAD^{tree}")
    if not seen:
        return False, "make test was never seen green here"
    if seen != now:
        return False, f"make test was seen green on tree {seen[:12]}; committed now is {now[:12]}"
    changed = " (there are changes that are not committed)" if git("status", "--porcelain") else ""
    return True, f"make test was seen green on what is committed now, tree {now[:12]}{changed}"
