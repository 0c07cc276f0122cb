# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a database beside the live one, and swap the two. Private to this collection.

Never into the live database. Nothing is dropped but copies: what was live is set aside.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _compose,
    _dump,
    _invariants,
    _libraries,
    _pgtools,
    _restore_plan as plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import identifier
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import Beside, Mark, Standing, ident, literal
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now, timestamp

# How long a server that was killed may take until it lets somebody in again, in seconds.
RECOVERY = 60.0
# A backend that was just let in when the fence went up is met by another attempt.
ATTEMPTS = 4

_DATABASES = """
SELECT d.oid::bigint, d.datname::text, d.datallowconn, shobj_description(d.oid, 'pg_database'),
  CASE WHEN d.datname = %(live)s OR shobj_description(d.oid, 'pg_database') LIKE 'schedgen.rollback %%'
    OR d.datname LIKE '%%\\_side\\_%%' THEN pg_database_size(d.oid) ELSE 0 END,
  (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.backend_type = 'client backend')
FROM pg_database d WHERE NOT d.datistemplate ORDER BY d.oid
"""
_SERVER = """
SELECT current_setting('server_version_num')::int, pg_size_bytes(current_setting('max_wal_size')),
  pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('maintenance_work_mem')),
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  (SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user),
  pg_has_role(current_user, 'pg_signal_backend', 'MEMBER'),
  (SELECT pg_has_role(current_user, datdba, 'MEMBER') FROM pg_database WHERE datname = %(live)s)
"""
# In parallel restores each session would ask for shared memory of its own, which a container has little of.
_RESTORE_OPTIONS = "-c max_parallel_maintenance_workers=0 -c lock_timeout=0 -c statement_timeout=0"
_RESTORE = """
umask 077
pg_restore --exit-on-error --jobs="$1" --no-password --dbname="$2" "$DUMP"
"""
_SCHEMA = """
umask 077
pg_dump --schema-only --file="$OUT/schema.sql" --no-password "$1"
"""


class RestoreError(Exception):
    """A database cannot be restored, swapped or put back. ``state`` says how things were left."""

    def __init__(self, reason: str, state: str = "The live database was not touched.", next_step: str = "") -> None:
        self.state = state
        self.next_step = next_step
        super().__init__(reason)


@dataclass(frozen=True)
class Database:
    """The application's database: its records, its login, and the login that may make and rename databases."""

    store: Store
    login: Login
    admin: Login
    client: Any = None
    run: str = ""

    @property
    def name(self) -> str:
        """The live database's name."""
        return self.login.dbname

    def server(self) -> Login:
        """Return the login to a database that is neither the live one nor a template to copy."""
        return replace(self.admin, dbname="template1" if self.name == "postgres" else "postgres")

    @contextlib.contextmanager
    def cursor(self, dbname: str = "", *, deadline: float = 0) -> Iterator[Any]:
        """Yield an autocommitting cursor of the server, or of ``dbname``; wait ``deadline`` seconds for the server."""
        psycopg2 = _libraries.psycopg2()
        connection = _patiently(replace(self.admin, dbname=dbname) if dbname else self.server(), deadline)
        try:
            with connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise DatabaseError(str(error).strip()) from error
        finally:
            connection.close()

    def standing(self) -> Standing:
        """Look at the server's databases."""
        with self.cursor() as cursor:
            return read_standing(cursor, self)

    def helper(self) -> str:
        """Return the name of the one-off container that restores."""
        place = self.admin.container.id[:12] if self.admin.container else str(os.getpid())
        return f"schedgen-rollback-restore-{place}"


def _patiently(login: Login, deadline: float) -> Any:
    """Connect, and again until ``deadline`` seconds have passed: a server that was killed recovers first."""
    end = time.monotonic() + deadline
    while True:
        try:
            return connect(login)
        except DatabaseError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.2)


def read_standing(cursor: Any, database: Database) -> Standing:
    """Return the live database and those beside it."""
    cursor.execute(_DATABASES, {"live": database.name})
    found = [
        Beside(oid, name, is_open, size, comment, connections)
        for oid, name, is_open, comment, size, connections in cursor.fetchall()
    ]
    return plan.standing(database.store.application, database.name, found)


