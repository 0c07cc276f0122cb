# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a volume holds, compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._volume_listing import (
    Entry,
    differences,
    entry_of,
    fingerprint,
    lines,
    totals,
    unusable,
)

FOLDER = Entry(".", "folder", "0755", 0, 0)
FILE = Entry("a.pdf", "file", "0644", 1000, 1000, 3, "abc")
LINK = Entry("latest", "link", "", 0, 0, 0, "a.pdf")
ALL = [FOLDER, FILE, LINK]


def test_the_order_does_not_matter() -> None:
    assert lines(ALL) == lines(reversed(ALL))
    assert fingerprint(lines(ALL)) == fingerprint(lines(reversed(ALL)))


def test_lines_are_read_back() -> None:
    assert sorted((entry_of(line) for line in lines(ALL)), key=lambda entry: entry.path) == ALL


@pytest.mark.parametrize("line", ["", "{}", "[1, 2]", "none", '["a"]'])
def test_what_is_no_line(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  json's own for what is no JSON
        entry_of(line)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"size": 4, "content": "abd"}, ["a.pdf differs in size, content"]),
        ({"mode": "0600"}, ["a.pdf differs in mode"]),
        ({"uid": 0, "gid": 0}, ["a.pdf differs in uid, gid"]),
        ({"path": "b.pdf"}, ["a.pdf is missing", "b.pdf was not recorded"]),
    ],
)
def test_differences(change: dict[str, Any], told: list[str]) -> None:
    assert differences(ALL, [FOLDER, replace(FILE, **change), LINK]) == told
    assert (fingerprint(lines(ALL)) == fingerprint(lines([FOLDER, replace(FILE, **change), LINK]))) is (not told)


def test_many_differences_are_counted() -> None:
    many = [replace(FILE, path=f"{number}.pdf") for number in range(9)]
    assert differences(many, []) == ["0.pdf is missing", "1.pdf is missing", "2.pdf is missing", "and 6 more"]


def test_totals() -> None:
    assert totals([*ALL, replace(FILE, path="b", size=7)]) == {"files": 2, "bytes": 10}


LOCAL: dict[str, Any] = {"driver": "local", "options": {}, "mountpoint": "/v/_data"}


@pytest.mark.parametrize(
    ("facts", "users", "database", "words"),
    [
        ({}, [], [], ""),
        ({"options": None}, [], [], ""),
        ({"driver": "nfs"}, [], [], "has driver nfs"),
        ({"options": {"type": "nfs", "device": ":/x"}}, [], [], "is mounted from elsewhere (device, type are set)"),
        ({}, ["backup", "antivirus"], [], "is used by antivirus, backup"),
        ({}, [], ["data"], "goes back by its dump"),
    ],
)
def test_what_cannot_be_swapped(facts: dict[str, Any], users: list[str], database: list[str], words: str) -> None:
    told = unusable("data", {**LOCAL, **facts}, users, database=database)
    assert bool(told) is bool(words)
    assert words in told
