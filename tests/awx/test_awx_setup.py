# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""awx-setup.yml against a double of AWX's API: the first run makes everything, the second changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_double import Double, served

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SETTINGS: dict[str, Any] = {
    "rollback_awx_organization": "Operations",
    "rollback_awx_create_organization": True,
    "rollback_awx_project_url": "https://git.example.com/rollback.git",
    "rollback_awx_create_inventory": True,
    "rollback_awx_inventory_variables": {"rollback_project_src": "/opt/shop"},
    "rollback_awx_credentials": ["hosts"],
    "rollback_awx_environment": "rollback-ee",
    "rollback_awx_environment_image": "rollback-ee:1",
    "rollback_awx_applications": ["shop", "billing"],
    "rollback_awx_teams": ["on-call"],
    "rollback_awx_approvers": ["leads"],
    "rollback_awx_notify_error": ["chat"],
    "rollback_awx_notify_approval": ["chat"],
}


def set_up(url: str, settings: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Apply awx-setup.yml, as an operator does whose shell knows where AWX is."""
    given = folder / "settings.json"
    given.write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TOWER_"))}
    environment.update(
        CONTROLLER_HOST=url,
        CONTROLLER_OAUTH_TOKEN="of-the-double",
        ANSIBLE_HOME=str(folder / "home"),
        ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
        ANSIBLE_NOCOLOR="1",
    )
    return subprocess.run(
        [str(BIN / "ansible-playbook"), str(ROOT / "awx-setup.yml"), "-e", f"@{given}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks changed something, as the recap says."""
    (number,) = re.findall(r"changed=(\d+)", done.stdout)
    return int(number)


@pytest.fixture(scope="module")
def applied(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Double, list[subprocess.CompletedProcess[str]]]]:
    """A double that awx-setup.yml was applied to twice, and both runs."""
    folder = tmp_path_factory.mktemp("awx")
    with served() as (double, url):
        double.make("credentials", name="hosts")
        double.make("notification_templates", name="chat")
        # AWX knows the organization only after the first task; teams are looked up in it.
        organization = double.make("organizations", name="Operations")
        for team in ("on-call", "leads"):
            double.make("teams", name=team, organization=organization["id"])
        runs = []
        for _run in range(2):
            runs.append(set_up(url, SETTINGS, folder))
            assert runs[-1].returncode == 0, runs[-1].stdout[-4000:] + runs[-1].stderr
        yield double, runs


@pytest.fixture(scope="module")
def double(applied: tuple[Double, list[subprocess.CompletedProcess[str]]]) -> Double:
    return applied[0]


def data(name: str) -> Any:
    return yaml.safe_load((ROOT / "roles" / "awx_setup" / "vars" / "main" / f"{name}.yml").read_text())[
        f"__awx_setup_{name}"
    ]


def test_the_second_run_changes_nothing(
    applied: tuple[Double, list[subprocess.CompletedProcess[str]]],
) -> None:
    first, second = applied[1]
    assert changed(first) > 20
    assert changed(second) == 0, second.stdout


def test_every_playbook_of_an_operator_has_a_template(double: Double) -> None:
    playbooks = {template["playbook"] for template in double.things["job_templates"]}
    shims = {path.name for path in ROOT.glob("*.yml") if isinstance(yaml.safe_load(path.read_text()), list)}
    # In AWX the schedules are AWX's own: schedule-backups.yml writes those of hosts without it.
    assert playbooks == shims - {"awx-setup.yml", "schedule-backups.yml"}


def test_templates_point_to_what_was_made(double: Double) -> None:
    for template in double.things["job_templates"]:
        assert template["project"] == double.named("projects", "Rollback")["id"]
        assert template["inventory"] == double.named("inventories", "Rollback")["id"]
        assert template["execution_environment"] == double.named("execution_environments", "rollback-ee")["id"]
        assert double.linked(template, "credentials") == [double.named("credentials", "hosts")["id"]]
        assert double.linked(template, "labels") == [double.named("labels", "rollback")["id"]]
        told = [double.named("notification_templates", "chat")["id"]]
        assert double.linked(template, "notification_templates_error") == told
        assert double.linked(template, "notification_templates_success") == []


