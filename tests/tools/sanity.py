#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run `ansible-test sanity` on the collection as it is built and installed.

    sanity.py [ARGUMENT of ansible-test sanity …]

ansible-test wants a real ansible_collections/schedgen/rollback folder, and keeps its tools in the user's home: it gets
a temporary folder with the installed tarball, and a home of its own that the next run uses again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Nothing is skipped: what ansible-test lists, runs. Versions of Python that hosts may have; the ones found are used.
HOST_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")

# ansible-test fetches pip's bootstrap script from a site that a closed network does not reach. Python brings its own.
GET_PIP = """\
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"])
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted])
"""

# What pip says while ansible-test installs its tools.
_CHATTER = re.compile(
    r"\s|Collecting|Installing|Looking in|Processing|Requirement|Success|Using cached|"
    r"WARNING: (Location|Reviewing|Using locale)"
)


def find_pythons(folder: Path) -> list[str]:
    """Link the Pythons that really start into the folder; return their versions.

    A version manager puts commands on the PATH that fail when they are called, which ansible-test takes for a failure.
    """
    managed = [str(path) for path in Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin")]
    search = os.pathsep.join([*managed, os.environ.get("PATH", "")])
    found = []
    for version in HOST_PYTHONS:
        candidate = shutil.which(f"python{version}", path=search)
        if candidate is None:
            continue
        asked = subprocess.run([candidate, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
        if asked.returncode == 0:
            (folder / f"python{version}").symlink_to(asked.stdout.strip())
            found.append(version)
    return found


def install(target: Path, environment: dict[str, str]) -> Path:
    """Build the tarball, install it below the target, and return the collection's folder."""
    galaxy = ["ansible-galaxy", "collection"]
    build = [*galaxy, "build", "--output-path", str(target), str(ROOT)]
    subprocess.run(build, check=True, env=environment, stdout=subprocess.DEVNULL)
    (tarball,) = target.glob("*.tar.gz")
    unpack = [*galaxy, "install", str(tarball), "--collections-path", str(target)]
    subprocess.run(unpack, check=True, env=environment, stdout=subprocess.DEVNULL)
    folder = target / "ansible_collections" / "schedgen" / "rollback"
    (folder / "tests").mkdir()
    (folder / "tests" / "config.yml").write_text('---\nmodules:\n  python_requires: ">=3.9"\n')
    return folder


def main() -> int:
    """Return the exit code of ansible-test, after a closing line that counts the tests."""
    # ansible-test cannot work below a folder with a space in its name.
    home = ROOT / ".cache" / "sanity"
    if " " in str(home):
        home = Path.home() / ".cache" / "schedgen-rollback" / "sanity"
    with tempfile.TemporaryDirectory(prefix="sanity-") as temporary:
        cache = home / ".ansible" / "test" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (cache / "get_pip_24_2.py").write_text(textwrap.dedent(GET_PIP))
            pythons = Path(temporary, "bin")
            pythons.mkdir()
            versions = find_pythons(pythons)
            print(f"sanity: with Python {', '.join(versions)} (of {', '.join(HOST_PYTHONS)})", flush=True)
            settings = Path(temporary, "ansible.cfg")
            settings.touch()
            environment = {**os.environ, "ANSIBLE_CONFIG": str(settings), "ANSIBLE_COLLECTIONS_PATH": temporary}
            folder = install(Path(temporary), environment)
            environment.update(
                HOME=str(home),
                LC_ALL="C.UTF-8",
                PATH=os.pathsep.join([str(Path(sys.executable).parent), str(pythons), "/usr/bin", "/bin"]),
            )
            process = subprocess.Popen(
                ["ansible-test", "sanity", "--color", "no", "--requirements", "--python", "default", *sys.argv[1:]],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            return follow(process)


def follow(process: subprocess.Popen[str]) -> int:
    """Show what ansible-test says, less the chatter of pip; count its tests."""
    ran: set[str] = set()
    failed = 0
    assert process.stdout is not None
    for line in process.stdout:
        started = re.match(r'Running sanity test "(.+?)"', line)
        if started:
            ran.add(started.group(1))
        elif not _CHATTER.match(line):
            print(line, end="", flush=True)
        if re.match(r"ERROR: Found \d+ ", line):
            failed += 1
    code = process.wait()
    if code and not failed:
        failed = 1
    print(f"sanity: {len(ran) - failed} passed, {failed} failed", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
