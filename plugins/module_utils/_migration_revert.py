# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take migrations back with the tool of the release that made them. Private to this collection.

The tool runs in a one-off container of that release's image, with its service's environment, files and networks: its
service may be crash-looping, and no other image has these migrations.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _catalog_reader,
    _command,
    _compose,
    _libraries,
    _logins,
    _migration_tools,
    _postgres,
    _redact,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import RECOVERY, DatabaseError, Login, query
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

# What this collection's one-off containers and networks carry: a later run removes what a killed one left.
LABEL = "schedgen.rollback.application"
# A name of PostgreSQL has 63 bytes.
_NAME_LIMIT = 63
_COMMENT = "schedgen.rollback: "
# Books beside the table itself that a tool wants to find.
_OTHER_BOOKS = {"knex": ("knex_migrations_lock",)}


class RevertError(Exception):
    """Migrations cannot be taken back; nothing live was changed. ``state`` says what else there is to know."""

    def __init__(self, reason: str, state: str = "") -> None:
        self.state = state
        super().__init__(reason)


@dataclass(frozen=True)
class Settings:
    """What was declared about the migration tool. Timeouts are in seconds, ``data_limit`` is in bytes."""

    tool: str
    table: str = ""
    image: str = ""
    source: str = ""
    program: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    lock_timeout: float = 5
    step_timeout: float = 120
    data_limit: int = 20_000_000


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


# -- what the database says ----------------------------------------------------------------------------------------


def history(login: Login, settings: Settings) -> list[str]:
    """Return the applied migrations in order, from the tool's own table; none where it does not exist."""
    name, statement = _migration_tools.applied_query(settings.tool, settings.table)
    if query(login, "SELECT to_regclass(%s)", (name,))[0][0] is None:
        return []
    return [str(row[0]) for row in query(login, statement)]


