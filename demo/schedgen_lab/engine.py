"""The Docker engine: the one that runs, else one of the lab's own."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from subprocess import CompletedProcess

from . import packages
from .settings import ENGINE_LOG, ENGINE_PID, ENGINE_ROOT, PROJECT_NAME
from .shell import LabError, run, running_pid, say, start_background, stop_pid, wait_until

DAEMON = "dockerd"
SOCKET = Path("/var/run/docker.sock")
DEBIAN_CLIENT = "/usr/bin/docker"
# The first engine that knows start_interval, which the health checks of the application use.
OLDEST = 25


@functools.lru_cache(maxsize=1)
def client() -> str:
    """A docker command that has Compose v2 and buildx: the first one on PATH may be older and bare."""
    for command in dict.fromkeys(filter(None, (shutil.which("docker"), DEBIAN_CLIENT))):
        if Path(command).exists() and all(
            run([command, plugin, "version"], check=False).returncode == 0 for plugin in ("compose", "buildx")
        ):
            return command
    raise LabError("there is no docker command with Compose v2 and buildx: `lab.py up` as root installs one")


def docker(*words: str | Path, check: bool = True, text_input: str | None = None) -> CompletedProcess[str]:
    """Run a docker command."""
    return run([client(), *words], check=check, text_input=text_input)


def lines(*words: str) -> list[str]:
    """Run a docker command; what it prints, line by line."""
    return docker(*words).stdout.split("\n")[:-1]


def answers() -> bool:
    """Whether an engine answers."""
    try:
        return docker("info", "--format", "{{.ServerVersion}}", check=False).returncode == 0
    except LabError:
        return False


def ensure() -> None:
    """Install and start what is missing; an engine that answers is used as it is."""
    has_client = True
    try:
        client()
    except LabError:
        has_client = False
    running = answers() if has_client else SOCKET.exists()
    packages.ensure(engine=not running and not shutil.which(DAEMON), client=not has_client)
    client.cache_clear()
    if answers():
        version = docker("version", "--format", "{{.Server.Version}}").stdout.strip()
        if int(version.partition(".")[0]) < OLDEST:
            raise LabError(f"the Docker engine here is {version}: the application needs {OLDEST} or newer")
        return
    if os.geteuid() != 0:
        raise LabError("no Docker engine answers: start one, or run this as root and it starts one of its own")
    start()


def start() -> None:
    """Start an engine of the lab's own."""
    say(f"Starting a Docker engine of the demo's own (data in {ENGINE_ROOT})")
    if running_pid(ENGINE_PID, DAEMON) is None:
        # A pid that another process has by now would keep the engine from starting.
        ENGINE_PID.unlink(missing_ok=True)
        ENGINE_ROOT.mkdir(parents=True, exist_ok=True)
        start_background(
            [DAEMON, "--data-root", ENGINE_ROOT, "--exec-root", "/run/schedgen-demo", "--pidfile", ENGINE_PID],
            log=ENGINE_LOG,
        )
    try:
        wait_until("Docker engine answers", answers, timeout=60)
    except LabError as error:
        tail = "\n".join(ENGINE_LOG.read_text(errors="replace").splitlines()[-10:])
        raise LabError(f"the Docker engine did not start, see {ENGINE_LOG}:\n{tail}") from error


def stop() -> bool:
    """Stop the engine, if it is the lab's own."""
    return stop_pid(ENGINE_PID, DAEMON, timeout=60)


def is_own() -> bool:
    """Whether the lab's own engine runs."""
    return running_pid(ENGINE_PID, DAEMON) is not None


def remove_containers(filters: Iterable[str]) -> None:
    """Remove every container that any of the filters finds, whatever its state."""
    found = {name for item in filters for name in lines("ps", "-aq", "--no-trunc", "--filter", item)}
    if found:
        docker("rm", "-f", "-v", *sorted(found))


def project_filters(volumes: Iterable[str]) -> list[str]:
    """What finds the containers that belong to the project or hold something of it."""
    return [
        f"label=com.docker.compose.project={PROJECT_NAME}",
        f"network={PROJECT_NAME}_default",
        *(f"volume={name}" for name in volumes),
    ]
