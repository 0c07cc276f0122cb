#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run stages of the tests side by side, go on after a failure, and end with what failed, what took long and the sum.

    stages.py STAGE … [thorough]     lint units sanity integration awx molecule faults, or `all` of them
    stages.py only TEST              one file, test, scenario, fault or check, as a failure names it
    stages.py changed [COMMIT]       what a change since then can touch; since the tree that was last seen green
    stages.py tested                 whether what is committed now was seen green

What needs an engine runs on machines of the tests' own (machines.py), several at a time, the longest job first. Where
there can be none, it runs on this machine's engine, and what works on the reference application one after the other.
`thorough` takes in the tests and faults that `make test` leaves out.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import changed
import jobs
import record
from jobs import STAGES, Count, Job
from lanes import KEEP, Commands, Lanes, Queue
from machines import LAB, Machines, why_not

# In seconds. The whole is ended with a summary before somebody else ends it without one.
WHOLE = 5000.0
WHOLE_THOROUGH = 6 * 3600.0
ENGINE = (sys.executable, str(LAB))
_PRINTING = threading.Lock()


def say(text: str) -> None:
    """Print at once, with the time of day: jobs in several lanes tell in between each other."""
    with _PRINTING:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Run:
    """One run of some jobs."""

    def __init__(self, chosen: Sequence[Job], *, thorough: bool) -> None:
        self.jobs = chosen
        self.thorough = thorough
        self.commands = Commands(WHOLE_THOROUGH if thorough else WHOLE)
        self.machines: Machines | None = None
        self.engine_is_ours = False

    def go(self) -> tuple[list[jobs.Outcome], record.Run]:
        """Run the jobs; whatever happens, what was started is stopped again."""
        began, processors = time.monotonic(), record.Processors()
        record.RESULTS.mkdir(parents=True, exist_ok=True)
        # Those of other jobs may be of a run that goes on beside this one.
        for left in (path for job in self.jobs for path in record.RESULTS.glob(f"{job.file}.*")):
            left.unlink()
        queue = Queue(self.jobs, record.known_seconds())
        try:
            if any(job.machine for job in self.jobs):
                self._have_an_engine()
            limit = jobs.LIMIT_THOROUGH if self.thorough else jobs.LIMIT
            outcomes = Lanes(queue, self.commands, record.RESULTS, say, self.machines, limit).run()
        finally:
            self._clean_up()
        return outcomes, record.run_of(outcomes, time.monotonic() - began, processors.busy())

    def _have_an_engine(self) -> None:
        """Begin to make machines; or have this machine's own engine up, where it can have none."""
        reason = why_not()
        if not reason:
            # All tests together need more room than there is in memory.
            self.machines = Machines(say, in_memory=not self.thorough)
            threading.Thread(target=self.machines.prepare, args=(KEEP,), daemon=True).start()
            return
        say(f"no machines of the tests' own: {reason}; using this machine's engine")
        self.engine_is_ours = self.commands.run([*ENGINE, "status"], 60)[0] != 0
        for _attempt in range(2):
            # A registry that hangs once is no reason to give up.
            code, said = self.commands.run([*ENGINE, "up"], 900)
            say(said.strip())
            if code == 0:
                return

    def _clean_up(self) -> None:
        if self.machines is not None:
            self.machines.stop()
        if self.engine_is_ours:
            say("taking the reference application down")
            Commands(600).run([*ENGINE, "down", "--everything"], 600)

    def end(self, number: int, _frame: FrameType | None) -> None:
        """End early: no job is begun any more, and those that run are ended."""
        say(f"ended by signal {number}")
        self.commands.stop()


def main(words: list[str]) -> int:
    """Run what was asked for, and tell what came of it."""
    command, *rest = words or [""]
    if command == "tested":
        green, told = record.tested()
        print(told)
        return 0 if green else 1
    thorough = jobs.THOROUGH in words
    names = [word for word in words if word != jobs.THOROUGH]
    try:
        if command == "only":
            chosen = [jobs.only(name) for name in rest]
        elif command == "changed":
            chosen, told_of = changed.chosen(rest[0] if rest else "")
            print("\n".join(told_of), flush=True)
        else:
            wanted = STAGES if names == ["all"] else names
            chosen = [job for stage in wanted for job in jobs.jobs_of(stage, thorough=thorough)]
    except ValueError as error:
        print(f"{error}\n\n{__doc__}")
        return 2
    if not chosen:
        print("nothing to run")
        return 0 if command == "changed" else 2
    whole = names == ["all"]
    tree = record.tree() if whole else ""
    run = Run(chosen, thorough=thorough)
    before_it = {number: signal.signal(number, run.end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        outcomes, made = run.go()
    finally:
        for number, handler in before_it.items():
            signal.signal(number, handler)
    before = record.read(record.LAST)
    print("\n".join(record.summary(outcomes, made, before)))
    begun = {outcome.job.name for outcome in outcomes}
    if left := [job.name for job in chosen if job.name not in begun]:
        print(f"NOT BEGUN: {', '.join(left)}")
    total = sum((outcome.count for outcome in outcomes), Count())
    green = bool(total.passed) and not total.failed and not left
    if whole and not thorough and not left:
        record.keep(made)
    if green and tree and tree == record.tree():
        record.GREEN.write_text(f"{tree}\n")
    print(total)
    return 0 if green else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
