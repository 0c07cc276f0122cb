# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where migration tools keep their books, and how those are read."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._arguments import DATABASE
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import TOOLS, applied_query, quoted

PRISMA = "finished_at IS NOT NULL AND rolled_back_at IS NULL"


@pytest.mark.parametrize(
    ("tool", "table", "name", "statement"),
    [
        ("typeorm", "", '"migrations"', 'SELECT name FROM "migrations" WHERE true ORDER BY id'),
        ("typeorm", "audit.done", '"audit"."done"', 'SELECT name FROM "audit"."done" WHERE true ORDER BY id'),
        ("alembic", "", '"alembic_version"',
         'SELECT version_num FROM "alembic_version" WHERE true ORDER BY version_num'),
        ("django", "", '"django_migrations"',
         "SELECT app || '.' || name FROM \"django_migrations\" WHERE true ORDER BY id"),
        ("knex", "", '"knex_migrations"', 'SELECT name FROM "knex_migrations" WHERE true ORDER BY id'),
        ("prisma", "", '"_prisma_migrations"',
         f'SELECT migration_name FROM "_prisma_migrations" WHERE {PRISMA} ORDER BY started_at'),
    ],
)  # fmt: skip
def test_statements(tool: str, table: str, name: str, statement: str) -> None:
    assert applied_query(tool, table) == (name, statement)


@pytest.mark.parametrize("tool", ["none", "flyway", "", "TypeORM"])
def test_a_tool_that_is_not_known(tool: str) -> None:
    message = f"the migration tool '{tool}' is not known: alembic, django, knex, prisma, typeorm or none"
    with pytest.raises(ValueError, match=f"^{message}$"):
        applied_query(tool)


def test_every_tool_can_be_declared() -> None:
    assert set(DATABASE["migration_tool"]["choices"]) == {"none", *TOOLS}


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("migrations", '"migrations"'),
        ("Migrations", '"Migrations"'),
        ("app.migrations", '"app"."migrations"'),
        ('a"b', '"a""b"'),
        ('x"; DROP TABLE users; --', '"x""; DROP TABLE users; --"'),
    ],
)
def test_names_are_quoted(table: str, name: str) -> None:
    assert quoted(table) == name


@pytest.mark.parametrize("table", ["", ".", "a.", ".a", "a..b"])
def test_no_table_name(table: str) -> None:
    with pytest.raises(ValueError, match=r"is no table name$") as raised:
        quoted(table)
    assert str(raised.value) == f"'{table}' is no table name"
