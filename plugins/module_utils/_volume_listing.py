# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a volume holds, as a list that can be compared. Pure; private to this collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Differences that a message names; the others are counted.
NAMED = 3


@dataclass(frozen=True)
class Entry:
    """One entry of a volume. ``path`` is relative, ``mode`` octal text, ``size`` bytes.

    ``content`` is a file's SHA-256 or a symbolic link's target. ``kind`` is file, folder, link or other.
    """

    path: str
    kind: str
    mode: str
    uid: int
    gid: int
    size: int = 0
    content: str = ""


def lines(entries: Iterable[Entry]) -> list[str]:
    """Return one JSON line an entry, sorted by path: equal for equal volumes."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    return [
        json.dumps([entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.content])
        for entry in ordered
    ]


def entry_of(line: str) -> Entry:
    """Rebuild an entry. Raises ValueError for a line that is none."""
    try:
        return Entry(*json.loads(line))
    except TypeError as error:
        raise ValueError(f"'{line[:80]}' is no entry of a volume") from error


def fingerprint(listed: Sequence[str]) -> str:
    """Identify what a volume holds."""
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """Return how many files there are, and their bytes."""
    files = [entry for entry in entries if entry.kind == "file"]
    return {"files": len(files), "bytes": sum(entry.size for entry in files)}


def differences(recorded: Iterable[Entry], found: Iterable[Entry]) -> list[str]:
    """Return, in sentences, what differs; the first few by name."""
    then, now = ({entry.path: entry for entry in entries} for entries in (recorded, found))
    told = [f"{path} is missing" for path in sorted(then.keys() - now.keys())]
    told += [f"{path} was not recorded" for path in sorted(now.keys() - then.keys())]
    for path in sorted(then.keys() & now.keys()):
        if then[path] != now[path]:
            parts = [
                name
                for name in ("kind", "mode", "uid", "gid", "size", "content")
                if getattr(then[path], name) != getattr(now[path], name)
            ]
            told.append(f"{path} differs in {', '.join(parts)}")
    more = len(told) - NAMED
    return [*told[:NAMED], *([f"and {more} more"] if more > 0 else [])]


def unusable(name: str, facts: Mapping[str, Any], users: Sequence[str], *, database: Sequence[str] = ()) -> str:
    """Return why a volume's content cannot be archived and swapped by renaming, '' when it can.

    ``facts`` has driver, options and mountpoint; ``users`` are containers outside of the application that run and
    mount it; ``database`` the volumes of the database's server.
    """
    if name in database:
        return f"volume {name} belongs to the database's server, and goes back by its dump"
    if facts["driver"] != "local":
        return f"volume {name} has driver {facts['driver']}: only what Docker keeps on this host can be swapped"
    if facts.get("options"):
        return f"volume {name} is mounted from elsewhere ({', '.join(sorted(facts['options']))} are set)"
    if users:
        return f"volume {name} is used by {', '.join(sorted(users))}, which would go on with the old content"
    return ""
