# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _libraries

LIBRARIES: list[tuple[str, Callable[[], Any]]] = [
    ("docker", _libraries.docker),
    ("psycopg2", _libraries.psycopg2),
    ("requests", _libraries.requests),
]


@pytest.mark.parametrize(("name", "load"), LIBRARIES)
def test_an_installed_library_is_returned(name: str, load: Callable[[], Any]) -> None:
    assert load().__name__ == name


@pytest.mark.parametrize(("name", "load"), LIBRARIES)
def test_a_missing_library_names_itself_the_interpreter_and_the_playbook(
    name: str, load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's own way to make an import fail: no library has to be taken away.
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(_libraries.MissingLibrary) as caught:
        load()
    assert caught.value.name == name
    assert caught.value.next_step.startswith("Run ansible-playbook prepare-hosts.yml")
    assert caught.value.interpreter == sys.executable
    message = str(caught.value)
    assert f"the Python library {name} cannot be imported by {sys.executable}" in message
    assert message.endswith("install it with: ansible-playbook prepare-hosts.yml")
