#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remove the images of a restore point's code services from the engine, as a prune does when nothing uses them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application


def main() -> None:
    """Remove the images of the newest restore point whose label is named."""
    point = next(point for point in reversed(application.points()) if point["release"]["label"] == sys.argv[1])
    for service in point["release"]["services"].values():
        if service["code"]:
            application.docker("image", "rm", "--force", service["image_id"])


if __name__ == "__main__":
    main()
