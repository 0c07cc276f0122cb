# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The targeted fix: a feature that is turned off, a value that is changed, and a release whose migrations go first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support import application, application_data, receivers

pytestmark = pytest.mark.application

ENV = application.PROJECT / ".env"


def steps(run: dict[str, Any]) -> list[str]:
    """The steps of a run that came to their end, in order."""
    return [entry["step"] for entry in application.journal(run["run"]) if entry["status"] == "done"]


def history() -> str:
    """The applied migrations."""
    return application_data.in_application("SELECT string_agg(name, ' ' ORDER BY id) FROM migrations")


def versions() -> dict[str, str]:
    """The tag that each code service runs."""
    found = application.docker("ps", "--format", '{{.Label "com.docker.compose.service"}} {{.Image}}').split("\n")
    running = dict(line.split(" ", 1) for line in found if line)
    return {name: running[name].rpartition(":")[2] for name in application.CODE_SERVICES}


def compose(*words: str) -> list[str]:
    return ["docker", "compose", *words]


def test_a_feature_is_turned_off_and_on_again_when_that_did_not_help(at_v1: str, tmp_path: Path) -> None:  # noqa: ARG001
    with receivers.web() as web:
        switches = [
            {
                "name": "editor",
                "symptoms": ["editor"],
                "turn_off": {"url": f"{web.url}/ok", "body": {"text": "editor off"}, "headers": {"X-Token": "s3cret"}},
                "turn_on": {"url": f"{web.url}/refuse", "body": {"text": "editor on"}},
            },
            # Without its frontend the application is not well.
            {
                "name": "pages",
                "turn_off": {"command": compose("stop", "frontend")},
                "turn_on": {"command": compose("start", "frontend")},
            },
            {
                "name": "stuck",
                "turn_off": {"command": compose("stop", "frontend")},
                "turn_on": {"url": f"{web.url}/refuse"},
            },
        ]
        planned = application.playbook(
            "feature-switch", "--check", rollback_feature="pages", rollback_feature_switches=switches
        )
        assert (planned.rc, "pages would be switched off" in planned.text) == (0, True), planned.screen
        assert application.unhealthy() == []

        done = application.playbook(
            "feature-switch", "-vvv", rollback_feature="editor", rollback_feature_switches=switches
        )
        assert done.rc == 0, done.screen
        assert web.texts() == ["editor off"]
        assert "s3cret" not in done.screen.replace(json.dumps(switches), "")
        report = application.reports()[-1]
        assert (report["type"], report["outcome"]) == ("feature", "success")
        assert "feature switch" in steps(report)

        back = application.playbook(
            "feature-switch", rollback_feature="pages", rollback_health_deadline=15, rollback_feature_switches=switches
        )
        assert back.rc == 2, back.screen
        assert "Afterwards the feature was switched back" in back.text
        application.wait_until(lambda: not application.unhealthy(), "the frontend runs again")
        assert application.reports()[-1]["outcome"] == "failed"

        stuck: dict[str, Any] = {"rollback_feature": "stuck", "rollback_health_deadline": 15}
        left = application.playbook("feature-switch", rollback_feature_switches=switches, **stuck)
        assert left.rc == 2, left.screen
        assert "The feature could NOT be switched back, and is off: What happened: stuck could not be" in left.text
        same = application.playbook("feature-switch", rollback_feature_switches=switches, **stuck)
        assert (same.rc, "The feature was off before already, and stays so" in same.text) == (2, True), same.screen
        application.docker("start", "schedgen-frontend-1")
        application.wait_until(lambda: not application.unhealthy(), "the frontend runs again")

        refused = application.playbook(
            "feature-switch", rollback_feature="editor", rollback_feature_to="on", rollback_feature_switches=switches
        )
        assert refused.rc == 2, refused.screen
        assert "editor could not be switched on" in refused.text
    unknown = application.playbook("feature-switch", rollback_feature="other", rollback_feature_switches=switches)
    assert unknown.rc == 2
    assert "no feature switch 'other' is declared in rollback_feature_switches: editor, pages, stuck" in unknown.text
    assert application.unhealthy() == []


