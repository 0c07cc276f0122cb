# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of migration tools: their books, and how they are told to go back. Pure; private to this collection."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MigrationTool:
    """A migration tool's own bookkeeping, and what is known of its ways.

    ``table`` is the default table, ``name`` the SQL expression that names a migration, ``order`` the order in
    which they were applied, ``condition`` limits the rows to those that are applied. ``pointer`` tells that the
    table holds the newest revision alone. ``cannot_revert`` says why it has no way back. ``refuses_unknown`` is what
    it does, when told to migrate, about an applied migration that the release does not have.
    """

    table: str
    name: str
    order: str
    condition: str = "true"
    pointer: bool = False
    cannot_revert: str = ""
    refuses_unknown: str = ""


# Sources: each tool's own documentation of its table and of its commands.
TOOLS = {
    "typeorm": MigrationTool("migrations", "name", "id"),
    "alembic": MigrationTool(
        "alembic_version",
        "version_num",
        "version_num",
        pointer=True,
        refuses_unknown="alembic refuses to upgrade where its table names a revision that the release does not have:"
        " a release that migrates when it starts does not start",
    ),
    "django": MigrationTool("django_migrations", "app || '.' || name", "id"),
    "knex": MigrationTool(
        "knex_migrations",
        "name",
        "id",
        refuses_unknown="knex refuses to migrate where its table names a file that the release does not have (unless"
        " disableMigrationsListValidation is set): a release that migrates when it starts does not start",
    ),
    "prisma": MigrationTool(
        "_prisma_migrations",
        "migration_name",
        "started_at",
        "finished_at IS NOT NULL AND rolled_back_at IS NULL",
        cannot_revert="prisma has no down migrations: restore the database instead",
    ),
}
# The user's own commands. Their table is told as table(name) or table(name, order).
COMMAND = "command"
_OWN_TABLE = re.compile(r"^([^()]+)\(\s*([^(),]+?)\s*(?:,\s*([^(),]+?)\s*)?\)$")


def quoted(table: str) -> str:
    """Return a table name, with or without its schema, quoted for SQL. Raises ValueError when it is empty."""
    parts = table.split(".")
    if not all(parts):
        raise ValueError(f"'{table}' is no table name")
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def tool_of(tool: str, table: str = "") -> MigrationTool:
    """Return the entry of ``tool``. Raises ValueError for one that is not known."""
    if tool == COMMAND:
        found = _OWN_TABLE.match(table.strip())
        if not found:
            raise ValueError(
                "with the migration tool 'command' the table is told as table(name) or table(name, order):"
                f" not '{table}'"
            )
        name = quoted(found.group(2))
        return MigrationTool(found.group(1).strip(), name, quoted(found.group(3)) if found.group(3) else name)
    if tool not in TOOLS:
        raise ValueError(f"the migration tool '{tool}' is not known: {', '.join(sorted([*TOOLS, COMMAND]))} or none")
    return TOOLS[tool]


def table_of(tool: str, table: str = "") -> str:
    """Return the quoted bookkeeping table of ``tool``."""
    entry = tool_of(tool, table)
    return quoted(entry.table if tool == COMMAND else table or entry.table)


def applied_query(tool: str, table: str = "") -> tuple[str, str]:
    """Return the quoted bookkeeping table of ``tool`` and the statement that lists applied migrations in order.

    Raises ValueError for a tool that is not known.
    """
    entry = tool_of(tool, table)
    name = table_of(tool, table)
    return name, f"SELECT {entry.name} FROM {name} WHERE {entry.condition} ORDER BY {entry.order}"


