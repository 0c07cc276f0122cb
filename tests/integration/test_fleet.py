# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts with engines of their own: together or not at all, a canary first, and it is said who is where.

The last part has the database on the first host; the application on the others writes into it all the time.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schedgen_lab import engine
from schedgen_lab.settings import SUPPORT_IMAGES
from support.fleet import PROJECT, Fleet, Host, ensure_images

HOSTS = 3
DEPLOY_JOURNAL = "/var/lib/schedgen-rollback/shop/runs/*-deploy/journal.jsonl"
QUICK_JOURNAL = "/var/lib/schedgen-rollback/shop/runs/*-quick/journal.jsonl"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Fleet]:
    """Have three hosts; they cost half a minute."""
    engine.ensure()
    ensure_images()
    # Not in a test's own folder: the path of an ssh socket has to be short.
    fleet = Fleet(Path(tempfile.mkdtemp(prefix="fleet-")))
    try:
        fleet.start(HOSTS, own_engines=True)
        yield fleet
    finally:
        fleet.stop()


def text(done: Any) -> str:
    return " ".join(str(done.stdout).split())


@pytest.fixture
def fleet_at_v1(hosts: Fleet) -> Fleet:
    """Every host runs v1, is healthy, and knows nothing of an earlier test."""

    def fresh(host: Host) -> None:
        host.run("rm -rf /var/lib/schedgen-rollback")
        host.sick_with()
        host.deploy("v1")

    hosts.each(fresh)
    return hosts


@pytest.fixture
def bad_v2(hosts: Fleet, request: pytest.FixtureRequest) -> Fleet:
    """Every host has a restore point of v1, which pre-deploy-backup.yml took once, and runs v2."""
    if "v1" in hosts.kept:
        hosts.begin_with("v1")
    else:
        request.getfixturevalue("fleet_at_v1")
        done = hosts.playbook("pre-deploy-backup")
        assert done.returncode == 0, done.stdout
        hosts.keep("v1")
    hosts.each(lambda host: host.deploy("v2"))
    return hosts


def versions(fleet: Fleet) -> list[str]:
    return [host.version() for host in fleet.hosts]


def switched_at(host: Host) -> tuple[str, str]:
    """Return when a host's switch began and ended."""
    steps = {entry["status"]: entry["at"] for entry in host.journal() if entry["step"] == "switch"}
    return steps["started"], steps["done"]


def test_a_restore_point_is_one_for_all_hosts(bad_v2: Fleet) -> None:
    found = [host.state("restore_points/*/manifest.json") for host in bad_v2.hosts]
    assert [len(manifests) for manifests in found] == [1] * HOSTS
    assert len({manifests[0]["id"] for manifests in found}) == 1
    for (manifest,) in found:
        assert manifest["fleet"] == [host.name for host in bad_v2.hosts]


def test_all_go_back_with_a_canary_first(bad_v2: Fleet) -> None:
    done = bad_v2.playbook("quick-rollback")
    assert done.returncode == 0, done.stdout
    assert versions(bad_v2) == ["v1"] * HOSTS
    canary, *others = (switched_at(host) for host in bad_v2.hosts)
    assert all(canary[1] < began for began, _ended in others)
    for host in bad_v2.hosts:
        assert host.name in done.stdout
    again = bad_v2.playbook("quick-rollback")
    assert again.returncode == 0, again.stdout
    assert "nothing to do" in text(again)


def test_a_canary_that_fails_stops_the_rest(bad_v2: Fleet) -> None:
    bad_v2[0].healthy(False)
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=30)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS
    assert "Nothing that runs here was touched" in text(done)


@pytest.mark.thorough
def test_hosts_that_had_switched_stay_or_go_back_as_configured(bad_v2: Fleet) -> None:
    bad_v2[1].healthy(False)
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=30)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v1", "v2", "v2"]
    assert "v1 runs with exactly the planned images" in text(done), done.stdout
    # The last of three fails: two have to go back.
    bad_v2[0].deploy("v2")
    bad_v2[1].healthy(True)
    bad_v2[2].healthy(False)
    back = {"rollback_partial": "back", "rollback_batches": [1, 1, 1]}
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=30, **back)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS, done.stdout
    assert "v2 runs with exactly the planned images" in text(done), done.stdout


