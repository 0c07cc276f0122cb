# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a series of rounds says, as tables: every threshold at its edge, and everything that can be missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _monitoring as monitoring
from ansible_collections.schedgen.rollback.plugins.module_utils._monitoring import Round, Rules

LIMITS = Rules(window=60.0, interval=10.0, threshold=0.05, samples=20, rounds=3)


def seen(number: int = 0, verdict: str = "healthy", requests: int = 10, failed: int = 0, **more: Any) -> Round:
    rate = failed / requests if requests else None
    given = {"restarts": 0, "log_errors": 0, "error_rate": rate, "p95": 0.1 if requests else None, **more}
    reasons = () if verdict == "healthy" else (f"backend is {verdict}",)
    return Round(f"t{number}", 10.0 * number, verdict, reasons, requests, failed, **given)


def series(*rounds: dict[str, Any]) -> list[Round]:
    return [seen(number, **given) for number, given in enumerate(rounds)]


GOOD: dict[str, Any] = {}
BAD: dict[str, Any] = {"verdict": "unhealthy"}
BLIND: dict[str, Any] = {"verdict": "inconclusive"}


def metric(rate: float | None) -> dict[str, Any]:
    return {"prometheus": {"error_rate": rate}}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        # Requests: one of twenty is 5 %, and not more than that.
        ([{"failed": 1}, GOOD], ""),
        ([{"failed": 1}, {"failed": 1}], "2 of 20 requests failed in the last 2 rounds (10.0 %, more than 5.0 %)"),
        ([{"failed": 10}], ""),  # ten requests are too few to end the window
        ([{"requests": 20, "failed": 2}], "2 of 20 requests failed in the last round (10.0 %, more than 5.0 %)"),
        # An hour of good rounds does not hide the newest ones, and bad ones that are over are not news.
        ([GOOD] * 40 + [{"failed": 10}], "10 of 20 requests failed in the last 2 rounds (50.0 %, more than 5.0 %)"),
        ([GOOD, {"failed": 1}, GOOD, GOOD], ""),
        ([{"requests": 0}] * 5, ""),
        # Health checks.
        ([BAD, BAD], ""),
        ([BAD, BAD, BAD], "unhealthy in 3 rounds in a row: backend is unhealthy"),
        ([GOOD, BAD, BAD, GOOD], ""),
        ([BAD, BAD, BLIND], ""),
        ([BLIND] * 5, ""),
        ([BAD, BAD, GOOD, BAD, BAD, GOOD, BAD], ""),
        (
            [BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD],
            "it does not stay healthy: 6 of 8 rounds were unhealthy",
        ),
        # Restarts.
        (
            [GOOD, {"restarts": 1, "restarted": ("backend restarted once",)}],
            "backend restarted once while it was watched",
        ),
        # Prometheus: a rate over minutes still holds what was before, as long as it falls.
        ([metric(0.5), metric(0.4), metric(0.3)], ""),
        (
            [metric(0.3), metric(0.3), metric(0.3)],
            "Prometheus says 30.0 % errors in 3 rounds in a row, and not falling",
        ),
        ([metric(0.05)] * 3, ""),
        ([metric(0.5), metric(None), metric(0.5)], ""),
    ],
)
def test_a_clear_failure_ends_the_window(given: list[dict[str, Any]], reason: str) -> None:
    decision = monitoring.decide(series(*given), LIMITS)
    assert decision.clear is bool(reason)
    if reason:
        assert decision.verdict == "unhealthy"
        assert decision.reasons == (reason,)


@pytest.mark.parametrize(
    ("limit", "latencies", "clear"),
    [
        (0.0, [9.0, 9.0, 9.0], False),
        (1.0, [1.1, 1.1, 1.1], True),
        (1.0, [1.0, 1.0, 1.0], False),
        (1.0, [1.1, 0.9, 1.1], False),
        (1.0, [1.1, None, 1.1], False),
    ],
)
def test_latency(limit: float, latencies: list[float | None], clear: bool) -> None:
    limits = Rules(window=60.0, interval=10.0, p95=limit)
    decision = monitoring.decide(series(*({"p95": value} for value in latencies)), limits)
    assert decision.clear is clear
    if clear:
        assert decision.reasons == ("p95 is 1.10 s, more than 1 s, in 3 rounds in a row",)


