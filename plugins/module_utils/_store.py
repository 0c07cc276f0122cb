# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state folder of one application: restore points, runs and the lock. Private to this collection.

Everything is root's alone (0700 and 0600). What counts is complete or absent: it is written under a temporary name,
fsynced and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _candidate
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Manifest, from_json, identifier

LEASE = 60.0
TEMPORARY = ".incomplete-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_POINT = re.compile(r"\d{8}T\d{6}\.\d{3}Z\Z")


class StoreError(Expected):
    """The state folder cannot be used as asked."""


class LockHeld(Expected):
    """Another run holds the application's lock."""

    next_step = "Wait for that run to end. If you know that it is dead, pass -e rollback_lock_takeover=yes."

    def __init__(self, application: str, lock: Lock) -> None:
        self.lock = lock
        reason = f" ({lock.reason})" if lock.reason else ""
        super().__init__(
            f"the lock of {application} is held by {lock.owner}{reason} for run {lock.run} since {lock.since},"
            f" until {lock.expires} unless it is renewed"
        )


class Frozen(Exception):
    """A rollback keeps other deployers out of the application."""

    next_step = (
        "Wait until the application is well. To let deployments in again:"
        " ansible-playbook freeze.yml -e rollback_freeze=off"
    )

    def __init__(self, application: str, freeze: Freeze) -> None:
        self.freeze = freeze
        reason = f" ({freeze.reason})" if freeze.reason else ""
        super().__init__(f"deployments of {application} are frozen by {freeze.owner}{reason} since {freeze.since}")


class LockLost(Exception):
    """Another run took the application's lock over while this one was at work."""


@dataclass(frozen=True)
class Lock:
    """Who holds an application, why and since when (UTC, RFC 3339)."""

    owner: str
    reason: str
    run: str
    since: str
    expires: str


@dataclass(frozen=True)
class Freeze:
    """Who keeps deployments of an application out, why and since when (UTC, RFC 3339).

    ``by`` is operator or rollback.
    """

    by: str
    owner: str
    reason: str
    since: str


@dataclass(frozen=True)
class StoredPoint:
    """A restore point on disk; ``manifest`` is None and ``problem`` says why when it cannot be read."""

    id: str
    path: str
    manifest: Manifest | None
    events: tuple[Mapping[str, Any], ...]
    problem: str = ""

    def summary(self) -> _candidate.Point:
        """Return what choosing and pruning need to know of this restore point."""
        if self.manifest is None:
            return _candidate.Point(self.id, problem=self.problem, pinned=_candidate.pinned(self.events))
        return _candidate.Point(
            id=self.id,
            purpose=self.manifest.purpose,
            release=self.manifest.release.id,
            label=self.manifest.release.label,
            verdict=str(self.manifest.health.get("verdict", "inconclusive")),
            bad=_candidate.mark_in_force(self.events),
            pinned=_candidate.pinned(self.events),
            labels=_candidate.labels(self.events),
            parts=self.manifest.parts,
            fleet=self.manifest.fleet,
            whole=not self.manifest.fleet or any(event.get("event") == "whole" for event in self.events),
        )


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


def timestamp(when: datetime) -> str:
    """Return ``when`` as people and programs read it: UTC, RFC 3339, seconds."""
    return f"{when.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fsync(path: str) -> None:
    """Make a file's or folder's content last through a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, content: str, *, mode: int = 0o600) -> None:
    """Write a file, for root alone unless ``mode`` says otherwise, complete or not at all."""
    temporary = f"{path}{TEMPORARY}{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)
    fsync(os.path.dirname(path))


def append_line(path: str, entry: Mapping[str, Any]) -> None:
    """Append one JSON line, in one write, and make it last; a line that a crash cut short stays a line of its own."""
    line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: str) -> tuple[dict[str, Any], ...]:
    """Return a JSON-lines file's entries; a last line that a crash cut short is left out."""
    entries = []
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        entries.append(entry)
    except FileNotFoundError:
        return ()
    return tuple(entries)


