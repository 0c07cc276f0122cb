#!/usr/bin/env python3
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration: a bad release goes out under load, and one command brings the previous one back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

from schedgen_lab import data, ledger, load, project
from schedgen_lab.settings import DEMO, FRONT_DOOR, HOME, MARKER
from schedgen_lab.shell import LabError, say

REPOSITORY = DEMO.parent
BAD = "http-500"
RATE = 100
LEDGER = HOME / "demo.ledger"
WIDTH = 80


class Story:
    """The phases of the demonstration, and when each began."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, float]] = []

    def begin(self, phase: str) -> None:
        """From now on requests count for this phase."""
        self.phases.append((phase, time.time()))

    def table(self, entries: list[ledger.Entry]) -> list[str]:
        """Requests by the phase in which they were due."""
        rows = [f"{'phase':<34}{'seconds':>9}{'requests':>10}{'failed':>8}{'share':>8}"]
        ends = [start for _, start in self.phases[1:]] + [time.time()]
        for (phase, start), end in zip(self.phases, ends):
            found = [entry for entry in entries if start <= entry.t < end]
            failed = sum(not entry.ok for entry in found)
            share = f"{100 * failed / len(found):.0f} %" if found else ""
            rows.append(f"{phase:<34}{end - start:>9.1f}{len(found):>10}{failed:>8}{share:>8}")
        return rows


def title(text: str) -> None:
    """Tell what comes next."""
    print(f"\n\n── {text} {'─' * (WIDTH - len(text) - 4)}", flush=True)


def show(*words: str, program: list[str]) -> None:
    """Show a command as a person would type it, and run it."""
    print(f"$ {' '.join(words)}\n", flush=True)
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "SCHEDGEN_DEMO_DIR": str(HOME)}
    done = subprocess.run(program, cwd=REPOSITORY, env=environment, check=False)
    if done.returncode != 0:
        raise LabError(f"{words[0]} ended with exit code {done.returncode}")


def lab(*words: str) -> None:
    """Run a command of the lab."""
    show("demo/lab.py", *words, program=[sys.executable, str(DEMO / "lab.py"), *words])


def playbook(name: str) -> None:
    """Run a playbook of the collection, as an operator would."""
    own = REPOSITORY / ".venv/bin/ansible-playbook"
    program = str(own) if own.exists() else shutil.which("ansible-playbook")
    if not program:
        raise LabError("there is no ansible-playbook: `make demo` installs one")
    words = [name, "-i", "demo/inventory.yml"]
    show("ansible-playbook", *words, program=[program, *words])


def ask(path: str) -> None:
    """Ask the front door, and show what it says."""
    status, body = project.answer(path)
    said = body.strip().replace("\n", " ")
    room = WIDTH - len(path) - 18
    print(f"  GET {path}  {status or 'no answer'}  {said if len(said) <= room else said[: room - 1] + '…'}", flush=True)


def look() -> None:
    """Show what users and Docker see."""
    print(f"What {FRONT_DOOR} answers:")
    for path in ("/version", "/health", "/api/jobs?limit=1"):
        ask(path)
    print("What Docker says:")
    for item in project.containers():
        if item.service in ("backend", "frontend", "pdf-worker"):
            print(f"  {item.name:<24}{item.state:<10}{item.health:<10}{item.image.rpartition('/')[2]}")
    sys.stdout.flush()


def tell() -> None:
    """The whole story, from nothing to the numbers."""
    title("The application at v1")
    again = MARKER.exists()
    lab("up")
    if again:
        lab("reset", "v1")
    look()

    title("What the collection needs on a host")
    playbook("prepare-hosts.yml")

    story = Story()
    title(f"{RATE} requests a second from now on")
    load.stop()
    load.start(FRONT_DOOR, RATE, LEDGER)
    story.begin("v1, backup included")
    title("A restore point before the deployment")
    playbook("pre-deploy-backup.yml")

    title(f"The deployment of {BAD}, a bad release")
    story.begin(f"{BAD} is being deployed")
    lab("deploy", BAD)
    story.begin(f"{BAD} runs")
    print("\nThe containers are healthy, and nothing works:\n")
    look()
    time.sleep(5)

    title("One command")
    story.begin("quick-rollback.yml")
    began = time.monotonic()
    playbook("quick-rollback.yml")
    seconds = time.monotonic() - began
    story.begin("v1 again")
    time.sleep(5)
    title("The application afterwards")
    look()

    load.stop()
    entries = ledger.read(LEDGER)
    title("What the load client wrote down")
    print("\n".join(story.table(entries)))
    missing = ledger.missing_writes(entries, data.load_keys())
    writes = sum(entry.kind == "write" and entry.ok for entry in entries)
    print(f"\n{writes} writes were acknowledged; {len(missing)} of them are missing in the database.")
    print(f"Rollback, proof and report: {seconds:.1f} s.  `make demo-down` removes every trace.")
    if missing or project.answer("/api/jobs?limit=1")[0] != 200:
        raise LabError("the application is not what it was")


def main() -> int:
    """Run the demonstration; the load client never outlives it."""
    try:
        tell()
    except LabError as error:
        say(f"demo.py: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        load.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
