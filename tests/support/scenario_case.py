#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Try one case of a molecule scenario, and write down what was found for the scenario's tests.

    scenario_case.py FOLDER     the case is read from the standard input, as JSON

A case begins with a fresh v1 and, unless `backup` is false, a restore point of it. Then a client writes all the time,
with a ledger of its own; `deploy` is deployed, `spoil` breaks something, `command` is what an operator runs, `fix` puts
right what was spoiled, and `again` is the second run. Each command is a list of words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application, application_state

# Requests a second of the client.
RATE = 10


@dataclass(frozen=True)
class Ran:
    """A command that came to its end."""

    rc: int
    screen: str


def environment() -> dict[str, str]:
    """Return an operator's environment: Molecule's own settings must not reach the playbook."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return {**kept, "ANSIBLE_CONFIG": str(application.ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def run(argv: Sequence[str], *, check: bool = False) -> Ran:
    """Run a command as somebody in this repository would. Raises SystemExit where it has to end well and does not."""
    done = subprocess.run(
        argv, cwd=application.ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return Ran(done.returncode, done.stdout)


def attempt(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Try a case; return what was found."""
    ledger = folder / f"{case['name']}.ledger"
    if case.get("backup", True):
        application.begin()
    else:
        application.lab("reset", "v1")
    before = application_state.look()
    with application.load(ledger, RATE):
        if "deploy" in case:
            application.lab("deploy", case["deploy"], *(() if case.get("wait") else ("--no-wait",)))
        for command in case.get("spoil", ()):
            run(command, check=True)
        deployed = application_state.look()
        ran = run(case["command"])
    after = application_state.look()
    judged = application.judged(ledger)
    for command in case.get("fix", ()):
        run(command, check=True)
    again = run(case["again"])
    return {
        "rc": ran.rc,
        "screen": ran.screen,
        "again_rc": again.rc,
        "again_screen": again.screen,
        "before": before,
        "deployed": deployed,
        "after": after,
        "after_again": application_state.look(),
        "ledger": judged,
    }


def main() -> None:
    """Try the case, and write down what was found and how long it took."""
    case, folder = json.load(sys.stdin), Path(sys.argv[1])
    began = time.monotonic()
    found = attempt(case, folder)
    path = folder / f"{case['name']}.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(found))
    times = os.environ.get("ROLLBACK_TESTS_RESULTS")
    if times:
        with Path(times).open("a") as stream:
            stream.write(json.dumps({"name": case["name"], "seconds": round(time.monotonic() - began, 1)}) + "\n")


if __name__ == "__main__":
    main()
