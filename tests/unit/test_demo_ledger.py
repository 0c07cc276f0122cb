# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger of the load client judges what was lost: its arithmetic must be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from schedgen_lab.ledger import Entry, longest_gap, missing_writes, percentile, read, summarise


def good(t: float, ms: float = 0.0) -> Entry:
    return Entry(t=t, kind="read", status=200, ms=ms)


def bad(t: float, ms: float = 0.0, status: int = 502, error: str = "") -> Entry:
    return Entry(t=t, kind="read", status=status, ms=ms, error=error)


@pytest.mark.parametrize(
    ("entries", "gap"),
    [
        ([], 0.0),
        ([good(1), good(2), good(4)], 2.0),
        ([good(1), bad(2), bad(3), good(5)], 4.0),
        # What fails until the end is a gap too, and what fails from the beginning.
        ([good(1), bad(2), bad(9)], 8.0),
        ([bad(0), bad(3), good(7), good(8)], 7.0),
        # An answer counts when it comes, not when it was asked for.
        ([good(0), good(1, ms=5000)], 6.0),
    ],
)
def test_longest_gap(entries: list[Entry], gap: float) -> None:
    assert longest_gap(entries) == gap


@pytest.mark.parametrize(("share", "value"), [(0.5, 6.0), (0.95, 10.0), (0.0, 1.0)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(1, 11)], share) == value


def test_percentile_of_nothing() -> None:
    assert percentile([], 0.5) is None


def test_summary_counts_causes_and_acknowledged_writes() -> None:
    write = Entry(t=2, kind="write", status=201, ms=1, key="a", id=7)
    refused = Entry(t=3, kind="write", status=500, ms=1, key="b")
    summary = summarise([good(1), write, refused, bad(4, status=0, error="TimeoutError")])
    assert (summary["sent"], summary["ok"], summary["failed"]) == (4, 2, 2)
    assert summary["failures"] == {"500": 1, "TimeoutError": 1}
    assert summary["acknowledged"] == [7]


def test_only_acknowledged_writes_can_be_missing() -> None:
    entries = [
        Entry(t=1, kind="write", status=201, ms=1, key="kept", id=1),
        Entry(t=2, kind="write", status=201, ms=1, key="lost", id=2),
        Entry(t=3, kind="write", status=502, ms=1, key="refused"),
        good(4),
    ]
    assert missing_writes(entries, {"kept"}) == ["lost"]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text('{"t": 1, "kind": "read", "status": 200, "ms": 2}\n{"t": 2, "ki')
    assert read(path) == [Entry(t=1, kind="read", status=200, ms=2)]
