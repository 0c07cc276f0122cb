# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every role says what it takes, and what it says is so: specs, defaults and README agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import role_docs
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from house.yaml_expressions import expressions

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").glob("*") if path.is_dir())
UNKNOWABLE = object()


def by_name(path: Path) -> str:
    return path.name


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def specs_of(role: Path) -> dict[str, Any]:
    specs: dict[str, Any] = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return specs


def render(raw: Any, defaults: dict[str, Any]) -> Any:
    """What a default comes to where an operator has set nothing; UNKNOWABLE when only a host or its user could tell."""
    if "lookup(" in str(raw) or "query(" in str(raw):
        return UNKNOWABLE
    trusted = _trust(raw), {name: _trust(value) for name, value in defaults.items()}
    try:
        return Templar(DataLoader(), variables=trusted[1]).template(trusted[0])
    except AnsibleError:
        return UNKNOWABLE


def _trust(value: Any) -> Any:
    """Mark templates as our own: newer versions of ansible-core evaluate no others."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return value
    if isinstance(value, dict):
        return {name: _trust(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_trust(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


def _as_spec_says(value: Any, option: dict[str, Any]) -> Any:
    """Older versions of ansible-core make text of numbers that come out of a template; modules make them numbers."""
    if isinstance(value, str) and option.get("type") in ("int", "float") and value.strip():
        return int(value) if option["type"] == "int" else float(value)
    return value


def differences(defaults: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Where the defaults of a role are not what its argument spec says."""
    found = [f"{name} is in the defaults, and not in the spec" for name in defaults if name not in options]
    for name, option in options.items():
        if option.get("required"):
            if name in defaults:
                found.append(f"{name} is required by the spec, and has a default")
            continue
        if name not in defaults:
            if "default" in option:
                found.append(f"{name} has a default in the spec, and none in the defaults")
            continue
        real = _as_spec_says(render(defaults[name], defaults), option)
        if real is UNKNOWABLE:
            # Its description says where it comes from; a literal one would be a guess.
            if "default" in option and option["default"] != defaults[name]:
                found.append(
                    f"{name}: its default depends on the host or the user; the spec says {option['default']!r}"
                )
        elif "default" not in option:
            found.append(f"{name} is {real!r} by default, and the spec does not say so")
        elif option["default"] != real:
            found.append(f"{name} is {real!r} by default, and {option['default']!r} in the spec")
    return found