@pytest.mark.thorough
def test_some_may_fail_where_that_is_allowed(bad_v2: Fleet) -> None:
    bad_v2[1].healthy(False)
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=30, rollback_max_failed=1)
    assert done.returncode != 0, "a host that failed is told all the same"
    assert versions(bad_v2) == ["v1", "v2", "v1"]


@pytest.mark.thorough
def test_no_host_is_touched_where_one_lacks_what_it_needs(bad_v2: Fleet) -> None:
    last = bad_v2[2]
    last.run("docker rmi -f fleet-web:v1 $(docker images -q schedgen-rollback/shop/web)", check=False)
    last.run("rm -rf /var/lib/schedgen-rollback/shop/images")
    done = bad_v2.playbook("quick-rollback")
    bad_v2.load(last, "fleet-web:v1", "fleet-web:v2")
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS


def test_a_host_whose_power_is_cut_in_the_middle(bad_v2: Fleet) -> None:
    """It is not waited for without end, and a second run brings all to the same end."""
    second = bad_v2[1]
    with bad_v2.playing("quick-rollback", rollback_health_deadline=30) as running:
        second.until(f"grep -q '\"switch\"' {QUICK_JOURNAL}", 120)
        bad_v2.cut_power(second)
        screen, _nothing = running.communicate()
    assert running.returncode != 0
    assert "host02 was restarted, or the work there was killed" in " ".join(screen.split())
    assert [bad_v2[0].version(), bad_v2[2].version()] == ["v1", "v2"]
    again = bad_v2.playbook("quick-rollback", rollback_lock_takeover="yes")
    assert again.returncode == 0, again.stdout
    assert versions(bad_v2) == ["v1"] * HOSTS


@pytest.fixture
def last_is_down(bad_v2: Fleet) -> Iterator[Fleet]:
    """The last host does not answer."""
    engine.docker("pause", bad_v2[2].container)
    yield bad_v2
    engine.docker("unpause", bad_v2[2].container, check=False)


@pytest.mark.thorough
def test_a_host_that_cannot_be_reached_stops_all_before_any_is_touched(last_is_down: Fleet) -> None:
    done = last_is_down.playbook("quick-rollback")
    assert done.returncode != 0
    assert "host03" in text(done)
    assert [host.version() for host in last_is_down.hosts[:2]] == ["v2", "v2"]
    look = "ls -A /var/lib/schedgen-rollback/shop/lock 2>/dev/null"
    locks = [host.run(look, check=False) for host in last_is_down.hosts[:2]]
    assert locks == ["", ""]


@pytest.mark.thorough
def test_a_host_that_cannot_be_reached_is_left_out_where_that_is_wanted(last_is_down: Fleet) -> None:
    done = last_is_down.playbook("quick-rollback", rollback_unreachable="leave out")
    assert done.returncode == 0, done.stdout
    assert [host.version() for host in last_is_down.hosts[:2]] == ["v1", "v1"]
    assert "host03 (not reached)" in text(done)
    engine.docker("unpause", last_is_down[2].container)
    assert last_is_down[2].version() == "v2"


def test_a_restore_point_that_one_host_lacks_does_not_count(fleet_at_v1: Fleet) -> None:
    engine.docker("pause", fleet_at_v1[2].container)
    try:
        done = fleet_at_v1.playbook("pre-deploy-backup")
    finally:
        engine.docker("unpause", fleet_at_v1[2].container)
    assert done.returncode != 0
    fleet_at_v1.each(lambda host: host.deploy("v2"))
    refused = fleet_at_v1.playbook("quick-rollback")
    assert refused.returncode != 0
    assert versions(fleet_at_v1) == ["v2"] * HOSTS


@pytest.mark.thorough
def test_a_host_that_was_added_later_is_said_to_have_none(bad_v2: Fleet) -> None:
    bad_v2[2].run("rm -rf /var/lib/schedgen-rollback")
    refused = bad_v2.playbook("quick-rollback")
    assert refused.returncode != 0
    assert "there is no restore point" in text(refused)
    assert "host03" in text(refused)
    assert versions(bad_v2) == ["v2"] * HOSTS


