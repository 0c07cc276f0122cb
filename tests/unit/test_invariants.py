# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be the same in a restored copy: every difference is told, and nothing that is none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._invariants import (
    changes_since,
    compare,
    count_statement,
    not_compared,
    schema_hash,
    sequence_statement,
    shrank,
)

RECORDED: dict[str, Any] = {
    "server_version": 170002,
    "rows": {"public.a": 3, "public.b": 0},
    "hashes": {"public.a": "17", "public.b": "0"},
    "sequences": {"public.a_id_seq": 3},
    "sequences_behind": [],
    "large_objects": {"count": 1, "hash": "5"},
    "extensions": [{"name": "pg_trgm", "version": "1.6", "schema": "public"}],
    "schema": "aa",
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"rows": {"public.a": 3}}, ["tables are missing: public.b"]),
        ({"rows": {"public.a": 3, "public.b": 0, "public.c": 1}}, ["tables are there that were not: public.c"]),
        ({"rows": {"public.a": 2, "public.b": 0}}, ["public.a has 2 rows, 3 were recorded"]),
        ({"hashes": {"public.a": "18", "public.b": "0"}}, ["the content of public.a is not what was recorded"]),
        ({"sequences": {}}, ["sequences are missing: public.a_id_seq"]),
        ({"sequences": {"public.a_id_seq": 9}}, []),
        ({"sequences_behind": ["public.a_id_seq"]}, ["sequences would give a value that is taken: public.a_id_seq"]),
        (
            {"large_objects": {"count": 0, "hash": "0"}},
            ["there are 0 large objects, 1 were recorded"],
        ),
        ({"large_objects": {"count": 1, "hash": "6"}}, ["the content of large objects is not what was recorded"]),
        ({"extensions": []}, ["extensions are missing: pg_trgm"]),
        ({"extensions": [{"name": "pg_trgm", "version": "1.7", "schema": "x"}]}, []),
        ({"schema": "bb"}, ["the schema is not what was recorded"]),
        ({"schema": "bb", "server_version": 180000}, []),
    ],
)
def test_every_difference_is_told(changes: dict[str, Any], told: list[str]) -> None:
    assert compare(RECORDED, {**copy.deepcopy(RECORDED), **changes}) == told


def test_what_was_behind_before_is_no_difference() -> None:
    behind = {**RECORDED, "sequences_behind": ["public.a_id_seq"]}
    assert compare(behind, behind) == []


def test_a_restore_point_of_an_older_version_is_compared_as_far_as_it_goes() -> None:
    old = {"server_version": 170002, "rows": {"public.a": 3, "public.b": 0}}
    assert compare(old, RECORDED) == []
    assert not_compared(old, RECORDED) == [
        "contents were not hashed when the restore point was taken: rows were counted only",
        "no fingerprint of the schema was recorded",
    ]
    assert not_compared(RECORDED, RECORDED) == []
    assert "another major version" in not_compared(RECORDED, {**RECORDED, "server_version": 180000})[0]


SCHEMA = """
--
-- PostgreSQL database dump
--

\\restrict AbC
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.a (
    id integer,
    CONSTRAINT k CHECK (((kind)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[])))
);

CREATE INDEX i ON public.a USING btree (id);
\\unrestrict AbC
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("AbC", "xYz", True),
        ("statement_timeout = 0", "lock_timeout = 9", True),
        (
            "((ARRAY['x'::character varying, 'y'::character varying])::text[])",
            "(ARRAY[('x'::character varying)::text, ('y'::character varying)::text])",
            True,
        ),
        ("integer", "bigint", False),
        ("btree", "hash", False),
        ("'y'", "'z'", False),
        ("\nCREATE INDEX i ON public.a USING btree (id);\n", "", False),
    ],
)
def test_a_schema_is_the_same_however_it_is_written(old: str, new: str, same: bool) -> None:
    assert old in SCHEMA
    assert (schema_hash(SCHEMA) == schema_hash(SCHEMA.replace(old, new))) is same


def test_the_order_of_statements_is_none_of_the_schema() -> None:
    assert schema_hash("CREATE A;\n\nCREATE B;\n") == schema_hash("--\n\nCREATE B;\n\nCREATE A;\n")


@pytest.mark.parametrize(
    ("rows", "size", "told"),
    [
        ({"a": 1000, "b": 200}, 10 << 20, ""),
        ({"a": 500, "b": 99}, 10 << 20, "the database has 599 rows; it had 1200"),
        ({"a": 1000, "b": 200}, 4 << 20, "the dump has 4194304 bytes; it had 10485760"),
        ({"a": 1200, "b": 0}, 10 << 20, "tables are empty now that were not at the restore point before: b"),
        ({"a": 1200}, 10 << 20, ""),
    ],
)
def test_a_database_that_shrank_is_noted(rows: dict[str, int], size: int, told: str) -> None:
    assert shrank({"rows": {"a": 1000, "b": 200}, "bytes": 10 << 20}, {"rows": rows, "bytes": size}).startswith(told)
    assert bool(shrank({"rows": {"a": 1000, "b": 200}, "bytes": 10 << 20}, {"rows": rows, "bytes": size})) is bool(told)


def test_a_small_database_may_shrink() -> None:
    assert shrank({"rows": {"a": 99}, "bytes": 5000}, {"rows": {"a": 1}, "bytes": 100}) == ""


@pytest.mark.parametrize(
    ("counters", "estimates", "same", "changed", "known"),
    [
        ({"a": (5, 1, 0)}, {"a": 5}, True, {}, "the server's counters"),
        ({"a": (7, 1, 3)}, {"a": 4}, True, {"a": (2, 0, 3)}, "the server's counters"),
        ({"a": (2, 0, 0)}, {"a": 5}, True, {}, "the server's guess"),
        ({"a": (9, 9, 9)}, {"a": 8}, False, {"a": None}, "the server's guess"),
        ({"a": (5, 1, 0), "n": (4, 0, 1)}, {"a": 5, "n": 3}, True, {"n": (4, 0, 1)}, "the server's counters"),
        ({}, {}, True, {"a": "gone"}, "the server's counters"),
    ],
)
def test_changes_are_known_by_counters_or_guessed(
    counters: Any, estimates: Any, same: bool, changed: Any, known: str
) -> None:
    recorded = {"rows": {"a": 5}, "counters": {"a": [5, 1, 0]}}
    found, how = changes_since(recorded, counters, estimates, same_count=same)
    told = {
        table: "gone"
        if entry.get("gone")
        else (entry["inserted"], entry["updated"], entry["deleted"])
        if "inserted" in entry
        else None
        for table, entry in found.items()
    }
    assert told == changed
    assert how.startswith(known)


def test_names_are_quoted() -> None:
    assert 'ONLY "s"."a ""b"""' in count_statement("s", 'a "b"', hashed=True)
    statement = sequence_statement("s", "o'q", True, ("t", 'o"r', "c"))
    assert "'\"s\".\"o''q\"'::regclass" in statement
    assert 'max("c") FROM "t"."o""r"' in statement
    assert "max(" not in sequence_statement("s", "q", True, ("", "", ""))
    assert "min(" in sequence_statement("s", "q", False, ("t", "r", "c"))
