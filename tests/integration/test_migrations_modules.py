# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migration_info and migration_revert as Ansible runs them, against a crash-looping release."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _postgres, _schema
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store
from support import interpreter
from support.migrations import (
    ROOT,
    SERVER,
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

SETTINGS = _schema.Settings("typeorm")


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    name = "migration-test-modules"
    made = {
        "v1": typeorm_image(f"{name}:v1", V1),
        "v2": typeorm_image(f"{name}:v2", V2),
        "wrong": typeorm_image(f"{name}:wrong", [*V1, "1764000000001-add-job-deadline"]),
        "destructive": typeorm_image(f"{name}:destructive", [*V1, "1763000000001-drop-customers"]),
        "dead": typeorm_image(f"{name}:dead", V2, {"data-source.js": "import './missing-entity.js';\n"}),
        "slow": broken_image(
            f"{name}:slow",
            "await runner.query('SELECT pg_sleep(3)'); await runner.query('ALTER TABLE jobs DROP COLUMN extra');",
        ),
        "half": broken_image(f"{name}:half", "await runner.query('COMMIT'); throw new Error('half of it is done');"),
    }
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
    begin_again(server, images["v1"])
    yield server
    server.stop("backend")
    run("rm", "-rf", str(server.state_dir / server.name))


def deploy(project: MigrationProject, image: str, *, catalogue: bool = True) -> str:
    """Take a restore point, deploy a release that migrates and then crashes; return the restore point's id."""
    catalog, _facts = _schema.catalogue(project.login)
    point = project.record(_schema.history(project.login, SETTINGS), catalog if catalogue else None)
    migrate(project, image)
    project.start("backend", image, "node", "-e", "process.exit(1)", environment=TYPEORM_ENVIRONMENT, wait=False)
    return point


def state(project: MigrationProject) -> str:
    return run("docker", "inspect", "--format={{.State.Status}}", f"{project.name}-backend-1")


def test_a_schema_that_the_older_release_can_live_with(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["v2"])
    found = project.call("migration_info", try_tool=True)
    assert (found["to"], len(found["applied"]), len(found["added"])) == (point, 7, 4)
    assert found["judgement"]["verdict"] == "compatible"
    assert found["comparison"]["revert"] == "destroys"
    assert "destroys what column public.jobs.priority holds in 1 row" in found["comparison"]["revert_reasons"]
    assert "destroys what column public.jobs.customer_email holds in 1 row" in found["comparison"]["revert_reasons"]
    assert any("SplitCustomer1761000000003" in note for note in found["judgement"]["notes"])
    assert found["tool"]["starts"] is True
    assert found["can_revert"]
    assert not found["changed"]
    assert found["rollback_screen"]["headline"].startswith(f"Schema against v1 ({point}): compatible, 4 migrations")


def test_what_a_destructive_migration_means(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["destructive"])
    found = project.call("migration_info")
    assert (found["judgement"]["verdict"], found["comparison"]["revert"]) == ("incompatible", "cannot")
    refused = project.call("migration_revert", to=point)
    assert "a revert is no way back" in refused["msg"]
    assert "table public.job_events held" in refused["msg"]
    assert refused["msg"].count("\n") == 2
    assert _schema.history(project.login, SETTINGS)[-1] == "DropCustomers1763000000001"
    assert others(project) == []


def test_no_catalogue_was_recorded(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["v2"], catalogue=False)
    found = project.call("migration_info")
    assert found["judgement"]["verdict"] == "incompatible"
    assert "comparison" not in found
    done = project.call("migration_revert", to=point)
    assert (done["verdict"], done["rehearsal"]["verdict"]) == ("unproven", "unproven")
    assert _schema.history(project.login, SETTINGS) == _schema.history(project.login, SETTINGS)[:3]


def test_a_tool_that_does_not_start(project: MigrationProject, images: dict[str, str]) -> None:
    deploy(project, images["v2"])
    project.start(
        "backend", images["dead"], "node", "-e", "process.exit(1)", environment=TYPEORM_ENVIRONMENT, wait=False
    )
    found = project.call("migration_info", try_tool=True)
    assert found["tool"]["starts"] is False
    assert "missing-entity.js" in found["tool"]["words"]
    assert any("restore the database" in line for line in found["rollback_screen"]["lines"])
    # What can be read is read all the same.
    assert found["judgement"]["verdict"] == "compatible"


def test_the_way_back_rehearsed_taken_and_taken_again(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["v2"])
    rehearsed = project.call("migration_revert", to=point, state="rehearsed")
    assert (rehearsed["changed"], rehearsed["rehearsal"]["verdict"]) == (False, "compatible")
    assert len(_schema.history(project.login, SETTINGS)) == 7
    shown = project.call("migration_revert", to=point, _ansible_check_mode=True)
    assert (shown["changed"], len(shown["steps"])) == (True, 4)
    assert len(_schema.history(project.login, SETTINGS)) == 7
    done = project.call("migration_revert", to=point, rehearse=False, _ansible_diff=True)
    assert done["changed"], done
    assert done["undone"] == rehearsed["steps"]
    assert done["verdict"] == "compatible"
    assert "AddJobPriority1761000000001" in done["diff"]["before"]
    assert "AddJobPriority1761000000001" not in done["diff"]["after"]
    assert others(project) == [done["set_aside"]]
    assert state(project) == "exited"
    assert len(_schema.history(project.login, SETTINGS)) == 3
    again = project.call("migration_revert", to=point)
    assert (again["changed"], again["set_aside"]) == (False, "")
    assert helpers(project) == ""


def test_a_wrong_down_is_refused_before_anything_is_touched(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["wrong"])
    refused = project.call("migration_revert", to=point)
    assert refused["failed"]
    assert "column public.jobs.document was dropped" in refused["msg"]
    assert state(project) != "exited"
    assert others(project) == []
    assert helpers(project) == ""


def test_a_step_that_fails_is_told_and_undone(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["half"])
    failed = project.call("migration_revert", to=point, rehearse=False)
    assert failed["put_back"]
    assert "step 1 of 1, taking back Broken1769000000001" in failed["msg"]
    assert "half of it is done" in failed["msg"]
    assert failed["kept"] in failed["msg"]
    assert state(project) in ("restarting", "running")
    assert others(project) == [failed["kept"]]


def test_left_half_way_where_so_configured_and_put_back_by_the_next_run(
    project: MigrationProject, images: dict[str, str]
) -> None:
    point = deploy(project, images["half"])
    failed = project.call("migration_revert", to=point, rehearse=False, put_back=False)
    assert not failed["put_back"]
    assert failed["set_aside"] in failed["msg"]
    assert state(project) == "exited"
    # A person started the application meanwhile: nobody but a person knows which database is right.
    run("docker", "run", "--detach", f"--name={project.name}-started", f"--network={project.name}",
        f"--label=com.docker.compose.project={project.name}", "--label=com.docker.compose.service=backend",
        "--label=com.docker.compose.oneoff=False", images["v1"], "sleep", "60")  # fmt: skip
    try:
        refused = project.call("migration_revert", to=point)
        assert "a person must say" in refused["msg"]
    finally:
        run("docker", "rm", "--force", f"{project.name}-started")
    again = project.call("migration_revert", to=point, rehearse=False)
    assert again["put_back"], again


@pytest.mark.parametrize("when", ["rehearsal", "step"])
def test_killed_and_run_again(project: MigrationProject, images: dict[str, str], when: str) -> None:
    point = deploy(project, images["slow"])
    store = Store(str(project.state_dir), project.name)
    store.begin_run("r1")
    store.acquire("r1", "someone", "a test")
    process = project.process("migration_revert", to=point, run="r1", rehearse=when == "rehearsal")
    end = time.monotonic() + 60
    look = ("docker", "ps", "--format={{.Names}}", f"--filter=network={project.name}")
    while when == "step" and "schedgen-rollback-migration-" not in run(*look):
        assert time.monotonic() < end
        time.sleep(0.05)
    while when == "rehearsal" and not helpers(project):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert helpers(project)
    done = project.call("migration_revert", to=point, run="r1")
    assert done.get("undone") == ["Broken1769000000001"], done
    assert done["verdict"] == "equal"
    assert helpers(project) == ""
    assert len(others(project)) == (2 if when == "step" else 1)


def test_what_is_not_there(project: MigrationProject, images: dict[str, str]) -> None:
    point = deploy(project, images["v2"])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"to": "20260101T000000.000Z"}, "there is no restore point"),
        ({"migration_service": "nothing"}, "has no container"),
        ({"migration_image": "no-such-image:1"}, "is not on this host"),
        ({"code_services": []}, "set rollback_migration_service"),
        ({"migration_tool": "none"}, "no migration tool is declared"),
        ({"migration_program": ["no-such-program"]}, "no-such-program"),
    ]
    for given, told in wrong:
        failed = project.call("migration_revert", **{"to": point, **given})
        assert failed.get("failed"), failed
        assert told in failed["msg"]
        assert failed["msg"].startswith("What happened: ")
    assert len(_schema.history(project.login, SETTINGS)) == 7
    assert state(project) != "exited"
    tried = project.call("migration_info", try_tool=True, migration_program=["no-such-program"])["tool"]
    assert tried["starts"] is False
    assert "no-such-program" in tried["words"]
    nothing = project.call("migration_info", state_dir=str(project.state_dir / "empty"))
    assert (nothing["to"], nothing["judgement"]["verdict"], len(nothing["applied"])) == ("", "unknown", 7)


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Rehearse
      ansible.builtin.import_role:
        name: schedgen.rollback.migration_revert
        tasks_from: rehearse.yml
    - name: Revert
      ansible.builtin.import_role:
        name: schedgen.rollback.migration_revert
    - name: Show
      ansible.builtin.debug:
        msg: >-
          rehearsed {{ migration_revert_rehearsed.rehearsal.verdict }}, kept {{ migration_revert_reverted.set_aside }}
"""


def test_a_server_that_was_started_again_is_found_under_its_new_address(server: MigrationProject) -> None:
    name, login = f"{server.name}-postgres-1", server.login
    run("docker", "stop", name)
    # Whoever comes meanwhile takes the address.
    server.start("other", SERVER, "sleep", "60")
    run("docker", "start", name)
    assert _postgres.query(login, "SELECT 1", deadline=_postgres.RECOVERY) == [(1,)]
    assert server.login.host != login.host
    server.stop("other")
    # Without patience too: it moved, and is well.
    assert _postgres.query(login, "SELECT 1") == [(1,)]


def test_the_role(project: MigrationProject, images: dict[str, str], tmp_path: Path) -> None:
    point = deploy(project, images["v2"])
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    variables = {
        "rollback_application": project.name,
        "rollback_state_dir": str(project.state_dir),
        "rollback_code_services": ["backend"],
        "rollback_to": point,
        "migration_revert_rehearse": False,
        "ansible_python_interpreter": interpreter.PYTHON,
    }
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-e", json.dumps(variables), str(play)],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"rehearsed compatible, kept {others(project)[0]}" in done.stdout
    assert len(_schema.history(project.login, SETTINGS)) == 3
