# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quick rollback on the reference application: every way in which a release can be deployed, kept and lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import application

pytestmark = pytest.mark.application


def images_of(point_id: str) -> dict[str, list[str]]:
    """The images that each code service had in a restore point, one a container."""
    manifest = next(point for point in application.points() if point["id"] == point_id)
    return {
        name: [service["image_id"]] * service["replicas"]
        for name, service in manifest["release"]["services"].items()
        if name in application.CODE_SERVICES
    }


def assert_runs(images: dict[str, list[str]]) -> None:
    running = application.running_images()
    assert {name: running.get(name) for name in images} == images
    assert application.unhealthy() == []


def assert_untouched(before: dict[str, Any]) -> None:
    after = application.fingerprint()
    assert (after["containers"], after["started"]) == (before["containers"], before["started"])
    assert after["head"] == before["head"]


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", application.PROJECT, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def deploy(version: str, *options: str) -> None:
    application.lab("deploy", version, "--no-wait", *options)


def reload_proxy() -> None:
    application.docker("exec", "schedgen-proxy-1", "nginx", "-c", "/etc/nginx/conf.d/nginx.conf", "-s", "reload")


@pytest.mark.thorough
def test_a_bad_release_is_replaced_by_the_restore_point(http_500: str, ledger: Path) -> None:
    bad = {name: images for name, images in application.running_images().items() if name in application.CODE_SERVICES}
    with application.load(ledger):
        done = application.playbook("quick-rollback", rollback_reason="answers 500")
    assert done.rc == 0, done.screen
    assert_runs(images_of(http_500))
    assert git("rev-parse", "HEAD") == git("rev-parse", "v1^{commit}")
    report = application.reports()[-1]
    assert (report["outcome"], report["reason"]) == ("success", "answers 500")
    safety = application.points()[-1]
    assert safety["purpose"] == "safety"
    assert images_of(safety["id"]) == bad
    assert [event["event"] for event in application.events(safety["id"])] == ["bad"]
    assert application.judged(ledger)["missing"] == []

    before = application.fingerprint()
    again = application.playbook("quick-rollback")
    assert again.rc == 0, again.screen
    assert application.reports()[-1]["outcome"] == "nothing to do"
    assert_untouched(before)


@pytest.mark.usefixtures("application_up")
def test_check_mode_shows_the_plan_and_changes_nothing() -> None:
    application.begin("config-bad", wait=False)
    password = next(line for line in (application.PROJECT / ".env").read_text().splitlines() if "PASSWORD" in line)
    before = application.fingerprint()
    done = application.playbook("quick-rollback", "--check", "--diff")
    assert done.rc == 0, done.screen
    # The backend crashes at start, and Docker starts it again and again.
    assert {**application.fingerprint(), "started": before["started"]} == before
    assert "replace the containers of backend" in done.text
    assert "-DATABASE_HOST=(hidden, before)" in done.screen
    assert password.split("=", 1)[1] not in done.screen


@pytest.mark.usefixtures("http_500")
def test_no_secret_is_shown_or_recorded_beside_the_files() -> None:
    password = next(
        line.split("=", 1)[1] for line in (application.PROJECT / ".env").read_text().splitlines() if "PASSWORD" in line
    )
    done = application.playbook("quick-rollback", "--diff", "-vvv")
    assert done.rc == 0, done.screen
    assert password not in done.screen
    holding = [
        str(path.relative_to(application.STATE))
        for path in application.STATE.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert {Path(name).name for name in holding} == {".env"}


def test_images_pruned_from_the_host_come_back_by_digest_and_from_the_image_store(http_500: str) -> None:
    expected = images_of(http_500)
    for service, ids in expected.items():
        application.docker("image", "rm", "--force", ids[0])
        assert ids[0] not in application.docker("images", "-aq", "--no-trunc"), service
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert "pull from the registry by digest: backend, frontend" in done.text
    assert "load from the image store: pdf-worker" in done.text
    assert_runs(expected)
    application.docker("compose", "--project-directory", str(application.PROJECT), "up", "--detach", "--no-build")
    assert_runs(expected)


@pytest.mark.thorough
def test_registry_down_does_not_matter_while_the_images_are_there(http_500: str) -> None:
    application.lab("registry", "stop")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(http_500))