def since(
    tool: str, applied: Sequence[str] | None, recorded: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the migrations applied since ``recorded``, and those recorded that are applied no more, in order.

    None for both when either history is not known. A tool that keeps a pointer moves it: what it pointed to then is
    not missing.
    """
    if applied is None or recorded is None:
        return None, None
    added = tuple(name for name in applied if name not in recorded)
    missing = tuple(name for name in recorded if name not in applied)
    if tool in TOOLS and TOOLS[tool].pointer and added:
        missing = ()
    return added, missing


# -- commands ------------------------------------------------------------------------------------------------------

# Where production images have them, compiled sources before TypeScript, in the order in which they are looked for.
TYPEORM_DATA_SOURCES = tuple(
    f"{folder}{name}.js"
    for folder in ("dist/", "dist/src/", "build/", "build/src/", "lib/", "")
    for name in (
        "data-source",
        "database/data-source",
        "db/data-source",
        "config/data-source",
        "typeorm/data-source",
        "app-data-source",
        "datasource",
        "database/datasource",
        "typeorm.config",
        "config/typeorm.config",
        "database/typeorm.config",
        "ormconfig",
    )
)
TYPEORM_TYPESCRIPT = (
    "src/data-source.ts",
    "data-source.ts",
    "src/database/data-source.ts",
    "src/config/data-source.ts",
)
TYPEORM_PROGRAMS = ("node_modules/.bin/typeorm", "node_modules/typeorm/cli.js")
TYPEORM_TYPESCRIPT_PROGRAMS = (
    "node_modules/.bin/typeorm-ts-node-commonjs",
    "node_modules/.bin/typeorm-ts-node-esm",
    "node_modules/.bin/tsx",
)
KNEX_PROGRAMS = ("node_modules/.bin/knex", "node_modules/knex/bin/cli.js")
KNEXFILES = ("knexfile.js", "knexfile.cjs", "knexfile.mjs", "dist/knexfile.js", "build/knexfile.js", "src/knexfile.js")
ALEMBIC_PROGRAMS = (".venv/bin/alembic", "venv/bin/alembic", "/venv/bin/alembic", "/opt/venv/bin/alembic")
ALEMBIC_FILES = ("alembic.ini", "migrations/alembic.ini", "src/alembic.ini", "app/alembic.ini")
PYTHONS = (".venv/bin/python", "venv/bin/python", "/venv/bin/python", "/opt/venv/bin/python")
DJANGO_FILES = ("manage.py", "src/manage.py", "app/manage.py", "backend/manage.py")

# What is worth looking for inside the image, for each tool.
PLACES: dict[str, tuple[str, ...]] = {
    "typeorm": (
        "package.json",
        *TYPEORM_PROGRAMS,
        *TYPEORM_TYPESCRIPT_PROGRAMS,
        *TYPEORM_DATA_SOURCES,
        *TYPEORM_TYPESCRIPT,
    ),
    "knex": (*KNEX_PROGRAMS, *KNEXFILES),
    "alembic": (*ALEMBIC_PROGRAMS, *ALEMBIC_FILES),
    "django": (*PYTHONS, *DJANGO_FILES),
}
# Files whose content matters.
READ = ("package.json",)

# What each tool needs of the service's environment, in words: the one-off container has the service's own.
NEEDS = {
    "typeorm": "the variables that its data source reads the connection from",
    "knex": "NODE_ENV, and the variables that its knexfile reads the connection from",
    "alembic": "what env.py reads the connection from (sqlalchemy.url of alembic.ini otherwise)",
    "django": "DJANGO_SETTINGS_MODULE and what the settings read the connection from",
}


@dataclass(frozen=True)
class Commands:
    """How a tool is called inside the image: ``base`` is the program with what every call needs.

    ``revert`` is a user's own command, with the placeholders ``{migration}`` and ``{target}``; ``apply`` one that
    applies what is pending. ``no_revert`` says why there is no way back, '' where there is one.
    """

    tool: str
    base: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    apply: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    no_revert: str = ""


@dataclass(frozen=True)
class Step:
    """One step back: ``undoes`` is the migration it takes back, ``leaves`` the history that is right afterwards."""

    undoes: str
    argv: tuple[str, ...]
    leaves: tuple[str, ...]


def _first(places: Sequence[str], present: Mapping[str, str | None]) -> str:
    return next((place for place in places if place in present), "")


def _declared_data_source(package: str | None) -> str:
    """Return the data source that a script in package.json names."""
    try:
        scripts = json.loads(package or "{}").get("scripts") or {}
    except (ValueError, AttributeError):
        return ""
    for name in sorted(scripts, key=lambda name: ("revert" not in name, name)):
        text = str(scripts[name])
        if "typeorm" in text:
            found = re.search(r"(?:--dataSource|-d)[ =]\s*([^\s\"']+)", text)
            if found:
                return posixpath.normpath(found.group(1))
    return ""


def _typeorm(present: Mapping[str, str | None], source: str) -> Commands:
    declared = source or _declared_data_source(present.get("package.json"))
    program = _first(TYPEORM_PROGRAMS, present)
    compiled = declared if declared and not declared.endswith(".ts") else _first(TYPEORM_DATA_SOURCES, present)
    node = ("node",) if program.endswith(".js") else ()
    if program and compiled:
        return Commands("typeorm", (*node, program), suffix=("-d", compiled))
    typescript = declared if declared.endswith(".ts") else _first(TYPEORM_TYPESCRIPT, present)
    runner = _first(TYPEORM_TYPESCRIPT_PROGRAMS, present)
    if runner and typescript:
        extra = ("node_modules/typeorm/cli.js",) if runner.endswith("tsx") else ()
        return Commands("typeorm", (runner, *extra), suffix=("-d", typescript))
    if not program and not runner:
        raise ValueError(f"the image has no TypeORM program ({', '.join(TYPEORM_PROGRAMS)})")
    raise ValueError(
        "no compiled TypeORM data source was found in the image (dist/data-source.js and the like): name it with"
        " rollback_migration_source"
    )


def _knex(present: Mapping[str, str | None], source: str) -> Commands:
    program = _first(KNEX_PROGRAMS, present)
    if not program:
        raise ValueError(f"the image has no Knex program ({', '.join(KNEX_PROGRAMS)})")
    file = source or _first(KNEXFILES, present)
    if not file:
        raise ValueError("no knexfile.js was found in the image: name it with rollback_migration_source")
    node = ("node",) if program.endswith(".js") else ()
    return Commands("knex", (*node, program), suffix=("--knexfile", file))


def _alembic(present: Mapping[str, str | None], source: str) -> Commands:
    file = source or _first(ALEMBIC_FILES, present)
    config = ("-c", file) if file and file != "alembic.ini" else ()
    return Commands("alembic", (_first(ALEMBIC_PROGRAMS, present) or "alembic", *config))


def _django(present: Mapping[str, str | None], source: str) -> Commands:
    file = source or _first(DJANGO_FILES, present)
    if not file:
        raise ValueError("no manage.py was found in the image: name it with rollback_migration_source")
    return Commands("django", (_first(PYTHONS, present) or "python3", file))


_FINDERS = {"typeorm": _typeorm, "knex": _knex, "alembic": _alembic, "django": _django}


def commands(
    tool: str,
    present: Mapping[str, str | None],
    *,
    source: str = "",
    program: Sequence[str] = (),
    revert: Sequence[str] = (),
    show: Sequence[str] = (),
    apply: Sequence[str] = (),
) -> Commands:
    """Return how ``tool`` is called inside an image that has the files ``present`` (content where it was read).

    ``source`` is the declared data source, knexfile, alembic.ini or manage.py; ``program`` replaces what would be
    detected; ``revert``, ``show`` and ``apply`` are the user's own commands and always win. Raises ValueError when the
    image lacks what is needed, or the tool cannot go back and no way forward is told either.
    """
    reason = tool_of(tool, "own(name)" if tool == COMMAND else "").cannot_revert
    if revert:
        return Commands(tool, revert=tuple(revert), show=tuple(show), apply=tuple(apply))
    if tool == COMMAND:
        reason = "with the migration tool 'command' the command that reverts has to be declared"
    if reason and apply:
        return Commands(tool, show=tuple(show), apply=tuple(apply), no_revert=reason)
    if reason:
        raise ValueError(reason)
    if program:
        return Commands(tool, tuple(program), show=tuple(show), apply=tuple(apply))
    found = _FINDERS[tool](present, source)
    return Commands(tool, found.base, show=tuple(show), apply=tuple(apply), suffix=found.suffix)


def show_command(found: Commands) -> tuple[str, ...]:
    """Return the command that starts the tool and changes nothing ('list'), empty where none is known."""
    if found.show:
        return found.show
    words = {
        "typeorm": ("migration:show",),
        "knex": ("migrate:list",),
        "alembic": ("current",),
        "django": ("showmigrations", "--plan"),
    }
    if found.revert or found.tool not in words:
        return ()
    return (*found.base, *words[found.tool], *found.suffix)


def apply_command(found: Commands) -> tuple[str, ...]:
    """Return the command that applies every pending migration, empty where none is known."""
    words = {
        "typeorm": ("migration:run",),
        "knex": ("migrate:latest",),
        "alembic": ("upgrade", "head"),
        "django": ("migrate", "--noinput"),
    }
    if found.apply:
        return found.apply
    if not found.base or found.tool not in words:
        return ()
    return (*found.base, *words[found.tool], *found.suffix)


def history_command(found: Commands, target: Sequence[str], live: Sequence[str]) -> tuple[str, ...]:
    """Return the command whose output :func:`alembic_path` reads; empty for tools whose table holds every name."""
    if found.tool != "alembic" or found.revert:
        return ()
    return (*found.base, "history", "-r", f"{target[0] if target else 'base'}:{live[0] if live else 'heads'}")


def alembic_path(output: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read ``alembic history``: revisions with those they follow, newest first. Raises ValueError for none."""
    found = []
    for line in output.splitlines():
        matched = re.match(r"^(.+?) -> (\w+)(?: \([^)]*\))*(?:,|$)", line.strip())
        if matched:
            before = tuple(name.strip() for name in matched.group(1).split(",") if name.strip() != "<base>")
            found.append((matched.group(2), before))
    if not found:
        raise ValueError("alembic's history names no revision between the recorded one and the live one")
    return tuple(found)


def steps(
    found: Commands,
    applied: Sequence[str],
    recorded: Sequence[str],
    *,
    path: Sequence[tuple[str, tuple[str, ...]]] = (),
) -> tuple[Step, ...]:
    """Return the steps back from the history ``applied`` to ``recorded``, in order.

    ``path`` is what :func:`alembic_path` read. Raises ValueError where no such way exists.
    """
    if found.no_revert:
        raise ValueError(found.no_revert)
    entry = tool_of(found.tool, "own(name)" if found.tool == COMMAND else "")
    if entry.pointer and not found.revert:
        return _alembic_steps(found, applied, recorded, path)
    added, missing = since(found.tool, applied, recorded)
    if missing:
        raise ValueError(f"recorded as applied and applied no more: {', '.join(missing)}: no revert brings them back")
    way, left = [], list(applied)
    for name in reversed(added or ()):
        left = [each for each in left if each != name]
        way.append(Step(name, _one(found, name, left), tuple(left)))
    if found.tool == "typeorm" and not found.revert and list(applied[: len(recorded)]) != list(recorded):
        raise ValueError(
            "the migrations added since are not the newest in TypeORM's table, and it takes back the newest alone"
        )
    return tuple(way)


def _one(found: Commands, name: str, left: Sequence[str]) -> tuple[str, ...]:
    target = left[-1] if left else ""
    if found.revert:
        return tuple(part.replace("{migration}", name).replace("{target}", target) for part in found.revert)
    if found.tool == "typeorm":
        return (*found.base, "migration:revert", *found.suffix)
    if found.tool == "knex":
        return (*found.base, "migrate:down", name, *found.suffix)
    app, _dot, _name = name.partition(".")
    before = next((each.partition(".")[2] for each in reversed(left) if each.partition(".")[0] == app), "zero")
    return (*found.base, "migrate", app, before, "--noinput")


def _alembic_steps(
    found: Commands, applied: Sequence[str], recorded: Sequence[str], path: Sequence[tuple[str, tuple[str, ...]]]
) -> tuple[Step, ...]:
    if set(applied) == set(recorded):
        return ()
    straight = len(applied) == 1 and len(recorded) <= 1 and all(len(before) <= 1 for _name, before in path)
    if not straight:
        raise ValueError("alembic's revisions branch between the recorded ones and the live ones: restore instead")
    way, here = [], applied[0]
    target = recorded[0] if recorded else ""
    follows = dict(path)
    while here != target:
        if here not in follows:
            raise ValueError(f"alembic's history does not lead from {here} back to {target or 'its beginning'}")
        before = follows[here][0] if follows[here] else ""
        way.append(Step(here, (*found.base, "downgrade", before or "base"), (before,) if before else ()))
        here = before
    return tuple(way)


_FRAME = re.compile(
    r"^\s*(at |File \"|\^|[\w$]+: (undefined|'\w+\.c'|'\d+'),?$|[{}\[\]],?$)|^\s*node:internal|^Node\.js v"
)
_COMPLAINT = re.compile(
    r"(?i)(^|[\s.])[\w.]*(error|exception|canceled|notavailable)\b.*:|^error\b|\bfatal\b|cannot |can't |could not"
)


def own_words(output: str, limit: int = 5) -> str:
    """Return what a tool complains of: not the frames of its stack, and not every field of a driver's error."""
    lines = list(dict.fromkeys(line.strip() for line in output.splitlines() if line.strip() and not _FRAME.match(line)))
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    if not complaints:
        return "\n".join(lines[-limit:])
    return "\n".join(complaints[:limit])


def told(argv: Sequence[str]) -> str:
    """Return a command as a person would type it."""
    return " ".join(shlex.quote(part) for part in argv)
