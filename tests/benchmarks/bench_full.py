#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure a full rollback of the reference application against the manual guide, under a client that writes.

A release that drops a column and a table is deployed, and files of the object store are damaged. Methods, interleaved:
playbook (full-rollback.yml to the restore point) and guide (stop everything, check out, drop and create the database,
gunzip | psql, unpack the volume, build, start). `outage_s` is the longest time in which the client was answered nothing
well, from its own ledger, and `total_s` the time from the command to its end with a healthy v1. The last line is JSON
with medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application, application_data

PSQL = "docker exec -i schedgen-postgres psql -q -U schedgen"


def shell(script: str) -> None:
    """Run what the guide would have a person type, in the project's folder."""
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=application.PROJECT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def volume() -> Path:
    """Return where the object store's files are."""
    return Path(application.docker("volume", "inspect", "--format", "{{.Mountpoint}}", "schedgen_minio_data").strip())


def guide_backup(folder: Path) -> None:
    """Back up as the guide does, by hand."""
    shell(f"docker exec schedgen-postgres pg_dump -U schedgen schedgen | gzip > '{folder}/db_schedgen.sql.gz'")
    shell(f"tar -czf '{folder}/minio.tar.gz' -C '{volume()}' .")


def guide(folder: Path) -> None:
    """Go back with everything as the guide says, without what it forgets: the database is dropped first."""
    shell("docker compose stop && docker compose up -d --wait postgres")
    shell("git checkout -q v1")
    shell(f"{PSQL} -d postgres -c 'DROP DATABASE schedgen WITH (FORCE)' -c 'CREATE DATABASE schedgen'")
    shell(f"gunzip -c '{folder}/db_schedgen.sql.gz' | {PSQL} -v ON_ERROR_STOP=1 -d schedgen")
    shell(f"rm -rf '{volume()}'/* && tar -xzf '{folder}/minio.tar.gz' -C '{volume()}'")
    shell("docker compose build && docker compose up -d --wait")


def playbook(_folder: Path) -> None:
    """Run the playbook to the only restore point there is."""
    done = application.playbook("full-rollback", rollback_to=application.points()[0]["id"], rollback_confirm=True)
    assert done.rc == 0, done.screen


def break_everything() -> None:
    """Deploy a release that drops data, and damage files."""
    application.lab("deploy", "migration-destructive")
    application.wait_until(lambda: not application.unhealthy(), "the destructive release runs", 120)
    for number, path in enumerate(sorted(volume().rglob("seed-*"))[:20]):
        path.write_text(f"overwritten {number}")


def outage(ledger: Path) -> float:
    """Return the longest time between two good answers, in seconds."""
    good = sorted(
        entry["t"] + entry["ms"] / 1000
        for entry in map(json.loads, filter(str.strip, ledger.read_text().splitlines()))
        if entry.get("status") in (200, 201)
    )
    return max((after - before for before, after in zip(good, good[1:])), default=0.0)


def is_v1() -> None:
    """Raise unless what was broken is whole again."""
    columns = application_data.in_application(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'jobs' AND column_name = 'customer'"
    )
    assert columns == "1", "the dropped column is not back"
    assert not [path for path in volume().rglob("seed-*") if path.read_bytes().startswith(b"overwritten")]
    assert not application.unhealthy()


def measure(method: Callable[[Path], None], folder: Path, rate: int) -> tuple[float, float]:
    """Break everything, go back under a client; return outage and total in seconds."""
    break_everything()
    ledger = folder / "ledger.jsonl"
    ledger.unlink(missing_ok=True)
    with application.load(ledger, rate=rate):
        time.sleep(2)
        started = time.monotonic()
        method(folder)
        application.wait_until(lambda: not application.unhealthy(), "v1 is healthy", 120)
        total = time.monotonic() - started
        time.sleep(2)
    is_v1()
    return outage(ledger), total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="megabytes of database (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=50, help="requests a second (default: %(default)s)")
    parser.add_argument("--ready", default="none", help="how the database is kept ready (default: %(default)s)")
    chosen = parser.parse_args()
    methods: dict[str, Callable[[Path], None]] = {"playbook": playbook, "guide": guide}
    found: dict[str, dict[str, list[float]]] = {name: {"outage": [], "total": []} for name in methods}
    application.lab("up")
    application.lab("reset", "v1")
    application_data.fill_application(chosen.size)
    folder = Path(tempfile.mkdtemp(prefix="bench-full-"))
    try:
        guide_backup(folder)
        done = application.playbook("pre-deploy-backup", rollback_database_ready=chosen.ready)
        assert done.rc == 0, done.screen
        for number in range(chosen.rounds):
            for name, method in methods.items():
                gap, total = measure(method, folder, chosen.rate)
                application_data.drop_set_aside()
                found[name]["outage"].append(gap)
                found[name]["total"].append(total)
                print(f"round {number + 1} {name:9} outage {gap:6.1f} s, total {total:6.1f} s", flush=True)
    finally:
        shutil.rmtree(folder)
        application.lab("reset", "v1")

    def middle(name: str, what: str) -> float:
        return round(statistics.median(found[name][what]), 2)

    told: dict[str, Any] = {
        "outage_s": middle("playbook", "outage"),
        "total_s": middle("playbook", "total"),
        "guide_outage_s": middle("guide", "outage"),
        "guide_total_s": middle("guide", "total"),
        "size": chosen.size,
        "ready": chosen.ready,
        "rounds": chosen.rounds,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
