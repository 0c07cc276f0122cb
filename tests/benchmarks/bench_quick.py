#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the quick rollback against a plain `docker compose up -d` (the floor) and against the manual guide.

Every method goes from v1.1 back to v1 on the reference application, in interleaved rounds: once without load, for the
time, and once under load, for the requests that fail. Both releases are good, so every failed request is the method's
own. Seconds run from the command to the moment when the front door answers as v1 and every container is healthy, seen
by an observer that belongs to no method. The last line is JSON with the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application

FRONT_DOOR = "http://127.0.0.1:8080"


def compose(*arguments: str) -> None:
    """Run docker compose as a person does, in the project's folder."""
    subprocess.run(["docker", "compose", *arguments], cwd=application.PROJECT, check=True, capture_output=True)


def checkout() -> None:
    """Check out the old release."""
    subprocess.run(["git", "checkout", "--quiet", "v1"], cwd=application.PROJECT, check=True)


def floor() -> None:
    """Go back to the old tag and nothing else."""
    checkout()
    compose("up", "--detach")


def guide() -> None:
    """Go back as the guide says: stop everything, check out, rebuild, start."""
    compose("stop")
    checkout()
    compose("build")
    compose("up", "--detach")


def recreate() -> None:
    """Run the playbook."""
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen


def start_first() -> None:
    """Run the playbook with the services that may be replaced without a gap."""
    done = application.playbook("quick-rollback", rollback_start_first_services=["backend", "frontend"])
    assert done.rc == 0, done.screen


def answers_as_v1() -> bool:
    """Whether the front door answers as v1 and every container is healthy."""
    try:
        with urllib.request.urlopen(f"{FRONT_DOOR}/version", timeout=2) as answer:
            if json.load(answer)["version"] != "v1":
                return False
        with urllib.request.urlopen(f"{FRONT_DOOR}/api/jobs?limit=1", timeout=2):
            pass
    except (OSError, ValueError, KeyError):
        return False
    services = {
        application.service_of(container): container["Config"]["Image"] for container in application.containers()
    }
    return (
        all(services.get(name, "").endswith(":v1") for name in application.CODE_SERVICES)
        and not application.unhealthy()
    )


def seconds_to_healthy(method: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds from the method's start to a healthy v1, and to the method's own end."""
    problem: list[BaseException] = []

    def work() -> None:
        try:
            method()
        except BaseException as error:
            problem.append(error)

    worker = threading.Thread(target=work)
    started = time.monotonic()
    worker.start()
    while not answers_as_v1() and not problem:
        time.sleep(0.1)
    healthy = time.monotonic() - started
    worker.join()
    if problem:
        raise problem[0]
    return healthy, time.monotonic() - started


def deploy_the_next_release() -> None:
    """Have v1.1 running and healthy."""
    application.lab("deploy", "v1.1")
    application.wait_until(lambda: not application.unhealthy(), "v1.1 is healthy")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=200, help="requests a second (default: %(default)s)")
    chosen = parser.parse_args()
    methods = {"floor": floor, "recreate": recreate, "start_first": start_first, "guide": guide}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    ends: dict[str, list[float]] = {name: [] for name in methods}
    failed: dict[str, list[int]] = {name: [] for name in methods}
    application.lab("up")
    application.lab("reset", "v1")
    assert application.playbook("pre-deploy-backup").rc == 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            for name, method in methods.items():
                deploy_the_next_release()
                took, ended = seconds_to_healthy(method)
                deploy_the_next_release()
                ledger = Path(folder, f"{name}-{number}.jsonl")
                with application.load(ledger, rate=chosen.rate):
                    seconds_to_healthy(method)
                lost = int(application.judged(ledger)["failed"])
                seconds[name].append(took)
                ends[name].append(ended)
                failed[name].append(lost)
                print(f"round {number + 1} {name:12} healthy after {took:5.1f} s, ended {ended:5.1f} s, {lost} failed")
    print(
        json.dumps(
            {
                "floor_s": round(statistics.median(seconds["floor"]), 2),
                "playbook_s": round(statistics.median(seconds["recreate"]), 2),
                "guide_s": round(statistics.median(seconds["guide"]), 2),
                "playbook_end_s": round(statistics.median(ends["recreate"]), 2),
                "failed_floor": statistics.median(failed["floor"]),
                "failed_recreate": statistics.median(failed["recreate"]),
                "failed_start_first": statistics.median(failed["start_first"]),
                "failed_guide": statistics.median(failed["guide"]),
                "rate": chosen.rate,
                "rounds": chosen.rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
