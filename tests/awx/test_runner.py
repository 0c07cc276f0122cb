# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each job template is run as AWX runs it, by ansible-runner, with the answers of its survey; no Docker is there.

AWX hands over what was typed and the defaults of what was not, all as text, and '' for what was left empty.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml
from support import interpreter, repository

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
VARS = ROOT / "roles" / "awx_setup" / "vars" / "main"
TEMPLATES = yaml.safe_load((VARS / "templates.yml").read_text())["__awx_setup_templates"]
QUESTIONS = yaml.safe_load((VARS / "questions.yml").read_text())["__awx_setup_questions"]
# What needs Docker to succeed ends with a failure in three parts; an assessment that could observe nothing says so.
SUCCEED = ("acknowledge", "assess", "escalate", "freeze", "report", "status")
# Installs on the controller, or has its own tests below.
APART = ("prepare-hosts", "workflow-step")


def answers(template: dict[str, Any]) -> dict[str, str]:
    """What AWX hands over when somebody fills in what is required, and nothing else."""
    given = {}
    for name in template["asks"]:
        question = QUESTIONS[name]
        typed = "shop" if name == "application" else str(question["default"])
        if name == "window":
            typed = str(question["min"])
        given[question["variable"]] = typed or ("a reason" if question["required"] else "")
    return given


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as AWX checks it out, the changes of this moment included."""
    folder = tmp_path_factory.mktemp("awx") / "project"
    repository.copy_to(folder)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A folder of collections with this one, built and installed without a network."""
    folder = tmp_path_factory.mktemp("installed")
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["ANSIBLE_HOME"] = str(folder / "home")
    subprocess.run([*galaxy, "build", "--output-path", str(folder)], cwd=checkout, env=environment, check=True)
    (tarball,) = folder.glob("schedgen-rollback-*.tar.gz")
    subprocess.run(
        [*galaxy, "install", "--offline", str(tarball), "-p", str(folder)], cwd=folder, env=environment, check=True
    )
    return folder


def job(
    playbook: str,
    variables: dict[str, Any],
    project: Path,
    folder: Path,
    collections: Path | None = None,
    *,
    check: bool = False,
) -> ansible_runner.Runner:
    """Run one job: the project as working folder, variables from a file, the screen of ansible-runner."""
    for name in ("inventory", "env"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "inventory" / "hosts").write_text(
        f"localhost ansible_connection=local ansible_python_interpreter={interpreter.PYTHON}\n"
    )
    given = {
        "awx_user_name": "somebody",
        "rollback_state_dir": str(folder / "state"),
        "rollback_health_deadline": 2,
        "rollback_backup_health_deadline": 2,
        "rollback_evidence_deadline": 5,
        **variables,
    }
    (folder / "empty.cfg").touch()
    (folder / "env" / "extravars").write_text(json.dumps(given))
    environment = {
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections or folder / "none"),
        "ANSIBLE_CONFIG": str(project / "ansible.cfg") if collections is None else str(folder / "empty.cfg"),
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    }
    (folder / "env" / "envvars").write_text(json.dumps(environment))
    return ansible_runner.run(
        private_data_dir=str(folder),
        project_dir=str(project),
        playbook=playbook,
        quiet=True,
        cmdline="--check" if check else None,
        settings={"job_timeout": 120},
    )


def failure(run: ansible_runner.Runner) -> str:
    """Return the last failure's own words."""
    failed = [event for event in run.events if event["event"] == "runner_on_failed"]
    return str(failed[-1]["event_data"]["res"]["msg"]) if failed else ""


def artifacts(run: ansible_runner.Runner) -> dict[str, Any]:
    """Return what the job publishes for the next ones of a workflow."""
    published: dict[str, Any] = {}
    for event in run.events:
        published |= event["event_data"].get("artifact_data") or {}
    return published


@pytest.mark.parametrize("template", TEMPLATES, ids=[template["playbook"] for template in TEMPLATES])
def test_empty_answers_count_as_not_given(template: dict[str, Any], checkout: Path, tmp_path: Path) -> None:
    if template["playbook"] in APART:
        return
    run = job(f"{template['playbook']}.yml", answers(template), checkout, tmp_path)
    if template["playbook"] in SUCCEED:
        assert run.rc == 0, failure(run)
        return
    assert (run.rc, run.status) == (2, "failed")
    told = failure(run)
    assert told.startswith("What happened: "), told
    assert "\nState: " in told
    assert "\nNext: " in told


