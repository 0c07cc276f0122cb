# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads: phases, messages, the status table. Private to this collection.

Pure: takes plain data, returns lines of text. Everything fits in 80 columns and needs neither colour nor a terminal.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

WIDTH = 80
# Text stands to the right of the clock times: "13:20:05  ".
MARGIN = " " * 10
HIDDEN = "The output is hidden, because the task has no_log set."

# A small picture in a line of text, lowest first, and what stands for it where the output has no such characters.
BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = str.maketrans(BLOCKS, "_.:-=+*#")

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_PARTS = ("What happened:", "State:", "Next:")
# What ansible-core 2.19 puts before the words of a module or an action.
_CORE_PREFIX = re.compile(r"^(?:Task failed: )?(?:(?:Module|Action) failed: )?")
_LONGEST_PHASE = 66
_OUTPUT_LINES = 10


@dataclass(frozen=True)
class Screen:
    """What one result has to say to the operator."""

    headline: str = ""
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Failure:
    """One failed task on one host, in words."""

    host: str
    task: str
    text: str
    unreachable: bool = False


@dataclass(frozen=True)
class Ending:
    """How a run ended, for its last line. ``outcomes`` are what the hosts said themselves."""

    playbook: str
    seconds: float
    hosts: int = 0
    failed: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    outcomes: tuple[str, ...] = ()
    check: bool = False


def clean(text: str) -> str:
    """Return ``text`` without terminal escapes and control characters; tabs become spaces, line ends become ``\\n``."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").expandtabs(4)
    return "".join(char for char in plain if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def writable(text: str, encoding: str) -> str:
    """Return ``text`` with blocks drawn in ASCII where ``encoding`` has none."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN_BLOCKS)
    return text


def columns(text: str) -> int:
    """Return how many columns ``text`` takes on a terminal."""
    total = 0
    for char in text:
        if not unicodedata.combining(char):
            total += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return total


def _split(word: str, room: int) -> tuple[str, str]:
    """Cut ``word`` so that its first part takes at most ``room`` columns (and at least one character)."""
    taken = 0
    for index, char in enumerate(word):
        taken += columns(char)
        if taken > room and index:
            return word[:index], word[index:]
    return word, ""


def wrap(text: str, *, indent: str = "", hanging: str = "", width: int = WIDTH) -> list[str]:
    """Break ``text`` into lines of at most ``width`` columns.

    ``indent`` starts every line of the text, ``hanging`` is added where a line goes on. A line's own leading spaces
    are kept, so that a small table stays one; only a word longer than a whole line is cut.
    """
    lines: list[str] = []
    for raw in clean(text).split("\n"):
        body = raw.strip()
        if not body:
            continue
        own = raw[: len(raw) - len(raw.lstrip())]
        start, current = indent + own, ""
        if columns(start) > width // 2:
            start = indent
        follow = start + hanging
        # Runs of spaces inside a line align columns; they are kept as long as the line fits.
        words = [body] if columns(start + body) <= width else body.split()
        for word in words:
            candidate = f"{current} {word}" if current else word
            if columns(start + candidate) <= width:
                current = candidate
                continue
            if current:
                lines.append(start + current)
                start = follow
            rest = word
            while columns(start + rest) > width:
                head, rest = _split(rest, width - columns(start))
                lines.append(start + head)
                start = follow
            current = rest
        if current:
            lines.append(start + current)
    return lines


def shorten(text: str, width: int) -> str:
    """Return ``text`` on one line of at most ``width`` columns, cut at a word where possible."""
    line = " ".join(clean(text).split())
    if columns(line) <= width:
        return line
    head, _rest = _split(line, max(1, width - 3))
    at_word = head.rsplit(" ", 1)[0]
    if " " in head and columns(at_word) >= width // 2:
        head = at_word
    return head.rstrip(" ,;:.") + "..."


def duration(seconds: float) -> str:
    """Return a length of time as a person says it."""
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(moment: datetime) -> str:
    """Return the time of day of ``moment`` in UTC."""
    return moment.astimezone(timezone.utc).strftime("%H:%M:%S")


def host_names(hosts: Sequence[str], room: int) -> str:
    """Return the hosts by name where they fit into ``room`` columns, else how many they are."""
    named = ", ".join(clean(host) for host in hosts)
    return named if len(hosts) == 1 or columns(named) <= room else f"{len(hosts)} hosts"


def title(playbook: str, application: str, hosts: Sequence[str], moment: datetime, *, check: bool = False) -> list[str]:
    """Return the lines that open a run."""
    stamp = moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    room = WIDTH - len(stamp) - 2
    left = clean(playbook) + (f": {clean(application)}" if application else "")
    if hosts:
        left += f" on {host_names(hosts, room - columns(left) - 4)}"
    if columns(left) <= room:
        lines = [left + " " * (WIDTH - columns(left) - len(stamp)) + stamp]
    else:
        lines = [*wrap(left, hanging="  "), stamp]
    lines.append("=" * WIDTH)
    if check:
        lines.append("CHECK MODE: nothing is changed. What follows is what would happen.")
    return lines


