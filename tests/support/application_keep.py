#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the state of the reference application that most tests begin with, so that none of them has to make it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import application


def main() -> None:
    """Make it and keep it."""
    application.keep_backed_up()


if __name__ == "__main__":
    main()
