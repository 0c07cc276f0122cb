# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every bad release that is no database matter goes back, is verified, and stays there."""

from __future__ import annotations

from typing import Any

import pytest
from support.scenario import STATE, Case

BAD = ["http-500", "crash", "never-healthy", "slow", "config-bad", "service-added", "service-removed"]


@pytest.mark.parametrize("name", [*BAD, "day-zero"])
def test_the_images_from_before_run_again_and_are_healthy(name: str) -> None:
    case = Case(name)
    assert case.rc == 0, case.text
    assert case.code("after") == case.code("before")
    assert set(case.at("after", "images")) == set(case.at("before", "images"))
    assert case.at("after", "unhealthy") == []
    assert case.at("after", "commit") == case.at("before", "commit")
    assert case.at("after", "outcomes")[-1] == "success"


@pytest.mark.parametrize("name", [*BAD, "day-zero"])
def test_something_else_ran_before_the_rollback(name: str) -> None:
    case = Case(name)
    assert case.at("deployed", "containers") != case.at("before", "containers")
    if name != "config-bad":
        assert case.code("deployed") != case.code("before")


@pytest.mark.parametrize("name", BAD)
def test_the_release_left_behind_has_a_safety_restore_point(name: str) -> None:
    purposes = [purpose for _point, purpose in Case(name).at("after", "points")]
    assert purposes == ["deploy", "safety"]


@pytest.mark.parametrize("name", [*BAD, "day-zero"])
def test_a_second_run_finds_nothing_to_do(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    assert case.at("after_again", "containers") == case.at("after", "containers")
    assert case.at("after_again", "outcomes")[-1] == "nothing to do"


@pytest.mark.parametrize("name", [*BAD, "day-zero"])
def test_no_acknowledged_write_is_missing(name: str) -> None:
    ledger = Case(name).ledger
    assert ledger["sent"] > 0
    assert ledger["missing"] == []


def test_the_application_answers(host: Any) -> None:
    answer = host.run("curl -fsS http://127.0.0.1:8080/version")
    assert answer.rc == 0
    assert '"v1"' in answer.stdout


def test_the_records_are_for_root_alone(host: Any) -> None:
    state = host.file(STATE)
    assert state.is_directory
    assert state.mode == 0o700
    readable = host.run("find %s -perm /077 -not -type l", state.path)
    assert readable.stdout == ""