def phase_title(role: str, entry: str = "main", *descriptions: str) -> str:
    """Return what a role does, in plain words: its first description that fits on a line, else its name."""
    for description in descriptions:
        line = " ".join(clean(description).split()).rstrip(".")
        if line and columns(line) <= _LONGEST_PHASE:
            return line
    words = role.rsplit(".", 1)[-1].replace("_", " ").strip()
    if entry and entry != "main":
        words += ": " + entry.replace("_", " ")
    return shorten(words[:1].upper() + words[1:], _LONGEST_PHASE)


def phase_start(moment: datetime, name: str) -> str:
    """Return the line that opens a phase."""
    return f"{clock(moment)}  {shorten(name, WIDTH - len(MARGIN))}"


def phase_end(seconds: float, *, failed: bool = False) -> str:
    """Return the line that closes a phase."""
    return f"{MARGIN}{'FAILED after' if failed else 'done in'} {duration(seconds)}"


def task_name(name: str) -> str:
    """Return a task's name without its role and without the prefix of the file that it stands in."""
    return " ".join(clean(name).rsplit(" | ", 1)[-1].split())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def screen(result: Mapping[str, Any]) -> Screen:
    """Read ``rollback_screen`` from a result (or from what ``set_stats`` was given); anything malformed is left out."""
    told = result.get("rollback_screen")
    if told is None:
        stats = result.get("ansible_stats")
        data = stats.get("data") if isinstance(stats, Mapping) else None
        told = data.get("rollback_screen") if isinstance(data, Mapping) else None
    if not isinstance(told, Mapping) or hidden(result):
        return Screen()
    lines = told.get("lines") or []
    if isinstance(lines, str):
        lines = [lines]
    rows = []
    for row in told.get("rows") or []:
        if isinstance(row, Mapping) and row.get("label"):
            rows.append((clean(_text(row["label"])), clean(_text(row.get("value", "")))))
    return Screen(
        headline=clean(_text(told.get("headline") or "")),
        lines=tuple(clean(_text(line)) for line in lines) if isinstance(lines, Sequence) else (),
        rows=tuple(rows),
    )


def hidden(result: Mapping[str, Any]) -> bool:
    """Whether nothing of this result may be shown."""
    return bool(result.get("_ansible_no_log")) or "censored" in result


def told(text: str, host: str = "") -> list[str]:
    """Return the lines of one thing that happened, under the running phase; ``host`` is named where given."""
    prefix = f"{clean(host)}: " if host else ""
    return wrap(prefix + text, indent=MARGIN, hanging="  ")


def screen_lines(said: Screen, host: str = "", *, deeper: bool = True) -> list[str]:
    """Return headline and further lines of a result, under the running phase."""
    lines = told(said.headline, host) if said.headline else []
    indent = MARGIN + "  " if deeper and (said.headline or host) else MARGIN
    if host and not said.headline and said.lines:
        lines = [f"{MARGIN}{clean(host)}:"]
    for line in said.lines:
        lines += wrap(line, indent=indent, hanging="  ")
    return lines


def plain(value: Any) -> str:
    """Return a value for reading: text as it is, a list of texts as lines, anything else as indented JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (str, int, float)) for item in value):
        return "\n".join(str(item) for item in value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _tail(output: Any) -> str:
    """Return the end of a command's output; of a traceback, its last line."""
    lines = [line for line in clean(_text(output or "")).splitlines() if line.strip()]
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[-1]
    return "\n".join(lines[-_OUTPUT_LINES:])


def failure_text(result: Mapping[str, Any]) -> str:
    """Return what a failed result has to say, for a person: no data dump and no traceback."""
    if hidden(result):
        return HIDDEN
    message = result.get("msg")
    text = plain(message) if message not in (None, "", [], {}) else ""
    text = _CORE_PREFIX.sub("", clean(text), count=1).strip()
    if "assertion" in result:
        text = f"{text}\nNot true: {plain(result['assertion'])}" if text else f"Not true: {plain(result['assertion'])}"
    crash = _tail(result.get("module_stderr"))
    if crash:
        text = f"{text}\n{crash}\nRun again with -vvv to see all of it." if text else crash
    output = _tail(result.get("stderr")) or _tail(result.get("stdout"))
    if "cmd" in result and result.get("rc"):
        text = f"The command ended with code {result['rc']}" + (f":\n{output}" if output else "")
    elif not text:
        text = output
    return text or "The task failed and gave no reason. Run again with -vvv to see all of it."


def failure_lines(failure: Failure, *, name_host: bool = False) -> list[str]:
    """Return a failure as it appears under its phase."""
    word = "UNREACHABLE" if failure.unreachable else "FAILED"
    lines = told(f"{word}: {task_name(failure.task)}", failure.host if name_host or failure.unreachable else "")
    for line in failure.text.split("\n"):
        lines += wrap(line, indent=MARGIN, hanging="  ")
    return lines