@pytest.mark.thorough
@pytest.mark.parametrize(
    "template", [one for one in TEMPLATES if one["playbook"] not in (*APART, *SUCCEED)], ids=lambda one: one["playbook"]
)
def test_an_empty_answer_and_none_come_to_the_same(template: dict[str, Any], checkout: Path, tmp_path: Path) -> None:
    given = answers(template)
    typed = {name: answer for name, answer in given.items() if answer}
    told = []
    for number, variables in enumerate((given, typed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = job(f"{template['playbook']}.yml", variables, checkout, folder)
        told.append(failure(run).replace(str(folder), "").splitlines()[0])
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("playbook", "variables", "told"),
    [
        ("hotfix-deploy", {"rollback_deploy": ""}, "Nothing was named to deploy"),
        ("hotfix-deploy", {"rollback_deploy": "", "rollback_deploy_env": "no value"}, "is not of the form NAME=value"),
        ("feature-switch", {"rollback_feature": ""}, "No feature was named"),
        ("feature-switch", {"rollback_feature": "editor", "rollback_feature_to": "up"}, "up"),
        ("freeze", {"rollback_freeze": "maybe"}, "must be one of: frozen, free, checked, got: maybe"),
        ("monitor", {"rollback_monitor_window": "ten"}, "ten"),
        ("status", {"rollback_status_max_age": "old"}, "unable to convert to float"),
        ("quick-rollback", {"rollback_application": "../etc"}, "../etc"),
        ("assess", {"rollback_auto_escalate": "everything"}, "everything"),
        ("database-rollback", {"rollback_database_how": "magic"}, "magic"),
        ("workflow-step", {"rollback_workflow_step": "jump"}, "must be one of"),
        ("workflow-step", {"rollback_workflow_step": ""}, "No step was named"),
        ("workflow-step", {"rollback_workflow_step": "gate"}, "There is no decision to act on"),
    ],
)
def test_a_bad_answer_is_refused(
    playbook: str, variables: dict[str, str], told: str, checkout: Path, tmp_path: Path
) -> None:
    run = job(f"{playbook}.yml", {"rollback_application": "shop", **variables}, checkout, tmp_path)
    assert run.rc == 2
    refusals = [json.dumps(event["event_data"]["res"]) for event in run.events if event["event"] == "runner_on_failed"]
    assert told in "\n".join(refusals)


DECISION = {"rollback_severity": "major", "rollback_decision_type": "quick", "rollback_decision_hash": "3f0a51b6c2de"}


@pytest.mark.parametrize(
    ("action", "code"), [("go", 0), ("nothing", 0), ("ask", 0), ("confirm", 2), ("propose", 2)]
)  # fmt: skip
def test_the_gate_fails_where_a_person_has_to_agree(action: str, code: int, checkout: Path, tmp_path: Path) -> None:
    given = {"rollback_workflow_step": "gate", **DECISION, "rollback_action": action}
    run = job("workflow-step.yml", given, checkout, tmp_path)
    assert run.rc == code
    assert ("A person has to agree: severity major" in failure(run)) is bool(code)


@pytest.mark.parametrize(
    ("action", "published"),
    [
        ("confirm", {"rollback_confirm": "3f0a51b6c2de"}),
        ("propose", {"rollback_confirm": "3f0a51b6c2de", "rollback_type": "quick"}),
    ],
)
def test_an_approval_is_handed_on_by_its_hash(
    action: str, published: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    given = {"rollback_workflow_step": "approved", **DECISION, "rollback_action": action}
    run = job("workflow-step.yml", given, checkout, tmp_path)
    assert run.rc == 0, failure(run)
    assert artifacts(run) == published


def test_a_workflow_that_did_not_end_well_ends_in_a_failure(checkout: Path, tmp_path: Path) -> None:
    given = {"rollback_workflow_step": "failed", **DECISION, "rollback_action": "go", "rollback_verdict": "unhealthy"}
    run = job("workflow-step.yml", given, checkout, tmp_path)
    assert run.rc == 2
    assert "did not end well; severity was major, decided was quick; the last verdict is unhealthy" in failure(run)


def test_help_is_not_called_for_twice(checkout: Path, tmp_path: Path) -> None:
    given = {"rollback_application": "shop", "rollback_reason": "a reason", "rollback_acknowledged_by": ""}
    run = job("escalate.yml", given, checkout, tmp_path)
    assert run.rc == 0
    assert artifacts(run) == {}


@pytest.mark.thorough
@pytest.mark.parametrize("template", TEMPLATES, ids=[template["playbook"] for template in TEMPLATES])
def test_a_template_runs_from_the_installed_collection(
    template: dict[str, Any], installed: Path, tmp_path: Path
) -> None:
    name = f"schedgen.rollback.{template['playbook'].replace('-', '_')}"
    (tmp_path / "project").mkdir()
    if template["playbook"] == "prepare-hosts":
        given: dict[str, Any] = {
            "ansible_check_mode": True,
            "prepare_hosts_engine": False,
            "prepare_hosts_commands": [],
        }
    else:
        given = answers(template)
    run = job(name, given, tmp_path / "project", tmp_path, installed, check=template["playbook"] == "prepare-hosts")
    played = [event["event_data"]["playbook"] for event in run.events if event["event"] == "playbook_on_start"]
    assert played, run.stdout.read()
    if template["playbook"] in (*SUCCEED, "prepare-hosts"):
        assert run.rc == 0, failure(run)
    else:
        assert run.rc == 2
        assert failure(run), "it says why"
