# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dump a database with its server's own tools, in one snapshot with its invariants. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _command, _libraries
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import ContainerState
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import applied_query
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store

LABEL = "schedgen.rollback.application"

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""


class DumpError(Exception):
    """The database cannot be dumped completely."""


def remove_helpers(client: Any, application: str) -> list[str]:
    """Remove one-off containers that a killed run left; return their names."""
    docker = _libraries.docker()
    removed = []
    for entry in client.api.containers(all=True, filters={"label": f"{LABEL}={application}"}):
        with contextlib.suppress(docker.errors.APIError):
            client.api.remove_container(entry["Id"], force=True)
            removed.append(entry["Names"][0].lstrip("/"))
    return removed


def _pgpass(login: Login) -> str:
    escaped = (login.password or "").replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"


def dump(
    store: Store,
    folder: str,
    login: Login,
    *,
    jobs: int = 2,
    tool: str = "none",
    table: str = "",
    lock_timeout: float = 10,
) -> dict[str, Any]:
    """Dump ``login``'s database into ``folder``/database/dump and return what was recorded of it.

    A parallel directory-format dump, by ``pg_dump`` from the database container's own image, in the snapshot in
    which rows per table and the migration history are read. ``lock_timeout`` in seconds is how long it waits for a
    table's lock. Raises :class:`DumpError` and ``DatabaseError``.

    Method: PostgreSQL's documentation of pg_dump (directory format, ``--snapshot``) and of pg_export_snapshot().
    """
    if login.container is None:
        raise DumpError(
            f"database {login.dbname} on {login.host} does not run in a Compose service: it cannot be dumped yet"
        )
    psycopg2 = _libraries.psycopg2()
    target = os.path.join(folder, "database")
    os.makedirs(target, mode=0o700, exist_ok=True)
    started = time.monotonic()
    connection = connect(login)
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(
                "SELECT pg_export_snapshot(), current_setting('server_version_num')::int,"
                " pg_database_size(current_database())"
            )
            snapshot, version, size = cursor.fetchone()
            worker = _DumpThread(store, target, login, login.container, snapshot, version, jobs, lock_timeout)
            worker.start()
            try:
                invariants = _invariants(cursor, tool, table)
            finally:
                worker.join()
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        connection.close()
    if worker.error is not None:
        raise worker.error
    if not os.path.isfile(os.path.join(target, "dump", "toc.dat")):
        raise DumpError(f"pg_dump of {login.dbname} ended without an error but wrote no table of contents")
    for base, _folders, names in os.walk(target):
        for name in names:
            os.chmod(os.path.join(base, name), 0o600)
    written = sum(
        os.path.getsize(os.path.join(target, "dump", name)) for name in os.listdir(os.path.join(target, "dump"))
    )
    return {
        "name": login.dbname,
        "user": login.user,
        "server_version": version,
        "size": size,
        "format": "directory",
        "path": "database/dump",
        "compression": compression(version),
        "jobs": jobs,
        "bytes": written,
        "seconds": round(time.monotonic() - started, 3),
        **invariants,
    }


def compression(version: int) -> str:
    """Return pg_dump's compression argument for a server version (zstd exists from 16 on)."""
    return "zstd:1" if version >= 160000 else "1"


def _invariants(cursor: Any, tool: str, table: str) -> dict[str, Any]:
    """Read, in the snapshot of ``cursor``, the exact rows of every table and the migration history."""
    cursor.execute(_TABLES)
    rows = {}
    for schema, name in cursor.fetchall():
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
        cursor.execute(f"SELECT count(*) FROM ONLY {quoted}")
        rows[f"{schema}.{name}"] = cursor.fetchone()[0]
    migrations: list[str] | None = None
    if tool != "none":
        name, statement = applied_query(tool, table)
        cursor.execute("SELECT to_regclass(%s)", (name,))
        if cursor.fetchone()[0] is not None:
            cursor.execute(statement)
            migrations = [str(row[0]) for row in cursor.fetchall()]
    return {"rows": rows, "migrations": migrations}


class _DumpThread(threading.Thread):
    """Run pg_dump in a one-off container beside the reading of the invariants."""

    def __init__(
        self,
        store: Store,
        target: str,
        login: Login,
        container: ContainerState,
        snapshot: str,
        version: int,
        jobs: int,
        lock_timeout: float,
    ) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._store, self._target, self._login, self._container = store, target, login, container
        self._arguments = [
            "--format=directory",
            "--file=/rollback/dump",
            f"--jobs={jobs}",
            f"--compress={compression(version)}",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={int(lock_timeout * 1000)}",
            "--host=127.0.0.1",
            f"--port={login.port}",
            f"--username={login.user}",
            "--no-password",
            login.dbname,
        ]

    def run(self) -> None:
        """Run the dump; what goes wrong is kept in ``error`` for the thread that waits."""
        container = self._container
        # By file: an argument or a variable of the container would show the password to anybody who may look.
        secret = os.path.join(self._store.root, f"{TEMPORARY}pgpass-{os.getpid()}")
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_pgpass(self._login))
        name = f"schedgen-rollback-dump-{container.id[:12]}"
        try:
            _command.check(
                [
                    "docker",
                    "run",
                    "--rm",
                    f"--name={name}",
                    f"--label={LABEL}={self._store.application}",
                    f"--network=container:{container.id}",
                    "--user=0:0",
                    f"--volume={self._target}:/rollback",
                    f"--volume={secret}:/run/rollback-pgpass:ro",
                    "--env=PGPASSFILE=/run/rollback-pgpass",
                    "--entrypoint=pg_dump",
                    container.image_id,
                    *self._arguments,
                ]
            )
        except _command.CommandError as error:
            self.error = DumpError(f"pg_dump of {self._login.dbname} {error.reason}")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(secret)
