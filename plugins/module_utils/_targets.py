# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn what an operator names into the release to go to, with its files staged. Private to this collection."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog_reader,
    _command,
    _files,
    _git,
    _schema,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import Image, Project, ProjectError, image
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    GitRecord,
    Manifest,
    Release,
    ServiceRelease,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._plan import (
    full_reference,
    parse_images,
    target_release,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import Application, Running
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoredPoint

# A target that leaves the release alone.
RUNNING = "what runs"


class TargetError(Expected):
    """What the operator named cannot be gone back to."""


@dataclass(frozen=True)
class Target:
    """Where to go: ``kind`` is restore point, git or images; ``source`` is the folder with stored copies of files.

    ``staged`` is the project as its files would be, in a folder of its own; ``rendered`` is what Compose makes of it.
    ``migrations`` is None when the target does not know them. ``redefined`` are services whose definition is another
    one although their images do not tell.
    """

    kind: str
    name: str
    release: Release
    staged: Project
    rendered: Mapping[str, Any] = field(repr=False)
    source: str = ""
    migrations: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    redefined: tuple[str, ...] = ()


def resolve(
    client: Any,
    store: Store,
    application: Application,
    running: Running,
    name: str,
    staging: str,
    *,
    pull: bool,
    timeout: float,
) -> Target:
    """Resolve ``name``: a restore point's id, a git tag or commit, images per service, or ``RUNNING``; stage its files.

    ``pull`` allows fetching images that only a tag names (there is no other way to learn their ids); ``timeout`` in
    seconds is for one pull. Raises :class:`TargetError` and what staging and rendering raise.
    """
    if os.path.isdir(os.path.join(store.points_dir, name)):
        return _from_point(store, application, name, staging)
    if name == RUNNING:
        return _from_running(running)
    if "=" in name:
        return _from_images(client, running, name, pull=pull, timeout=timeout)
    commit = _git.resolve(running.project.src, name)
    if commit:
        return _from_git(client, application, running, name, commit, staging, pull=pull, timeout=timeout)
    known = ", ".join(point.id for point in store.points()[-3:]) or "none"
    raise TargetError(
        f"'{name}' is no restore point of {application.name} (newest: {known}), no tag or commit of"
        f" {running.project.src}, and not of the form service=tag,service=tag"
    )


def stage_records(src_copy: str, source: str, release: Release) -> Project:
    """Lay a restore point's files into the staging folder; return the project as it would be."""
    absolute = {}
    for entry in release.files:
        if os.path.isabs(entry.path):
            absolute[entry.path] = os.path.join(source, entry.stored)
            continue
        full = os.path.join(src_copy, entry.path)
        os.makedirs(os.path.dirname(full), mode=0o700, exist_ok=True)
        if os.path.lexists(full):
            os.unlink(full)
        if entry.link:
            os.symlink(entry.link, full)
        else:
            shutil.copyfile(os.path.join(source, entry.stored), full)
    for name in release.absent:
        full = os.path.join(src_copy, name)
        if not os.path.isabs(name) and os.path.isfile(full):
            os.unlink(full)
    return Project(
        release.name,
        src_copy,
        tuple(absolute.get(path, path) for path in release.compose_files),
        tuple(absolute.get(path, path) for path in release.env_files),
        release.profiles,
    )


def _from_point(store: Store, application: Application, name: str, staging: str) -> Target:
    point = store.point(name)
    if point.manifest is None:
        raise TargetError(f"restore point {name} cannot be used: {point.problem}")
    wrong = _damaged_files(store, point, point.manifest)
    if wrong:
        raise TargetError(f"restore point {name} is damaged: {'; '.join(wrong)}")
    release = point.manifest.release
    if os.path.normpath(release.src) != os.path.normpath(application.src):
        raise TargetError(f"restore point {name} belongs to {release.src}, and the project is now in {application.src}")
    warnings = [f"when it was taken, {sentence}" for sentence in release.differences]
    if release.git is not None and _git.has_commit(application.src, release.git.commit):
        _git.export(application.src, release.git.commit, staging)
    elif release.git is not None:
        warnings.append(f"commit {release.git.commit[:12]} is gone from the checkout: only the recorded files go back")
    staged = stage_records(staging, point.path, release)
    history = (point.manifest.migrations or {}).get("applied")
    return Target(
        "restore point",
        name,
        release,
        staged,
        staged.config(),
        point.path,
        None if history is None else tuple(history),
        tuple(warnings),
    )


def _damaged_files(store: Store, point: StoredPoint, manifest: Manifest) -> list[str]:
    """Verify only what an application rollback uses: reading a whole dump would take time that an outage has not."""
    used = ("files/", _catalog_reader.FILE)
    only = {path: entry for path, entry in manifest.checksums.items() if path.startswith(used)}
    return store.verify(replace(point, manifest=replace(manifest, checksums=only)))


def named_image(client: Any, service: str, reference: str, *, pull: bool, timeout: float) -> Image:
    """Return the image that a reference means, pulled when it is not on this host."""
    facts = image(client, reference)
    if facts is None and pull:
        try:
            _command.check(["docker", "pull", "--quiet", reference], timeout=timeout)
        except _command.CommandError as error:
            raise TargetError(
                f"image {reference} of {service} is not on this host, and pulling it {error.reason}"
            ) from error
        facts = image(client, reference)
    if facts is None:
        raise TargetError(f"image {reference} of {service} is not on this host; a real run would try to pull it")
    return facts


def service_with(running: Running, service: str, reference: str, facts: Image) -> ServiceRelease:
    """Return a code service with another image, in as many containers as it has now."""
    now = running.release.services.get(service)
    return ServiceRelease(
        image_id=facts.id,
        reference=reference,
        repo_digests=facts.digests,
        replicas=now.replicas if now else 1,
        code=True,
    )


def _from_images(client: Any, running: Running, name: str, *, pull: bool, timeout: float) -> Target:
    try:
        wanted = parse_images(name)
    except ValueError as error:
        raise TargetError(str(error)) from error
    rendered = running.rendered or running.project.config()
    services = {}
    for service, text in wanted.items():
        if service not in rendered["services"]:
            raise TargetError(f"the project has no service '{service}': {', '.join(sorted(rendered['services']))}")
        reference = full_reference(text, compose_reference(running.project, rendered, service))
        services[service] = service_with(
            running, service, reference, named_image(client, service, reference, pull=pull, timeout=timeout)
        )
    warnings = [
        "no restore point describes this target: files stay as they are, its health and migrations are not known"
    ]
    return Target(
        "images", name, target_release(running.release, services), running.project, rendered, warnings=tuple(warnings)
    )


def _from_running(running: Running) -> Target:
    services = {name: entry for name, entry in running.release.services.items() if entry.code}
    rendered = running.rendered or running.project.config()
    return Target("images", RUNNING, target_release(running.release, services), running.project, rendered)


def _from_git(
    client: Any,
    application: Application,
    running: Running,
    name: str,
    commit: str,
    staging: str,
    *,
    pull: bool,
    timeout: float,
) -> Target:
    _git.export(running.project.src, commit, staging)
    tracked = _git.tracked(running.project.src)
    for path in running.found.kinds:
        copy = os.path.join(staging, path)
        # What git does not know, such as .env, stays in the project's folder and so belongs to the target.
        if not os.path.isabs(path) and not os.path.lexists(copy) and path not in tracked:
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(_files.full_path(running.project.src, path), copy)
    built = []
    declared = tuple(path for path in running.project.compose_files if os.path.exists(os.path.join(staging, path)))
    staged = replace(running.project, src=staging, compose_files=declared)
    rendered = staged.config()
    services = {}
    for service in application.code_services:
        if service in rendered["services"]:
            reference = compose_reference(staged, rendered, service)
            try:
                facts = named_image(client, service, reference, pull=pull, timeout=timeout)
            except TargetError:
                if not pull or not rendered["services"][service].get("build"):
                    raise
                facts = _built_image(client, staged, service, reference, timeout=timeout)
                built.append(service)
            replicas = rendered_replicas(rendered, service)
            services[service] = replace(service_with(running, service, reference, facts), replicas=replicas)
    if not services:
        raise TargetError(
            f"none of the code services ({', '.join(application.code_services)}) is in the files of {name}"
        )
    release = replace(target_release(running.release, services), compose_files=declared)
    warning = (
        f"no restore point describes {name}: images are those that its tags mean now,"
        " its health and migrations are not known"
    )
    release = replace(release, git=GitRecord(commit, describe=name))
    warnings = [warning, *([f"built from {name} now, no registry has it: {', '.join(built)}"] if built else [])]
    return Target("git", name, release, staged, rendered, warnings=tuple(warnings))


def _built_image(client: Any, staged: Project, service: str, reference: str, *, timeout: float) -> Image:
    """Build a service's image, which is nowhere, from the staged files: no name that means an image now is moved."""
    try:
        staged.check(["build", "--quiet", service], timeout=timeout)
    except ProjectError as error:
        raise TargetError(
            f"image {reference} of {service} is nowhere to be had, and building it failed: {error}"
        ) from error
    facts = image(client, reference)
    if facts is None:
        raise TargetError(f"building {service} made no image {reference}")
    return facts


def compose_reference(project: Project, rendered: Mapping[str, Any], service: str) -> str:
    """Return the image name that the compose file gives a service (Compose's own name when it only builds)."""
    return rendered["services"][service].get("image") or f"{project.name}-{service}"


def rendered_replicas(rendered: Mapping[str, Any], service: str) -> int:
    """Return how many containers the compose file asks for."""
    entry = rendered["services"][service]
    deploy = (entry.get("deploy") or {}).get("replicas")
    return int(deploy if deploy is not None else entry.get("scale", 1))


def judge_schema(login: Login | None, settings: _schema.Settings, reason: str, target: Target) -> Judgement:
    """Judge whether a target can live with the database's schema; ``reason`` says why there is no login.

    What cannot be asked is not known, and no error: the caller decides.
    """
    if login is None:
        return Judgement("unknown", (reason,))
    try:
        catalog = _catalog_reader.recorded(target.source) if target.source else None
        if catalog is None and target.migrations is None:
            return Judgement("unknown", ("no migration history and no catalogue was recorded with the target",))
        against = _schema.Reference(target.name, target.release.label, target.migrations, catalog)
        return _schema.assess(login, settings, against).judgement
    except (DatabaseError, ValueError) as error:
        return Judgement("unknown", (f"the database cannot be asked: {error}",))
