# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a database can be restored beside and swapped, under which names and marks. Pure; private to this collection.

A database of ours carries its mark in its own comment, because that changes in the same transaction as its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

NAME_BYTES = 63
# Room beside the live database: its copy with some air, the log that a restore writes, and the dump.
ROOM_FACTOR = 1.3
# A ready copy is made by itself only where this much stays free, and is given up when less is.
AMPLE_FACTOR = 3.0
PRESSURE = 0.10
# The first version whose pg_restore sets transaction_timeout.
FIRST_UNFIT = 17
MARK = "schedgen.rollback "
KINDS = ("side", "ready", "set aside")
_WORDS = {"side": "side", "ready": "ready", "set aside": "old"}
# Why a database was set aside, where that matters later: an undo, a copy made for a revert that has not ended yet, the
# copy of one that has, and what a rollback that failed had left.
UNDONE, REVERTING, REVERTED, FAILED = "undone", "reverting", "reverted", "failed rollback"
# Settings whose value is a list of quoted names; every other value is one literal.
_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


def ident(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text quoted for SQL, whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    return " E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else "'" + doubled + "'"


def _shortened(name: str, room: int) -> str:
    """Return ``name`` in at most ``room`` bytes, told apart from other long names by a hash, no character cut."""
    if len(name.encode()) <= room:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: room - 9].decode(errors="ignore") + "_" + digest


def beside_name(database: str, kind: str, stamp: str) -> str:
    """Return the name of a database beside ``database``: ``kind`` is side, ready or set aside, ``stamp`` an id.

    PostgreSQL cuts names off at 63 bytes without an error: two long names would become one.
    """
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no kind of database beside the live one")
    plain = re.sub(r"[^0-9a-z]", "", stamp.lower())
    if not plain or len(plain) > 24:
        raise ValueError(f"'{stamp}' is no id that a database can be named after")
    suffix = f"_{_WORDS[kind]}_{plain}"
    return _shortened(database, NAME_BYTES - len(suffix)) + suffix


def is_beside_name(database: str, kind: str, name: str) -> bool:
    """Whether ``name`` is one that :func:`beside_name` gives."""
    found = re.search(rf"_{_WORDS[kind]}_([0-9a-z]+)\Z", name)
    return bool(found) and beside_name(database, kind, found.group(1)) == name if found else False


@dataclass(frozen=True)
class Mark:
    """What a database beside the live one is.

    ``point`` is the restore point that it holds ('' for a set-aside one that was never restored), ``verified`` that
    its content was compared, ``at`` when it was marked, ``run`` by which run, ``comment`` what it is commented with
    when it is live. A set-aside one names in ``successor`` the object id of what took its place, and
    ``successor_point``.
    """

    application: str
    database: str
    kind: str
    point: str = ""
    verified: bool = False
    at: str = ""
    run: str = ""
    comment: str | None = None
    successor: int = 0
    successor_point: str = ""
    note: str = ""


def mark_text(mark: Mark) -> str:
    """Return a mark as a database's comment."""
    return MARK + json.dumps({key: value for key, value in asdict(mark).items() if value not in ("", None, 0)})


def read_mark(comment: str | None) -> Mark | None:
    """Return the mark in a database's comment, None when it is none of ours."""
    if not comment or not comment.startswith(MARK):
        return None
    try:
        data = json.loads(comment[len(MARK) :])
        known = {key: value for key, value in data.items() if key in Mark.__dataclass_fields__}
        mark = Mark(**known)
    except (ValueError, TypeError, AttributeError):
        return None
    return mark if mark.kind in KINDS else None


@dataclass(frozen=True)
class Beside:
    """A database on the server as its catalogue shows it: object id, name, whether it lets anybody in, size, mark."""

    oid: int
    name: str
    open: bool
    size: int = 0
    comment: str | None = None
    connections: int = 0
    mark: Mark | None = None


