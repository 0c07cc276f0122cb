# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller that was booted by systemd: a container with this machine's own programs and an /etc of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from schedgen_lab import engine, images
from schedgen_lab.settings import SUPPORT_IMAGES

from support import application, interpreter
from support.fleet import ENGINE

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/usr/lib/systemd/systemd")
SOCKET = "/var/run/docker.sock"
# Groups of processes are mounted read-only in a container that may not do everything; systemd makes its own in them.
# A machine without an id boots for the first time, and starts whatever this machine's packages would like to run.
BOOT = f"""test -s /etc/machine-id || tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
  mountpoint -q "$group" && mount -o remount,bind,rw "$group" || true
done
exec {SYSTEMD} --unit=multi-user.target"""


class Controller:
    """The machine while it runs."""

    def __init__(self, container: str) -> None:
        self.container = container

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return engine.docker("exec", self.container, *words, check=check)

    def reboot(self) -> None:
        """Take the power away, and boot again."""
        engine.docker("kill", self.container)
        engine.docker("start", self.container)
        self.wait_for_boot()

    def wait_for_boot(self) -> None:
        """Wait until systemd has started what it starts."""
        self.until_other("multi-user.target", "ActiveState", "", "inactive", "activating")

    def shows(self, unit: str, name: str) -> str:
        """Return one property of a unit, '' while systemd does not answer yet."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit, check=False).stdout.strip()

    def until_other(self, unit: str, name: str, *values: str) -> None:
        """Wait until a property of a unit has none of these values any more."""
        try:
            application.wait_until(lambda: self.shows(unit, name) not in values, "another state", 120)
        except AssertionError as error:
            said = self.run("journalctl", "--no-pager", "--lines=30", f"--unit={unit}", check=False).stdout
            raise AssertionError(f"{unit}: {name} is still {self.shows(unit, name)!r}\n{said}") from error

    def playbook(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook of this repository there, as an operator does."""
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        settings = (f"ANSIBLE_CONFIG={ROOT / 'ansible.cfg'}", "ANSIBLE_NOCOLOR=1", "HOME=/root")
        return self.run("env", *settings, program, str(ROOT / f"{name}.yml"), *options, check=False)


@contextlib.contextmanager
def booted(name: str, *folders: Path) -> Iterator[Controller]:
    """Boot a controller that sees these folders at their own places, and the engine; it is removed at the end."""
    images.ensure_bases(["python"])
    seen = {path: path for path in (Path(sys.prefix), Path(sys.base_prefix), ROOT, *folders, Path(SOCKET))}
    seen[Path(interpreter.PYTHON).parents[1]] = Path(sys.prefix)
    engine.docker("rm", "--force", name, check=False)
    engine.docker(
        "run", "--detach", f"--name={name}", "--network=none", "--env=container=docker",
        "--tmpfs=/run", "--tmpfs=/run/lock", *ENGINE, "--volume=/usr:/usr:ro",
        *(f"--volume={path}:{inside}" for inside, path in sorted(seen.items())),
        "--entrypoint=sh", SUPPORT_IMAGES["python"], "-c", BOOT,
    )  # fmt: skip
    controller = Controller(name)
    try:
        controller.wait_for_boot()
        yield controller
    finally:
        engine.docker("rm", "--force", "--volumes", name)


def start_cron(controller: Controller, folder: Path) -> None:
    """Start the cron of this machine's Debian there; it is unpacked into a folder that the controller sees."""
    fetch = ["apt-get", "download", "--quiet", "cron"]
    if subprocess.run(fetch, cwd=folder, check=False, capture_output=True).returncode:
        # The list of packages may be old, or not be there yet.
        subprocess.run(["apt-get", "update", "--quiet"], check=True, capture_output=True)
        subprocess.run(fetch, cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("cron_*.deb")
    unpacked = folder / "daemon"
    subprocess.run(["dpkg-deb", "--extract", str(package), str(unpacked)], check=True)
    controller.run("cp", str(unpacked / "etc/pam.d/cron"), "/etc/pam.d/cron")
    controller.run("mkdir", "--parents", "/etc/cron.d", "/var/spool/cron/crontabs")
    controller.run("systemd-run", "--unit=cron", str(unpacked / "usr/sbin/cron"), "-f")
