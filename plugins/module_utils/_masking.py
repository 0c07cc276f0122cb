# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show files without their secrets. Pure; private to this collection.

It hides too much rather than too little: a hidden word costs a look into the file, a shown secret is out for good.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = "(hidden)"
_SECRET_KEY = re.compile(
    r"pass|secret|token|key|pwd|credential|auth|private|dsn|salt|cookie|session|signature", re.IGNORECASE
)
_ASSIGNMENT = re.compile(
    r"^(?P<head>\s*(?:-\s*)?(?:export\s+)?[\"']?(?P<key>[A-Za-z_][\w.-]*)[\"']?\s*(?:=|:\s))(?P<value>.*)$"
)
# A secret's name further on in a line: {"token": "x"}, --password=x, <password>x, "requirepass", "x".
_WITHIN = re.compile(
    r"(?:pass|secret|token|[_-]key|pwd|credential|auth|dsn)[\w.-]*[\"']?\s*[=:>]\s*(?=\S)"
    r"|(?:passw|passphrase|requirepass|masterauth|secret|token|authorization|credential)[\w.-]*[\"']?[\s,]+(?=\S)",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^\s/@:]*:\S*|[^\s/@]+)@", re.IGNORECASE)


def mask_line(line: str, *, every_value: bool) -> str:
    """Return a line with its value hidden: any value (``every_value``), else values of keys that sound like secrets.

    With ``every_value`` only keys are shown: a comment can hold yesterday's password.
    """
    match = _ASSIGNMENT.match(line)
    if match and match.group("value").strip() and (every_value or _SECRET_KEY.search(match.group("key"))):
        return f"{match.group('head')}{HIDDEN}"
    if every_value:
        if match or not line.strip():
            return line
        return f"# {HIDDEN}" if line.lstrip().startswith("#") else HIDDEN
    within = _WITHIN.search(line)
    if within:
        line = f"{line[: within.end()]}{HIDDEN}"
    return _USERINFO.sub(lambda found: f"{found.group('scheme')}{HIDDEN}@", line)


def _mask_lines(lines: Sequence[str], *, every_value: bool) -> list[str]:
    """Return the lines masked, also those that go on with a secret value which an earlier line began."""
    shown = []
    closing = ""  # ends a hidden value of several lines: its quote, or the end of a key in PEM form
    indent = -1  # of the hidden key whose value is the block of deeper lines below it
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if closing:
            shown.append(HIDDEN)
            closing = "" if closing in line else closing
            continue
        if indent >= 0 and (depth > indent or not line.strip()):
            shown.append(HIDDEN if line.strip() else line)
            continue
        indent = -1
        masked = mask_line(line, every_value=every_value)
        if masked.endswith(HIDDEN) and line.startswith(masked[: -len(HIDDEN)]) and not line.lstrip().startswith("#"):
            value = line[len(masked) - len(HIDDEN) :].strip()
            if value[:1] in ("'", '"') and value.count(value[0]) == 1:
                closing = value[0]
            elif value[:1] in ("|", ">"):
                indent = depth
        if "-----BEGIN" in line and not closing:
            masked = HIDDEN
            closing = "" if "-----END" in line else "-----END"
        shown.append(masked)
    return shown


def changed_keys(before: str, after: str) -> list[str]:
    """Return the keys that are assigned otherwise in two versions of a file, or in one of them alone."""

    def assigned(text: str) -> dict[str, str]:
        found = (_ASSIGNMENT.match(line) for line in text.splitlines() if not line.lstrip().startswith("#"))
        return {match.group("key"): match.group("value").strip() for match in found if match}

    old, new = assigned(before), assigned(after)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def mask_pair(before: str, after: str, kind: str) -> tuple[str, str]:
    """Return two versions of a file for a diff, their secret values hidden and yet told apart where they differ.

    Of an env file (``kind`` env) every value is hidden, of a secret's file everything, elsewhere values of keys that
    sound like secrets.
    """
    old, new = before.splitlines(), after.splitlines()
    kept = set(old) & set(new)

    def masked(lines: list[str], mark: str) -> str:
        if kind == "secret":
            hidden_lines = [HIDDEN if line.strip() else line for line in lines]
        else:
            hidden_lines = _mask_lines(lines, every_value=kind == "env")
        shown = []
        for line, hidden in zip(lines, hidden_lines):
            shown.append(hidden if line in kept or hidden == line else hidden.replace(HIDDEN, f"(hidden, {mark})"))
        return "".join(f"{line}\n" for line in shown)

    return masked(old, "before"), masked(new, "after")
