# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TypeORM in production images: rehearsed, reverted, and put back when a step goes wrong."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _catalog,
    _migration_revert as mr,
    _migration_toolbox,
    _migration_tools,
    _rehearsal,
    _schema,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError, query
from support.migrations import (
    PASSWORD,
    TYPEORM_ENVIRONMENT,
    V1,
    V2,
    MigrationProject,
    begin_again,
    broken_image,
    helpers,
    migrate,
    others,
    run,
    typeorm_image,
)

POINT = "20261122T131500.123Z"
SETTINGS = _schema.Settings("typeorm", step_timeout=30)


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    made = {
        "v1": typeorm_image("migration-test-typeorm:v1", V1),
        "v2": typeorm_image("migration-test-typeorm:v2", V2),
        "wrong": typeorm_image("migration-test-typeorm:wrong", [*V1, "1764000000001-add-job-deadline"]),
        "destructive": typeorm_image("migration-test-typeorm:destructive", [*V1, "1763000000001-drop-customers"]),
    }
    for name, down in {
        "half": "await runner.query('DROP INDEX jobs_queued'); await runner.query('COMMIT');"
        " throw new Error('half of it is done');",
        "sleeps": "await runner.query('SELECT pg_sleep(600)');",
        "hangs": "await runner.query('BEGIN'); await runner.query('ALTER TABLE jobs ALTER extra SET DEFAULT 1');"
                 " await new Promise((done) => setTimeout(done, 600000));",
        "rows": "const [row] = await runner.query('SELECT count(*)::int AS n FROM jobs');"
                " if (row.n > 0) throw new Error('rows are in the way');"
                " await runner.query('ALTER TABLE jobs DROP COLUMN extra');",
    }.items():  # fmt: skip
        made[name] = broken_image(f"migration-test-typeorm:{name}", down)
    made["dead"] = typeorm_image(
        "migration-test-typeorm:dead", V2, {"data-source.js": "import './missing-entity.js';\n"}
    )
    yield made
    for tag in made.values():
        run("docker", "image", "rm", "--force", tag, check=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MigrationProject]:
    made = MigrationProject(tmp_path_factory.mktemp("state"))
    yield made
    made.close()


@pytest.fixture
def project(server: MigrationProject, images: dict[str, str]) -> Iterator[MigrationProject]:
    """A fresh database, migrated to v1 by v1's own image, with a row."""
    begin_again(server, images["v1"])
    yield server
    server.stop("backend")


def deploy(project: MigrationProject, image: str, **given: Any) -> tuple[_migration_toolbox.Toolbox, Any, list[str]]:
    """Record what is there, deploy a release whose service crash-loops, and return the tools to go back."""
    recorded, _facts = _schema.catalogue(project.login)
    history = _schema.history(project.login, SETTINGS)
    migrate(project, image)
    project.start("backend", image, "node", "-e", "process.exit(1)", environment=TYPEORM_ENVIRONMENT, wait=False)
    tools = _migration_toolbox.Toolbox(
        project.client, project.name, project.name, "backend", replace(SETTINGS, **given)
    )
    return tools, recorded, history


def test_a_crash_looping_release_is_taken_back(project: MigrationProject, images: dict[str, str]) -> None:
    tools, recorded, history = deploy(project, images["v2"])
    way = tools.steps(project.login, history)
    assert [step.undoes for step in way] == [
        "IndexJobsByTime1761000000004",
        "SplitCustomer1761000000003",
        "AddCancelledStatus1761000000002",
        "AddJobPriority1761000000001",
    ]
    assert way[0].argv == ("node_modules/.bin/typeorm", "migration:revert", "-d", "dist/data-source.js")
    assert len(_schema.history(project.login, SETTINGS)) == 7
    rehearsal = _rehearsal.rehearse(project.client, tools, project.login, way, recorded)
    # The rehearsal could not reach the live database.
    assert len(_schema.history(project.login, SETTINGS)) == 7
    assert rehearsal.verdict == "compatible"
    assert set(rehearsal.notes) == {
        "index jobs_created_at of table public.jobs is new",
        "value 'cancelled' of enum public.job_status is new, and no row uses it",
    }
    assert rehearsal.limits == ()
    steps: list[tuple[str, str]] = []
    done = mr.revert(
        tools, project.database, way, recorded, POINT, told=lambda name, status, **_more: steps.append((name, status))
    )
    assert _schema.history(project.login, SETTINGS) == history
    assert done.verdict == "compatible"
    assert steps == [("set_aside", "begun"), ("set_aside", "done")] + [("revert", "begun"), ("revert", "done")] * 4
    assert project.sql("SELECT customer FROM jobs") == [("Ada <ada@example.org>",)]
    assert others(project) == [done.copy]
    stands = project.database.standing()
    assert (stands.reverted_to, stands.unfinished) == (POINT, None)
    (copy,) = stands.aside
    # Fenced, so that nobody changes what was.
    assert (copy.name, copy.open) == (done.copy, False)
    assert helpers(project) == ""
    # And again: there is nothing to do.
    assert tools.steps(project.login, history) == ()


