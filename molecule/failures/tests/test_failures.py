# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong is said clearly, loses nothing, and the next run gets there."""

from __future__ import annotations

import pytest
from support.scenario import Case

REFUSED = ["registry-down", "candidate-missing", "lock-held"]
ALL = [*REFUSED, "images-pruned", "backup-killed", "controller-killed"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("registry-down", "images cannot be had: backend: image"),
        ("candidate-missing", "There is nowhere to go back to: there is no restore point"),
        ("lock-held", "the lock of schedgen is held by alex (index rebuild) for run"),
    ],
)
def test_a_refusal_names_the_cause_and_touches_nothing(name: str, words: str) -> None:
    case = Case(name)
    assert case.rc == 2
    assert words in case.text
    assert "Nothing" in case.text.split("State:")[1].split("Next:")[0]
    assert case.at("after", "containers") == case.at("deployed", "containers")
    assert case.at("after", "commit") == case.at("deployed", "commit")


def test_the_lock_says_since_when() -> None:
    assert "since 20" in Case("lock-held").text


@pytest.mark.parametrize("name", ["registry-down", "lock-held", "images-pruned", "controller-killed"])
def test_the_application_is_back_in_the_end(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    assert case.code("after_again") == case.code("before")
    assert case.at("after_again", "unhealthy") == []
    assert case.at("after_again", "commit") == case.at("before", "commit")


def test_pruned_images_come_from_where_they_still_are() -> None:
    case = Case("images-pruned")
    assert case.rc == 0, case.text
    assert "pull from the registry by digest: backend, frontend" in case.text
    assert "load from the image store: pdf-worker" in case.text
    assert case.code("after") == case.code("before")


def test_the_host_finishes_the_switch_when_the_controller_is_killed() -> None:
    case = Case("controller-killed")
    assert case.rc == 0, case.text
    assert case.code("after") == case.code("before")
    assert case.at("after", "unhealthy") == []
    assert case.at("after_again", "containers") == case.at("after", "containers")
    assert case.at("after_again", "outcomes") == ["success", "interrupted", "nothing to do"]


def test_a_killed_backup_leaves_nothing_that_could_be_taken_for_one() -> None:
    case = Case("backup-killed")
    assert case.rc == 0, case.text
    assert case.at("after", "points") == []
    assert case.at("after", "leftovers") != []
    assert case.again_rc == 0, case.again_text
    assert len(case.at("after_again", "points")) == 1
    assert case.at("after_again", "leftovers") == []
    assert "Left by a killed run and removed" in case.again_text


@pytest.mark.parametrize("name", ALL)
def test_no_acknowledged_write_is_missing(name: str) -> None:
    ledger = Case(name).ledger
    assert ledger["sent"] > 0
    assert ledger["missing"] == []
