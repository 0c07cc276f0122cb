# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback of a database with its release: check mode, failures in the critical section, a killed host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import application, application_state

APPROVED = {"rollback_confirm": True}


def live() -> tuple[object, ...]:
    """What the live database is, seen by psql."""
    found = application_state.database()
    return found["migrations"], found["columns"], found["jobs"], found["damaged"]


def deploy(version: str) -> None:
    application.lab("deploy", version)


def images_of(point_id: str) -> dict[str, list[str]]:
    point = next(entry for entry in application.points() if entry["id"] == point_id)
    services = point["release"]["services"]
    return {name: [services[name]["image_id"]] * services[name]["replicas"] for name in application.CODE_SERVICES}


def running() -> dict[str, list[str]]:
    found = application.running_images()
    return {name: found.get(name, []) for name in application.CODE_SERVICES}


@pytest.fixture
def v2(application_up: None) -> str:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Begin with v2 as it was just deployed over v1; return the id of the restore point of v1."""
    return application.begin("v2")


@pytest.mark.thorough
def test_the_plan_is_the_same_until_somebody_approves_it(v2: str) -> None:
    before, database = application.fingerprint(), application_state.database()
    shown = application.playbook("database-rollback", "--check", "--diff")
    assert shown.rc == 0, shown.screen
    assert application.fingerprint() == before
    assert application_state.database() == database
    assert "take back AddJobPriority1761000000001" in shown.text
    assert "Note: the steps back were not rehearsed" in shown.text
    refused = application.playbook("database-rollback")
    assert refused.rc == 2
    assert "no answer is a no" in refused.text
    (asked,) = set(re.findall(r"-e rollback_confirm=([0-9a-f]{12})", refused.text))
    assert f"Plan {asked}: v2 -> v1 ({v2}), take its migrations back" in shown.text
    other = application.playbook("database-rollback", rollback_confirm="0123456789ab")
    assert other.rc == 2
    assert application_state.database() == database
    done = application.playbook("database-rollback", rollback_confirm=asked)
    assert done.rc == 0, done.screen
    assert running() == images_of(v2)
    report = application.reports()[-1]
    assert (report["outcome"], report["plan"]["hash"]) == ("success", asked)
    assert report["plan"]["how"] == "revert"
    assert [row["label"] for row in report["rows"]] == ["Set aside"]
    assert "is marked bad" in done.text


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["revert", "restore"])
def test_a_target_that_does_not_get_healthy_puts_database_and_release_back(v2: str, how: str) -> None:
    before, code = live(), running()
    # No release is healthy half a second after it was started.
    failed = application.playbook(
        "database-rollback", rollback_database_how=how, rollback_health_deadline=0.5, **APPROVED
    )
    assert failed.rc == 2, failed.screen
    assert "not healthy after 0.5 s" in failed.text
    assert "the same database is live" in failed.text
    assert live() == before
    assert running() == code
    # What the attempt left is no hindrance.
    done = application.playbook("database-rollback", rollback_database_how=how, **APPROVED)
    assert done.rc == 0, done.screen
    assert running() == images_of(v2)


@pytest.mark.thorough
def test_what_another_deployment_has_damaged_is_restored_again(at_v1: str) -> None:
    good = live()
    for _time in range(2):
        deploy("corruption")
        application.wait_until(lambda: live() != good, "the release has damaged rows")
        done = application.playbook("full-rollback", rollback_to=at_v1, **APPROVED)
        assert done.rc == 0, done.screen
        assert live() == good
    again = application.playbook("full-rollback", rollback_to=at_v1, **APPROVED)
    assert again.rc == 0, again.screen
    assert "Nothing to do" in again.text


@pytest.mark.parametrize(
    ("how", "step"), [pytest.param("revert", "database", marks=pytest.mark.thorough), ("restore", "services")]
)
def test_a_host_that_is_killed_in_the_critical_section_gets_there_in_the_next_run(
    v2: str, how: str, step: str, ledger: Path
) -> None:
    with application.load(ledger):
        application.kill_host_side("database-rollback", step, rollback_database_how=how, **APPROVED)
    done = application.playbook(
        "database-rollback", rollback_lock_takeover="yes", rollback_database_how=how, **APPROVED
    )
    assert done.rc == 0, done.screen
    assert running() == images_of(v2)
    assert application.unhealthy() == []
    assert "jobs.priority" not in application_state.database()["columns"]
    assert json.loads(application.lab("ledger", str(ledger), "--check-database").stdout)["lost"] == []