def test_a_wrong_down_is_seen_in_the_rehearsal(project: MigrationProject, images: dict[str, str]) -> None:
    tools, recorded, history = deploy(project, images["wrong"])
    way = tools.steps(project.login, history)
    for limit in (20_000_000, 0):
        tools.settings = replace(tools.settings, data_limit=limit)
        rehearsal = _rehearsal.rehearse(project.client, tools, project.login, way, recorded)
        assert rehearsal.verdict == "wrong"
        assert rehearsal.reasons == ("column public.jobs.document was dropped",)
        assert bool(rehearsal.limits) == (limit == 0)
    assert project.sql("SELECT document FROM jobs") == [(None,)]


def test_what_a_destructive_migration_means(project: MigrationProject, images: dict[str, str]) -> None:
    _tools, recorded, history = deploy(project, images["destructive"])
    live, facts = _schema.catalogue(project.login, recorded)
    added, missing = _migration_tools.since("typeorm", _schema.history(project.login, SETTINGS), history)
    found = _catalog.compare(recorded, live, added=added or (), missing=missing or (), facts=facts)
    assert (found.verdict, found.revert) == ("incompatible", "cannot")
    assert "table public.job_events was dropped" in found.reasons
    assert any("column public.jobs.customer held" in reason for reason in found.revert_reasons)


def test_a_step_that_fails_half_way_is_told_and_put_back(project: MigrationProject, images: dict[str, str]) -> None:
    tools, recorded, history = deploy(project, images["half"])
    way = tools.steps(project.login, history)
    before, _facts = _schema.catalogue(project.login)
    with pytest.raises(_migration_toolbox.StepFailed, match="half of it is done"):
        _rehearsal.rehearse(project.client, tools, project.login, way, recorded)
    with pytest.raises(mr.RevertFailed) as raised:
        mr.revert(tools, project.database, way, recorded, POINT)
    failed = raised.value
    assert "step 1 of 1, taking back Broken1769000000001" in failed.reason
    assert "half of it is done" in failed.reason
    assert "It did a part of its work: index jobs_queued of table public.jobs was dropped" in failed.reason
    assert failed.put_back
    after, _facts = _schema.catalogue(project.login)
    assert _catalog.fingerprint(after) == _catalog.fingerprint(before)
    assert others(project) == [failed.kept]
    # No undo goes to what a failed revert left.
    assert project.database.standing().newest_aside is None
    assert helpers(project) == ""


def test_left_as_it_is_where_so_configured(project: MigrationProject, images: dict[str, str]) -> None:
    tools, recorded, history = deploy(project, images["half"])
    way = tools.steps(project.login, history)
    with pytest.raises(mr.RevertFailed) as raised:
        mr.revert(tools, project.database, way, recorded, POINT, restore=False)
    assert not raised.value.put_back
    unfinished = project.database.standing().unfinished
    assert unfinished is not None
    assert unfinished.name == raised.value.copy


def test_a_step_that_rows_are_in_the_way_of_is_seen_where_there_are_rows(
    project: MigrationProject, images: dict[str, str]
) -> None:
    tools, recorded, history = deploy(project, images["rows"])
    way = tools.steps(project.login, history)
    with pytest.raises(_migration_toolbox.StepFailed, match="rows are in the way"):
        _rehearsal.rehearse(project.client, tools, project.login, way, recorded)
    tools.settings = replace(tools.settings, data_limit=0)
    assert _rehearsal.rehearse(project.client, tools, project.login, way, recorded).verdict == "equal"


@pytest.mark.parametrize(("image", "told"), [("sleeps", "statement timeout"), ("hangs", "did not end in time")])
def test_a_tool_that_hangs_ends_at_its_time(
    project: MigrationProject, images: dict[str, str], image: str, told: str
) -> None:
    # The statement ends at three quarters of it; the tool, which takes a while to start, at its end.
    tools, recorded, history = deploy(project, images[image], step_timeout=6 if image == "hangs" else 24)
    way = tools.steps(project.login, history)
    with pytest.raises(mr.RevertFailed, match=told) as raised:
        mr.revert(tools, project.database, way, recorded, POINT)
    assert raised.value.put_back
    assert project.sql("SELECT count(*) FROM pg_stat_activity WHERE query ~ 'extra' AND pid <> pg_backend_pid()") == [
        (0,)
    ]
    assert _schema.history(project.login, SETTINGS)[-1] == "Broken1769000000001"
    assert helpers(project) == ""


def test_a_tool_that_does_not_start_says_why(project: MigrationProject, images: dict[str, str]) -> None:
    migrate(project, images["v2"])
    project.start(
        "backend", images["dead"], "node", "-e", "process.exit(1)", environment=TYPEORM_ENVIRONMENT, wait=False
    )
    tools = _migration_toolbox.Toolbox(project.client, project.name, project.name, "backend", SETTINGS)
    ran = tools.try_tool(project.login)
    assert ran is not None
    assert ran.rc != 0
    assert "missing-entity.js" in ran.words
    assert PASSWORD not in ran.output


