# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every bad release is recognised without a hint, goes back the right way, and is verified."""

from __future__ import annotations

import re

import pytest
from support.scenario import STATE, Case

# What each has to be taken for. Where two are named, a rehearsal decides which of them it is.
DECIDED = {
    "http-500": "quick rollback to v1",
    "crash": "quick rollback to v1",
    "never-healthy": "quick rollback to v1",
    "slow": "quick rollback to v1",
    "config-bad": "configuration rollback to v1",
    "migration-fails": "quick rollback to v1",
    "migration-destructive": "database restore to v1",
    "migration-wrong-down": "quick rollback to v1",
    "corruption": "database restore to v1",
}


@pytest.mark.parametrize("name", DECIDED)
def test_it_is_recognised_and_goes_back_the_right_way(name: str) -> None:
    case = Case(name)
    assert case.rc == 0, case.text
    assert DECIDED[name] in case.text
    assert "Nothing is wrong any more" in case.text
    assert case.code("after") == case.code("before")
    assert case.at("after", "unhealthy") == []
    assert case.at("after", "outcomes")[-1] == "success"


@pytest.mark.parametrize("name", DECIDED)
def test_a_second_run_finds_nothing_wrong(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    assert "Nothing is wrong" in case.again_text
    assert case.at("after_again", "containers") == case.at("after", "containers")


@pytest.mark.parametrize("name", DECIDED)
def test_no_acknowledged_write_is_lost(name: str) -> None:
    ledger = Case(name).ledger
    assert ledger["sent"] > 0
    assert ledger["lost"] == []
    if "quick" in DECIDED[name]:
        assert ledger["missing"] == []


def test_where_quick_does_not_help_the_tree_goes_on() -> None:
    case = Case("quick-does-not-help")
    assert case.rc == 0, case.text
    assert case.text.index("quick rollback to v1") < case.text.index("full rollback to v1, goes at once")
    assert "Because quick did not help" in case.text
    assert "Nothing is wrong any more" in case.text
    assert case.at("after", "objects") == case.at("before", "objects")
    assert case.code("after") == case.code("before")
    assert case.at("after", "outcomes")[-2:] == ["failed", "success"]
    assert case.ledger["lost"] == []


def test_what_was_not_approved_is_not_done() -> None:
    case = Case("not-approved")
    assert case.rc != 0
    assert "was not approved: no answer is a no" in case.text
    assert case.again_rc != 0
    assert "was not approved: 0123456789ab is not its hash" in case.again_text
    assert case.at("after_again", "containers") == case.at("deployed", "containers")


def test_a_window_that_fails_calls_people() -> None:
    case = Case("monitoring")
    assert case.rc != 0
    assert "schedgen is unhealthy" in case.text
    assert "Ana" in case.text
    assert case.at("after", "containers") == case.at("deployed", "containers")
    assert case.again_rc == 0, case.again_text
    assert case.code("after_again") == case.code("before")


def test_a_deployment_that_fails_goes_back_by_itself() -> None:
    case = Case("hotfix")
    assert case.rc != 0
    assert "Afterwards it was rolled back (quick)" in case.text
    assert case.code("after") == case.code("before")
    assert case.at("after", "commit") == case.at("before", "commit")
    assert case.at("after", "unhealthy") == []
    assert case.ledger["missing"] == []


def test_a_deployment_that_is_good_stays() -> None:
    case = Case("hotfix")
    assert case.again_rc == 0, case.again_text
    assert case.code("after_again") != case.code("before")
    assert case.at("after_again", "unhealthy") == []
    assert case.at("after_again", "outcomes")[-1] == "success"


def test_what_is_not_known_is_asked_and_not_guessed() -> None:
    case = Case("inconclusive")
    assert case.rc != 0
    assert re.search(r"The evidence does not say what to go back with: .* redis is down", case.text)
    assert "Nothing that runs was touched" in case.text
    assert case.at("after", "outcomes") == [*case.at("before", "outcomes"), "failed"]
    assert case.again_rc == 0
    assert "Nothing is wrong" in case.again_text


def test_deployments_are_let_in_again(host: object) -> None:
    assert not host.file(f"{STATE}/frozen").exists  # type: ignore[attr-defined]
