# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests do with the reference application: the lab's commands, the playbooks, and a look at what really runs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "demo" / "lab.py"
HOME = Path(os.environ.get("SCHEDGEN_DEMO_DIR", "/opt/schedgen-demo"))
PROJECT = HOME / "project"
STATE = HOME / "state" / "schedgen"
INVENTORY = ROOT / "demo" / "inventory.yml"
CODE_SERVICES = ("backend", "frontend", "pdf-worker")
# The exit code of `lab.py reset --kept` where nothing of that name was kept.
NOT_KEPT = 3


def lab(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of the lab."""
    done = subprocess.run(
        [sys.executable, str(LAB), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if check and done.returncode != 0:
        raise AssertionError(f"lab.py {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


# The state that most tests begin with: v1 with a restore point that pre-deploy-backup.yml took of it.
BACKED_UP = "backed-up"


@lru_cache(maxsize=1)
def collection_key() -> str:
    """Identify the collection and the reference application as they are now: what they made earlier may be stale."""
    digest = hashlib.sha256()
    for room in ("plugins", "roles", "playbooks", "demo"):
        for path in sorted((ROOT / room).rglob("*")):
            if path.is_file() and not {"node_modules", "dist", "__pycache__"} & set(path.parts):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def begin(version: str = "v1", *, wait: bool = True) -> str:
    """Begin with a version that was just deployed over v1, and a restore point of v1; return the restore point's id.

    The restore point was taken once, by pre-deploy-backup.yml, and kept with its database and the images it names.
    """
    more = () if wait else ("--no-wait",)
    state = ("--kept", BACKED_UP, "--key", collection_key())
    begun = lab("reset", version, *state, *more, check=False)
    if begun.returncode == NOT_KEPT:
        keep_backed_up()
        begun = lab("reset", version, *state, *more)
    assert begun.returncode == 0, begun.stderr
    return str(points()[-1]["id"])


def keep_backed_up() -> None:
    """Take a restore point of a fresh v1, and keep that state for :func:`begin`. The application is stopped then."""
    lab("reset", "v1")
    # In a folder whose path has a space in it, playbooks use the system's Python (demo/inventory.yml).
    for name in [*(["prepare-hosts"] if " " in sys.executable else []), "pre-deploy-backup"]:
        done = playbook(name)
        assert done.rc == 0, done.screen
    lab("keep", BACKED_UP, "--key", collection_key())


@dataclass(frozen=True)
class Run:
    """A playbook that ran to its end."""

    rc: int
    screen: str
    seconds: float

    @property
    def text(self) -> str:
        """The screen with its line breaks and indentation folded, for looking up sentences."""
        return " ".join(self.screen.split())


def playbook_command(name: str, variables: Mapping[str, Any], options: Sequence[str] = ()) -> list[str]:
    """Return the command line an operator would type, with variables as JSON."""
    command = ["ansible-playbook", str(ROOT / f"{name}.yml"), "-i", str(INVENTORY), *options]
    return [*command, "-e", json.dumps(dict(variables))] if variables else command


def playbook(name: str, *options: str, **variables: Any) -> Run:
    """Run a playbook of this repository on the lab, as an operator does."""
    started = time.monotonic()
    done = subprocess.run(
        playbook_command(name, variables, options),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(),
        cwd=ROOT,
    )
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - started)


def environment() -> dict[str, str]:
    """Return the environment of an operator who uses this clone."""
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


@contextmanager
def playbook_in_background(name: str, **variables: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a playbook in a process group of its own, so that a test can kill the whole controller."""
    process = subprocess.Popen(
        playbook_command(name, variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(),
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def kill_host_side(name: str, step: str, **variables: Any) -> None:
    """Run a playbook, and kill all of it, the module on the host too, when its journal has begun a step."""
    tool = ROOT / "tests" / "support" / "application_kill.py"
    killed = subprocess.run(
        [sys.executable, str(tool), "--step", step, "--host-side", "--", *playbook_command(name, variables)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 0, killed.stdout


def wait_until(condition: Callable[[], bool], what: str, limit: float = 60) -> None:
    """Wait for something to become true; fail when it does not within ``limit`` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"after {limit:g} s it is not so: {what}")
        time.sleep(0.1)


def docker(*arguments: str) -> str:
    """Run a docker command and return what it says."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def containers() -> list[dict[str, Any]]:
    """Return the engine's inspection of every container of the application."""
    ids = docker("ps", "-aq", "--filter", "label=com.docker.compose.project=schedgen").split()
    # One that is removed between the list and the look is simply not in the answer.
    done = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False)
    return cast("list[dict[str, Any]]", json.loads(done.stdout)) if ids else []


def service_of(container: Mapping[str, Any]) -> str:
    """Return a container's Compose service."""
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def running_images(looked_at: Sequence[Mapping[str, Any]] | None = None) -> dict[str, list[str]]:
    """Return, of each service, the image ids of the containers that run."""
    found: dict[str, list[str]] = {}
    for container in containers() if looked_at is None else looked_at:
        if container["State"]["Status"] == "running":
            found.setdefault(service_of(container), []).append(container["Image"])
    return {service: sorted(images) for service, images in found.items()}


def unhealthy(looked_at: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """Return the names of containers that do not run or are not healthy."""
    return [
        container["Name"]
        for container in (containers() if looked_at is None else looked_at)
        if container["State"]["Status"] != "running"
        or (container["State"].get("Health") or {}).get("Status", "healthy") != "healthy"
    ]


def fingerprint() -> dict[str, Any]:
    """Return everything that a check-mode run must leave alone: containers, images, files, state folder."""
    files = {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for base in (PROJECT, STATE)
        if base.exists()
        for path in sorted(base.rglob("*"))
        if path.is_file() and ".git/" not in str(path)
    }
    head = subprocess.run(["git", "-C", PROJECT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "containers": sorted(entry["Id"] for entry in containers()),
        "started": sorted(entry["State"]["StartedAt"] for entry in containers()),
        "images": sorted(
            line
            for line in docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
            if "schedgen" in line
        ),
        "files": files,
        "head": head.stdout,
    }


def points() -> list[dict[str, Any]]:
    """Return the manifests of all restore points, oldest first, read from disk and not by our own modules."""
    return [json.loads(path.read_text()) for path in sorted((STATE / "restore_points").glob("[0-9]*/manifest.json"))]


def events(point_id: str) -> list[dict[str, Any]]:
    """Return the events of a restore point."""
    path = STATE / "restore_points" / point_id / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reports() -> list[dict[str, Any]]:
    """Return the reports of all runs, oldest first."""
    return [json.loads(path.read_text()) for path in sorted((STATE / "runs").glob("*/report.json"))]


def journal(run: str = "") -> list[dict[str, Any]]:
    """Return the journal of a run, of the newest one when none is named."""
    folders = sorted(path for path in (STATE / "runs").glob("*") if not run or path.name == run)
    path = folders[-1] / "journal.jsonl" if folders else Path("/nonexistent")
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


@contextmanager
def load(ledger: Path, rate: int = 20) -> Iterator[None]:
    """Keep a client reading and writing through the front door, with a ledger of its own."""
    lab("load", "start", "--rate", str(rate), "--ledger", str(ledger))
    try:
        yield
    finally:
        lab("load", "stop")


def judged(ledger: Path) -> dict[str, Any]:
    """Return what the client's ledger says, with the acknowledged writes that the live database lacks."""
    return cast("dict[str, Any]", json.loads(lab("ledger", str(ledger), "--check-database").stdout))


def module(name: str, *options: str, **arguments: Any) -> dict[str, Any]:
    """Run one module of the collection on the lab's host and return its result."""
    common = {"application": "schedgen", "state_dir": str(HOME / "state")}
    command = ["ansible", "schedgen-demo", "-i", str(INVENTORY), *options, "-m", f"schedgen.rollback.{name}"]
    done = subprocess.run(
        [*command, "-a", json.dumps({**common, **arguments})],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**environment(), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"},
        cwd=ROOT,
    )
    _told, arrow, result = done.stdout.partition("=> {")
    if not arrow:
        raise AssertionError(f"{name} gave no result: {done.stdout}{done.stderr}")
    return cast("dict[str, Any]", json.loads("{" + result))


def evidence(**more: Any) -> dict[str, Any]:
    """Return what is observed of the application, with the variables that its operators use."""
    names = ("project_src", "code_services", "config_paths", "database", "database_service", "database_user")
    named = ("migration_tool", "assertions", "traffic")
    arguments = {name: f"{{{{ rollback_{name} }}}}" for name in (*names, *named)}
    found = module("deployment_info", **{**arguments, "checks": "{{ rollback_health_checks }}", **more})
    return cast("dict[str, Any]", found["evidence"])
