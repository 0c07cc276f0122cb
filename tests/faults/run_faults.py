#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Try every fault on a real server while a client writes, and tell what came of each.

    run_faults.py [--third] [--place NAME] [--only TEXT …] [--list] [--report FILE]

For each fault: a fresh state, a client that keeps a ledger, the operation as Ansible runs it, the fault at a moment
that is seen and never guessed, a look with SQL of our own, a second run, and another look. Prints a table, and as its
last line JSON. The exit code is 0 when nothing was lost, nothing lied, everything converged and was clear.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), *(str(ROOT / folder) for folder in ("tests", "demo", "collections"))]

import fault_table
import psycopg2
from fault_application import Application, Everything
from fault_table import ALL, CONTROLLER, HOST, MOMENTS, SERVER, Fault, Moment, Row, Table
from fault_targets import Migrations, Shop, Target
from support import application, postgres

IMAGES = (postgres.IMAGE, "schedgen-demo-backend-runtime:trixie", "schedgen-demo-backend-build:trixie")
STOP = threading.Event()
TARGETS: dict[str, type[Target]] = {
    "dump": Shop,
    "restore": Shop,
    "swap": Shop,
    "undo": Shop,
    "revert": Migrations,
    "rollback by revert": Application,
    "rollback by restore": Application,
    "rollback by restore, of everything": Everything,
}


