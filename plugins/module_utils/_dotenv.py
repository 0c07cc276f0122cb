# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set variables in an env file, as Compose reads it. Pure; private to this collection."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*[=:](.*)", re.DOTALL)
# What needs no quotes, whichever version of Compose reads it.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")


def quoted(value: str) -> str:
    """Return a value as an env file has it: in quotes where it needs them.

    Nothing is interpolated in single quotes. Raises ValueError for a value that no quotes can hold.
    """
    if _PLAIN.fullmatch(value):
        return value
    if "\n" in value or "\r" in value:
        raise ValueError("a value of several lines is not supported")
    if "'" not in value and not value.endswith("\\"):
        return f"'{value}'"
    if not set('"$\\`') & set(value):
        return f'"{value}"'
    raise ValueError("a value cannot have both ' and one of \" $ \\ `, and cannot end in \\")


def names_in(text: str) -> set[str]:
    """Return the names that a file assigns."""
    return {found for found, _first, _last in _assignments(text)}


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the text of a file with other values; what it does not assign is added at its end.

    Where a name is assigned twice the last one counts, and is changed. Raises ValueError for a name or a value that an
    env file cannot have.
    """
    for name, value in values.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a variable")
        try:
            quoted(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    lines = text.splitlines()
    places = {name: (first, last) for name, first, last in _assignments(text) if name in values}
    for name, (first, last) in sorted(places.items(), key=lambda place: place[1], reverse=True):
        lines[first : last + 1] = [f"{name}={quoted(values[name])}"]
    lines += [f"{name}={quoted(value)}" for name, value in values.items() if name not in places]
    return "".join(f"{line}\n" for line in lines)


def _assignments(text: str) -> list[tuple[str, int, int]]:
    """Return every assignment: its name, and its first and last line. A value in quotes can have several."""
    found, lines, number = [], text.splitlines(), 0
    while number < len(lines):
        first = number
        matched = _ASSIGNMENT.fullmatch(lines[number])
        if matched:
            quote = matched.group(2).lstrip()[:1]
            closed = quote not in ("'", '"') or _closes(matched.group(2).lstrip()[1:], quote)
            while not closed and number + 1 < len(lines):
                number += 1
                closed = _closes(lines[number], quote)
            found.append((matched.group(1), first, number))
        number += 1
    return found


def _closes(text: str, quote: str) -> bool:
    """Whether a quote ends in a text: one that follows a backslash does not end it."""
    return re.search(rf"(?<!\\){quote}", text) is not None
