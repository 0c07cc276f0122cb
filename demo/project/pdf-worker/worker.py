"""Writes a document for every queued job: the row is the truth, the queue only wakes the worker."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import FrameType

import psycopg2
import redis  # type: ignore[import-not-found]

OBJECTS = Path("/data/documents")
ALIVE = Path("/tmp/alive")
VERSION: str = json.loads(Path(__file__).with_name("release.json").read_text())["version"]
BATCH = 5

TAKE = "SELECT id, key, title FROM jobs WHERE status = 'queued' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"
DONE = "UPDATE jobs SET status = 'done', document = %s WHERE id = %s"


def document(job_id: int, key: str, title: str) -> bytes:
    """The smallest thing that can be called a document of the job."""
    return f"%PDF-1.4\n% job {job_id} {key}\n% {title}\n% made by pdf-worker {VERSION}\n%%EOF\n".encode()


def work(database: psycopg2.extensions.connection) -> int:
    """Write the documents of one batch; return how many."""
    with database, database.cursor() as cursor:
        cursor.execute(TAKE, (BATCH,))
        jobs = cursor.fetchall()
        for job_id, key, title in jobs:
            name = f"{key}.pdf"
            (OBJECTS / name).write_bytes(document(job_id, key, title))
            cursor.execute(DONE, (f"documents/{name}", job_id))
    return len(jobs)


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End between two batches or in the middle of one: a transaction that is cut short never happened."""
    raise SystemExit(0)


def main() -> None:
    """Work until told to stop."""
    signal.signal(signal.SIGTERM, stop)
    OBJECTS.mkdir(parents=True, exist_ok=True)
    queue = redis.Redis(host=os.environ.get("REDIS_HOST", "redis"), socket_timeout=5)
    database = psycopg2.connect(
        host=os.environ.get("DATABASE_HOST", "postgres"),
        dbname=os.environ.get("DATABASE_NAME", "schedgen"),
        user=os.environ.get("DATABASE_USER", "schedgen"),
        password=os.environ["DATABASE_PASSWORD"],
        connect_timeout=3,
    )
    print(f"pdf-worker {VERSION} is ready", flush=True)
    while True:
        done = work(database)
        ALIVE.touch()
        try:
            if not done:
                queue.brpop("jobs", timeout=1)
        except redis.RedisError as error:
            print(f"queue: {error}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