def summary(text: str) -> str:
    """Return the heart of a failure message: its first line, without the title of its first part."""
    lines = [line.strip() for line in clean(text).split("\n") if line.strip()]
    first = lines[0] if lines else ""
    if first.endswith(":") and len(lines) > 1 and first not in _PARTS:
        first = f"{first} {lines[1]}"
    for part in _PARTS:
        if first.startswith(part):
            return first[len(part) :].strip()
    return first


def next_row(text: str) -> tuple[tuple[str, str], ...]:
    """Return the row of the status table that says what to do next, when a failure message has such a part."""
    for line in clean(text).split("\n"):
        if line.strip().startswith(_PARTS[-1]):
            return (("Next", line.strip()[len(_PARTS[-1]) :].strip()),)
    return ()


def changed_text(name: str, *, check: bool = False, items: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the line of a task that changed something."""
    verb = "would change" if check else "changed"
    count = ""
    if items:
        changed = sum(1 for item in items if item.get("changed"))
        count = f" ({changed} of {len(items)} items)"
    return f"{verb}: {task_name(name)}{count}"


def moving(seconds: float, what: str, hosts: Sequence[str] = (), *, detail: str = "", width: int = WIDTH) -> str:
    """Return the line that shows that long work goes on. It stays one column short of ``width``."""
    line = f"{MARGIN}{duration(int(seconds)) if seconds >= 10 else f'{int(seconds)} s'}: {task_name(what)}"
    if detail:
        line += f", {detail}"
    if hosts:
        line += f" ({host_names(hosts, 30)})"
    start = line[: len(MARGIN)]
    return start + shorten(line, max(1, width - 1 - len(start)))


def beat_due(elapsed: float, previous: float, interval: float) -> bool:
    """Whether a log gets a further line about work that has gone on for ``elapsed`` seconds.

    One line in ``interval`` seconds for the first minute's worth, then one in three: hours of work stay readable.
    """
    step = interval if elapsed < 7 * interval else 3 * interval
    return elapsed - previous >= step


def merge_rows(rows: Mapping[str, str], new: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the status rows after a further result: a later value replaces the earlier one in its place."""
    merged = dict(rows)
    for label, value in new:
        merged[label] = value
    return merged


def _row(label: str, value: str, indent: str, wide: int) -> list[str]:
    """Return the lines of one row; a path that fits on a line of its own is not cut, so that it can be copied."""
    start = indent + label + " " * max(2, wide + 2 - columns(label))
    room = WIDTH - len(indent) - wide - 2
    longest = max((columns(word) for word in value.split()), default=0)
    if room < longest <= WIDTH - len(indent) - 2:
        return [start.rstrip(), *wrap(value, indent=indent + "  ")]
    body = wrap(value, width=room) or ["-"]
    gap = indent + " " * (wide + 2)
    if columns(start) > len(gap):
        return [start.rstrip(), *(gap + line for line in body)]
    return [start + body[0], *(gap + line for line in body[1:])]


def table(rows_by_host: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the status table; hosts are named when there is more than one."""
    hosts = {host: rows for host, rows in rows_by_host.items() if rows}
    if not hosts:
        return []
    labels = [columns(label) for rows in hosts.values() for label in rows]
    wide = min(max(labels), 24)
    lines = ["-" * WIDTH]
    for host, rows in hosts.items():
        indent = ""
        if len(hosts) > 1:
            lines += wrap(host)
            indent = "  "
        for label, value in rows.items():
            lines += _row(label, value, indent, wide)
    lines.append("-" * WIDTH)
    return lines


# As playbooks/vars/failures.yml says it.
_STOPPED = "was stopped because of another host"


def outcome(ending: Ending) -> str:
    """Return the last line of a run: how it ended, and with which exit code."""
    if ending.failed or ending.unreachable:
        code = "exit code 4: unreachable" if ending.unreachable else "exit code 2"
        hosts = [*ending.unreachable, *(host for host in ending.failed if host not in ending.unreachable)]
        told = [_why(ending, host) for host in hosts]
        # A host that was stopped with the others says nothing of the cause.
        words = next((text for text in told if _STOPPED not in text), told[0])
        where = "" if ending.hosts <= 1 else f"{host_names(hosts, 24)}: "
        return _line("FAILED", where + words, code)
    if not ending.hosts:
        return _line("NOTHING DONE", "no host matched, so no task ran", "exit code 0")
    if ending.check:
        return _line("DONE", "check only, nothing was changed", "exit code 0")
    took = duration(ending.seconds)
    said = set(ending.outcomes)
    where = f" on {ending.hosts} hosts" if ending.hosts > 1 else ""
    text = f"{clean(ending.playbook)} finished{where} in {took}"
    if len(said) == 1:
        text += f": {next(iter(said))}"
    return _line("DONE", text, "exit code 0")


def _why(ending: Ending, host: str) -> str:
    for failure in reversed(ending.failures):
        if failure.host == host:
            return "cannot be reached" if failure.unreachable else summary(failure.text)
    return f"{ending.playbook} did not finish"


def _line(word: str, text: str, code: str) -> str:
    room = WIDTH - len(word) - len(code) - 5
    return f"{word}: {shorten(text, room).rstrip('.') if columns(text) <= room else shorten(text, room)} ({code})"
