#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpack the Ansible collections that the tests use into the Python that runs this.

They come out of the package `ansible` on PyPI, so that a machine that reaches no Galaxy can have them, and go where
that package would put them: every command of this Python then finds them. `collections.txt` has the pins.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

PINS = Path(__file__).with_name("collections.txt")


def read_pins(text: str) -> tuple[str, dict[str, str]]:
    """Return the requirement of the package, and the version expected of each collection."""
    package = ""
    collections: dict[str, str] = {}
    for line in text.splitlines():
        pin = line.split("#", 1)[0].strip()
        if not pin:
            continue
        name, _equals, version = pin.partition("==")
        if not version:
            raise ValueError(f"{PINS.name}: {line!r} is not NAME==VERSION")
        if name == "ansible":
            package = pin
        else:
            collections[name] = version
    if not package:
        raise ValueError(f"{PINS.name}: the package `ansible` is not pinned")
    return package, collections


def unpack(wheel: zipfile.ZipFile, name: str, version: str, target: Path) -> None:
    """Put one collection in its place; one of another version is refused."""
    prefix = f"ansible_collections/{name.replace('.', '/')}/"
    found = json.loads(wheel.read(prefix + "MANIFEST.json"))["collection_info"]["version"]
    if found != version:
        raise ValueError(f"{name} is {found} in the package, and {version} in {PINS.name}")
    shutil.rmtree(target / prefix, ignore_errors=True)
    wheel.extractall(target, [member for member in wheel.namelist() if member.startswith(prefix)])


def main() -> None:
    """Fetch the package once, and unpack the few collections that are needed."""
    package, collections = read_pins(PINS.read_text())
    target = Path(sysconfig.get_path("purelib"))
    wanted = ", ".join(f"{name} {version}" for name, version in collections.items())
    print(f"collections: {wanted} (from {package}), into {target}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "download", "-qq", "--no-deps", "--dest", folder, package], check=True)
        (path,) = Path(folder).glob("ansible-*.whl")
        with zipfile.ZipFile(path) as wheel:
            for name, version in collections.items():
                unpack(wheel, name, version, target)


if __name__ == "__main__":
    main()
