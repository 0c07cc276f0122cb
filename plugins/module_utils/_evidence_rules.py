# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What observations amount to: requests, rows and files. Pure; private to this collection."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _traffic
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text

# A table may lose this share of its rows before that is taken for damage.
ROW_SHARE = 0.1
SAMPLES = 3


@dataclass(frozen=True)
class Sample:
    """One request through the front door. ``status`` is None for no answer; ``seconds`` is how long it took.

    ``trouble`` says why there was none; ``open`` tells that it was not over when the time was, which is no failure.
    """

    url: str
    status: int | None
    seconds: float
    trouble: str = ""
    open: bool = False


def failed(sample: Sample, statuses: Sequence[str]) -> bool:
    """Whether a request failed. ``statuses`` are the ones that count, such as 5xx or 404."""
    if sample.open:
        return False
    if sample.status is None:
        return True
    return str(sample.status) in statuses or f"{sample.status // 100}xx" in statuses


def traffic(samples: Sequence[Sample], window: float, statuses: Sequence[str] = ("5xx",)) -> dict[str, Any] | None:
    """Return what requests through the front door gave, None where there was none. ``window`` is in seconds."""
    if not samples:
        return None
    bad = [sample for sample in samples if failed(sample, statuses)]
    slow = _traffic.percentile([sample.seconds for sample in samples], 0.95)
    told = [f"{sample.url}: {sample.trouble or sample.status}" for sample in bad]
    return {
        "source": "probe",
        "requests": len(samples),
        "failed": len(bad),
        "error_rate": round(len(bad) / len(samples), 4),
        "p95": None if slow is None else round(slow, 3),
        "window": round(window, 2),
        "samples": list(dict.fromkeys(told))[:SAMPLES],
    }


def row_limit(table: str, limits: Mapping[str, Any]) -> tuple[float, bool]:
    """Return how much a table may lose, and whether that is a share of its rows (else a number of rows).

    ``limits`` has numbers by table, with or without schema, and C(default); a number below 1 is a share. Raises
    ValueError for what is no number.
    """
    value = limits.get(table, limits.get(table.rpartition(".")[2], limits.get("default", ROW_SHARE)))
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the row limit of {table} is '{value}', which is no number") from error
    if number < 0:
        raise ValueError(f"the row limit of {table} is {value}: it has to be 0 or more")
    return number, number < 1


def rows(recorded: Mapping[str, int], found: Mapping[str, int], limits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every table that has fewer rows than were recorded, and whether it lost more than it may."""
    told = []
    for table, then in sorted(recorded.items()):
        now = int(found.get(table, 0))
        if now >= then:
            continue
        limit, share = row_limit(table, limits)
        allowed = limit * then if share else limit
        words = f"{number_text(limit * 100)} %" if share else f"{number_text(limit)} rows"
        told.append({"table": table, "then": then, "now": now, "limit": words, "exceeded": then - now > allowed})
    return told


_ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=(.*)$")
_MAPPED = re.compile(r"^\s*-?\s*['\"]?([A-Za-z_][\w.-]*)['\"]?\s*:(.*)$")


def _settings(text: str) -> dict[str, list[str]]:
    """Return the settings in a text by key, whatever its format: ``KEY=value`` and ``key: value``."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        matched = _ASSIGNED.match(line) or _MAPPED.match(line)
        if matched:
            found.setdefault(matched.group(1), []).append(matched.group(2).strip())
    return found


def changed_keys(before: str, after: str) -> list[str]:
    """Return the keys of settings that two texts have differently; never a value."""
    then, now = _settings(before), _settings(after)
    return sorted(key for key in {*then, *now} if then.get(key) != now.get(key))


def largest(values: Sequence[Any]) -> float | None:
    """Return the largest of a query's values, None where none is a number."""
    numbers = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            numbers.append(number)
    return max(numbers, default=None)
