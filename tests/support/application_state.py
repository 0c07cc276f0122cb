# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs of the reference application: images, what is not well, commit, database."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from support import application

# In one statement: each question is a process in the server's container.
DATABASE = """
SELECT json_build_object(
  'migrations', (SELECT coalesce(json_agg(name ORDER BY id), '[]') FROM migrations),
  'columns', (SELECT coalesce(json_agg(table_name || '.' || column_name), '[]') FROM information_schema.columns
    WHERE table_schema = 'public'),
  'jobs', (SELECT count(*) FROM jobs WHERE key NOT LIKE 'load-%'),
  'damaged', (SELECT count(*) FROM jobs WHERE title = 'untitled'))
"""
DATABASES = "SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE NOT datistemplate"


def asked(statement: str, database: str) -> Any:
    """Ask the database's server; None where it gives no answer."""
    words = ["docker", "exec", "schedgen-postgres", "psql", "-qAtX", "-U", "schedgen", "-d", database, "-c", statement]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.stdout.strip() else None


def database() -> dict[str, Any]:
    """Look at the live database: migrations, columns, rows; and at the names of all databases."""
    live = asked(DATABASE, "schedgen") or {"migrations": [], "columns": [], "jobs": 0, "damaged": 0}
    return {**live, "columns": sorted(live["columns"]), "databases": asked(DATABASES, "postgres") or []}


def objects() -> str:
    """Identify what the object store's volume holds, but for the documents of the client that writes all the time."""
    look = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", "schedgen_minio_data"]
    folder = Path(subprocess.run(look, capture_output=True, text=True, check=True).stdout.strip())
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("load-"):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def look() -> dict[str, Any]:
    """Look at all of it."""
    containers = application.containers()
    head = subprocess.run(
        ["git", "-C", application.PROJECT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        **database(),
        "objects": objects(),
        "images": application.running_images(containers),
        "containers": sorted(entry["Id"] for entry in containers),
        "unhealthy": application.unhealthy(containers),
        "commit": head.stdout.strip(),
        "points": [[point["id"], point["purpose"]] for point in application.points()],
        "outcomes": [report["outcome"] for report in application.reports()],
        "leftovers": sorted(str(path.name) for path in application.STATE.rglob("*incomplete-*")),
    }