@dataclass(frozen=True)
class Standing:
    """How things stand on the server: the live database (None when there is none of that name) and those beside."""

    live: Beside | None
    sides: tuple[Beside, ...] = ()
    ready: tuple[Beside, ...] = ()
    aside: tuple[Beside, ...] = ()
    crashed: tuple[Beside, ...] = ()

    def ready_for(self, point: str) -> Beside | None:
        """Return a verified database that holds ``point``, a ready copy before a side one."""
        return next((entry for entry in (*self.ready, *self.sides) if entry.mark and entry.mark.point == point), None)

    @property
    def newest_aside(self) -> Beside | None:
        """Return the set-aside database that was live last and was whole."""
        whole = (entry for entry in self.aside if entry.mark and entry.mark.note not in (REVERTING, FAILED))
        return next(whole, None)

    @property
    def predecessor(self) -> Beside | None:
        """Return the set-aside database whose place the live one has taken, or that was copied from it for a revert.

        It names its successor by object id, which a rename does not change.
        """
        if self.live is None:
            return None
        oid = self.live.oid
        return next((entry for entry in self.aside if entry.mark and entry.mark.successor == oid), None)

    @property
    def restored_from(self) -> str:
        """Return the restore point that the live database was restored from, '' when it never was."""
        before = self.predecessor
        if before is None or before.mark is None or before.mark.note in (REVERTING, REVERTED):
            return ""
        return before.mark.successor_point

    @property
    def reverted_to(self) -> str:
        """Return the restore point to whose migrations the live database was taken back last, '' when it was not."""
        before = self.predecessor
        return before.mark.successor_point if before and before.mark and before.mark.note == REVERTED else ""

    @property
    def unfinished(self) -> Beside | None:
        """Return the copy of the live database that was set aside for a revert which did not come to its end."""
        before = self.predecessor
        return before if before and before.mark and before.mark.note == REVERTING else None


def standing(application: str, database: str, databases: Sequence[Beside]) -> Standing:
    """Sort a server's databases into those of this application.

    Crashed are side and ready databases without a verified mark, and ones with our name but no mark: a crash between
    their making and their marking. Set-aside databases get name and mark in one transaction.
    """
    live = next((entry for entry in databases if entry.name == database), None)
    groups: dict[str, list[Beside]] = {kind: [] for kind in KINDS}
    crashed = []
    for entry in databases:
        mark = read_mark(entry.comment)
        if entry.name == database:
            continue
        if mark is None:
            if entry.comment is None and any(is_beside_name(database, kind, entry.name) for kind in ("side", "ready")):
                crashed.append(entry)
            continue
        if (mark.application, mark.database) != (application, database):
            continue
        marked = replace(entry, mark=mark)
        if mark.kind in ("side", "ready") and not mark.verified:
            crashed.append(marked)
        else:
            groups[mark.kind].append(marked)
    for entries in groups.values():
        entries.sort(key=lambda entry: (entry.mark.at if entry.mark else "", entry.oid), reverse=True)
    return Standing(live, tuple(groups["side"]), tuple(groups["ready"]), tuple(groups["set aside"]), tuple(crashed))


# -- preflight -------------------------------------------------------------------------------------------------------


def room_needed(size: int, wal: int, dump: int) -> int:
    """Return the bytes that a restore beside a database of ``size`` needs: copy, write-ahead log and dump."""
    return int(size * ROOM_FACTOR) + wal + dump


