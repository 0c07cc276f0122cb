# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide the hosts of a rollback into batches, the first one a canary. Pure; private to this collection."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%\Z")


def _size(asked: Any, total: int) -> int:
    """Return how many hosts a batch has: a number, or a share of all, rounded up. Raises ValueError."""
    text = str(asked).strip()
    share = _SHARE.match(text)
    if share:
        size = math.ceil(total * float(share.group(1)) / 100)
    elif text.isdigit():
        size = int(text)
    else:
        raise ValueError(f"a batch is a number of hosts or a share such as 25%, and not '{text}'")
    if size < 1:
        raise ValueError(f"a batch has at least one host, and not '{text}'")
    return size


def batches(hosts: Sequence[str], sizes: Any) -> list[list[str]]:
    """Divide ``hosts`` in their order; the last size is used until none is left. Raises ValueError for bad sizes."""
    asked = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
    if not asked:
        raise ValueError("there is no batch: name at least one size")
    counts = [_size(size, len(hosts)) for size in asked]
    divided, rest = [], list(hosts)
    while rest:
        size = counts[min(len(divided), len(counts) - 1)]
        divided.append(rest[:size])
        rest = rest[size:]
    return divided
