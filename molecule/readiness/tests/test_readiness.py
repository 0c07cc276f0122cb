# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be said of a release before it is deployed."""

from __future__ import annotations

import re

import pytest
from support.scenario import Case


def judged(case: Case, release: str) -> tuple[int, str]:
    """Return the exit code for a release, and what the screen said of it."""
    parts = re.split(r"ENDED (\S+) (\d+)", case.text)
    for said, name, code in zip(parts[::3], parts[1::3], parts[2::3]):
        if name == release:
            return int(code), said
    raise AssertionError(f"{release} was not judged: {case.text}")


@pytest.mark.parametrize(
    ("case", "release", "code", "words"),
    [
        ("migrations", "migration-fails", 2, "BLOCKER migrations: the release's migrations fail"),
        ("migrations", "migration-fails", 2, "a part of them was done: table public.invoices is new"),
        ("migrations", "migration-destructive", 0, "cannot bring back what table public.job_events held"),
        ("migrations", "migration-wrong-down", 0, "taking them back led to another schema in the rehearsal"),
        ("no-restore-point", "migration-destructive", 2, "there is no good restore point of the release that runs now"),
        ("no-restore-point", "migration-destructive", 2, "and there is no restore point with the database"),
        ("code", "v2", 0, "what runs now can live with the schema: a quick rollback is enough"),
        *(
            ("code", release, 0, "the release changes no schema: a quick rollback is enough")
            for release in ("http-500", "crash", "never-healthy", "slow", "config-bad", "corruption")
        ),
        ("code", "no-such-release", 2, "'no-such-release' is no restore point of schedgen"),
    ],
)
def test_what_is_said(case: str, release: str, code: int, words: str) -> None:
    ended, said = judged(Case(case), release)
    assert words in said
    assert ended == code, said


@pytest.mark.parametrize("name", ["migrations", "code", "no-restore-point"])
def test_nothing_that_runs_is_touched(name: str) -> None:
    case = Case(name)
    for what in ("images", "migrations", "columns", "jobs", "containers", "unhealthy"):
        assert case.at("after", what) == case.at("before", what), what
    assert case.at("after", "leftovers") == []
    assert case.ledger["lost"] == []


def test_check_mode_rehearses_nothing() -> None:
    assert "were not rehearsed: this is check mode" in Case("code").again_text


def test_without_a_rehearsal_that_is_said() -> None:
    assert "were not rehearsed: that was not wanted" in Case("no-restore-point").again_text