def megabytes(count: float) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@dataclass(frozen=True)
class Server:
    """What the preflight looks at. ``free`` and ``memory`` are None where they cannot be measured or are not limited.

    ``slots`` and ``subscriptions`` are the live database's, ``prepared`` its prepared transactions, ``roles`` and
    ``extensions`` are those the server has, ``lacking`` says in words which rights the login lacks.
    """

    version: int
    free: int | None = None
    wal: int = 0
    roles: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    tablespaces: frozenset[str] = frozenset()
    slots: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    memory: int | None = None
    shared_buffers: int = 0
    maintenance_work_mem: int = 0
    shared_memory: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What a preflight found: refusals of the restore beside, blockers of the swap alone, notes, how many jobs.

    ``version`` is the server's.
    """

    refusals: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    jobs: int = 1
    needed: int = 0
    version: int = 0


def preflight(recorded: Mapping[str, Any], server: Server, *, size: int, dump: int, jobs: int) -> Verdict:
    """Judge whether a dump can be restored beside the live database, and swapped.

    ``recorded`` is the manifest's database part ({} for a plain dump), ``size`` the bytes that the database is
    expected to take, ``dump`` those of the dump.
    """
    refusals, notes = [], []
    major = int(recorded.get("server_version", server.version)) // 10000
    if server.version // 10000 < major:
        refusals.append(
            f"the dump is of PostgreSQL {major} and the server is {server.version // 10000}:"
            " an older server cannot take it"
        )
    needed = room_needed(size, server.wal, dump)
    if server.free is None:
        notes.append(f"free space on the server could not be measured: {megabytes(needed)} are needed")
    elif server.free < needed:
        refusals.append(
            f"{megabytes(needed)} are needed beside the live database and {megabytes(server.free)} are free:"
            " a full disk would stop the live server too"
        )
    missing = sorted({entry["name"] for entry in recorded.get("extensions", ())} - server.extensions)
    if missing:
        refusals.append(f"extensions that the dump needs are not available on the server: {', '.join(missing)}")
    strangers = sorted(set(recorded.get("roles", ())) - server.roles)
    if strangers:
        refusals.append(
            f"roles that the dump needs are missing on the server: {', '.join(strangers)}"
            " (the file database/globals.sql of the restore point has them)"
        )
    used = {*recorded.get("tablespaces", ()), (recorded.get("properties") or {}).get("tablespace", "pg_default")}
    used.discard("pg_default")
    if homeless := sorted(used - server.tablespaces):
        refusals.append(f"tablespaces that the dump needs are missing on the server: {', '.join(homeless)}")
    elif used:
        notes.append(f"free space of the tablespaces {', '.join(sorted(used))} is not measured")
    refusals += [f"the login {lack}" for lack in server.lacking]
    bearable = jobs_within(server, jobs, notes)
    return Verdict(tuple(refusals), swap_blockers(server), tuple(notes), bearable, needed, server.version)


def swap_blockers(server: Server) -> tuple[str, ...]:
    """Return what would make the swap fail, or lose something silently, in sentences."""
    found = []
    if server.prepared:
        found.append(
            f"prepared transactions are open in the live database, and a rename waits for them in vain:"
            f" {', '.join(server.prepared)} (COMMIT PREPARED or ROLLBACK PREPARED them)"
        )
    if server.slots:
        found.append(
            "replication slots read from the live database and would stay with the set-aside one:"
            f" {', '.join(server.slots)} (drop them, and make them anew after the swap)"
        )
    if server.subscriptions:
        found.append(
            "subscriptions write into the live database and would stay with the set-aside one:"
            f" {', '.join(server.subscriptions)} (drop or disable them first)"
        )
    return tuple(found)


def copy_blockers(server: Server, size: int, *, lasting: bool = True) -> tuple[str, ...]:
    """Return what forbids a copy of the live database inside its server, in sentences.

    ``lasting`` says that the copy may have to take the live one's place. A template copy waits in vain for prepared
    transactions; slots and subscriptions forbid to swap it back only.
    """
    found = list(swap_blockers(server if lasting else replace(server, slots=(), subscriptions=())))
    needed = room_needed(size, server.wal, 0)
    if server.free is not None and server.free < needed:
        found.append(f"a copy needs {megabytes(needed)}, and {megabytes(server.free)} are free")
    return (*found, *(f"the login {lack}" for lack in server.lacking))


def jobs_within(server: Server, jobs: int, notes: list[str]) -> int:
    """Return how many restore jobs the container's memory limit bears, with a note when it is fewer than asked.

    Each job may take maintenance_work_mem; above the limit the kernel ends the whole server.
    """
    asked = max(1, jobs)
    if not server.memory or not server.maintenance_work_mem:
        return asked
    room = server.memory * 0.8 - server.shared_buffers
    bearable = max(1, int(room // server.maintenance_work_mem))
    if bearable < asked:
        notes.append(
            f"{bearable} instead of {asked} restore jobs: the container may use {megabytes(server.memory)} only"
        )
    return min(asked, bearable)


def fitting_version(server: int, available: Sequence[int]) -> int | None:
    """Return which of the available tool versions to use for a server's major version: its own, else the next newer.

    From 17 on pg_restore sets a parameter that older servers do not know, and that is an error: what such tools dump
    could not be restored.
    """
    able = [major for major in available if major >= server and (major < FIRST_UNFIT or server >= FIRST_UNFIT)]
    return min(able, default=None)


# -- ready copies ----------------------------------------------------------------------------------------------------


def ready_choice(asked: str, *, size: int, limit: int, free: int | None, needed: int) -> tuple[str, str]:
    """Return how a restore point's database is kept ready (restored, template or none) and, for none, why."""
    if asked != "auto":
        return asked, ""
    if size > limit:
        return (
            "none",
            f"the database has {megabytes(size)}, more than the {megabytes(limit)} below which it is kept ready",
        )
    if free is None:
        return "none", "free space on the server could not be measured"
    if free < needed * AMPLE_FACTOR:
        return "none", f"{megabytes(free)} are free and {megabytes(needed * AMPLE_FACTOR)} would be ample"
    return "restored", ""


