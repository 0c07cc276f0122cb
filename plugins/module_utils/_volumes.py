# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archive the content of named volumes, restore it beside, and swap it in. Private to this collection.

The content of a local volume is the folder ``_data`` below Docker's own folder of that volume. What is restored lies
beside it, and both change places by renaming while no container that mounts the volume runs. Which of them is live is
told by the folder's inode, and so by nothing that a crash can leave half-written.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _command,
    _compose,
    _libraries,
    _volume_listing,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, fsync, sha256_of, write_file
from ansible_collections.schedgen.rollback.plugins.module_utils._volume_listing import Entry

PREPARED = "volumes.json"
# Room that has to be left on the disk after a restore, as a share of what is restored.
AMPLE = 0.1
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CHUNK = 1 << 20


class VolumeError(Expected):
    """A volume cannot be archived, restored or swapped."""


@dataclass(frozen=True)
class Restored:
    """A volume's content that was restored beside the live one. ``inode`` is that of its folder."""

    name: str
    point: str
    folder: str
    beside: str
    inode: int


def look(client: Any, name: str) -> dict[str, Any]:
    """Return driver, options and mountpoint of a volume. Raises ``VolumeError`` where there is none."""
    docker = _libraries.docker()
    try:
        facts = client.api.inspect_volume(name)
    except docker.errors.NotFound as error:
        raise VolumeError(f"there is no volume {name}") from error
    except (docker.errors.DockerException, OSError) as error:
        raise VolumeError(f"the Docker engine did not show volume {name}: {error}") from error
    return {"driver": facts["Driver"], "options": facts.get("Options") or {}, "mountpoint": facts["Mountpoint"]}


def mounted_by(client: Any, name: str, *, running: bool = True) -> list[tuple[str, str]]:
    """Return project and container's name of every container that mounts a volume."""
    found = client.api.containers(all=not running, filters={"volume": name})
    return [
        ((entry.get("Labels") or {}).get(_compose.LABEL + "project", ""), str(entry["Names"][0]).lstrip("/"))
        for entry in found
    ]


def usable(client: Any, project: str, name: str, database: Sequence[str] = ()) -> str:
    """Return the folder of a volume's content. Raises ``VolumeError`` with the reason where it cannot be swapped."""
    facts = look(client, name)
    outside = [container for owner, container in mounted_by(client, name) if owner != project]
    why = _volume_listing.unusable(name, facts, outside, database=database)
    if why:
        raise VolumeError(why)
    return str(facts["mountpoint"])


def of_service(client: Any, project: str, service: str) -> list[str]:
    """Return the named volumes that a service's containers mount."""
    states = _compose.containers(client, project, services=[service])
    return sorted({str(mount["Name"]) for state in states for mount in state.mounts if mount.get("Type") == "volume"})


# -- archive ----------------------------------------------------------------------------------------------------------


