#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let Galaxy's own importer judge the built collection; a warning is a failure.

    importer.py

Its pins are not those of the development environment: it gets a virtual environment below .venvs, which is used again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WANTED = ["galaxy-importer==0.4.44", "ansible-core==2.19.14", "ansible-lint==26.10.1"]
SETTINGS = {"CHECK_REQUIRED_TAGS": "true", "REQUIRE_V1_OR_GREATER": "true", "RUN_FLAKE8": "false"}
_CHATTER = re.compile(r"Loading (?!complete)")


def tools() -> Path:
    """Return the importer's environment, made when it is not there."""
    folder = ROOT / ".venvs" / "importer"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text().split() != WANTED:
        print(f"importer: installing {', '.join(WANTED)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-qq", *WANTED], check=True)
        stamp.write_text("\n".join(WANTED))
    return folder / "bin"


def main() -> int:
    """Return 0 when the importer accepts the collection and has nothing to say against it."""
    programs = tools()
    # What a developer has set, and this clone's ansible.cfg, are not there where a collection is imported.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "GALAXY_"))}
    environment.update({f"GALAXY_IMPORTER_{name}": value for name, value in SETTINGS.items()})
    environment["PATH"] = os.pathsep.join([str(programs), os.environ["PATH"]])
    with tempfile.TemporaryDirectory(prefix="rollback-importer-") as temporary:
        build = ["ansible-galaxy", "collection", "build", "--output-path", temporary, str(ROOT)]
        subprocess.run(build, check=True, env=environment, stdout=subprocess.DEVNULL)
        [tarball] = Path(temporary).glob("*.tar.gz")
        done = subprocess.run(
            [str(programs / "python"), "-m", "galaxy_importer.main", str(tarball)],
            cwd=temporary,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        accepted = Path(temporary, "importer_result.json").exists()
    lines = [line for line in done.stdout.splitlines() if not _CHATTER.match(line)]
    print("\n".join(lines))
    objections = [line for line in lines if line.startswith(("WARNING:", "ERROR:", "CRITICAL:"))]
    good = not done.returncode and accepted and not objections
    print(f"importer: {tarball.name} {'accepted' if good else 'REFUSED'}, {len(objections)} objections")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