@dataclass(frozen=True)
class Dropped:
    """A ready copy that is given up, and why."""

    name: str
    point: str
    reason: str


def ready_to_drop(
    ready: Sequence[Beside],
    now: datetime,
    *,
    points: Sequence[str],
    keep: int,
    days: float,
    free: int | None,
    total: int | None,
) -> tuple[Dropped, ...]:
    """Return the ready copies to give up: of restore points that are gone, too many, too old, or under disk pressure.

    ``ready`` is newest first. Under pressure the oldest go until enough is free; the dumps stay.
    """
    dropped: list[Dropped] = []
    kept: list[Beside] = []
    for entry in ready:
        mark = entry.mark
        if mark is None:
            continue
        age = _age_days(mark.at, now)
        if mark.point not in points:
            reason = "its restore point is gone"
        elif len(kept) >= keep:
            reason = f"{keep} newer ones are kept"
        elif age is not None and age > days:
            reason = f"it is {age:.0f} days old, more than {days:g}"
        else:
            kept.append(entry)
            continue
        dropped.append(Dropped(entry.name, mark.point, reason))
    if free is None or not total:
        return tuple(dropped)
    freed = free + sum(entry.size for entry in ready if any(gone.name == entry.name for gone in dropped))
    for entry in reversed(kept):
        if freed >= total * PRESSURE:
            break
        freed += entry.size
        point = entry.mark.point if entry.mark else ""
        dropped.append(Dropped(entry.name, point, f"less than {PRESSURE:.0%} of the server's disk is free"))
    return tuple(dropped)


def _age_days(at: str, now: datetime) -> float | None:
    try:
        then = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return (now - then).total_seconds() / 86400


# -- properties ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Properties:
    """What belongs to a database and is in no dump of it.

    ``grants`` are (role or '' for PUBLIC, privilege, grantable), the default ones too; ``settings`` are (role or ''
    for everybody, name, value).
    """

    owner: str = ""
    encoding: str = "UTF8"
    collate: str = "C"
    ctype: str = "C"
    provider: str = "c"
    locale: str = ""
    icu_rules: str = ""
    tablespace: str = "pg_default"
    connection_limit: int = -1
    comment: str | None = None
    grants: tuple[tuple[str, str, bool], ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()


def properties_to_dict(properties: Properties) -> dict[str, Any]:
    """Return plain data for a manifest."""
    return json.loads(json.dumps(asdict(properties)))


def properties_from_dict(data: Mapping[str, Any]) -> Properties:
    """Rebuild properties from a manifest; what a newer version of this collection added is left out."""
    known = {key: value for key, value in data.items() if key in Properties.__dataclass_fields__}
    known["grants"] = tuple((str(a), str(b), bool(c)) for a, b, c in known.get("grants") or ())
    known["settings"] = tuple((str(a), str(b), str(c)) for a, b, c in known.get("settings") or ())
    return Properties(**known)


def create_statement(name: str, properties: Properties, version: int) -> str:
    """Return the statement that makes an empty database with the encoding and locale of another one.

    From template0: what somebody added to template1 would be restored over.
    """
    words = [
        f"CREATE DATABASE {ident(name)} TEMPLATE template0 ENCODING {literal(properties.encoding)}",
        f"LC_COLLATE {literal(properties.collate)} LC_CTYPE {literal(properties.ctype)}",
    ]
    if properties.provider == "i" and version >= 150000:
        words.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(properties.locale)}")
        if properties.icu_rules and version >= 160000:
            words.append(f"ICU_RULES {literal(properties.icu_rules)}")
    elif properties.provider == "b" and version >= 170000:
        words.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(properties.locale)}")
    if properties.tablespace != "pg_default":
        words.append(f"TABLESPACE {ident(properties.tablespace)}")
    return " ".join(words)