def archive(content: str, name: str, folder: str) -> dict[str, Any]:
    """Archive a volume's content into a restore point's folder; return what the manifest says of it.

    The list of what it holds is read back from the archive, which proves that it can be read.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, f"{name}.tar.zst")
    command = ["tar", "--create", "--numeric-owner", "--xattrs", "--acls", "--directory", content, "."]
    # 1: something changed while it was read. The application runs.
    rc = _command.pipe(command, ["zstd", "-q", "-3", "-T0", "-c"], target=path, tolerated=(1,))
    os.chmod(path, 0o600)
    fsync(path)
    entries = list(read_archive(path))
    listed = _volume_listing.lines(entries)
    write_file(os.path.join(folder, f"{name}.list"), "\n".join(listed) + "\n")
    return {
        "name": name,
        "archive": f"{name}.tar.zst",
        "list": f"{name}.list",
        "fingerprint": _volume_listing.fingerprint(listed),
        "written_to": rc == 1,
        **_volume_listing.totals(entries),
    }


def read_archive(path: str) -> Iterator[Entry]:
    """Read an archive from its beginning to its end. Raises ``VolumeError`` where that is not possible."""
    known: dict[str, tuple[int, str]] = {}
    try:
        with _command.reading(["zstd", "-q", "-d", "-c", path]) as stream:
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as packed:
                for member in packed:
                    entry = _of_member(packed, member, known)
                    if entry.kind == "file":
                        known[entry.path] = (entry.size, entry.content)
                    yield entry
            while stream.read(_CHUNK):
                pass
    except (tarfile.TarError, _command.CommandError, OSError, EOFError) as error:
        raise VolumeError(f"{path} cannot be read: {error}") from error


def _plain(path: str) -> str:
    return os.path.normpath(path.lstrip("/"))


def _of_member(packed: tarfile.TarFile, member: tarfile.TarInfo, known: Mapping[str, tuple[int, str]]) -> Entry:
    path, mode = _plain(member.name), f"{member.mode & 0o7777:04o}"
    if member.islnk():
        size, content = known[_plain(member.linkname)]
        return Entry(path, "file", mode, member.uid, member.gid, size, content)
    if member.isfile():
        digest, source = hashlib.sha256(), packed.extractfile(member)
        while source is not None and (chunk := source.read(_CHUNK)):
            digest.update(chunk)
        return Entry(path, "file", mode, member.uid, member.gid, member.size, digest.hexdigest())
    if member.issym():
        return Entry(path, "link", "", member.uid, member.gid, 0, member.linkname)
    return Entry(path, "folder" if member.isdir() else "other", mode, member.uid, member.gid)


def scan(content: str) -> Iterator[Entry]:
    """Read a folder as an archive of it is read."""
    for base, folders, names in os.walk(content):
        for name in [*(["."] if base == content else []), *folders, *names]:
            full = os.path.join(base, name)
            facts = os.lstat(full)
            path = os.path.normpath(os.path.relpath(full, content))
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            if stat.S_ISLNK(facts.st_mode):
                yield Entry(path, "link", "", facts.st_uid, facts.st_gid, 0, os.readlink(full))
            elif stat.S_ISREG(facts.st_mode):
                yield Entry(path, "file", mode, facts.st_uid, facts.st_gid, facts.st_size, sha256_of(full))
            elif stat.S_ISDIR(facts.st_mode):
                yield Entry(path, "folder", mode, facts.st_uid, facts.st_gid)
            elif not stat.S_ISSOCK(facts.st_mode):
                # Sockets are in no archive: whoever listens makes them anew.
                yield Entry(path, "other", mode, facts.st_uid, facts.st_gid)


# -- restore beside ---------------------------------------------------------------------------------------------------


def room(content: str, needed: int) -> str:
    """Return why there is no room for a restore of ``needed`` bytes, '' where there is."""
    free = shutil.disk_usage(content).free
    if free < needed * (1 + AMPLE):
        return f"{needed / 1e6:.0f} MB are to be restored and {free / 1e6:.0f} MB are free"
    return ""


def _beside(content: str, run: str) -> str:
    """Return the folder beside a volume's live content that belongs to a run."""
    return os.path.join(os.path.dirname(content), f"rollback-{run}")