def catalogue(login: Login, recorded: _catalog.Catalog | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the live catalogue, and with ``recorded`` the facts that a comparison with it needs.

    Both are of one snapshot. Raises ``DatabaseError``.
    """
    psycopg2 = _libraries.psycopg2()
    connection = _postgres.connect(login, statement_timeout=60)
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            live = _catalog_reader.read(cursor)
            facts = {} if recorded is None else _catalog_reader.facts(cursor, recorded, live)
        return live, facts
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        connection.close()


@dataclass(frozen=True)
class Reference:
    """What a restore point knows of migrations: None for what it does not have."""

    id: str
    label: str
    history: tuple[str, ...] | None
    catalog: _catalog.Catalog | None


@dataclass(frozen=True)
class Assessment:
    """The live schema against a restore point's. ``comparison`` is None where no catalogue was recorded."""

    applied: tuple[str, ...]
    added: tuple[str, ...] | None
    missing: tuple[str, ...] | None
    live: Mapping[str, Any] = field(repr=False)
    comparison: _catalog.Comparison | None
    judgement: _catalog.Judgement


def reference(store: Store, to: str) -> Reference | None:
    """Return what the named restore point knows; without a name the newest good one that knows the history.

    None when there is no such restore point. Raises :class:`RevertError` when the named one cannot be used.
    """
    if to:
        points = [store.point(to)]
        if points[0].manifest is None:
            raise RevertError(f"restore point {to} cannot be used: {points[0].problem}")
    else:
        points = [
            point
            for point in reversed(store.points())
            if point.manifest is not None
            and point.manifest.migrations
            and point.manifest.purpose != "safety"
            and point.summary().bad is None
        ][:1]
    for point in points:
        if point.manifest is not None:
            recorded = (point.manifest.migrations or {}).get("applied")
            return Reference(
                point.id,
                point.manifest.release.label,
                None if recorded is None else tuple(recorded),
                _catalog_reader.recorded(point.path),
            )
    return None


def assess(login: Login, settings: Settings, against: Reference | None) -> Assessment:
    """Compare the live database with a restore point. Raises ``DatabaseError``."""
    entry = _migration_tools.tool_of(settings.tool, settings.table)
    applied = history(login, settings)
    added, missing = _migration_tools.since(settings.tool, applied, against.history if against else None)
    recorded = against.catalog if against else None
    live, facts = catalogue(login, recorded)
    cannot = "" if settings.revert else entry.cannot_revert
    if added is None:
        cannot = cannot or "the migration history was not recorded: there is nothing to go back to"
    comparison = None
    if recorded is not None:
        comparison = _catalog.compare(
            recorded, live, added=added or (), missing=missing or (), cannot_revert=cannot, facts=facts
        )
    judgement = _catalog.judge_application_rollback(
        recorded, live, added=added, missing=missing, facts=facts, refuses_unknown=entry.refuses_unknown
    )
    return Assessment(tuple(applied), added, missing, live, comparison, judgement)


def settings_of(parameters: Mapping[str, Any]) -> Settings:
    """Return what a module's arguments declare of the migration tool."""
    return Settings(
        tool=parameters["migration_tool"],
        table=parameters["migration_table"],
        image=parameters["migration_image"],
        source=parameters["migration_source"],
        program=tuple(parameters["migration_program"]),
        revert=tuple(parameters["migration_revert_command"]),
        show=tuple(parameters["migration_list_command"]),
        lock_timeout=parameters.get("lock_timeout", 5),
        step_timeout=parameters.get("step_timeout", 120),
        data_limit=parameters.get("rehearsal_data_limit", 0),
    )


def service_of(parameters: Mapping[str, Any]) -> str:
    """Return the service whose image has the migrations. Raises :class:`RevertError` when none is declared."""
    service = parameters["migration_service"] or next(iter(parameters["code_services"]), "")
    if not service:
        raise RevertError("no service is declared whose image has the migrations: set rollback_migration_service")
    return str(service)


# -- one call of the tool ------------------------------------------------------------------------------------------


class Toolbox:
    """The failed release's image with its service's surroundings, to run the migration tool in."""

    def __init__(self, client: Any, application: str, project: str, service: str, settings: Settings) -> None:
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
        self.environment = dict(part.split("=", 1) for part in self.template["Config"].get("Env") or () if "=" in part)
        self.logins = _logins.find(self.environment)
        self.commands = _migration_tools.commands(
            settings.tool,
            self._present(),
            source=settings.source,
            program=settings.program,
            revert=settings.revert,
            show=settings.show,
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

    def steps(self, login: Login, recorded: Sequence[str]) -> tuple[_migration_tools.Step, ...]:
        """Return the steps back from what is applied now. Raises :class:`RevertError` where there is no way."""
        applied = history(login, self.settings)
        path: tuple[tuple[str, tuple[str, ...]], ...] = ()
        asked = _migration_tools.history_command(self.commands, recorded, applied)
        try:
            if asked and set(applied) != set(recorded):
                ran = self.run(asked, read_only=True, on_timeout=end_sessions(login))
                if ran.rc != 0:
                    raise RevertError(f"{_migration_tools.told(asked)} {ran.reason}")
                path = _migration_tools.alembic_path(ran.output)
            return _migration_tools.steps(self.commands, applied, recorded, path=path)
        except ValueError as error:
            raise RevertError(str(error)) from error


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


# -- the copy that is set aside ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A copy of the live database, set aside before migrations were taken back.

    ``open`` tells that what it was made for did not come to its end.
    """

    name: str
    at: str
    history: tuple[str, ...]
    open: bool
    comment: str | None = None


def maintenance(login: Login) -> Login:
    """Return a login beside the application's database: a session in it would be in the way."""
    return replace(login, dbname="postgres" if login.dbname != "postgres" else "template1")


def _named(dbname: str, word: str, stamp: str) -> str:
    ending = f"_{word}_{stamp}"
    return dbname.encode()[: _NAME_LIMIT - len(ending)].decode(errors="ignore") + ending


def copies(login: Login) -> list[Copy]:
    """Return the copies of this database that a migration revert has set aside, oldest first."""
    found = []
    for name, comment in query(
        maintenance(login), "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY 1"
    ):
        if not (comment or "").startswith(_COMMENT):
            continue
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = json.loads(comment[len(_COMMENT) :])
            if data["of"] == login.dbname:
                found.append(Copy(name, data["at"], tuple(data["history"]), data["open"], data["comment"]))
    return sorted(found, key=lambda copy: copy.at)


def _comment(login: Login, copy: Copy) -> None:
    data = {"of": login.dbname, "at": copy.at, "history": copy.history, "open": copy.open, "comment": copy.comment}
    text = _COMMENT + json.dumps(data)
    query(maintenance(login), f"COMMENT ON DATABASE {_catalog.quoted(copy.name)} IS %s", (text,))


def fenced(login: Login) -> bool:
    """Whether a killed run has left the live database closed."""
    found = query(maintenance(login), "SELECT datallowconn FROM pg_database WHERE datname = %s", (login.dbname,))
    return bool(found) and not found[0][0]


def unfence(login: Login) -> None:
    """Let sessions into the live database again, where a killed run has left it closed; wait for a killed server."""
    opened = f"ALTER DATABASE {_catalog.quoted(login.dbname)} ALLOW_CONNECTIONS true"
    query(maintenance(login), opened, deadline=RECOVERY)


def _fence(login: Login, *others: str) -> None:
    """Close the live database and end its sessions. Clients that reconnect all the time are shut out by this alone."""
    beside = maintenance(login)
    query(beside, f"ALTER DATABASE {_catalog.quoted(login.dbname)} ALLOW_CONNECTIONS false")
    query(
        beside,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid()",
        ([login.dbname, *others],),
    )


# A template copy loses what belongs to the database itself: owner, grants, settings, limits.
_PROPERTIES = (
    """SELECT format('ALTER DATABASE %%I OWNER TO %%I', %(copy)s, pg_get_userbyid(datdba))
       FROM pg_database WHERE datname = %(live)s""",
    """SELECT format('ALTER DATABASE %%I CONNECTION LIMIT %%s', %(copy)s, datconnlimit)
       FROM pg_database WHERE datname = %(live)s AND datconnlimit >= 0""",
    """SELECT format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(copy)s)
       FROM pg_database WHERE datname = %(live)s AND datacl IS NOT NULL""",
    """SELECT format('GRANT %%s ON DATABASE %%I TO %%s%%s', privilege_type, %(copy)s,
         CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
         CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
       FROM pg_database, aclexplode(datacl) WHERE datname = %(live)s""",
    """SELECT format('ALTER %%s SET %%I TO %%s',
         CASE WHEN setrole = 0 THEN format('DATABASE %%I', %(copy)s)
              ELSE format('ROLE %%I IN DATABASE %%I', pg_get_userbyid(setrole), %(copy)s) END,
         split_part(entry, '=', 1),
         CASE WHEN lower(split_part(entry, '=', 1)) IN ('search_path', 'datestyle', 'temp_tablespaces',
                'session_preload_libraries', 'local_preload_libraries')
              THEN substr(entry, strpos(entry, '=') + 1)
              ELSE quote_literal(substr(entry, strpos(entry, '=') + 1)) END)
       FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) entry
       WHERE d.datname = %(live)s""",
)


def _free_bytes(login: Login) -> int | None:
    """Return the free space where the server keeps its data, None where nobody knows."""
    if login.container is None:
        return None
    folder = query(login, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    if not folder:
        return None
    try:
        output = _exec(login.container.id, None, ["df", "-Pk", str(folder[0][0])])
        return int(output.splitlines()[-1].split()[3]) * 1024
    except (_command.CommandError, IndexError, ValueError):
        return None


def set_aside(login: Login, applied: Sequence[str], stamp: str) -> Copy:
    """Copy the live database inside its server, which ends every session in it. Return the copy.

    Method: ``CREATE DATABASE … TEMPLATE … STRATEGY FILE_COPY`` of PostgreSQL's documentation. Raises
    :class:`RevertError` when that cannot be done; the live database is open again then, or the error says so.
    """
    beside, live = maintenance(login), _catalog.quoted(login.dbname)
    size = int(query(beside, "SELECT pg_database_size(%s)", (login.dbname,))[0][0])
    needed = size * 1.3 + 64e6
    free = _free_bytes(login)
    if free is not None and free < needed:
        raise RevertError(f"a copy of the live database needs {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")
    name = _named(login.dbname, "before_revert", stamp)
    version = int(query(beside, "SELECT current_setting('server_version_num')::int")[0][0])
    original = query(
        beside, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (login.dbname,)
    )[0][0]
    copy = Copy(name, stamp, tuple(applied), open=True, comment=original)
    try:
        try:
            _fence(login)
            strategy = " STRATEGY FILE_COPY" if version >= 150000 else ""
            query(beside, f"CREATE DATABASE {_catalog.quoted(name)} TEMPLATE {live}{strategy}", timeout=3600)
        finally:
            unfence(login)
        for statement in _PROPERTIES:
            for (command,) in _query_named(beside, statement, {"copy": name, "live": login.dbname}):
                query(beside, command)
        query(beside, f"ALTER DATABASE {_catalog.quoted(name)} ALLOW_CONNECTIONS false")
        _comment(login, copy)
    except DatabaseError as error:
        # The server itself says of a full disk no more than that its log has the cause.
        free = None
        with contextlib.suppress(DatabaseError):
            free = _free_bytes(login)
        full = f" (only {free / 1e6:.0f} MB are free now)" if free is not None and free < needed else ""
        # Half a copy is of no use, and may be what filled the disk.
        state = f"But {login.dbname} may still let nobody in: the next run opens it."
        with contextlib.suppress(DatabaseError):
            drop_unfinished(login)
            state = state if fenced(login) else ""
        raise RevertError(f"the live database cannot be copied first{full}: {error}", state) from error
    return copy


def drop_unfinished(login: Login) -> list[str]:
    """Drop copies that were made and never marked: no step was taken after them. Return their names."""
    beside, stamp = maintenance(login), "0" * 17
    found = query(
        beside,
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) AND datname ~ '_[0-9]+$'"
        " AND shobj_description(oid, 'pg_database') IS NULL",
        (_named(login.dbname, "before_revert", stamp)[: -len(stamp)],),
    )
    for (name,) in found:
        query(beside, f"DROP DATABASE {_catalog.quoted(name)} WITH (FORCE)", timeout=60)
    return [name for (name,) in found]


def _query_named(login: Login, statement: str, values: Mapping[str, str]) -> list[tuple[Any, ...]]:
    psycopg2 = _libraries.psycopg2()
    connection = _postgres.connect(login, statement_timeout=60)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        connection.close()


def keep(login: Login, copy: Copy) -> None:
    """Mark a copy as no longer needed to come back from a half-way state. It stays."""
    _comment(login, replace(copy, open=False))


def put_back(login: Login, copy: Copy, stamp: str) -> str:
    """Make the copy the live database again; return the name under which what was live is kept.

    Both renames are one transaction. Raises ``DatabaseError``; then the live name is what it was.
    """
    psycopg2 = _libraries.psycopg2()
    failed = _named(login.dbname, "failed_revert", stamp)
    live, beside = _catalog.quoted(login.dbname), maintenance(login)
    try:
        _fence(login, copy.name)
        connection = _postgres.connect(beside, statement_timeout=60)
        try:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER DATABASE {live} RENAME TO {_catalog.quoted(failed)}")
                cursor.execute(f"ALTER DATABASE {_catalog.quoted(copy.name)} RENAME TO {live}")
                cursor.execute(f"COMMENT ON DATABASE {live} IS %s", (copy.comment,))
            connection.commit()
        except psycopg2.Error as error:
            raise DatabaseError(str(error).strip()) from error
        finally:
            connection.close()
    finally:
        # Whichever database has the live name now has to be open.
        unfence(login)
    return failed


# -- the revert ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reverted:
    """What a revert did: the migrations taken back, the copy that is kept, and how the schema compares."""

    undone: tuple[str, ...]
    copy: str
    verdict: str
    notes: tuple[str, ...]
    seconds: float


class RevertFailed(Exception):
    """A revert that did not come to its end.

    ``put_back`` tells that the copy is live again, ``kept`` is then the name of what was live before; ``copy`` is the
    copy that still stands aside; ``problem`` says why it could not be put back.
    """

    def __init__(
        self, reason: str, history: Sequence[str], *, put_back: bool, kept: str = "", copy: str = "", problem: str = ""
    ) -> None:
        self.reason, self.history = reason, tuple(history)
        self.put_back, self.kept, self.copy, self.problem = put_back, kept, copy, problem
        super().__init__(reason)


def revert(
    tools: Toolbox,
    login: Login,
    way: Sequence[_migration_tools.Step],
    recorded: _catalog.Catalog | None,
    stamp: str,
    *,
    copy: bool = True,
    restore: bool = True,
    told: Callable[..., None] = lambda *_words, **_details: None,
) -> Reverted:
    """Set the live database aside and take the steps back on it; the application has to be stopped.

    With ``copy`` false nothing is set aside. With ``restore`` the copy is put back when a step fails, or when the
    schema that they leave is not one that the recorded release can live with. Raises :class:`RevertFailed`,
    and :class:`RevertError` while nothing was changed yet.
    """
    started = time.monotonic()
    aside = None
    if copy and way:
        told("set_aside", "begun")
        aside = set_aside(login, history(login, tools.settings), stamp)
        told("set_aside", "done", database=aside.name)
    notes: tuple[str, ...] = ()
    verdict = "unproven"
    try:
        take_steps(tools, login, way, told=told)
        if recorded is not None:
            live, facts = catalogue(login, recorded)
            after = _catalog.compare(recorded, live, facts=facts)
            verdict, notes = after.verdict, after.notes
            if verdict == "incompatible":
                raise RevertError(
                    "every migration was taken back, and what that leaves is nothing that the recorded release can"
                    f" live with: {'; '.join(after.reasons)}"
                )
    except (StepFailed, RevertError, DatabaseError, _libraries.docker().errors.DockerException) as error:
        raise _given_up(tools, login, aside if restore else None, aside, stamp, str(error), told) from error
    if aside is not None:
        keep(login, aside)
    undone = tuple(step.undoes for step in way)
    return Reverted(undone, aside.name if aside else "", verdict, notes, seconds=round(time.monotonic() - started, 3))


def _given_up(
    tools: Toolbox,
    login: Login,
    chosen: Copy | None,
    aside: Copy | None,
    stamp: str,
    reason: str,
    told: Callable[..., None],
) -> RevertFailed:
    """Put back the chosen copy, if any, and return the failure to raise."""
    kept, problem = "", ""
    now: Sequence[str] = ()
    with contextlib.suppress(DatabaseError):
        now = history(login, tools.settings)
    told("revert", "failed", reason=reason, history=list(now))
    if chosen is not None:
        try:
            kept = put_back(login, chosen, stamp)
            told("put_back", "done", kept=kept)
        except DatabaseError as error:
            problem = str(error)
            told("put_back", "failed", reason=problem)
    standing = aside.name if aside is not None and not kept else ""
    return RevertFailed(reason, now, put_back=bool(kept), kept=kept, copy=standing, problem=problem)


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


def stop(client: Any, project: str, services: Sequence[str], *, timeout: int = 30) -> tuple[str, ...]:
    """Stop every container of these services; return the ids of those that ran, or tried to."""
    stopped = []
    for state in _compose.containers(client, project, services=services):
        if state.state in ("running", "restarting", "paused"):
            client.api.stop(state.id, timeout=timeout)
            stopped.append(state.id)
    return tuple(stopped)


def start(client: Any, identifiers: Sequence[str]) -> list[str]:
    """Start stopped containers again; return what is wrong with those that do not start."""
    wrong = []
    for identifier in identifiers:
        try:
            client.api.start(identifier)
        except _libraries.docker().errors.DockerException as error:
            wrong.append(f"container {identifier[:12]} does not start again: {error}")
    return wrong


# -- rehearsal -----------------------------------------------------------------------------------------------------


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
