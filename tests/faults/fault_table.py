# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which faults there are, at which moment each strikes, and how what was seen is judged. Pure: nothing runs here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

# How the first run may end.
#   lives    its controller is killed, and the host brings what was asked for to its end without it
#   killed   nobody is there to say anything; the second run has to put things right
#   fails    exit code not 0, with a clear error, and nothing changed
#   either   what was asked for is there, or a clear error and nothing changed
#   done     exit code 0, and what was asked for is there
ENDINGS = ("lives", "killed", "fails", "either", "done")


@dataclass(frozen=True)
class Moment:
    """A state that can be seen from outside. All that is given has to be seen at once.

    ``journal`` is a step and status in the run's journal, ``activity`` a query that has a row, ``files`` a pattern
    below the state folder, ``container`` the beginning of a container's name. ``hold`` is a statement whose open
    transaction keeps the operation there, taken before it starts, or at the moment named ``after``; with ``inside`` in
    the live database. ``commits`` goes on from there until the server waits with the commit.
    """

    journal: tuple[str, str] | None = None
    activity: str = ""
    files: str = ""
    container: str = ""
    hold: str = ""
    after: str = ""
    inside: bool = False
    commits: bool = False


_COMMENTS = "LOCK TABLE pg_shdescription IN SHARE MODE"
_WAITS = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE "
_MARKING = f"{_WAITS}'COMMENT ON DATABASE%'"

MOMENTS = {
    # Taking a restore point.
    "waiting for a table": Moment(
        hold="LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE", inside=True, activity=f"{_WAITS}'LOCK TABLE %'"
    ),
    "tables are written": Moment(files="restore_points/.incomplete-*/database/dump/*.dat*"),
    "its copy is restored": Moment(activity="SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'shop\\_ready\\_%'"),
    # Restoring beside.
    "files are checked": Moment(journal=("database restore", "checksums")),
    "made, not yet marked": Moment(hold=_COMMENTS, activity=_MARKING),
    "rows are loaded": Moment(
        activity="SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'shop\\_side\\_%' AND query LIKE 'COPY %'"
    ),
    "loaded, not yet compared": Moment(journal=("database restore", "restored")),
    "compared, not yet marked": Moment(hold=_COMMENTS, after="loaded, not yet compared", activity=_MARKING),
    # Swapping, and swapping back.
    "nobody gets in": Moment(hold=_COMMENTS, activity=_MARKING),
    "the swap commits": Moment(hold=_COMMENTS, activity=_MARKING, commits=True),
    "swapped": Moment(journal=("database swap", "done")),
    # Taking migrations back.
    "rehearsing": Moment(journal=("rehearsal", "begun"), container="schedgen-rollback-rehearsal-"),
    "services are stopped": Moment(journal=("stop", "begun")),
    "nobody gets in, copying": Moment(
        hold="COMMENT ON DATABASE schedgen IS 'held'", activity=f"{_WAITS}'CREATE DATABASE%'"
    ),
    "copied, not yet marked": Moment(hold=_COMMENTS, activity=_MARKING),
    "a step begins": Moment(journal=("revert", "begun")),
    "a step is half done": Moment(
        activity="SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1)%' AND pid <> pg_backend_pid()"
    ),
    "putting back": Moment(hold=_COMMENTS, after="a step begins", activity=_MARKING),
    "taken back, not yet marked": Moment(hold=_COMMENTS, after="a step begins", activity=_MARKING),
    # A database with its release, by playbook.
    "the application stops": Moment(journal=("stop", "started")),
    "a step back begins": Moment(journal=("database revert", "begun")),
    "the databases change places": Moment(journal=("database", "started")),
    "the volumes have changed places": Moment(journal=("volume", "done")),
    "files are written": Moment(journal=("files", "started")),
    "images are named": Moment(journal=("references", "started")),
    "the application starts": Moment(journal=("services", "started")),
    "health is awaited": Moment(journal=("health", "started")),
    "everything is compared": Moment(journal=("proof", "started")),
}