@pytest.fixture
def v1_1_is_here(application_up: None) -> None:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Have the images of v1.1 on this host: one of them is built there, and no registry has it."""
    if not application.docker("images", "--quiet", "schedgen-pdf-worker:v1.1"):
        application.begin("v1.1", wait=False)


def test_a_value_is_deployed_and_taken_back(v1_1_is_here: None, at_v1: str) -> None:  # noqa: ARG001
    before = ENV.read_text()
    planned = application.playbook("hotfix-deploy", "--check", "--diff", rollback_deploy_env="TAG=v1.1")
    assert planned.rc == 0, planned.screen
    assert "write file .env" in planned.text
    assert ENV.read_text() == before

    done = application.playbook("hotfix-deploy", rollback_deploy_env="TAG=v1.1")
    assert done.rc == 0, done.screen
    assert set(versions().values()) == {"v1.1"}
    assert "TAG=v1.1\n" in ENV.read_text()
    assert application.reports()[-1]["configuration"] == [{"path": ".env", "keys": ["TAG"]}]
    again = application.playbook("hotfix-deploy", rollback_deploy_env="TAG=v1.1")
    assert (again.rc, application.reports()[-1]["outcome"]) == (0, "nothing to do"), again.screen

    back = application.playbook("quick-rollback", rollback_to=at_v1)
    assert back.rc == 0, back.screen
    assert ENV.read_text() == before
    assert set(versions().values()) == {"v1"}

    # Written and never started: by hand, or by a run that was killed.
    ENV.write_text(before + "TAG=v1.1\n")
    finished = application.playbook("hotfix-deploy", rollback_deploy_env="TAG=v1.1")
    assert finished.rc == 0, finished.screen
    assert set(versions().values()) == {"v1.1"}
    assert application.reports()[-1]["outcome"] == "success"


def test_a_value_with_which_nothing_starts_is_taken_back_by_itself(at_v1: str) -> None:  # noqa: ARG001
    before, status = ENV.read_text(), ENV.stat()
    done = application.playbook(
        "hotfix-deploy",
        rollback_deploy_env={"DATABASE_HOST": "no such host"},
        rollback_health_deadline=15,
    )
    assert done.rc == 2, done.screen
    assert "What ran before was put back" in done.text
    assert (ENV.read_text(), ENV.stat().st_mode, ENV.stat().st_uid) == (before, status.st_mode, status.st_uid)
    assert application.unhealthy() == []

    # A login that the database refuses is found before anything is touched, and the password is told to nobody.
    running = application.fingerprint()["started"]
    refused = application.playbook(
        "hotfix-deploy", "-vvv", "--diff", rollback_deploy_env="DATABASE_PASSWORD=it is s3cret"
    )
    assert refused.rc == 2
    assert "the database refuses the login" in refused.text
    assert application.fingerprint()["started"] == running
    folder = application.STATE / "runs" / application.reports()[-1]["run"]
    told = [refused.screen, *(path.read_text() for path in folder.iterdir() if path.is_file())]
    assert not [text for text in told if "s3cret" in text]

    unread = application.playbook("hotfix-deploy", rollback_deploy_env="NOBODY_READS_THIS=1")
    assert unread.rc == 2
    assert "no service of the project reads NOBODY_READS_THIS" in unread.text
    assert ENV.read_text() == before


def test_migrations_that_fail_are_found_before_and_told_with_the_way_back_when_forced(at_v1: str) -> None:
    before = history()
    failing = {"rollback_deploy": "migration-fails", "rollback_deploy_migrations": "before"}
    failed = application.playbook("hotfix-deploy", **failing)
    assert failed.rc == 2, failed.screen
    assert "Not ready: migrations" in failed.text
    assert set(versions().values()) == {"v1"}
    assert history() == before

    forced = application.playbook("hotfix-deploy", **failing, rollback_readiness_gate="none")
    assert forced.rc == 2, forced.screen
    assert "Applied are CreateInvoices1762000000001" in forced.text
    assert "column" in forced.text
    # What ran before can live with what stayed of it.
    assert "Nothing is wrong" in forced.text
    assert set(versions().values()) == {"v1"}
    back = re.search(r"database-rollback.yml -e rollback_to=(\S+Z)", forced.text)
    assert back, forced.screen
    assert back[1] > at_v1
    assert (application.STATE / "restore_points" / back[1] / "database").exists()


def test_migrations_are_applied_before_the_services_are_replaced(at_v1: str) -> None:  # noqa: ARG001
    done = application.playbook("hotfix-deploy", rollback_deploy="v2", rollback_deploy_migrations="before")
    assert done.rc == 0, done.screen
    order = steps(application.reports()[-1])
    assert order.index("restore point") < order.index("rehearsal") < order.index("migrate") < order.index("switch")
    assert set(versions().values()) == {"v2"}
    assert "4 migrations of v2 applied" in done.text
