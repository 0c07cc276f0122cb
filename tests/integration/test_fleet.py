# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts with engines of their own: together or not at all, a canary first, and it is said who is where."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, Host, ensure_images
from schedgen_lab import engine

HOSTS = 3


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
def at_v1(hosts: Fleet) -> Fleet:
    """Every host runs v1, is healthy, and knows nothing of an earlier test."""

    def fresh(host: Host) -> None:
        host.run("rm -rf /var/lib/schedgen-rollback")
        host.healthy(True)
        host.deploy("v1")

    hosts.each(fresh)
    return hosts


@pytest.fixture
def bad_v2(at_v1: Fleet) -> Fleet:
    """Every host has a restore point of v1 and runs v2."""
    done = at_v1.playbook("pre-deploy-backup")
    assert done.returncode == 0, done.stdout
    at_v1.each(lambda host: host.deploy("v2"))
    return at_v1


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
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=4)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS
    assert "Nothing that runs here was touched" in text(done)
    bad_v2[0].healthy(True)
    again = bad_v2.playbook("quick-rollback")
    assert again.returncode == 0, again.stdout
    assert versions(bad_v2) == ["v1"] * HOSTS


def test_hosts_that_had_switched_stay_or_go_back_as_configured(bad_v2: Fleet) -> None:
    bad_v2[1].healthy(False)
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=4)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v1", "v2", "v2"]
    assert "v1 runs with exactly the planned images" in text(done)
    bad_v2[0].deploy("v2")
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=4, rollback_partial="back")
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS


def test_some_may_fail_where_that_is_allowed(bad_v2: Fleet) -> None:
    bad_v2[1].healthy(False)
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=4, rollback_max_failed=1)
    assert done.returncode != 0, "a host that failed is told all the same"
    assert versions(bad_v2) == ["v1", "v2", "v1"]


def test_no_host_is_touched_where_one_lacks_what_it_needs(bad_v2: Fleet) -> None:
    last = bad_v2[2]
    last.run("docker rmi -f fleet-web:v1 $(docker images -q schedgen-rollback/shop/web)", check=False)
    last.run("rm -rf /var/lib/schedgen-rollback/shop/images")
    done = bad_v2.playbook("quick-rollback")
    bad_v2.load(last)
    assert done.returncode != 0
    assert versions(bad_v2) == ["v2"] * HOSTS


def test_a_host_that_is_killed_in_the_middle(bad_v2: Fleet) -> None:
    """It comes back, and a second run brings all to the same end."""
    second = bad_v2[1]
    journal = "/var/lib/schedgen-rollback/shop/runs/*-quick/journal.jsonl"
    watch = f"until grep -q '\"switch\"' {journal} 2>/dev/null; do sleep 0.1; done"
    second.run(f"({watch}; kill -9 -1) >/dev/null 2>&1 &")
    done = bad_v2.playbook("quick-rollback", rollback_health_deadline=8)
    assert done.returncode != 0
    assert bad_v2[0].version() == "v1"
    assert second.name in text(done)
    engine.docker("restart", second.container)
    bad_v2.find(second)
    bad_v2.write_inventory()
    second.until("docker info")
    again = bad_v2.playbook("quick-rollback", rollback_lock_takeover="yes")
    assert again.returncode == 0, again.stdout
    assert versions(bad_v2) == ["v1"] * HOSTS


@pytest.fixture
def last_is_down(bad_v2: Fleet) -> Iterator[Fleet]:
    """The last host does not answer."""
    engine.docker("pause", bad_v2[2].container)
    yield bad_v2
    engine.docker("unpause", bad_v2[2].container, check=False)


def test_a_host_that_cannot_be_reached_stops_all_before_any_is_touched(last_is_down: Fleet) -> None:
    done = last_is_down.playbook("quick-rollback")
    assert done.returncode != 0
    assert "host03" in text(done)
    assert [host.version() for host in last_is_down.hosts[:2]] == ["v2", "v2"]
    look = "ls -A /var/lib/schedgen-rollback/shop/lock 2>/dev/null"
    locks = [host.run(look, check=False) for host in last_is_down.hosts[:2]]
    assert locks == ["", ""]


def test_a_host_that_cannot_be_reached_is_left_out_where_that_is_wanted(last_is_down: Fleet) -> None:
    done = last_is_down.playbook("quick-rollback", rollback_unreachable="leave out")
    assert done.returncode == 0, done.stdout
    assert [host.version() for host in last_is_down.hosts[:2]] == ["v1", "v1"]
    assert "host03 (not reached)" in text(done)
    engine.docker("unpause", last_is_down[2].container)
    assert last_is_down[2].version() == "v2"


def test_a_restore_point_that_one_host_lacks_does_not_count(at_v1: Fleet) -> None:
    engine.docker("pause", at_v1[2].container)
    try:
        done = at_v1.playbook("pre-deploy-backup")
    finally:
        engine.docker("unpause", at_v1[2].container)
    assert done.returncode != 0
    at_v1.each(lambda host: host.deploy("v2"))
    refused = at_v1.playbook("quick-rollback")
    assert refused.returncode != 0
    assert versions(at_v1) == ["v2"] * HOSTS


def test_a_host_that_was_added_later_is_said_to_have_none(bad_v2: Fleet) -> None:
    bad_v2[2].run("rm -rf /var/lib/schedgen-rollback")
    refused = bad_v2.playbook("quick-rollback")
    assert refused.returncode != 0
    assert "there is no restore point" in text(refused)
    assert "host03" in text(refused)
    assert versions(bad_v2) == ["v2"] * HOSTS
