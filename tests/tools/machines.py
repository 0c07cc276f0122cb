# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines of the tests' own on this one: each with processes, mounts and a network that nobody else sees.

A machine has the whole file system of this one, but for /run, /proc, /sys and the reference application's home, which
is a folder of the machine's own. So each has an engine, a registry and an application under the names and at the ports
that they always have. All of it ends with the machine's first process, and that ends when whoever started it is gone.

The first machine installs and builds what all need, once. The others are copies of its folder; an image's layers, which
are never written again, are the same files in all of them. The copies are in memory where there is plenty of it: in a
file system that nobody else sees either, and that ends with the run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))

from schedgen_lab import packages, settings
from schedgen_lab.engine import CGROUP_PARENT
from schedgen_lab.shell import LabError

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "demo" / "lab.py"
FOLDER = ROOT / ".cache" / "machines"
TEMPLATE = FOLDER / "template"
# Where the file system in memory is mounted. What the machines of `make test` come to fits into the first number of
# bytes; the second is what programs need besides.
MEMORY = FOLDER / "memory"
MEMORY_NEEDED, MEMORY_LEFT = 10 << 30, 6 << 30
# Addresses, names of cables and groups are this host's: of all its clones, one has machines at a time.
LOCK = Path(tempfile.gettempdir()) / "rollback-tests.lock"
# Beside the template: what it was built of, and of what the state was made that is kept there.
BUILT, KEPT = FOLDER / "built-of", FOLDER / "kept-of"
GROUPS = Path("/sys/fs/cgroup")
GROUP = "rollback-tests"
# The machines' networks, four addresses each.
NETWORK = "10.213.37"
# What this machine's packet filter is told, so that the others reach the networks that this one reaches.
RULES = [
    ["--table", "nat", "--append", "POSTROUTING", "--source", f"{NETWORK}.0/24", "--jump", "MASQUERADE"],
    ["--table", "filter", "--insert", "FORWARD", "--source", f"{NETWORK}.0/24", "--jump", "ACCEPT"],
    ["--table", "filter", "--insert", "FORWARD", "--destination", f"{NETWORK}.0/24", "--jump", "ACCEPT"],
]
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# Of file systems on which an engine can lay layers over each other.
LAYERED = {"ext2/ext3", "xfs", "btrfs"}
NAMESPACES = [
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
]


THIS = [sys.executable, str(Path(__file__).resolve())]


class NoMachine(Exception):
    """A machine cannot be had, or does not start; the message says why."""


def why_not() -> str:
    """Return why this machine can have no machines of the tests' own; empty when it can."""
    if os.environ.get("ROLLBACK_TESTS_MACHINES") == "0":
        return "ROLLBACK_TESTS_MACHINES is 0"
    if os.geteuid() != 0:
        return "only root can have them"
    if _done(["which", "ip", "iptables"]).returncode:
        try:
            packages.apt("update")
            packages.apt("install", "-y", "--no-install-recommends", "iproute2", "iptables")
        except (OSError, RuntimeError, LabError) as error:
            return f"iproute2 and iptables could not be installed: {error}"
    tried = _done([*NAMESPACES, "true"])
    if tried.returncode:
        return f"namespaces are refused: {tried.stderr.strip()}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    kind = _done(["stat", "--file-system", "--format=%T", str(FOLDER)]).stdout.strip()
    return "" if kind in LAYERED else f"{FOLDER} is on {kind}, on which an engine cannot work"


