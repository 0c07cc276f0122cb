#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the virtual environment that the Makefile works with, and say what is installed.

    prepare_venv.py FOLDER

Needs the standard library only. Where Python comes without its venv module (Debian packages it apart), it is installed
first when that is possible without a question.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements-dev.txt"


def say(text: str) -> None:
    """Tell what is being done, before it is done."""
    print(f"venv: {text}", flush=True)


def ensure_venv_module() -> None:
    """Make `python -m venv` work, or say what would."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            sys.exit(f"venv: {sys.executable} cannot make virtual environments; install {package} and run this again")
        say(f"installing the Debian package {package}, which Python's venv module needs")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=environment, stdout=subprocess.DEVNULL)
        subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", package],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )


def main() -> None:
    """Make the environment, or bring the one that is there to what the pins say."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1]).absolute()
    started = time.monotonic()
    if sys.version_info < (3, 11):
        sys.exit(
            f"venv: Python 3.11 or newer is needed on the controller; {sys.executable} is {sys.version.split()[0]}"
        )
    ensure_venv_module()
    python = folder / "bin" / "python"
    if python.exists():
        say(f"bringing {folder} up to date")
    else:
        say(f"making {folder} with {sys.executable} (Python {sys.version.split()[0]})")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pins = [line.strip() for line in REQUIREMENTS.read_text().splitlines() if line[:1].isalpha()]
    say(f"installing from PyPI: {', '.join(pins)}")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)
    subprocess.run([str(python), str(ROOT / "tests" / "tools" / "fetch_collections.py")], check=True)
    say(f"ready in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
