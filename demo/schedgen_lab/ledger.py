"""What a load client's ledger says: it is the judge of what was lost, and knows nothing of the product."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One request: when it was due, what came of it."""

    t: float
    kind: str
    status: int
    ms: float
    key: str = ""
    id: int | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was answered well."""
        return 200 <= self.status < 400

    @property
    def ended(self) -> float:
        """When its answer came, or was given up."""
        return self.t + self.ms / 1000


def read(path: Path) -> list[Entry]:
    """Every complete line; the last one may be cut short when the client was killed."""
    entries = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            entries.append(Entry(**json.loads(line)))
    return sorted(entries, key=lambda entry: entry.ended)


def summarise(entries: Iterable[Entry]) -> dict[str, object]:
    """Counts, causes of failures, the longest gap, percentiles of the good answers' times."""
    found = sorted(entries, key=lambda entry: entry.ended)
    good = [entry for entry in found if entry.ok]
    failures: dict[str, int] = {}
    for entry in found:
        if not entry.ok:
            cause = str(entry.status) if entry.status else entry.error
            failures[cause] = failures.get(cause, 0) + 1
    times = sorted(entry.ms for entry in good)
    return {
        "sent": len(found),
        "ok": len(good),
        "failed": len(found) - len(good),
        "failures": failures,
        "gap_s": longest_gap(found),
        "p50_ms": percentile(times, 0.50),
        "p95_ms": percentile(times, 0.95),
        "p99_ms": percentile(times, 0.99),
        "seconds": round(found[-1].ended - found[0].t, 3) if found else 0.0,
        "acknowledged": [entry.id for entry in good if entry.kind == "write"],
    }


def longest_gap(entries: list[Entry]) -> float:
    """The longest time in which no request was answered well, of entries in order of their ends."""
    if not entries:
        return 0.0
    moments = [entries[0].t, *(entry.ended for entry in entries if entry.ok), entries[-1].ended]
    return round(max(later - earlier for earlier, later in zip(moments, moments[1:])), 3)


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which this share of the ordered values lies."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def missing_writes(entries: Iterable[Entry], keys_in_database: set[str]) -> list[str]:
    """The keys of acknowledged writes that the database does not have."""
    acknowledged = (entry.key for entry in entries if entry.kind == "write" and entry.ok)
    return sorted(key for key in acknowledged if key not in keys_in_database)