@pytest.mark.thorough
def test_registry_down_and_images_pruned_is_refused_before_anything_is_touched(http_500: str) -> None:
    application.docker("image", "rm", "--force", images_of(http_500)["backend"][0])
    application.lab("registry", "stop")
    before = application.fingerprint()
    done = application.playbook("quick-rollback")
    assert done.rc == 2
    assert "images cannot be had: backend" in done.text
    assert "Nothing that runs was touched" in done.text
    assert_untouched(before)
    application.lab("registry", "start")
    assert application.playbook("quick-rollback").rc == 0
    assert_runs(images_of(http_500))


@pytest.mark.parametrize("action", [pytest.param("delete-tag", marks=pytest.mark.thorough), "move-tag"])
def test_a_tag_that_is_gone_or_moved_in_the_registry_does_not_matter(http_500: str, action: str) -> None:
    expected = images_of(http_500)
    application.docker("image", "rm", "--force", expected["frontend"][0])
    application.lab("registry", action, "--service", "backend", "--tag", "v1")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(expected)


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["service-added", "service-removed"])
def test_services_of_the_compose_file_follow_the_release(at_v1: str, version: str) -> None:
    services = set(application.running_images())
    deploy(version)
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(at_v1))
    assert set(application.running_images()) == services


def test_a_dirty_checkout_goes_back_and_its_changes_are_kept(http_500: str) -> None:
    nginx = application.PROJECT / "proxy" / "nginx.conf"
    nginx.write_text(nginx.read_text() + "# changed by hand\n")
    (application.PROJECT / "notes.txt").write_text("mine\n")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(http_500))
    assert "changed by hand" not in nginx.read_text()
    assert (application.PROJECT / "notes.txt").read_text() == "mine\n"
    safety = application.STATE / "restore_points" / application.points()[-1]["id"]
    assert "changed by hand" in (safety / "files" / "project" / "proxy" / "nginx.conf").read_text()


@pytest.mark.thorough
@pytest.mark.usefixtures("application_up")
def test_changes_that_belonged_to_the_release_come_back() -> None:
    application.lab("reset", "v1")
    compose = application.PROJECT / "compose.yaml"
    changed = compose.read_text().replace("stop_grace_period: 10s", "stop_grace_period: 9s")
    compose.write_text(changed)
    application.docker(
        "compose", "--project-directory", str(application.PROJECT), "up", "--detach", "--no-build", "--wait"
    )
    assert application.playbook("pre-deploy-backup").rc == 0
    point = application.points()[-1]["id"]
    git("checkout", "--force", "--quiet", "http-500")
    application.docker("compose", "--project-directory", str(application.PROJECT), "up", "--detach", "--build")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert compose.read_text() == changed
    assert_runs(images_of(point))


@pytest.mark.usefixtures("application_up")
def test_a_folder_without_git_goes_back_by_its_recorded_files() -> None:
    application.lab("reset", "v1")
    kept = application.HOME / "kept.git"
    shutil.rmtree(kept, ignore_errors=True)
    wanted = (application.PROJECT / "compose.yaml").read_text()
    bad = git("show", "http-500:compose.yaml")
    try:
        (application.PROJECT / ".git").rename(kept)
        assert application.playbook("pre-deploy-backup").rc == 0
        point = application.points()[-1]["id"]
        (application.PROJECT / "compose.yaml").write_text(bad + "\n")
        (application.PROJECT / "compose.override.yaml").write_text(
            "services: {frontend: {environment: {NEW: 'yes'}}}\n"
        )
        application.docker("compose", "--project-directory", str(application.PROJECT), "up", "--detach", "--build")
        done = application.playbook("quick-rollback")
        assert done.rc == 0, done.screen
        assert (application.PROJECT / "compose.yaml").read_text() == wanted
        assert not (application.PROJECT / "compose.override.yaml").exists()
        assert list((application.STATE / "runs").glob("*-quick/set_aside/compose.override.yaml"))
        assert_runs(images_of(point))
    finally:
        kept.rename(application.PROJECT / ".git")


@pytest.mark.thorough
def test_a_release_started_with_a_tag_from_the_shell_is_left(at_v1: str) -> None:
    deploy("http-500", "--tag-only")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(at_v1))


