# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and drive Docker and Compose projects. Private to this collection.

What runs is read through the Docker API (labels that Compose writes on its containers); Compose itself is driven
through ``docker compose``, because only it knows how it renders and hashes a project.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _libraries
from ansible_collections.schedgen.rollback.plugins.module_utils._command import CommandError, Completed, last_lines, run
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected

LABEL = "com.docker.compose."
# File names that Compose loads by itself, in its own order of preference.
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_FILES = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)

# What a service can have for which Compose does something at the moment of starting a container.
AT_START = ("configs", "post_start", "provider", "secrets")


class EngineError(Expected):
    """The Docker engine cannot be reached, or refused a request."""


class ProjectError(Expected):
    """A Compose project cannot be read or rendered; the message has Compose's own words."""


# States of a container that is to be stopped.
AT_WORK = ("running", "restarting", "paused")


@dataclass(frozen=True)
class ContainerState:
    """One container of a Compose project, as the engine sees it now."""

    id: str
    name: str
    service: str
    number: int
    image_id: str
    reference: str
    state: str
    health: str
    restarts: int
    exit_code: int
    started_at: str
    config_hash: str
    working_dir: str
    config_files: tuple[str, ...]
    env_files: tuple[str, ...]
    addresses: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[dict[str, Any], ...] = ()

    @property
    def running(self) -> bool:
        """Whether the container's main process runs (and the container is not paused or restarting)."""
        return self.state == "running"


def connect(timeout: float = 60) -> Any:
    """Return a Docker client for this host's engine (the SDK's environment variables apply).

    Raises ``MissingLibrary`` without the Docker SDK, :class:`EngineError` when the engine does not answer.
    """
    docker = _libraries.docker()
    try:
        client = docker.from_env(timeout=timeout)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from error
    return client


def _split(value: str) -> tuple[str, ...]:
    return tuple(part for part in value.split(",") if part)


