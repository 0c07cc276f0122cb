# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the release that runs. Private to this collection."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _files, _git
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import (
    DEFAULT_FILES,
    OVERRIDE_FILES,
    ContainerState,
    Project,
    ProjectError,
    containers,
    image,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Release, ServiceRelease
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import applied_query
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import Login, query


class ReleaseError(Expected):
    """What runs cannot be read, or is not what was declared."""


@dataclass(frozen=True)
class Application:
    """The application as the operator declared it."""

    name: str
    src: str
    project: str
    code_services: tuple[str, ...]
    compose_files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    config_paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Running:
    """The release that runs, its containers, and the project as its files render now ({} when they do not)."""

    release: Release
    project: Project
    containers: tuple[ContainerState, ...]
    rendered: Mapping[str, Any] = field(repr=False)
    found: _files.Found
    notes: tuple[str, ...] = ()


def application_of(parameters: Mapping[str, Any]) -> Application:
    """Return the declared application."""
    return Application(
        name=parameters["application"],
        src=(parameters["project_src"] or "").rstrip("/"),
        project=parameters["project_name"] or parameters["application"],
        code_services=tuple(parameters["code_services"]),
        compose_files=tuple(parameters["compose_files"]),
        env_files=tuple(parameters["env_files"]),
        profiles=tuple(parameters["profiles"]),
        config_paths=tuple(parameters["config_paths"]),
    )


def project_of(application: Application, running: Sequence[ContainerState]) -> Project:
    """Return the Compose project: declared, else as its containers say that it was started."""
    compose, env = application.compose_files, application.env_files
    newest = max(running, key=lambda state: state.started_at, default=None)
    src = application.src.rstrip("/") or "/"

    def below(paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(os.path.relpath(path, src) if path.startswith(src + "/") else path for path in paths)

    if newest is not None and not compose:
        labelled = below(newest.config_files)
        loaded_by_itself = {*DEFAULT_FILES, *OVERRIDE_FILES}
        if not set(labelled) <= loaded_by_itself:
            compose = labelled
    if newest is not None and not env and below(newest.env_files) != (".env",):
        env = below(newest.env_files)
    return Project(application.project, src, tuple(compose), tuple(env), application.profiles)


def health_of(states: Iterable[ContainerState], code: Sequence[str]) -> dict[str, Any]:
    """Judge containers by what the engine says of them: verdict and reasons."""
    reasons = []
    seen = set()
    for state in states:
        seen.add(state.service)
        if not state.running:
            reasons.append(f"{state.name} is {state.state} (exit code {state.exit_code})")
        elif state.health in ("unhealthy", "starting"):
            reasons.append(f"{state.name} is {state.health}")
    reasons += [f"{service} has no container" for service in code if service not in seen]
    return {"verdict": "unhealthy" if reasons else "healthy", "reasons": reasons}


def read(client: Any, application: Application, *, folder: str = "") -> Running:
    """Read the release that runs; with ``folder`` (a restore point's) copy its files into it.

    Raises :class:`ReleaseError`, and what the engine, git and the files raise.
    """
    if not os.path.isdir(application.src):
        raise ReleaseError(f"the project's folder {application.src} does not exist on this host")
    states = containers(client, application.project)
    project = project_of(application, states)
    rendered, hashes, differences = {}, {}, []
    try:
        rendered, hashes = project.config(), project.hashes()
    except ProjectError as error:
        differences.append(f"the project's files cannot be rendered: {error}")
    known = {*hashes, *(state.service for state in states)}
    if not known:
        raise ReleaseError(
            f"nothing of Compose project '{project.name}' runs and its files in {project.src} name no service:"
            f" {'; '.join(differences) or 'no compose file was found'}"
        )
    if application.code_services and not known & set(application.code_services):
        raise ReleaseError(
            f"none of the declared code services ({', '.join(application.code_services)}) is in project"
            f" '{project.name}', which has {', '.join(sorted(known))}: set rollback_code_services"
        )
    services = {}
    for service in sorted({state.service for state in states}):
        mine = [state for state in states if state.service == service]
        services[service] = _service(client, mine, hashes.get(service, ""), service in application.code_services)
    differences += _differences(services, hashes)
    checkout = _git.read(project.src)
    git, deleted = checkout if checkout else (None, ())
    found = _files.find(
        project, rendered, application.config_paths, git.changed if git else (), git.untracked if git else ()
    )
    release = Release(
        services=services,
        name=project.name,
        src=project.src,
        compose_files=project.compose_files,
        env_files=project.env_files,
        profiles=project.profiles,
        files=_files.record(project.src, found.kinds, folder),
        absent=tuple(sorted({*found.absent, *deleted})),
        git=git,
        differences=tuple(differences),
    )
    return Running(release, project, tuple(states), rendered, found, found.notes)


def running_release(client: Any, application: Application) -> Release:
    """Return what the containers alone say of the release that runs: enough for its id and label, and quick."""
    states = containers(client, application.project)
    services = {}
    for name in sorted({state.service for state in states}):
        first = next(state for state in states if state.service == name)
        services[name] = ServiceRelease(
            image_id=first.image_id,
            reference=first.reference,
            config_hash=first.config_hash,
            code=name in application.code_services,
        )
    return Release(services=services, name=application.project, src=application.src)


def _service(client: Any, states: Sequence[ContainerState], files_hash: str, code: bool) -> ServiceRelease:
    first = states[0]
    facts = image(client, first.image_id)
    return ServiceRelease(
        image_id=first.image_id,
        reference=first.reference,
        repo_digests=facts.digests if facts else (),
        replicas=len(states),
        config_hash=first.config_hash,
        files_hash=files_hash,
        code=code,
        mixed=len({(state.image_id, state.config_hash) for state in states}) > 1,
        # A container that does not run keeps the health that it had.
        states=tuple((state.running and state.health) or state.state for state in states),
    )


def _differences(services: Mapping[str, ServiceRelease], hashes: Mapping[str, str]) -> list[str]:
    """Say, in sentences, where the project's files would not reproduce what runs."""
    sentences = []
    for name, service in services.items():
        if service.mixed:
            sentences.append(f"the containers of {name} differ among themselves")
        if hashes and not service.files_hash:
            sentences.append(f"{name} runs, but the files do not name it")
        elif service.otherwise:
            sentences.append(
                f"{name} runs with another configuration than the files give (started as {service.reference})"
            )
    return sentences


def applied_migrations(login: Login, tool: str, table: str = "") -> list[str] | None:
    """Return the applied migrations in order, from the tool's own table; None where that table does not exist.

    Raises ``DatabaseError``, and ValueError for a tool that is not known.
    """
    name, statement = applied_query(tool, table)
    if query(login, "SELECT to_regclass(%s)", (name,))[0][0] is None:
        return None
    return [str(row[0]) for row in query(login, statement)]
