# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor.yml on the reference application: what it sees, when it ends, and whom it calls."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from support import application, receivers

pytestmark = pytest.mark.application

SHORT: dict[str, Any] = {"rollback_monitor_window": 6, "rollback_monitor_interval": 1, "monitor_slice": 2}
# Three rounds are what an error rate needs to be believed.
BRIEF: dict[str, Any] = {**SHORT, "rollback_monitor_window": 3}
LONG: dict[str, Any] = {**SHORT, "rollback_monitor_window": 600}


@pytest.fixture
def web() -> Iterator[receivers.Web]:
    with receivers.web() as found:
        yield found


def pager(web: receivers.Web) -> dict[str, Any]:
    return {
        "rollback_notify": [{"name": "pager", "type": "webhook", "url": f"{web.url}/ok", "events": []}],
        "rollback_contacts": [{"role": "on-call", "name": "Kim", "targets": ["pager"]}],
    }


@pytest.fixture(scope="module")
def at_rest(application_up: None) -> None:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """A healthy v1; for tests that change nothing, or put back what they change."""
    application.lab("reset", "v1")


def rounds() -> list[dict[str, Any]]:
    return [step for step in application.reports()[-1]["steps"] if step["step"] == "monitor"]


class Prometheus(BaseHTTPRequestHandler):
    """Answers every query with the one value that its server has, or with no data."""

    def do_GET(self) -> None:
        value = self.server.value  # type: ignore[attr-defined]
        self.server.queries.append(parse_qs(self.path.partition("?")[2])["query"][0])  # type: ignore[attr-defined]
        result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Stay quiet."""


@pytest.mark.usefixtures("at_rest")
def test_a_healthy_window(web: receivers.Web) -> None:
    before = application.fingerprint()
    done = application.playbook("monitor", **SHORT, **pager(web))
    assert done.rc == 0, done.screen
    assert "of 6.0 s: healthy" in done.text, "progress is shown while the window lasts"
    assert re.search(r"healthy in \d+\.\d s", done.text)
    report = application.reports()[-1]
    assert (report["type"], report["outcome"], report["window"]) == ("monitor", "success", 0)
    seen = rounds()
    # A round a second; one that took longer has no other behind it in that second.
    assert 1 <= len(seen) <= 7
    assert re.search(rf"[▁▂▃▄▅▆▇█]{{{len(seen)}}}", done.screen)
    assert {step["verdict"] for step in seen} == {"healthy"}
    assert {step["database"] for step in seen} == {"healthy"}
    assert {step["restarts"] for step in seen} == {0}
    assert all(step["requests"] >= 10 and step["failed"] == 0 and step["p95"] > 0 for step in seen)
    assert web.got == []
    after = application.fingerprint()
    assert (after["containers"], after["started"]) == (before["containers"], before["started"])


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize(
    ("value", "code", "told"),
    [
        (0.01, 0, "Prometheus 1.0 %"),
        (0.2, 2, "Prometheus says 20.0 % errors in 3 rounds in a row, and not falling"),
        # It was asked for: that it says nothing is no good news.
        (None, 2, "the error rate of Prometheus could never be observed"),
    ],
)
def test_prometheus(value: float | None, code: int, told: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    server.value, server.queries = value, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        asked = {"url": f"http://127.0.0.1:{server.server_port}", "error_rate": "errors / requests"}
        done = application.playbook("monitor", **BRIEF, rollback_prometheus=asked)
    finally:
        server.shutdown()
        server.server_close()
    assert done.rc == code, done.screen
    assert told in done.text
    assert set(server.queries) == {"errors / requests"}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("at_rest")
def test_a_rollback_that_fails_tells_so_and_calls_for_help_at_its_end(web: receivers.Web) -> None:
    done = application.playbook(
        "quick-rollback",
        rollback_to="no-such-tag",
        rollback_notify=[{"name": "team", "type": "webhook", "url": f"{web.url}/ok"}],
        rollback_contacts=[{"role": "on-call", "targets": ["team"]}],
    )
    assert done.rc == 2, done.screen
    failed, called = web.texts()
    assert "Rollback FAILED" in failed
    assert "no-such-tag" in failed
    assert "Help is needed (On-Call Engineer)" in called
    assert application.reports()[-1]["outcome"] == "failed"
    assert not (application.STATE / "lock").exists()


@pytest.mark.usefixtures("at_rest")
def test_the_database_down() -> None:
    application.docker("stop", "schedgen-postgres")
    try:
        done = application.playbook("monitor", **LONG)
    finally:
        application.docker("start", "schedgen-postgres")
        application.wait_until(lambda: application.unhealthy() == [], "everything is healthy again")
    assert done.rc == 2, done.screen
    assert "schedgen is unhealthy" in done.text
    assert rounds()[-1]["database"] == "unhealthy"
    assert "Technical Lead: no contact is configured" in done.text


@pytest.mark.usefixtures("at_v1")
def test_a_release_that_goes_bad_in_the_middle_and_a_rollback_meanwhile(web: receivers.Web) -> None:
    with application.playbook_in_background("monitor", **LONG, **pager(web)) as watching:
        application.wait_until(
            lambda: sum(step["step"] == "monitor" for step in application.journal()) >= 3, "three rounds were made"
        )
        # The watching run holds no lock: it keeps no other run out, and none takes it for killed.
        other = application.module("rollback_run", state="started", type="quick", owner="test")
        assert other["interrupted"] == []
        application.module("rollback_run", state="finished", run=other["run"])
        application.lab("deploy", "http-500", "--no-wait")
        screen, _errors = watching.communicate(timeout=300)
    assert watching.returncode == 2, screen
    told = " ".join(screen.split())
    assert "Go back to a good release with quick-rollback.yml" in told
    assert "On-Call Engineer: Kim" in told
    report = next(report for report in reversed(application.reports()) if report["type"] == "monitor")
    assert report["outcome"] == "failed"
    seen = [step for step in report["steps"] if step["step"] == "monitor"]
    assert seen[0]["verdict"] == "healthy"
    assert seen[-1]["failed"] > 0 or seen[-1]["verdict"] == "unhealthy"
    assert seen[-1]["elapsed"] < 300, "it ended before its window"
    (text,) = web.texts()
    assert "schedgen is unhealthy" in text
    assert report["run"] in text


@pytest.mark.usefixtures("application_up")
def test_a_container_that_restarts_ends_it() -> None:
    application.begin("crash", wait=False)
    done = application.playbook("monitor", **{**LONG, "monitor_unhealthy_rounds": 50, "monitor_samples": 1000})
    assert done.rc == 2, done.screen
    assert "backend restarted" in done.text


@pytest.mark.usefixtures("http_500")
def test_a_rollback_tells_of_start_and_success_and_its_report_says_who_was_told(web: receivers.Web) -> None:
    done = application.playbook(
        "quick-rollback",
        rollback_notify=[
            {"name": "team", "type": "webhook", "url": f"{web.url}/ok"},
            {"name": "dead", "type": "webhook", "url": f"http://127.0.0.1:{receivers.free_port()}/swordfish"},
        ],
        rollback_notify_timeout=1,
        rollback_reason="answers 500",
    )
    assert done.rc == 0, done.screen
    begun, ended = web.texts()
    assert "Rollback begins" in begun
    assert "What happened: The code goes back from " in begun
    assert "Reason: answers 500" in begun
    assert "Rollback succeeded" in ended
    report = application.reports()[-1]
    assert f"{report['run']}/report.html" in ended
    rows = {row["label"]: row["value"] for row in report["rows"]}
    assert rows == {
        "Told (start)": "team; NOT told: dead (Connection refused)",
        "Told (success)": "team; NOT told: dead (Connection refused)",
    }
    assert "swordfish" not in done.screen + json.dumps(report)
