#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print what runs of the reference application as JSON: images, what is not well, commit, database."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application


def psql(statement: str, database: str = "schedgen") -> list[str]:
    """Ask the database's server; nothing where it gives no answer."""
    command = [
        "docker",
        "exec",
        "schedgen-postgres",
        "psql",
        "-qAtX",
        "-U",
        "schedgen",
        "-d",
        database,
        "-c",
        statement,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def database() -> dict[str, object]:
    """Look at the live database: migrations, columns, rows; and at the names of all databases."""
    columns = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
    damaged = "SELECT count(*) FROM jobs WHERE title = 'untitled'"
    return {
        "migrations": psql("SELECT name FROM migrations ORDER BY id"),
        "columns": sorted(psql(columns)),
        "jobs": int((psql("SELECT count(*) FROM jobs WHERE key NOT LIKE 'load-%'") or ["0"])[0]),
        "damaged": int((psql(damaged) or ["0"])[0]),
        "databases": psql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1", "postgres"),
    }


def objects() -> str:
    """Identify what the object store's volume holds, but for the documents of the client that writes all the time."""
    look = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", "schedgen_minio_data"]
    folder = Path(subprocess.run(look, capture_output=True, text=True, check=True).stdout.strip())
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("load-"):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Look and print."""
    head = subprocess.run(
        ["git", "-C", application.PROJECT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    found = {
        **database(),
        "objects": objects(),
        "images": application.running_images(),
        "containers": sorted(entry["Id"] for entry in application.containers()),
        "unhealthy": application.unhealthy(),
        "commit": head.stdout.strip(),
        "points": [[point["id"], point["purpose"]] for point in application.points()],
        "outcomes": [report["outcome"] for report in application.reports()],
        "leftovers": sorted(str(path.name) for path in application.STATE.rglob("*incomplete-*")),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
