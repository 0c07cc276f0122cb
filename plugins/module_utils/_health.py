# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From judged checks to a verdict: rounds, successes in a row, reasons. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Policy
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import (
    HEALTHY,
    INCONCLUSIVE,
    ORDER,
    UNHEALTHY,
    Result,
    worst,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text, times


@dataclass(frozen=True)
class Progress:
    """What the rounds so far amount to."""

    attempts: int = 0
    streak: int = 0
    since: float | None = None
    relapses: int = 0
    hopeless: int = 0
    results: tuple[Result, ...] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)
    restarted: Mapping[str, int] = field(default_factory=dict)


def round_verdict(results: Sequence[Result]) -> str:
    """The worst of the critical results; with none of them there is no data."""
    return worst(item.verdict for item in results if item.critical)


def tells_less(progress: Progress, results: Sequence[Result]) -> bool:
    """Whether a round that the deadline cut off says less than the unhealthy one before it."""
    return any(item.cut for item in results) and round_verdict(progress.results) == UNHEALTHY


def advance(progress: Progress, results: Sequence[Result], now: float) -> Progress:
    """The progress after one more round. A container that restarted between two rounds ends the run of successes."""
    known = {item.name: item for item in progress.results}
    # A probe that the deadline cut off says nothing new: a fault seen in the round before still stands.
    merged = tuple(
        known[item.name] if item.cut and item.name in known and known[item.name].verdict == UNHEALTHY else item
        for item in results
    )
    restarts, restarted = dict(progress.restarts), dict(progress.restarted)
    again = False
    for item in merged:
        for container in item.observed.get("containers", []) if item.type == "container" else []:
            key, count = f"{container['name']} {container['id']}", container["restarts"]
            if key in restarts and count > restarts[key]:
                restarted[container["name"]] = restarted.get(container["name"], 0) + count - restarts[key]
                again = again or item.critical
            restarts[key] = count
    verdict = round_verdict(merged)
    good = verdict == HEALTHY
    final = any(item.final and item.critical and item.verdict != HEALTHY for item in merged)
    return Progress(
        attempts=progress.attempts + 1,
        streak=0 if not good else 1 if again else progress.streak + 1,
        since=None if not good else now if again or progress.since is None else progress.since,
        relapses=progress.relapses + (1 if progress.streak and (verdict == UNHEALTHY or again) else 0),
        hopeless=progress.hopeless + 1 if final else 0,
        results=merged,
        restarts=restarts,
        restarted=restarted,
    )


def steady_since(since: float | None, well: bool, now: float) -> float | None:
    """Return since when all has been well on end, None when it is not; ``since`` is what the look before said."""
    if not well:
        return None
    return now if since is None else since


def satisfied(progress: Progress, rules: Policy, now: float) -> bool:
    """Whether enough good rounds have followed each other for long enough."""
    return (
        progress.streak >= rules.successes and progress.since is not None and now - progress.since >= rules.min_healthy
    )


def hopeless(progress: Progress, rules: Policy) -> bool:
    """Whether waiting longer cannot help: two rounds in a row saw a fault that does not go away by itself."""
    return rules.fail_fast and progress.hopeless >= 2


@dataclass(frozen=True)
class Outcome:
    """The verdict on an application, with its reasons."""

    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    results: tuple[Result, ...]
    attempts: int
    streak: int
    seconds: float


def no_data(reason: str, seconds: float = 0.0) -> Outcome:
    """The verdict when nothing could be looked at."""
    return Outcome(INCONCLUSIVE, (reason,), (), (), 0, 0, seconds)