def container_state(attributes: dict[str, Any]) -> ContainerState:
    """Turn the engine's inspection of one container into a :class:`ContainerState`."""
    config, state = attributes["Config"], attributes["State"]
    labels = config.get("Labels") or {}
    networks = (attributes.get("NetworkSettings") or {}).get("Networks") or {}
    environment = dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry)
    return ContainerState(
        id=attributes["Id"],
        name=attributes["Name"].lstrip("/"),
        service=labels.get(LABEL + "service", ""),
        number=int(labels.get(LABEL + "container-number") or 1),
        image_id=attributes["Image"],
        reference=config["Image"],
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", "").replace("none", ""),
        restarts=int(attributes.get("RestartCount") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        started_at=state.get("StartedAt") or "",
        config_hash=labels.get(LABEL + "config-hash", ""),
        working_dir=labels.get(LABEL + "project.working_dir", ""),
        config_files=_split(labels.get(LABEL + "project.config_files", "")),
        env_files=_split(labels.get(LABEL + "project.environment_file", "")),
        addresses={name: net.get("IPAddress") or "" for name, net in networks.items()},
        labels=labels,
        environment=environment,
        mounts=tuple(attributes.get("Mounts") or ()),
    )


def containers(
    client: Any, project: str, *, services: Iterable[str] | None = None, stopped: bool = True
) -> list[ContainerState]:
    """Return the containers of Compose project ``project`` by service and number; one-off containers are left out.

    ``services`` limits the answer to these services; ``stopped`` includes containers that do not run.
    """
    docker = _libraries.docker()
    wanted = None if services is None else set(services)
    found = []
    try:
        listed = client.api.containers(
            all=stopped, filters={"label": [f"{LABEL}project={project}", f"{LABEL}oneoff=False"]}
        )
        for entry in listed:
            try:
                state = container_state(client.api.inspect_container(entry["Id"]))
            except docker.errors.NotFound:
                continue  # removed between the list and the look
            if wanted is None or state.service in wanted:
                found.append(state)
    except (docker.errors.DockerException, OSError) as error:
        raise EngineError(f"the Docker engine did not list the containers of {project}: {error}") from error
    return sorted(found, key=lambda state: (state.service, state.number, state.name))


def stop(client: Any, project: str, services: Iterable[str]) -> tuple[str, ...]:
    """Stop every container of these services, all at once and each in its own time; return the ids of those stopped.

    Raises :class:`EngineError`.
    """
    found = [state.id for state in containers(client, project, services=services) if state.state in AT_WORK]
    docker = _libraries.docker()

    def stop_one(identifier: str) -> None:
        # What removed it meanwhile has stopped it too.
        with contextlib.suppress(docker.errors.NotFound):
            client.api.stop(identifier)

    try:
        with ThreadPoolExecutor(max_workers=max(1, len(found))) as pool:
            list(pool.map(stop_one, found))
    except (docker.errors.DockerException, OSError) as error:
        raise EngineError(f"the services of {project} cannot be stopped: {error}") from error
    return tuple(found)


def start(client: Any, identifiers: Iterable[str]) -> list[str]:
    """Start stopped containers again; return what is wrong with those that do not start."""
    wrong = []
    for identifier in identifiers:
        try:
            client.api.start(identifier)
        except (_libraries.docker().errors.DockerException, OSError) as error:
            wrong.append(f"container {identifier[:12]} does not start again: {error}")
    return wrong


@dataclass(frozen=True)
class Image:
    """An image that is present on the host. ``created`` is the engine's own RFC 3339 text, ``size`` is in bytes."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    created: str


def image(client: Any, reference: str) -> Image | None:
    """Return the local image that ``reference`` (a name, a digest or an id) points to, or None."""
    docker = _libraries.docker()
    try:
        attributes = client.api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        return None
    except (docker.errors.DockerException, OSError) as error:
        raise EngineError(f"the Docker engine did not show image {reference}: {error}") from error
    return Image(
        id=attributes["Id"],
        tags=tuple(attributes.get("RepoTags") or ()),
        digests=tuple(attributes.get("RepoDigests") or ()),
        size=int(attributes.get("Size") or 0),
        created=attributes.get("Created") or "",
    )


def dependencies(rendered: Mapping[str, Any], services: Iterable[str]) -> set[str]:
    """Return every service of a rendered project that ``services`` depend on, directly or through others."""
    found: set[str] = set()
    waiting = list(services)
    while waiting:
        needed = set((rendered["services"].get(waiting.pop()) or {}).get("depends_on") or {}) - found
        found |= needed
        waiting += needed
    return found


def only_compose_starts(rendered: Mapping[str, Any], services: Iterable[str]) -> bool:
    """Tell whether Compose has more to do than to start the containers of ``services`` once they are made.

    That is when one of them waits for another, or when Compose runs something at the start or puts files in.
    """
    together = set(services)
    return any(
        together & dependencies(rendered, [name])
        or any((rendered["services"].get(name) or {}).get(key) for key in AT_START)
        for name in together
    )


@dataclass(frozen=True)
class Project:
    """A Compose project on this host: where its files are and how ``docker compose`` is to be called for it."""

    name: str
    src: str
    compose_files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """Return the whole ``docker compose`` command for ``arguments``."""
        command = ["docker", "compose", "--project-name", self.name, "--project-directory", self.src]
        for path in self.compose_files:
            command += ["--file", os.path.join(self.src, path)]
        for path in self.env_files:
            command += ["--env-file", os.path.join(self.src, path)]
        for profile in self.profiles:
            command += ["--profile", profile]
        return [*command, *arguments]

    def run(self, arguments: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run ``docker compose`` with ``arguments`` in the project's folder, whatever its exit code.

        Variables of this process that Compose would interpolate stay out (``_command.environment``): only the
        project's own files count.
        """
        return run(
            self.argv(arguments),
            timeout=timeout,
            cwd=self.src,
            env={"COMPOSE_ANSI": "never", "COMPOSE_PROGRESS": "plain"},
        )

    def check(self, arguments: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Like :meth:`run`, but raise :class:`ProjectError` with Compose's own words on a non-zero exit code."""
        try:
            done = self.run(arguments, timeout=timeout)
        except (CommandError, OSError) as error:
            raise ProjectError(f"docker compose for {self.name} in {self.src}: {error}") from error
        if done.rc != 0:
            words = last_lines(done.stderr) or last_lines(done.stdout)
            raise ProjectError(f"docker compose {arguments[0]} for {self.name} in {self.src} failed: {words}")
        return done

    def config(self) -> dict[str, Any]:
        """Return the rendered project (``docker compose config``). It can hold secrets: never log or return it."""
        rendered: dict[str, Any] = json.loads(self.check(["config", "--format", "json"], timeout=60).stdout)
        return rendered

    def hashes(self) -> dict[str, str]:
        """Return Compose's own configuration hash of every service, as it labels new containers with."""
        lines = self.check(["config", "--hash", "*"], timeout=60).stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines if len(line.split()) == 2)