def restore_beside(store: Store, run: str, point: str, content: str, recorded: Mapping[str, Any]) -> Restored:
    """Restore a volume's content beside the live one, and compare it with what was recorded.

    Raises ``VolumeError``; nothing is left beside then.
    """
    name, source = str(recorded["name"]), os.path.join(store.point_path(point), "volumes")
    beside = _beside(content, run)
    short = room(content, int(recorded["bytes"]))
    if short:
        raise VolumeError(f"volume {name} cannot be restored: {short}")
    shutil.rmtree(beside, ignore_errors=True)
    os.mkdir(beside, mode=0o700)
    try:
        _command.pipe(
            ["zstd", "-q", "-d", "-c", os.path.join(source, recorded["archive"])],
            ["tar", "--extract", "--same-owner", "-p", "--numeric-owner", "--xattrs", "--acls", "--directory", beside],
        )
        with open(os.path.join(source, recorded["list"]), encoding="utf-8") as stream:
            listed = stream.read().splitlines()
        if _volume_listing.fingerprint(listed) != recorded["fingerprint"]:
            raise VolumeError(f"the list of volume {name} in restore point {point} is damaged")
        found = list(scan(beside))
        if _volume_listing.lines(found) != listed:
            wrong = _volume_listing.differences([_volume_listing.entry_of(line) for line in listed], found)
            raise VolumeError(f"volume {name} is not what was recorded: {'; '.join(wrong)}")
        os.sync()
    except (_command.CommandError, OSError, ValueError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise VolumeError(f"volume {name} cannot be restored: {error}") from error
    except VolumeError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Restored(name, point, content, beside, os.stat(beside).st_ino)


def empty_beside(run: str, point: str, name: str, content: str) -> Restored:
    """Make an empty folder beside a volume's live content, with the same owner and mode."""
    beside = _beside(content, run)
    shutil.rmtree(beside, ignore_errors=True)
    facts = os.stat(content)
    try:
        os.mkdir(beside, mode=0o700)
        os.chown(beside, facts.st_uid, facts.st_gid)
        os.chmod(beside, stat.S_IMODE(facts.st_mode))
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise VolumeError(f"volume {name} cannot be emptied: {error}") from error
    return Restored(name, point, content, beside, os.stat(beside).st_ino)


def keep(store: Store, run: str, restored: Sequence[Restored]) -> None:
    """Write down what a run has restored beside, for the critical section and for later runs."""
    write_file(
        os.path.join(store.run_path(run), PREPARED), json.dumps([asdict(entry) for entry in restored], indent=1) + "\n"
    )


def kept(store: Store, run: str) -> list[Restored]:
    """Return what a run has restored beside, none where it restored nothing."""
    try:
        with open(os.path.join(store.run_path(run), PREPARED), encoding="utf-8") as stream:
            return [Restored(**entry) for entry in json.load(stream)]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def undoing(store: Store, run: str) -> list[Restored]:
    """Return what an undo of a run swaps: the content that the run has set aside, where its own is still live."""
    return [
        Restored(entry.name, "", entry.folder, entry.beside, _inode(entry.beside))
        for entry in kept(store, run)
        if _inode(entry.folder) == entry.inode and _inode(entry.beside)
    ]


def is_there(store: Store, point: str, name: str) -> bool:
    """Whether a volume's live content is the one that some run has restored from this restore point."""
    return any(
        entry.name == name and entry.point == point and _inode(entry.folder) == entry.inode
        for run in reversed(store.runs())
        for entry in kept(store, run)
    )


def _inode(folder: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(folder).st_ino
    return 0


# -- swap -------------------------------------------------------------------------------------------------------------


def exchange(one: str, other: str) -> None:
    """Let two folders change places: at once where the file system can, else by way of a third name."""
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            fsync(os.path.dirname(one))
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), one)
    third = f"{other}.swapping"
    os.rename(other, third)
    os.rename(one, other)
    os.rename(third, one)
    fsync(os.path.dirname(one))


class Changes:
    """Several changes as one, in their order."""

    def __init__(self, *changes: Any) -> None:
        self.changes = changes

    def carry_out(self) -> None:
        """Make every change."""
        for change in self.changes:
            change.carry_out()

    def put_back(self) -> None:
        """Put every change back, the last one first; what one cannot put back does not keep the others from it."""
        problems = []
        for change in reversed(self.changes):
            try:
                change.put_back()
            except Exception as error:
                problems.append(str(error))
        if problems:
            raise VolumeError("; ".join(problems))

    def check(self) -> None:
        """Raise when one of them does not hold."""
        for change in self.changes:
            change.check()


class VolumesChange:
    """The volumes' part of a full rollback. It can be put back as long as the run lasts."""

    def __init__(self, client: Any, restored: Sequence[Restored], told: Callable[..., None]) -> None:
        self.client, self.restored, self._told = client, restored, told

    def _swap(self, entry: Restored, *, live: bool) -> None:
        """Have the restored content live, or beside; nothing to do where it is so already."""
        if (_inode(entry.folder) == entry.inode) is live:
            return
        users = [container for _project, container in mounted_by(self.client, entry.name)]
        if users:
            raise VolumeError(f"volume {entry.name} is still used by {', '.join(users)}")
        exchange(entry.folder, entry.beside)

    def carry_out(self) -> None:
        """Swap every volume. The services that mount them are stopped."""
        for entry in self.restored:
            self._swap(entry, live=True)
            self._told("volume", "done", name=entry.name, set_aside=entry.beside)

    def put_back(self) -> None:
        """Have the content live again that was live before."""
        for entry in self.restored:
            self._swap(entry, live=False)

    def check(self) -> None:
        """Raise ``VolumeError`` unless every volume has the restored content."""
        wrong = [entry.name for entry in self.restored if _inode(entry.folder) != entry.inode]
        if wrong:
            raise VolumeError(f"the content of {', '.join(wrong)} is not the restored one")
