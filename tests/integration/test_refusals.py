# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused says why and touches nothing: one bad release stays as it is through all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import application


@pytest.fixture(scope="module")
def point(application_up: None) -> str:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Have http-500 deployed over v1, with a restore point of v1."""
    return application.begin("http-500")


@pytest.fixture(autouse=True)
def untouched(point: str) -> Iterator[None]:  # noqa: ARG001
    """Nothing that runs, and no file of the project, is another one afterwards."""
    before = application.fingerprint()
    yield
    after = application.fingerprint()
    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}


KEPT = ("containers", "started", "head")


def refused(playbook: str, **variables: Any) -> str:
    """Run a playbook that has to refuse; return what it said."""
    done = application.playbook(playbook, **variables)
    assert done.rc == 2, done.screen
    return done.text


def test_there_is_nothing_to_undo_before_a_rollback() -> None:
    assert "No rollback of schedgen is known on this host: there is nothing to undo" in refused("undo-rollback")


def test_a_damaged_restore_point_is_refused(point: str) -> None:
    compose = application.STATE / "restore_points" / point / "files" / "project" / "compose.yaml"
    recorded = compose.read_text()
    compose.write_text(recorded.replace("schedgen", "schedgem", 1))
    try:
        assert "compose.yaml is not what was recorded (checksum)" in refused("quick-rollback")
    finally:
        compose.write_text(recorded)


def test_other_images_are_no_matter_of_the_configuration() -> None:
    assert "no restore point has the images that run now" in refused("config-rollback")


def test_nothing_to_change_in_the_database_is_said(point: str) -> None:
    told = refused("database-rollback", rollback_confirm=True)
    assert "there is no reason to change the database" in told
    assert "ansible-playbook quick-rollback.yml" in told
    assert point in told


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nonsense", "'nonsense' is no restore point of schedgen"),
        ("20200101T000000.000Z", "is no restore point of schedgen"),
        ("backend=", "is not of the form service=tag"),
        ("nobody=v1", "the project has no service 'nobody'"),
        ("backend=never-built", "is not on this host, and pulling it failed"),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_the_reason(target: str, words: str) -> None:
    assert words in refused("quick-rollback", rollback_to=target)
