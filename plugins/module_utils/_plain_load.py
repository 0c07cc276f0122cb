# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a plain SQL dump (``db_<name>_*.sql.gz``) beside the live database. Private to this collection."""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _dump,
    _libraries,
    _plain_sql,
    _restore,
    _restore_plan as plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import LOADER, Database, RestoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import identifier
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._restore import Prepared
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import Mark, ident, literal
from ansible_collections.schedgen.rollback.plugins.module_utils._store import now, sha256_of

# A plain dump's tables take about as much as its text, and indexes as much again.
SIZE_FACTOR = 2


@contextlib.contextmanager
def _lines(path: str) -> Iterator[Iterator[bytes]]:
    """Yield the lines of a plain or gzipped file; gzip's own checksum is verified at its end."""
    with open(path, "rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
            yield iter(stream)
    except (EOFError, gzip.BadGzipFile) as error:
        raise _plain_sql.Refused(f"the file is damaged or was cut off: {error}") from error
    except OSError as error:
        raise _plain_sql.Refused(f"the file cannot be read: {error}") from error
    except Exception as error:
        # zlib's own error has no public base class.
        if type(error).__module__ == "zlib":
            raise _plain_sql.Refused(f"the file is damaged: {error}") from error
        raise


def inspect(path: str) -> tuple[_plain_sql.Inspection, int]:
    """Read the whole file before anything of it is run; return what it holds and its unpacked size in bytes.

    Raises :class:`RestoreError`.
    """
    size = 0

    def counted(lines: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal size
        for line in lines:
            size += len(line)
            yield line

    try:
        with _lines(path) as lines:
            return _plain_sql.inspect(counted(lines)), size
    except _plain_sql.Refused as error:
        raise RestoreError(
            f"{path} is refused: {error}", next_step="Choose another dump; nothing of this one was run."
        ) from error


def judge(database: Database, path: str, *, swap: bool = True) -> tuple[_plain_sql.Inspection, plan.Verdict]:
    """Read a plain dump to its end and run the preflight for it; return what it holds and the verdict.

    Raises :class:`RestoreError` where the dump or the preflight refuses.
    """
    held, size = inspect(path)
    dump = os.path.getsize(path)
    return held, _restore.judge(database, recorded_of(held), dump=dump, jobs=1, swap=swap, size=size * SIZE_FACTOR)


def point_of(path: str) -> str:
    """Return the name under which a copy of this file is found again."""
    return f"{os.path.basename(path)} sha256:{sha256_of(path)[:16]}"


def recorded_of(held: _plain_sql.Inspection) -> dict[str, Any]:
    """Return what a preflight judges, in a manifest's words."""
    recorded: dict[str, Any] = {"extensions": [{"name": name} for name, _schema in held.extensions]}
    if held.version:
        recorded["server_version"] = held.version * 10000
    return recorded


def prepare(
    database: Database,
    path: str,
    *,
    swap: bool = True,
    progress: Callable[[str], None] = lambda _step: None,
) -> Prepared:
    """Restore a plain dump beside the live database as a role without rights on the server, and fence it.

    Everything in it belongs to the live database's owner afterwards. Raises :class:`RestoreError` and
    ``DatabaseError``.
    """
    point = point_of(path)
    stands = database.standing()
    there = stands.ready_for(point)
    if there is not None:
        return Prepared(there.name, point, changed=False)
    started = time.monotonic()
    held, verdict = judge(database, path, swap=swap)
    timings = {"inspect": round(time.monotonic() - started, 3)}
    progress("inspected")
    notes = ["a plain dump records no invariants: rows were compared with those in the file, and nothing else"]
    if held.defaults:
        notes.append(f"{held.defaults} default privileges of the dump were left out")
    notes += verdict.notes
    name = plan.beside_name(database.name, "side", identifier(now()))
    loader = LOADER + secrets.token_hex(6)
    password = secrets.token_urlsafe(24)
    owner = _owner(database)
    others = [role for role in held.owners if role not in (owner, "pg_database_owner")]
    if others:
        notes.append(f"the dump names other owners, everything belongs to {owner} now: {', '.join(others)}")

    def load() -> None:
        began = time.monotonic()
        with database.cursor() as cursor:
            cursor.execute(
                f"CREATE ROLE {ident(loader)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
                f" PASSWORD {literal(password)}"
            )
            cursor.execute(f"ALTER DATABASE {ident(name)} OWNER TO {ident(loader)}")
        _extensions(database, name, held)
        _run(replace(database.admin, dbname=name, user=loader, password=password), path)
        timings["restore"] = round(time.monotonic() - began, 3)

    def compare(found: Mapping[str, Any]) -> list[str]:
        rows = sum(found["rows"].values())
        recorded_rows = sum(held.rows.values())
        if not held.inserts and rows != recorded_rows:
            return [f"the database has {rows} rows, the file has {recorded_rows}"]
        return []

    mark = Mark(database.store.application, database.name, "side", point, run=database.run)
    try:
        # Statistics are gathered while the tables are the loader's: a function in one of its indexes runs with the
        # rights of the table's owner.
        _restore.build_beside(
            database,
            name,
            mark,
            None,
            load,
            compare,
            hashed=False,
            timings=timings,
            progress=progress,
            finish=lambda: _retire(database, name, loader, owner),
        )
    except BaseException:
        with contextlib.suppress(DatabaseError), database.cursor() as cursor:
            cursor.execute(f"DROP ROLE IF EXISTS {ident(loader)}")
        raise
    timings["total"] = round(time.monotonic() - started, 3)
    return Prepared(name, point, True, False, (), tuple(notes), timings, verdict.needed)


def _owner(database: Database) -> str:
    with database.cursor() as cursor:
        live = _dump.read_properties(cursor, database.name)
    return live.owner if live else database.login.user


def _extensions(database: Database, name: str, held: _plain_sql.Inspection) -> None:
    """Make the extensions that the live database has too: some ask for rights that the loading role lacks."""
    with database.cursor(database.name) as cursor:
        cursor.execute("SELECT extname::text FROM pg_extension")
        trusted = {row[0] for row in cursor.fetchall()}
    with database.cursor(name) as cursor:
        for extension, schema in held.extensions:
            if extension in trusted:
                place = ""
                if schema and schema != "pg_catalog":
                    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
                    place = f" SCHEMA {ident(schema)}"
                cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {ident(extension)}{place}")


class _Rows:
    """The rows of one COPY as a file that psycopg2 reads from."""

    def __init__(self, rows: Iterator[bytes]) -> None:
        self._rows = rows

    def read(self, size: int = 8192) -> bytes:
        """Return about ``size`` bytes of whole rows, nothing at the end."""
        taken: list[bytes] = []
        length = 0
        for row in self._rows:
            taken.append(row)
            length += len(row)
            if length >= size:
                break
        return b"".join(taken)


def _run(login: Any, path: str) -> None:
    """Run every statement of a plain dump; the first error ends it. Raises :class:`RestoreError`."""
    psycopg2 = _libraries.psycopg2()
    connection = connect(login)
    restricted: list[bytes] = []
    place = 0
    try:
        with _lines(path) as lines, connection.cursor() as cursor:
            reader = _plain_sql.Reader(lines)
            for piece in reader.pieces():
                place = piece.line
                why = _plain_sql.refusal(piece, restricted)
                if why:
                    raise RestoreError(f"{path} is refused: {why}")
                if piece.kind == "meta" or _plain_sql.passed_over(piece):
                    continue
                if piece.kind == "copy":
                    cursor.copy_expert(piece.text.decode("utf-8"), _Rows(reader.rows()), size=1 << 16)
                else:
                    cursor.execute(piece.text)
    except psycopg2.Error as error:
        raise RestoreError(
            f"{path} failed in the statement of line {place}: {str(error).strip()}",
            "The live database was not touched; the copy was dropped.",
            "Choose another dump.",
        ) from error
    except _plain_sql.Refused as error:
        raise RestoreError(f"{path} is refused: {error}") from error
    finally:
        connection.close()


def _retire(database: Database, name: str, loader: str, owner: str) -> None:
    """Give everything that the loading role made to the owner, and remove the role."""
    with database.cursor(name) as cursor:
        cursor.execute(f"REASSIGN OWNED BY {ident(loader)} TO {ident(owner)}")
        cursor.execute(f"DROP OWNED BY {ident(loader)}")
    with database.cursor() as cursor:
        cursor.execute(f"DROP ROLE {ident(loader)}")
