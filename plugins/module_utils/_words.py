# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and texts as people read them. Pure; private to this collection."""

from __future__ import annotations

from typing import Any


def number_text(value: Any) -> str:
    return f"{float(value):.3f}".rstrip("0").rstrip(".")


def times(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def short(text: str, limit: int) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short_id(image: str) -> str:
    """An image id as people read it."""
    return image.split(":", 1)[-1][:12]
