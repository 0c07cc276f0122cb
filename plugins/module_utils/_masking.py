# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show files without their secrets. Pure; private to this collection."""

from __future__ import annotations

import re

HIDDEN = "(hidden)"
_SECRET_KEY = re.compile(
    r"pass|secret|token|key|pwd|credential|auth|private|dsn|salt|cookie|session|signature", re.IGNORECASE
)
_ASSIGNMENT = re.compile(r"^(?P<head>\s*(?:-\s*)?[\"']?(?P<key>[A-Za-z_][\w.-]*)[\"']?\s*(?:=|:\s))(?P<value>.*)$")
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@", re.IGNORECASE)


def mask_line(line: str, *, every_value: bool) -> str:
    """Return a line with its value hidden: any value (``every_value``), else values of keys that sound like secrets."""
    match = _ASSIGNMENT.match(line)
    if match and match.group("value").strip() and (every_value or _SECRET_KEY.search(match.group("key"))):
        return f"{match.group('head')}{HIDDEN}"
    if every_value and line.strip() and not line.lstrip().startswith("#") and not match:
        return HIDDEN
    return _USERINFO.sub(lambda found: f"{found.group('scheme')}{HIDDEN}@", line)


def mask_pair(before: str, after: str, kind: str) -> tuple[str, str]:
    """Return two versions of a file for a diff, their secret values hidden and yet told apart where they differ.

    Of an env file (``kind`` env) every value is hidden, elsewhere values of keys that sound like secrets.
    """
    every_value = kind == "env"
    old, new = before.splitlines(), after.splitlines()
    kept = set(old) & set(new)

    def masked(lines: list[str], mark: str) -> str:
        shown = []
        for line in lines:
            hidden = mask_line(line, every_value=every_value)
            shown.append(hidden if line in kept or hidden == line else hidden.replace(HIDDEN, f"(hidden, {mark})"))
        return "".join(f"{line}\n" for line in shown)

    return masked(old, "before"), masked(new, "after")
