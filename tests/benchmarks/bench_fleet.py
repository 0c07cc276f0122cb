#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the quick rollback of one, ten and fifty hosts against one `ping` task on as many.

The hosts are containers with sshd that share one engine, each with a project of its own, and this machine is the
controller as well: what the hosts work takes from what the controller works. So two numbers are told. `switch_N_s` is
a whole quick-rollback.yml of N hosts in one batch, with the containers of all of them replaced by that one engine.
`hosts_N_s` is the control path alone: the same command once more, which looks at every host, finds everything in its
place, verifies it and writes the reports. `ping_N_s` is an `ansible` command with the module ping; all have 50 forks.
`controller_mb` is the memory that the controller's processes have of their own while fifty hosts go back. The last
line is JSON with medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))

from schedgen_lab import engine
from support.fleet import ROOT, Fleet, ensure_images

SIZES = (1, 10, 50)


def memory(group: int) -> float:
    """Return the megabytes that a process group has of its own; what processes share is counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) != group:
                continue
            rollup = (folder / "smaps_rollup").read_text()
        except (OSError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def ping(fleet: Fleet, size: int) -> float:
    """Return the seconds of one ping task."""
    command = ["ansible", hosts_of(fleet, size), "-i", str(fleet.folder / "inventory.yml"), "-m", "ping", "-f", "50"]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    return time.monotonic() - started


def hosts_of(fleet: Fleet, size: int) -> str:
    """Return the pattern of the first hosts."""
    return ",".join(host.name for host in fleet.hosts[:size])


def quick(fleet: Fleet, size: int) -> tuple[float, float]:
    """Take the first hosts back; return seconds, and the controller's memory in megabytes."""
    most = 0.0
    over = threading.Event()
    started = time.monotonic()
    with fleet.playing("quick-rollback", rollback_hosts=hosts_of(fleet, size), rollback_batches=["100%"]) as running:

        def watch() -> None:
            nonlocal most
            while not over.wait(0.5):
                most = max(most, memory(running.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        screen, _nothing = running.communicate()
        took = time.monotonic() - started
        over.set()
        watcher.join()
    assert running.returncode == 0, screen
    assert {host.version() for host in fleet.hosts[:size]} == {"v1"}
    return took, most


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    engine.ensure()
    ensure_images()
    found: dict[str, list[float]] = {}
    fleet = Fleet(Path(tempfile.mkdtemp(prefix="fleet-")))
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    try:
        fleet.start(max(SIZES), own_engines=False)
        fleet.each(lambda host: host.deploy("v1"))
        done = fleet.playbook("pre-deploy-backup", rollback_backup_images="never")
        assert done.returncode == 0, done.stdout
        for number in range(chosen.rounds):
            for size in SIZES:
                seconds = ping(fleet, size)
                fleet.each(lambda host: host.deploy("v2"), fleet.hosts[:size])
                switched, megabytes = quick(fleet, size)
                took, _less = quick(fleet, size)
                found.setdefault(f"ping_{size}_s", []).append(seconds)
                found.setdefault(f"switch_{size}_s", []).append(switched)
                found.setdefault(f"hosts_{size}_s", []).append(took)
                if size == max(SIZES):
                    found.setdefault("controller_mb", []).append(megabytes)
                told = f"round {number + 1} {size:3} hosts: ping {seconds:5.1f} s, switch {switched:5.1f} s"
                print(f"{told}, control path {took:5.1f} s, controller {megabytes:6.0f} MB", flush=True)
    finally:
        fleet.stop()
    told_all: dict[str, Any] = {name: round(statistics.median(values), 2) for name, values in sorted(found.items())}
    print(json.dumps({**told_all, "rounds": chosen.rounds}))


if __name__ == "__main__":
    main()
