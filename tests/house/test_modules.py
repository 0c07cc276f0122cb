# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module is documented, and its attributes are honest. (That options equal the argument spec, sanity checks.)"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
GROUPS = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
HEADER = """\
#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""
TASK_WORDS = {
    "name",
    "register",
    "when",
    "become",
    "async",
    "poll",
    "vars",
    "delegate_to",
    "no_log",
    "check_mode",
    "loop",
    "run_once",
}


def by_name(path: Path) -> str:
    return path.stem


def text_of(path: Path, name: str) -> str:
    """A string that is assigned at the top of a file."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [name]:
            value = ast.literal_eval(node.value)
            assert isinstance(value, str)
            return value
    raise AssertionError(f"{path.name} has no {name}")


def fragment(name: str) -> dict[str, Any]:
    """A documentation fragment of this collection, by the name that modules use."""
    collection, _dot, rest = name.partition("schedgen.rollback.")
    assert not collection, f"{name} is of another collection"
    file, _dot, part = rest.partition(".")
    spec = importlib.util.spec_from_file_location(file, ROOT / "plugins" / "doc_fragments" / f"{file}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    document: dict[str, Any] = yaml.safe_load(getattr(loaded.ModuleDocFragment, (part or "DOCUMENTATION").upper()))
    return document


def documentation(path: Path) -> dict[str, Any]:
    """The documentation of a module with the attributes and options of its fragments."""
    document: dict[str, Any] = yaml.safe_load(text_of(path, "DOCUMENTATION"))
    for name in document.get("extends_documentation_fragment", []):
        part = fragment(name)
        document["options"] = {**part.get("options", {}), **(document.get("options") or {})}
        attributes = document.setdefault("attributes", {})
        for attribute, about in (part.get("attributes") or {}).items():
            attributes[attribute] = {**about, **attributes.get(attribute, {})}
    return document


def supports_check_mode(path: Path) -> bool:
    action = ROOT / "plugins" / "action" / path.name
    if action.exists():
        return "_supports_check_mode = True" in action.read_text()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AnsibleModule":
            return any(
                word.arg == "supports_check_mode" and getattr(word.value, "value", False) is True
                for word in node.keywords
            )
    raise AssertionError(f"{path.name} makes no AnsibleModule")


def incomplete(fields: dict[str, Any], words: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    for name, about in fields.items():
        for word in words:
            if not about.get(word):
                yield f"{prefix}{name} has no {word}"
        inner = about.get("options") or about.get("suboptions") or about.get("contains") or {}
        # What is inside is returned with it.
        yield from incomplete(inner, tuple(word for word in words if word != "returned"), f"{prefix}{name}.")


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_the_header_names_the_licence(path: Path) -> None:
    assert path.read_text().startswith(HEADER)


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_the_documentation_is_complete(path: Path) -> None:
    document = documentation(path)
    assert document["module"] == path.stem
    assert document["short_description"]
    assert document["description"]
    assert document["author"]
    assert all(re.search(r"\(@\w+\)$", author) for author in document["author"]), "an author has a name (@handle)"
    assert list(incomplete(document.get("options") or {}, ("description", "type"))) == []


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_the_attributes_are_stated_and_honest(path: Path) -> None:
    attributes = documentation(path)["attributes"]
    for name in ("check_mode", "diff_mode", "action_group"):
        assert attributes[name].get("support"), f"{name} does not say how far it is supported"
        assert attributes[name].get("description"), f"{name} is in no documentation fragment"
    assert supports_check_mode(path) == (attributes["check_mode"]["support"] in ("full", "partial"))
    if path.stem.endswith("_info"):
        assert attributes["check_mode"]["support"] == "full", "a module that only looks can look in check mode"
    if attributes["diff_mode"]["support"] == "full":
        assert "diff" in path.read_text().partition("RETURN")[2], "it never returns a diff"


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_the_examples_are_tasks_that_call_the_module_by_its_full_name(path: Path) -> None:
    tasks = yaml.safe_load(text_of(path, "EXAMPLES"))
    called = set()
    for task in tasks:
        assert task.get("name"), "a task has a name"
        actions = set(task) - TASK_WORDS
        assert len(actions) == 1, f"{task['name']}: which of {sorted(actions)} is the module?"
        called |= actions
    assert all(action.count(".") == 2 for action in called), f"{sorted(called)}: full names"
    assert f"schedgen.rollback.{path.stem}" in called


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_what_is_returned_is_described(path: Path) -> None:
    fields = yaml.safe_load(text_of(path, "RETURN"))
    assert fields
    assert list(incomplete(fields, ("description", "type", "returned"))) == []


def test_every_module_that_says_so_is_in_the_action_group() -> None:
    said = {path.stem: documentation(path)["attributes"]["action_group"]["support"] for path in MODULES}
    modules = sorted(name for name, support in said.items() if support == "full")
    assert list(GROUPS) == ["rollback"]
    assert GROUPS["rollback"] == modules


def test_a_gap_is_found() -> None:
    fields = {"a": {"description": "x", "type": "dict", "returned": "always", "contains": {"b": {"type": "str"}}}}
    assert list(incomplete(fields, ("description", "type", "returned"))) == ["a.b has no description"]
