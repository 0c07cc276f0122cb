#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the unit tests, the syntax checks and a playbook with each ansible-core that meta/runtime.yml says is supported.

    core_versions.py [VERSION …]     for instance 2.17; all of them when none is named

Each version gets a virtual environment of its own below .venvs, which is used again the next time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What is run: the very version that `requires_ansible` states, and the newest of the others.
CORES = {"2.17": "ansible-core==2.17.0", "2.18": "ansible-core==2.18.19", "2.19": "ansible-core==2.19.14"}
TOOLS = ("docker", "psycopg2-binary", "pytest", "PyYAML", "requests")


def pinned(name: str) -> str:
    """Return the requirement of a tool as the development environment has it."""
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def check(version: str) -> bool:
    """Run everything with one version; True when all of it passed."""
    folder = ROOT / ".venvs" / version
    python = folder / "bin" / "python"
    wanted = [CORES[version], *(pinned(name) for name in TOOLS)]
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text().split() != wanted:
        print(f"{version}: installing {', '.join(wanted)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-qq", *wanted], check=True)
        stamp.write_text("\n".join(wanted))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(PATH=os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]), PYTHONDONTWRITEBYTECODE="1")
    shims = sorted(
        path.name for path in ROOT.glob("*.yml") if (ROOT / "playbooks" / path.name.replace("-", "_")).exists()
    )
    modules = sorted(f"schedgen.rollback.{path.stem}" for path in (ROOT / "plugins" / "modules").glob("*.py"))
    commands = [
        [str(python), "-m", "pytest", "tests/unit", "-q", "-p", "no:cacheprovider"],
        [str(folder / "bin" / "ansible-playbook"), "--syntax-check", *shims],
        [str(folder / "bin" / "ansible-playbook"), "prepare-hosts.yml", "--check", "-e", "prepare_hosts_engine=no"],
        [str(folder / "bin" / "ansible-doc"), "--type", "module", "--json", *modules],
    ]
    good = True
    for command in commands:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        # ansible-doc only warns where it understands nothing.
        failed = done.returncode != 0 or "has a documentation formatting error" in done.stderr
        label = " ".join(Path(word).name for word in command[1 if command[0] == str(python) else 0 :][:3])
        print(f"{version}: {label}: {'FAILED' if failed else 'ok'}", flush=True)
        if failed:
            print(done.stdout[-4000:] + done.stderr[-4000:], flush=True)
        good = good and not failed
    return good


def main(versions: list[str]) -> int:
    """Run the versions that were named, or all, and count them."""
    results = []
    for version in versions or list(CORES):
        started = time.monotonic()
        results.append(check(version))
        print(f"{version}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
