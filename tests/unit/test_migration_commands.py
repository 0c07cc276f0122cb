# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How migration tools are told to go back: commands, steps, their own words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import (
    PLACES,
    Commands,
    alembic_path,
    applied_query,
    apply_command,
    commands,
    history_command,
    own_words,
    show_command,
    since,
    steps,
    table_of,
)

BIN = "node_modules/.bin/typeorm"
SCRIPTS = '{"scripts": {"migration:revert": "typeorm migration:revert %s", "build": "tsc"}}'


@pytest.mark.parametrize(
    ("tool", "table", "name", "statement"),
    [
        ("typeorm", "", '"migrations"', 'SELECT name FROM "migrations" WHERE true ORDER BY id'),
        ("typeorm", "app.history", '"app"."history"', 'SELECT name FROM "app"."history" WHERE true ORDER BY id'),
        (
            "django",
            "",
            '"django_migrations"',
            "SELECT app || '.' || name FROM \"django_migrations\" WHERE true ORDER BY id",
        ),
        (
            "command",
            "SequelizeMeta(name)",
            '"SequelizeMeta"',
            'SELECT "name" FROM "SequelizeMeta" WHERE true ORDER BY "name"',
        ),
        (
            "command",
            "public.flyway(version, installed_rank)",
            '"public"."flyway"',
            'SELECT "version" FROM "public"."flyway" WHERE true ORDER BY "installed_rank"',
        ),
    ],
)
def test_where_the_books_are(tool: str, table: str, name: str, statement: str) -> None:
    assert applied_query(tool, table) == (name, statement)
    assert table_of(tool, table) == name


