# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a database's catalogue as the plain data that ``_catalog`` compares. Private to this collection."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _catalog

# Where a restore point keeps the catalogue: not in its manifest, which is read for every list of restore points.
FILE = os.path.join("database", "catalog.json")

# Above this estimate a table is not counted: whether there is any such row is asked instead.
EXACT_LIMIT = 1_000_000

_OURS = """n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid}
                  AND e.deptype = 'e')"""


def _ours(catalog: str, oid: str) -> str:
    """Limit to what no extension brought and no system schema holds."""
    return _OURS.format(catalog=catalog, oid=oid)


_TABLES = f"""
SELECT n.nspname || '.' || c.relname, c.oid::bigint, c.relkind::text, c.reltuples::bigint, c.relrowsecurity
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND {_ours("pg_class", "c.oid")}
ORDER BY 1"""

_COLUMNS = """
SELECT a.attrelid::bigint, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       coalesce(CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END, ''),
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END,
       coalesce(CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END, '')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY (%s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum"""

# Not-null constraints (18 and newer list them) are in the columns.
_CONSTRAINTS = """
SELECT k.conrelid::bigint, k.conname, k.contype::text, pg_get_constraintdef(k.oid),
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY p (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number ORDER BY p.place),
       (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = k.confrelid)
FROM pg_constraint k
WHERE k.conrelid = ANY (%s::bigint[]::oid[]) AND k.contype <> 'n'
ORDER BY k.conrelid, k.conname"""

_INDEXES = """
SELECT i.indrelid::bigint, c.relname, i.indisunique, pg_get_indexdef(i.indexrelid),
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY p (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.number ORDER BY p.place)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%s::bigint[]::oid[])
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid)
ORDER BY i.indrelid, c.relname"""

_TRIGGERS = """
SELECT t.tgrelid::bigint, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text
FROM pg_trigger t WHERE t.tgrelid = ANY (%s::bigint[]::oid[]) AND NOT t.tgisinternal
ORDER BY t.tgrelid, t.tgname"""

_ENUMS = f"""
SELECT n.nspname || '.' || t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
WHERE {_ours("pg_type", "t.oid")} GROUP BY 1 ORDER BY 1"""

_DOMAINS = f"""
SELECT n.nspname || '.' || t.typname,
       concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
                 'DEFAULT ' || t.typdefault,
                 (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
                  FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'd' AND {_ours("pg_type", "t.oid")} ORDER BY 1"""

_VIEWS = f"""
SELECT n.nspname || '.' || c.relname, CASE c.relkind WHEN 'm' THEN 'materialised view' ELSE 'view' END,
       pg_get_viewdef(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND {_ours("pg_class", "c.oid")} ORDER BY 1"""

_FUNCTIONS = f"""
SELECT n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       concat_ws(' ', p.prokind, pg_get_function_result(p.oid), l.lanname, p.prosecdef, p.provolatile, p.proisstrict,
                 md5(concat(p.prosrc, p.probin, to_jsonb(p) ->> 'prosqlbody')))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE {_ours("pg_proc", "p.oid")} ORDER BY 1"""

_SEQUENCES = f"""
SELECT n.nspname || '.' || c.relname, format_type(s.seqtypid, NULL),
       coalesce((SELECT m.nspname || '.' || o.relname || '.' || a.attname
                 FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid JOIN pg_namespace m ON m.oid = o.relnamespace
                 JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid
                 WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refobjsubid > 0
                   AND d.deptype IN ('a', 'i') LIMIT 1), '')
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_ours("pg_class", "c.oid")} ORDER BY 1"""

_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY 1"

_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}
_CONSTRAINT_KINDS = {
    "p": "primary key",
    "u": "unique",
    "c": "check",
    "f": "foreign key",
    "x": "exclusion",
    "t": "constraint trigger",
}


def _rows(cursor: Any, statement: str, oids: list[int] | None = None) -> list[tuple[Any, ...]]:
    cursor.execute(statement, None if oids is None else (oids,))
    return list(cursor.fetchall())