def guc_list(value: str) -> list[str]:
    """Split a setting that is a list of names, as the catalogue keeps it, into its names."""
    found = []
    for match in re.finditer(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(?:,|\Z)', value):
        if match.group(1) is not None:
            found.append(match.group(1).replace('""', '"'))
        elif (match.group(2) or "").strip():
            found.append(match.group(2).strip().lower())
    return found


def _setting(name: str, value: str) -> str:
    if name.lower() in _LISTS:
        return ", ".join(literal(part) for part in guc_list(value)) or "''"
    return literal(value)


def property_statements(name: str, properties: Properties, *, owner: bool = True) -> list[str]:
    """Return the statements that give the database ``name`` another one's properties, but for its comment.

    The comment is put on by the swap: until then it holds the mark.
    """
    target = ident(name)
    done = []
    if owner and properties.owner:
        done.append(f"ALTER DATABASE {target} OWNER TO {ident(properties.owner)}")
    if properties.connection_limit not in (-1, -2):
        done.append(f"ALTER DATABASE {target} CONNECTION LIMIT {properties.connection_limit}")
    done += grant_statements(name, properties)
    for role, setting, value in properties.settings:
        subject = f"ROLE {ident(role)} IN DATABASE {target}" if role else f"DATABASE {target}"
        # A setting of an extension has a dot in its name.
        quoted = ".".join(ident(part) for part in setting.split("."))
        done.append(f"ALTER {subject} SET {quoted} TO {_setting(setting, value)}")
    return done


def grant_statements(name: str, properties: Properties) -> list[str]:
    """Return the statements that make a database's grants those of another one."""
    target = ident(name)
    done = [f"REVOKE ALL ON DATABASE {target} FROM PUBLIC"]
    if properties.owner:
        done.append(f"REVOKE ALL ON DATABASE {target} FROM {ident(properties.owner)}")
    for role, privilege, grantable in properties.grants:
        grantee = ident(role) if role else "PUBLIC"
        done.append(f"GRANT {privilege} ON DATABASE {target} TO {grantee}{' WITH GRANT OPTION' if grantable else ''}")
    return done


def property_differences(recorded: Properties, live: Properties) -> list[str]:
    """Return, in words, which properties of the live database are not those of the restore point."""
    words = {
        "owner": "owner",
        "connection_limit": "connection limit",
        "comment": "comment",
        "grants": "grants",
        "settings": "settings",
    }
    return [word for name, word in words.items() if getattr(recorded, name) != getattr(live, name)]


# -- swap ------------------------------------------------------------------------------------------------------------


def swap_statements(
    database: str, aside: str, incoming: str, *, aside_mark: Mark, comment: str | None, live_there: bool = True
) -> list[str]:
    """Return the statements of the one transaction that swaps ``incoming`` in and sets the live database aside.

    The fence stays on the set-aside database and protects it; the incoming one is opened.
    """
    done = []
    if live_there:
        done += [
            f"ALTER DATABASE {ident(database)} WITH ALLOW_CONNECTIONS false",
            f"COMMENT ON DATABASE {ident(database)} IS {literal(mark_text(aside_mark))}",
            f"ALTER DATABASE {ident(database)} RENAME TO {ident(aside)}",
        ]
    return [
        *done,
        f"COMMENT ON DATABASE {ident(incoming)} IS {'NULL' if comment is None else literal(comment)}",
        f"ALTER DATABASE {ident(incoming)} WITH ALLOW_CONNECTIONS true",
        f"ALTER DATABASE {ident(incoming)} RENAME TO {ident(database)}",
    ]
