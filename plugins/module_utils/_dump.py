# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dump a database with its server's own tools, in one snapshot with its invariants. Private to this collection."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog_reader,
    _invariants,
    _libraries,
    _pgtools,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import applied_query
from ansible_collections.schedgen.rollback.plugins.module_utils._pgtools import Script
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import Properties, properties_to_dict
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

HASH_LIMIT = 512 << 20
# What every pg_dump can write.
GZIP = "1"

# The schema's text and the globals are small: they are written while the tables are.
# A pg_dump that was built without a compression says so before it connects: it is asked with a socket that is nowhere.
_SCRIPT = """
umask 077
compress=$2
case $(LC_ALL=C pg_dump --format=directory --file="$WORK/dump" --compress="$2" --host=/nowhere --no-password 2>&1) in
  *"does not support compression"*) compress=$7 ;;
esac
rm -rf "$WORK/dump"
pg_dump --format=directory --file="$WORK/dump" --jobs="$1" --compress="$compress" --snapshot="$3" \
  --lock-wait-timeout="$4" --no-password "$5" &
dump=$!
pg_dump --schema-only --file="$WORK/schema.sql" --snapshot="$3" --lock-wait-timeout="$4" --no-password "$5" \
  || { wait; exit 1; }
pg_dumpall --globals-only --file="$WORK/globals.sql" --lock-wait-timeout="$4" --no-password --database="$5" $6 \
  || { wait; exit 1; }
wait "$dump"
"""

_PROPERTIES = """
SELECT pg_get_userbyid(d.datdba)::text, pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text,
  coalesce(to_jsonb(d)->>'datlocprovider', 'c'), coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', ''),
  coalesce(to_jsonb(d)->>'daticurules', ''), t.spcname::text, d.datconnlimit, shobj_description(d.oid, 'pg_database')
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = %s
"""
_GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type, a.is_grantable
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = %s ORDER BY 1, 2
"""
_SETTINGS = """
SELECT CASE s.setrole WHEN 0 THEN '' ELSE pg_get_userbyid(s.setrole)::text END,
  split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
WHERE d.datname = %s ORDER BY 1, 2
"""


class DumpError(Expected):
    """The database cannot be dumped completely."""


def compression(version: int) -> str:
    """Return pg_dump's compression argument for a server version (zstd exists from 16 on)."""
    return "zstd:1" if version >= 160000 else GZIP


def _compressed(names: Sequence[str], wanted: str) -> str:
    """Return which compression the files of a dump have: that which was wanted, or what every pg_dump has."""
    return GZIP if any(name.endswith(".gz") for name in names) else wanted


def read_properties(cursor: Any, database: str) -> Properties | None:
    """Return what belongs to ``database`` and is in no dump of it; None when there is no such database."""
    cursor.execute(_PROPERTIES, (database,))
    row = cursor.fetchone()
    if row is None:
        return None
    cursor.execute(_GRANTS, (database,))
    grants = tuple((role, privilege, bool(grantable)) for role, privilege, grantable in cursor.fetchall())
    cursor.execute(_SETTINGS, (database,))
    settings = tuple((role, name, value) for role, name, value in cursor.fetchall())
    owner, encoding, collate, ctype, provider, locale, icu_rules, tablespace, limit, comment = row
    return Properties(
        owner, encoding, collate, ctype, provider, locale, icu_rules, tablespace, limit, comment, grants, settings
    )


def read_invariants(cursor: Any, *, hashed: bool) -> dict[str, Any]:
    """Read what has to be the same in a restored copy of the database that ``cursor`` is connected to.

    In the cursor's own snapshot, but for sequences, which know none.
    """
    for setting in _invariants.SETTINGS:
        cursor.execute(setting)
    cursor.execute(_invariants.TABLES)
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for schema, name in cursor.fetchall():
        cursor.execute(_invariants.count_statement(schema, name, hashed=hashed))
        count, content = cursor.fetchone()
        rows[f"{schema}.{name}"] = count
        if content is not None:
            hashes[f"{schema}.{name}"] = content
    cursor.execute(_invariants.SEQUENCES)
    sequences, behind = {}, []
    for schema, name, ascending, *owner in cursor.fetchall():
        cursor.execute(_invariants.sequence_statement(schema, name, ascending, tuple(owner)))
        value, lags = cursor.fetchone()
        sequences[f"{schema}.{name}"] = value
        if lags:
            behind.append(f"{schema}.{name}")
    cursor.execute(_invariants.LARGE_OBJECTS_HASHED if hashed else _invariants.LARGE_OBJECTS)
    objects = cursor.fetchone()
    cursor.execute(_invariants.EXTENSIONS)
    extensions = [{"name": name, "version": version, "schema": schema} for name, version, schema in cursor.fetchall()]
    return {
        "rows": rows,
        "hashes": hashes if hashed else None,
        "sequences": sequences,
        "sequences_behind": behind,
        "large_objects": {"count": objects[0], "hash": objects[1] if hashed else None},
        "extensions": extensions,
    }


def read_counters(cursor: Any) -> dict[str, Any]:
    """Return the server's counters of changed rows, and what tells whether it has counted on since."""
    cursor.execute(_invariants.COUNTERS)
    counters = {table: list(counts) for table, *counts in cursor.fetchall()}
    cursor.execute(
        "SELECT datid::bigint, coalesce(stats_reset::text, '') FROM pg_stat_database WHERE datname = current_database()"
    )
    oid, reset = cursor.fetchone()
    return {"counters": counters, "oid": oid, "stats_reset": reset}


