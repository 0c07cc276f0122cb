# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application's clients, in a process of their own: a connection each, a fixed pace, and a ledger of what was
acknowledged. Each transaction needs a row that was there before and writes one; after an error a client connects again.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg2

from support import postgres

_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Seen:
    """What the clients saw: acknowledged rows with the moment (monotonic), and failures of each connection."""

    acknowledged: tuple[tuple[float, str], ...]
    failed: tuple[int, ...]

    @property
    def tokens(self) -> set[str]:
        return {token for _moment, token in self.acknowledged}

    @property
    def outage(self) -> float:
        """The longest time, in seconds, in which no client at all had a success."""
        moments = sorted(moment for moment, _token in self.acknowledged)
        return max(later - earlier for earlier, later in zip(moments, moments[1:]))


class Clients:
    """``count`` connections to a database, with ``rate`` transactions a second between them."""

    def __init__(self, server: postgres.Server, transaction: str, *, database: str, count: int, rate: float) -> None:
        self.seen = Seen((), ())
        self._done = _PROCESSES.Value("i", 0)
        self._over = _PROCESSES.Event()
        self._answer, answer = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(
            target=_work, args=(server, transaction, database, count, rate, self._done, self._over, answer), daemon=True
        )

    def until(self, more: int, seconds: float = 60) -> None:
        """Wait until ``more`` further transactions were acknowledged."""
        wanted, end = self._done.value + more, time.monotonic() + seconds
        while self._done.value < wanted:
            assert time.monotonic() < end, f"only {self._done.value} of {wanted} transactions were acknowledged"
            time.sleep(0.01)

    def __enter__(self) -> Clients:
        self._process.start()
        self.until(50)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.seen = self._answer.recv()
        self._process.join()


def _work(
    server: postgres.Server, transaction: str, database: str, count: int, rate: float, done: Any, over: Any, answer: Any
) -> None:
    """The process of the clients."""
    acknowledged: list[tuple[float, str]] = []
    failed = [0] * count
    run = time.time_ns()
    every = count / rate
    start = time.monotonic()

    def client(number: int) -> None:
        connection: Any = None
        due, sent = start + every * number / count, 0
        while not over.wait(max(0.0, due - time.monotonic())):
            token = f"w{run}-{number}-{sent}"
            sent += 1
            try:
                if connection is None:
                    connection = server.connect(database)
                with connection.cursor() as cursor:
                    cursor.execute(transaction, {"token": token, "number": sent})
                    if cursor.rowcount != 1:
                        raise psycopg2.DatabaseError("a row that was there is missing")
            except psycopg2.Error:
                failed[number] += 1
                if connection is not None:
                    connection.close()
                connection = None
            else:
                acknowledged.append((time.monotonic(), token))
                with done.get_lock():
                    done.value += 1
            # A connection does one thing at a time: what was due while it waited is not sent.
            while due <= time.monotonic():
                due += every
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answer.send(Seen(tuple(acknowledged), tuple(failed)))
