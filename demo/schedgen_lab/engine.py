"""The Docker engine: the one that runs, else one of the lab's own."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from subprocess import CompletedProcess

from . import packages
from .settings import ENGINE_LOG, ENGINE_PID, ENGINE_ROOT, ENGINE_RUN, PROJECT_NAME
from .shell import LabError, run, running_pid, say, start_background, stop_pid, wait_until

DAEMON = "dockerd"
SOCKET = Path("/var/run/docker.sock")
DEBIAN_CLIENT = "/usr/bin/docker"
# Names the group of processes that the containers of the lab's own engine belong to, for whoever counts or removes it.
CGROUP_PARENT = "SCHEDGEN_DEMO_CGROUP_PARENT"
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


def version() -> str:
    """The version of the engine that answers; empty when none does."""
    try:
        # `docker info` ends well with no engine at all.
        return docker("version", "--format", "{{.Server.Version}}", check=False).stdout.strip()
    except LabError:
        return ""


def answers() -> bool:
    """Whether an engine answers."""
    return bool(version())


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
    found = version()
    if found:
        if int(found.partition(".")[0]) < OLDEST:
            raise LabError(f"the Docker engine here is {found}: the application needs {OLDEST} or newer")
        return
    if os.geteuid() != 0:
        raise LabError("no Docker engine answers: start one, or run this as root and it starts one of its own")
    start()


def start() -> None:
    """Start an engine of the lab's own."""
    say(f"Starting a Docker engine of the demo's own (data in {ENGINE_ROOT})")
    if running_pid(ENGINE_PID, DAEMON) is None:
        # A pid that another process has by now would keep the engine, or its containerd, from starting.
        ENGINE_PID.unlink(missing_ok=True)
        containerd = ENGINE_RUN / "containerd/containerd.pid"
        if running_pid(containerd, "containerd") is None:
            containerd.unlink(missing_ok=True)
        ENGINE_ROOT.mkdir(parents=True, exist_ok=True)
        parent = os.environ.get(CGROUP_PARENT)
        command: list[str | Path] = [DAEMON, "--data-root", ENGINE_ROOT, "--exec-root", ENGINE_RUN]
        command += ["--pidfile", ENGINE_PID, *(["--cgroup-parent", parent] if parent else [])]
        start_background(command, log=ENGINE_LOG)
    try:
        wait_until("Docker engine answers", answers, timeout=60)
    except LabError as error:
        tail = "\n".join(ENGINE_LOG.read_text(errors="replace").splitlines()[-10:])
        raise LabError(f"the Docker engine did not start, see {ENGINE_LOG}:\n{tail}") from error


def revive() -> None:
    """Start the lab's own engine if it died: only it can take down what it made."""
    if ENGINE_ROOT.exists() and not answers():
        start()


def stop() -> bool:
    """Stop the engine, if it is the lab's own, and remove what it leaves outside of its folder."""
    stopped = stop_pid(ENGINE_PID, DAEMON, timeout=60)
    unmount_leftovers()
    if stopped:
        run(["ip", "link", "delete", "docker0"], check=False)
        shutil.rmtree(ENGINE_RUN, ignore_errors=True)
    return stopped


def unmount_leftovers() -> None:
    """Unmount what an engine that was killed left mounted: its data folder, which it mounts on itself."""
    ours = [str(ENGINE_ROOT), str(ENGINE_RUN)]
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [row.split(" ")[4].replace("\\040", " ") for row in rows]
    # Those that were mounted later are in those from before.
    for place in reversed(mounted):
        if any(place == folder or place.startswith(f"{folder}/") for folder in ours):
            run(["umount", "--lazy", place], check=False)


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
