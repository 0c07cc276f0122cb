# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference application: brought up once, and begun with anew by each test that changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import application


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the reference application, for whoever wants only that, or all but that."""
    for item in items:
        if "application_up" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.application)


@pytest.fixture(scope="session")
def application_up() -> None:
    """Have the reference application up; what is up already is used as it is."""
    application.lab("up")


@pytest.fixture
def at_v1(application_up: None) -> str:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Begin with a fresh, healthy v1 and one restore point of it; return the restore point's id."""
    return application.begin()


@pytest.fixture
def http_500(application_up: None) -> str:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Begin with http-500 as it was just deployed over v1; return the id of the restore point of v1."""
    return application.begin("http-500", wait=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"