@pytest.mark.parametrize(
    ("given", "asked", "verdict", "reason"),
    [
        ([], (), "inconclusive", "nothing was observed"),
        ([GOOD] * 7, (), "healthy", ""),
        ([GOOD, BAD, GOOD], (), "healthy", ""),
        ([GOOD, GOOD, BAD], (), "unhealthy", "backend is unhealthy"),
        ([GOOD, GOOD, BLIND], (), "inconclusive", "backend is inconclusive"),
        ([BLIND, BLIND, GOOD], (), "inconclusive", "2 of 3 rounds could not be judged"),
        ([BLIND, GOOD], (), "healthy", ""),
        # Few requests: all of them failed, or too few to say.
        ([{"requests": 3, "failed": 3}], (), "unhealthy", "3 of 3 requests failed, more than 5.0 %"),
        (
            [{"requests": 3, "failed": 1}],
            (),
            "inconclusive",
            "1 of 3 requests failed, more than 5.0 %; these are too few to judge (at least 20)",
        ),
        # What was spread over the whole window counts at its end.
        (
            [{"failed": 1}, GOOD, {"failed": 1}, GOOD, {"failed": 1}],
            (),
            "unhealthy",
            "3 of 50 requests failed, more than 5.0 %",
        ),
        ([{"failed": 1}, GOOD, GOOD], (), "healthy", ""),
        # What was asked for and never seen.
        ([{"requests": 0}] * 3, (), "healthy", ""),
        (
            [{"requests": 0}] * 3,
            ("requests",),
            "inconclusive",
            "requests through the front door could never be observed",
        ),
        ([GOOD, {"requests": 0}], ("requests",), "healthy", ""),
        ([GOOD], ("prometheus error rate",), "inconclusive", "the error rate of Prometheus could never be observed"),
        (
            [metric(None)],
            ("prometheus error rate",),
            "inconclusive",
            "the error rate of Prometheus could never be observed",
        ),
        ([metric(0.0)], ("prometheus error rate",), "healthy", ""),
        ([GOOD], ("prometheus p95",), "inconclusive", "the p95 of Prometheus could never be observed"),
        # Still too many at the end, although they fall.
        (
            [metric(0.5), metric(0.06)],
            ("prometheus error rate",),
            "unhealthy",
            "Prometheus says 6.0 % errors at the end, more than 5.0 %",
        ),
        ([metric(0.5), metric(0.05)], ("prometheus error rate",), "healthy", ""),
    ],
)
def test_the_verdict_when_the_window_is_over(
    given: list[dict[str, Any]], asked: tuple[str, ...], verdict: str, reason: str
) -> None:
    decision = monitoring.decide(series(*given), LIMITS, asked, over=True)
    assert (decision.verdict, decision.reasons) == (verdict, (reason,) if reason else ())


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ([GOOD, BAD], "1 of 2 rounds was unhealthy"),
        ([{"log_errors": 2}, {"log_errors": 1}], "3 error lines in the logs"),
        ([{"log_errors": None}], "logs could not be read"),
        ([{"restarts": None}], "restarts could not be observed"),
        ([{"replaced": ("backend",)}, GOOD], "the containers of backend were replaced meanwhile: somebody deploys"),
        ([{"requests": 0}], "no error rate was measured: rollback_traffic and rollback_prometheus say whom to ask"),
    ],
)
def test_what_else_was_seen_or_not(given: list[dict[str, Any]], note: str) -> None:
    assert monitoring.decide(series(*given), LIMITS).notes == (note,)


def test_a_good_series_has_no_notes() -> None:
    assert monitoring.decide(series(GOOD, GOOD), LIMITS).notes == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"window": 0}, "window must be more than 0 seconds, not 0"),
        ({"interval": -1}, "interval must be more than 0 seconds, not -1"),
        ({"window": 5, "interval": 10}, "interval (10 s) must not be longer than window"),
        ({"threshold": 5}, "threshold must be a share from 0 to 1, such as 0.05 for 5 %, not 5"),
        ({"threshold": -0.1}, "threshold must be a share from 0 to 1, such as 0.05 for 5 %, not -0.1"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"p95": -1}, "p95 must not be negative"),
    ],
)
def test_rules_that_make_no_sense_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told) + "$"):
        monitoring.rules(**given)