# -- looking ---------------------------------------------------------------------------------------------------------


def disk_of(database: Database, cursor: Any) -> tuple[int | None, int | None]:
    """Return free and total bytes where the server keeps its data, (None, None) where that cannot be seen."""
    try:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
        row = cursor.fetchone()
    except _libraries.psycopg2().Error:
        return None, None
    if not row or not row[0]:
        return None, None
    container = database.admin.container
    if container is None:
        if database.admin.host not in ("localhost", "127.0.0.1", "::1") and not database.admin.host.startswith("/"):
            return None, None
        try:
            status = os.statvfs(row[0])
        except OSError:
            return None, None
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    api = database.client.api
    done = api.exec_create(container.id, ["df", "-P", "-k", row[0]], user="0")
    output = api.exec_start(done["Id"]).decode("utf-8", "replace").splitlines()
    if api.exec_inspect(done["Id"])["ExitCode"] != 0 or len(output) < 2:
        return None, None
    # From the right: the name of a device may hold spaces.
    fields = output[-1].rsplit(None, 5)
    return int(fields[3]) * 1024, int(fields[1]) * 1024


def look_at_server(database: Database, cursor: Any) -> plan.Server:
    """Read what the preflight judges."""
    cursor.execute(_SERVER, {"live": database.name})
    version, wal, buffers, work, superuser, creates, signals, owns = cursor.fetchone()
    free, _total = disk_of(database, cursor)
    cursor.execute("SELECT array_agg(rolname::text) FROM pg_roles")
    roles = cursor.fetchone()[0]
    cursor.execute("SELECT array_agg(name::text) FROM pg_available_extensions")
    extensions = cursor.fetchone()[0] or []
    cursor.execute("SELECT array_agg(spcname::text) FROM pg_tablespace")
    tablespaces = cursor.fetchone()[0]
    slots, prepared, subscriptions = _ties(cursor, database.name)
    lacking = []
    if not superuser:
        if not creates:
            lacking.append("may not create databases (neither superuser nor CREATEDB)")
        if owns is False:
            lacking.append("does not own the live database, so that it could not rename it")
        if not signals:
            lacking.append("may not end the sessions of others (neither superuser nor pg_signal_backend)")
    memory = shared = None
    if database.admin.container is not None:
        host = database.client.api.inspect_container(database.admin.container.id)["HostConfig"]
        memory, shared = host.get("Memory") or None, host.get("ShmSize") or None
    return plan.Server(
        version=version,
        free=free,
        wal=wal,
        roles=frozenset(roles),
        extensions=frozenset(extensions),
        tablespaces=frozenset(tablespaces),
        slots=slots,
        subscriptions=subscriptions,
        prepared=prepared,
        lacking=tuple(lacking),
        memory=memory,
        shared_buffers=buffers,
        maintenance_work_mem=work,
        shared_memory=shared,
    )


