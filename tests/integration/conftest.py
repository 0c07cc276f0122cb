# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference application, prepared once and put back to its first version between tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import application


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the reference application: it runs in a lane of its own."""
    for item in items:
        if "application_up" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.application)


@pytest.fixture(scope="session")
def application_up() -> Iterator[None]:
    """Have the reference application up; what is up already is used as it is."""
    application.lab("up")
    yield
    application.lab("registry", "start")


@pytest.fixture
def at_v1(application_up: None) -> Iterator[str]:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Begin with a fresh, healthy v1 and one restore point of it; return the restore point's id."""
    yield application.begin()
    application.lab("registry", "start")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"
