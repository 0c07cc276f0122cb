# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What several of the house tests need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

EXPRESSION_WORDS = ("when", "failed_when", "changed_when", "until", "that", "var")


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every piece of Jinja in a YAML document: what is evaluated, not what is told to a person."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from expressions(name)
            yield from expressions(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner, key)
    elif isinstance(value, str):
        if key in EXPRESSION_WORDS:
            yield value
        yield from re.findall(r"\{\{.*?\}\}|\{%.*?%\}", value, re.DOTALL)
