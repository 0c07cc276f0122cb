# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a real web server, and windows that are watched in several calls; the engine is away on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _burst,
    _checks,
    _monitoring,
    _probes,
    _traffic,
    _watching,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store


class Web(ThreadingHTTPServer):
    """Answers with the status in the path, or with the one that it is told to fail with; /hang does not answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []
        self.failing = False
        self.over = threading.Event()

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        web: Any = self.server
        web.paths.append(self.path)
        if self.path.startswith("/hang"):
            web.over.wait(30)
            return
        self.send_response(500 if web.failing else int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


def doors(*urls: str, timeout: float = 2.0) -> tuple[_checks.Check, ...]:
    return _checks.parse_checks(
        [{"type": "http", "url": url, "name": f"door {number}", "timeout": timeout} for number, url in enumerate(urls)]
    )


def test_doors_are_asked_in_turn(web: Web) -> None:
    samples = _burst.burst(doors(web.at("/200"), web.at("/404"), web.at("/503")), 9, 5.0)
    assert sorted(sample.status for sample in samples) == [200] * 3 + [404] * 3 + [503] * 3
    found = _traffic.summarise(samples)
    assert (found.requests, found.failed, found.unobserved) == (9, 3, 0)
    assert found.p95 is not None
    assert found.p95 > 0


def test_each_door_is_asked_at_least_once(web: Web) -> None:
    _burst.burst(doors(web.at("/201"), web.at("/202"), web.at("/203")), 1, 5.0)
    assert sorted(web.paths) == ["/201", "/202", "/203"]


def test_no_door_no_request() -> None:
    assert _burst.burst((), 10, 5.0) == []


def test_what_does_not_answer_has_failed_and_what_is_cut_off_has_not(web: Web) -> None:
    slow = _traffic.summarise(_burst.burst(doors(web.at("/hang"), timeout=0.5), 4, 3.0))
    assert (slow.requests, slow.failed, slow.p95) == (4, 4, None)
    started = time.monotonic()
    cut = _traffic.summarise(_burst.burst(doors(web.at("/hang"), timeout=60.0), 4, 0.5))
    assert (cut.requests, cut.unobserved, cut.error_rate) == (0, 4, None)
    assert time.monotonic() - started < 30


def test_a_closed_port_has_failed_and_an_unknown_name_says_nothing() -> None:
    closed = _traffic.summarise(_burst.burst(doors("http://127.0.0.1:1/"), 3, 5.0))
    assert (closed.requests, closed.failed) == (3, 3)
    unknown = _traffic.summarise(_burst.burst(doors("http://no-such-host.invalid/"), 3, 5.0))
    assert (unknown.requests, unknown.unobserved) == (0, 3)


def wanted(web: Web | None, **more: Any) -> _watching.Wanted:
    declared = ({"type": "http", "name": "door", "url": web.at("/200")},) if web else ()
    return _watching.Wanted(site=_probes.Site("nobody", engine_timeout=2.0), **{"declared": declared, **more})


LIMITS = _monitoring.rules(1.0, 0.25)


def watch(web: Web | None, store: Store | None = None, run: str = "", **more: Any) -> _watching.Watch:
    return _watching.Watch(wanted(web, **more), LIMITS, store, run)


def test_a_window_in_one_call(web: Web) -> None:
    watched = watch(web)
    decision = watched.go_on()
    assert (decision.verdict, decision.reasons) == ("healthy", ())
    assert watched.over
    assert len(watched.series) == LIMITS.total == 5
    assert [round(item.elapsed, 1) for item in watched.series] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0], abs=0.2)
    assert all(item.requests == 10 and item.failed == 0 for item in watched.series)
    # What could not be observed is said.
    assert decision.notes == ("logs could not be read", "restarts could not be observed")


def test_a_window_in_several_calls_that_goes_bad(web: Web, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "shop")
    store.begin_run("r1")
    first = watch(web, store, "r1")
    assert first.go_on(2).verdict == "healthy"
    assert not first.over
    web.failing = True
    second = watch(web, store, "r1")
    assert [item.verdict for item in second.series] == ["healthy", "healthy"]
    decision = second.go_on()
    assert decision.verdict == "unhealthy"
    assert decision.clear
    assert not second.over
    assert decision.reasons[0].startswith("10 of 20 requests failed in the last 2 rounds")
    third = watch(web, store, "r1")
    assert third.decision() == decision
    assert len(third.series) == 3
    entries = store.read_journal("r1")
    assert [(entry["step"], entry["status"]) for entry in entries] == [
        ("monitor", "healthy"), ("monitor", "healthy"), ("monitor", "unhealthy"),
    ]  # fmt: skip
    assert entries[-1]["message"].startswith("errors 100.0 %")


def test_the_front_door_is_what_the_operator_says(web: Web) -> None:
    watch(web, traffic=_watching.traffic({"urls": web.at("/204")}), requests=2).go_on(1)
    assert web.paths.count("/204") == 2
    assert web.paths.count("/200") == 1


def test_nothing_to_observe_is_inconclusive() -> None:
    watched = watch(None)
    decision = watched.go_on()
    assert decision.verdict == "inconclusive"
    assert "Docker" in decision.reasons[0]
    assert "no error rate was measured" in decision.notes[-1]


def test_a_front_door_that_could_never_be_asked_is_inconclusive(web: Web) -> None:
    watched = watch(web, traffic=_watching.traffic({"urls": ["http://no-such-host.invalid/"]}))
    decision = watched.go_on()
    assert (decision.verdict, decision.reasons) == (
        "inconclusive",
        ("requests through the front door could never be observed",),
    )


def test_secrets_are_not_recorded(web: Web, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "shop")
    store.begin_run("r1")
    web.failing = True
    url = web.at("/200?token=swordfish").replace("http://", "http://u:opensesame@")
    declared = ({"type": "http", "name": "door", "url": url, "headers": {"Authorization": "Bearer hidden-words"}},)
    watched = watch(web, store, "r1", declared=declared)
    watched.go_on(1)
    assert watched.series[0].verdict == "unhealthy"
    recorded = "".join(path.read_text() for path in (tmp_path / "shop" / "runs" / "r1").iterdir())
    assert not [word for word in ("swordfish", "opensesame", "hidden-words") if word in recorded]


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"urls": ["ftp://a"]}, "traffic: health check 1"),
        ({"urls": [1]}, "traffic: health check 1"),
    ],
)
def test_a_wrong_front_door_is_refused(declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _watching.traffic(declared)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"url": "http://p", "error_rat": "x"}, "prometheus: unknown option error_rat"),
        ({"url": "http://p"}, "prometheus: error_rate or p95 is missing"),
    ],
)
def test_a_wrong_prometheus_is_refused(declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _watching.prometheus(declared)