def descendants(ancestor: int) -> list[int]:
    """Return the processes that a process has started, directly or through others: on this host, its modules too."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field is a name in brackets, and may have spaces in it.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


class Missed(Exception):
    """The operation did not come to the moment, or did not end."""


class Running:
    """A command of Ansible, with what it has started on the host."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        self.token = f"fault-{uuid.uuid4().hex}"
        self.patience = patience
        output, self.path = tempfile.mkstemp()
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            env={
                **application.environment(),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
                "FAULT_TOKEN": self.token,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(output)

    def all(self) -> list[int]:
        """Every process that belongs to this operation, on the controller and on the host."""
        return [pid for pid in everybody() if f"FAULT_TOKEN={self.token}".encode() in environment_of(pid)]

    def host(self) -> list[int]:
        """The module's own processes on the host, and what they have started."""
        modules = [
            pid for pid in self.all() if b"AnsiballZ_" in (words := command_of(pid)) and b"async_wrapper" not in words
        ]
        return [*modules, *(child for pid in modules for child in descendants(pid))]

    def ended(self) -> bool:
        """Whether the command has come to its end."""
        return self.process.poll() is not None

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return exit code and the failure's message."""
        end = time.monotonic() + self.patience
        while not self.ended():
            if STOP.is_set() or time.monotonic() > end:
                self.kill(self.all())
                raise Missed(f"{late(self.patience)}: {self.said()[-600:]}")
            time.sleep(0.02)
        said = self.said()
        results = [found.end() for found in re.finditer(r"^\S+ \| [^{\n]*", said, re.MULTILINE)]
        try:
            result, _end = json.JSONDecoder().raw_decode(said, results[-1] if results else 0)
            return self.process.returncode, str(result.get("msg", ""))
        except ValueError:
            return self.process.returncode, said

    def said(self) -> str:
        """Return what was printed so far."""
        return Path(self.path).read_text(errors="replace")

    def kill(self, pids: Sequence[int]) -> None:
        """End processes of this operation, without a chance to clean up."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_controller(self) -> None:
        """End the command and its group; what runs under async has a group of its own."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for_host(self) -> None:
        """Wait until nothing of this operation runs any more."""
        end = time.monotonic() + self.patience
        while self.all():
            if STOP.is_set() or time.monotonic() > end:
                self.kill(self.all())
                raise Missed(f"the host's side: {late(self.patience)}")
            time.sleep(0.05)


def late(seconds: float) -> str:
    """Say why nobody waits any longer."""
    return "the tests were ended early" if STOP.is_set() else f"it did not come to its end in {seconds:g} s"


def everybody() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Watch:
    """Sees moments, and holds an operation there with real locks."""

    def __init__(self, target: Target, run: str) -> None:
        self.target, self.run = target, run
        self.holder: Any = None
        self.eyes = target.server.connect("postgres")

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()
        self.eyes.close()

    def hold(self, moment: Moment) -> None:
        """Take the moment's lock and keep it."""
        self.holder = self.target.server.connect(self.target.live if moment.inside else "postgres")
        self.holder.autocommit = False
        self.holder.cursor().execute(moment.hold)

    def release(self) -> None:
        """Let the operation go on."""
        if self.holder is not None:
            with contextlib.suppress(psycopg2.Error):
                self.holder.close()
            self.holder = None

    def wait(self, moment: Moment, running: Running) -> None:
        """Come to a moment."""
        if moment.after:
            self.until(MOMENTS[moment.after], running)
            self.hold(moment)
        self.until(moment, running)
        if moment.commits:
            self.stop_commits()
            self.release()
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'"
            self.until(Moment(activity=waits), running)

    def until(self, moment: Moment, running: Running) -> None:
        """Wait until a moment is seen."""
        end = time.monotonic() + self.target.patience
        while not self.seen(moment):
            if STOP.is_set() or running.ended() or time.monotonic() > end:
                raise Missed(f"the moment {moment} was not seen, {late(self.target.patience)}: {running.said()[-600:]}")
            time.sleep(0.01)

    def seen(self, moment: Moment) -> bool:
        """Whether all that makes a moment is there now."""
        if moment.journal and not any(
            (entry["step"], entry["status"]) == moment.journal for entry in self.target.journal(self.run)
        ):
            return False
        if moment.files and not any(self.target.state.glob(moment.files)):
            return False
        if moment.container and not postgres.docker("ps", "-q", f"--filter=name={moment.container}"):
            return False
        if moment.activity:
            with self.eyes.cursor() as cursor:
                cursor.execute(moment.activity)
                return cursor.fetchone() is not None
        return True

    def stop_commits(self) -> None:
        """Have the server wait, at every commit, for a stand-by that is not there."""
        with self.eyes.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            cursor.execute("SELECT pg_reload_conf()")
        server = self.target.server

        def probe() -> None:
            # It waits itself in the end, until the commits go on.
            with contextlib.suppress(psycopg2.Error):
                connection = server.connect("postgres")
                for _attempt in range(1000):
                    connection.cursor().execute("INSERT INTO probe VALUES (1)")
                    time.sleep(0.01)

        prober = threading.Thread(target=probe, daemon=True)
        prober.start()
        waits = Moment(activity="SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%probe%'")
        application.wait_until(lambda: self.seen(waits), "commits wait", 30)


def kill_server(target: Target) -> None:
    """End the server with all its sessions; its restart policy brings it back, as a service's does."""
    pid = int(postgres.docker("inspect", "--format={{.State.Pid}}", target.server.name))
    os.kill(pid, signal.SIGKILL)
    # Its container's sessions end before it does: nothing goes on when it is gone.
    application.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the server is gone", 20)


def kill_helpers(target: Target) -> None:
    """End the one-off containers of the operation."""
    label = f"--filter=label=schedgen.rollback.application={target.application}"
    for name in postgres.docker("ps", "-q", label).split():
        postgres.docker("kill", name, check=False)


def inflict(fault: Fault, target: Target, running: Running, arguments: dict[str, Any]) -> list[str]:
    """Do it. Return what else turned out wrong."""
    if fault.kind == CONTROLLER:
        running.kill_controller()
    elif fault.kind == HOST:
        found = running.host()
        if not found:
            raise Missed("there is no process of the operation on the host")
        running.kill(found)
    elif fault.kind == SERVER:
        kill_server(target)
    elif fault.kind == ALL:
        running.kill(running.all())
        kill_server(target)
        kill_helpers(target)
        running.process.wait()
    elif fault.trouble in ("disk fills", "small state folder"):
        target.fill_disk("data" if fault.trouble == "disk fills" else "state")
    elif fault.trouble == "state folder read-only":
        target.no_more_writing()
    elif fault.kind == "second run":
        rc, message = Running(target.command({**arguments, "run": ""}, detached=False), target.patience).finish()
        return [*fault_table.unclear(message, fault.names), *(["two ran at once"] if rc == 0 else [])]
    return []


def ended(fault: Fault, running: Running) -> tuple[int | None, str]:
    """Wait for the first run's end; nobody hears what a killed one has to say."""
    if fault.kind == CONTROLLER:
        running.wait_for_host()
    if fault.kind in (CONTROLLER, ALL):
        return None, ""
    rc, message = running.finish()
    return rc, "" if fault.kind == HOST else message


def strike(target: Target, fault: Fault) -> Row:
    """Try one fault."""
    began = time.monotonic()
    arguments = target.fresh(fault)
    moment = MOMENTS.get(fault.moment)
    try:
        with target.writer() as writer:
            run = target.begin_run()
            with Watch(target, run) as watch:
                if moment and moment.hold and not moment.after:
                    watch.hold(moment)
                # Under async, as the roles have it, where that decides who lives: it takes its time.
                detached = fault.kind in (CONTROLLER, HOST, ALL)
                running = Running(target.command({**arguments, "run": run}, detached=detached), target.patience)
                if moment:
                    watch.wait(moment, running)
                wrong = inflict(fault, target, running, arguments)
                watch.release()
                if moment and moment.commits:
                    target.server = target.server.wait(database="postgres")
                    target.settle()
            rc, message = ended(fault, running)
            if fault.kind in ("disk full", "lock held"):
                # Before the look: it would run into the same.
                target.fix()
            first = target.look(fault, rc, message)
            target.fix()
            if rc is not None:
                # The playbook lives, and ends its run.
                target.end_run(run)
            # What was done is asked for once more by the same run: an undo in another run would be another wish.
            again = {**arguments, **target.next_arguments, "run": run if fault.ending == "done" else target.begin_run()}
            rc, message = Running(target.command(again, detached=False), target.patience).finish()
            writer.until(5, 60)
            second = target.look(fault, rc, message)
        lost = target.lost(writer)
        seconds = time.monotonic() - began
        row = fault_table.judge(fault, first, second, lost, writes=len(writer.acknowledged), seconds=seconds)
        return Row(**{**vars(row), "wrong": (*wrong, *row.wrong)})
    finally:
        target.finish()


def failed(fault: Fault, error: BaseException) -> Row:
    """Return the row of a fault that could not be tried to its end."""
    told = str(error) if isinstance(error, Missed) else "".join(traceback.format_exception(error))
    return Row(fault, 0, (), (f"it could not be tried: {told}",), False)


def work(kind: type[Target], faults: Sequence[Fault], home: Path, table: Table) -> list[Row]:
    """Try faults on one target, one after the other."""
    rows: list[Row] = []
    target = kind(home)
    try:
        target.prepare()
        for fault in faults:
            if STOP.is_set():
                break
            try:
                row = strike(target, fault)
            except Exception as error:
                row = failed(fault, error)
            rows.append(row)
            print(table.line(row), flush=True)
    finally:
        target.close()
    return rows


def stop(_number: int, _frame: FrameType | None) -> None:
    """End early, and clean up."""
    STOP.set()


def main() -> int:
    """Try the faults that were asked for."""
    places = {target.place for target in TARGETS.values()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--third", action="store_true", help="about a third of them, with every kind")
    parser.add_argument("--place", choices=sorted(places), help="those that are tried in one place")
    parser.add_argument("--only", nargs="+", default=[], help="those whose name has one of these words")
    parser.add_argument("--list", action="store_true", help="name them and end")
    parser.add_argument("--report", type=Path, help="a file for what came of each, as JSON")
    chosen = parser.parse_args()
    faults = list(fault_table.third(fault_table.FAULTS) if chosen.third else fault_table.FAULTS)
    if chosen.only:
        faults = [fault for fault in faults if any(word in fault.name for word in chosen.only)]
    if chosen.place:
        faults = [fault for fault in faults if TARGETS[fault.operation].place == chosen.place]
    if chosen.list:
        print("\n".join(fault.name for fault in faults))
        return 0
    if subprocess.run(["docker", "image", "inspect", *IMAGES], capture_output=True).returncode:
        application.lab("up")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    table = Table(faults)
    print(table.head(), flush=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, ThreadPoolExecutor() as pool:
        targets = list(dict.fromkeys(TARGETS[fault.operation] for fault in faults))

        def work_at(place: str) -> list[Row]:
            found = []
            for target in (target for target in targets if target.place == place):
                mine = [fault for fault in faults if TARGETS[fault.operation] is target]
                found += work(target, mine, Path(folder, target.__name__), table)
            return found

        # Targets of one place are used one after the other.
        rows = [row for found in pool.map(work_at, sorted({target.place for target in targets})) for row in found]
    if chosen.report:
        chosen.report.write_text(json.dumps([fault_table.reported(row) for row in rows]))
    print(fault_table.summary(rows))
    return 0 if rows and len(rows) == len(faults) and all(row.sound for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
