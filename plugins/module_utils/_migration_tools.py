# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each migration tool keeps its books. Pure; private to this collection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MigrationTool:
    """A migration tool's own bookkeeping.

    ``table`` is the default table, ``name`` the SQL expression that names a migration, ``order`` the order in
    which they were applied, ``condition`` limits the rows to those that are applied.
    """

    table: str
    name: str
    order: str
    condition: str = "true"


# Sources: each tool's own documentation of its table.
TOOLS = {
    "typeorm": MigrationTool("migrations", "name", "id"),
    "alembic": MigrationTool("alembic_version", "version_num", "version_num"),
    "django": MigrationTool("django_migrations", "app || '.' || name", "id"),
    "knex": MigrationTool("knex_migrations", "name", "id"),
    "prisma": MigrationTool(
        "_prisma_migrations", "migration_name", "started_at", "finished_at IS NOT NULL AND rolled_back_at IS NULL"
    ),
}


def quoted(table: str) -> str:
    """Return a table name, with or without its schema, quoted for SQL. Raises ValueError when it is empty."""
    parts = table.split(".")
    if not all(parts):
        raise ValueError(f"'{table}' is no table name")
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def applied_query(tool: str, table: str = "") -> tuple[str, str]:
    """Return the quoted bookkeeping table of ``tool`` and the statement that lists applied migrations in order.

    Raises ValueError for a tool that is not known.
    """
    if tool not in TOOLS:
        raise ValueError(f"the migration tool '{tool}' is not known: {', '.join(sorted(TOOLS))} or none")
    entry = TOOLS[tool]
    name = quoted(table or entry.table)
    return name, f"SELECT {entry.name} FROM {name} WHERE {entry.condition} ORDER BY {entry.order}"
