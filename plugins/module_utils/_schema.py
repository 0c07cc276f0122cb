# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the live schema and its migrations against a restore point's. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _catalog_reader,
    _libraries,
    _migration_tools,
    _postgres,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, Login, query
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoreError


@dataclass(frozen=True)
class Settings:
    """What was declared about the migration tool. Timeouts are in seconds, ``data_limit`` is in bytes."""

    tool: str
    table: str = ""
    image: str = ""
    source: str = ""
    program: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    apply: tuple[str, ...] = ()
    lock_timeout: float = 5
    step_timeout: float = 120
    data_limit: int = 20_000_000


def settings_of(parameters: Mapping[str, Any]) -> Settings:
    """Return what a module's arguments declare of the migration tool."""
    return Settings(
        tool=parameters["migration_tool"],
        table=parameters["migration_table"],
        image=parameters["migration_image"],
        source=parameters["migration_source"],
        program=tuple(parameters["migration_program"]),
        revert=tuple(parameters["migration_revert_command"]),
        show=tuple(parameters["migration_list_command"]),
        apply=tuple(parameters.get("migration_apply_command", ())),
        lock_timeout=parameters.get("lock_timeout", 5),
        step_timeout=parameters.get("step_timeout", 120),
        data_limit=parameters.get("rehearsal_data_limit", 0),
    )


def history(login: Login, settings: Settings) -> list[str]:
    """Return the applied migrations in order, from the tool's own table; none where it does not exist."""
    name, statement = _migration_tools.applied_query(settings.tool, settings.table)
    if query(login, "SELECT to_regclass(%s)", (name,))[0][0] is None:
        return []
    return [str(row[0]) for row in query(login, statement)]


def catalogue(login: Login, recorded: _catalog.Catalog | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the live catalogue, and with ``recorded`` the facts that a comparison with it needs.

    Both are of one snapshot. Raises ``DatabaseError``.
    """
    psycopg2 = _libraries.psycopg2()
    connection = _postgres.connect(login, statement_timeout=60)
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            live = _catalog_reader.read(cursor)
            facts = {} if recorded is None else _catalog_reader.facts(cursor, recorded, live)
        return live, facts
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        connection.close()


@dataclass(frozen=True)
class Reference:
    """What a restore point knows of migrations: None for what it does not have."""

    id: str
    label: str
    history: tuple[str, ...] | None
    catalog: _catalog.Catalog | None


@dataclass(frozen=True)
class Assessment:
    """The live schema against a restore point's. ``comparison`` is None where no catalogue was recorded."""

    applied: tuple[str, ...]
    added: tuple[str, ...] | None
    missing: tuple[str, ...] | None
    live: Mapping[str, Any] = field(repr=False)
    comparison: _catalog.Comparison | None
    judgement: _catalog.Judgement


def reference(store: Store, to: str) -> Reference | None:
    """Return what the named restore point knows; without a name the newest good one that knows the history.

    None when there is no such restore point. Raises ``StoreError`` when the named one cannot be used.
    """
    if to:
        points = [store.point(to)]
        if points[0].manifest is None:
            raise StoreError(f"restore point {to} cannot be used: {points[0].problem}")
    else:
        points = [
            point
            for point in reversed(store.points())
            if point.manifest is not None
            and point.manifest.migrations
            and point.manifest.purpose != "safety"
            and point.summary().bad is None
        ][:1]
    for point in points:
        if point.manifest is not None:
            recorded = (point.manifest.migrations or {}).get("applied")
            return Reference(
                point.id,
                point.manifest.release.label,
                None if recorded is None else tuple(recorded),
                _catalog_reader.recorded(point.path),
            )
    return None


def assess(login: Login, settings: Settings, against: Reference | None) -> Assessment:
    """Compare the live database with a restore point. Raises ``DatabaseError``.

    Without a migration tool, and where a history is not known, the catalogues alone are compared.
    """
    applied: list[str] | None = None
    cannot, refuses_unknown = "no migration tool is declared", ""
    if settings.tool != "none":
        entry = _migration_tools.tool_of(settings.tool, settings.table)
        applied, refuses_unknown = history(login, settings), entry.refuses_unknown
        cannot = "" if settings.revert else entry.cannot_revert
    added, missing = _migration_tools.since(settings.tool, applied, against.history if against else None)
    recorded = against.catalog if against else None
    live, facts = catalogue(login, recorded)
    if added is None:
        cannot = cannot or "the migration history was not recorded: there is nothing to go back to"
    comparison = None
    if recorded is not None:
        comparison = _catalog.compare(
            recorded, live, added=added or (), missing=missing or (), cannot_revert=cannot, facts=facts
        )
    judgement = _catalog.judge_application_rollback(
        recorded, live, added=added, missing=missing, facts=facts, refuses_unknown=refuses_unknown
    )
    return Assessment(tuple(applied or ()), added, missing, live, comparison, judgement)
