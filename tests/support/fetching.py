# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that fetch something from a registry, which may hang or fail once without anything being wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

TRIES = 3


def fetch(argv: Sequence[str], limit: float = 150) -> None:
    """Run a command up to three times, each for ``limit`` seconds at most. Raises what the last try raises."""
    for number in range(1, TRIES + 1):
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=limit)
            return
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            if number == TRIES:
                raise AssertionError(f"{' '.join(argv)}: {error}: {error.stderr!s}") from error
