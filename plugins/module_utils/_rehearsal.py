# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearse migrations on a throwaway server that cannot reach the live one. Private to this collection."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _command,
    _libraries,
    _migration_tools,
    _readiness,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_toolbox import (
    LABEL,
    RevertError,
    StepFailed,
    Toolbox,
    end_sessions,
    take_steps,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, query
from ansible_collections.schedgen.rollback.plugins.module_utils._schema import catalogue, history

# Books beside the table itself that a tool wants to find.
_OTHER_BOOKS = {"knex": ("knex_migrations_lock",)}


@dataclass(frozen=True)
class Rehearsal:
    """What the steps back did on a throwaway server.

    ``verdict``: equal, compatible, wrong, or unproven (no catalogue was recorded, so there is nothing to compare
    with). ``limits`` says what this could not show.
    """

    verdict: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Scratch:
    """A throwaway server with the live schema."""

    login: Login
    network: str
    with_data: bool


def _exec(container: str, password: str | None, argv: Sequence[str], *, text: str | None = None) -> str:
    """Run a program inside a container of the server's image; the password goes by the environment."""
    interactive = ["-i"] if text is not None else []
    command = ["docker", "exec", *interactive, "-e", "PGPASSWORD", container, *argv]
    return _command.check(command, env={"PGPASSWORD": password or ""}, input_text=text, timeout=600).stdout


def _aliases(attributes: Mapping[str, Any], tools: Toolbox) -> list[str]:
    """Return every name under which the application may know its server."""
    names = {
        attributes["Name"].lstrip("/"),
        (attributes["Config"].get("Labels") or {}).get("com.docker.compose.service"),
    }
    for entry in (attributes["NetworkSettings"].get("Networks") or {}).values():
        names |= {*(entry.get("Aliases") or ()), *(entry.get("DNSNames") or ())}
    for found in tools.logins:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(found.host)
            continue
        names.add(found.host)
    return sorted(name for name in names if name)


@contextlib.contextmanager
def scratch_server(client: Any, tools: Toolbox, login: Login) -> Iterator[Scratch]:
    """Have a throwaway server of the live one's image, alone with the tool on a network that leads nowhere.

    It has the live server's names, roles and passwords, and the live schema (with the rows, where the database is
    small). Raises :class:`RevertError` when it cannot be made.
    """
    if login.container is None:
        raise RevertError(
            f"the server {login.host} does not run in a container of this host, so there is no image to rehearse with"
            " (-e rollback_migration_rehearse=no goes without)"
        )
    docker, api = _libraries.docker(), client.api
    source = api.inspect_container(login.container.id)
    image = api.inspect_image(source["Image"])
    name = f"schedgen-rollback-rehearsal-{secrets.token_hex(6)}"
    labels = {LABEL: tools.application}
    kept = ("POSTGRES_", "LANG", "LC_", "PGDATA")
    environment = {
        key: value
        for key, value in login.container.environment.items()
        if key.startswith(kept) and not key.endswith("_FILE")
    }
    owner = environment.get("POSTGRES_USER", login.user)
    environment.update(POSTGRES_USER=owner, POSTGRES_DB=login.dbname, POSTGRES_PASSWORD=login.password or "rehearsal")
    ports = sorted({found.port for found in tools.logins} or {5432})
    arguments = ["-c", "fsync=off", "-c", f"port={ports[0]}"]
    # Some extensions cannot be made without it. Who may not ask has none of them.
    preloaded = query(login, "SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'")
    if preloaded and preloaded[0][0]:
        arguments += ["-c", f"shared_preload_libraries={preloaded[0][0]}"]
    network = api.create_network(name, driver="bridge", internal=True, labels=labels)["Id"]
    identifier = ""
    try:
        identifier = api.create_container(
            source["Image"],
            command=[*(image["Config"].get("Cmd") or ["postgres"]), *arguments],
            environment=environment,
            labels=labels,
            name=name,
            host_config=api.create_host_config(network_mode=name),
            networking_config=api.create_networking_config(
                {name: api.create_endpoint_config(aliases=_aliases(source, tools))}
            ),
        )["Id"]
        api.start(identifier)
        address = api.inspect_container(identifier)["NetworkSettings"]["Networks"][name]["IPAddress"]
        scratch = Login(address, ports[0], login.dbname, owner, environment["POSTGRES_PASSWORD"])
        _wait_for(scratch, api, identifier)
        size = int(query(login, "SELECT pg_database_size(current_database())")[0][0])
        _load(tools, login, identifier, scratch, with_data=size <= tools.settings.data_limit)
        yield Scratch(scratch, name, size <= tools.settings.data_limit)
    except (docker.errors.DockerException, _command.CommandError) as error:
        reason = error.reason if isinstance(error, _command.CommandError) else error
        raise RevertError(f"the throwaway server for the rehearsal cannot be made: {reason}") from error
    finally:
        if identifier:
            with contextlib.suppress(docker.errors.APIError):
                api.remove_container(identifier, force=True, v=True)
        with contextlib.suppress(docker.errors.APIError):
            api.remove_network(network)


def _wait_for(login: Login, api: Any, identifier: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            query(login, "SELECT 1", timeout=2)
            return
        except DatabaseError as error:
            if not api.inspect_container(identifier)["State"]["Running"] or time.monotonic() > end:
                words = api.logs(identifier, tail=20).decode("utf-8", errors="replace")
                raise RevertError(
                    f"the throwaway server for the rehearsal does not answer ({error}): {_command.last_lines(words)}"
                ) from error
            time.sleep(0.1)


def _load(tools: Toolbox, login: Login, identifier: str, scratch: Login, *, with_data: bool) -> None:
    """Give the throwaway server the live roles, the live schema and the tool's own books."""
    if login.container is None:
        return
    live = login.container.id
    here = ("--host=127.0.0.1", f"--port={login.port}", f"--username={login.user}", "--no-password")
    there = ("--host=127.0.0.1", f"--port={scratch.port}", f"--username={scratch.user}", "--no-password", "--quiet")
    psql = ("psql", "--no-psqlrc", *there, f"--dbname={scratch.dbname}")
    if query(login, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0][0]:
        # A role that is there already is altered by the next statement, so that its errors do not matter.
        roles = _exec(live, login.password, ["pg_dumpall", "--roles-only", *here, f"--database={login.dbname}"])
        _exec(identifier, scratch.password, psql, text=roles)
    known = {row[0] for row in query(scratch, "SELECT rolname FROM pg_roles")}
    for found in tools.logins:
        if found.user not in known:
            query(scratch, f"CREATE ROLE {_catalog.quoted(found.user)} LOGIN PASSWORD %s", (found.password,))
            known.add(found.user)
    # Whoever owns or may use something has to be there for the dump to be read.
    for (name,) in query(login, "SELECT rolname FROM pg_roles"):
        if name not in known:
            query(scratch, f"CREATE ROLE {_catalog.quoted(name)}")
    dump = ["pg_dump", *here, f"--dbname={login.dbname}", "--lock-wait-timeout=10000"]
    if with_data:
        texts = [_exec(live, login.password, dump)]
    else:
        texts = [_exec(live, login.password, [*dump, "--schema-only"])]
        settings = tools.settings
        books = (_migration_tools.table_of(settings.tool, settings.table), *_OTHER_BOOKS.get(settings.tool, ()))
        for book in books:
            if query(login, "SELECT to_regclass(%s)", (book,))[0][0] is not None:
                texts.append(_exec(live, login.password, [*dump, "--data-only", f"--table={book}"]))
    for text in texts:
        _exec(identifier, scratch.password, (*psql, "--set=ON_ERROR_STOP=1", "--single-transaction"), text=text)


def rehearse(
    client: Any, tools: Toolbox, login: Login, way: Sequence[_migration_tools.Step], recorded: _catalog.Catalog | None
) -> Rehearsal:
    """Take the steps back on a throwaway server and compare what they leave with the recorded catalogue.

    Raises :class:`RevertError` when that cannot be tried, :class:`StepFailed` when a step fails there.
    """
    started = time.monotonic()
    with scratch_server(client, tools, login) as scratch:
        take_steps(tools, scratch.login, way, network=scratch.network)
        limits = [] if scratch.with_data else ["it ran without rows: a step that fails on what rows hold was not seen"]
        if recorded is None:
            after = None
            limits.append("no catalogue was recorded with the restore point: what the steps leave was not compared")
        else:
            live, facts = catalogue(scratch.login, recorded)
            after = _catalog.compare(recorded, live, facts=facts)
    seconds = round(time.monotonic() - started, 3)
    if after is None:
        return Rehearsal("unproven", limits=tuple(limits), seconds=seconds)
    verdict = "wrong" if after.verdict == "incompatible" else after.verdict
    return Rehearsal(verdict, after.reasons, after.notes, tuple(limits), seconds)


def forecast(client: Any, tools: Toolbox, login: Login) -> _readiness.Forecast:
    """Apply the pending migrations of an image on a throwaway server, and take them back again.

    Raises :class:`RevertError` when that cannot be tried, ``DatabaseError``.
    """
    argv = _migration_tools.apply_command(tools.commands)
    if not argv:
        raise RevertError(
            f"no command is known that applies {tools.settings.tool}'s migrations (rollback_migration_apply_command)"
        )
    started = time.monotonic()
    with scratch_server(client, tools, login) as scratch:
        before, _facts = catalogue(scratch.login)
        recorded = history(scratch.login, tools.settings)
        ran = tools.run(argv, network=scratch.network, on_timeout=end_sessions(scratch.login))
        after, facts = catalogue(scratch.login, before)
        limits = [] if scratch.with_data else ["it ran without rows: what fails on what rows hold was not seen"]
        if ran.rc != 0 or ran.timed_out:
            left = [difference.told for difference in _catalog.compare(before, after).differences]
            failure = f"{_migration_tools.told(argv)} {ran.reason}"
            return _readiness.Forecast(failure=failure, left=tuple(left), seconds=time.monotonic() - started)
        applied = history(scratch.login, tools.settings)
        pending, _missing = _migration_tools.since(tools.settings.tool, applied, recorded)
        compared = _catalog.compare(before, after, added=pending or (), facts=facts)
        back, why = _way_back(tools, scratch, recorded, before) if pending else ("", ())
    return _readiness.Forecast(
        pending=pending or (),
        fits=compared.verdict,
        reasons=compared.reasons,
        revert=compared.revert,
        revert_reasons=compared.revert_reasons,
        back=back,
        back_reasons=why,
        limits=tuple(limits),
        seconds=round(time.monotonic() - started, 3),
    )


def _way_back(
    tools: Toolbox, scratch: Scratch, recorded: Sequence[str], before: _catalog.Catalog
) -> tuple[str, tuple[str, ...]]:
    """Take back what was applied, and say where that led."""
    try:
        way = tools.steps(scratch.login, recorded, network=scratch.network)
        take_steps(tools, scratch.login, way, network=scratch.network)
    except (RevertError, StepFailed) as error:
        return "failed", (str(error),)
    now, facts = catalogue(scratch.login, before)
    after = _catalog.compare(before, now, facts=facts)
    return ("wrong" if after.verdict == "incompatible" else after.verdict), after.reasons