def read(cursor: Any) -> dict[str, Any]:
    """Return the catalogue of the database that ``cursor`` is in, in its own snapshot.

    Method: the system catalogues and the ``pg_get_*def`` functions of PostgreSQL's documentation. Names in
    definitions are qualified, whatever search path the role has; the session's own is put back.
    """
    cursor.execute("SELECT current_setting('search_path')")
    path = cursor.fetchone()[0]
    cursor.execute("SELECT set_config('search_path', '', false)")
    try:
        return _read(cursor)
    finally:
        # After an error the transaction is lost, and the setting with it.
        if cursor.connection.get_transaction_status() != 3:
            cursor.execute("SELECT set_config('search_path', %s, false)", (path,))


def _read(cursor: Any) -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = {}
    by_oid: dict[int, dict[str, Any]] = {}
    for name, oid, kind, rows, row_security in _rows(cursor, _TABLES):
        tables[name] = by_oid[oid] = {
            "kind": _KINDS[kind],
            "oid": oid,
            "rows": rows,
            "row_security": row_security,
            "columns": {},
            "constraints": {},
            "indexes": {},
            "triggers": {},
        }
    oids = list(by_oid)
    for oid, name, number, type_, nullable, default, identity, generated in _rows(cursor, _COLUMNS, oids):
        by_oid[oid]["columns"][name] = {
            "number": number,
            "type": type_,
            "nullable": nullable,
            "default": default,
            "identity": identity,
            "generated": generated,
        }
    for oid, name, kind, definition, columns, references in _rows(cursor, _CONSTRAINTS, oids):
        by_oid[oid]["constraints"][name] = {
            "kind": _CONSTRAINT_KINDS.get(kind, kind),
            "definition": definition,
            "columns": columns,
            "references": references or "",
        }
    for oid, name, unique, definition, columns in _rows(cursor, _INDEXES, oids):
        by_oid[oid]["indexes"][name] = {"unique": unique, "definition": definition, "columns": columns}
    for oid, name, definition, enabled in _rows(cursor, _TRIGGERS, oids):
        by_oid[oid]["triggers"][name] = {"definition": definition, "enabled": enabled}
    return {
        "schema": _catalog.SCHEMA,
        "tables": tables,
        "enums": dict(_rows(cursor, _ENUMS)),
        "domains": dict(_rows(cursor, _DOMAINS)),
        "views": {name: {"kind": kind, "definition": text} for name, kind, text in _rows(cursor, _VIEWS)},
        "functions": dict(_rows(cursor, _FUNCTIONS)),
        "sequences": {name: {"type": type_, "owned_by": owner} for name, type_, owner in _rows(cursor, _SEQUENCES)},
        "extensions": dict(_rows(cursor, _EXTENSIONS)),
    }


def facts(
    cursor: Any, recorded: _catalog.Catalog, live: _catalog.Catalog, *, exact_limit: int = EXACT_LIMIT
) -> dict[str, dict[str, int | None]]:
    """Ask the live database what the comparison of these two catalogues needs to know of its rows.

    Above ``exact_limit`` rows (the server's estimate) a table is not counted: 0 stays exact, anything else is None.
    """
    answers: dict[str, dict[str, int | None]] = {}
    for question in _catalog.questions(recorded, live):
        large = live["tables"][question.table]["rows"] > exact_limit
        statement = question.sql
        if large:
            statement = f"SELECT EXISTS ({statement.replace('SELECT count(*)', 'SELECT', 1)})::int"
        cursor.execute(statement)
        count = int(cursor.fetchone()[0])
        answers.setdefault(question.fact, {})[question.key] = None if large and count else count
    return answers


def keep(folder: str, catalog: _catalog.Catalog) -> None:
    """Write the catalogue into the restore point in ``folder``, while that is being made."""
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(catalog, stream, ensure_ascii=False)


def recorded(folder: str) -> _catalog.Catalog | None:
    """Return the catalogue that the restore point in ``folder`` has, None when none was recorded.

    Raises ValueError for a catalogue that cannot be read.
    """
    try:
        with open(os.path.join(folder, FILE), encoding="utf-8") as stream:
            return _catalog.check(json.load(stream))
    except FileNotFoundError:
        return None
