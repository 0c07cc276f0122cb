#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command and kill it, without a chance to clean up, at a chosen moment.

    application_kill.py (--exists GLOB | --step STEP) [--host-side] [--then-step STEP] -- COMMAND …

The moment is when a file matching GLOB exists, or when the newest run's journal has begun STEP. The command's whole
process group is killed; with --host-side all that it started as well, the module on the host among them. With
--then-step it waits until the journal says that this step is done: what the host finishes by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application

# In the environment of the command and of everything that it starts.
MARK = "ROLLBACK_TEST_KILL"


def reached(step: str, statuses: tuple[str, ...]) -> bool:
    """Whether the newest journal has this step in one of these statuses."""
    return any(entry["step"] == step and entry["status"] in statuses for entry in application.journal())


def marked(mark: str) -> list[int]:
    """Return the processes that inherited this mark: modules too, also those that async has made nobody's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def main() -> int:
    """Run, wait for the moment, kill; exit code 0 when the command was killed at that moment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    moment = parser.add_mutually_exclusive_group(required=True)
    moment.add_argument("--exists")
    moment.add_argument("--step")
    parser.add_argument("--host-side", action="store_true")
    parser.add_argument("--then-step")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    runs = len(list((application.STATE / "runs").glob("*")))

    def by_file() -> bool:
        return bool(glob.glob(chosen.exists))

    def by_step() -> bool:
        return len(list((application.STATE / "runs").glob("*"))) > runs and reached(chosen.step, ("started",))

    come: Callable[[], bool] = by_file if chosen.exists else by_step
    mark = secrets.token_hex(8)
    environment = {**os.environ, MARK: mark}
    process = subprocess.Popen(chosen.command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)
    while process.poll() is None and not come():
        time.sleep(0.005)
    if process.poll() is not None:
        print(f"the command ended with exit code {process.returncode} before the moment came")
        return 1
    hosts = marked(mark) if chosen.host_side else []
    os.killpg(process.pid, signal.SIGKILL)
    for pid in hosts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    print("killed")
    if chosen.then_step:
        application.wait_until(
            lambda: reached(chosen.then_step, ("done", "failed")), f"step {chosen.then_step} ended", 180
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
