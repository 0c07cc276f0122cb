# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A handful of requests through the front door, at once and within a budget of time. Private to this collection."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

from ansible_collections.schedgen.rollback.plugins.module_utils import _probes
from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Check
from ansible_collections.schedgen.rollback.plugins.module_utils._traffic import Sample

WORKERS = 4


def burst(doors: Sequence[Check], requests: int, budget: float, workers: int = WORKERS) -> list[Sample]:
    """Ask the doors (checks of type ``http`` with a url) in turn; return what was seen in ``budget`` seconds.

    Each door is asked at least once. A request that was begun and not answered in time is no data: its own timeout is
    the check's, and decides earlier.
    """
    if not doors:
        return []
    total = max(requests, len(doors))
    wanted = list(itertools.islice(itertools.cycle(doors), total))
    seen: list[Sample] = []
    ahead = iter(wanted)
    lock = threading.Lock()
    until = time.monotonic() + budget
    open_calls = 0

    def work() -> None:
        nonlocal open_calls
        while True:
            with lock:
                door = next(ahead, None)
                if door is None or time.monotonic() >= until:
                    return
                open_calls += 1
            sample = _ask(door)
            with lock:
                open_calls -= 1
                seen.append(sample)

    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(workers, total))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    with lock:
        return [*seen, *(Sample("", 0.0, trouble="cut") for _number in range(open_calls))]


def _ask(door: Check) -> Sample:
    started = time.monotonic()
    answer = _probes.ask(door)
    seconds = float(answer.get("latency", time.monotonic() - started))
    if answer.get("not_http"):
        # Something answers that is no web server: that says nothing about errors.
        return Sample(answer["target"], seconds, trouble="unavailable")
    return Sample(answer["target"], seconds, int(answer.get("status", 0)), str(answer.get("trouble", "")))