def undescribed(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The options, and those inside them, that say too little."""
    for name, option in options.items():
        for word in ("description", "type"):
            if not option.get(word):
                yield f"{prefix}{name} has no {word}"
        if option.get("type") == "list" and not option.get("elements"):
            yield f"{prefix}{name} does not say what its elements are"
        yield from undescribed(option.get("options") or {}, f"{prefix}{name}.")


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_argument_specs_are_complete(role: Path) -> None:
    specs = specs_of(role)
    entries = {path.stem for path in (role / "tasks").glob("*.yml")}
    assert "main" in specs
    assert set(specs) <= entries, "an entry point is a file of tasks"
    for entry, spec in specs.items():
        assert spec.get("short_description"), f"{entry} has no short_description"
        assert spec.get("description"), f"{entry} has no description"
        assert list(undescribed(spec.get("options") or {})) == []


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_defaults_are_what_the_argument_spec_says(role: Path) -> None:
    options: dict[str, Any] = {}
    for spec in specs_of(role).values():
        options |= spec.get("options") or {}
    assert differences(load(role / "defaults" / "main.yml"), options) == []


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_public_variables_carry_the_name_of_the_role(role: Path) -> None:
    for spec in specs_of(role).values():
        strange = [name for name in spec.get("options") or {} if not name.startswith(f"{role.name}_")]
        assert strange == []


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_readme_is_there_and_its_table_current(role: Path) -> None:
    path = role / "README.md"
    assert path.exists(), "run: make docs"
    assert role_docs.readme(role, path.read_text()) == path.read_text(), "run: make docs"


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_role_has_its_metadata(role: Path) -> None:
    meta = load(role / "meta" / "main.yml")
    assert meta["galaxy_info"]["license"] == "GPL-3.0-or-later"
    assert meta["galaxy_info"]["description"]
    assert meta.get("dependencies", []) == []


def careless(expression: str, booleans: set[str]) -> list[str]:
    """Truth values in an expression that would be text when they come from a survey or from `-e name=no`."""
    if expression.strip("{} ") in booleans and expression.startswith("{{"):
        return []  # passed on as it is, to an option that makes it a truth value
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "''", expression)
    return [name for name in re.findall(r"(?<![\w.])\w+\b(?!\s*\|\s*bool\b)", code) if name in booleans]


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_truth_values_are_made_so_where_they_decide(role: Path) -> None:
    booleans = {
        name
        for spec in specs_of(role).values()
        for name, option in (spec.get("options") or {}).items()
        if option.get("type") == "bool"
    }
    found = [
        f"{path.relative_to(role)}: {name} in {expression!r} lacks `| bool`"
        for room in ("tasks", "handlers", "vars")
        for path in (role / room).glob("**/*.yml")
        for expression in expressions(yaml.safe_load(path.read_text()))
        for name in careless(expression, booleans)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("x_on", ["x_on"]),
        ("not x_on and y", ["x_on"]),
        ("{{ 'a' if x_on else 'b' }}", ["x_on"]),
        ("x_on | bool", []),
        ("{{ x_on }}", []),
        ("'x_on' in y", []),
        ("x_on_too and y.x_on", []),
    ],
)
def test_a_careless_truth_value_is_found(expression: str, found: list[str]) -> None:
    assert careless(expression, {"x_on"}) == found


@pytest.mark.parametrize(
    ("defaults", "options", "told"),
    [
        ({"a": 1}, {}, "a is in the defaults, and not in the spec"),
        ({}, {"a": {"default": 1}}, "a has a default in the spec, and none in the defaults"),
        ({"a": 1}, {"a": {"required": True}}, "a is required by the spec, and has a default"),
        ({"a": 1}, {"a": {"default": 2}}, "a is 1 by default, and 2 in the spec"),
        ({"a": 1}, {"a": {}}, "a is 1 by default, and the spec does not say so"),
        ({"a": "{{ b | default('x') }}"}, {"a": {"default": "y"}}, "a is 'x' by default, and 'y' in the spec"),
        ({"a": "{{ ansible_facts.x }}"}, {"a": {"default": "y"}}, "depends on the host or the user"),
    ],
)
def test_a_difference_is_found(defaults: dict[str, Any], options: dict[str, Any], told: str) -> None:
    assert told in "\n".join(differences(defaults, options))


@pytest.mark.parametrize(
    ("defaults", "options"),
    [
        ({"a": "{{ rollback_a | default('x') }}"}, {"a": {"default": "x"}}),
        ({"a": "{{ rollback_a | default(5) }}"}, {"a": {"default": 5, "type": "int"}}),
        ({"a": "{{ rollback_a | default([]) }}"}, {"a": {"default": []}}),
        ({"a": "x", "b": "{{ a }}"}, {"a": {"default": "x"}, "b": {"default": "x"}}),
        ({"a": "{{ lookup('env', 'USER') }}"}, {"a": {}}),
        ({}, {"a": {"required": True}}),
    ],
)
def test_what_agrees_is_let_through(defaults: dict[str, Any], options: dict[str, Any]) -> None:
    assert differences(defaults, options) == []


def test_what_an_option_does_not_say_is_found() -> None:
    options = {
        "a": {"type": "list", "description": "x"},
        "b": {"type": "dict", "description": "x", "options": {"c": {}}},
    }
    assert list(undescribed(options)) == [
        "a does not say what its elements are",
        "b.c has no description",
        "b.c has no type",
    ]