def _done(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _sure(argv: Sequence[str]) -> None:
    done = _done(argv)
    if done.returncode:
        raise NoMachine(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")


def started(argv: Sequence[str]) -> subprocess.Popen[str]:
    """Start this program as what ends with whoever started it, and wait until it is ready. Raises NoMachine."""
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline() != "ready\n":
        raise NoMachine(f"{' '.join(argv)}: {process.stderr.read().strip() or 'it ended'}")
    return process


def ended(process: subprocess.Popen[str]) -> None:
    """End what :func:`started` has started."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Machine:
    """One machine; number 0 is the one that the others are copies of. ``inside`` leads to where its folder is seen."""

    def __init__(self, number: int, folder: Path, inside: Sequence[str] = ()) -> None:
        self.number = number
        self.folder = folder
        self.inside = inside
        self.process: subprocess.Popen[str] | None = None
        self.first = 0

    def start(self) -> None:
        """Start it, with a way out to the network. Raises NoMachine."""
        settings.HOME.mkdir(parents=True, exist_ok=True)
        self.process = started([*self.inside, *NAMESPACES, *THIS, "machine", str(self.folder), str(settings.HOME)])
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.first = int(children[0])
        self._connect()

    def _connect(self) -> None:
        """Lay a cable between this machine's network and its own."""
        here, gateway, address = f"rollback{self.number}", *self._addresses()
        _done(["ip", "link", "delete", here])
        _sure(["ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(self.first)])
        _sure(["ip", "address", "add", f"{gateway}/30", "dev", here])
        _sure(["ip", "link", "set", here, "up"])
        inside = ["nsenter", f"--target={self.first}", "--net", "ip"]
        for words in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{address}/30", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", gateway],
        ):
            _sure([*inside, *words])

    def _addresses(self) -> tuple[str, str]:
        return f"{NETWORK}.{4 * self.number + 1}", f"{NETWORK}.{4 * self.number + 2}"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a command there, in this repository's folder."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid", "--"]
        return [*enter, "env", f"--chdir={ROOT}", f"{CGROUP_PARENT}={GROUP}-{self.number}", *argv]

    def stop(self) -> None:
        """End it, with everything that runs there."""
        if self.process is None:
            return
        ended(self.process)
        self.process = None
        remove_groups(f"{GROUP}-{self.number}")


def remove_groups(name: str) -> None:
    """Remove the groups of processes that a machine's containers were in."""
    for top in (*GROUPS.glob(f"{name}*"), *GROUPS.glob(f"*/{name}*")):
        for folder, _inside, _files in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


class Machines:
    """All machines of a run. One run at a time has them: the others wait."""

    def __init__(self, say: Callable[[str], None], *, in_memory: bool = True) -> None:
        self.say = say
        self.in_memory = in_memory
        self.trouble = ""
        self._ready = threading.Event()
        self._clone = threading.Lock()
        self._running: list[Machine] = []
        self._lock: IO[str] | None = None
        self._memory: subprocess.Popen[str] | None = None
        # What leads to the folders of the machines, where these are, and where the first one is.
        self._inside: list[str] = []
        self._copies, self._first = FOLDER, TEMPLATE
        # Whether this machine passed on packets of others before.
        self._forwarded = ""
        # What was made anew, and has to be written down when the first machine is on the disk.
        self._made: dict[Path, str] = {}

    @property
    def payloads(self) -> Path:
        """Where the playbooks of this run keep what Ansible sends to hosts as modules, to have it built once."""
        return FOLDER / "payloads"

    @property
    def ready(self) -> bool:
        """Whether machines can be had without waiting, or never."""
        return self._ready.is_set()

    def prepare(self, keep: Sequence[str]) -> None:
        """Make the machine that the others are copies of, as far as no earlier run has made it of the same.

        ``keep`` is a command that is run there when everything is installed and built, with the collection as it is.
        """
        try:
            FOLDER.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            for left in (*FOLDER.glob("[0-9]*"), self.payloads):
                shutil.rmtree(left, ignore_errors=True)
            self._open_ways_out()
            remove_groups(GROUP)
            self._go_into_memory()
            self._made = self._make(keep)
            if self._memory is None:
                self._write_down()
        except (NoMachine, OSError, subprocess.SubprocessError) as error:
            self.trouble = str(error) or repr(error)
        finally:
            self._ready.set()

    def _locked(self) -> IO[str]:
        """Return the lock, when no other run of the tests has it."""
        lock = LOCK.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.say("machines: another run of the tests has them; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _open_ways_out(self) -> None:
        """Let machines reach the networks that this one reaches."""
        self._forwarded = FORWARD.read_text()
        FORWARD.write_text("1\n")
        for rule in RULES:
            # Those of a run that was killed are there still.
            _done(["iptables", *rule[:2], "--delete", *rule[3:]])
            _sure(["iptables", *rule])

    def _close_ways_out(self) -> None:
        for rule in RULES:
            _done(["iptables", *rule[:2], "--delete", *rule[3:]])
        if self._forwarded:
            FORWARD.write_text(self._forwarded)

    def _make(self, keep: Sequence[str]) -> dict[Path, str]:
        """Make the first machine as far as it has to be made anew; return what was made, each by its mark."""
        began = time.monotonic()
        lab = [sys.executable, str(LAB)]
        wanted = {BUILT: made_of("demo"), KEPT: made_of("demo", "plugins", "roles", "playbooks")}
        known = {mark: mark.read_text() for mark in wanted if mark.exists() and TEMPLATE.exists()}
        made = {mark: of for mark, of in wanted.items() if known.get(mark) != of}
        if BUILT not in made and self._memory is not None:
            _sure([*self._inside, *THIS, "copy", str(TEMPLATE), str(self._first), "--across"])
        if not made:
            return {}
        self.say("machines: installing and building what all of them need")
        if self._memory is None:
            # It is no whole one from now on.
            for mark in wanted:
                mark.unlink(missing_ok=True)
        if BUILT in made:
            _sure([*self._inside, "rm", "-rf", str(self._first)])
            _sure([*self._inside, "mkdir", "-p", str(self._first)])
        machine = Machine(0, self._first, self._inside)
        self._running.append(machine)
        machine.start()
        try:
            if BUILT in made:
                self._try(machine, [*lab, "prepare"])
            self._try(machine, keep)
            # Only an engine that was stopped can be copied.
            self._try(machine, [*lab, "down", "--engine"])
        finally:
            machine.stop()
        self.say(f"machines: ready to be copied ({time.monotonic() - began:.0f} s)")
        return wanted

    def _write_down(self) -> None:
        """Write down what the first machine was made of, which is on the disk now."""
        for mark, of in self._made.items():
            mark.write_text(of)
        self._made = {}

    def _keep_on_disk(self) -> None:
        """Copy the first machine from memory to the disk, for later runs."""
        for mark in self._made:
            mark.unlink(missing_ok=True)
        _done(["rm", "-rf", str(TEMPLATE)])
        if not _done([*self._inside, *THIS, "copy", str(self._first), str(TEMPLATE), "--across"]).returncode:
            self._write_down()

    def _try(self, machine: Machine, command: Sequence[str]) -> None:
        """Run a command there, twice at most: a registry that hangs once is no reason to give up."""
        for _attempt in range(2):
            with suppress(subprocess.TimeoutExpired):
                done = subprocess.run(
                    machine.command(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
                )
                if told := (done.stdout + done.stderr).strip():
                    self.say(told)
                if done.returncode == 0:
                    return
        raise NoMachine(f"{' '.join(command)} failed, see above")

    def _go_into_memory(self) -> None:
        """Have the machines in memory, where there is enough of it: an engine waits for a disk again and again."""
        MEMORY.mkdir(exist_ok=True)
        size = memory_available() - MEMORY_LEFT
        if self.in_memory and size >= MEMORY_NEEDED:
            self._memory = started([*NAMESPACES[:2], *NAMESPACES[-2:], *THIS, "memory", str(MEMORY), str(size)])
            self._inside = ["nsenter", f"--target={self._memory.pid}", "--mount", "--"]
            self._copies, self._first = MEMORY, MEMORY / "template"

    def one(self, number: int, is_over: Callable[[], bool] = lambda: False) -> Machine:
        """Return a new machine, a copy of the first, with its engine and registry up.

        Raises NoMachine, at once when nobody waits for it any more.
        """
        while not self._ready.wait(0.5):
            if is_over():
                raise NoMachine("the tests were ended before it was there")
        if self.trouble:
            raise NoMachine(self.trouble)
        try:
            return self._one(number)
        except NoMachine as error:
            # What starts servers may be too slow once.
            self.say(f"machines: trying again after {error}")
            return self._one(number)

    def _one(self, number: int) -> Machine:
        folder = self._copies / str(number)
        with self._clone:
            _sure([*self._inside, "rm", "-rf", str(folder)])
            _sure([*self._inside, *THIS, "copy", str(self._first), str(folder)])
        machine = Machine(number, folder, self._inside)
        self._running.append(machine)
        try:
            machine.start()
            _sure(machine.command([sys.executable, str(LAB), "prepare"]))
        except NoMachine:
            self.remove(machine)
            raise
        return machine

    def remove(self, machine: Machine) -> None:
        """End and remove a machine; the one that later runs are copied from stays."""
        machine.stop()
        with suppress(ValueError):
            self._running.remove(machine)
        if machine.number:
            _done([*self._inside, "rm", "-rf", str(machine.folder)])

    def stop(self) -> None:
        """End and remove all machines."""
        if self._lock is None:
            return
        for machine in list(self._running):
            self.remove(machine)
        if self._memory is not None:
            if self._made:
                self._keep_on_disk()
            ended(self._memory)
        with suppress(OSError):
            # Only where nobody has a demonstration.
            settings.HOME.rmdir()
        self._close_ways_out()
        self._lock.close()


def memory_available() -> int:
    """Return the bytes of memory that programs can have now."""
    found = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(found["MemAvailable"].split()[0]) << 10


def copy(source: Path, target: Path, *, across: bool = False) -> None:
    """Copy a machine's folder; layers of images are the same files in both, unless it goes ``across`` file systems."""
    target.mkdir(parents=True)
    layers = Path("engine", "overlay2")
    without = ["--exclude=*.pid", *([] if across else [f"--exclude=./{layers}"])]
    # Docker marks what a layer removes by attributes that only root sees.
    same = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
    packed = ["tar", "--create", *same, f"--directory={source}", *without, "."]
    unpack = ["tar", "--extract", *same, "--same-permissions", f"--directory={target}"]
    with subprocess.Popen(packed, stdout=subprocess.PIPE) as packing:
        subprocess.run(unpack, stdin=packing.stdout, check=True)
    if packing.returncode:
        raise NoMachine(f"{source} could not be copied")
    if not across:
        subprocess.run(["cp", "--archive", "--link", str(source / layers), str(target / layers)], check=True)


def made_of(*rooms: str) -> str:
    """Identify the files in some folders of this repository."""
    digest = hashlib.sha256(sys.version.encode())
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*")):
            if path.is_file() and not {"node_modules", "dist", "__pycache__"} & set(path.parts):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def first_process(folder: str, home: str) -> None:
    """Be a machine's first process: mount what is its own, then collect its dead until whoever started it is gone."""

    def mount(*words: str) -> None:
        subprocess.run(["mount", *words], check=True, stdin=subprocess.DEVNULL)

    mount("--bind", folder, home)
    mount("-t", "tmpfs", "tmpfs", "/run")
    os.mkdir("/run/lock")
    # /sys shows the devices of the network that it was mounted in.
    os.mkdir("/run/groups")
    mount("--rbind", str(GROUPS), "/run/groups")
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", "/run/groups", str(GROUPS))
    subprocess.run(["umount", "--lazy", "/run/groups"], check=True)

    until_the_end()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


def until_the_end() -> None:
    """Say that all is ready, and end when whoever started this is gone."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)


def memory(folder: str, size: str) -> None:
    """Have a file system in memory at a folder, until whoever started this is gone."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, stdin=subprocess.DEVNULL
    )
    until_the_end()
    threading.Event().wait()


def main(command: str, *words: str) -> None:
    """Be one of the programs that run apart."""
    if command == "machine":
        first_process(*words)
    elif command == "memory":
        memory(*words)
    elif command == "copy":
        copy(Path(words[0]), Path(words[1]), across="--across" in words)


if __name__ == "__main__":
    main(*sys.argv[1:])