def tools_script(
    database: str,
    target: str,
    snapshot: str,
    *,
    version: int,
    jobs: int = 2,
    lock_timeout: float = 10,
    passwords: bool = True,
) -> Script:
    """Return what the server's own tools do for a dump of ``database`` in ``snapshot`` into the folder ``target``.

    ``passwords`` says whether the globals hold the passwords' hashes, which only a superuser may read.
    """
    arguments = (
        str(jobs),
        compression(version),
        snapshot,
        str(int(lock_timeout * 1000)),
        database,
        "" if passwords else "--no-role-passwords",
        GZIP,
    )
    return Script(f"pg_dump of {database}", _SCRIPT, arguments, {"WORK": target})


def run_tools(store: Store, login: Login, script: Script, version: int) -> float:
    """Run :func:`tools_script` against ``login``'s server and return the seconds that it took."""
    place = login.container.id[:12] if login.container else str(os.getpid())
    return _pgtools.run(store, login, script, version=version, name=f"schedgen-rollback-dump-{place}")


def dump(
    store: Store,
    folder: str,
    login: Login,
    *,
    jobs: int = 2,
    tool: str = "none",
    table: str = "",
    lock_timeout: float = 10,
    hash_limit: int = HASH_LIMIT,
) -> dict[str, Any]:
    """Dump ``login``'s database into ``folder``/database and return what was recorded of it.

    A parallel directory-format dump in the snapshot in which catalogue and invariants are read, with the roles and
    settings of the whole server beside it. ``lock_timeout`` in seconds is how long pg_dump waits for a table's lock;
    contents are hashed up to ``hash_limit`` bytes of database. Raises :class:`DumpError`, ``ToolError`` and
    ``DatabaseError``.

    Method: PostgreSQL's documentation of pg_dump (directory format, ``--snapshot``) and of pg_export_snapshot().
    """
    psycopg2 = _libraries.psycopg2()
    target = os.path.join(folder, "database")
    os.makedirs(target, mode=0o700, exist_ok=True)
    started = time.monotonic()
    worker: _DumpThread | None = None
    connection = connect(login)
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # A table that a migration holds would keep the reading of rows waiting without an end.
            cursor.execute(f"SET LOCAL lock_timeout = {int(lock_timeout * 1000)}")
            cursor.execute(
                "SELECT pg_export_snapshot(), current_setting('server_version_num')::int,"
                " pg_database_size(current_database()), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
            )
            snapshot, version, size, superuser = cursor.fetchone()
            script = tools_script(
                login.dbname,
                target,
                snapshot,
                version=version,
                jobs=jobs,
                lock_timeout=lock_timeout,
                passwords=bool(superuser),
            )
            worker = _DumpThread(store, login, script, version)
            worker.start()
            try:
                # First: what the invariants need sets the session's search path.
                _catalog_reader.keep(folder, _catalog_reader.read(cursor))
                recorded = _read(cursor, login.dbname, tool, table, hashed=size <= hash_limit)
            finally:
                worker.join()
    except psycopg2.errors.LockNotAvailable as error:
        raise DumpError(
            f"a table of {login.dbname} stayed locked for {lock_timeout:g} s: end what holds it, a migration maybe"
        ) from error
    except psycopg2.Error as error:
        if worker is not None and worker.error is not None:
            # It ran into the same, and tells more: which table was locked, for instance.
            raise worker.error from error
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
    with open(os.path.join(target, "schema.sql"), encoding="utf-8", errors="surrogateescape") as stream:
        schema = _invariants.schema_hash(stream.read())
    files = os.listdir(os.path.join(target, "dump"))
    written = sum(os.path.getsize(os.path.join(target, "dump", name)) for name in files)
    return {
        "name": login.dbname,
        "user": login.user,
        "server_version": version,
        "size": size,
        "format": "directory",
        "path": "database/dump",
        "globals": {"path": "database/globals.sql", "passwords": bool(superuser)},
        "compression": _compressed(files, compression(version)),
        "jobs": jobs,
        "bytes": written,
        "seconds": round(time.monotonic() - started, 3),
        "schema": schema,
        **recorded,
    }


def _read(cursor: Any, database: str, tool: str, table: str, *, hashed: bool) -> dict[str, Any]:
    """Read, in the snapshot of ``cursor``, everything that is recorded beside the dump."""
    properties = read_properties(cursor, database)
    if properties is None:
        raise DumpError(f"the server shows no database {database}")
    cursor.execute(_invariants.ROLES)
    roles = [row[0] for row in cursor.fetchall()]
    cursor.execute(_invariants.TABLESPACES)
    tablespaces = [row[0] for row in cursor.fetchall()]
    migrations: list[str] | None = None
    if tool != "none":
        name, statement = applied_query(tool, table)
        cursor.execute("SELECT to_regclass(%s)", (name,))
        if cursor.fetchone()[0] is not None:
            cursor.execute(statement)
            migrations = [str(row[0]) for row in cursor.fetchall()]
    return {
        "properties": properties_to_dict(properties),
        "roles": roles,
        "tablespaces": tablespaces,
        "migrations": migrations,
        **read_counters(cursor),
        **read_invariants(cursor, hashed=hashed),
    }


class _DumpThread(threading.Thread):
    """Run the server's tools beside the reading of the invariants."""

    def __init__(self, store: Store, login: Login, script: Script, version: int) -> None:
        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._store, self._login, self._script, self._version = store, login, script, version

    def run(self) -> None:
        """Run the dump; what goes wrong is kept in ``error`` for the thread that waits."""
        try:
            run_tools(self._store, self._login, self._script, self._version)
        except (_pgtools.ToolError, OSError) as error:
            self.error = error