@pytest.mark.parametrize(("window", "interval", "total"), [(600, 10, 61), (6, 1, 7), (5, 2, 3), (1, 1, 2)])
def test_rounds_that_fill_a_window(window: float, interval: float, total: int) -> None:
    assert monitoring.rules(window, interval).total == total


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 60, ""),
        ([0.0, 0.0], 60, "▁▁"),
        ([None, 0.0, None], 60, "?▁?"),
        ([0.0, 0.001, 0.05, 0.1], 60, "▁▂▅█"),
        # A higher rate takes the height of the line.
        ([0.1, 1.0], 60, "▂█"),
        # Of several values in a column the worst one is seen.
        ([0.0, 0.1, 0.0, 0.0], 2, "█▁"),
        ([None, 0.1, None, None], 2, "█?"),
        ([0.0] * 121, 60, "▁" * 60),
    ],
)
def test_the_line_of_the_error_rate(values: list[float | None], width: int, expected: str) -> None:
    assert monitoring.sparkline(values, width) == expected


def test_a_line_has_a_width() -> None:
    with pytest.raises(ValueError, match="column"):
        monitoring.sparkline([0.0], 0)


def test_a_round_comes_back_from_the_journal() -> None:
    item = seen(3, "unhealthy", failed=3, restarted=("backend restarted once",), prometheus={"error_rate": 0.25})
    entry = json.loads(json.dumps({"step": "monitor", "status": "unhealthy", "message": "x", **item.as_dict()}))
    assert monitoring.read_round(entry) == item


@pytest.mark.parametrize(
    ("item", "rate", "latency"),
    [
        (seen(), 0.0, 0.1),
        (seen(requests=0), None, None),
        (seen(prometheus={"error_rate": 0.2, "p95": 0.05}), 0.2, 0.1),
        (seen(requests=0, prometheus={"error_rate": 0.2, "p95": 0.4}), 0.2, 0.4),
        (seen(prometheus={"error_rate": None, "p95": None}), 0.0, 0.1),
    ],
)
def test_the_worse_source_counts(item: Round, rate: float | None, latency: float | None) -> None:
    assert (item.rate, item.latency) == (rate, latency)


def test_the_screen_shows_progress_and_then_the_outcome() -> None:
    rounds = series(GOOD, GOOD, {"failed": 1})
    running = monitoring.screen(rounds, LIMITS, monitoring.decide(rounds, LIMITS), done=False, early=False)
    assert running == {
        "headline": "20 s of 1 min 00 s: healthy, 1 of 30 requests failed (3.3 %), p95 up to 100 ms",
        "lines": ["▁▁█"],
        "rows": [],
    }
    rounds = series(GOOD, {"failed": 5})
    early = monitoring.screen(rounds, LIMITS, monitoring.decide(rounds, LIMITS), done=True, early=True)
    assert early["headline"] == (
        "unhealthy after 10 s of 1 min 00 s, 2 rounds: 5 of 20 requests failed (25.0 %), p95 up to 100 ms"
    )
    assert early["rows"][1] == {"label": "Error rate", "value": "▁█"}
    over = monitoring.screen(
        series(GOOD), LIMITS, monitoring.decide(rounds[:1], LIMITS, over=True), done=True, early=False
    )
    assert over["headline"] == "healthy in 0.0 s, 1 round: 0 of 10 requests failed (0.0 %), p95 up to 100 ms"


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (seen(), "errors 0.0 %, p95 100 ms"),
        (seen(requests=0), ""),
        (
            seen(verdict="unhealthy", failed=5, log_errors=1),
            "errors 50.0 %, p95 100 ms, 1 error line, backend is unhealthy",
        ),
    ],
)
def test_a_round_in_a_phrase(item: Round, told: str) -> None:
    assert monitoring.message(item) == told