def test_a_tool_that_starts_changes_nothing(project: MigrationProject, images: dict[str, str]) -> None:
    tools, _recorded, _history = deploy(project, images["v2"])
    ran = tools.try_tool(project.login)
    assert ran is not None
    assert (ran.rc, "IndexJobsByTime1761000000004" in ran.output) == (0, True)


def test_a_lock_ends_a_step_in_time(project: MigrationProject, images: dict[str, str]) -> None:
    tools, recorded, history = deploy(project, images["v2"], lock_timeout=1)
    way = tools.steps(project.login, history)
    connection = project.session()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        with pytest.raises(mr.RevertFailed, match="lock timeout"):
            mr.revert(tools, project.database, way, recorded, POINT, copy=False)
    connection.close()


def test_a_client_that_reconnects_all_the_time_is_no_obstacle(
    project: MigrationProject, images: dict[str, str]
) -> None:
    tools, recorded, history = deploy(project, images["half"])
    way = tools.steps(project.login, history)
    over = threading.Event()
    login = project.login

    def nag() -> None:
        while not over.wait(0.005):
            with contextlib.suppress(DatabaseError):
                query(login, "SELECT pg_sleep(0.05)", timeout=2)

    clients = [threading.Thread(target=nag) for _number in range(2)]
    for client in clients:
        client.start()
    try:
        with pytest.raises(mr.RevertFailed) as raised:
            mr.revert(tools, project.database, way, recorded, POINT)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert raised.value.put_back


def test_what_belongs_to_the_database_comes_back_with_it(project: MigrationProject, images: dict[str, str]) -> None:
    project.sql("COMMENT ON DATABASE schedgen IS 'ours'")
    project.sql("ALTER DATABASE schedgen SET work_mem TO '7MB'")
    project.sql("REVOKE CONNECT ON DATABASE schedgen FROM PUBLIC")
    tools, recorded, history = deploy(project, images["half"])
    with pytest.raises(mr.RevertFailed):
        mr.revert(tools, project.database, tools.steps(project.login, history), recorded, POINT)
    assert project.sql("SHOW work_mem") == [("7MB",)]
    assert project.sql("SELECT shobj_description(oid, 'pg_database'), has_database_privilege('public', oid, 'CONNECT')"
                   " FROM pg_database WHERE datname = 'schedgen'") == [("ours", False)]  # fmt: skip


@pytest.fixture
def plain_role(project: MigrationProject) -> Iterator[dict[str, str]]:
    """The application's own role: it owns its database and is no superuser; another one may read."""
    project.sql("CREATE ROLE app LOGIN PASSWORD 'other-secret'")
    project.sql("CREATE ROLE reader")
    project.sql("ALTER DATABASE schedgen OWNER TO app")
    for (statement,) in project.sql(
        "SELECT format('ALTER TABLE %I OWNER TO app', relname) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT 'ALTER TYPE job_status OWNER TO app' UNION ALL SELECT 'GRANT SELECT ON jobs TO reader'"
        " UNION ALL SELECT 'GRANT CREATE ON SCHEMA public TO app'"
    ):
        project.sql(statement)
    yield {**TYPEORM_ENVIRONMENT, "DATABASE_USER": "app", "DATABASE_PASSWORD": "other-secret"}
    begin = project.maintenance
    for name in ("schedgen", *others(project)):
        query(begin, f'ALTER DATABASE "{name}" OWNER TO schedgen')


def test_a_role_that_is_no_superuser(
    project: MigrationProject, images: dict[str, str], plain_role: dict[str, str]
) -> None:
    recorded, _facts = _schema.catalogue(project.login)
    history = _schema.history(project.login, SETTINGS)
    environment = [f"--env={key}={value}" for key, value in plain_role.items()]
    run("docker", "run", "--rm", f"--network={project.name}", *environment, images["v2"],
        "node_modules/.bin/typeorm", "migration:run", "-d", "dist/data-source.js")  # fmt: skip
    project.start("backend", images["v2"], "false", environment=plain_role, wait=False)
    tools = _migration_toolbox.Toolbox(project.client, project.name, project.name, "backend", SETTINGS)
    login = replace(project.login, user="app", password="other-secret")
    way = tools.steps(login, history)
    assert _rehearsal.rehearse(project.client, tools, login, way, recorded).verdict == "compatible"
    # It may not make databases: that is said, and nothing is touched.
    database = replace(project.database, login=login, admin=login)
    with pytest.raises(RestoreError, match=r"cannot be copied first.*may not create databases"):
        mr.revert(tools, database, way, recorded, POINT)
    live = project.database.standing().live
    assert live is not None
    assert live.open
    project.sql("ALTER ROLE app CREATEDB")
    project.sql("GRANT pg_signal_backend TO app")
    assert mr.revert(tools, database, way, recorded, POINT).verdict == "compatible"
    assert _schema.history(project.login, SETTINGS) == history
