#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how long evidence and decision take on the reference application, and a verification of twelve probes.

The application has a bad release (answers 500) and a restore point of the good one. `decision_s` is the work on the
host for the evidence and on the controller for the decision; `verify_s` is the work on the host for twelve probes in
one round, one of them slow on purpose, and `slowest_probe_s` is that one. Neither has Ansible's own start in it. The
last line is JSON with the medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from ansible_collections.schedgen.rollback.plugins.module_utils import _decision
from support import application

FRONT_DOOR = "http://127.0.0.1:8080"
# How long the slow one of the twelve takes, in seconds.
SLOW = 1.0
CHECKS: list[dict[str, Any]] = [
    *({"type": "container", "service": name} for name in ("backend", "frontend", "pdf-worker", "proxy", "redis")),
    {"type": "http", "url": f"{FRONT_DOOR}/health"},
    {"type": "http", "url": f"{FRONT_DOOR}/version"},
    {"type": "http", "service": "backend", "port": 3000, "path": "/health"},
    {"type": "tcp", "service": "redis", "port": 6379},
    {"type": "sql", "query": "SELECT count(*) FROM jobs", "min": 1},
    {"type": "log", "service": "backend", "since": "start", "limit": 1000},
    {"type": "command", "argv": ["sleep", str(SLOW)], "name": "slow on purpose"},
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    application.lab("up")
    application.lab("reset", "v1")
    assert application.playbook("pre-deploy-backup").rc == 0
    application.lab("deploy", "http-500")
    observed, decided, verified, slowest = [], [], [], []
    for number in range(chosen.rounds):
        found = application.evidence()
        started = time.monotonic()
        decision = _decision.decide([found], _decision.Policy())
        took = time.monotonic() - started
        assert decision.type == "quick", decision
        observed.append(found["seconds"])
        decided.append(found["seconds"] + took)
        result = application.module(
            "health_info",
            checks=CHECKS,
            derive="never",
            successes=1,
            database={"name": "schedgen", "service": "postgres", "user": "schedgen"},
        )
        assert result["verdict"] == "healthy", result["reasons"]
        verified.append(result["seconds"])
        slowest.append(max(probe["seconds"] for probe in result["probes"]))
        told = f"evidence {observed[-1]:.2f} s, decision {took:.3f} s, verification {verified[-1]:.2f} s"
        print(f"round {number + 1}: {told}")
    print(
        json.dumps(
            {
                "decision_s": round(statistics.median(decided), 2),
                "verify_s": round(statistics.median(verified), 2),
                "slowest_probe_s": round(statistics.median(slowest), 2),
                "rounds": chosen.rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