def tree_checksums(folder: str, *, under: str = "") -> dict[str, dict[str, Any]]:
    """Return SHA-256 and size in bytes of every regular file below ``folder``, by path relative to it."""
    found: dict[str, dict[str, Any]] = {}
    for base, _folders, names in os.walk(os.path.join(folder, under)):
        for name in names:
            path = os.path.join(base, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            found[os.path.relpath(path, folder)] = {"sha256": sha256_of(path), "size": os.path.getsize(path)}
    return found


class Store:
    """The state folder of one application.

    Opening it makes nothing; the first write makes the folders. Raises :class:`StoreError` for a name that is no
    plain folder name.
    """

    def __init__(self, state_dir: str, application: str) -> None:
        if not _NAME.match(application):
            raise StoreError(
                f"the application's name '{application}' is not usable: letters, digits, '.', '_' and '-', at most 63"
            )
        self.application = application
        self.root = os.path.join(state_dir, application)
        self.points_dir = os.path.join(self.root, "restore_points")
        self.runs_dir = os.path.join(self.root, "runs")
        self.images_dir = os.path.join(self.root, "images")
        self.lock_dir = os.path.join(self.root, "lock")
        self.freeze_path = os.path.join(self.root, "frozen")

    def prepare(self) -> None:
        """Make the folders, for root alone."""
        # makedirs gives its mode to the last folder only; a state folder that is there already is the operator's.
        os.makedirs(os.path.dirname(self.root), mode=0o700, exist_ok=True)
        for path in (self.root, self.points_dir, self.runs_dir, self.images_dir):
            os.makedirs(path, mode=0o700, exist_ok=True)
            os.chmod(path, 0o700)

    # -- lock ----------------------------------------------------------------------------------------------------

    def lock(self) -> Lock | None:
        """Return the lock as it stands, None when nobody holds it."""
        try:
            with open(os.path.join(self.lock_dir, "lock.json"), encoding="utf-8") as stream:
                return Lock(**json.load(stream))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Lock("unknown", "the lock file cannot be read", "unknown", "unknown", timestamp(now()))

    @staticmethod
    def expired(lock: Lock) -> bool:
        """Whether the lock was not renewed in time, so that it may be taken over."""
        return lock.expires <= timestamp(now())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time look at the lock and change it; the kernel ends this with the process."""
        self.prepare()
        with open(os.path.join(self.root, "lock.guard"), "w", encoding="utf-8") as guard:
            os.chmod(guard.name, 0o600)
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def acquire(
        self, run: str, owner: str, reason: str, *, lease: float = LEASE, takeover: bool = False
    ) -> Lock | None:
        """Take the lock for ``run``; ``lease`` in seconds. Return the lock of another run that was taken over, if any.

        Raises :class:`LockHeld`. ``takeover`` takes it even from a holder that still renews it.
        """
        with self._alone():
            held = self.lock()
            if held is not None and held.run != run and not takeover and not self.expired(held):
                raise LockHeld(self.application, held)
            since = now()
            lock = Lock(owner, reason, run, timestamp(since), timestamp(since + timedelta(seconds=lease)))
            os.makedirs(self.lock_dir, mode=0o700, exist_ok=True)
            self._write_lock(lock)
            return held if held is not None and held.run != run else None

    def _write_lock(self, lock: Lock) -> None:
        write_file(os.path.join(self.lock_dir, "lock.json"), json.dumps(asdict(lock)) + "\n")

    def renew(self, run: str, *, lease: float = LEASE) -> None:
        """Extend the lock of ``run`` by ``lease`` seconds. Raises :class:`StoreError` when it no longer holds it."""
        with self._alone():
            held = self.lock()
            if held is None or held.run != run:
                holder = f"{held.owner} for run {held.run}" if held else "nobody"
                raise StoreError(f"run {run} does not hold the lock of {self.application}: {holder} does")
            until = timestamp(now() + timedelta(seconds=lease))
            self._write_lock(Lock(held.owner, held.reason, held.run, held.since, until))

    def still_held(self, run: str) -> None:
        """Raise :class:`LockLost` unless ``run`` still holds the lock."""
        lock = self.lock()
        if lock is None:
            raise LockLost("the lock is gone")
        if lock.run != run:
            raise LockLost(f"the lock was taken over by {lock.owner} for run {lock.run}")

    def release(self, run: str) -> bool:
        """Give the lock back if ``run`` holds it; tell whether it did."""
        with self._alone():
            held = self.lock()
            if held is None or held.run != run:
                return False
            shutil.rmtree(self.lock_dir)
            return True

    @contextlib.contextmanager
    def held(self, run: str, *, owner: str = "", reason: str = "") -> Iterator[Lock | None]:
        """Keep the lock renewed for the length of the block.

        With ``run`` that run must hold it already. Without, the lock is taken for this block alone, which yields
        the stale lock that was taken over, if any.
        """
        own = "" if run else f"{identifier(now())}-single"
        stale = None
        if own:
            stale = self.acquire(own, owner, reason)
        else:
            self.renew(run)
        stop = threading.Event()

        def keep() -> None:
            while not stop.wait(LEASE / 6):
                with contextlib.suppress(OSError, StoreError):
                    self.renew(own or run)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield stale
        finally:
            stop.set()
            keeper.join()
            if own:
                self.release(own)
            else:
                with contextlib.suppress(OSError, StoreError):
                    self.renew(run)

    # -- freeze --------------------------------------------------------------------------------------------------

    def frozen(self) -> Freeze | None:
        """Return the freeze in force, None when deployments are free. A file that cannot be read is one."""
        try:
            with open(self.freeze_path, encoding="utf-8") as stream:
                return Freeze(**json.load(stream))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Freeze("operator", "unknown", "the file of the freeze cannot be read", "unknown")

    def freeze(self, by: str, owner: str, reason: str) -> bool:
        """Keep deployments out; an older freeze stays as it is. Tell whether this changed anything."""
        with self._alone():
            if self.frozen() is not None:
                return False
            write_file(self.freeze_path, json.dumps(asdict(Freeze(by, owner, reason, timestamp(now())))) + "\n")
            return True

    def thaw(self) -> bool:
        """Let deployments in again; tell whether this changed anything."""
        with self._alone():
            try:
                os.remove(self.freeze_path)
            except FileNotFoundError:
                return False
            fsync(self.root)
            return True

    # -- restore points ------------------------------------------------------------------------------------------

    def point_path(self, point_id: str) -> str:
        """Return the folder of a restore point. Raises :class:`StoreError` when there is none of that id."""
        path = os.path.join(self.points_dir, point_id)
        if not _NAME.match(point_id) or not os.path.isdir(path):
            raise StoreError(f"there is no restore point '{point_id}' of {self.application} on this host")
        return path

    def point(self, point_id: str) -> StoredPoint:
        """Read one restore point."""
        path = self.point_path(point_id)
        events = read_lines(os.path.join(path, "events.jsonl"))
        try:
            with open(os.path.join(path, "manifest.json"), encoding="utf-8") as stream:
                manifest = from_json(stream.read())
            if manifest.id != point_id:
                raise ValueError(f"the manifest belongs to restore point {manifest.id}")
        except (OSError, ValueError) as error:
            return StoredPoint(point_id, path, None, events, str(error))
        return StoredPoint(point_id, path, manifest, events)

    def points(self) -> list[StoredPoint]:
        """Return every restore point, oldest first; what is none (a stray file, ``lost+found``) is left out."""
        try:
            names = sorted(os.listdir(self.points_dir))
        except FileNotFoundError:
            return []
        return [
            self.point(name)
            for name in names
            if _POINT.match(name) and os.path.isdir(os.path.join(self.points_dir, name))
        ]

    def begin_point(self, wanted: str = "") -> tuple[str, str]:
        """Return the id of a new restore point and the temporary folder in which it is to be written.

        ``wanted`` is an id that several hosts agreed on. Raises :class:`StoreError` when it is taken or is none.
        """
        self.prepare()
        if wanted:
            path = os.path.join(self.points_dir, TEMPORARY + wanted)
            if not _POINT.match(wanted) or os.path.exists(os.path.join(self.points_dir, wanted)):
                raise StoreError(f"'{wanted}' cannot be a new restore point's id: it is taken, or of another form")
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            return wanted, path
        while True:
            point_id = identifier(now())
            path = os.path.join(self.points_dir, TEMPORARY + point_id)
            if not os.path.exists(os.path.join(self.points_dir, point_id)):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    return point_id, path

    def complete_point(self, point_id: str, folder: str, manifest: str) -> str:
        """Write the manifest, make everything last and give the restore point its name. Return its folder."""
        for base, _folders, names in os.walk(folder):
            for name in names:
                path = os.path.join(base, name)
                if not os.path.islink(path):
                    fsync(path)
            fsync(base)
        write_file(os.path.join(folder, "manifest.json"), manifest)
        final = os.path.join(self.points_dir, point_id)
        os.rename(folder, final)
        fsync(self.points_dir)
        return final

    def remove_point(self, point_id: str) -> None:
        """Remove a restore point: first its name, so that a crash leaves a leftover and no half of it."""
        gone = os.path.join(self.points_dir, TEMPORARY + point_id)
        os.rename(self.point_path(point_id), gone)
        shutil.rmtree(gone)

    def append_event(self, point_id: str, event: str, **details: Any) -> None:
        """Record that something happened to a restore point; the manifest itself never changes."""
        entry = {"at": timestamp(now()), "event": event, **details}
        append_line(os.path.join(self.point_path(point_id), "events.jsonl"), entry)

    def leftovers(self) -> list[str]:
        """Return what killed runs left: folders and files under temporary names."""
        found = []
        for folder in (self.root, self.points_dir, self.images_dir):
            with contextlib.suppress(FileNotFoundError):
                found += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if TEMPORARY in name]
        return found

    def sweep(self) -> list[str]:
        """Remove leftovers and return what they were. Only the lock's holder may call this."""
        swept = self.leftovers()
        for path in swept:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return swept

    def verify(self, point: StoredPoint) -> list[str]:
        """Compare every file of a restore point with its recorded checksum; return what is wrong, in sentences."""
        if point.manifest is None:
            return [point.problem]
        wrong = []
        for name, recorded in point.manifest.checksums.items():
            path = os.path.join(point.path, name)
            if not os.path.isfile(path):
                wrong.append(f"{name} is missing")
            elif os.path.getsize(path) != recorded["size"]:
                wrong.append(f"{name} has {os.path.getsize(path)} bytes, {recorded['size']} were recorded")
            elif sha256_of(path) != recorded["sha256"]:
                wrong.append(f"{name} is not what was recorded (checksum)")
        return wrong

    # -- runs ----------------------------------------------------------------------------------------------------

    def run_path(self, run: str) -> str:
        """Return the folder of a run. Raises :class:`StoreError` when there is none of that id."""
        path = os.path.join(self.runs_dir, run)
        if not _NAME.match(run) or not os.path.isdir(path):
            raise StoreError(f"there is no run '{run}' of {self.application} on this host")
        return path

    def reports(self, limit: int) -> list[dict[str, Any]]:
        """Return the reports of the newest runs that have one, newest first."""
        found: list[dict[str, Any]] = []
        for run in reversed(self.runs()):
            path = os.path.join(self.run_path(run), "report.json")
            with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as stream:
                found.append(json.load(stream))
            if len(found) == limit:
                break
        return found

    def begin_run(self, run: str) -> str:
        """Make the folder of a new run and return it."""
        self.prepare()
        path = os.path.join(self.runs_dir, run)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def journal(self, run: str, step: str, status: str, **details: Any) -> None:
        """Append to a run's journal; without a run nothing is written."""
        if run:
            entry = {"at": now().isoformat(timespec="milliseconds"), "step": step, "status": status, **details}
            append_line(os.path.join(self.run_path(run), "journal.jsonl"), entry)

    def read_journal(self, run: str) -> tuple[dict[str, Any], ...]:
        """Return a run's journal."""
        return read_lines(os.path.join(self.run_path(run), "journal.jsonl"))

    def runs(self) -> list[str]:
        """Return the ids of all runs, oldest first."""
        try:
            return sorted(name for name in os.listdir(self.runs_dir) if not name.startswith("."))
        except FileNotFoundError:
            return []
