# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a failure is told: what happened, what state things are in, what to do next. Private to this collection."""

from __future__ import annotations


class Expected(Exception):
    """A failure that a person can act on; anything else is a fault of this collection and shows its traceback.

    ``next_step`` is what to do about it, where that is known and no matter what was being done.
    """

    next_step = ""


EXPECTED = (Expected, ValueError, OSError)
_PARTS = ("What happened", "State", "Next")


def explain(happened: str, state: str, next_step: str) -> str:
    """Return one message of three parts, for a person who has to act on it.

    An empty part is refused: a failure that does not say what state it left is of no help at night.
    """
    lines = []
    for title, text in zip(_PARTS, (happened, state, next_step)):
        told = text.strip()
        if not told:
            raise ValueError(f"a failure has to say its {title!r} part")
        lines.append(f"{title}: {told}")
    return "\n".join(lines)


def next_step(error: Exception, otherwise: str) -> str:
    """Return what a person does about an error: something particular where it is known, else ``otherwise``."""
    return getattr(error, "next_step", "") or otherwise