def test_a_deployment_begins_with_a_canary_and_goes_back_where_another_host_fails(fleet_at_v1: Fleet) -> None:
    fleet_at_v1[1].sick_with("v2")
    value = {"rollback_deploy_env": "TAG=v2", "rollback_health_deadline": 30}
    done = fleet_at_v1.playbook("hotfix-deploy", **value)
    assert done.returncode != 0
    assert versions(fleet_at_v1) == ["v1"] * HOSTS, done.stdout
    assert "Afterwards it was rolled back (quick): v1 runs, and it is well" in text(done)
    # The canary had switched, the last host was never touched.
    switched = [bool(host.run(f"grep -l '\"switch\"' {DEPLOY_JOURNAL}", check=False)) for host in fleet_at_v1.hosts]
    assert switched == [True, True, False]
    manifests = [host.state("restore_points/*/manifest.json")[0] for host in fleet_at_v1.hosts]
    assert len({manifest["id"] for manifest in manifests}) == 1
    assert {manifest["purpose"] for manifest in manifests} == {"deploy"}

    fleet_at_v1[1].sick_with()
    again = fleet_at_v1.playbook("hotfix-deploy", **value)
    assert again.returncode == 0, again.stdout
    assert versions(fleet_at_v1) == ["v2"] * HOSTS


@pytest.mark.thorough
def test_a_deployment_that_is_there_is_not_made_again_and_all_hosts_know_the_way_back(fleet_at_v1: Fleet) -> None:
    value = {"rollback_deploy_env": "TAG=v2", "rollback_health_deadline": 30}
    done = fleet_at_v1.playbook("hotfix-deploy", **value)
    assert done.returncode == 0, done.stdout
    same = fleet_at_v1.playbook("hotfix-deploy", **value)
    assert (same.returncode, "nothing to do" in text(same)) == (0, True), same.stdout
    back = fleet_at_v1.playbook("quick-rollback")
    assert back.returncode == 0, back.stdout
    assert versions(fleet_at_v1) == ["v1"] * HOSTS


@pytest.mark.thorough
def test_a_host_that_goes_away_while_it_is_deployed_does_not_keep_the_others_from_going_back(
    fleet_at_v1: Fleet,
) -> None:
    first, gone, last = fleet_at_v1.hosts
    asked = {"rollback_deploy_env": "TAG=v2", "rollback_reason": "ticket 4711", "rollback_silence": 15}
    with fleet_at_v1.playing("hotfix-deploy", **asked) as running:
        gone.until(f"grep -q '\"switch\"' {DEPLOY_JOURNAL}", 120)
        engine.docker("pause", gone.container)
        try:
            screen, _nothing = running.communicate()
        finally:
            engine.docker("unpause", gone.container)
    told = " ".join(screen.split())
    assert running.returncode != 0
    assert [first.version(), last.version()] == ["v1", "v1"], screen
    assert "Afterwards it was rolled back (quick): v1 runs, and it is well. What runs on host02 is not known" in told
    again = fleet_at_v1.playbook("hotfix-deploy", rollback_deploy_env="TAG=v2", rollback_lock_takeover="yes")
    assert again.returncode == 0, again.stdout
    assert versions(fleet_at_v1) == ["v2"] * HOSTS


SWITCH = {
    "name": "editor",
    "turn_off": {"command": ["sh", "-c", "echo off >> /tmp/feature"]},
    "turn_on": {"command": ["sh", "-c", "echo on >> /tmp/feature"]},
}


@pytest.mark.thorough
def test_a_feature_is_switched_once_and_back_where_a_host_is_not_well(fleet_at_v1: Fleet) -> None:
    fleet_at_v1.each(lambda host: host.run("rm -f /tmp/feature"))
    asked: dict[str, Any] = {"rollback_feature": "editor", "rollback_feature_switches": [SWITCH]}
    done = fleet_at_v1.playbook("feature-switch", **asked)
    assert done.returncode == 0, done.stdout
    assert [host.run("cat /tmp/feature", check=False) for host in fleet_at_v1.hosts] == ["off", "", ""]
    fleet_at_v1[2].healthy(False)
    back = fleet_at_v1.playbook("feature-switch", rollback_feature_to="on", rollback_health_deadline=30, **asked)
    assert back.returncode != 0
    assert fleet_at_v1[0].run("cat /tmp/feature").split() == ["off", "on", "off"]
    assert "Afterwards the feature was switched back" in text(back)