def test_surveys_ask_what_the_playbook_needs(double: Double) -> None:
    def asked(title: str) -> dict[str, Any]:
        spec = double.survey(double.named("job_templates", f"Rollback: {title}"))["spec"]
        return {question["variable"]: question for question in spec}

    quick = asked("quick rollback")
    assert quick["rollback_application"]["choices"] == ["shop", "billing"]
    assert quick["rollback_application"]["default"] == "shop"
    assert quick["rollback_reason"]["required"]
    assert not quick["rollback_to"]["required"]
    assert asked("database rollback")["rollback_confirm"]["default"] == "", "no answer is a no"
    assert set(asked("deploy a hotfix")) >= {"rollback_deploy", "rollback_deploy_env", "rollback_deploy_migrations"}
    assert asked("switch a feature")["rollback_feature"]["required"]
    assert asked("freeze deployments")["rollback_freeze"]["choices"] == ["on", "off", "check"]


def test_the_workflow_goes_its_ways(double: Double) -> None:
    nodes = double.things["workflow_job_template_nodes"]
    names = {node["id"]: node["identifier"] for node in nodes}
    ways = {
        (node["identifier"], way): [names[number] for number in double.linked(node, f"{way}_nodes")]
        for node in nodes
        for way in ("success", "failure")
    }
    assert ways["assess", "success"] == ["gate"]
    assert ways["gate", "success"] == ["rollback"]
    assert ways["gate", "failure"] == ["approval"]
    assert ways["approval", "success"] == ["approved"]
    assert ways["approved", "success"] == ["rollback"]
    assert ways["rollback", "success"] == ["monitor"]
    assert ways["monitor", "success"] == []
    for node in ("assess", "approval", "approved", "rollback", "monitor"):
        assert ways[node, "failure"] == ["help"]
    assert ways["help", "success"] == ways["help", "failure"] == ["failed"]
    by_name = {node["identifier"]: node for node in nodes}
    assert by_name["failed"]["extra_data"] == {"rollback_workflow_step": "failed"}
    (approval,) = double.things["workflow_approval_templates"]
    assert by_name["approval"]["unified_job_template"] == approval["id"]
    assert approval["timeout"] == 1800


def test_the_workflow_does_not_answer_for_a_person(double: Double) -> None:
    # What a survey of the workflow asks wins over what its jobs publish: an empty answer would undo an approval.
    workflow = double.named("workflow_job_templates", "Rollback: roll back with approval")
    asked = {question["variable"] for question in double.survey(workflow)["spec"]}
    assert {"rollback_application", "rollback_reason"} <= asked
    assert asked & {"rollback_confirm", "rollback_type", "rollback_decision_hash", "rollback_workflow_step"} == set()


def test_required_questions_of_nodes_are_answered_by_the_workflow(double: Double) -> None:
    workflow = double.named("workflow_job_templates", "Rollback: roll back with approval")
    handed_on = {question["variable"] for question in double.survey(workflow)["spec"]}
    templates = {template["id"]: template for template in double.things["job_templates"]}
    for node in double.things["workflow_job_template_nodes"]:
        template = templates.get(node["unified_job_template"])
        for question in double.survey(template)["spec"] if template else []:
            if question["required"] and question["default"] == "":
                assert question["variable"] in handed_on | set(node["extra_data"]), node["identifier"]


def test_schedules_answer_only_what_is_asked(double: Double) -> None:
    templates = {template["id"]: template for template in double.things["job_templates"]}
    names = sorted(schedule["name"] for schedule in double.things["schedules"])
    assert names == sorted(f"Rollback: {what} {name}" for what in ("back up", "drill") for name in ("shop", "billing"))
    for schedule in double.things["schedules"]:
        spec = double.survey(templates[schedule["unified_job_template"]])["spec"]
        questions = {question["variable"]: question for question in spec}
        for variable, answer in schedule["extra_data"].items():
            assert answer in questions[variable]["choices"]
        assert re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=(DAILY|WEEKLY);INTERVAL=1(;BYDAY=SU)?", schedule["rrule"])


def test_who_is_on_call_may_launch_and_not_change(double: Double) -> None:
    on_call, leads = (double.named("teams", name)["id"] for name in ("on-call", "leads"))
    granted = {path: ids for path, ids in double.links.items() if path.startswith("/api/v2/roles/")}
    roles = {
        role["id"]: name
        for room in ("job_templates", "workflow_job_templates")
        for thing in double.things[room]
        for name, role in thing["summary_fields"]["object_roles"].items()
    }
    held: dict[int, list[str]] = {on_call: [], leads: []}
    for path, ids in granted.items():
        for team in ids:
            held[team].append(roles[int(path.split("/")[4])])
    assert held[on_call] == ["execute_role"] * (len(double.things["job_templates"]) + 1)
    assert held[leads] == ["approval_role"]
