# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a handful of requests says: how many failed, and how long they took. Pure; private to this collection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.schedgen.rollback.plugins.module_utils._judge import INCONCLUSIVE, TROUBLES


@dataclass(frozen=True)
class Sample:
    """One request: its status, or the trouble (a kind that ``_judge.TROUBLES`` knows) that kept it from having one."""

    target: str
    seconds: float
    status: int = 0
    trouble: str = ""

    @property
    def observed(self) -> bool:
        """Whether it says anything about the application; a fault of the observer does not."""
        return bool(self.status) if not self.trouble else TROUBLES[self.trouble] != INCONCLUSIVE

    @property
    def failed(self) -> bool:
        """Whether a user would have seen an error: no answer, or one that says that the server failed."""
        return self.observed and (bool(self.trouble) or self.status >= 500)


@dataclass(frozen=True)
class Traffic:
    """Requests that say something, those that failed, those that say nothing; rate and latency in seconds, or none."""

    requests: int = 0
    failed: int = 0
    unobserved: int = 0
    error_rate: float | None = None
    p95: float | None = None


def summarise(samples: Iterable[Sample]) -> Traffic:
    """What some requests amount to. Without a single observed one there is no rate."""
    every = list(samples)
    seen = [item for item in every if item.observed]
    failed = sum(1 for item in seen if item.failed)
    # How long a refused connection took says nothing about how long users wait.
    answered = [item.seconds for item in seen if item.status]
    return Traffic(
        requests=len(seen),
        failed=failed,
        unobserved=len(every) - len(seen),
        error_rate=failed / len(seen) if seen else None,
        p95=percentile(answered, 0.95),
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of the values do not pass (nearest rank); none of none."""
    if not 0 < share <= 1:
        raise ValueError("a share is more than 0 and at most 1")
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
