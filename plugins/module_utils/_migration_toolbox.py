# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a migration tool from the image of the release that has the migrations. Private to this collection.

The tool runs in a one-off container of that release's image, with its service's environment, files and networks: its
service may be crash-looping, and no other image has these migrations.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _compose,
    _libraries,
    _logins,
    _migration_tools,
    _redact,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, query
from ansible_collections.schedgen.rollback.plugins.module_utils._schema import (
    Settings,
    catalogue,
    history,
    settings_of,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._targets import Target

# What this collection's one-off containers and networks carry: a later run removes what a killed one left.
LABEL = "schedgen.rollback.application"


class RevertError(Expected):
    """Migrations cannot be taken back; nothing live was changed."""


@dataclass(frozen=True)
class Ran:
    """One call of the tool: its own words, without secrets. ``timed_out`` tells that it was stopped."""

    argv: tuple[str, ...]
    rc: int
    words: str
    output: str = field(repr=False)
    seconds: float
    timed_out: bool = False

    @property
    def reason(self) -> str:
        """Why it failed, in one text."""
        if self.timed_out:
            return f"did not end in time and was stopped after {self.seconds:.0f} s: {self.words or 'it said nothing'}"
        return f"ended with exit code {self.rc}: {self.words or 'it said nothing'}"


class StepFailed(Exception):
    """A step back did not do what it should."""

    def __init__(
        self, step: _migration_tools.Step, number: int, total: int, reason: str, left: Sequence[str] = ()
    ) -> None:
        self.step, self.number, self.total, self.reason, self.left = step, number, total, reason, tuple(left)
        half = f". It did a part of its work: {'; '.join(left)}" if left else ""
        super().__init__(f"step {number} of {total}, taking back {step.undoes}: {reason}{half}")


def service_of(parameters: Mapping[str, Any]) -> str:
    """Return the service whose image has the migrations. Raises :class:`RevertError` when none is declared."""
    service = parameters["migration_service"] or next(iter(parameters["code_services"]), "")
    if not service:
        raise RevertError("no service is declared whose image has the migrations: set rollback_migration_service")
    return str(service)


class Toolbox:
    """The failed release's image with its service's surroundings, to run the migration tool in."""

    def __init__(
        self,
        client: Any,
        application: str,
        project: str,
        service: str,
        settings: Settings,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Look at the service's container and at the image; ``environment`` is laid over the container's own."""
        self.client, self.application, self.settings = client, application, settings
        found = _compose.containers(client, project, services=[service])
        if not found:
            raise RevertError(
                f"service '{service}' of project '{project}' has no container, not even a stopped one: its image and"
                " environment are not known"
            )
        try:
            self.template: dict[str, Any] = client.api.inspect_container(found[0].id)
            self.image: str = self.template["Image"]
            if settings.image:
                wanted = _compose.image(client, settings.image)
                if wanted is None:
                    raise RevertError(f"the image {settings.image} is not on this host")
                self.image = wanted.id
        except _libraries.docker().errors.DockerException as error:
            raise _compose.EngineError(f"container {found[0].name} cannot be inspected: {error}") from error
        # What the image of the container brings by itself, another image brings otherwise, or not at all.
        brought = _brought(client, self.template["Image"])
        given = [part for part in self.template["Config"].get("Env") or () if part not in brought]
        self.environment = _pairs([*_brought(client, self.image), *given]) | dict(environment or {})
        self.logins = _logins.find(self.environment)
        self.commands = _migration_tools.commands(
            settings.tool,
            self._present(),
            source=settings.source,
            program=settings.program,
            revert=settings.revert,
            show=settings.show,
            apply=settings.apply,
        )

    @property
    def networks(self) -> list[str]:
        """The networks of the service."""
        return list((self.template.get("NetworkSettings") or {}).get("Networks") or {})

    def secrets(self) -> list[str]:
        """Return values that must not be shown."""
        hidden = [value for key, value in self.environment.items() if _redact.looks_secret(key)]
        return [*hidden, *(login.password for login in self.logins if login.password)]

    def _present(self) -> dict[str, str | None]:
        """Look for the tool's places inside the image, without starting anything from it."""
        places = _migration_tools.PLACES.get(self.settings.tool, ())
        if not places or self.settings.revert or self.settings.program:
            return {}
        docker = _libraries.docker()
        home = self.template["Config"].get("WorkingDir") or "/"
        created = self.client.api.create_container(
            self.image, command=["true"], entrypoint=["true"], labels={LABEL: self.application}
        )
        present: dict[str, str | None] = {}
        try:
            for place in places:
                path = place if place.startswith("/") else f"{home.rstrip('/')}/{place}"
                try:
                    stream, _stat = self.client.api.get_archive(created["Id"], path)
                except docker.errors.NotFound:
                    continue
                content = b"".join(stream) if place in _migration_tools.READ else b""
                # One file after a tar header of 512 bytes; JSON ends before the padding.
                text = content[512:].decode("utf-8", errors="replace").rstrip("\0")
                present[place] = text if place in _migration_tools.READ else None
                stream.close()
        finally:
            self.client.api.remove_container(created["Id"], force=True, v=True)
        return present

    def run(
        self, argv: Sequence[str], *, network: str = "", read_only: bool = False, on_timeout: Callable[[str], None]
    ) -> Ran:
        """Run the tool to its end, or until its time is over; ``on_timeout`` gets the container's addresses' text.

        With ``network`` in that network alone, and with the service's files read-only.
        """
        docker, settings = _libraries.docker(), self.settings
        api, config, host = self.client.api, self.template["Config"], self.template["HostConfig"]
        options = [
            self.environment.get("PGOPTIONS", ""),
            f"-c lock_timeout={int(settings.lock_timeout * 1000)}",
            # Before the tool's own time is over, so that it can say what it was that took so long.
            f"-c statement_timeout={int(settings.step_timeout * 750)}",
            "-c default_transaction_read_only=on" if read_only else "",
        ]
        environment = {**self.environment, "PGOPTIONS": " ".join(part for part in options if part), "NO_COLOR": "1"}
        mode = host.get("NetworkMode") or ""
        own_network = not network and (mode in ("host", "none") or mode.startswith("container:"))
        networks = [network] if network else [] if own_network else self.networks
        started = time.monotonic()
        created = api.create_container(
            self.image,
            command=list(argv[1:]),
            entrypoint=[argv[0]],
            environment=environment,
            labels={LABEL: self.application},
            user=config.get("User") or None,
            working_dir=config.get("WorkingDir") or None,
            name=f"schedgen-rollback-migration-{secrets.token_hex(6)}",
            host_config=api.create_host_config(
                network_mode=mode if own_network else networks[0] if networks else None,
                volumes_from=[f"{self.template['Id']}{':ro' if network else ''}"],
                extra_hosts=None
                if network
                else dict(entry.split(":", 1) for entry in host.get("ExtraHosts") or ()) or None,
                tmpfs=host.get("Tmpfs") or None,
            ),
        )
        identifier = created["Id"]
        try:
            for name in networks[1:]:
                api.connect_container_to_network(identifier, name)
            try:
                api.start(identifier)
            except docker.errors.APIError as error:
                # The program is not in the image, or a mount of the service is gone: the engine's words say which.
                words = str(_redact.redact(error.explanation or str(error), self.secrets()))
                return Ran(tuple(argv), 127, words, words, time.monotonic() - started)
            timed_out, rc = False, 1
            try:
                rc = int(api.wait(identifier, timeout=settings.step_timeout)["StatusCode"])
            except (_libraries.requests().exceptions.RequestException, docker.errors.APIError):
                timed_out = True
                state = _compose.container_state(api.inspect_container(identifier))
                with contextlib.suppress(docker.errors.APIError):
                    api.kill(identifier)
                # The server does not notice that its client is gone while it waits for a lock.
                for address in state.addresses.values():
                    if address:
                        on_timeout(address)
            output = api.logs(identifier, tail=2000).decode("utf-8", errors="replace")
        finally:
            api.remove_container(identifier, force=True, v=True)
        output = str(_redact.redact(output, self.secrets()))
        return Ran(tuple(argv), rc, _migration_tools.own_words(output), output, time.monotonic() - started, timed_out)

    def try_tool(self, login: Login) -> Ran | None:
        """Start the tool with the command that lists, in a session that cannot write; None where none is known."""
        argv = _migration_tools.show_command(self.commands)
        return self.run(argv, read_only=True, on_timeout=end_sessions(login)) if argv else None

    def steps(self, login: Login, recorded: Sequence[str], *, network: str = "") -> tuple[_migration_tools.Step, ...]:
        """Return the steps back from what is applied now. Raises :class:`RevertError` where there is no way."""
        applied = history(login, self.settings)
        path: tuple[tuple[str, tuple[str, ...]], ...] = ()
        asked = _migration_tools.history_command(self.commands, recorded, applied)
        try:
            if asked and set(applied) != set(recorded):
                ran = self.run(asked, network=network, read_only=True, on_timeout=end_sessions(login))
                if ran.rc != 0:
                    raise RevertError(f"{_migration_tools.told(asked)} {ran.reason}")
                path = _migration_tools.alembic_path(ran.output)
            return _migration_tools.steps(self.commands, applied, recorded, path=path)
        except ValueError as error:
            raise RevertError(str(error)) from error


def _brought(client: Any, image: str) -> list[str]:
    """Return the variables that an image brings, none for one that is gone."""
    try:
        return list(client.api.inspect_image(image)["Config"].get("Env") or ())
    except _libraries.docker().errors.ImageNotFound:
        return []


def _pairs(environment: Sequence[str]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in environment if "=" in part)


def of_target(client: Any, parameters: Mapping[str, Any], target: Target) -> Toolbox:
    """Return a release's own tool, in the surroundings that it would run in. Raises :class:`RevertError`."""
    service, settings = service_of(parameters), settings_of(parameters)
    entry = target.release.services.get(service)
    if entry is not None and not settings.image:
        settings = replace(settings, image=entry.image_id)
    written = (target.rendered.get("services") or {}).get(service, {}).get("environment") or {}
    environment = {name: str(value) for name, value in written.items() if value is not None}
    project = str(parameters["project_name"] or parameters["application"])
    return Toolbox(client, parameters["application"], project, service, settings, environment)


def end_sessions(login: Login) -> Callable[[str], None]:
    """Return what ends the database sessions that come from an address."""

    def end(address: str) -> None:
        with contextlib.suppress(DatabaseError):
            query(
                login,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE client_addr = %s::inet AND pid <> pg_backend_pid()",
                (address,),
            )

    return end


def take_steps(
    tools: Toolbox,
    login: Login,
    way: Sequence[_migration_tools.Step],
    *,
    network: str = "",
    told: Callable[..., None] = lambda *_words, **_details: None,
) -> list[Ran]:
    """Take the steps back, one after the other, and look at the history after each. Raises :class:`StepFailed`."""
    done = []
    for number, step in enumerate(way, start=1):
        told("revert", "begun", migration=step.undoes, command=_migration_tools.told(step.argv))
        before, _facts = catalogue(login)
        ran = tools.run(step.argv, network=network, on_timeout=end_sessions(login))
        now = history(login, tools.settings)
        if ran.rc != 0 or ran.timed_out:
            after, _facts = catalogue(login)
            left = [difference.told for difference in _catalog.compare(before, after).differences]
            raise StepFailed(step, number, len(way), f"{_migration_tools.told(step.argv)} {ran.reason}", left)
        if tuple(now) != step.leaves:
            raise StepFailed(
                step,
                number,
                len(way),
                f"{_migration_tools.told(step.argv)} ended with exit code 0, and the newest applied migration is"
                f" {now[-1] if now else 'none'} instead of {step.leaves[-1] if step.leaves else 'none'}: {ran.words}",
            )
        told("revert", "done", migration=step.undoes, seconds=round(ran.seconds, 3))
        done.append(ran)
    return done


def sweep(client: Any, application: str) -> list[str]:
    """Remove the containers and networks that a killed run left. Only the lock's holder may call this."""
    docker, mine = _libraries.docker(), {"label": f"{LABEL}={application}"}
    swept = []
    for container in client.api.containers(all=True, filters=mine):
        with contextlib.suppress(docker.errors.APIError):
            client.api.remove_container(container["Id"], force=True, v=True)
            swept.append(container["Names"][0].lstrip("/"))
    for network in client.api.networks(filters=mine):
        with contextlib.suppress(docker.errors.APIError):
            client.api.remove_network(network["Id"])
            swept.append(network["Name"])
    return swept