@dataclass(frozen=True)
class Fault:
    """One fault: of which kind, in which operation, at which moment, and how the first run has to end.

    ``names`` is what a clear error has to say. ``trouble`` is what is wrong in the world besides (see the targets),
    which a person has fixed before the second run.
    """

    kind: str
    operation: str
    moment: str
    ending: str
    names: str = ""
    trouble: str = ""

    @property
    def name(self) -> str:
        """The row's name, for people and for --only."""
        return f"{self.operation}: {self.kind}, {self.moment}"


CONTROLLER, HOST, SERVER, ALL = "kill controller", "kill host side", "kill PostgreSQL", "kill everything"
# A write that finds no room at all, and one that finds room for a part of its page.
_FULL = "No space left|Check free disk space"
_GONE = r"server closed|terminat|connect|recover|starting up|shut|not running|is running|no address|reset by peer"


def _killed(operation: str, *moments: str, trouble: str = "", server: str = "fails") -> list[Fault]:
    """Every kind of kill at each of these moments."""
    found = []
    for moment in moments:
        found += [
            Fault(CONTROLLER, operation, moment, "killed" if trouble else "lives", trouble=trouble),
            Fault(HOST, operation, moment, "killed", trouble=trouble),
            Fault(SERVER, operation, moment, server, _GONE, trouble=trouble),
            Fault(ALL, operation, moment, "killed", trouble=trouble),
        ]
    return found


def _by_playbook(operation: str, *changing: str, end: tuple[str, ...] = ()) -> list[Fault]:
    """Every kill of one side at each step of the critical section."""
    found = []
    for moment in ("the application stops", *changing, "the application starts", "health is awaited", *end):
        found += [
            Fault(CONTROLLER, operation, moment, "lives"),
            Fault(HOST, operation, moment, "killed"),
            Fault(SERVER, operation, moment, "either", f"{_GONE}|not healthy"),
        ]
    return found


FAULTS = (
    *_killed("dump", "tables are written", server="either"),
    Fault(HOST, "dump", "waiting for a table", "killed"),
    Fault(HOST, "dump", "its copy is restored", "killed"),
    Fault(SERVER, "dump", "its copy is restored", "fails", _GONE),
    Fault("disk full", "dump", "tables are written", "fails", _FULL, trouble="small state folder"),
    Fault("lock held", "dump", "from the beginning", "fails", "lock", trouble="table locked"),
    *_killed("restore", "files are checked", server="either"),
    *_killed(
        "restore", "made, not yet marked", "rows are loaded", "loaded, not yet compared", "compared, not yet marked"
    ),
    Fault("disk full", "restore", "rows are loaded", "fails", _FULL, trouble="disk fills"),
    Fault("disk full", "restore", "from the beginning", "fails", "are needed beside", trouble="disk is full"),
    Fault("damaged dump", "restore", "truncated", "fails", "damaged", trouble="truncated"),
    Fault("damaged dump", "restore", "one bit flipped", "fails", "damaged", trouble="flipped"),
    Fault("damaged dump", "restore", "empty", "fails", "damaged", trouble="empty"),
    Fault("damaged dump", "restore", "plain, truncated", "fails", "damaged|cut off", trouble="plain truncated"),
    Fault("damaged dump", "restore", "plain, one bit flipped", "fails", "damaged", trouble="plain flipped"),
    Fault("damaged dump", "restore", "plain, empty", "fails", "no statement", trouble="plain empty"),
    Fault("missing", "restore", "a role", "fails", "roles .*missing.*: auditor", trouble="role missing"),
    Fault("missing", "restore", "an extension", "fails", "extensions .*: citext", trouble="extension missing"),
    *_killed("swap", "nobody gets in"),
    *_killed("swap", "the swap commits", server="either"),
    Fault(HOST, "swap", "swapped", "killed"),
    Fault("folder read-only", "swap", "the swap commits", "fails", "Read-only", trouble="state folder read-only"),
    Fault("folder read-only", "undo", "the swap commits", "fails", "Read-only", trouble="state folder read-only"),
    Fault("reconnecting clients", "swap", "all the time", "done", trouble="clients reconnect"),
    Fault("endless session", "swap", "from the beginning", "fails", "being accessed", trouble="session stopped"),
    Fault("prepared transaction", "swap", "open", "fails", "prepared transactions.*stuck", trouble="prepared"),
    Fault("logical slot", "swap", "there", "fails", "replication slots.*feed", trouble="slot"),
    Fault("second run", "swap", "nobody gets in", "done", "lock of .* is held by"),
    *_killed("undo", "nobody gets in"),
    *_killed("undo", "the swap commits", server="either"),
    Fault("reconnecting clients", "undo", "all the time", "done", trouble="clients reconnect"),
    Fault("prepared transaction", "undo", "open", "fails", "prepared transactions.*stuck", trouble="prepared"),
    Fault("logical slot", "undo", "there", "fails", "replication slots.*feed", trouble="slot"),
    *_killed("revert", "rehearsing", server="either"),
    *_killed("revert", "nobody gets in, copying", "copied, not yet marked", "a step is half done"),
    Fault(HOST, "revert", "services are stopped", "killed"),
    Fault(CONTROLLER, "revert", "taken back, not yet marked", "lives"),
    Fault(HOST, "revert", "taken back, not yet marked", "killed"),
    *_killed("revert", "putting back", trouble="long transaction", server="fails"),
    Fault("lock held", "revert", "by a long transaction", "fails", "lock timeout", trouble="long transaction"),
    Fault("tool hangs", "revert", "in a step", "fails", "did not end in time", trouble="tool hangs"),
    Fault("tool hangs", "revert", "in the rehearsal", "fails", "did not end in time", trouble="tool hangs, rehearsed"),
    Fault("reconnecting clients", "revert", "all the time", "done", trouble="clients reconnect"),
    Fault("disk full", "revert", "nobody gets in, copying", "fails", "are free now", trouble="disk fills"),
    *_by_playbook("rollback by revert", "a step back begins"),
    *_by_playbook("rollback by restore", "the databases change places"),
    *_by_playbook(
        "rollback by restore, of everything",
        "the databases change places",
        "the volumes have changed places",
        "files are written",
        "images are named",
        end=("everything is compared",),
    ),
)


