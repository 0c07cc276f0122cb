# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plain dump is split as the server would, read to its end, and refused where it reaches beyond its database."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._plain_sql import Reader, Refused, inspect, passed_over

END = b"\n--\n-- PostgreSQL database dump complete\n--\n"


def lines(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def split(text: bytes) -> list[bytes]:
    reader = Reader(lines(text))
    found = []
    for piece in reader.pieces():
        found.append(piece.text.strip())
        if piece.kind == "copy":
            found.append(b"".join(reader.rows()))
    return found


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (b"SELECT 1; SELECT 2;\nSELECT\n3;", [b"SELECT 1;", b"SELECT 2;", b"SELECT\n3;"]),
        (b"SELECT ';' || 'it''s;';SELECT 2;", [b"SELECT ';' || 'it''s;';", b"SELECT 2;"]),
        (b"SELECT E'\\';' ;SELECT 2;", [b"SELECT E'\\';' ;", b"SELECT 2;"]),
        (b"SELECT 'a\\';SELECT 2;", [b"SELECT 'a\\';", b"SELECT 2;"]),
        (b'SELECT ";" ;', [b'SELECT ";" ;']),
        (b"SELECT name';';", [b"SELECT name';';"]),
        (b"SELECT $$;'$$, $a$ ; $$ ; $a$;", [b"SELECT $$;'$$, $a$ ; $$ ; $a$;"]),
        (b"SELECT a$b$c; SELECT $1;", [b"SELECT a$b$c;", b"SELECT $1;"]),
        (b"-- a ; comment '\nSELECT 1; -- another ;\n", [b"SELECT 1;"]),
        (b"SELECT /* ; /* ' */ ; */ 1;", [b"SELECT /* ; /* ' */ ; */ 1;"]),
        (b"CREATE RULE r AS ON DELETE TO t DO (SELECT 1; SELECT 2);", None),
        (b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END;", None),
        (b"CREATE OR REPLACE PROCEDURE f() BEGIN ATOMIC SELECT 2; END;", None),
        (b"COPY t (a) FROM stdin;\n1\n;'\\N\n\\.\nSELECT 1;", [b"COPY t (a) FROM stdin;", b"1\n;'\\N\n", b"SELECT 1;"]),
        ("SELECT 'ö;ß';".encode(), ["SELECT 'ö;ß';".encode()]),
    ],
)
def test_statements_are_split_where_the_server_would(text: bytes, pieces: list[bytes] | None) -> None:
    assert split(text) == (pieces or [text])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"SELECT 1;\n\\! rm -rf x\n", "psql's own command \\!"),
        (b"\\connect other\n", "psql's own command \\connect"),
        (b"  \\copy t from program 'x'\n", "psql's own command \\copy"),
        (b"SELECT 1\n\\g\n;", "backslash in the middle of a statement"),
        (b"\\restrict a\nSELECT 1;\n\\restrict b\n", "psql's own command \\restrict"),
        (b"\\restrict a\nSELECT 1;\n\\unrestrict b\n", "psql's own command \\unrestrict"),
        (b"COPY t FROM PROGRAM 'x';", "no COPY FROM stdin"),
        (b"COPY t TO PROGRAM 'x';", "no COPY FROM stdin"),
        (b"copy t from '/etc/passwd';", "no COPY FROM stdin"),
        (b"COPY (SELECT ' FROM stdin ') TO /* FROM stdin */ PROGRAM 'x';", "no COPY FROM stdin"),
        (b"COPY t FROM stdin; SELECT 1;\n\\.\n", "goes on after a COPY"),
        (b"SET standard_conforming_strings = off;", "standard_conforming_strings"),
        (b"SET client_encoding = 'SJIS';", "not safe to split"),
        (b"CREATE DATABASE x;", "taken with --create"),
        (b"SELECT 'open", "ends in the middle of a statement"),
        (b"SELECT 1", "ends in the middle of a statement"),
        (b"COPY t FROM stdin;\n1\n", "ends in the middle of a table's rows"),
        (b"COPY t FROM stdin;\n\\.", "complete' is missing"),
        (b"SELECT 1;", "complete' is missing"),
        (END, "no statement"),
        (b"", "no statement"),
    ],
)
def test_what_is_unsafe_or_incomplete_is_refused(text: bytes, words: str) -> None:
    whole = text if "missing" in words or "ends in" in words else text + END
    with pytest.raises(Refused) as refused:
        inspect(lines(whole))
    assert words in str(refused.value)


def test_a_trailer_that_something_follows_does_not_count() -> None:
    with pytest.raises(Refused, match="is missing"):
        inspect(lines(b"SELECT 1;" + END + b"SELECT 2;\n"))


def test_a_whole_dump_is_described() -> None:
    text = b"""--
-- PostgreSQL database dump
--
\\restrict Abc
-- Dumped from database version 16.4
-- Dumped by pg_dump version 17.2
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA ext;
COMMENT ON EXTENSION "uuid-ossp" IS 'x';
CREATE TABLE public."A b" (a int);
ALTER TABLE public."A b" OWNER TO "O w";
ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;
COPY public."A b" (a) FROM stdin;
1
\\N
\\.
INSERT INTO t VALUES (1);
"""
    found = inspect(lines(text + END + b"\n\\unrestrict Abc\n\n"))
    assert found.rows == {"public.A b": 2}
    assert found.extensions == (("uuid-ossp", "ext"),)
    assert found.owners == ("O w",)
    assert (found.version, found.inserts, found.defaults) == (17, 1, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"ALTER TABLE t OWNER TO x;", "owner"),
        (b"ALTER FUNCTION s.f(a int, b text) OWNER TO x;", "owner"),
        (b"ALTER TABLE t ADD COLUMN owner_to int;", ""),
        (b"SELECT 'ALTER TABLE t OWNER TO x';", ""),
        (b"COMMENT ON EXTENSION x IS 'y';", "comment"),
        (b"COMMENT ON TABLE x IS 'y';", ""),
        (b"ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO y;", "default privileges"),
    ],
)
def test_what_the_loading_role_may_not_do_is_passed_over(text: bytes, why: str) -> None:
    [piece] = Reader(lines(text)).pieces()
    assert passed_over(piece) == why