def _ties(cursor: Any, name: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return replication slots, prepared transactions and subscriptions of a database."""
    found = []
    for statement in (
        "SELECT slot_name::text FROM pg_replication_slots WHERE database = %s ORDER BY 1",
        "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1",
        "SELECT s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        " WHERE d.datname = %s ORDER BY 1",
    ):
        try:
            cursor.execute(statement, (name,))
        except _libraries.psycopg2().errors.InsufficientPrivilege:
            found.append(())  # subscriptions are for superusers' eyes, who alone make them
        else:
            found.append(tuple(row[0] for row in cursor.fetchall()))
    return found[0], found[1], found[2]


# -- sweeping --------------------------------------------------------------------------------------------------------


def sweep(database: Database) -> list[str]:
    """Put right what a killed run left, and return what was done, in sentences. Only the lock's holder may call this.

    A live database that is still fenced is opened, unverified side databases are dropped, one-off containers removed.
    """
    done = []
    if database.client is not None:
        # Killing the client of a one-off container leaves pg_restore at work in it.
        done += [
            f"removed the one-off container {name}"
            for name in _pgtools.remove_helpers(database.client, database.store.application)
        ]
    with database.cursor(deadline=RECOVERY) as cursor:
        stands = read_standing(cursor, database)
        if stands.live is not None and not stands.live.open:
            cursor.execute(f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS true")
            done.append(f"opened {database.name}, which a killed run had left fenced")
        for entry in stands.crashed:
            drop(cursor, entry.name)
            done.append(f"dropped {entry.name}, which a killed run had left half restored")
        _drop_loaders(cursor, database)
    return done


def _drop_loaders(cursor: Any, database: Database) -> None:
    cursor.execute("SELECT rolname::text FROM pg_roles WHERE rolname LIKE %s", (f"{LOADER}%",))
    for (role,) in cursor.fetchall():
        with contextlib.suppress(_libraries.psycopg2().errors.DependentObjectsStillExist):
            cursor.execute(f"DROP ROLE {ident(role)}")


# The role that loads a plain dump, without any right on the server.
LOADER = "schedgen_rollback_loader_"


def terminate(cursor: Any, *names: str) -> int:
    """End every session of these databases; return how many there were."""
    cursor.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
        (list(names),),
    )
    return int(cursor.fetchone()[0])


def drop(cursor: Any, name: str) -> None:
    """Drop a database that is not live, with its sessions."""
    cursor.execute(f"DROP DATABASE IF EXISTS {ident(name)} WITH (FORCE)")


# -- restoring beside ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A database beside the live one that holds a restore point, compared and fenced."""

    name: str
    point: str
    changed: bool
    ready: bool = False
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    needed: int = 0


def check_files(database: Database, point_id: str) -> tuple[dict[str, Any], str]:
    """Return the database part of a restore point and its dump's folder, every file as recorded.

    Raises :class:`RestoreError`. pg_restore itself notices neither a truncated nor a changed table.
    """
    point = database.store.point(point_id)
    if point.manifest is None:
        raise RestoreError(f"restore point {point_id} cannot be read: {point.problem}")
    recorded = point.manifest.database
    if not recorded:
        raise RestoreError(
            f"restore point {point_id} has no database part", next_step="Choose one with a dump: restore_point_info lists the parts."
        )
    parts = {name: entry for name, entry in point.manifest.checksums.items() if name.startswith("database/")}
    wrong = database.store.verify(replace(point, manifest=replace(point.manifest, checksums=parts)))
    if wrong:
        raise RestoreError(
            f"the dump of restore point {point_id} is damaged: {'; '.join(wrong[:5])}",
            next_step="Choose another restore point. This one's other parts may still be of use.",
        )
    return dict(recorded), os.path.join(point.path, recorded["path"])


def judge(
    database: Database, recorded: Mapping[str, Any], *, dump: int, jobs: int, swap: bool = True, size: int = 0
) -> plan.Verdict:
    """Run the preflight and raise :class:`RestoreError` where it refuses. ``swap`` says whether a swap is to follow."""
    with database.cursor() as cursor:
        server = look_at_server(database, cursor)
        live = read_standing(cursor, database).live
    verdict = plan.preflight(
        recorded, server, size=size or recorded.get("size") or (live.size if live else 0), dump=dump, jobs=jobs
    )
    refused = [*verdict.refusals, *(verdict.blockers if swap else ())]
    if refused:
        raise RestoreError("; ".join(refused), next_step="Mend what is named and run it again; nothing was begun.")
    return verdict


def prepare(
    database: Database,
    point_id: str,
    *,
    jobs: int = 2,
    kind: str = "side",
    swap: bool = True,
    progress: Callable[[str], None] = lambda _step: None,
) -> Prepared:
    """Restore a restore point's database beside the live one, compare it, and fence it.

    ``kind`` is side or ready; ``swap`` tells whether the preflight looks at what would hinder a swap, too. A copy of
    it that is there already is used. On failure the copy is dropped at once. Raises :class:`RestoreError`,
    ``ToolError`` and ``DatabaseError``.
    """
    stands = database.standing()
    there = stands.ready_for(point_id)
    if there is not None:
        if swap:
            with database.cursor() as cursor:
                blocked = plan.swap_blockers(look_at_server(database, cursor))
            if blocked:
                raise RestoreError("; ".join(blocked), next_step="Mend what is named and run it again.")
        is_ready = there.mark is not None and there.mark.kind == "ready"
        return Prepared(there.name, point_id, changed=False, ready=is_ready)
    started = time.monotonic()
    recorded, folder = check_files(database, point_id)
    timings = {"checksums": round(time.monotonic() - started, 3)}
    progress("checksums")
    notes = _drop_other_sides(database, stands)
    verdict = judge(database, recorded, dump=recorded["bytes"], jobs=jobs, swap=swap)
    notes += verdict.notes
    name = plan.beside_name(database.name, kind, point_id)
    properties = plan.properties_from_dict(recorded["properties"]) if "properties" in recorded else None

    def load() -> None:
        script = _pgtools.Script(
            f"pg_restore of restore point {point_id}", _RESTORE, (str(verdict.jobs), name), {"DUMP": folder}
        )
        timings["restore"] = round(
            _pgtools.run(
                database.store,
                replace(database.admin, dbname=name),
                script,
                version=int(recorded["server_version"]),
                name=database.helper(),
                options=_RESTORE_OPTIONS,
            ),
            3,
        )

    def compare(found: Mapping[str, Any]) -> list[str]:
        notes.extend(_invariants.not_compared(recorded, found))
        return _invariants.compare(recorded, found)

    differences = build_beside(
        database,
        name,
        Mark(database.store.application, database.name, kind, point_id, run=database.run),
        properties,
        load,
        compare,
        hashed=bool(recorded.get("hashes")),
        timings=timings,
        progress=progress,
    )
    timings["total"] = round(time.monotonic() - started, 3)
    return Prepared(
        name, point_id, True, kind == "ready", tuple(differences), tuple(notes), timings, verdict.needed
    )


def _drop_other_sides(database: Database, stands: Standing) -> list[str]:
    """Drop verified side databases of other restore points: they can be made again, and they take room."""
    notes = []
    with database.cursor() as cursor:
        for entry in stands.sides:
            drop(cursor, entry.name)
            notes.append(f"dropped {entry.name}, a restored copy of {entry.mark.point if entry.mark else 'nothing'}")
    return notes


def build_beside(
    database: Database,
    name: str,
    mark: Mark,
    recorded: plan.Properties | None,
    load: Callable[[], None],
    compare: Callable[[Mapping[str, Any]], list[str]],
    *,
    hashed: bool,
    timings: dict[str, float],
    progress: Callable[[str], None] = lambda _step: None,
) -> list[str]:
    """Make a database beside, fill it by ``load``, compare it by ``compare``, give it properties, mark and fence it.

    Return, in words, which properties of the live database differ from the recorded ones: the live one's are kept,
    because a set-aside database that comes back must not differ from what runs. Whatever goes wrong, the copy is
    dropped.
    """
    try:
        with database.cursor() as cursor:
            live = _dump.read_properties(cursor, database.name)
            properties = live or recorded
            if properties is None:
                raise RestoreError(f"there is no database {database.name}, and no record of its properties")
            cursor.execute("SELECT current_setting('server_version_num')::int")
            version = cursor.fetchone()[0]
            drop(cursor, name)
            cursor.execute(plan.create_statement(name, recorded or properties, version))
            cursor.execute(f"COMMENT ON DATABASE {ident(name)} IS {literal(plan.mark_text(mark))}")
            cursor.execute(f"REVOKE ALL ON DATABASE {ident(name)} FROM PUBLIC")
        progress("made")
        load()
        progress("restored")
        began = time.monotonic()
        differences = verify_beside(database, name, version, compare, hashed=hashed)
        timings["verify"] = round(time.monotonic() - began, 3)
        if differences:
            raise RestoreError(
                f"the restored copy is not what was recorded: {'; '.join(differences[:8])}",
                "The live database was not touched; the copy was dropped.",
                "Choose another restore point, and run a restore drill of the newer ones.",
            )
        progress("verified")
        with database.cursor() as cursor:
            for statement in plan.property_statements(name, properties):
                cursor.execute(statement)
            cursor.execute(f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS false")
            terminate(cursor, name)
            finished = replace(mark, verified=True, at=timestamp(now()))
            cursor.execute(f"COMMENT ON DATABASE {ident(name)} IS {literal(plan.mark_text(finished))}")
    except BaseException:
        # At once: what a failed restore leaves can fill the disk, and then the live server stops.
        with contextlib.suppress(DatabaseError):
            give_up(database, name)
        raise
    if live is None or recorded is None:
        return []
    return [f"the {word} of the live database changed since; it is kept" for word in plan.property_differences(recorded, live)]


def give_up(database: Database, name: str) -> None:
    """Stop what works on a database beside the live one, and drop it; wait for a server that recovers."""
    if database.client is not None:
        docker = _libraries.docker()
        with contextlib.suppress(docker.errors.APIError):
            database.client.api.remove_container(database.helper(), force=True)
    with database.cursor(deadline=RECOVERY) as cursor:
        drop(cursor, name)


def verify_beside(
    database: Database,
    name: str,
    version: int,
    compare: Callable[[Mapping[str, Any]], list[str]],
    *,
    hashed: bool,
    workers: int = 2,
) -> list[str]:
    """Give a restored database its statistics and, meanwhile, compare it; return how it differs."""
    analysis = _Analysis(replace(database.admin, dbname=name), workers)
    analysis.start()
    try:
        with database.cursor(name) as cursor:
            found = _dump.read_invariants(cursor, hashed=hashed)
        found.update(server_version=version, schema=_schema_of(database, name, version))
    finally:
        analysis.join()
    if analysis.error is not None:
        raise analysis.error
    return compare(found)


def _schema_of(database: Database, name: str, version: int) -> str:
    folder = os.path.join(database.store.root, f".incomplete-schema-{os.getpid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "schema.sql")
    try:
        script = _pgtools.Script(f"pg_dump of {name}", _SCHEMA, (name,), {"OUT": folder})
        _pgtools.run(
            database.store, replace(database.admin, dbname=name), script, version=version, name=database.helper()
        )
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return _invariants.schema_hash(stream.read())
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.rmdir(folder)


class _Analysis:
    """Analyse every table of a database over several connections, partitioned tables too."""

    _TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%'
      AND n.nspname <> 'information_schema' ORDER BY pg_relation_size(c.oid) DESC
    """

    def __init__(self, login: Login, workers: int) -> None:
        self.error: DatabaseError | None = None
        self._login = login
        self._tables: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def start(self) -> None:
        """Begin; what goes wrong is kept in ``error``."""
        connection = connect(self._login)
        try:
            with connection.cursor() as cursor:
                cursor.execute(self._TABLES)
                for schema, name in cursor.fetchall():
                    self._tables.put(_invariants.quoted(schema, name))
        finally:
            connection.close()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every table is analysed."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        psycopg2 = _libraries.psycopg2()
        try:
            connection = connect(self._login)
            try:
                with connection.cursor() as cursor:
                    while self.error is None:
                        cursor.execute(f"ANALYZE {self._tables.get_nowait()}")
            finally:
                connection.close()
        except queue.Empty:
            return
        except (psycopg2.Error, DatabaseError) as error:
            self.error = DatabaseError(f"the restored copy could not be analysed: {error}".strip())


# -- template --------------------------------------------------------------------------------------------------------


def copy_live(database: Database, point_id: str, recorded: Mapping[str, Any], *, kind: str = "ready") -> Prepared:
    """Copy the live database in the server as a template, compare it with what was recorded, and fence it.

    Only while nobody is connected: a template copy fails with any session open, and makes new ones wait. Raises
    :class:`RestoreError`.
    """
    name = plan.beside_name(database.name, kind, point_id)
    started = time.monotonic()
    timings: dict[str, float] = {}
    with database.cursor() as cursor:
        live = read_standing(cursor, database).live
        if live is None:
            raise RestoreError(f"there is no database {database.name} to copy")
        if live.connections:
            raise RestoreError(
                f"{live.connections} sessions are open in {database.name}: a template needs the application stopped"
            )
        server = look_at_server(database, cursor)
    verdict = judge(database, {}, dump=0, jobs=1, swap=False, size=live.size)
    strategy = " STRATEGY FILE_COPY" if server.version >= 150000 else ""
    properties = plan.properties_from_dict(recorded["properties"])
    mark = Mark(database.store.application, database.name, kind, point_id, run=database.run)

    def load() -> None:
        with database.cursor() as cursor:
            drop(cursor, name)
            began = time.monotonic()
            cursor.execute(f"CREATE DATABASE {ident(name)} TEMPLATE {ident(database.name)}{strategy}")
            cursor.execute(f"COMMENT ON DATABASE {ident(name)} IS {literal(plan.mark_text(mark))}")
            cursor.execute(f"REVOKE ALL ON DATABASE {ident(name)} FROM PUBLIC")
            timings["copy"] = round(time.monotonic() - began, 3)

    build_beside(
        database,
        name,
        mark,
        properties,
        load,
        lambda found: _invariants.compare(recorded, found),
        hashed=bool(recorded.get("hashes")),
        timings=timings,
    )
    timings["total"] = round(time.monotonic() - started, 3)
    return Prepared(name, point_id, True, kind == "ready", (), (), timings, verdict.needed)


# -- swap ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Swapped:
    """What a swap did: the name that the old live database has now ('' without one), and how long nobody got in."""

    aside: str
    point: str
    outage: float
    ended: int = 0
    changed: bool = True
    attempts: int = 1


@dataclass(frozen=True)
class Pooler:
    """A pgbouncer's administration console, and the name under which it knows the database."""

    login: Login
    database: str
    timeout: float = 10.0


def swap(database: Database, incoming: Beside, *, note: str = "", pooler: Pooler | None = None) -> Swapped:
    """Make ``incoming`` the live database and set the live one aside. Raises :class:`RestoreError`.

    Until the transaction commits everything is as before, and the live database is opened again on any failure.
    """
    mark = incoming.mark
    if mark is None:
        raise RestoreError(f"{incoming.name} is no database of {database.store.application}")
    stamp = identifier(now())
    aside = plan.beside_name(database.name, "set aside", stamp)
    point = mark.point
    with database.cursor(deadline=RECOVERY) as cursor, _paused(pooler):
        server = look_at_server(database, cursor)
        blocked = plan.swap_blockers(server)
        if blocked:
            raise RestoreError("; ".join(blocked), next_step="Mend what is named and run it again.")
        stands = read_standing(cursor, database)
        live_there = stands.live is not None
        properties = _dump.read_properties(cursor, database.name)
        # What was live comes back with the comment that it had; a restored copy takes over the live one's.
        comment = mark.comment if mark.kind == "set aside" else (properties.comment if properties else None)
        aside_mark = Mark(
            database.store.application,
            database.name,
            "set aside",
            point=stands.restored_from,
            verified=True,
            at=stamp,
            run=database.run,
            comment=properties.comment if properties else None,
            successor=incoming.oid,
            successor_point=point,
            note=note,
        )
        statements = plan.swap_statements(
            database.name, aside, incoming.name, aside_mark=aside_mark, comment=comment, live_there=live_there
        )
        names = [database.name, incoming.name] if live_there else [incoming.name]
        started = time.monotonic()
        ended, attempts = _fenced(database, cursor, names, statements, live_there=live_there)
        outage = time.monotonic() - started
    return Swapped(aside if live_there else "", point, round(outage, 3), ended, True, attempts)


def _fenced(
    database: Database, cursor: Any, names: Sequence[str], statements: Sequence[str], *, live_there: bool
) -> tuple[int, int]:
    """Fence the live database, end its sessions and run ``statements`` in one transaction; return sessions, attempts."""
    psycopg2 = _libraries.psycopg2()
    ended = 0
    fence = f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS false"
    try:
        for attempt in range(1, ATTEMPTS + 1):
            # Without the fence clients that connect again hold the name: a rename needs nobody inside.
            if live_there:
                cursor.execute(fence)
            ended += terminate(cursor, *names)
            cursor.execute("BEGIN")
            try:
                for statement in statements:
                    cursor.execute(statement)
                cursor.execute("COMMIT")
            except psycopg2.errors.ObjectInUse:
                cursor.execute("ROLLBACK")
                if attempt == ATTEMPTS:
                    raise
                continue
            return ended, attempt
    except BaseException as error:
        # The connection itself may be what broke; the next start opens the database too.
        try:
            with database.cursor(deadline=RECOVERY) as again:
                if live_there:
                    again.execute(f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS true")
                    state = f"{database.name} is live as before and open; the copy is still beside it."
                else:
                    state = "There is no live database; the copy is still beside it."
        except DatabaseError:
            state = f"{database.name} may still refuse connections: the next run of this module opens it."
        if isinstance(error, psycopg2.Error):
            raise RestoreError(f"the swap failed: {str(error).strip()}", state, "Run it again.") from error
        raise
    raise AssertionError("unreachable")


@contextlib.contextmanager
def _paused(pooler: Pooler | None) -> Iterator[None]:
    """Hold the clients of a pgbouncer back while the block runs, so that none of them sees an error."""
    if pooler is None:
        yield
        return
    psycopg2 = _libraries.psycopg2()
    name = ident(pooler.database)

    def command(words: str) -> None:
        connection = connect(pooler.login)
        try:
            with connection.cursor() as cursor:
                cursor.execute(words)
        except psycopg2.Error as error:
            raise DatabaseError(str(error).strip()) from error
        finally:
            connection.close()

    failed: list[DatabaseError] = []

    def pause() -> None:
        try:
            command(f"PAUSE {name}")
        except DatabaseError as error:
            failed.append(error)

    # PAUSE waits for every transaction that is open, and knows no time limit of its own.
    waiting = threading.Thread(target=pause, daemon=True)
    waiting.start()
    waiting.join(pooler.timeout)
    try:
        if waiting.is_alive():
            raise RestoreError(
                f"pgbouncer did not pause {pooler.database} within {pooler.timeout:g} s: a transaction is open too long",
                next_step="End that transaction, or run it again without the pooler.",
            )
        if failed:
            raise RestoreError(f"pgbouncer did not pause {pooler.database}: {failed[0]}")
        yield
    finally:
        with contextlib.suppress(DatabaseError):
            command(f"RESUME {name}")


def put_back(database: Database, name: str = "", *, pooler: Pooler | None = None) -> tuple[Swapped, Mark]:
    """Swap a set-aside database (the newest, or ``name``) back in; the live one is set aside in its turn.

    Doing it twice undoes the undo. Raises :class:`RestoreError` when there is none.
    """
    stands = database.standing()
    chosen = next((entry for entry in stands.aside if entry.name == name), None) if name else stands.newest_aside
    if chosen is None or chosen.mark is None:
        what = f"no set-aside database {name}" if name else "no set-aside database"
        raise RestoreError(f"there is {what} of {database.name} to go back to")
    return swap(database, chosen, note="undone", pooler=pooler), chosen.mark


# -- what a set-aside database holds -----------------------------------------------------------------------------------


_COLUMNS = """
SELECT n.nspname || '.' || c.relname, n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname NOT LIKE 'pg\\_%'
  AND n.nspname <> 'information_schema' GROUP BY 1, 2, 3
"""


def only_in(database: Database, name: str) -> dict[str, dict[str, Any]]:
    """Count, per table, the rows of the set-aside database ``name`` that the live one does not hold.

    Exactly: both are read completely, over the columns that both have. ``name`` is opened for the moment in which this
    connects, to read only. Tables without such rows are left out.
    """
    psycopg2 = _libraries.psycopg2()
    with database.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS true")
        try:
            old = connect(replace(database.admin, dbname=name))
        finally:
            cursor.execute(f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS false")
    live = None
    try:
        live = connect(replace(database.admin, dbname=database.name))
        found: dict[str, dict[str, Any]] = {}
        for connection in (old, live):
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                for setting in _invariants.SETTINGS:
                    cursor.execute(setting)
        tables_then, tables_now = _columns(old), _columns(live)
        for table, (schema, relation, columns) in sorted(tables_then.items()):
            common = [column for column in columns if table in tables_now and column in tables_now[table][2]]
            if table not in tables_now or not common:
                with old.cursor() as cursor:
                    cursor.execute(_invariants.count_statement(schema, relation, hashed=False))
                    rows = cursor.fetchone()[0]
                if rows:
                    found[table] = {"rows": rows, "table_in_live": False}
                continue
            if rows := _missing(old, live, schema, relation, common):
                found[table] = {"rows": rows, "table_in_live": True}
        return found
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        old.close()
        if live is not None:
            live.close()


def _columns(connection: Any) -> dict[str, tuple[str, str, list[str]]]:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS)
        return {table: (schema, name, list(columns)) for table, schema, name, columns in cursor.fetchall()}


def _missing(old: Any, live: Any, schema: str, relation: str, columns: Sequence[str]) -> int:
    """Count rows of one table that only ``old`` has, by merging two sorted streams of hashes."""
    row = ", ".join(f"t.{ident(column)}" for column in columns)
    statement = (
        f"SELECT hashtextextended(ROW({row})::text, 0) FROM ONLY {_invariants.quoted(schema, relation)} t ORDER BY 1"
    )
    count = 0
    with old.cursor("rollback_old") as left, live.cursor("rollback_live") as right:
        for stream in (left, right):
            stream.itersize = 20000
            stream.execute(statement)
        other = next(right, None)
        for (value,) in left:
            while other is not None and other[0] < value:
                other = next(right, None)
            if other is not None and other[0] == value:
                other = next(right, None)
            else:
                count += 1
    return count


def at_stake(database: Database, recorded: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], str]:
    """Estimate what changed in the live database since a restore point; return tables and, in words, how it is known."""
    with database.cursor(database.name) as cursor:
        counted = _dump.read_counters(cursor)
        cursor.execute(
            "SELECT schemaname || '.' || relname, n_live_tup FROM pg_stat_user_tables s"
            " JOIN pg_class c ON c.oid = s.relid WHERE c.relkind = 'r'"
        )
        estimates = {table: int(rows) for table, rows in cursor.fetchall()}
    same = all(counted[key] == recorded.get(key) for key in ("oid", "stats_reset"))
    tables = {table: counts for table, counts in counted["counters"].items() if table in estimates}
    return _invariants.changes_since(recorded, tables, estimates, same_count=same)


def remove(database: Database, name: str) -> Beside | None:
    """Drop a set-aside, ready or side database by its name; return what it was, None when it is not there.

    Raises :class:`RestoreError` for any other database.
    """
    with database.cursor(deadline=RECOVERY) as cursor:
        stands = read_standing(cursor, database)
        entries = (*stands.aside, *stands.ready, *stands.sides, *stands.crashed)
        chosen = next((entry for entry in entries if entry.name == name), None)
        if chosen is None:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                return None
            raise RestoreError(
                f"{name} is no database that was set aside, kept ready or restored for {database.name}",
                "Nothing was removed.",
                "Choose a name that postgresql_restore_info shows.",
            )
        slots, _prepared, subscriptions = _ties(cursor, name)
        if slots or subscriptions:
            raise RestoreError(
                f"{name} still has replication slots or subscriptions: {', '.join((*slots, *subscriptions))}",
                "Nothing was removed.",
                "Drop them first: pg_drop_replication_slot(), DROP SUBSCRIPTION.",
            )
        drop(cursor, name)
    return chosen


def compose_client(login: Login) -> Any:
    """Return a Docker client where the server runs in a container."""
    return _compose.connect() if login.container is not None else None