@pytest.mark.thorough
def test_all_go_along_the_tree_together(bad_v2: Fleet) -> None:
    for host in bad_v2.hosts:
        host.sick_with("v2")
        host.until("docker ps --filter health=unhealthy --quiet | grep -q .")
    done = bad_v2.playbook("rollback", rollback_health_deadline=30)
    assert done.returncode == 0, done.stdout
    assert versions(bad_v2) == ["v1"] * HOSTS


# -- the database on one host, the application on the others -----------------------------------------------------------


@pytest.fixture
def damaged(hosts: Fleet) -> Fleet:
    """A restore point of v1 with its database; then v2 was deployed, and has written."""
    _server, *others = hosts.hosts
    if "v1-with-database" in hosts.kept:
        hosts.begin_with("v1-with-database")
    else:
        hosts.start_database()
        hosts.each(lambda host: host.run("rm -rf /var/lib/schedgen-rollback"))
        hosts.each(lambda host: host.sick_with())
        hosts.each(lambda host: host.deploy("v1"), others)
        done = hosts.playbook("pre-deploy-backup")
        assert done.returncode == 0, done.stdout
        hosts.keep("v1-with-database")
    hosts.each(lambda host: host.deploy("v2"), others)
    hosts[0].until(f'cd {PROJECT} && test $(docker compose exec -T db psql -U shop -qtAc "{WRITTEN_BY_V2}") -gt 3')
    return hosts


WRITTEN_BY_V2 = "SELECT count(*) FROM visits WHERE version = 'v2'"
SURE: dict[str, Any] = {"rollback_database_how": "restore", "rollback_confirm": "yes"}


def steps(host: Host) -> dict[str, str]:
    """Return when each step of the newest run of a host was over."""
    return {entry["step"]: entry["at"] for entry in host.journal() if entry["status"] == "done"}


def test_the_database_goes_back_once_while_all_others_are_stopped(damaged: Fleet) -> None:
    server, *others = damaged.hosts
    with_database = [bool(host.state("restore_points/*/manifest.json")[0]["database"]) for host in damaged.hosts]
    assert with_database == [True, False, False]
    done = damaged.playbook("database-rollback", **SURE)
    assert done.returncode == 0, done.stdout
    assert versions(damaged)[1:] == ["v1", "v1"]
    assert server.sql(WRITTEN_BY_V2) == "0", "the release that was left has written into the restored database"
    assert int(server.sql("SELECT count(*) FROM visits WHERE version = 'v1'")) > 0
    swapped = steps(server)["database swap"]
    for host in others:
        assert steps(host)["stop for the database"] < swapped < steps(host)["services"]
    again = damaged.playbook("database-rollback", **SURE)
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in text(again)
    undone = damaged.playbook("undo-rollback", rollback_confirm="yes")
    assert undone.returncode == 0, undone.stdout
    assert versions(damaged)[1:] == ["v2", "v2"]
    assert int(server.sql(WRITTEN_BY_V2)) > 3


@pytest.mark.thorough
def test_a_plan_of_several_hosts_is_shown_and_changes_nothing(damaged: Fleet) -> None:
    refused = damaged.playbook("full-rollback", rollback_confirm="something else")
    assert refused.returncode != 0
    planned = damaged.playbook("full-rollback", "--check", "--diff", rollback_confirm="yes")
    assert planned.returncode == 0, planned.stdout
    assert versions(damaged)[1:] == ["v2", "v2"]
    assert int(damaged[0].sql(WRITTEN_BY_V2)) > 3


