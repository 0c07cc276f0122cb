# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lanes in which jobs run side by side, each on a machine of its own, the longest job first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import jobs
from jobs import Job, Outcome
from machines import LAB, ROOT, Machine, Machines, NoMachine

# What a command that is ended has to tell, and to clean up (seconds).
GRACE = 45.0
PAYLOADS = Path(__file__).resolve().parent / "payloads"
KEEP = (sys.executable, "tests/support/application_keep.py")
# What needs no machine leaves the processors to the making of the machines, for which all others wait.
# A session is weighed as a whole where the kernel groups by it.
BESIDE = ("sh", "-c", '{ echo 10 > /proc/self/autogroup; } 2>/dev/null || true; exec nice --adjustment=10 "$@"', "sh")
# Lanes beyond the processors fill the time in which all jobs wait for something.
MORE_THAN_PROCESSORS = 1


class Commands:
    """Runs commands in process groups of their own, so that none outlives its time or an interrupt."""

    def __init__(self, whole: float) -> None:
        self.end = time.monotonic() + whole
        self.over = threading.Event()
        self._living: set[int] = set()

    def is_over(self) -> bool:
        """Whether nothing is begun any more."""
        return self.over.is_set() or time.monotonic() >= self.end

    def run(self, argv: Sequence[str], limit: float, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a command for ``limit`` seconds at most; return exit code and output, 124 where it was ended."""
        if self.is_over():
            return 124, "not begun: the time for all tests is over"
        limit = min(limit, self.end - time.monotonic())
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._living.add(process.pid)
        if self.over.is_set():
            # It was begun while all others were ended.
            self._interrupt(process.pid)
        try:
            output, _nothing = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return 124, f"{self._end(process)}\nstopped: it took longer than {limit:.0f} s"
        finally:
            self._living.discard(process.pid)
        return process.returncode, output or ""

    def _end(self, process: subprocess.Popen[str]) -> str:
        """End a command with all it started; return what it still said."""
        self._interrupt(process.pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=GRACE)[0] or ""
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            # What left the group may hold the pipe for ever.
            return process.communicate(timeout=GRACE)[0] or ""
        return ""

    @staticmethod
    def _interrupt(pid: int) -> None:
        """Interrupt a command as from a keyboard, it alone: pytest then cleans up, and tells what failed."""
        with suppress(ProcessLookupError):
            os.kill(command_itself(pid), signal.SIGINT)

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        self.over.set()
        for pid in list(self._living):
            self._interrupt(pid)
        later = threading.Timer(GRACE, self._terminate)
        later.daemon = True
        later.start()

    def _terminate(self) -> None:
        for group in list(self._living):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


def command_itself(pid: int) -> int:
    """Return the process of a command that may have been started by `nsenter`, which has it as its child."""
    with suppress(OSError, ValueError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "nsenter":
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


class Queue:
    """The jobs that are left. A lane takes the longest that suits it."""

    def __init__(self, waiting: Sequence[Job], seconds: Mapping[str, float]) -> None:
        self._waiting = sorted(waiting, key=lambda job: -seconds_of(job, seconds))
        self._lock = threading.Lock()
        self._application_taken = False

    def take(self, *, machines_ready: bool, application_up: bool, one_application: bool) -> Job | None:
        """Return a job that is begun now; None when there is none left, or none for this lane.

        While the machines are made, what needs none goes first. Where the application runs already, what works on it
        goes first. With ``one_application`` only one such job runs at a time, until :meth:`free_application`, and one
        runs whenever there is any: all together they take the longest.
        """
        with self._lock:
            allowed = [
                job for job in self._waiting if not (one_application and job.application and self._application_taken)
            ]
            # Where nothing else is left, a lane waits for the machines.
            ready = [job for job in allowed if machines_ready or not job.machine] or allowed
            liked = [job for job in ready if job.application == (one_application or application_up)] or ready
            if not liked:
                return None
            job = liked[0]
            self._waiting.remove(job)
            if one_application and job.application:
                self._application_taken = True
            return job

    def free_application(self) -> None:
        """Let another job have the one application."""
        self._application_taken = False

    def __len__(self) -> int:
        return len(self._waiting)


def seconds_of(job: Job, seconds: Mapping[str, float]) -> float:
    """Return how long a job is expected to take."""
    return seconds.get(job.name, jobs.SECONDS.get(job.name, jobs.USUAL))


class Lanes:
    """Runs jobs in lanes and gives out what came of each."""

    def __init__(
        self,
        queue: Queue,
        commands: Commands,
        results: Path,
        say: Callable[[str], None],
        machines: Machines | None,
        limit: float = jobs.LIMIT,
    ) -> None:
        self.queue, self.commands, self.results, self.say = queue, commands, results, say
        self.machines, self.limit = machines, limit
        self.outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Run all jobs; return what came of them."""
        processors = os.cpu_count() or 1
        wanted = int(os.environ.get("ROLLBACK_TESTS_LANES", processors + MORE_THAN_PROCESSORS))
        lanes = [
            threading.Thread(target=self._lane, args=(number,), daemon=True)
            for number in range(1, 1 + min(wanted if self.machines else 2, max(1, len(self.queue))))
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        return self.outcomes

    def _lane(self, number: int) -> None:
        machine: Machine | None = None
        application_up = False
        while not self.commands.is_over():
            job = self.queue.take(
                machines_ready=self.machines is None or self.machines.ready,
                application_up=application_up,
                one_application=self.machines is None,
            )
            if job is None:
                if not len(self.queue) or self.machines is not None:
                    return
                # Another lane has the one application.
                time.sleep(0.5)
                continue
            try:
                if job.machine and self.machines is not None and machine is None:
                    machine = self.machines.one(number, self.commands.is_over)
                if job.machine and application_up and not job.application:
                    # Its health checks would take time from others.
                    self.commands.run(self._there([sys.executable, str(LAB), "down"], machine), 120)
                    application_up = False
                outcome = self._work(job, machine)
                application_up = application_up or job.application
            except NoMachine as error:
                outcome = jobs.outcome(job, 1, f"there is no machine for it: {error}", 0, self.results / "none")
            except Exception:
                # Whatever it is, the job has failed, and the lane goes on.
                outcome = jobs.outcome(job, 1, traceback.format_exc(), 0, self.results / "none")
            self.outcomes.append(outcome)
            if self.machines is None and job.application:
                self.queue.free_application()
            if machine is not None and self.machines is not None and "stopped: it took longer" in outcome.said:
                # What it has left running there would be in the way of the next one.
                self.machines.remove(machine)
                machine, application_up = None, False

    def _there(self, argv: Sequence[str], machine: Machine | None) -> list[str]:
        return machine.command(argv) if machine is not None else list(argv)

    def _work(self, job: Job, machine: Machine | None) -> Outcome:
        path = self.results / job.file
        report = f"{path}.json" if job.reads == "faults" else f"{path}.xml"
        argv = [word.replace(jobs.RESULTS, report) for word in job.argv]
        environment = {name: word.replace(jobs.RESULTS, report) for name, word in job.environment.items()}
        environment["ROLLBACK_TESTS_RESULTS"] = f"{path}.cases"
        if job.machine and self.machines is not None:
            environment.update(PYTHONPATH=str(PAYLOADS), ROLLBACK_TESTS_PAYLOADS=str(self.machines.payloads))
        began = time.monotonic()
        self.say(f"{job.name} …")
        command = self._there(argv, machine) if job.machine else [*BESIDE, *argv]
        code, said = self.commands.run(command, self.limit, environment)
        Path(f"{path}.log").write_text(said)
        outcome = jobs.outcome(job, code, said, time.monotonic() - began, path)
        told = f"{job.name}: {outcome.count} in {outcome.seconds:.0f} s"
        self.say(told if not outcome.count.failed else f"{told}\n{jobs.last_lines(said, 150)}")
        return outcome
