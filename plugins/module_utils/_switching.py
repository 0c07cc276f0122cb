# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare and carry out the switch from the running release to another. Private to this collection.

Preparing touches nothing that runs. Carrying out is the critical section: it ends with the target healthy, or with
what was there before put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Protocol

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _environment,
    _files,
    _git,
    _health,
    _images,
    _logins,
    _masking,
    _plan,
    _releases,
    _targets,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import (
    ContainerState,
    EngineError,
    Project,
    containers,
    dependencies,
    image,
    only_compose_starts,
    stop,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    Release,
    ServiceRelease,
    release_from_dict,
    release_to_dict,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, query
from ansible_collections.schedgen.rollback.plugins.module_utils._store import LockLost, Store, StoreError, write_file

# A container without a health check counts as well when it has run this long (seconds) without a restart.
SETTLED = 2.0
# A service that was restarted this often since the switch does not get well by waiting.
HOPELESS_RESTARTS = 3
POLL = 0.4
# States, and healths, of containers that were at work.
RUNS = {"running", "healthy", "unhealthy", "starting", "restarting"}


class PrepareError(Expected):
    """The switch cannot be made; nothing was touched."""


class SwitchError(Exception):
    """The switch failed. ``put_back`` tells whether what was there before is there again."""

    def __init__(self, reason: str, put_back: bool, detail: str = "") -> None:
        self.reason = reason
        self.put_back = put_back
        self.detail = detail
        super().__init__(reason)


@dataclass(frozen=True)
class Prepared:
    """A plan with what it needs to be carried out."""

    plan: _plan.Plan
    target: Release
    project: Project
    source: str
    file_diffs: tuple[tuple[str, str, str, str], ...] = field(default=(), repr=False)

    def configuration(self) -> list[dict[str, Any]]:
        """Return the files that change, each with the names of the keys that do; no value, and no file of secrets."""
        return [
            {"path": path, "keys": _masking.changed_keys(old, new)}
            for path, kind, old, new in self.file_diffs
            if kind != "secret"
        ]


def _references(target: _targets.Target) -> dict[str, str]:
    """Return the compose file's image name of every service that the target replaces."""
    missing = [
        name
        for name, service in target.release.services.items()
        if service.goes_back and name not in target.rendered["services"]
    ]
    if missing:
        raise PrepareError(
            f"the compose files of {target.name} do not name {', '.join(sorted(missing))}, which ran then:"
            " was it started with other files or a profile? Set rollback_compose_files or rollback_profiles"
        )
    return {
        name: _targets.compose_reference(target.staged, target.rendered, name)
        for name, service in target.release.services.items()
        if service.goes_back
    }


def _image_steps(
    client: Any, store: Store, target: _targets.Target, references: Mapping[str, str], *, fetch: bool, timeout: float
) -> tuple[_plan.Image, ...]:
    """Have every image present (``fetch``), or only say where it would come from. Raises :class:`PrepareError`."""
    steps, problems = [], []
    for name, reference in sorted(references.items()):
        service = target.release.services[name]
        if "@" in reference and not reference.endswith(
            tuple(digest.split("@", 1)[1] for digest in service.repo_digests) or "\0"
        ):
            problems.append(f"{name}: the compose file pins {reference}, which is not the recorded image")
            continue
        try:
            place = (
                _images.fetch(client, store, service, timeout=timeout)
                if fetch
                else _images.locate(client, store, service)
            )
        except _images.ImageError as error:
            problems.append(f"{name}: {error}")
            continue
        if place.place == "nowhere":
            problems.append(f"{name}: image {service.reference} ({service.image_id[:19]}): {place.detail}")
            continue
        now = image(client, reference)
        steps.append(_plan.Image(name, service.image_id, place.place, reference, now.id if now else ""))
    if problems:
        raise PrepareError("images cannot be had: " + "; ".join(problems))
    by_reference: dict[str, str] = {}
    for step in steps:
        if by_reference.setdefault(step.reference, step.image_id) != step.image_id:
            raise PrepareError(
                f"two services use the name {step.reference} and ran different images: it can mean only one"
            )
    return tuple(steps)


def _try_logins(target: _targets.Target, database_service: str, login: Login | None) -> list[str]:
    """Log in to the database as the staged configuration would; return warnings. Raises :class:`PrepareError`."""
    if login is None or login.container is None:
        return []
    names = {database_service, login.container.name}
    names.update(alias for alias in (login.container.labels.get("com.docker.compose.service", ""),) if alias)
    warnings, tried = [], set()
    for service in sorted(name for name, entry in target.release.services.items() if entry.goes_back):
        environment = target.rendered["services"][service].get("environment") or {}
        for found in _logins.find({key: str(value) for key, value in environment.items() if value is not None}):
            where = f"{service} ({', '.join(found.variables)})"
            if found.host not in names:
                warnings.append(f"{where} names database host {found.host}, which was not tried")
                continue
            if (found.user, found.password, found.dbname) in tried:
                continue
            tried.add((found.user, found.password, found.dbname))
            try:
                query(Login(login.host, login.port, found.dbname, found.user, found.password), "SELECT 1")
            except DatabaseError as error:
                raise PrepareError(f"the database refuses the login that {where} would use: {error}") from error
    return warnings


def _refuse_risk(running: _releases.Running, target: _targets.Target, volumes: Sequence[str]) -> None:
    """Raise :class:`PrepareError` where a service would start another version on data that stay."""
    risks = []
    for name, then in target.release.services.items():
        now = running.release.services.get(name)
        kept = {
            str(mount["Name"])
            for state in running.containers
            if state.service == name
            for mount in state.mounts
            if mount.get("Type") == "volume" and mount.get("RW", True)
        } - set(volumes)
        if then.along and not then.code and now is not None and kept:
            risk = _plan.data_at_risk(now.reference, then.reference)
            if risk:
                risks.append(f"{name}: {risk}; name its volume in rollback_volumes: {', '.join(sorted(kept))}")
    if risks:
        raise PrepareError("data would be opened by another version: " + "; ".join(risks))


def _orphans(running: _releases.Running, target: _targets.Target) -> tuple[list[str], list[str]]:
    """Return services that run but are not in the target: those to remove, and warnings for those with data."""
    if target.kind == "images":
        return [], []
    remove, warnings = [], []
    for name in sorted(set(running.release.services) - set(target.rendered["services"])):
        mine = [state for state in running.containers if state.service == name]
        if any(mount.get("Type") == "volume" for state in mine for mount in state.mounts):
            warnings.append(f"{name} is not part of this release and holds a volume: it is left running")
        else:
            remove.append(name)
    return remove, warnings


def prepare(
    client: Any,
    store: Store,
    application: _releases.Application,
    name: str,
    staging: str,
    *,
    database_service: str,
    login: Login | None,
    judge: Callable[[_targets.Target], Judgement],
    start_first: Sequence[str] = (),
    fetch: bool = True,
    pull_timeout: float = 300,
    whole: bool = False,
    volumes: Sequence[str] = (),
    values: Mapping[str, str] | None = None,
    kept: str = "",
) -> tuple[Prepared, _releases.Running]:
    """Find out everything that can fail, and have everything present; touch nothing that runs.

    ``judge`` says whether the target can live with the database's schema. ``whole`` takes every service along but the
    database's, and ``volumes`` are those whose content goes back with them. ``values`` are
    other ones of variables in env files, and ``kept`` the folder for the files that they change. Raises
    :class:`PrepareError`, and what reading, resolving and rendering raise.
    """
    running = _releases.read(client, application)
    target = _environment.resolve(
        client,
        store,
        application,
        running,
        name,
        staging,
        values=values or {},
        pull=fetch,
        timeout=pull_timeout,
        kept=kept,
    )
    if whole:
        target = replace(target, release=target.release.all_along(database_service))
        _refuse_risk(running, target, volumes)
    references = _references(target)
    steps = _image_steps(client, store, target, references, fetch=fetch, timeout=pull_timeout)
    warnings = [*target.warnings, *_try_logins(target, database_service, login)]
    remove, orphan_warnings = _orphans(running, target)
    warnings += orphan_warnings
    commit, ref, changes = _file_steps(running, target)
    exact = target.kind == "restore point"
    to_replace = _plan.services_to_replace(running.release.services, target.release.services, steps, exact)
    if target.kind == "git" and (commit or changes):
        to_replace = tuple(sorted(references))
    to_replace = tuple(sorted({*to_replace, *target.redefined}))
    start, drift = _stateful(running, target)
    plan = _plan.Plan(
        application=application.name,
        kind=target.kind,
        target=name,
        label=target.release.label if target.kind != "images" else target.name,
        running=running.release.id,
        running_label=running.release.label,
        images=steps,
        commit=commit,
        ref=ref,
        files=tuple((change.path, change.action) for change in changes),
        replace=to_replace,
        start_first=tuple(sorted(set(start_first) & set(to_replace))),
        start=tuple(start),
        remove=tuple(remove),
        scale=_scale(target, references),
        schema=judge(target),
        warnings=tuple(dict.fromkeys([*warnings, *drift])),
    )
    project = _real_project(application, target)
    return Prepared(plan, target.release, project, target.source, _file_diffs(running, target)), running


def _file_diffs(running: _releases.Running, target: _targets.Target) -> tuple[tuple[str, str, str, str], ...]:
    """Return path, kind, and text before and after, of every file of either release that differs."""
    if target.kind == "images" and not target.source:
        return ()
    kinds = {**running.found.kinds, **{entry.path: entry.kind for entry in target.release.files}}
    recorded = {entry.path: entry.stored for entry in target.release.files if entry.stored}
    changed = []
    for path, kind in sorted(kinds.items()):
        # Outside the project nothing changes but what the target has recorded, or knows to have been absent.
        if os.path.isabs(path) and path not in recorded and path not in target.release.absent:
            continue
        before = _text(_files.full_path(running.project.src, path))
        staged = (
            os.path.join(target.source, recorded.get(path, ""))
            if os.path.isabs(path)
            else os.path.join(target.staged.src, path)
        )
        after = _text(staged)
        if before != after:
            changed.append((path, kind, before, after))
    return tuple(changed)


def _text(path: str) -> str:
    """Return a file's text, '' when there is none, and a remark in place of what is no text."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except UnicodeDecodeError:
        return "(not text)\n"


def _real_project(application: _releases.Application, target: _targets.Target) -> Project:
    release = target.release
    return Project(
        application.project, application.src.rstrip("/"), release.compose_files, release.env_files, release.profiles
    )


def _file_steps(running: _releases.Running, target: _targets.Target) -> tuple[str, str, list[_files.Change]]:
    """Return the commit to check out ('' for none), its branch, and the files to put back besides."""
    release, src = target.release, running.project.src
    git = release.git
    commit = ref = ""
    if git is not None and _git.has_commit(src, git.commit):
        now = running.release.git
        if now is None or now.commit != git.commit or not now.clean:
            commit, ref = git.commit, git.ref
    changes = list(_files.compare(src, release.files, release.absent))
    if commit:
        covered = _git.tracked(src, commit) - set(git.changed if git else ())
        changes = [change for change in changes if change.path not in covered]
    return commit, ref, changes


def _stateful(running: _releases.Running, target: _targets.Target) -> tuple[list[str], list[str]]:
    """Return the target's other services that do not run, and sentences on those that run otherwise than recorded."""
    if target.kind == "images":
        return [], []
    start, drift = [], []
    for name, then in sorted(target.release.services.items()):
        if then.goes_back:
            continue
        now = running.release.services.get(name)
        if now is None or not any(state in ("running", "healthy", "starting", "unhealthy") for state in now.states):
            start.append(name)
        elif (now.image_id, now.config_hash) != (then.image_id, then.config_hash):
            drift.append(
                f"{name} runs otherwise than recorded (image or configuration): a quick rollback leaves it as it is"
            )
    if target.kind == "git":
        present = {name for name, entry in running.release.services.items() if entry.states}
        start = sorted(set(target.rendered["services"]) - present - set(target.release.services))
    return start, drift


def _scale(target: _targets.Target, references: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Return the services whose number of containers was not the compose file's own."""
    return tuple(
        (name, target.release.services[name].replicas)
        for name in sorted(references)
        if target.release.services[name].replicas != _targets.rendered_replicas(target.rendered, name)
    )


def services_that_go_back(*releases: Release) -> list[str]:
    """Return the services that go back, in any of these releases."""
    return sorted({name for release in releases for name, entry in release.services.items() if entry.goes_back})


class Change(Protocol):
    """What changes besides the release while the services that carry code are stopped: the database."""

    def carry_out(self) -> None:
        """Make the change. Raises when that fails; :meth:`put_back` is called then."""

    def put_back(self) -> None:
        """Make things as they were; nothing to do where nothing was changed. Raises when that fails."""

    def check(self) -> None:
        """Raise when the change does not hold although the target is healthy."""


@dataclass
class Switch:
    """The critical section: one switch, journalled, that ends with the target healthy or with what was before.

    ``before`` and ``before_source`` are the safety restore point's release and folder; ``deadline`` in seconds is the
    time that the target has to become healthy. ``overlap`` in seconds is how long new containers that start first are
    well beside the old ones before those are stopped. For a ``change`` the services that carry code are stopped first,
    and started when it is made.
    """

    client: Any
    store: Store
    run: str
    prepared: Prepared
    before: Release
    before_source: str
    deadline: float = 120.0
    change: Change | None = None
    overlap: float = 3.0
    _timings: dict[str, float] = field(default_factory=dict)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that each step took."""
        return dict(self._timings)

    @contextlib.contextmanager
    def _step(self, name: str, **details: Any) -> Iterator[None]:
        self.store.still_held(self.run)
        self.store.journal(self.run, name, "started", **details)
        started = time.monotonic()
        try:
            yield
        except Exception as error:
            self.store.journal(
                self.run, name, "failed", message=str(error), seconds=round(time.monotonic() - started, 3)
            )
            raise
        self._timings[name] = round(time.monotonic() - started, 3)
        self.store.journal(self.run, name, "done", seconds=self._timings[name])

    def carry_out(self) -> dict[str, float]:
        """Switch, wait until healthy and compare what runs with the plan. Raises :class:`SwitchError`."""
        plan, project = self.prepared.plan, self.prepared.project
        self.store.journal(self.run, "switch", "started", target=plan.target, plan=plan.hash)
        try:
            if self.change is not None:
                with self._step("stop"):
                    stop(self.client, project.name, self._services())
                with self._step("database"):
                    self.change.carry_out()
            with self._step("files"):
                self._put_files(self.prepared.target, self.prepared.source, plan.commit, plan.ref)
            with self._step("references"):
                for step in plan.images:
                    if "@" not in step.reference and step.points_to != step.image_id:
                        _images.tag(self.client, step.image_id, step.reference)
            expected = {step.service: step.image_id for step in plan.images}
            with self._step("services", replace=list(plan.replace)):
                self._replace(project, plan, expected)
            with self._step("health"):
                self._wait(project.name, expected, self.prepared.target.services)
            with self._step("compare"):
                self._compare(project.name, expected)
            if self.change is not None:
                with self._step("proof"):
                    self.change.check()
        except Exception as error:
            reason = str(error)
            try:
                self.store.still_held(self.run)
            except LockLost as lost:
                # Who holds the lock now decides what becomes of it: two hands on one application would tear it apart.
                detail = f"nothing was put back, because this run has the application no more ({lost})"
            else:
                detail = self._put_back()
            self._told("switch", "failed", message=reason, put_back=not detail)
            raise SwitchError(reason, not detail, detail) from error
        self._told("switch", "done", target=plan.target)
        return self.timings

    def _told(self, step: str, status: str, **details: Any) -> None:
        """Write to the journal where that can be done: a full disk must not keep anything from being put back."""
        with contextlib.suppress(OSError, StoreError):
            self.store.journal(self.run, step, status, **details)

    def _services(self) -> list[str]:
        return services_that_go_back(self.before, self.prepared.target)

    def _put_files(self, release: Release, source: str, commit: str, ref: str) -> None:
        src = self.prepared.project.src
        aside = os.path.join(self.store.run_path(self.run), "set_aside")
        if commit:
            _git.check_out(src, commit, ref)
        if source:
            os.makedirs(aside, mode=0o700, exist_ok=True)
            _files.put_back(src, source, release.files, release.absent, aside)

    def _up(self, project: Project, services: Sequence[str], options: Sequence[str] = ()) -> None:
        if services:
            alone = [] if self._dependencies_stay(project, project.config(), services) else ["--no-deps"]
            project.check(
                ["up", "--detach", "--no-build", "--pull", "never", *alone, *options, *services],
                timeout=self.deadline + 60,
            )

    def _recreate(self, project: Project, services: Sequence[str], options: Sequence[str] = ()) -> None:
        """Replace containers with the shortest gap.

        ``docker compose up`` looks every half second whether dependencies are healthy, after it has stopped the old
        containers, and also where they were healthy all along. Where nothing is to be waited for, Compose replaces the
        containers and they are started here.
        """
        if not services:
            return
        rendered = project.config()
        if only_compose_starts(rendered, services) or not self._dependencies_stay(project, rendered, services):
            self._up(project, services, options)
            return
        command = ["create", "--no-build", "--pull", "never", *options, *services]
        project.check(command, timeout=self.deadline + 60)
        waiting = [
            state.id
            for state in containers(self.client, project.name, services=services)
            if state.state in ("created", "exited")
        ]
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(self.client.api.start, waiting))

    def _dependencies_stay(self, project: Project, rendered: Mapping[str, Any], services: Sequence[str]) -> bool:
        """Tell whether Compose would leave the other services that these depend on as they are.

        ``--no-deps`` would see to that as well, but it gives containers another configuration hash than a plain
        ``docker compose up`` does, which would then replace them once more.
        """
        others = sorted(dependencies(rendered, services) - set(services))
        hashes = project.hashes()
        states = containers(self.client, project.name, services=others)
        return all(
            any(state.service == name for state in states)
            and all(
                state.running and state.health in ("", "healthy") and state.config_hash == hashes.get(name)
                for state in states
                if state.service == name
            )
            for name in others
        )

    def _replace(self, project: Project, plan: _plan.Plan, expected: Mapping[str, str]) -> None:
        scale = dict(plan.scale)
        self._up(project, plan.start, ["--no-recreate"])
        self._start_first(project, {name: expected[name] for name in plan.start_first})
        # Also the services that the plan finds right: Compose leaves them alone, and it sees what the plan cannot.
        rest = [name for name in expected if name not in plan.start_first]
        self._recreate(project, rest, [f"--scale={name}={scale[name]}" for name in rest if name in scale])
        self._remove(project.name, plan.remove)

    def _start_first(self, project: Project, expected: Mapping[str, str]) -> None:
        """Add new containers beside the old ones, have them well for the overlap, then stop the old ones.

        Healthy is not yet found: what calls a service may keep the addresses that it looked up before, and would know
        only the container that stops.
        """
        if not expected:
            return
        replicas = {name: self.prepared.target.services[name].replicas for name in expected}
        old = containers(self.client, project.name, services=expected)
        counts = {name: sum(state.service == name for state in old) + replicas[name] for name in expected}
        known = {state.id for state in old}

        def new_ones() -> list[ContainerState]:
            states = containers(self.client, project.name, services=expected)
            return [state for state in states if state.id not in known]

        try:
            scale = [f"--scale={name}={count}" for name, count in counts.items()]
            self._up(project, list(expected), ["--no-recreate", *scale])
            self._until(lambda: _not_well(new_ones(), expected, replicas), stay=self.overlap)
        except Exception:
            for state in new_ones():
                self.client.api.remove_container(state.id, force=True, v=True)
            raise
        for state in old:
            self.client.api.stop(state.id)
            self.client.api.remove_container(state.id, force=True, v=True)

    def _remove(self, project_name: str, services: Sequence[str]) -> None:
        if services:
            for state in containers(self.client, project_name, services=services):
                self.client.api.stop(state.id)
                self.client.api.remove_container(state.id, v=True)

    def _wait(self, project_name: str, expected: Mapping[str, str], services: Mapping[str, ServiceRelease]) -> None:
        replicas = {name: services[name].replicas for name in expected}
        self._until(lambda: _not_well(containers(self.client, project_name, services=expected), expected, replicas))

    def _until(self, problems: Callable[[], list[tuple[str, bool]]], stay: float = 0.0) -> None:
        """Wait until ``problems()`` has returned none for ``stay`` seconds on end.

        Raises :class:`PrepareError` when they last or are hopeless.
        """
        end = time.monotonic() + self.deadline
        since = None
        while True:
            found = problems()
            now = time.monotonic()
            since = _health.steady_since(since, not found, now)
            if since is not None and now - since >= stay:
                return
            hopeless = [text for text, final in found if final]
            if hopeless or (found and now >= end):
                texts = hopeless or [text for text, _final in found]
                limit = "" if hopeless else f" after {self.deadline:g} s"
                raise PrepareError(f"not healthy{limit}: {'; '.join(texts)}")
            time.sleep(POLL)

    def _compare(self, project_name: str, expected: Mapping[str, str]) -> None:
        wrong = [
            f"{state.name} runs {state.image_id[:19]} and not {expected[state.service][:19]}"
            for state in containers(self.client, project_name, services=expected)
            if state.image_id != expected[state.service]
        ]
        if wrong:
            raise PrepareError("what runs is not what the plan says: " + "; ".join(wrong))

    def _put_back(self) -> str:
        """Make things as they were before the switch; return what could not be put back ('' when all was)."""
        before, plan = self.before, self.prepared.plan
        self._told("put back", "started")
        if self.change is not None:
            try:
                stop(self.client, self.prepared.project.name, self._services())
                self.change.put_back()
            except Exception as error:
                # Started on a database that is not its own, the release could write what nobody can take back.
                reason = f"the database could not be put back, and the services stay stopped: {error}"
                self._told("put back", "failed", problems=[reason])
                return reason
        problems = []
        project = Project(
            self.prepared.project.name, before.src, before.compose_files, before.env_files, before.profiles
        )
        code = {name: entry for name, entry in before.services.items() if entry.goes_back}
        try:
            git = before.git
            self._put_files(
                before, self.before_source, git.commit if git and plan.commit else "", git.ref if git else ""
            )
            for step in plan.images:
                if "@" in step.reference or step.points_to == step.image_id:
                    continue
                if step.points_to:
                    _images.tag(self.client, step.points_to, step.reference)
                else:
                    _images.untag(self.client, step.reference)
            rendered = project.config()
            for name, entry in code.items():
                reference = _targets.compose_reference(project, rendered, name) if name in rendered["services"] else ""
                now = image(self.client, reference) if reference else None
                # Only for the moment of starting: what the name meant before is restored above where it differed.
                if reference and "@" not in reference and (now is None or now.id != entry.image_id):
                    _images.tag(self.client, entry.image_id, reference)
                    problems.append(f"{reference} now means {entry.image_id[:19]}, as {name} ran it")
            there = {name: entry for name, entry in code.items() if name in rendered["services"]}
            ran = [name for name, entry in there.items() if set(entry.states) & RUNS]
            self._up(project, ran, [f"--scale={name}={there[name].replicas}" for name in ran])
            # What was stopped when this began stays so: it may not fit the database that it would find.
            for name in there.keys() - ran:
                project.check(
                    ["create", "--no-build", "--pull", "never", f"--scale={name}={there[name].replicas}", name]
                )
            self._remove(project.name, sorted(set(self.prepared.target.services) - set(before.services)))
            removed = [name for name in plan.remove if name in rendered["services"]]
            self._up(project, [name for name in removed if name not in code], ["--no-recreate"])
            missing = self._not_as_before(project.name, code)
        except Exception as error:
            missing = [str(error)]
        self._told("put back", "failed" if missing else "done", problems=[*missing, *problems])
        return "; ".join(missing)

    def _not_as_before(self, project_name: str, code: Mapping[str, ServiceRelease]) -> list[str]:
        """Return, in sentences, which services do not have the images and numbers of containers they had before."""
        wrong = []
        states = containers(self.client, project_name, services=code)
        for name, entry in code.items():
            mine = [state for state in states if state.service == name]
            if len(mine) != entry.replicas or (
                not entry.mixed and any(state.image_id != entry.image_id for state in mine)
            ):
                wrong.append(f"{name} has {len(mine)} of {entry.replicas} containers of {entry.image_id[:19]}")
        return wrong


def _not_well(
    states: Sequence[ContainerState], expected: Mapping[str, str], replicas: Mapping[str, int]
) -> list[tuple[str, bool]]:
    """Return what is not well yet, each with whether waiting cannot help."""
    problems: list[tuple[str, bool]] = []
    for name in expected:
        mine = [state for state in states if state.service == name]
        if len(mine) < replicas[name]:
            problems.append((f"{name} has {len(mine)} of {replicas[name]} containers", False))
        for state in mine:
            if state.running and (state.health == "healthy" or (not state.health and _age(state) >= SETTLED)):
                continue
            if state.restarts >= HOPELESS_RESTARTS:
                problems.append(
                    (f"{state.name} was restarted {state.restarts} times (exit code {state.exit_code})", True)
                )
            elif state.state in ("exited", "dead"):
                problems.append((f"{state.name} is {state.state} (exit code {state.exit_code})", True))
            elif state.running and not state.health:
                problems.append((f"{state.name} runs for less than {SETTLED:g} s", False))
            else:
                problems.append((f"{state.name} is {state.health or state.state}", False))
    return problems


def _age(state: ContainerState) -> float:
    """Return for how many seconds a container runs."""
    started = datetime.fromisoformat(state.started_at[:19]).replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - started).total_seconds()


def before_of(
    client: Any, store: Store, application: _releases.Application, plan: _plan.Plan, safety: str
) -> tuple[Release, str]:
    """Return the safety restore point's release and folder: what a switch puts back when it fails.

    Raises :class:`PrepareError` where it cannot be used, or where something was deployed after the plan was made.
    """
    point = store.point(safety)
    if point.manifest is None:
        raise PrepareError(f"the safety restore point {point.id} cannot be used: {point.problem}")
    running = _releases.running_release(client, application)
    if running.id != plan.running:
        raise PrepareError(
            f"something was deployed after the plan was made: {running.label} ({running.id}) runs"
            f" and not {plan.running_label}"
        )
    return point.manifest.release, point.path


def bring_to_an_end() -> None:
    """Ignore from now on that the terminal or the connection goes away: what is begun is brought to its end."""
    for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)


def record(
    client: Any,
    store: Store,
    run: str,
    application: _releases.Application,
    plan: _plan.Plan,
    safety: str,
    *,
    mark: bool = True,
) -> tuple[str, list[str]]:
    """Write down which release runs after a switch, and mark the one left behind; return its id and what to tell.

    The switch is done and healthy: what cannot be written down is told, and no error.
    """
    try:
        after = _releases.running_release(client, application)
        store.journal(run, "release", "done", release=after.id, label=after.label)
        return after.id, mark_releases(store, run, plan, safety, after.id) if mark else []
    except (OSError, StoreError, EngineError) as error:
        return "", [f"Note: what runs now could not be recorded: {error}"]


def mark_releases(store: Store, run: str, plan: _plan.Plan, safety: str, release_after: str) -> list[str]:
    """Mark the release left behind bad, here and now: a second run must find it so even if this one is killed.

    Going back to a safety restore point that a rollback marked undoes that rollback: then nothing is bad, and the mark
    is taken back. Where the same release runs on, nothing is marked either.
    """
    target = plan.target if plan.kind == "restore point" else ""
    if target:
        summary = store.point(target).summary()
        if summary.bad is not None:
            store.append_event(target, "good", reason="a rollback went to it", run=run)
            if summary.purpose == "safety":
                return []
    if release_after == plan.running:
        return []
    lock = store.lock()
    reason = f"run {run} left it behind" + (f": {lock.reason}" if lock and lock.reason else "")
    store.append_event(
        safety, "bad", reason=reason, run=run, target=target, release_after=release_after, to=plan.target
    )
    return [f"Release {plan.running_label} is marked bad"]


def write_plan(store: Store, run: str, prepared: Prepared) -> None:
    """Keep a prepared plan in its run's folder, for the switch that carries it out."""
    document = {
        "plan": _plan.plan_to_dict(prepared.plan),
        "target": release_to_dict(prepared.target),
        "source": prepared.source,
    }
    write_file(os.path.join(store.run_path(run), "plan.json"), json.dumps(document, indent=1) + "\n")


def read_plan(store: Store, run: str, application: _releases.Application) -> Prepared:
    """Return the plan that was prepared for a run. Raises :class:`PrepareError` when there is none."""
    try:
        with open(os.path.join(store.run_path(run), "plan.json"), encoding="utf-8") as stream:
            document = json.load(stream)
    except (FileNotFoundError, ValueError) as error:
        raise PrepareError(f"run {run} has no prepared plan: {error}") from error
    release = release_from_dict(document["target"])
    project = Project(
        application.project, application.src.rstrip("/"), release.compose_files, release.env_files, release.profiles
    )
    return Prepared(_plan.plan_from_dict(document["plan"]), release, project, document["source"])