@pytest.mark.thorough
def test_what_was_stopped_runs_again_when_the_database_is_put_back(damaged: Fleet) -> None:
    server = damaged[0]
    # When everything is prepared the copy disappears.
    journal = "/var/lib/schedgen-rollback/shop/runs/*-full/journal.jsonl"
    gone = "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'shop\\_%' \\gexec"
    server.write("/tmp/gone.sql", gone)
    server.run(
        f'(until grep -q \'"purpose": "safety"\' {journal} 2>/dev/null; do sleep 0.05; done; cd {PROJECT};'
        " docker compose exec -T db psql -U shop -d postgres < /tmp/gone.sql) >/tmp/gone.log 2>&1 &"
    )
    done = damaged.playbook("full-rollback", **SURE)
    assert done.returncode != 0
    assert "started again" in text(done)
    assert versions(damaged)[1:] == ["v2", "v2"]
    assert int(server.sql(WRITTEN_BY_V2)) > 3
    again = damaged.playbook("full-rollback", **SURE)
    assert again.returncode == 0, again.stdout
    assert versions(damaged)[1:] == ["v1", "v1"]
    assert server.sql(WRITTEN_BY_V2) == "0"


def test_a_host_that_fails_after_the_database_stays_stopped_and_a_second_run_brings_it_back(damaged: Fleet) -> None:
    damaged[2].healthy(False)
    done = damaged.playbook("full-rollback", rollback_health_deadline=30, **SURE)
    assert done.returncode != 0
    assert "stay stopped" in text(done)
    assert versions(damaged)[1:] == ["v1", ""]
    assert damaged[0].sql(WRITTEN_BY_V2) == "0"
    damaged[2].healthy(True)
    again = damaged.playbook("full-rollback", **SURE)
    assert again.returncode == 0, again.stdout
    assert versions(damaged)[1:] == ["v1", "v1"]
    assert damaged[0].sql(WRITTEN_BY_V2) == "0"


@pytest.mark.thorough
def test_a_rollback_that_needed_two_runs_on_one_host_is_undone(damaged: Fleet) -> None:
    damaged[2].healthy(False)
    assert damaged.playbook("full-rollback", rollback_health_deadline=30, **SURE).returncode != 0
    damaged[2].healthy(True)
    assert damaged.playbook("full-rollback", **SURE).returncode == 0
    undone = damaged.playbook("undo-rollback", rollback_confirm="yes")
    assert undone.returncode == 0, undone.stdout
    assert versions(damaged)[1:] == ["v2", "v2"]
    assert int(damaged[0].sql(WRITTEN_BY_V2)) > 3


@pytest.mark.thorough
def test_the_controller_is_killed_while_others_are_stopped(damaged: Fleet) -> None:
    """Nothing runs on a database of another release; a second run brings all to the same end."""
    watched = "/var/lib/schedgen-rollback/shop/runs/*-full/journal.jsonl"
    with damaged.playing("full-rollback", **SURE) as running:
        damaged[2].until(f"grep -q 'stop for the database' {watched}", 120)
        os.killpg(running.pid, signal.SIGKILL)
    again = damaged.playbook("full-rollback", rollback_lock_takeover="yes", **SURE)
    assert again.returncode == 0, again.stdout
    assert versions(damaged)[1:] == ["v1", "v1"]
    assert damaged[0].sql(WRITTEN_BY_V2) == "0"


@pytest.mark.thorough
def test_a_database_that_is_on_no_host_of_the_run_is_refused(damaged: Fleet) -> None:
    refused = damaged.playbook("full-rollback", rollback_hosts="host02:host03", **SURE)
    assert refused.returncode != 0
    assert "The database is on host01" in text(refused)
    assert versions(damaged)[1:] == ["v2", "v2"]


@pytest.mark.thorough
def test_the_code_alone_goes_back_past_the_host_of_the_database(damaged: Fleet) -> None:
    done = damaged.playbook("quick-rollback")
    assert done.returncode == 0, done.stdout
    assert versions(damaged)[1:] == ["v1", "v1"]
    assert int(damaged[0].sql(WRITTEN_BY_V2)) > 3