@pytest.mark.thorough
@pytest.mark.usefixtures("application_up")
def test_a_restore_point_of_a_release_started_from_the_shell_says_so_and_works() -> None:
    application.lab("reset", "v1")
    deploy("v1.1", "--tag-only")
    application.wait_until(lambda: not application.unhealthy(), "v1.1 is healthy")
    done = application.playbook("pre-deploy-backup")
    assert done.rc == 0, done.screen
    point = application.points()[-1]
    assert not point["release"]["reproducible"]
    assert "backend runs with another configuration than the files give" in done.text
    deploy("http-500")
    done = application.playbook("quick-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(point["id"]))
    application.docker("compose", "--project-directory", str(application.PROJECT), "up", "--detach", "--no-build")
    assert_runs(images_of(point["id"]))


@pytest.mark.parametrize(
    "target", [pytest.param("v1", marks=pytest.mark.thorough), "backend=v1,frontend=v1,pdf-worker=v1"]
)
@pytest.mark.usefixtures("application_up")
def test_day_zero_goes_to_a_git_tag_or_to_images(target: str) -> None:
    application.lab("reset", "v1")
    expected = {name: ids for name, ids in application.running_images().items() if name in application.CODE_SERVICES}
    deploy("http-500")
    assert application.points() == []
    done = application.playbook("quick-rollback", rollback_to=target)
    assert done.rc == 0, done.screen
    assert_runs(expected)
    assert "no restore point describes" in done.text


@pytest.mark.thorough
@pytest.mark.usefixtures("application_up")
def test_day_zero_goes_to_a_digest() -> None:
    application.lab("reset", "v1")
    expected = application.running_images()["backend"]
    digests = application.docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', expected[0]).split()
    deploy("http-500")
    done = application.playbook("quick-rollback", rollback_to=f"backend={digests[0].split('@')[1]}")
    assert done.rc == 0, done.screen
    assert application.running_images()["backend"] == expected


@pytest.mark.usefixtures("application_up")
def test_day_zero_without_a_target_says_how_to_name_one() -> None:
    application.lab("reset", "http-500", "--no-wait")
    before = application.fingerprint()
    done = application.playbook("quick-rollback")
    assert done.rc == 2
    assert "there is no restore point" in done.text
    assert "-e rollback_to=<git tag>" in done.text
    assert_untouched(before)


@pytest.mark.usefixtures("application_up")
def test_a_schema_that_the_target_cannot_live_with_is_refused_and_accepted_on_request() -> None:
    application.begin("v1.1")
    psql = ("exec", "schedgen-postgres", "psql", "-qU", "schedgen", "-d", "schedgen", "-c")
    application.docker(*psql, "CREATE UNIQUE INDEX once ON jobs (key, title)")
    before = application.fingerprint()
    refused = application.playbook("quick-rollback")
    assert refused.rc == 2
    assert "v1 cannot live with the database as it is; unique index once of table public.jobs is new" in refused.text
    assert "database-rollback.yml" in refused.text
    assert_untouched(before)
    accepted = application.playbook("quick-rollback", rollback_accept_schema="yes")
    assert accepted.rc == 0, accepted.screen
    assert_runs(images_of(application.points()[0]["id"]))


@pytest.mark.usefixtures("application_up")
def test_a_target_that_does_not_get_healthy_is_left_again() -> None:
    # The worker's image is in no registry: a deployment builds it.
    application.begin("never-healthy", wait=False)
    deploy("http-500")
    application.wait_until(lambda: not application.unhealthy(), "http-500 is up")
    before = application.running_images()
    done = application.playbook("quick-rollback", rollback_to="never-healthy", rollback_health_deadline=15)
    assert done.rc == 2
    assert "The switch failed: not healthy after 15 s" in done.text
    assert "What ran before was put back" in done.text
    assert application.running_images() == before
    assert git("rev-parse", "HEAD") == git("rev-parse", "http-500^{commit}")
    assert application.reports()[-1]["outcome"] == "failed"


@pytest.mark.usefixtures("at_v1")
def test_a_wrong_password_in_the_restore_point_is_found_before_anything_is_touched() -> None:
    """The password was changed in the database since: the old files would not let the application in."""
    application.docker(
        "exec",
        "schedgen-postgres",
        "psql",
        "-U",
        "schedgen",
        "-d",
        "schedgen",
        "-qc",
        "ALTER ROLE schedgen PASSWORD 'changed'",
    )
    deploy("http-500", "--env", "DATABASE_PASSWORD=changed")
    before = application.fingerprint()
    done = application.playbook("quick-rollback")
    assert done.rc == 2
    assert "the database refuses the login that backend (DATABASE_HOST" in done.text
    assert_untouched(before)


def test_start_first_keeps_answering(application_up: None, ledger: Path) -> None:  # noqa: ARG001
    point = application.begin("v1.1")
    with application.load(ledger, rate=50):
        done = application.playbook("quick-rollback", rollback_start_first_services=["backend", "frontend"])
    assert done.rc == 0, done.screen
    assert_runs(images_of(point))
    judged = application.judged(ledger)
    assert (judged["failures"], judged["missing"]) == ({}, [])
    assert judged["sent"] > 0


def test_start_first_outlasts_a_proxy_that_keeps_addresses(application_up: None, ledger: Path) -> None:  # noqa: ARG001
    point = application.begin("v1.1")
    nginx = application.PROJECT / "proxy" / "nginx.conf"
    wanted = nginx.read_text()
    nginx.write_text(wanted.replace("valid=1s", "valid=5s"))
    try:
        reload_proxy()
        with application.load(ledger, rate=50):
            done = application.playbook(
                "quick-rollback",
                rollback_start_first_services=["backend", "frontend"],
                rollback_start_first_overlap=6,
            )
    finally:
        nginx.write_text(wanted)
        reload_proxy()
    assert done.rc == 0, done.screen
    assert_runs(images_of(point))
    judged = application.judged(ledger)
    assert (judged["failures"], judged["missing"]) == ({}, [])
    assert judged["sent"] > 0


@pytest.mark.thorough
def test_everything_stopped_comes_back(http_500: str) -> None:
    application.docker("compose", "--project-directory", str(application.PROJECT), "down")
    done = application.playbook("quick-rollback", rollback_accept_schema="yes")
    assert done.rc == 0, done.screen
    assert_runs(images_of(http_500))


@pytest.mark.thorough
def test_a_host_that_is_killed_when_the_release_is_there_stays_there_in_the_next_run() -> None:
    application.lab("reset", "v1")
    for version in ("v1", "v1.1"):
        application.lab("deploy", version)
        taken = application.playbook("pre-deploy-backup", rollback_database_ready="none")
        assert taken.rc == 0, taken.screen
    newest = application.points()[-1]["id"]
    deploy("http-500")
    application.kill_host_side("quick-rollback", "health")
    done = application.playbook("quick-rollback", rollback_lock_takeover="yes")
    assert done.rc == 0, done.screen
    assert "had come there" in done.text
    assert_runs(images_of(newest))


@pytest.mark.thorough
def test_an_undo_brings_the_release_back_and_is_undone(application_up: None) -> None:  # noqa: ARG001
    point = application.begin("v1.1")
    bad = {name: images for name, images in application.running_images().items() if name in application.CODE_SERVICES}
    assert application.playbook("quick-rollback").rc == 0
    assert_runs(images_of(point))
    undone = application.playbook("undo-rollback")
    assert undone.rc == 0, undone.screen
    assert_runs(bad)
    assert application.reports()[-1]["type"] == "undo"
    again = application.playbook("undo-rollback")
    assert again.rc == 0, again.screen
    assert_runs(images_of(point))


@pytest.mark.thorough
def test_the_configuration_alone_goes_back_and_restarts_what_it_concerns(at_v1: str) -> None:
    before = {entry["Name"]: entry["Id"] for entry in application.containers()}
    application.lab("deploy", "config-bad")
    told = application.playbook("config-rollback", "--check", "--diff")
    assert "DATABASE_HOST=(hidden" in told.text
    assert "postgres-old" not in told.text
    done = application.playbook("config-rollback")
    assert done.rc == 0, done.screen
    assert_runs(images_of(at_v1))
    assert application.reports()[-1]["type"] == "configuration"
    after = {entry["Name"]: entry["Id"] for entry in application.containers()}
    assert after["/schedgen-frontend-1"] == before["/schedgen-frontend-1"]
