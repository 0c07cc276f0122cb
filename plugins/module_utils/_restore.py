# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a database beside the live one, and compare it. Private to this collection.

Never into the live database; a copy that is not what was recorded is dropped.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _dump,
    _invariants,
    _libraries,
    _pgtools,
    _restore_plan as plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import (
    Database,
    RestoreError,
    drop,
    look_at_server,
    read_standing,
    terminate,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import RECOVERY, DatabaseError, Login, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import (
    Mark,
    Standing,
    ident,
    literal,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import now, timestamp

# In parallel restores each session would ask for shared memory of its own, which a container has little of.
_RESTORE_OPTIONS = "-c max_parallel_maintenance_workers=0 -c lock_timeout=0 -c statement_timeout=0"
# A dump's event triggers come before the last of its statements, the REFRESH of materialized views, and would act on
# them: they are restored when all else is.
_RESTORE = r"""
umask 077
triggers='^[0-9]+; [0-9]+ [0-9]+ ((COMMENT|SECURITY LABEL) - )?EVENT TRIGGER '
entries=$(pg_restore --list "$DUMP")
# Names are in the database's encoding, whatever the locale is. No match is no failure: 1, and not more.
chosen() { printf '%s\n' "$entries" | LC_ALL=C grep -E "$@" || test $? -eq 1; }
first=$(chosen -v "$triggers")
last=$(chosen "$triggers")
restore() {
  printf '%s\n' "$3" | pg_restore --exit-on-error --no-password --dbname="$1" --jobs="$2" --use-list=/dev/stdin "$DUMP"
}
restore "$2" "$1" "$first"
if [ -n "$last" ]; then
  restore "$2" 1 "$last"
fi
"""
_SCHEMA = """
umask 077
pg_dump --schema-only --file="$OUT/schema.sql" --no-password "$1"
"""


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
            f"restore point {point_id} has no database part",
            next_step="Choose one with a dump: restore_point_info lists the parts.",
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
    if database.admin.container is None:
        try:
            _pgtools.host_tools(server.version)
        except _pgtools.ToolError as error:
            refused.append(str(error))
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
    fresh: bool = False,
    progress: Callable[[str], None] = lambda _step: None,
) -> Prepared:
    """Restore a restore point's database beside the live one, compare it, and fence it.

    ``kind`` is side or ready; ``swap`` tells whether the preflight looks at what would hinder a swap, too. A copy of
    it that is there already is used, but not for ``fresh``. On failure the copy is dropped at once. Raises
    :class:`RestoreError`, ``ToolError`` and ``DatabaseError``.
    """
    stands = database.standing()
    there = stands.ready_for(point_id)
    if there is not None and not fresh:
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
        timings["restore"] = load_dump(database, point_id, folder, name, version=verdict.version, jobs=verdict.jobs)

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
    return Prepared(name, point_id, True, kind == "ready", tuple(differences), tuple(notes), timings, verdict.needed)


def load_dump(database: Database, point_id: str, folder: str, name: str, *, version: int, jobs: int) -> float:
    """Restore the dump in ``folder`` into the empty database ``name``; return the seconds. Raises ``ToolError``."""
    script = _pgtools.Script(f"pg_restore of restore point {point_id}", _RESTORE, (str(jobs), name), {"DUMP": folder})
    took = _pgtools.run(
        database.store,
        replace(database.admin, dbname=name),
        script,
        version=version,
        name=database.helper(),
        options=_RESTORE_OPTIONS,
    )
    return round(took, 3)


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
    finish: Callable[[], None] = lambda: None,
) -> list[str]:
    """Make a database beside, fill it by ``load``, compare it by ``compare``, give it properties, mark and fence it.

    ``finish`` runs when it was found to be equal.

    Returns, in words, which properties of the live database differ from the recorded ones: the live one's are kept,
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
        finish()
        with database.cursor() as cursor:
            for statement in plan.property_statements(name, properties):
                cursor.execute(statement)
            cursor.execute(f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS false")
            terminate(cursor, name)
            finished = replace(mark, verified=True, at=timestamp(now()), comment=properties.comment)
            cursor.execute(f"COMMENT ON DATABASE {ident(name)} IS {literal(plan.mark_text(finished))}")
    except BaseException:
        # At once: what a failed restore leaves can fill the disk, and then the live server stops.
        with contextlib.suppress(DatabaseError):
            give_up(database, name)
        raise
    if live is None or recorded is None:
        return []
    return [
        f"the {word} of the live database changed since; it is kept"
        for word in plan.property_differences(recorded, live)
    ]


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
      AND n.nspname <> 'information_schema' AND NOT c.relisshared ORDER BY pg_relation_size(c.oid) DESC
    """

    def __init__(self, login: Login, workers: int) -> None:
        self.error: DatabaseError | None = None
        self._login = login
        self._tables: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _number in range(workers)]

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