def third(faults: Sequence[Fault]) -> list[Fault]:
    """Return about a third of the faults: of every kind at least one, of the kinds not the same operations.

    Of the whole playbooks, which take a minute each, one of each.
    """
    long = [fault for fault in faults if fault.operation.startswith("rollback")]
    chosen = long[1::21]
    ordered = sorted((fault for fault in faults if fault not in long), key=lambda fault: fault.kind)
    for number, (_kind, group) in enumerate(groupby(ordered, key=lambda fault: fault.kind)):
        rows = list(group)
        chosen += rows[number % min(3, len(rows)) :: 3]
    return [fault for fault in faults if fault in chosen]


# -- judging -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What the target's own look found after a run.

    ``rc`` and ``message`` are the run's, None and '' for a killed one. ``asked`` tells that what was asked for is
    there, ``unchanged`` that the live database is the one from before; ``broken`` names what is not whole in the live
    database, ``left`` what was left behind, ``open`` that the live database lets clients in.
    """

    rc: int | None
    message: str
    asked: bool
    unchanged: bool
    open: bool = True
    broken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """The judgement of one fault."""

    fault: Fault
    lost: int
    lied: tuple[str, ...]
    wrong: tuple[str, ...]
    converged: bool
    writes: int = 0
    seconds: float = 0.0
    first: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing at all is to be said against it."""
        return not self.lost and not self.lied and not self.wrong and self.converged


_PARTS = re.compile(r"What happened: (.+)\nState: (.+)\nNext: (.+)", re.DOTALL)


