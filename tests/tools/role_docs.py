#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the variable tables of the roles' READMEs equal to their argument specs.

    role_docs.py            say which tables differ; exit 1 when one does
    role_docs.py --write    write them (and a README where there is none)

A table stands between two marks; everything else in a README is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- begin of the table made from meta/argument_specs.yml -->"
END = "<!-- end of the table -->"


def cell(text: str) -> str:
    """Return text for one cell: on one line, without what would end the cell, and without Ansible's markup."""
    plain = re.sub(r"\b[BI]\(([^)]*)\)", r"\1", text)
    plain = re.sub(r"\b[COVEPMFR]\(([^)]*)\)", r"`\1`", plain)
    return " ".join(plain.replace("|", "\\|").split())


def sentences(description: str | list[str]) -> str:
    """Return a description, which may be a list of paragraphs, as one text."""
    return " ".join([description] if isinstance(description, str) else description)


def collection_variable(raw: Any) -> str:
    """Return the collection variable that a role's default reads, or nothing."""
    found = re.search(r"(?<![\w.])rollback_\w+", raw) if isinstance(raw, str) and "{{" in raw else None
    return found.group(0) if found else ""


def rows(options: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> Iterator[list[str]]:
    """Return a row for each option, and for the options inside it."""
    for name, option in options.items():
        kind = option.get("type", "str")
        if option.get("elements"):
            kind = f"{kind} of {option['elements']}"
        if option.get("required"):
            default = "required"
        elif "default" in option:
            default = f"`{json.dumps(option['default'], ensure_ascii=False)}`"
        else:
            default = ""
        variable = collection_variable(defaults.get(name)) if not prefix else ""
        text = sentences(option.get("description", ""))
        if option.get("choices"):
            text += " One of " + ", ".join(f"C({choice})" for choice in option["choices"]) + "."
        yield [f"`{prefix}{name}`", kind, cell(default), f"`{variable}`" if variable else "", cell(text)]
        if option.get("options"):
            inner = f"{prefix}{name}[]." if option.get("type") == "list" else f"{prefix}{name}."
            yield from rows(option["options"], {}, inner)


def table(specs: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the text between the marks: a table for each entry point."""
    parts = []
    for entry, spec in specs.items():
        title = f"Entry point `{entry}`: {cell(sentences(spec.get('short_description', '')))}\n\n"
        found = list(rows(spec.get("options") or {}, defaults if entry == "main" else {}))
        if not found:
            parts.append(f"{title}No variables.\n")
            continue
        head = ["Variable", "Type", "Default", "Set for all roles by", "Meaning"]
        lines = [head, ["---"] * len(head), *found]
        parts.append(title + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "\n".join(parts)


def load(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds; nothing where it is missing or empty."""
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def readme(role: Path, current: str) -> str:
    """Return the README of a role with its table as the argument specs say."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    text = f"{BEGIN}\n\n{table(specs, load(role / 'defaults' / 'main.yml'))}\n{END}"
    if not current:
        main = specs.get("main", {})
        about = sentences(main.get("description", main.get("short_description", "")))
        return f"# Role `schedgen.rollback.{role.name}`\n\n{cell(about)}\n\n## Variables\n\n{text}\n"
    if current.count(BEGIN) != 1 or current.count(END) != 1:
        raise ValueError(f"{role / 'README.md'} has to have the two marks once each:\n{BEGIN}\n{END}")
    before, _begin, rest = current.partition(BEGIN)
    return before + text + rest.partition(END)[2]


def main(arguments: list[str]) -> int:
    """Write the tables, or say which are not what the specs say."""
    if arguments not in ([], ["--write"]):
        print(__doc__)
        return 2
    stale = 0
    for role in sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml")):
        path = role / "README.md"
        current = path.read_text() if path.exists() else ""
        wanted = readme(role, current)
        if wanted == current:
            continue
        if arguments:
            path.write_text(wanted)
            print(f"{path.relative_to(ROOT)}: written")
        else:
            stale += 1
            print(f"{path.relative_to(ROOT)}: differs from meta/argument_specs.yml; run: make docs")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
