# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap a restored database with the live one, and back. Private to this collection.

Nothing is dropped: what was live is set aside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _dump,
    _invariants,
    _libraries,
    _restore_plan as plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import (
    Database,
    RestoreError,
    disk_of,
    drop,
    look_at_server,
    read_standing,
    terminate,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import identifier
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import RECOVERY, DatabaseError, Login, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import (
    Beside,
    Mark,
    ident,
    literal,
    megabytes,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import now

# A backend that was just let in when the fence went up is met by another attempt.
ATTEMPTS = 4


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


def swap(
    database: Database, incoming: Beside, *, note: str = "", run: str = "", pooler: Pooler | None = None
) -> Swapped:
    """Make ``incoming`` the live database and set the live one aside. Raises :class:`RestoreError`.

    ``note`` says why it is set aside, ``run`` by which run if not by this one.

    Until the transaction commits everything is as before, and the live database is opened again on any failure.
    """
    mark = incoming.mark
    if mark is None:
        raise RestoreError(f"{incoming.name} is no database of {database.store.application}")
    stamp = identifier(now())
    aside = plan.beside_name(database.name, "set aside", stamp)
    point = mark.point
    with database.cursor(deadline=RECOVERY) as cursor:
        server = look_at_server(database, cursor)
        blocked = plan.swap_blockers(server)
        if blocked:
            raise RestoreError("; ".join(blocked), next_step="Mend what is named and run it again.")
        stands = read_standing(cursor, database)
        live_there = stands.live is not None
        properties = _dump.read_properties(cursor, database.name)
        # What was live comes back with the comment that it had; a restored copy takes over the live one's.
        comment = mark.comment if mark.kind == "set aside" or properties is None else properties.comment
        aside_mark = Mark(
            database.store.application,
            database.name,
            "set aside",
            point=stands.restored_from,
            verified=True,
            at=stamp,
            run=run or database.run,
            comment=properties.comment if properties else None,
            successor=incoming.oid,
            successor_point=point,
            note=note,
        )
        statements = plan.swap_statements(
            database.name, aside, incoming.name, aside_mark=aside_mark, comment=comment, live_there=live_there
        )
        names = [database.name, incoming.name] if live_there else [incoming.name]
        with _paused(pooler):
            started = time.monotonic()
            ended, attempts = _fenced(database, cursor, names, statements, live_there=live_there)
            outage = time.monotonic() - started
    return Swapped(aside if live_there else "", point, round(outage, 3), ended, True, attempts)


def _fenced(
    database: Database,
    cursor: Any,
    names: Sequence[str],
    statements: Sequence[str],
    *,
    live_there: bool,
    transaction: bool = True,
) -> tuple[int, int]:
    """Fence the live database, end its sessions and run ``statements``, in one transaction unless told otherwise.

    Return how many sessions were ended, and in which attempt it worked. The fence stays.
    """
    psycopg2 = _libraries.psycopg2()
    ended = 0
    fence = f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS false"
    try:
        for attempt in range(1, ATTEMPTS + 1):
            # Without the fence clients that connect again hold the name: a rename needs nobody inside.
            if live_there:
                cursor.execute(fence)
            ended += terminate(cursor, *names)
            try:
                for statement in ["BEGIN", *statements, "COMMIT"] if transaction else statements:
                    cursor.execute(statement)
            except psycopg2.errors.ObjectInUse:
                if transaction:
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
                f"pgbouncer did not pause {pooler.database} within {pooler.timeout:g} s:"
                " a transaction is open too long",
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
    return swap(database, chosen, note=plan.UNDONE, pooler=pooler), chosen.mark


# -- a copy for a revert -----------------------------------------------------------------------------------------------


def set_copy_aside(database: Database, target: str, *, lasting: bool = True) -> Beside:
    """Copy the live database inside its server before migrations are taken back on it; return the copy, set aside.

    Ends every session in the live database, which stays the live one. ``target`` is the restore point that the revert
    goes to, ``lasting`` says that the copy may have to take the live one's place again. Method: ``CREATE DATABASE …
    TEMPLATE … STRATEGY FILE_COPY`` of PostgreSQL's documentation. Raises :class:`RestoreError`; then the live database
    is open and as it was.
    """
    psycopg2 = _libraries.psycopg2()
    stamp = identifier(now())
    side = plan.beside_name(database.name, "side", stamp)
    aside = plan.beside_name(database.name, "set aside", stamp)
    with database.cursor(deadline=RECOVERY) as cursor:
        server = look_at_server(database, cursor)
        stands = read_standing(cursor, database)
        properties = _dump.read_properties(cursor, database.name)
        if stands.live is None or properties is None:
            raise RestoreError(f"there is no database {database.name} to copy")
        blocked = plan.copy_blockers(server, stands.live.size, lasting=lasting)
        if blocked:
            raise RestoreError(f"the live database cannot be copied first: {'; '.join(blocked)}")
        mark = Mark(
            database.store.application,
            database.name,
            "set aside",
            point=stands.restored_from,
            verified=True,
            at=stamp,
            run=database.run,
            comment=properties.comment,
            successor=stands.live.oid,
            successor_point=target,
            note=plan.REVERTING,
        )
        strategy = " STRATEGY FILE_COPY" if server.version >= 150000 else ""
        create = f"CREATE DATABASE {ident(side)} TEMPLATE {ident(database.name)}{strategy}"
        unverified = literal(plan.mark_text(replace(mark, kind="side", verified=False, successor=0, note="")))
        try:
            _fenced(database, cursor, [database.name], [create], live_there=True, transaction=False)
            for statement in (
                f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS true",
                f"COMMENT ON DATABASE {ident(side)} IS {unverified}",
                f"ALTER DATABASE {ident(side)} WITH ALLOW_CONNECTIONS false",
                *plan.property_statements(side, properties),
                # In one transaction, so that the name and what it is change together.
                "BEGIN",
                f"COMMENT ON DATABASE {ident(side)} IS {literal(plan.mark_text(mark))}",
                f"ALTER DATABASE {ident(side)} RENAME TO {ident(aside)}",
                "COMMIT",
            ):
                cursor.execute(statement)
        except (psycopg2.Error, RestoreError) as error:
            state, room = f"{database.name} may still let nobody in: the next run opens it.", ""
            with contextlib.suppress(DatabaseError), database.cursor(deadline=RECOVERY) as again:
                again.execute(f"ALTER DATABASE {ident(database.name)} WITH ALLOW_CONNECTIONS true")
                state = f"{database.name} is open and as it was."
                # The server itself says of a full disk no more than that its log has the cause.
                free, _total = disk_of(database, again)
                if free is not None and free < plan.room_needed(stands.live.size, server.wal, 0):
                    room = f" (only {megabytes(free)} are free now)"
                drop(again, side)
            raise RestoreError(
                f"the live database cannot be copied first{room}: {str(error).strip()}", state
            ) from error
        made = read_standing(cursor, database).unfinished
    if made is None:
        raise RestoreError(f"the copy {aside} is gone")
    return made


def keep_copy(database: Database, copy: Beside) -> None:
    """Mark a revert's copy as no longer needed to come back from a half-way state. It stays set aside."""
    if copy.mark is not None:
        text = literal(plan.mark_text(replace(copy.mark, note=plan.REVERTED)))
        with database.cursor(deadline=RECOVERY) as cursor:
            cursor.execute(f"COMMENT ON DATABASE {ident(copy.name)} IS {text}")


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
    """Estimate what changed in the live database since a restore point.

    Return the tables that changed and, in words, how that is known.
    """
    with database.cursor(database.name) as cursor:
        counted = _dump.read_counters(cursor)
        cursor.execute(
            "SELECT s.schemaname || '.' || s.relname, s.n_live_tup FROM pg_stat_user_tables s"
            " JOIN pg_class c ON c.oid = s.relid WHERE c.relkind = 'r'"
        )
        estimates = {table: int(rows) for table, rows in cursor.fetchall()}
    same = all(counted[key] == recorded.get(key) for key in ("oid", "stats_reset"))
    tables = {table: counts for table, counts in counted["counters"].items() if table in estimates}
    return _invariants.changes_since(recorded, tables, estimates, same_count=same)


def pooler_of(database: Database, parameters: Mapping[str, Any]) -> Pooler | None:
    """Return the declared pgbouncer."""
    declared = parameters["pooler"]
    if not declared:
        return None
    password = None
    if declared["password_file"]:
        with open(declared["password_file"], encoding="utf-8") as stream:
            password = stream.read().rstrip("\n")
    login = Login(declared["host"], declared["port"], "pgbouncer", declared["user"], password)
    return Pooler(login, declared["database"] or database.name, declared["timeout"])
