# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Release, database, files and volumes go back together, or stay as they were."""

from __future__ import annotations

import pytest
from support.scenario import Case


def is_as_before(case: Case, moment: str) -> None:
    for what in ("images", "migrations", "columns", "jobs", "objects"):
        assert case.at(moment, what) == case.at("before", what), what
    assert case.at(moment, "unhealthy") == []


def test_everything_goes_back() -> None:
    case = Case("everything-and-undo")
    assert case.rc == 0, case.text
    assert case.at("deployed", "objects") != case.at("before", "objects")
    assert case.at("deployed", "columns") != case.at("before", "columns")
    is_as_before(case, "after")
    assert "every file as recorded" in case.text
    assert "what was there is set aside as" in case.text


def test_an_undo_brings_everything_back_again() -> None:
    case = Case("everything-and-undo")
    assert case.again_rc == 0, case.again_text
    for what in ("migrations", "columns", "objects"):
        assert case.at("after_again", what) == case.at("deployed", what), what
    assert case.code("after_again") == case.code("deployed")
    assert case.at("after_again", "unhealthy") == []


def test_a_target_that_does_not_get_healthy_is_left_whole() -> None:
    case = Case("put-back")
    assert case.rc != 0
    assert "What was there before was put back" in case.text
    for what in ("images", "migrations", "columns", "objects"):
        assert case.at("after", what) == case.at("deployed", what), what


@pytest.mark.parametrize("name", ["put-back", "killed-host"])
def test_the_next_run_gets_there(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    is_as_before(case, "after_again")
    assert case.at("after_again", "leftovers") == []


@pytest.mark.parametrize("name", ["everything-and-undo", "put-back", "killed-host"])
def test_no_acknowledged_write_is_lost(name: str) -> None:
    ledger = Case(name).ledger
    assert ledger["sent"] > 0
    assert ledger["lost"] == []
