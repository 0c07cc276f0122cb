# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be the same in a database and in its restored copy. Pure; private to this collection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# How values are written as text decides a content hash; it must not depend on who asks.
SETTINGS = (
    "SET search_path = pg_catalog",
    "SET jit = off",
    "SET extra_float_digits = 1",
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'postgres'",
    "SET bytea_output = 'hex'",
    # A table whose policies hide rows from the reader is an error then, and no smaller count.
    "SET row_security = off",
)

# Materialised views are left out: a restore refreshes them.
TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

# Every sequence with its value, and the column that it feeds ('' when none does).
SEQUENCES = """
SELECT sn.nspname, s.relname, q.seqincrement > 0, coalesce(tn.nspname, ''), coalesce(t.relname, ''),
  coalesce(a.attname, '')
FROM pg_class s
JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass
  AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE s.relkind = 'S' AND sn.nspname NOT LIKE 'pg\\_%' AND sn.nspname <> 'information_schema'
ORDER BY sn.nspname COLLATE "C", s.relname COLLATE "C"
"""

EXTENSIONS = """
SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
ORDER BY e.extname COLLATE "C"
"""

# Roles that own something here or are granted something here: without them a restore would change owners.
ROLES = """
SELECT DISTINCT r.rolname::text FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' AND (
  r.oid IN (SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND (
    dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    OR (classid = 'pg_database'::regclass
      AND objid = (SELECT oid FROM pg_database WHERE datname = current_database()))))
  OR r.oid IN (SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema')
) ORDER BY 1
"""

# Where a table or index lies that is not where the database lies.
TABLESPACES = """
SELECT DISTINCT t.spcname::text FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE NOT c.relisshared ORDER BY 1
"""

LARGE_OBJECTS = "SELECT count(*) FROM pg_largeobject_metadata"
LARGE_OBJECTS_HASHED = """
SELECT count(*), coalesce(sum(hashtextextended(encode(lo_get(oid), 'hex'), oid::bigint)::numeric), 0)::text
FROM pg_largeobject_metadata
"""

# How often rows were inserted, updated and deleted since the server began to count.
COUNTERS = """
SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables
ORDER BY (schemaname || '.' || relname) COLLATE "C"
"""

# What is stripped from a schema: comments, settings, psql's own commands (a newer pg_dump writes a random word there).
_NOISE = re.compile(r"\s*(--.*|SET \w+ = .*;|SELECT pg_catalog\.set_config\('search_path', '', false\);|\\\S.*)?\Z")
# PostgreSQL writes these casts and parentheses otherwise after a restore: 'a'::varchar in a check, an array of texts.
_CAST = re.compile(r"::(character varying|text|bpchar|name)(\(\d+\))?(\[\])?")
_LOOKS = re.compile(r"[()\s]")


def quoted(*names: str) -> str:
    """Return names quoted for SQL and joined with dots."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def count_statement(schema: str, table: str, *, hashed: bool) -> str:
    """Return the statement that counts a table's rows and, as asked, hashes its content in any order of rows.

    The hash is taken of rows as text: hashes of composite values use the object ids of enum values and types, which
    differ after a restore, and types without a hash function (json) refuse them.
    """
    if not hashed:
        return f"SELECT count(*), NULL FROM ONLY {quoted(schema, table)}"
    return (
        "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
        f" FROM ONLY {quoted(schema, table)} t"
    )


def sequence_statement(schema: str, name: str, ascending: bool, owner: tuple[str, str, str]) -> str:
    """Return the statement that reads a sequence's value, and whether it lags behind the column that it feeds."""
    lags = "false"
    if owner[1]:
        best, behind = ("max", "<") if ascending else ("min", ">")
        column, table = quoted(owner[2]), quoted(owner[0], owner[1])
        # A next value equal to one that is there fails the next insert: that is what this looks for.
        next_value = "CASE WHEN s.is_called THEN s.last_value + q.seqincrement ELSE s.last_value END"
        lags = f"coalesce({next_value} {behind}= (SELECT {best}({column}) FROM {table}), false)"
    return (
        f"SELECT s.last_value, {lags} FROM {quoted(schema, name)} s, pg_sequence q"
        f" WHERE q.seqrelid = '{quoted(schema, name).replace(chr(39), chr(39) * 2)}'::regclass"
    )


def schema_hash(text: str) -> str:
    """Return the fingerprint of a schema as ``pg_dump --schema-only`` writes it.

    The order of statements, comments, settings, and what PostgreSQL itself writes otherwise after a restore do not
    count.
    """
    statements: list[str] = []
    current: list[str] = []
    for line in text.splitlines():
        if _NOISE.match(line):
            if current:
                statements.append(" ".join(current))
                current = []
            continue
        current.append(_LOOKS.sub("", _CAST.sub("", line)))
    if current:
        statements.append(" ".join(current))
    # Names are in the database's encoding, and were read as they are.
    return hashlib.sha256("\n".join(sorted(statements)).encode(errors="surrogateescape")).hexdigest()


def _listed(words: Iterable[str], limit: int = 5) -> str:
    told = sorted(words)
    more = f" and {len(told) - limit} more" if len(told) > limit else ""
    return ", ".join(told[:limit]) + more


