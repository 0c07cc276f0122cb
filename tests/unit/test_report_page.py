# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a report: whole, with nothing from elsewhere, and safe whatever stands in it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._report_page import page, plot, spans, timeline

STEPS = [
    {"step": "run", "status": "started", "after_s": 0},
    {"step": "stop", "status": "started", "after_s": 1.0},
    {"step": "stop", "status": "done", "after_s": 2.5, "seconds": 1.5},
    {"step": "plan", "status": "done", "after_s": 3.0},
    {"step": "images", "status": "done", "after_s": 4.0, "seconds": 0.5},
    {"step": "health", "status": "started", "after_s": 5.0},
    {"step": "health", "status": "failed", "after_s": 9.0, "message": "no"},
]
REPORT: dict[str, Any] = {
    "run": "20261122T131500.000Z-quick",
    "application": "schedgen",
    "type": "quick",
    "owner": "ana",
    "reason": "500s",
    "started": "2026-11-22T13:15:00.000+00:00",
    "seconds": 9.5,
    "window": 300.0,
    "outcome": "success",
    "steps": STEPS,
    "plan": {
        "running_label": "v2",
        "running": "b7a9",
        "label": "v1",
        "kind": "restore point",
        "target": "20261122T131500.123Z",
        "steps": ["load a"],
        "stake": ["rows stay"],
        "warnings": ["w"],
    },
    "decision": {
        "severity": "critical",
        "type": "quick",
        "findings": [{"severity": "critical", "told": "outage"}],
        "reasons": ["because"],
        "rejected": [["restore", "no"]],
        "blockers": ["tell the shop"],
        "needs": ["prometheus"],
    },
    "verification": {
        "verdict": "healthy",
        "reasons": [],
        "probes": [{"name": "door", "verdict": "healthy", "seconds": 0.1, "message": "200"}],
    },
    "monitoring": {"verdict": "healthy", "seconds": 60, "series": [{"error_rate": 0.0}, {"error_rate": 0.02}]},
}
VOID = {"meta", "line", "rect", "polyline", "br"}


class Reader(HTMLParser):
    """Reads a page as a browser does; knows what it would fetch, and whether every element ends."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.elsewhere: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.elsewhere += [f"{tag} {name}" for name, _value in attrs if name in ("src", "href", "srcset")]
        assert tag not in ("script", "link", "iframe", "img"), tag

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def read(**changed: Any) -> Reader:
    reader = Reader()
    reader.feed(page({**REPORT, **changed}))
    reader.close()
    assert reader.open == []
    return reader


def test_everything_has_its_place() -> None:
    reader = read()
    assert reader.headings == [
        "Quick rollback of schedgen",
        "Timeline",
        "Decision: critical, quick",
        "Plan",
        "At stake",
        "Warnings",
        "Verification: healthy",
        "Monitoring: healthy",
        "Before the rollback",
        "After the rollback",
    ]
    for words in (
        "outage",
        "restore: no",
        "tell the shop",
        "9.5 s (window 5 min 00 s: met)",
        "error rate, at most 2.0 %",
    ):
        assert words in reader.text
    assert reader.elsewhere == []
    assert "url(" not in page(REPORT)


@pytest.mark.parametrize("name", ["plan", "decision", "verification", "monitoring"])
def test_what_is_not_there_has_no_heading(name: str) -> None:
    with_it, without = read().headings, read(**{name: {}}).headings
    assert set(without) < set(with_it)


def test_words_of_others_stay_words() -> None:
    bad = "<script>alert(1)</script><b onload='x'>"
    told = page(
        {
            **REPORT,
            "reason": bad,
            "message": bad,
            "owner": bad,
            "rows": [{"label": bad, "value": bad}],
            "verification": {"verdict": bad, "reasons": [bad], "probes": []},
            "steps": [{"step": bad, "status": "done", "after_s": 1, "seconds": 1}],
        }
    )
    assert "<script" not in told
    assert "<b " not in told


def test_steps_that_took_time() -> None:
    assert spans(STEPS) == [("stop", 1.0, 1.5, False), ("images", 3.5, 0.5, False), ("health", 5.0, 4.0, True)]


@pytest.mark.parametrize(("steps", "seconds"), [([], 5.0), (STEPS[:1], 5.0), (STEPS, 0.0)])
def test_no_picture_of_nothing(steps: list[dict[str, Any]], seconds: float) -> None:
    assert timeline(steps, seconds) == ""


def test_the_picture_has_a_bar_a_step_and_words_for_who_does_not_see_it() -> None:
    drawn = timeline(STEPS, 9.5)
    assert drawn.count("<rect") == 3
    assert drawn.count('class="failed"') == 1
    assert 'aria-label="Timeline: 3 steps in 9.5 s"' in drawn


@pytest.mark.parametrize("rates", [[], [0.1], [None, None, None]])
def test_no_line_through_fewer_than_two_points(rates: list[float | None]) -> None:
    assert plot([{"error_rate": rate} for rate in rates]) == ""