@pytest.mark.thorough
def test_a_restore_point_is_proven_on_another_host(damaged: Fleet) -> None:
    """In a server of its own there, with nothing of the application; the live database and its host see nothing."""
    server, drilled = damaged[0], damaged[2]
    # Among all hosts the one with the database drills, and the others have nothing to do.
    all_of_them = damaged.playbook("restore-drill")
    assert all_of_them.returncode == 0, all_of_them.stdout
    assert [len(host.state("runs/*-drill/report.json")) for host in damaged.hosts] == [1, 0, 0]
    without = damaged.playbook("restore-drill", "--limit", "host02:host03")
    assert (without.returncode, "The database is on host01" in text(without)) == (2, True), without.stdout
    drill: dict[str, Any] = {"rollback_hosts": "host01", "rollback_drill_host": "host03"}
    started = server.run("docker inspect --format '{{.State.StartedAt}}' shop-host01-db-1")
    missing = damaged.playbook("restore-drill", **drill)
    assert missing.returncode != 0
    assert 'The drill on host03 failed at "Drill | Start a server"' in text(missing)

    damaged.load(drilled, SUPPORT_IMAGES["postgres"])
    done = damaged.playbook("restore-drill", "-v", **drill)
    assert done.returncode == 0, done.stdout
    events = server.run("cat /var/lib/schedgen-rollback/shop/restore_points/*/events.jsonl").splitlines()
    proof = next(event for event in map(json.loads, reversed(events)) if event["event"] == "proven")
    assert proof["host"] == "host03"
    assert proof["seconds"] > 0
    assert server.run("docker inspect --format '{{.State.StartedAt}}' shop-host01-db-1") == started
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE '%restored%'") == "0"
    assert drilled.run("docker ps -a --filter name=schedgen-rollback-drill --format '{{.Names}}'") == ""
    assert drilled.run("ls -A /var/lib/schedgen-rollback-drill") == ""
    assert server.run("ls /var/lib/schedgen-rollback/shop/runs/*/drill.tar", check=False) == ""

    # A dump that is damaged on its host is found on the other one, and it is recorded.
    server.run(
        "f=$(ls /var/lib/schedgen-rollback/shop/restore_points/*/database/dump/*.dat.* | head -1) && echo x >> $f"
    )
    damaged_dump = damaged.playbook("restore-drill", **drill)
    assert damaged_dump.returncode != 0
    events = server.run("cat /var/lib/schedgen-rollback/shop/restore_points/*/events.jsonl").splitlines()
    assert json.loads(events[-1])["event"] == "not proven"
    assert drilled.run("docker ps -a --filter name=schedgen-rollback-drill --format '{{.Names}}'") == ""


# The application's own migration tool, with its books in a table.
BOOKS = "CREATE TABLE done_migrations (name text); INSERT INTO done_migrations VALUES ('first')"
APPLY = """
import os, psycopg2
connection = psycopg2.connect("connect_timeout=5")
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("SELECT count(*) FROM done_migrations WHERE name = 'places'")
if os.environ["VERSION"] == "v2" and not cursor.fetchone()[0]:
    cursor.execute("ALTER TABLE visits ADD COLUMN place text")
    cursor.execute("INSERT INTO done_migrations VALUES ('places')")
"""


@pytest.mark.thorough
def test_a_deployment_applies_migrations_once_and_from_one_host(damaged: Fleet) -> None:
    server, first, second = damaged.hosts
    server.sql(BOOKS)
    for host in (first, second):
        host.deploy("v1")
        host.write("/srv/password", "of-a-test")
        host.variables = {
            "rollback_database": "shop",
            "rollback_database_host": server.address,
            "rollback_database_password_file": "/srv/password",
        }
    tool = {
        "rollback_migration_tool": "command",
        "rollback_migration_table": "done_migrations(name)",
        "rollback_migration_apply_command": ["python3", "-c", APPLY],
        "rollback_deploy": "web=v2",
        "rollback_deploy_migrations": "before",
        "rollback_health_deadline": 30,
    }
    damaged.write_inventory()
    try:
        second.sick_with("v2")
        done = damaged.playbook("hotfix-deploy", **tool)
        assert done.returncode != 0
        assert [first.version(), second.version()] == ["v1", "v1"], done.stdout
        assert server.sql("SELECT name FROM done_migrations").split() == ["first", "places"], done.stdout
        second.sick_with()
        again = damaged.playbook("hotfix-deploy", **tool)
        assert again.returncode == 0, again.stdout
        assert server.sql("SELECT name FROM done_migrations").split() == ["first", "places"]
        applied = [bool(host.run(f"grep -l '\"migrate\"' {DEPLOY_JOURNAL}", check=False)) for host in damaged.hosts]
        assert applied == [False, True, False]
    finally:
        first.variables = second.variables = {}
        damaged.write_inventory()
