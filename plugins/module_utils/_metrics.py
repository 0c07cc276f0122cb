# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a monitoring system is told of an application, as Prometheus reads it. Pure; private to this collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _manifest, _status

PREFIX = "schedgen_rollback_"
#: What a restore point can be counted as; each is counted once.
STATES = ("usable", "bad", "unhealthy", "inconclusive", "safety", "unreadable")

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Family:
    """One metric: ``name`` without the prefix, ``kind`` gauge or counter, and its samples by their labels."""

    name: str
    kind: str
    told: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Backup:
    """The newest restore point that is no safety point: when it was complete, what it took and holds."""

    at: float
    seconds: float
    size: int


def _escaped(text: str) -> str:
    """Return a label's value as the text format has it."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    """Return a number without loss, and without a fraction where it has none."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def render(families: Iterable[Family], common: Mapping[str, str]) -> str:
    """Return the families in Prometheus's text format, each sample with the common labels."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        name = PREFIX + family.name
        told = family.told.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {name} {told}", f"# TYPE {name} {family.kind}"]
        for labels, value in family.samples:
            pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in {**common, **labels}.items())
            lines.append(f"{name}{{{pairs}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def state_of(point: _status.Point) -> str:
    """Return as what a restore point is counted; what keeps a rollback from it most comes first."""
    if point.problem:
        return "unreadable"
    if point.purpose == "safety":
        return "safety"
    if point.bad:
        return "bad"
    if point.usable:
        return "usable"
    return "unhealthy" if point.verdict == "unhealthy" else "inconclusive"


def _taken(points: Sequence[_status.Point], *, proven: bool) -> float:
    """Return when the newest usable restore point was begun, of those that are proven where that is asked."""
    point = _status.newest(points, proven=proven)
    return _manifest.moment(point.id).timestamp() if point else 0.0


def _of_runs(reports: Sequence[Mapping[str, Any]]) -> list[Family]:
    """Return what is told of runs; ``reports`` are newest first."""
    ended = Counter((str(report.get("type", "")), str(report.get("outcome", ""))) for report in reports)
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for report in reports:
        last.setdefault((str(report.get("type", "")), str(report.get("outcome", ""))), report)

    def each(value: Callable[[Mapping[str, Any]], float]) -> tuple[Sample, ...]:
        return tuple(({"type": kind, "outcome": outcome}, value(last[kind, outcome])) for kind, outcome in sorted(last))

    return [
        Family(
            "runs_total",
            "counter",
            "Runs on the application that have ended, by type and outcome.",
            tuple(({"type": kind, "outcome": outcome}, count) for (kind, outcome), count in sorted(ended.items())),
        ),
        Family(
            "run_last_end_timestamp_seconds",
            "gauge",
            "When the last run of the type with the outcome ended.",
            each(lambda report: datetime.fromisoformat(report["finished"]).timestamp()),
        ),
        Family(
            "run_last_duration_seconds",
            "gauge",
            "How long the last run of the type with the outcome took.",
            each(lambda report: float(report["seconds"])),
        ),
    ]


def families(
    points: Sequence[_status.Point],
    backup: Backup | None,
    reports: Sequence[Mapping[str, Any]],
    *,
    locked: bool,
    frozen: bool,
) -> list[Family]:
    """Return all that is told of one application; ``reports`` are newest first."""
    counted = Counter(state_of(point) for point in points)

    def gauge(name: str, told: str, *values: float) -> Family:
        return Family(name, "gauge", told, tuple(({}, value) for value in values))

    # That there has never been one is 0 and not silence: an alert on the age has to fire then too.
    return [
        gauge(
            "backup_last_success_timestamp_seconds",
            "When the newest restore point that is no safety point was complete; 0 when there is none.",
            backup.at if backup else 0,
        ),
        gauge(
            "backup_last_duration_seconds",
            "How long taking that restore point took.",
            *([backup.seconds] if backup else []),
        ),
        gauge(
            "backup_last_size_bytes",
            "Size of that restore point's files, dump and volumes, without images.",
            *([backup.size] if backup else []),
        ),
        gauge(
            "restore_point_usable_timestamp_seconds",
            "When the newest restore point was begun that a rollback could go to; 0 when there is none.",
            _taken(points, proven=False),
        ),
        gauge(
            "restore_point_proven_timestamp_seconds",
            "When the newest of these was begun whose database was proven to restore; 0 when there is none.",
            _taken(points, proven=True),
        ),
        Family(
            "restore_points",
            "gauge",
            "Restore points by state; each is counted once.",
            tuple(({"state": state}, counted[state]) for state in STATES),
        ),
        *_of_runs(reports),
        gauge("lock_held", "Whether a run held the application's lock when this was written.", locked),
        gauge("deployments_frozen", "Whether deployments were kept out when this was written.", frozen),
    ]
