"""The service that one release adds: reports once a second that it is there."""

from __future__ import annotations

import os
import time

import redis  # type: ignore[import-not-found]

queue = redis.Redis(host=os.environ.get("REDIS_HOST", "redis"), socket_timeout=5)
print("mailer is ready", flush=True)
while True:
    try:
        queue.set("mailer:alive", int(time.time()))
    except redis.RedisError as error:
        print(f"queue: {error}", flush=True)
    time.sleep(1)
