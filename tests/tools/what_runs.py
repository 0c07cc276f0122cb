#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print what runs of the reference application as JSON: images of each service, what is not well, the commit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_client


def main() -> None:
    """Look and print."""
    head = subprocess.run(
        ["git", "-C", lab_client.PROJECT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    found = {
        "images": lab_client.running_images(),
        "containers": sorted(entry["Id"] for entry in lab_client.containers()),
        "unhealthy": lab_client.unhealthy(),
        "commit": head.stdout.strip(),
        "points": [[point["id"], point["purpose"]] for point in lab_client.points()],
        "outcomes": [report["outcome"] for report in lab_client.reports()],
        "leftovers": sorted(str(path.name) for path in lab_client.STATE.rglob("*incomplete-*")),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
