# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a series of rounds says about an application that is watched. Pure; private to this collection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._judge import HEALTHY, INCONCLUSIVE, UNHEALTHY, worst
from ansible_collections.schedgen.rollback.plugins.module_utils._timeline import BLOCKS, duration
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text, times

#: The names that the checks of Prometheus have.
ERROR_RATE = "error rate of Prometheus"
P95 = "p95 of Prometheus"
#: Stands where a round could not say anything.
UNKNOWN = "?"


@dataclass(frozen=True)
class Rules:
    """How long to watch, and what is a clear failure."""

    window: float = 600.0
    interval: float = 10.0
    threshold: float = 0.05
    samples: int = 20
    rounds: int = 3
    p95: float = 0.0

    @property
    def total(self) -> int:
        """How many rounds fill the window, its first and its last moment among them."""
        return math.floor(self.window / self.interval) + 1


def rules(
    window: float = 600.0,
    interval: float = 10.0,
    threshold: float = 0.05,
    samples: int = 20,
    rounds: int = 3,
    p95: float = 0.0,
) -> Rules:
    """Validated rules."""
    for name, value in (("window", window), ("interval", interval)):
        if not value > 0:
            raise ValueError(f"{name} must be more than 0 seconds, not {number_text(value)}")
    if interval > window:
        raise ValueError(f"interval ({number_text(interval)} s) must not be longer than window")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be a share from 0 to 1, such as 0.05 for 5 %, not {number_text(threshold)}")
    for name, count in (("samples", samples), ("rounds", rounds)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1")
    if p95 < 0:
        raise ValueError("p95 must not be negative")
    return Rules(window, interval, threshold, samples, rounds, p95)


@dataclass(frozen=True)
class Round:
    """What one round saw; None stands for what could not be observed, or was not asked."""

    at: str
    elapsed: float
    verdict: str
    reasons: tuple[str, ...] = ()
    requests: int = 0
    failed: int = 0
    unobserved: int = 0
    error_rate: float | None = None
    p95: float | None = None
    restarts: int | None = None
    restarted: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    log_errors: int | None = None
    database: str = ""
    prometheus: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def rate(self) -> float | None:
        """The error rate of this round: the worse one of our own requests and Prometheus."""
        known = [value for value in (self.error_rate, self.prometheus.get("error_rate")) if value is not None]
        return max(known) if known else None

    @property
    def latency(self) -> float | None:
        """The 95th percentile of this round, likewise, in seconds."""
        known = [value for value in (self.p95, self.prometheus.get("p95")) if value is not None]
        return max(known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """The round as journal and result have it."""
        found = asdict(self)
        for name in ("error_rate", "p95"):
            found[name] = None if found[name] is None else round(found[name], 4)
        found["elapsed"] = round(self.elapsed, 3)
        for name in ("reasons", "restarted", "replaced"):
            found[name] = list(found[name])
        return found


def read_round(entry: Mapping[str, Any]) -> Round:
    """A round as it stands in the journal."""
    known = {item.name for item in fields(Round)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items() if key in known
    }
    return Round(**values)


@dataclass(frozen=True)
class Decision:
    """The verdict so far; ``clear`` says that watching longer cannot make it better."""

    verdict: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    clear: bool = False


def decide(series: Sequence[Round], limits: Rules, asked: Sequence[str] = (), *, over: bool = False) -> Decision:
    """What the series says, in the midst of the window or when it is over.

    ``asked`` names what the operator gave an address for: ``requests``, ``prometheus error rate``, ``prometheus p95``.
    What was asked for and never seen leaves the verdict open.
    """
    if not series:
        return Decision(INCONCLUSIVE, ("nothing was observed",))
    notes = _notes(series)
    faults = _clear_faults(series, limits)
    if faults:
        return Decision(UNHEALTHY, faults, notes, clear=True)
    last = series[-1]
    if not over:
        return Decision(last.verdict, last.reasons, notes)
    reasons: list[str] = []
    verdicts = [HEALTHY]
    if last.verdict != HEALTHY:
        verdicts.append(last.verdict)
        reasons += last.reasons or (f"the last round was {last.verdict}",)
    total = sum(item.requests for item in series)
    failed = sum(item.failed for item in series)
    if total and failed / total > limits.threshold:
        enough = total >= limits.samples or failed == total
        verdicts.append(UNHEALTHY if enough else INCONCLUSIVE)
        reasons.append(
            f"{failed} of {times(total, 'request')} failed, more than {percent(limits.threshold)}"
            + ("" if enough else f"; these are too few to judge (at least {limits.samples})")
        )
    measured = [item.prometheus["error_rate"] for item in series if item.prometheus.get("error_rate") is not None]
    rate = measured[-1] if measured else None
    if rate is not None and rate > limits.threshold:
        verdicts.append(UNHEALTHY)
        reasons.append(f"Prometheus says {percent(rate)} errors at the end, more than {percent(limits.threshold)}")
    blind = sum(1 for item in series if item.verdict == INCONCLUSIVE)
    if 2 * blind > len(series):
        verdicts.append(INCONCLUSIVE)
        reasons.append(f"{blind} of {times(len(series), 'round')} could not be judged")
    for name in _never_seen(series, asked):
        verdicts.append(INCONCLUSIVE)
        reasons.append(f"{name} could never be observed")
    return Decision(worst(verdicts), tuple(dict.fromkeys(reasons)), notes, clear=True)


def _clear_faults(series: Sequence[Round], limits: Rules) -> tuple[str, ...]:
    """What no further round can excuse."""
    last = series[-1]
    found = [f"{name} while it was watched" for item in series for name in item.restarted]
    total = failed = taken = 0
    # The newest rounds that make enough requests: an hour of good ones must not hide a minute of bad ones.
    for item in reversed(series):
        total, failed, taken = total + item.requests, failed + item.failed, taken + 1
        if total >= limits.samples:
            break
    if total >= limits.samples and failed / total > limits.threshold:
        span = "the last round" if taken == 1 else f"the last {taken} rounds"
        found.append(
            f"{failed} of {times(total, 'request')} failed in {span} "
            f"({percent(failed / total)}, more than {percent(limits.threshold)})"
        )
    newest = series[-limits.rounds :]
    if len(newest) == limits.rounds:
        in_a_row = f"{limits.rounds} rounds in a row" if limits.rounds > 1 else "one round"
        if all(item.verdict == UNHEALTHY for item in newest):
            found.append(f"unhealthy in {in_a_row}: {'; '.join(last.reasons) or 'a critical check fails'}")
        rates = [item.prometheus.get("error_rate") for item in newest]
        known = [rate for rate in rates if rate is not None]
        # A rate over some minutes still holds the errors of before the rollback, as long as it falls.
        if len(known) == limits.rounds and all(rate > limits.threshold for rate in known) and known[-1] >= known[0]:
            found.append(f"Prometheus says {percent(known[-1])} errors in {in_a_row}, and not falling")
        slow = [item.latency for item in newest if item.latency is not None]
        if limits.p95 and len(slow) == limits.rounds and all(value > limits.p95 for value in slow):
            found.append(f"p95 is {slow[-1]:.2f} s, more than {number_text(limits.p95)} s, in {in_a_row}")
    bad = sum(1 for item in series if item.verdict == UNHEALTHY)
    if bad >= 2 * limits.rounds and not any(fault.startswith("unhealthy in") for fault in found):
        found.append(f"it does not stay healthy: {bad} of {times(len(series), 'round')} were unhealthy")
    return tuple(dict.fromkeys(found))


def _never_seen(series: Sequence[Round], asked: Sequence[str]) -> list[str]:
    seen = {
        "requests": any(item.requests for item in series),
        "prometheus error rate": any(item.prometheus.get("error_rate") is not None for item in series),
        "prometheus p95": any(item.prometheus.get("p95") is not None for item in series),
    }
    words = {"requests": "requests through the front door", "prometheus error rate": ERROR_RATE, "prometheus p95": P95}
    return [f"the {words[name]}" if name != "requests" else words[name] for name in asked if not seen[name]]


def _notes(series: Sequence[Round]) -> tuple[str, ...]:
    notes = []
    bad = sum(1 for item in series if item.verdict == UNHEALTHY)
    if bad:
        notes.append(f"{bad} of {times(len(series), 'round')} {'was' if bad == 1 else 'were'} unhealthy")
    errors = sum(item.log_errors or 0 for item in series)
    if errors:
        notes.append(f"{times(errors, 'error line')} in the logs")
    if all(item.log_errors is None for item in series):
        notes.append("logs could not be read")
    if all(item.restarts is None for item in series):
        notes.append("restarts could not be observed")
    replaced = sorted({name for item in series for name in item.replaced})
    if replaced:
        notes.append(f"the containers of {', '.join(replaced)} were replaced meanwhile: somebody deploys")
    if all(item.rate is None for item in series):
        notes.append("no error rate was measured: rollback_traffic and rollback_prometheus say whom to ask")
    return tuple(notes)


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %"


def sparkline(values: Sequence[float | None], width: int = 60, top: float = 0.1) -> str:
    """A line of blocks, one a value, highest of several where they are more than ``width``; ``top`` fills a block."""
    if width < 1:
        raise ValueError("a line has at least one column")
    columns = min(width, len(values))
    scale = max([top, *(value for value in values if value is not None)])
    found = []
    for number in range(columns):
        part = values[number * len(values) // columns : (number + 1) * len(values) // columns]
        known = [value for value in part if value is not None]
        if not known:
            found.append(UNKNOWN)
            continue
        share = max(known) / scale if scale > 0 else 0.0
        found.append(BLOCKS[min(len(BLOCKS) - 1, math.ceil(share * (len(BLOCKS) - 1)))])
    return "".join(found)


def line_of(series: Sequence[Round], limits: Rules) -> str:
    """The error rate of a series as a line; a block is full at twice the threshold."""
    return sparkline([item.rate for item in series], top=max(2 * limits.threshold, 0.01))


def counted(series: Sequence[Round]) -> str:
    """What was asked and answered, in a phrase."""
    total, failed = sum(item.requests for item in series), sum(item.failed for item in series)
    parts = []
    if total:
        parts.append(f"{failed} of {times(total, 'request')} failed ({percent(failed / total)})")
    measured = [item.prometheus["error_rate"] for item in series if item.prometheus.get("error_rate") is not None]
    if measured and measured[-1] is not None:
        parts.append(f"Prometheus {percent(measured[-1])}")
    slow = [item.latency for item in series if item.latency is not None]
    if slow:
        parts.append(f"p95 up to {1000 * max(slow):.0f} ms")
    return ", ".join(parts) or "no request could be judged"


def message(item: Round) -> str:
    """One round in a phrase, for the journal."""
    parts = [] if item.rate is None else [f"errors {percent(item.rate)}"]
    if item.latency is not None:
        parts.append(f"p95 {1000 * item.latency:.0f} ms")
    if item.restarted:
        parts.append("; ".join(item.restarted))
    if item.log_errors:
        parts.append(f"{times(item.log_errors, 'error line')}")
    return ", ".join([*parts, *item.reasons[:2]])


def screen(series: Sequence[Round], limits: Rules, decision: Decision, *, done: bool, early: bool) -> dict[str, Any]:
    """What the operator's screen shows: progress while the window lasts, the outcome at its end."""
    elapsed = series[-1].elapsed if series else 0.0
    line = line_of(series, limits)
    if not done:
        headline = f"{duration(elapsed)} of {duration(limits.window)}: {decision.verdict}, {counted(series)}"
        return {"headline": headline, "lines": [line, *decision.reasons], "rows": []}
    told = (
        f"{decision.verdict} {'after' if early else 'in'} {duration(elapsed)}"
        f"{f' of {duration(limits.window)}' if early else ''}, {times(len(series), 'round')}: {counted(series)}"
    )
    return {
        "headline": told,
        "lines": [line, *decision.reasons, *(f"note: {note}" for note in decision.notes)],
        "rows": [{"label": "Monitored", "value": told}, {"label": "Error rate", "value": line or UNKNOWN}],
    }