@pytest.mark.parametrize(
    ("tool", "table", "message"),
    [
        (
            "flyway",
            "",
            "the migration tool 'flyway' is not known: alembic, command, django, knex, prisma, typeorm or none",
        ),
        ("command", "", "with the migration tool 'command' the table is told as"),
        ("command", "meta", "with the migration tool 'command' the table is told as"),
        ("typeorm", ".x", "'.x' is no table name"),
    ],
)
def test_books_that_are_not_known(tool: str, table: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        applied_query(tool, table)


@pytest.mark.parametrize(
    ("tool", "applied", "recorded", "expected"),
    [
        ("typeorm", ["a", "b"], ["a"], (("b",), ())),
        ("typeorm", ["a"], ["a", "b"], ((), ("b",))),
        ("typeorm", ["a", "c"], ["a", "b"], (("c",), ("b",))),
        ("typeorm", None, ["a"], (None, None)),
        ("typeorm", ["a"], None, (None, None)),
        ("alembic", ["r2"], ["r1"], (("r2",), ())),
        ("alembic", ["r1"], ["r1"], ((), ())),
        ("alembic", [], ["r1"], ((), ("r1",))),
    ],
)
def test_what_was_applied_since(tool: str, applied: Any, recorded: Any, expected: Any) -> None:
    assert since(tool, applied, recorded) == expected


@pytest.mark.parametrize(
    ("tool", "present", "given", "base", "suffix"),
    [
        ("typeorm", {BIN: None, "dist/data-source.js": None}, {}, (BIN,), ("-d", "dist/data-source.js")),
        ("typeorm", {BIN: None, "dist/src/data-source.js": None}, {}, (BIN,), ("-d", "dist/src/data-source.js")),
        (
            "typeorm",
            {BIN: None, "dist/database/data-source.js": None},
            {},
            (BIN,),
            ("-d", "dist/database/data-source.js"),
        ),
        (
            "typeorm",
            {"node_modules/typeorm/cli.js": None, "dist/data-source.js": None},
            {},
            ("node", "node_modules/typeorm/cli.js"),
            ("-d", "dist/data-source.js"),
        ),
        # What package.json says goes before what the places suggest, and what is declared before both.
        (
            "typeorm",
            {BIN: None, "dist/data-source.js": None, "package.json": SCRIPTS % "--dataSource ./dist/db.js"},
            {},
            (BIN,),
            ("-d", "dist/db.js"),
        ),
        (
            "typeorm",
            {BIN: None, "dist/data-source.js": None, "package.json": SCRIPTS % "-d dist/db.js"},
            {"source": "out/ds.js"},
            (BIN,),
            ("-d", "out/ds.js"),
        ),
        # A script that names TypeScript is of no use in a production image that has the compiled file.
        (
            "typeorm",
            {BIN: None, "dist/data-source.js": None, "package.json": SCRIPTS % "-d src/data-source.ts"},
            {},
            (BIN,),
            ("-d", "dist/data-source.js"),
        ),
        (
            "typeorm",
            {"node_modules/.bin/typeorm-ts-node-commonjs": None, "src/data-source.ts": None},
            {},
            ("node_modules/.bin/typeorm-ts-node-commonjs",),
            ("-d", "src/data-source.ts"),
        ),
        (
            "typeorm",
            {BIN: None, "dist/data-source.js": None, "package.json": "not json"},
            {},
            (BIN,),
            ("-d", "dist/data-source.js"),
        ),
        (
            "knex",
            {"node_modules/.bin/knex": None, "knexfile.js": None},
            {},
            ("node_modules/.bin/knex",),
            ("--knexfile", "knexfile.js"),
        ),
        ("alembic", {}, {}, ("alembic",), ()),
        (
            "alembic",
            {"/opt/venv/bin/alembic": None, "src/alembic.ini": None},
            {},
            ("/opt/venv/bin/alembic", "-c", "src/alembic.ini"),
            (),
        ),
        ("django", {"manage.py": None}, {}, ("python3", "manage.py"), ()),
        ("django", {"src/manage.py": None, ".venv/bin/python": None}, {}, (".venv/bin/python", "src/manage.py"), ()),
        ("typeorm", {}, {"program": ["npx", "typeorm"]}, ("npx", "typeorm"), ()),
    ],
)
def test_how_a_tool_is_called(tool: str, present: dict[str, Any], given: Any, base: Any, suffix: Any) -> None:
    found = commands(tool, present, **given)
    assert (found.base, found.suffix) == (base, suffix)
    assert set(present) <= set(PLACES[tool])


@pytest.mark.parametrize(
    ("tool", "present", "given", "message"),
    [
        ("typeorm", {}, {}, "the image has no TypeORM program"),
        ("typeorm", {BIN: None}, {}, "name it with rollback_migration_source"),
        ("typeorm", {BIN: None, "src/data-source.ts": None}, {}, "name it with rollback_migration_source"),
        ("knex", {"knexfile.js": None}, {}, "the image has no Knex program"),
        ("knex", {"node_modules/.bin/knex": None}, {}, "no knexfile.js was found"),
        ("django", {}, {}, "no manage.py was found"),
        ("prisma", {}, {}, "prisma has no down migrations: restore the database instead"),
        ("command", {}, {}, "the command that reverts has to be declared"),
    ],
)
def test_a_tool_that_cannot_be_called(tool: str, present: dict[str, Any], given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commands(tool, present, **given)


@pytest.mark.parametrize("tool", ["prisma", "command"])
def test_a_tool_that_only_goes_forward_applies_and_does_not_revert(tool: str) -> None:
    found = commands(tool, {}, apply=["./migrate", "up"])
    assert apply_command(found) == ("./migrate", "up")
    with pytest.raises(ValueError, match=r"no down migrations|has to be declared"):
        steps(found, ["a", "b"], ["a"])


TYPEORM = Commands("typeorm", (BIN,), suffix=("-d", "x.js"))
REVERT = (BIN, "migration:revert", "-d", "x.js")
KNEX = Commands("knex", ("knex",), suffix=("--knexfile", "k.js"))
DJANGO = Commands("django", ("python3", "manage.py"))
OWN = Commands("command", revert=("./migrate", "down", "{migration}", "--to={target}"))
BOOKS = ["shop.0001_a", "users.0001_a", "shop.0002_b", "users.0002_b"]


@pytest.mark.parametrize(
    ("found", "applied", "recorded", "way"),
    [
        (TYPEORM, ["a"], ["a"], []),
        (TYPEORM, ["a", "b", "c"], ["a"], [("c", REVERT, ("a", "b")), ("b", REVERT, ("a",))]),
        (
            KNEX,
            ["a.js", "b.js"],
            ["a.js"],
            [("b.js", ("knex", "migrate:down", "b.js", "--knexfile", "k.js"), ("a.js",))],
        ),
        (
            DJANGO,
            BOOKS,
            BOOKS[:1],
            [
                ("users.0002_b", ("python3", "manage.py", "migrate", "users", "0001_a", "--noinput"), tuple(BOOKS[:3])),
                ("shop.0002_b", ("python3", "manage.py", "migrate", "shop", "0001_a", "--noinput"), tuple(BOOKS[:2])),
                ("users.0001_a", ("python3", "manage.py", "migrate", "users", "zero", "--noinput"), tuple(BOOKS[:1])),
            ],
        ),
        (OWN, ["a", "b"], ["a"], [("b", ("./migrate", "down", "b", "--to=a"), ("a",))]),
        (OWN, ["b"], [], [("b", ("./migrate", "down", "b", "--to="), ())]),
    ],
)
def test_the_steps_back(found: Commands, applied: list[str], recorded: list[str], way: list[Any]) -> None:
    assert [(step.undoes, step.argv, step.leaves) for step in steps(found, applied, recorded)] == way


HISTORY = """\
INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.
b2 -> c3 (head), add email
a1 -> b2, add a table
<base> -> a1, the first
"""
ALEMBIC = Commands("alembic", ("alembic",))


def test_alembic_goes_by_its_own_history() -> None:
    path = alembic_path(HISTORY)
    assert path == (("c3", ("b2",)), ("b2", ("a1",)), ("a1", ()))
    assert history_command(ALEMBIC, ["a1"], ["c3"]) == ("alembic", "history", "-r", "a1:c3")
    assert history_command(TYPEORM, ["a1"], ["c3"]) == ()
    told = [(step.undoes, step.argv, step.leaves) for step in steps(ALEMBIC, ["c3"], ["a1"], path=path)]
    assert told == [("c3", ("alembic", "downgrade", "b2"), ("b2",)), ("b2", ("alembic", "downgrade", "a1"), ("a1",))]
    assert [step.argv[-1] for step in steps(ALEMBIC, ["c3"], [], path=path)] == ["b2", "a1", "base"]
    assert steps(ALEMBIC, ["c3"], ["c3"]) == ()


@pytest.mark.parametrize(
    ("found", "applied", "recorded", "path", "message"),
    [
        (TYPEORM, ["a", "b"], ["a", "x"], (), "recorded as applied and applied no more: x"),
        (TYPEORM, ["a", "b", "c"], ["a", "c"], (), "it takes back the newest alone"),
        (ALEMBIC, ["c3"], ["zz"], alembic_path(HISTORY), "does not lead from a1 back to zz|does not lead from"),
        (ALEMBIC, ["c3", "d4"], ["a1"], alembic_path(HISTORY), "branch"),
        (ALEMBIC, ["c3"], ["a1"], (("c3", ("b1", "b2")),), "branch"),
    ],
)
def test_no_way_back(found: Commands, applied: list[str], recorded: list[str], path: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps(found, applied, recorded, path=path)


def test_alembic_without_a_history() -> None:
    with pytest.raises(ValueError, match="names no revision"):
        alembic_path("Can't locate revision identified by 'x'")


@pytest.mark.parametrize(
    ("found", "argv"),
    [
        (TYPEORM, (BIN, "migration:show", "-d", "x.js")),
        (KNEX, ("knex", "migrate:list", "--knexfile", "k.js")),
        (ALEMBIC, ("alembic", "current")),
        (DJANGO, ("python3", "manage.py", "showmigrations", "--plan")),
        (OWN, ()),
        (Commands("command", revert=("x",), show=("./migrate", "list")), ("./migrate", "list")),
    ],
)
def test_how_a_tool_is_tried(found: Commands, argv: tuple[str, ...]) -> None:
    assert show_command(found) == argv


NODE = """\
query: START TRANSACTION
query failed: ALTER TABLE jobs DROP COLUMN x
Error during migration revert:
QueryFailedError: canceling statement due to lock timeout
    at PostgresQueryRunner.query (/app/node_modules/typeorm/x.js:1:2)
  file: 'postgres.c',
  line: '3399',
  where: undefined,
}
"""
PYTHON = """\
Traceback (most recent call last):
  File "/usr/bin/alembic", line 8, in <module>
    sys.exit(main())
psycopg2.errors.LockNotAvailable: canceling statement due to lock timeout
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (NODE, "Error during migration revert:\nQueryFailedError: canceling statement due to lock timeout"),
        (PYTHON, "psycopg2.errors.LockNotAvailable: canceling statement due to lock timeout"),
        ("one\n\ntwo\n", "one\ntwo"),
        (
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find module 'x'\n    at a (b)\n\nNode.js v20.19.2\n",
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find module 'x'",
        ),
        ("", ""),
    ],
)
def test_what_a_tool_complains_of(output: str, words: str) -> None:
    assert own_words(output) == words
