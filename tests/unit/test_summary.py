# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs summed up: tables over the pure rules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _summary


def report(run: str, kind: str, outcome: str = "success", **more: Any) -> dict[str, Any]:
    return {"run": run, "type": kind, "outcome": outcome, "seconds": 10.0, **more}


WINDOW = {"verdict": "healthy", "seconds": 60, "series": []}


def test_kinds() -> None:
    found = _summary.kinds(
        [
            report("3", "quick", seconds=4),
            report("2", "quick", "failed", seconds=20),
            report("1", "backup", seconds=2),
        ]
    )
    assert found == [
        {"kind": "backup", "runs": 1, "outcomes": {"success": 1}, "helped": None, "median_s": 2, "longest_s": 2},
        {"kind": "quick", "runs": 2, "outcomes": {"failed": 1, "success": 1}, "helped": 1, "median_s": 12,
         "longest_s": 20},
    ]  # fmt: skip
    assert _summary.line(found[1]) == (
        "quick: 2 (1 failed, 1 success); helped 1 of 2 times; median 12.0 s, longest 20.0 s"
    )


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        pytest.param([], {}, id="nothing came later"),
        pytest.param([report("2", "monitor", monitoring=WINDOW)], WINDOW, id="a window"),
        pytest.param([report("0", "monitor", monitoring=WINDOW)], {}, id="a window before"),
        pytest.param(
            [report("2", "full"), report("3", "monitor", monitoring=WINDOW)], {}, id="the window of another rollback"
        ),
        pytest.param([report("2", "backup"), report("3", "monitor", monitoring=WINDOW)], WINDOW, id="a backup between"),
    ],
)
def test_the_window_of_a_rollback(later: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    rollback = report("1", "quick")
    assert _summary.watched(rollback, [rollback, *later]) == expected
