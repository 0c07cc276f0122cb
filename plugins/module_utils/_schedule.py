# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When scheduled work is due, and its command, as systemd and as cron have it. Pure; private to this collection."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(DAYS)
_HOUR = r"(?:[01]\d|2[0-3])"
_TIME = re.compile(
    rf"(?:(?P<days>(?:{_DAY})(?:(?:,|\.\.)(?:{_DAY}))*) )?(?P<hours>\*|{_HOUR}(?:,{_HOUR})*):(?P<minute>[0-5]\d)\Z"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def cron_fields(at: str) -> str:
    """Return the five fields of cron for a time that systemd takes as it is; raises ValueError for any other.

    Such times are ``02:15``, ``02,14:15``, ``*:20`` and ``Mon..Fri 02:15``.
    """
    found = _TIME.match(at)
    if found is None:
        raise ValueError(
            f"'{at}' is no time for a schedule: it is written as 02:15, as 02,14:15, as *:20 (every hour),"
            " or with days before it, as Sun 04:30 or Mon..Fri 02:15"
        )
    hours = ",".join(str(int(hour)) if hour != "*" else hour for hour in found["hours"].split(","))
    return f"{int(found['minute'])} {hours} * * {_cron_days(found['days'] or '')}"


def _cron_days(days: str) -> str:
    """Return days as cron's numbers, because it takes no lists of names; a range over the week's end is told apart."""
    numbers: set[int] = set()
    for part in filter(None, days.split(",")):
        first, *rest = (DAYS.index(day) for day in part.split(".."))
        if len(rest) > 1:
            raise ValueError(f"'{part}' is no range of days: it has two ends")
        last = rest[0] if rest else first
        numbers |= {day % 7 for day in range(first, (last if last >= first else last + 7) + 1)}
    return ",".join(str(day + 1) for day in sorted(numbers)) or "*"


def _plain(argv: Sequence[str]) -> list[str]:
    """Return the words of a command; raises ValueError where one cannot stand in a line."""
    for word in argv:
        if _CONTROL.search(word):
            raise ValueError(f"{word!r} has a control character, and cannot stand in a schedule")
    return list(argv)


def systemd_command(argv: Sequence[str]) -> str:
    """Return a command as ExecStart= has it: nothing in it is a specifier or a variable."""

    def quoted(word: str) -> str:
        told = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        return told if re.fullmatch(r"[\w@%+=:,./-]+", told) else f'"{told}"'

    return " ".join(quoted(word) for word in _plain(argv))


def cron_command(argv: Sequence[str]) -> str:
    """Return a command as cron has it: for a shell, and with no percent sign that would end it."""
    return shlex.join(_plain(argv)).replace("%", r"\%")