def compare(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return, in sentences, where a restored database is not what was recorded. Both are a manifest's database part.

    What was not recorded is not compared; :func:`not_compared` says what that is.
    """
    wrong = []
    then, now = recorded["rows"], found["rows"]
    if missing := set(then) - set(now):
        wrong.append(f"tables are missing: {_listed(missing)}")
    if extra := set(now) - set(then):
        wrong.append(f"tables are there that were not: {_listed(extra)}")
    wrong += [
        f"{table} has {now[table]} rows, {then[table]} were recorded"
        for table in sorted(set(then) & set(now))
        if now[table] != then[table]
    ]
    hashes, others = recorded.get("hashes") or {}, found.get("hashes") or {}
    wrong += [
        f"the content of {table} is not what was recorded"
        for table in sorted(set(hashes) & set(others))
        if hashes[table] != others[table] and then.get(table) == now.get(table)
    ]
    sequences = recorded.get("sequences")
    if sequences is not None:
        if gone := set(sequences) - set(found["sequences"]):
            wrong.append(f"sequences are missing: {_listed(gone)}")
        lag = set(found.get("sequences_behind", ())) - set(recorded.get("sequences_behind", ()))
        if lag:
            wrong.append(f"sequences would give a value that is taken: {_listed(lag)}")
    objects = recorded.get("large_objects")
    if objects is not None:
        if objects["count"] != found["large_objects"]["count"]:
            wrong.append(f"there are {found['large_objects']['count']} large objects, {objects['count']} were recorded")
        elif objects.get("hash") and found["large_objects"].get("hash") not in (None, objects["hash"]):
            wrong.append("the content of large objects is not what was recorded")
    extensions = recorded.get("extensions")
    if extensions is not None:
        there = {entry["name"] for entry in found["extensions"]}
        if absent := {entry["name"] for entry in extensions} - there:
            wrong.append(f"extensions are missing: {_listed(absent)}")
    comparable = same_major(recorded, found) and recorded.get("schema") and found.get("schema")
    if comparable and recorded["schema"] != found["schema"]:
        wrong.append("the schema is not what was recorded")
    return wrong


def same_major(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether two databases are on servers of the same major version, so that they write a schema alike."""
    return int(recorded["server_version"]) // 10000 == int(found["server_version"]) // 10000


def not_compared(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return, in sentences, what the comparison could not look at."""
    notes = []
    if not recorded.get("hashes"):
        notes.append("contents were not hashed when the restore point was taken: rows were counted only")
    if not recorded.get("schema"):
        notes.append("no fingerprint of the schema was recorded")
    elif not same_major(recorded, found):
        notes.append("the server has another major version: the schema's fingerprint was not compared")
    return notes


def shrank(previous: Mapping[str, Any], now: Mapping[str, Any], *, factor: float = 0.5) -> str:
    """Return a note when a database holds much less than at the restore point before, else ''."""
    before, after = sum(previous["rows"].values()), sum(now["rows"].values())
    if before >= 100 and after < before * factor:
        return f"the database has {after} rows; it had {before} at the restore point before"
    if previous["bytes"] >= 1 << 20 and now["bytes"] < previous["bytes"] * factor:
        return f"the dump has {now['bytes']} bytes; it had {previous['bytes']} at the restore point before"
    emptied = [table for table, rows in previous["rows"].items() if rows >= 100 and now["rows"].get(table) == 0]
    return f"tables are empty now that were not at the restore point before: {_listed(emptied)}" if emptied else ""


def changes_since(
    recorded: Mapping[str, Any],
    counters: Mapping[str, Sequence[int]],
    estimates: Mapping[str, int],
    *,
    same_count: bool,
) -> tuple[dict[str, dict[str, Any]], str]:
    """Estimate what was inserted, updated and deleted in each table since a restore point.

    ``recorded`` is a manifest's database part, ``counters`` are the server's own now, ``estimates`` its guess of the
    rows now. ``same_count`` says whether the server has counted on since then in the same database. Return the
    tables that changed and, in words, how it is known.
    """
    then = recorded.get("counters") or {}
    rows = recorded["rows"]
    backwards = any(now[i] < then[table][i] for table, now in counters.items() if table in then for i in range(3))
    known = bool(then) and same_count and not backwards
    changed: dict[str, dict[str, Any]] = {}
    for table in sorted(set(rows) | set(estimates)):
        if table not in estimates:
            changed[table] = {"rows_then": rows[table], "rows_now": None, "gone": True}
            continue
        entry: dict[str, Any] = {"rows_then": rows.get(table), "rows_now": estimates[table]}
        if known or (table not in rows and table in counters):
            before = then.get(table, (0, 0, 0))
            after = counters.get(table, before)
            inserted, updated, deleted = (after[i] - before[i] for i in range(3))
            if inserted or updated or deleted or table not in rows:
                changed[table] = {**entry, "inserted": inserted, "updated": updated, "deleted": deleted}
        elif rows.get(table) != estimates[table]:
            changed[table] = entry
    how = (
        "the server's counters, which miss what happened in the last second"
        if known
        else "the server's guess of how many rows there are: it does not show what was updated, and its counters were"
        " reset or belong to another database"
    )
    return changed, how
