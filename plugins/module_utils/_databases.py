# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the databases beside an application's live one, and keep them in order. Private to this collection."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _libraries,
    _pgtools,
    _restore_plan as plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import (
    RECOVERY,
    DatabaseError,
    Login,
    connect,
    find_login,
    login_of,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import (
    Beside,
    Standing,
    ident,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

_DATABASES = """
SELECT d.oid::bigint, d.datname::text, d.datallowconn, shobj_description(d.oid, 'pg_database'),
  CASE WHEN d.datname = %(live)s OR shobj_description(d.oid, 'pg_database') LIKE 'schedgen.rollback %%'
    OR d.datname LIKE '%%\\_side\\_%%' THEN pg_database_size(d.oid) ELSE 0 END,
  (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.backend_type = 'client backend')
FROM pg_database d WHERE NOT d.datistemplate ORDER BY d.oid
"""
_SUBSCRIPTIONS = """
SELECT s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1
"""
_SERVER = """
SELECT current_setting('server_version_num')::int, pg_size_bytes(current_setting('max_wal_size')),
  pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('maintenance_work_mem')),
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  (SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user),
  pg_has_role(current_user, 'pg_signal_backend', 'MEMBER'),
  (SELECT pg_has_role(current_user, datdba, 'MEMBER') FROM pg_database WHERE datname = %(live)s)
"""


class RestoreError(Expected):
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
        connection = connect(replace(self.admin, dbname=dbname) if dbname else self.server(), deadline=deadline)
        try:
            with connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise DatabaseError(str(error).strip()) from error
        finally:
            connection.close()

    def standing(self, *, deadline: float = 0) -> Standing:
        """Look at the server's databases; wait ``deadline`` seconds for a server that recovers."""
        with self.cursor(deadline=deadline) as cursor:
            return read_standing(cursor, self)

    def helper(self) -> str:
        """Return the name of the one-off container that restores."""
        place = self.admin.container.id[:12] if self.admin.container else str(os.getpid())
        return f"schedgen-rollback-restore-{place}"


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
    slots, prepared, subscriptions = ties(cursor, database.name)
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


def ties(cursor: Any, name: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return replication slots, prepared transactions and subscriptions of a database."""
    found = []
    for statement in (
        "SELECT slot_name::text FROM pg_replication_slots WHERE database = %s ORDER BY 1",
        "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1",
        _SUBSCRIPTIONS,
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

    A live database that is still fenced is opened, an open set-aside one is fenced, unverified side and ready databases
    are dropped, one-off containers and unfinished files removed, which one with a password may be among.
    """
    done = [f"removed {os.path.basename(path)}" for path in database.store.sweep()]
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
        for entry in stands.aside:
            if entry.open:
                cursor.execute(f"ALTER DATABASE {ident(entry.name)} WITH ALLOW_CONNECTIONS false")
                done.append(f"closed {entry.name}, which was set aside and had been left open")
        for entry in stands.crashed:
            drop(cursor, entry.name)
            done.append(f"dropped {entry.name}, which a killed run had left half restored")
        _drop_loaders(cursor)
    return done


def _drop_loaders(cursor: Any) -> None:
    cursor.execute("SELECT rolname::text FROM pg_roles WHERE rolname LIKE %s", (f"{LOADER}%",))
    for (role,) in cursor.fetchall():
        with contextlib.suppress(_libraries.psycopg2().errors.DependentObjectsStillExist):
            cursor.execute(f"DROP ROLE {ident(role)}")


# The role that loads a plain dump, without any right on the server.
LOADER = "schedgen_rollback_loader_"


def terminate(cursor: Any, *names: str) -> int:
    """End every session of these databases; return how many there were."""
    cursor.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
        (list(names),),
    )
    return int(cursor.fetchone()[0])


def drop(cursor: Any, name: str) -> None:
    """Drop a database that is not live, with its sessions."""
    cursor.execute(f"DROP DATABASE IF EXISTS {ident(name)} WITH (FORCE)")


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
        slots, _prepared, subscriptions = ties(cursor, name)
        if slots or subscriptions:
            raise RestoreError(
                f"{name} still has replication slots or subscriptions: {', '.join((*slots, *subscriptions))}",
                "Nothing was removed.",
                "Drop them first: pg_drop_replication_slot(), DROP SUBSCRIPTION.",
            )
        drop(cursor, name)
    return chosen


def database_of(store: Store, client: Any, parameters: Mapping[str, Any]) -> Database:
    """Return the declared database with the login that may make and rename databases.

    That is the server's own superuser where its container names one, else the database's user. Raises
    ``RestoreError`` when no database is declared, ``DatabaseError`` when its server does not run.
    """
    login = login_of(client, parameters)
    if login is None:
        raise RestoreError(
            "the application has no database",
            next_step="quick-rollback.yml takes its code back, and config-rollback.yml its configuration.",
        )
    user = parameters.get("admin_user") or ""
    path = parameters.get("admin_password_file") or ""
    if not user and login.container is not None and not parameters["database_password_file"]:
        environment = login.container.environment
        made_with_password = environment.get("POSTGRES_PASSWORD") or environment.get("POSTGRES_PASSWORD_FILE")
        user = environment.get("POSTGRES_USER") or ("postgres" if made_with_password else login.user)
    admin = login
    if user or path:
        admin = find_login(
            client,
            parameters["project_name"] or parameters["application"],
            parameters["database_service"],
            login.dbname,
            user or login.user,
            path or parameters["database_password_file"] or "",
            parameters["database_host"],
            parameters["database_port"],
        )
    return Database(store, login, admin, client, parameters.get("run") or "")
