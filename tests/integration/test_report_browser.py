# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's page in a real browser, narrow and wide: Debian's Chromium measures it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._report_page import page
from support import fetching

LONG = "a-name-that-no-line-can-be-broken-in-" * 6
STEPS = [
    {"step": "plan", "status": "done", "after_s": 0.9, "seconds": 0.9},
    {
        "step": "restore point",
        "status": "done",
        "after_s": 1.5,
        "seconds": 0.4,
        "purpose": "safety",
        "id": "20261122T1",
    },
    {"step": "switch", "status": "started", "after_s": 2.0},
    {"step": "containers", "status": "done", "after_s": 5.0, "seconds": 2.5},
    {"step": "switch", "status": "done", "after_s": 9.0},
]
REPORT: dict[str, Any] = {
    "run": "20261122T131500.000Z-database",
    "application": "schedgen",
    "type": "database",
    "owner": "ana",
    "reason": f"jobs answer 500 since {LONG}",
    "started": "2026-11-22T13:15:00.000+00:00",
    "seconds": 9.5,
    "window": 900.0,
    "outcome": "success",
    "steps": STEPS,
    "rows": [{"label": "Set aside", "value": "schedgen_aside_20261122t131500000z"}],
    "plan": {
        "running_label": "v2",
        "running": "b7a9",
        "label": "v1",
        "kind": "restore",
        "target": "20261122T131500.123Z",
        "steps": [f"swap {LONG} in"],
        "stake": ["jobs: about 12 inserted, 3 updated, 0 deleted"],
        "warnings": [],
        "rejected": [["revert", "cannot bring back what column jobs.customer held"]],
        "migrations": ["DropCustomers1763000000001"],
        "volumes": ["schedgen_minio_data"],
        "release": {
            "images": [
                {"service": "backend", "image_id": "sha256:" + "1" * 64, "points_to": "sha256:" + "2" * 64,
                 "reference": f"registry/{LONG}:v1"}
            ],
            "files": [[f"deploy/{LONG}.env", "put back"]],
            "replace": ["backend", "frontend"],
        },
    },
    "decision": {
        "severity": "critical",
        "type": "restore",
        "findings": [{"severity": "critical", "told": "an outage"}],
        "reasons": ["data are damaged"],
        "rejected": [["quick", "the database changed"]],
        "blockers": [],
        "needs": [],
    },
    "verification": {
        "verdict": "healthy",
        "reasons": [],
        "probes": [{"name": LONG, "verdict": "healthy", "seconds": 0.1, "message": "200"}],
    },
    "monitoring": {
        "verdict": "healthy",
        "seconds": 60,
        "series": [{"elapsed": n, "requests": 20, "failed": n, "p95": 0.1, "error_rate": n / 20} for n in range(3)],
    },
}  # fmt: skip

# The frame is as wide as the screen of whoever reads it; the picture of the timeline may be scrolled by itself.
MEASURE = """<!doctype html><body style="margin:0">
<iframe id=f src="report.html" style="border:0;width:{width}px;height:900px"></iframe><pre id=told></pre><script>
document.getElementById("f").onload = () => {{
  const page = document.getElementById("f").contentDocument, root = page.documentElement;
  const seen = (element) => {{ const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; }};
  const cut = [...page.querySelectorAll("h1,h2,li,pre,th,p")].filter((element) =>
    element.getBoundingClientRect().right > {width} + 1).map((element) => element.textContent.slice(0, 40));
  const outside = [...page.querySelectorAll("svg text")].filter((text) => {{
    const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
    return box.x < -1 || box.x + box.width > view.width + 1; }}).map((text) => text.textContent);
  document.getElementById("told").textContent = JSON.stringify({{
    scroll: root.scrollWidth, cut, outside,
    headings: [...page.querySelectorAll("h2")].filter(seen).map((heading) => heading.textContent),
    ticked: page.querySelectorAll("li.done").length, open: page.querySelectorAll("li.open").length,
    mark: page.defaultView.getComputedStyle(page.querySelector("li.done"), "::before").content,
    bars: [...page.querySelectorAll("svg rect")].filter(seen).length,
    ink: page.defaultView.getComputedStyle(page.body).color,
    paper: page.defaultView.getComputedStyle(page.body).backgroundColor,
    fetched: page.defaultView.performance.getEntriesByType("resource").length }});
}};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """Debian's browser; root gets it where it is missing."""
    found = shutil.which("chromium")
    if not found and os.geteuid() == 0:
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        fetching.fetch([*environment, "apt-get", "update", "-qq"])
        fetching.fetch(
            [*environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], limit=400
        )
        found = shutil.which("chromium")
    assert found, "chromium is not installed: apt-get install chromium"
    return found


def measured(chromium: str, folder: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    """Return what the browser says of the report in a frame of a width."""
    (folder / "report.html").write_text(page(REPORT), encoding="utf-8")
    (folder / "measure.html").write_text(MEASURE.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files", "--virtual-time-budget=10000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
            (folder / "measure.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    told = re.search(r"<pre id=\"told\">(.*?)</pre>", done.stdout, re.DOTALL)
    assert told, done.stdout[-2000:] + done.stderr[-2000:]
    assert told.group(1), "the report was not loaded"
    found: dict[str, Any] = json.loads(unescape(told.group(1)))
    return found


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off(chromium: str, tmp_path: Path, width: int) -> None:
    seen = measured(chromium, tmp_path, width)
    assert seen["scroll"] <= width, "the page has to be scrolled sideways"
    assert seen["cut"] == []
    assert seen["outside"] == []


def test_everything_is_seen_and_nothing_is_fetched(chromium: str, tmp_path: Path) -> None:
    seen = measured(chromium, tmp_path, 1280)
    assert seen["fetched"] == 0
    assert [name for name in seen["headings"] if "Decision" not in name] == [
        "Timeline", "Plan", "At stake", "Verification: healthy", "Before and after", "Monitoring: healthy", "Set aside",
        "To undo it", "Limits that apply", "Before the rollback", "After the rollback",
    ]  # fmt: skip
    assert (seen["ticked"], seen["open"]) == (8, 4)
    assert "\u2713" in seen["mark"]
    assert seen["bars"] == 4


def test_it_can_be_read_by_night(chromium: str, tmp_path: Path) -> None:
    day, night = (measured(chromium, tmp_path, 1280, dark=dark) for dark in (False, True))

    def light(color: str) -> int:
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    for seen in (day, night):
        assert abs(light(seen["ink"]) - light(seen["paper"])) > 400
    assert light(day["paper"]) > light(night["paper"])