def conclude(
    progress: Progress,
    rules: Policy,
    seconds: float,
    now: float,
    needs: Mapping[str, Iterable[str]] | None = None,
) -> Outcome:
    """The verdict when the watching ends, for whichever reason it ends.

    ``needs`` says which service needs which, beyond what the checks themselves say.
    """
    verdict = round_verdict(progress.results)
    critical = [item for item in progress.results if item.critical]
    reasons: list[str] = []
    if not progress.results:
        reasons.append("there is nothing to check: no check is declared and none could be derived")
    elif not critical:
        reasons.append("no check is critical, so nothing can be proven")
    elif verdict == HEALTHY and not satisfied(progress, rules, now):
        verdict = UNHEALTHY if progress.relapses else INCONCLUSIVE
        if progress.relapses:
            reasons.append(
                f"it did not stay healthy: it fell back {times(progress.relapses, 'time')} "
                f"in {times(progress.attempts, 'round')}"
            )
        elif progress.streak < rules.successes:
            reasons.append(
                f"it was good {times(progress.streak, 'time')} in a row when the time was up, not {rules.successes}"
            )
        elif progress.since is not None:
            reasons.append(
                f"it was healthy for {number_text(now - progress.since)} s when the time was up, "
                f"not {number_text(rules.min_healthy)} s"
            )
    if verdict != HEALTHY:
        reasons.extend(
            f"{name} restarted {'once' if count == 1 else f'{count} times'} while it was watched"
            for name, count in sorted(progress.restarted.items())
        )
    reasons.extend(explain(critical, needs))
    notes = explain([item for item in progress.results if not item.critical], needs)
    return Outcome(
        verdict,
        tuple(dict.fromkeys(reasons)),
        tuple(notes),
        progress.results,
        progress.attempts,
        progress.streak,
        seconds,
    )


#: What a failing dependency can bring about; a wrong image or a wrong migration is nobody else's fault.
_CAUSED = frozenset({"container", "http", "tcp", "command", "prometheus", "log", "sql"})
#: Which sign of a failing service tells most about it.
_TELLING = ("container", "sql", "tcp", "http", "image", "migrations", "command", "log", "prometheus")


def explain(results: Sequence[Result], more: Mapping[str, Iterable[str]] | None = None) -> list[str]:
    """Plain sentences for what is wrong, causes first; a failing dependency explains those that need it."""
    needs = dependencies(results, more)
    failing = sorted(
        (item for item in results if item.verdict != HEALTHY),
        key=lambda item: (
            -ORDER.index(item.verdict),
            _TELLING.index(item.type),
            len(_reach(item.service, needs, item.depends_on)),
        ),
    )
    main: dict[str, Result] = {}
    for item in failing:
        # An inconclusive sign explains nothing.
        if item.service and item.verdict == UNHEALTHY:
            main.setdefault(item.service, item)
    roots = {service for service in main if not any(other in main for other in _reach(service, needs) - {service})}
    causes: list[str] = []
    effects: list[str] = []
    for item in failing:
        behind = [
            main[name] for name in sorted((_reach(item.service, needs, item.depends_on) - {item.service}) & roots)
        ]
        if item.type in _CAUSED and behind:
            why = " and ".join(cause.message for cause in behind)
            subject = item.service or item.name
            effects.append(
                f"{subject} is unhealthy because {why}"
                if item.verdict == UNHEALTHY
                else f"{subject} cannot be judged because {why}"
            )
        elif (
            item.type in _CAUSED
            and item.service in main
            and main[item.service] is not item
            and main[item.service].type == "container"
        ):
            # The container itself is down: that its port or its login fails as well is no news.
            continue
        else:
            causes.append(item.message)
    return list(dict.fromkeys(causes + effects))


def dependencies(results: Iterable[Result], more: Mapping[str, Iterable[str]] | None = None) -> dict[str, set[str]]:
    """Which service needs which, as far as the checks say, and more that is known."""
    needs: dict[str, set[str]] = {service: set(names) for service, names in (more or {}).items()}
    for item in results:
        if item.service:
            needs.setdefault(item.service, set()).update(item.depends_on)
    return needs


def _reach(service: str, needs: Mapping[str, set[str]], more: Iterable[str] = ()) -> set[str]:
    reached: set[str] = set()
    ahead = [*needs.get(service, ()), *more]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(needs.get(name, ()))
    return reached


def screen(outcome: Outcome) -> dict[str, Any]:
    """What the operator's screen shows of an outcome."""
    total = len(outcome.results)
    good = sum(1 for item in outcome.results if item.verdict == HEALTHY)
    counted = f"{good} of {total} checks"
    if outcome.verdict == HEALTHY:
        times = "once" if outcome.streak == 1 else f"{outcome.streak} times in a row"
        told = f"{counted}, {times}, {outcome.seconds:.1f} s"
        headline = f"healthy: {told}"
    else:
        told = f"{outcome.verdict}: {counted} good after {outcome.seconds:.1f} s"
        headline = told
    lines = [*outcome.reasons, *(f"not critical: {note}" for note in outcome.notes)]
    return {"headline": headline, "lines": lines, "rows": [{"label": "Verified", "value": told}]}
