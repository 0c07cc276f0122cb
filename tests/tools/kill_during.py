#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command and kill it, without a chance to clean up, at a chosen moment.

    kill_during.py (--exists GLOB | --step STEP) [--host-side] [--then-step STEP] -- COMMAND …

The moment is when a file matching GLOB exists, or when the newest run's journal has begun STEP. The command's whole
process group is killed; with --host-side the module that runs on the host as well. With --then-step it waits until
the journal says that this step is done: what the host finishes by itself.
"""

from __future__ import annotations

import argparse
import glob
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_client


def reached(step: str, statuses: tuple[str, ...]) -> bool:
    """Whether the newest journal has this step in one of these statuses."""
    return any(entry["step"] == step and entry["status"] in statuses for entry in lab_client.journal())


def modules_on_the_host() -> list[int]:
    """Return the processes that run one of this collection's modules, and their pg_dump containers' clients."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (
            any(name in words for name in ("AnsiballZ_", "schedgen-rollback-dump-"))
            and int(path.parent.name) != os.getpid()
        ):
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
    runs = len(list((lab_client.STATE / "runs").glob("*")))

    def by_file() -> bool:
        return bool(glob.glob(chosen.exists))

    def by_step() -> bool:
        return len(list((lab_client.STATE / "runs").glob("*"))) > runs and reached(chosen.step, ("started",))

    come: Callable[[], bool] = by_file if chosen.exists else by_step
    process = subprocess.Popen(chosen.command, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not come():
        time.sleep(0.005)
    if process.poll() is not None:
        print(f"the command ended with exit code {process.returncode} before the moment came")
        return 1
    os.killpg(process.pid, signal.SIGKILL)
    for pid in modules_on_the_host() if chosen.host_side else ():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    print("killed")
    if chosen.then_step:
        lab_client.wait_until(
            lambda: reached(chosen.then_step, ("done", "failed")), f"step {chosen.then_step} ended", 180
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
