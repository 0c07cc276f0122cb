# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database goes back with its release, by the right way, and no acknowledged write is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.scenario import Case

V2_COLUMNS = {"jobs.priority", "jobs.customer_email"}
RESTORED = ["half-way", "corruption", "plain-dump"]
SECOND_TRY = ["destructive", "wrong-down", "not-approved"]


def is_v1(case: Case, moment: str) -> None:
    """The release and the database are those of before the deployment, whole."""
    assert case.code(moment) == case.code("before")
    assert case.at(moment, "unhealthy") == []
    assert case.at(moment, "migrations") == case.at("before", "migrations")
    assert case.at(moment, "columns") == case.at("before", "columns")
    assert case.at(moment, "jobs") == case.at("before", "jobs")
    assert case.at(moment, "damaged") == 0


def test_a_schema_that_the_older_release_can_live_with_does_not_stop_a_quick_rollback() -> None:
    case = Case("compatible")
    assert case.rc == 0, case.text
    assert "v1 can live with it, 4 migrations added since" in case.text
    assert case.code("after") == case.code("before")
    assert case.at("after", "columns") == case.at("deployed", "columns")
    assert case.at("after", "unhealthy") == []


def test_migrations_are_taken_back_with_their_release() -> None:
    case = Case("revert-and-undo")
    assert case.rc == 0, case.text
    assert "4 migrations were taken back" in case.text
    is_v1(case, "after")
    # Rows that were written meanwhile stay in the live database.
    assert case.ledger["missing"] == []


def test_an_undo_brings_release_and_database_back() -> None:
    case = Case("revert-and-undo")
    assert case.again_rc == 0, case.again_text
    assert case.code("after_again") == case.code("deployed")
    assert case.at("after_again", "migrations") == case.at("deployed", "migrations")
    assert set(case.at("after_again", "columns")) >= V2_COLUMNS
    assert case.at("after_again", "unhealthy") == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("destructive", "cannot bring back what column public.jobs.customer held"),
        ("wrong-down", "the rehearsal left a schema that v1 cannot live with: column public.jobs.document was dropped"),
        ("not-approved", "was not approved: 0123456789ab is not its hash, and not yes"),
        ("malicious-dump", "is refused"),
    ],
)
def test_a_refusal_names_the_cause_and_touches_nothing(name: str, words: str) -> None:
    case = Case(name)
    assert case.rc == 2
    assert words in case.text
    assert case.at("after", "containers") == case.at("deployed", "containers")
    assert case.at("after", "columns") == case.at("deployed", "columns")
    assert case.at("after", "databases") == case.at("deployed", "databases")
    assert case.at("after", "unhealthy") == case.at("deployed", "unhealthy")


@pytest.mark.parametrize("name", SECOND_TRY)
def test_a_restore_is_the_way_where_a_revert_is_none(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    is_v1(case, "after_again")


@pytest.mark.parametrize("name", RESTORED)
def test_a_restore_is_swapped_in(name: str) -> None:
    case = Case(name)
    assert case.rc == 0, case.text
    is_v1(case, "after")
    aside = set(case.at("after", "databases")) - set(case.at("deployed", "databases"))
    assert [database for database in aside if "_old_" in database], aside


@pytest.mark.parametrize("name", ["half-way", "corruption"])
def test_a_second_run_finds_nothing_to_do(name: str) -> None:
    case = Case(name)
    assert case.again_rc == 0, case.again_text
    assert "nothing to do" in case.again_text.lower()
    assert case.at("after_again", "containers") == case.at("after", "containers")
    assert case.at("after_again", "databases") == case.at("after", "databases")


def test_damage_without_a_deployment_leaves_the_release_alone() -> None:
    case = Case("corruption")
    assert case.at("deployed", "damaged") > 0
    assert "Release" not in case.text.split("Set aside, with every row", 1)[1].split("is marked bad")[0] or (
        "is marked bad" not in case.text
    )
    assert case.at("after", "commit") == case.at("before", "commit")


def test_a_malicious_dump_ran_nothing() -> None:
    assert not Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "cases", "pwned").exists()
    assert Case("malicious-dump").at("after", "jobs") == Case("malicious-dump").at("before", "jobs")


def test_a_drill_proves_a_restore_point_and_leaves_nothing() -> None:
    case = Case("drill")
    assert case.rc == 0, case.text
    assert case.at("after", "databases") == case.at("before", "databases")
    assert case.at("after", "containers") == case.at("before", "containers")
    assert case.ledger["failed"] == 0


@pytest.mark.parametrize("name", ["compatible", "revert-and-undo", *SECOND_TRY, *RESTORED, "malicious-dump", "drill"])
def test_no_acknowledged_write_is_lost(name: str) -> None:
    ledger = Case(name).ledger
    assert ledger["sent"] > 0
    assert ledger["lost"] == []
