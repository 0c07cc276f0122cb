# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role awx_setup hands to the modules of awx.awx is what their own documentation says they take."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROLE = ROOT / "roles" / "awx_setup"


def tasks() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, module and arguments of each task that calls awx.awx."""
    for path in sorted((ROLE / "tasks").glob("*.yml")):
        for task in yaml.safe_load(path.read_text()):
            for key, arguments in task.items():
                if key.startswith("awx.awx."):
                    yield task["name"], key, arguments


TASKS = list(tasks())


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, Any]]:
    """The options of each module that is used, as ansible-doc tells them."""
    modules = sorted({module for _name, module, _arguments in TASKS})
    told = subprocess.run(
        [str(BIN / "ansible-doc"), "--json", "-t", "module", *modules],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name: entry["doc"]["options"] for name, entry in json.loads(told.stdout).items()}


def kinds(value: Any) -> tuple[str, ...]:
    """The types of options that a literal value fits; every type where a template decides."""
    if isinstance(value, str):
        return ("str", "path", "bool", "int", "dict", "list", "float") if "{{" in value else ("str", "path")
    return {bool: ("bool",), int: ("int", "float"), list: ("list",), dict: ("dict",)}[type(value)]


@pytest.mark.parametrize(("name", "module", "arguments"), TASKS, ids=[name for name, _module, _arguments in TASKS])
def test_a_module_takes_what_it_is_given(
    name: str, module: str, arguments: dict[str, Any], documented: dict[str, dict[str, Any]]
) -> None:
    options = documented[module]
    assert set(arguments) <= set(options), name
    for key, value in arguments.items():
        option = options[key]
        assert option.get("type", "str") in kinds(value), key
        if option.get("choices") and "{{" not in str(value):
            assert value in option["choices"], key
    assert {key for key, option in options.items() if option.get("required")} <= set(arguments), name


def test_the_modules_are_many() -> None:
    assert len({module for _name, module, _arguments in TASKS}) >= 10
