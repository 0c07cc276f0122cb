"""A load client: sends at a fixed rate whatever the answers (open loop), and writes down every one of them.

Reads are `GET /api/jobs`, every tenth request is a write with a key of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from .settings import DEMO, LOAD_LOG, LOAD_PID
from .shell import LabError, running_pid, say, start_background, stop_pid, wait_until

TIMEOUT = 5.0
WRITE_EVERY = 10
MOST_IN_FLIGHT = 4000

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Keeps connections alive, and writes a line for every request."""

    def __init__(self, url: str, ledger: Path) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.idle: list[Connection] = []
        self.ledger = ledger.open("a", buffering=1)
        self.run = secrets.token_hex(4)

    async def send(self, number: int, due: float) -> None:
        """Send a request; its time counts from when it was due."""
        write = number % WRITE_EVERY == 0
        key = f"load-{self.run}-{number}" if write else ""
        started = time.monotonic() - (time.time() - due)
        entry: dict[str, object] = {"t": round(due, 4), "kind": "write" if write else "read"}
        try:
            status, body = await asyncio.wait_for(self.exchange(self.request(key)), TIMEOUT)
            entry["status"] = status
            if write and status < 400:
                entry["id"] = json.loads(body)["id"]
        except (OSError, EOFError, ValueError, KeyError, asyncio.TimeoutError) as error:
            entry |= {"status": 0, "error": type(error).__name__}
        entry["ms"] = round((time.monotonic() - started) * 1000, 2)
        if write:
            entry["key"] = key
        self.ledger.write(json.dumps(entry) + "\n")

    def request(self, key: str) -> bytes:
        """The bytes of a write with this key, or of a read."""
        if not key:
            return f"GET /api/jobs?limit=5 HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        body = json.dumps({"key": key, "title": f"Load {key}", "customer": "Load <load@example.org>", "amount": 1})
        head = f"POST /api/jobs HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """One request and its answer. A kept connection that was closed meanwhile is no failure: as a browser does,
        the request goes once more over a new one (a write's key makes that safe)."""
        while self.idle:
            connection = self.idle.pop()
            try:
                return await self.over(connection, request)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
        return await self.over(await asyncio.open_connection(self.host, self.port), request)

    async def over(self, connection: Connection, request: bytes) -> tuple[int, bytes]:
        """One request over this connection, which is kept when it may be."""
        reader, writer = connection
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            body = await self.body(reader, headers)
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self.idle.append(connection)
        return int(head[0].split()[1]), body

    @staticmethod
    async def body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        """The body of an answer, however its length is told."""
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        chunks = []
        while True:
            size = int(await reader.readline(), 16)
            chunks.append(await reader.readexactly(size))
            await reader.readline()
            if size == 0:
                return b"".join(chunks)


async def drive(url: str, rate: float, ledger: Path) -> None:
    """Send until told to stop, then wait for the answers that are due."""
    client = Client(url, ledger)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    started = time.time()
    sent = 0
    tasks: set[asyncio.Task[None]] = set()
    while not stopped.is_set():
        now = time.time()
        while (due := started + sent / rate) <= now:
            sent += 1
            if len(tasks) < MOST_IN_FLIGHT:
                task = loop.create_task(client.send(sent, due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopped.wait(), max(0.0, due - time.time()))
    if tasks:
        await asyncio.wait(tasks)
    client.ledger.close()


def start(url: str, rate: float, ledger: Path, pid_file: Path = LOAD_PID) -> None:
    """Start the client in the background; comes back when the first answer is in the ledger."""
    if running_pid(pid_file, "load") is not None:
        raise LabError("a load client runs already: `lab.py load stop` ends it")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("")
    program: list[str | Path] = [sys.executable, DEMO / "lab.py", "load", "run"]
    start_background([*program, "--url", url, "--rate", str(rate), "--ledger", ledger], log=LOAD_LOG, pid_file=pid_file)
    wait_until(f"the load client works, see {LOAD_LOG}", lambda: ledger.stat().st_size > 0, timeout=15, every=0.05)
    say(f"{rate:g} requests/s to {url}, ledger {ledger}")


def stop(pid_file: Path = LOAD_PID) -> bool:
    """Stop the client once its last answers are written down; False when none runs."""
    return stop_pid(pid_file, "load", timeout=3 * TIMEOUT)
