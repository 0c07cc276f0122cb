# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alembic, Django, Knex and a user's own commands: the real tools, in production-like images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _migration_revert as mr,
    _migration_toolbox,
    _rehearsal,
    _schema,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import query
from support.fetching import fetch
from support.migrations import PASSWORD, MigrationProject, build, helpers, others, run

POINT = "20261122T131500.123Z"
PYTHON, NODE = "schedgen-demo-python:trixie", "schedgen-demo-node:trixie"
ENVIRONMENT = {"PGHOST": "postgres", "PGUSER": "schedgen", "PGPASSWORD": PASSWORD, "PGDATABASE": "schedgen"}

ALEMBIC = {
    "alembic.ini": "[alembic]\nscript_location = %(here)s/migrations\n",
    "alembic": "#!/usr/bin/python3\nfrom alembic.config import main\nmain(prog='alembic')\n",
    "migrations/env.py": """
from alembic import context
from sqlalchemy import create_engine
with create_engine("postgresql+psycopg2://").connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""",
    **{
        f"migrations/versions/{name}.py": f"""
from alembic import op
revision, down_revision = {name!r}, {before!r}
def upgrade(): op.execute({up!r})
def downgrade(): op.execute({down!r})
"""
        for name, before, up, down in [
            ("a1", None, "CREATE TABLE items (id serial PRIMARY KEY, title text)", "DROP TABLE items"),
            ("b2", "a1", "ALTER TABLE items ADD COLUMN mail text", "ALTER TABLE items DROP COLUMN mail"),
            ("c3", "b2", "CREATE TABLE notes (id serial PRIMARY KEY)", "DROP TABLE notes"),
        ]
    },
}
DJANGO = {
    "manage.py": "import sys\nfrom django.core.management import execute_from_command_line as go\ngo(sys.argv)\n",
    "settings.py": """
import os
SECRET_KEY = "x"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
    "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"], "HOST": os.environ["PGHOST"]}}
""",
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models
class Item(models.Model):
    title = models.TextField()
    mail = models.TextField(null=True)
class Note(models.Model):
    text = models.TextField()
""",
    "shop/migrations/__init__.py": "",
    **{
        f"shop/migrations/{name}.py": f"""
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = {needs!r}
    operations = [{operation}]
"""
        for name, needs, operation in [
            ("0001_items", [], ("migrations.CreateModel('Item', [('id', models.BigAutoField(primary_key=True)),"
                               " ('title', models.TextField())])")),
            ("0002_mail", [("shop", "0001_items")], "migrations.AddField('Item', 'mail', models.TextField(null=True))"),
            ("0003_notes", [("shop", "0002_mail"), ("contenttypes", "0001_initial")],
             ("migrations.CreateModel('Note', [('id', models.BigAutoField(primary_key=True)),"
             " ('text', models.TextField())])")),
        ]
    },
}  # fmt: skip
KNEX = {
    "knexfile.js": "module.exports = { client: 'pg', connection: {}, migrations: { directory: './migrations' } };\n",
    **{
        f"migrations/{name}.js": f"exports.up = (knex) => {up};\nexports.down = (knex) => {down};\n"
        for name, up, down in [
            ("001_items", "knex.schema.createTable('items', (t) => { t.increments(); t.text('title'); })",
             "knex.schema.dropTable('items')"),
            ("002_mail", "knex.schema.alterTable('items', (t) => { t.text('mail'); })",
             "knex.schema.alterTable('items', (t) => { t.dropColumn('mail'); })"),
            ("003_notes", "knex.schema.createTable('notes', (t) => { t.increments(); })",
             "knex.schema.dropTable('notes')"),
        ]
    },
}  # fmt: skip
OWN = {
    "migrate.py": """
import sys
import psycopg2
ALL = {"m1": ("CREATE TABLE items (id serial PRIMARY KEY, title text)", "DROP TABLE items"),
       "m2": ("ALTER TABLE items ADD COLUMN mail text", "ALTER TABLE items DROP COLUMN mail"),
       "m3": ("CREATE TABLE notes (id serial PRIMARY KEY)", "DROP TABLE notes")}
connection = psycopg2.connect("")
with connection, connection.cursor() as cursor:
    cursor.execute('CREATE TABLE IF NOT EXISTS "Meta" (name text PRIMARY KEY)')
    word, name = sys.argv[1:3]
    if word == "up":
        cursor.execute(ALL[name][0])
        cursor.execute('INSERT INTO "Meta" VALUES (%s)', (name,))
    else:
        cursor.execute(ALL[name][1])
        cursor.execute('DELETE FROM "Meta" WHERE name = %s', (name,))
"""
}


@dataclass(frozen=True)
class Case:
    image: str
    settings: _schema.Settings
    first: tuple[tuple[str, ...], ...]
    rest: tuple[tuple[str, ...], ...]
    undone: tuple[str, ...]
    environment: dict[str, str]
    # What a `down` of this tool leaves beside the recorded schema.
    verdict: str = "equal"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tools as their registries have them, for the images' Python and Node."""
    python, node = tmp_path_factory.mktemp("python"), tmp_path_factory.mktemp("node")
    version = run("docker", "run", "--rm", PYTHON, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    fetch(
        [sys.executable, "-m", "pip", "install", "--quiet", f"--target={python}", f"--python-version={version}",
         "--only-binary=:all:", "alembic==1.13.3", "SQLAlchemy==2.0.36", "Django==5.1.4"]
    )  # fmt: skip
    fetch(["npm", "install", "--silent", "--no-audit", "--no-fund", f"--prefix={node}", "knex@3.1.0", "pg@8.13.1"])
    return {"site": python, "node_modules": node / "node_modules"}


@pytest.fixture(scope="module")
def cases(packages: dict[str, Path]) -> Iterator[dict[str, Case]]:
    name = "migration-test-tools"
    site = {"site": packages["site"]}
    head = f"FROM {PYTHON}\nWORKDIR /app\nENV PYTHONPATH=/opt/site\nCOPY site /opt/site\nCOPY . .\nRUN rm -rf site"
    made = {
        "alembic": build(f"{name}:alembic", f"{head} && install alembic /usr/bin/ && rm alembic\n", ALEMBIC, site),
        "django": build(f"{name}:django", f"{head}\nENV DJANGO_SETTINGS_MODULE=settings\n", DJANGO, site),
        "knex": build(
            f"{name}:knex",
            f"FROM {NODE}\nWORKDIR /app\nENV NODE_ENV=production\nCOPY . .\n",
            KNEX,
            {"node_modules": packages["node_modules"]},
        ),
        "command": build(f"{name}:own", f"FROM {PYTHON}\nWORKDIR /app\nCOPY . .\n", OWN),
    }
    knex = ("node_modules/.bin/knex",)
    django = ("python3", "manage.py", "migrate")
    own = ("python3", "migrate.py")
    yield {
        "alembic": Case(
            made["alembic"], _schema.Settings("alembic"), (("alembic", "upgrade", "a1"),),
            (("alembic", "upgrade", "head"),),
            ("c3", "b2"), ENVIRONMENT,
        ),
        "django": Case(
            made["django"], _schema.Settings("django"), ((*django, "shop", "0001"),), (django,),
            ("shop.0003_notes", "shop.0002_mail", "contenttypes.0002_remove_content_type_name",
             "contenttypes.0001_initial"),
            ENVIRONMENT,
        ),
        "knex": Case(
            made["knex"], _schema.Settings("knex"), ((*knex, "migrate:up"),), ((*knex, "migrate:latest"),),
            ("003_notes.js", "002_mail.js"), ENVIRONMENT,
        ),
        "command": Case(
            made["command"],
            _schema.Settings("command", "Meta(name)", revert=(*own, "down", "{migration}")),
            ((*own, "up", "m1"),), ((*own, "up", "m2"), (*own, "up", "m3")), ("m3", "m2"), ENVIRONMENT,
        ),
    }  # fmt: skip
    for tag in made.values():
        run("docker", "image", "rm", "--force", tag, check=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MigrationProject]:
    made = MigrationProject(tmp_path_factory.mktemp("state"))
    yield made
    made.close()


@pytest.fixture
def project(server: MigrationProject) -> Iterator[MigrationProject]:
    beside = server.maintenance
    for name in (*others(server), "schedgen"):
        query(beside, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        query(beside, f'DROP DATABASE "{name}" WITH (FORCE)')
    query(beside, "CREATE DATABASE schedgen")
    yield server
    server.stop("backend")


@pytest.mark.parametrize("tool", ["alembic", "django", "knex", "command"])
def test_there_and_back(project: MigrationProject, cases: dict[str, Case], tool: str) -> None:
    case = cases[tool]

    def in_image(*argv: str) -> None:
        environment = [f"--env={key}={value}" for key, value in case.environment.items()]
        run("docker", "run", "--rm", f"--network={project.name}", *environment, case.image, *argv)

    for argv in case.first:
        in_image(*argv)
    recorded, _facts = _schema.catalogue(project.login)
    history = _schema.history(project.login, case.settings)
    table = "shop_item" if tool == "django" else "items"
    project.sql(f"INSERT INTO {table} (title) VALUES ('one')")
    for argv in case.rest:
        in_image(*argv)
    project.start("backend", case.image, "false", environment=case.environment, wait=False)
    tools = _migration_toolbox.Toolbox(project.client, project.name, project.name, "backend", case.settings)
    applied = _schema.history(project.login, case.settings)
    ran = tools.try_tool(project.login)
    assert (ran is None) if tool == "command" else (ran is not None and ran.rc == 0), ran
    way = tools.steps(project.login, history)
    assert tuple(step.undoes for step in way) == case.undone
    rehearsal = _rehearsal.rehearse(project.client, tools, project.login, way, recorded)
    assert rehearsal.verdict == case.verdict, rehearsal
    assert _schema.history(project.login, case.settings) == applied
    done = mr.revert(tools, project.database, way, recorded, POINT)
    assert done.undone == case.undone
    assert done.verdict == case.verdict
    assert _schema.history(project.login, case.settings) == history
    assert project.sql(f"SELECT title FROM {table}") == [("one",)]
    assert tools.steps(project.login, history) == ()
    assert helpers(project) == ""


@pytest.mark.parametrize("tool", ["alembic", "django", "knex"])
def test_every_tool_is_held_to_the_lock_timeout(project: MigrationProject, cases: dict[str, Case], tool: str) -> None:
    case = cases[tool]
    environment = [f"--env={key}={value}" for key, value in case.environment.items()]
    for argv in (*case.first, *case.rest):
        run("docker", "run", "--rm", f"--network={project.name}", *environment, case.image, *argv)
    project.start("backend", case.image, "false", environment=case.environment, wait=False)
    settings = replace(case.settings, lock_timeout=1, step_timeout=40)
    tools = _migration_toolbox.Toolbox(project.client, project.name, project.name, "backend", settings)
    applied = _schema.history(project.login, settings)
    way = tools.steps(project.login, [] if tool == "alembic" else applied[:-1])[:1]
    connection = project.session()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {'shop_note' if tool == 'django' else 'notes'} IN ACCESS SHARE MODE")
        with pytest.raises(_migration_toolbox.StepFailed, match="lock timeout") as raised:
            _migration_toolbox.take_steps(tools, project.login, way)
    connection.close()
    assert raised.value.left == ()
    assert _schema.history(project.login, settings) == applied


def test_prisma_has_no_way_back(project: MigrationProject, cases: dict[str, Case]) -> None:
    project.start("backend", cases["command"].image, "false", environment=ENVIRONMENT, wait=False)
    with pytest.raises(ValueError, match="restore the database instead"):
        _migration_toolbox.Toolbox(project.client, project.name, project.name, "backend", _schema.Settings("prisma"))
