# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From judged checks to a verdict: rounds, successes in a row, reasons."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _health
from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Policy
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import Result

H, N, U = "healthy", "inconclusive", "unhealthy"


def result(verdict: str = H, name: str = "a", **more: Any) -> Result:
    return Result(**{"type": "http", "critical": True, "seconds": 0.1, "message": f"{name} is {verdict}",
                     "name": name, "verdict": verdict, **more})  # fmt: skip


def after(*rounds: Any, every: float = 1.0) -> _health.Progress:
    """The progress after rounds (a verdict, or the results of a round), the first at second 0."""
    progress = _health.Progress()
    for number, seen in enumerate(rounds):
        results = [result(seen)] if isinstance(seen, str) else seen
        progress = _health.advance(progress, results, number * every)
    return progress


@pytest.mark.parametrize(
    ("looks", "since"),
    [
        ([(10.0, True)], 10.0),
        ([(10.0, True), (11.0, True), (13.0, True)], 10.0),
        ([(10.0, False), (11.0, True), (13.0, True)], 11.0),
        ([(10.0, True), (11.0, False)], None),
        ([(10.0, True), (11.0, False), (13.0, True)], 13.0),
        ([(0.0, True), (1.0, True)], 0.0),
    ],
)
def test_a_look_that_finds_something_wrong_begins_the_time_anew(
    looks: list[tuple[float, bool]], since: float | None
) -> None:
    steady: float | None = None
    for moment, well in looks:
        steady = _health.steady_since(steady, well, moment)
    assert steady == since


def running(restarts: int, verdict: str = H, box: str = "c1") -> list[Result]:
    observed = {"containers": [{"name": "shop-backend-1", "id": box, "restarts": restarts}]}
    return [result(verdict, type="container", observed=observed)]


@pytest.mark.parametrize(
    ("rounds", "streak", "since", "relapses"),
    [
        ((H,), 1, 0.0, 0),
        ((H, H, H), 3, 0.0, 0),
        ((U, H, H), 2, 1.0, 0),
        ((N, H), 1, 1.0, 0),
        ((H, U, H), 1, 2.0, 1),
        ((H, N, H), 1, 2.0, 0),
        ((H, U, H, U), 0, None, 2),
        ((running(0), running(0)), 2, 0.0, 0),
        # A restart between two good looks: the second one starts a new run of successes.
        ((running(0), running(1)), 1, 1.0, 1),
        ((running(3), running(3)), 2, 0.0, 0),
        # A new container under the same name has its own count.
        ((running(3, box="c1"), running(0, box="c2"), running(0, box="c2")), 3, 0.0, 0),
        # A check that is not critical does not break it.
        (([result(H), result(U, "b", critical=False)],), 1, 0.0, 0),
        (([result(U, critical=False)],), 0, None, 0),
        (([],), 0, None, 0),
    ],
)  # fmt: skip
def test_rounds(rounds: Any, streak: int, since: float | None, relapses: int) -> None:
    progress = after(*rounds)
    assert (progress.streak, progress.since, progress.relapses) == (streak, since, relapses)


@pytest.mark.parametrize(
    ("before", "last", "less"),
    [
        ((), [result(N, cut=True)], False),
        ((H,), [result(N, cut=True)], False),
        ((U,), [result(U)], False),
        ((U,), [result(U), result(N, "b", cut=True)], True),
    ],
)
def test_a_round_that_the_deadline_cut_off(before: Any, last: list[Result], less: bool) -> None:
    assert _health.tells_less(after(*before), last) is less


@pytest.mark.parametrize(
    ("rules", "rounds", "now", "enough"),
    [
        (Policy(successes=2), (H,), 0.0, False),
        (Policy(successes=2), (H, H), 1.0, True),
        (Policy(successes=2), (H, U, H), 2.0, False),
        (Policy(successes=1, min_healthy=5), (H, H), 4.9, False),
        (Policy(successes=1, min_healthy=5), (H, H), 5.0, True),
        (Policy(successes=1, min_healthy=5), (U, H), 5.9, False),
        (Policy(successes=1, min_healthy=5), (U, H), 6.0, True),
    ],
)
def test_when_it_is_enough(rules: Policy, rounds: Any, now: float, enough: bool) -> None:
    assert _health.satisfied(after(*rounds), rules, now) is enough


@pytest.mark.parametrize(
    ("fail_fast", "rounds", "given_up"),
    [
        (True, ([result(U, final=True)],), False),
        (True, ([result(U, final=True)],) * 2, True),
        (False, ([result(U, final=True)],) * 2, False),
        (True, ([result(U)],) * 5, False),
        (True, ([result(U, final=True)], [result(U)], [result(U, final=True)]), False),
        (True, ([result(U, final=True, critical=False)],) * 2, False),
    ],
)
def test_when_it_is_hopeless(fail_fast: bool, rounds: Any, given_up: bool) -> None:
    assert _health.hopeless(after(*rounds), Policy(fail_fast=fail_fast)) is given_up