def judge(fault: Fault, first: Seen, second: Seen, lost: int, *, writes: int = 0, seconds: float = 0.0) -> Row:
    """Hold what was seen against what has to be."""
    lied, wrong = [], []
    for name, seen in (("first", first), ("second", second)):
        if seen.rc == 0 and not seen.asked:
            lied.append(f"the {name} run ended with exit code 0, and what was asked for is not there")
        if seen.rc and "not touched" in seen.message and not seen.unchanged:
            lied.append(f"the {name} run said that nothing was touched, and the live database is another one")
        if seen.rc == 0 and not seen.open:
            lied.append(f"the {name} run ended with exit code 0, and nobody gets into the live database")
        wrong += [f"after the {name} run: {entry}" for entry in seen.broken]
    wrong += _ended_wrongly(fault, first)
    converged = second.rc == 0 and second.asked and second.open and not second.left
    if not converged:
        wrong.append(
            f"the second run ended with {second.rc}, what was asked for is {'' if second.asked else 'not '}there,"
            f" left behind: {', '.join(second.left) or 'nothing'}; {_short(second.message)}"
        )
    told = "killed" if first.rc is None else "done" if first.rc == 0 else f"failed ({first.rc})"
    return Row(fault, lost, tuple(lied), tuple(wrong), converged, writes, seconds, told)


def _ended_wrongly(fault: Fault, first: Seen) -> list[str]:
    wrong = []
    if fault.ending == "lives" and not first.asked:
        wrong.append("the host did not bring it to its end without the controller")
    if fault.ending in ("lives", "done", "fails", "either") and not first.open:
        wrong.append("nobody gets into the live database after the first run")
    if fault.ending == "done" and first.rc != 0:
        wrong.append(f"the first run failed: {_short(first.message)}")
    if fault.ending == "fails" and first.rc == 0:
        wrong.append("the first run ended with exit code 0")
    if fault.ending in ("fails", "either") and first.rc:
        wrong += unclear(first.message, fault.names)
        if not first.unchanged and not first.asked:
            wrong.append("the live database is neither what it was nor what was asked for")
    return wrong


def unclear(message: str, names: str) -> list[str]:
    """Return what is missing in an error: one of its three parts, or the cause."""
    found = _PARTS.fullmatch(message.strip())
    if found is None:
        return [f"the error has not its three parts: {_short(message)}"]
    if not re.search(names, message, re.IGNORECASE | re.DOTALL):
        return [f"the error does not name its cause ({names}): {_short(message)}"]
    return []


def _short(text: str) -> str:
    told = " ".join(text.split())
    return told if len(told) <= 400 else told[:400] + " …"


# -- telling -------------------------------------------------------------------------------------------------------

HEADS = ("operation", "fault", "moment", "first run", "writes", "lost", "lied", "converged", "s")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's columns as text."""
    fault = row.fault
    return (
        fault.operation,
        fault.kind,
        fault.moment,
        row.first,
        str(row.writes),
        str(row.lost),
        str(len(row.lied)),
        "yes" if row.converged else "NO",
        f"{row.seconds:.0f}",
    )


@dataclass
class Table:
    """An aligned table that is printed while it grows: the widths are known from the faults."""

    faults: Sequence[Fault]
    widths: list[int] = field(init=False)

    def __post_init__(self) -> None:
        drafts = [cells(Row(fault, 0, (), (), True, 99999, 99, "failed (2)")) for fault in self.faults]
        self.widths = [max(map(len, column)) for column in zip(HEADS, *drafts)]

    def head(self) -> str:
        """Return the heading and its rule."""
        return f"{self._aligned(HEADS)}\n{'  '.join('-' * width for width in self.widths)}"

    def line(self, row: Row) -> str:
        """Return a row, with what is to be said against it below."""
        against = [f"    LIED: {text}" for text in row.lied] + [f"    WRONG: {text}" for text in row.wrong]
        return "\n".join([self._aligned(cells(row)), *against])

    def _aligned(self, words: Iterable[str]) -> str:
        return "  ".join(word.ljust(width) for word, width in zip(words, self.widths)).rstrip()


def reported(row: Row) -> dict[str, object]:
    """Return what a report says of a row, for programs."""
    lost = [f"{row.lost} acknowledged writes are lost"] if row.lost else []
    against = [*lost, *row.lied, *row.wrong]
    return {"name": row.fault.name, "seconds": round(row.seconds, 1), "sound": row.sound, "against": against}


def summary(rows: Sequence[Row]) -> str:
    """Return the last line."""
    return json.dumps(
        {
            "faults": len(rows),
            "lost": sum(row.lost for row in rows),
            "lied": sum(len(row.lied) for row in rows),
            "converged": sum(row.converged for row in rows),
        }
    )