@pytest.mark.parametrize(
    ("rounds", "rules", "verdict", "reasons"),
    [
        ((H, H, H), Policy(), H, ()),
        ((U,), Policy(), U, ("a is unhealthy",)),
        ((N,), Policy(), N, ("a is inconclusive",)),
        (([result(N, "b"), result(U, "a")],), Policy(), U, ("a is unhealthy", "b is inconclusive")),
        ((U, H), Policy(), N, ("it was good 1 time in a row when the time was up, not 3",)),
        ((H, H, H), Policy(min_healthy=60), N, ("it was healthy for 2 s when the time was up, not 60 s",)),
        ((H, U, H), Policy(), U, ("it did not stay healthy: it fell back 1 time in 3 rounds",)),
        ((running(0), running(2)), Policy(), U,
         ("it did not stay healthy: it fell back 1 time in 2 rounds",
          "shop-backend-1 restarted 2 times while it was watched")),
        ((), Policy(), N, ("there is nothing to check: no check is declared and none could be derived",)),
        (([result(H, critical=False)],), Policy(), N, ("no check is critical, so nothing can be proven",)),
        # The deadline cut the last look off: what was seen before stands.
        (([result(U)], [result(N, cut=True, message="cut")]), Policy(), U, ("a is unhealthy",)),
        (([result(H)], [result(N, cut=True, message="cut")]), Policy(), N, ("cut",)),
    ],
)  # fmt: skip
def test_verdicts(rounds: Any, rules: Policy, verdict: str, reasons: tuple[str, ...]) -> None:
    now = float(max(0, len(rounds) - 1))
    outcome = _health.conclude(after(*rounds), rules, now, now)
    assert (outcome.verdict, outcome.reasons) == (verdict, reasons)


def test_what_is_not_critical_is_a_note() -> None:
    rounds = [[result(H), result(U, "b", critical=False)]] * 3
    outcome = _health.conclude(after(*rounds), Policy(), 2.1, 2.1)
    assert (outcome.verdict, outcome.reasons, outcome.notes) == (H, (), ("b is unhealthy",))


def about(service: str, verdict: str = U, kind: str = "container", needs: tuple[str, ...] = (), **more: Any) -> Result:
    words = {"container": "is down", "sql": "refuses connections", "http": "answers 503", "image": "runs a wrong image",
             "tcp": "is closed"}[kind]  # fmt: skip
    return result(verdict, f"{service} {kind}", type=kind, service=service, depends_on=needs,
                  **{"message": f"{service} {words}", **more})  # fmt: skip


@pytest.mark.parametrize(
    ("results", "sentences"),
    [
        # The cause explains what needs it, also over a service that has no check of its own.
        (
            [about("backend", needs=("postgres",)), about("postgres", kind="sql")],
            ["postgres refuses connections", "backend is unhealthy because postgres refuses connections"],
        ),
        (
            [about("proxy", kind="http", needs=("backend",)), about("backend", H, needs=("postgres",)),
             about("postgres")],
            ["postgres is down", "proxy is unhealthy because postgres is down"],
        ),
        # Only the deepest cause is named.
        (
            [about("proxy", needs=("backend",)), about("backend", needs=("postgres", "redis")), about("postgres")],
            ["postgres is down", "backend is unhealthy because postgres is down",
             "proxy is unhealthy because postgres is down"],
        ),
        # Two causes.
        (
            [about("backend", needs=("postgres", "redis")), about("postgres"), about("redis")],
            ["postgres is down", "redis is down", "backend is unhealthy because postgres is down and redis is down"],
        ),
        # A container that is down explains its own port; two signs of a running service are both told.
        ([about("postgres"), about("postgres", kind="tcp")], ["postgres is down"]),
        ([about("postgres", kind="sql"), about("postgres", kind="tcp")],
         ["postgres refuses connections", "postgres is closed"]),
        # A wrong image is nobody else's fault.
        (
            [about("backend", kind="image", needs=("postgres",)), about("postgres")],
            ["postgres is down", "backend runs a wrong image"],
        ),
        # What could not be observed is explained, but explains nothing.
        (
            [about("backend", N, needs=("postgres",)), about("postgres")],
            ["postgres is down", "backend cannot be judged because postgres is down"],
        ),
        (
            [about("backend", needs=("postgres",)), about("postgres", N, message="postgres is unclear")],
            ["backend is down", "postgres is unclear"],
        ),
        # Services that need each other: each is told for itself.
        (
            [about("a", needs=("b",)), about("b", needs=("a",))],
            ["a is down", "b is down"],
        ),
        # A check without a service can name what it needs.
        (
            [result(U, "front door", depends_on=("backend",)), about("backend")],
            ["backend is down", "front door is unhealthy because backend is down"],
        ),
        ([about("a", H)], []),
    ],
)  # fmt: skip
def test_a_failing_dependency_explains_its_dependents(results: list[Result], sentences: list[str]) -> None:
    assert _health.explain(results) == sentences


def test_dependencies_that_no_check_names() -> None:
    results = [about("backend"), about("postgres")]
    assert _health.explain(results, {"backend": ["postgres"]}) == [
        "postgres is down",
        "backend is unhealthy because postgres is down",
    ]


def test_the_screen_of_a_healthy_application() -> None:
    results = [[result(H, name) for name in "abcdefghi"]] * 3
    outcome = _health.conclude(after(*results), Policy(), 2.13, 2.13)
    assert _health.screen(outcome) == {
        "headline": "healthy: 9 of 9 checks, 3 times in a row, 2.1 s",
        "lines": [],
        "rows": [{"label": "Verified", "value": "9 of 9 checks, 3 times in a row, 2.1 s"}],
    }


def test_the_screen_of_an_unhealthy_application() -> None:
    outcome = _health.conclude(
        after([result(U), result(H, "b"), result(N, "c", critical=False)]), Policy(), 120.0, 120.0
    )
    assert _health.screen(outcome) == {
        "headline": "unhealthy: 1 of 3 checks good after 120.0 s",
        "lines": ["a is unhealthy", "not critical: c is inconclusive"],
        "rows": [{"label": "Verified", "value": "unhealthy: 1 of 3 checks good after 120.0 s"}],
    }


def test_without_any_look_there_is_no_verdict() -> None:
    assert _health.no_data("the engine is away").verdict == N
