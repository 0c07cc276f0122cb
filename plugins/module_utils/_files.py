# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, record and put back the files that describe a release. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._compose import DEFAULT_FILES, OVERRIDE_FILES, Project
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import FileRecord
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, sha256_of

# A folder that a service mounts can be data and not configuration: only what is small is taken for configuration.
MOUNT_FILES = 200
FILE_SIZE = 5 << 20
DECLARE = "declare it in rollback_config_paths if it is configuration"
_SCALAR = re.compile(r"[^\s\"'\[\]{},=]+")


class FilesError(Expected):
    """A file cannot be recorded or put back."""


@dataclass(frozen=True)
class Found:
    """Files to record, by path (relative to the project's folder, or absolute) with their kind; and what was left."""

    kinds: Mapping[str, str]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What putting one file back does: ``action`` is write, link, attributes or set aside."""

    path: str
    action: str


def full_path(src: str, path: str) -> str:
    """Return where a recorded path lies on this host."""
    return os.path.normpath(os.path.join(src, path))


def _relative(src: str, path: str) -> str:
    full = full_path(src, path)
    return os.path.relpath(full, src) if full.startswith(src.rstrip("/") + "/") else full


def compose_files(project: Project) -> tuple[list[str], list[str]]:
    """Return the compose and env files that Compose loads for ``project``, and well-known names that are absent.

    An absent name matters: were it there, Compose would load it by itself.
    """
    chosen = list(project.compose_files)
    absent: list[str] = []
    if not chosen:
        for name in (*DEFAULT_FILES, *OVERRIDE_FILES):
            present = os.path.isfile(os.path.join(project.src, name))
            (chosen if present else absent).append(name)
    env = list(project.env_files)
    if not env:
        (env if os.path.isfile(os.path.join(project.src, ".env")) else absent).append(".env")
    return [*chosen, *env], absent


def named_in(text: str, src: str) -> set[str]:
    """Return the existing small files below ``src`` that a compose file names (env_file, include, extends, mounts)."""
    found = set()
    for token in set(_SCALAR.findall(text)):
        for candidate in (token, token.split(":", 1)[0]):
            path = _relative(src, candidate)
            if not os.path.isabs(path) and _small_file(os.path.join(src, path)):
                found.add(path)
    return found


def _small_file(path: str) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) <= FILE_SIZE


def kind_of(path: str) -> str:
    """Return what a file is by its name: compose, env or configuration."""
    if path.endswith((".yml", ".yaml")):
        return "compose"
    name = os.path.basename(path)
    return "env" if name.startswith(".env") or name.endswith((".env", "_env")) else "configuration"


def _below(folder: str) -> list[str]:
    """Return the files and links below ``folder``; links to folders too, and nothing that has no content of its own."""
    paths = [os.path.join(base, name) for base, folders, names in os.walk(folder) for name in [*folders, *names]]
    return sorted(path for path in paths if os.path.islink(path) or os.path.isfile(path))


def find(
    project: Project,
    rendered: Mapping[str, Any],
    config_paths: Sequence[str],
    changed: Iterable[str],
    untracked: Iterable[str],
) -> Found:
    """Find the files that make up a release.

    ``rendered`` is Compose's rendered project ({} when it could not be rendered), ``config_paths`` are declared by
    the operator, ``changed`` and ``untracked`` come from git. Raises :class:`FilesError` for a declared path that
    does not exist.
    """
    src, notes = project.src, []
    loaded, absent = compose_files(project)
    kinds = {
        _relative(src, path): "env" if path in project.env_files or path == ".env" else "compose" for path in loaded
    }
    for path in [name for name, kind in kinds.items() if kind == "compose"]:
        with contextlib.suppress(OSError, UnicodeDecodeError), open(full_path(src, path), encoding="utf-8") as stream:
            for name in sorted(named_in(stream.read(), src)):
                kinds.setdefault(name, kind_of(name))
    secrets = _files_of(rendered, "secrets")
    writable = _writable_folders(rendered)
    for source in sorted({*_mounted(rendered), *secrets}):
        path = _relative(src, source)
        if os.path.isfile(source):
            if _small_file(source):
                kinds[path] = "secret" if source in secrets else kinds.get(path, "configuration")
            else:
                notes.append(f"{path} is mounted and larger than {FILE_SIZE >> 20} MB: it was not recorded")
        elif os.path.isdir(source) and not os.path.isabs(path):
            if source in writable:
                notes.append(f"{path} is mounted writable, so it is taken for data: it was not recorded ({DECLARE})")
                continue
            files = _below(source)
            if len(files) > MOUNT_FILES or any(os.path.getsize(f) > FILE_SIZE for f in files if os.path.isfile(f)):
                notes.append(f"{path} is mounted and looks like data: it was not recorded ({DECLARE})")
            else:
                for name in files:
                    kinds.setdefault(_relative(src, name), "configuration")
    for declared in config_paths:
        full = full_path(src, declared)
        if not os.path.lexists(full):
            raise FilesError(f"the declared configuration path {declared} does not exist")
        for name in _below(full) if os.path.isdir(full) and not os.path.islink(full) else [full]:
            kinds.setdefault(_relative(src, name), "configuration")
    for paths, kind in ((changed, "changed"), (untracked, "untracked")):
        for path in paths:
            full = os.path.join(src, path)
            # What a service writes is data: putting an old copy back would overwrite what it wrote since.
            if kind == "untracked" and full.startswith(tuple(folder.rstrip("/") + "/" for folder in writable)):
                continue
            if os.path.islink(full) or _small_file(full):
                kinds.setdefault(path, kind)
            elif os.path.lexists(full):
                notes.append(
                    f"{path} ({kind} in git) is larger than {FILE_SIZE >> 20} MB or no plain file: it was not recorded"
                )
    # Whatever brought an env file here: its values are not to be shown.
    told = {
        path: "env" if kind_of(path) == "env" and kind != "secret" else kind for path, kind in sorted(kinds.items())
    }
    return Found(told, tuple(absent), tuple(notes))


def _mounted(rendered: Mapping[str, Any]) -> list[str]:
    """Return the host paths that a rendered project mounts, and those of its configs."""
    paths = []
    for service in (rendered.get("services") or {}).values():
        paths += [mount["source"] for mount in service.get("volumes") or () if mount.get("type") == "bind"]
    return [*paths, *_files_of(rendered, "configs")]


def _writable_folders(rendered: Mapping[str, Any]) -> set[str]:
    """Return the host folders that a service may write to."""
    return {
        mount["source"]
        for service in (rendered.get("services") or {}).values()
        for mount in service.get("volumes") or ()
        if mount.get("type") == "bind" and not mount.get("read_only") and os.path.isdir(mount["source"])
    }


def _files_of(rendered: Mapping[str, Any], section: str) -> list[str]:
    return [entry["file"] for entry in (rendered.get(section) or {}).values() if (entry or {}).get("file")]


def record(src: str, kinds: Mapping[str, str], folder: str = "") -> tuple[FileRecord, ...]:
    """Describe the files byte for byte; with ``folder`` (a restore point's) copy their content into it as well."""
    records = []
    for path, kind in kinds.items():
        full = full_path(src, path)
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            continue
        entry = FileRecord(path, kind, f"{stat.S_IMODE(status.st_mode):04o}", status.st_uid, status.st_gid)
        if stat.S_ISLNK(status.st_mode):
            records.append(replace(entry, link=os.readlink(full)))
            continue
        if not stat.S_ISREG(status.st_mode):
            raise FilesError(f"{full} is neither a file nor a link")
        stored = ""
        if folder:
            stored = os.path.join("files", "absolute" + path if os.path.isabs(path) else os.path.join("project", path))
            copy = os.path.join(folder, stored)
            _make_folders(os.path.dirname(copy), 0o700)
            shutil.copyfile(full, copy)
            os.chmod(copy, 0o600)
        records.append(
            replace(
                entry,
                size=status.st_size,
                sha256=sha256_of(os.path.join(folder, stored) if folder else full),
                stored=stored,
            )
        )
    return tuple(records)


def compare(src: str, records: Iterable[FileRecord], absent: Iterable[str]) -> tuple[Change, ...]:
    """Return what would have to change in ``src`` to be as recorded."""
    changes = []
    for entry in records:
        full = full_path(src, entry.path)
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            changes.append(Change(entry.path, "link" if entry.link else "write"))
            continue
        if entry.link:
            if not stat.S_ISLNK(status.st_mode) or os.readlink(full) != entry.link:
                changes.append(Change(entry.path, "link"))
        elif not stat.S_ISREG(status.st_mode) or status.st_size != entry.size or sha256_of(full) != entry.sha256:
            changes.append(Change(entry.path, "write"))
        elif (f"{stat.S_IMODE(status.st_mode):04o}", status.st_uid, status.st_gid) != (
            entry.mode,
            entry.uid,
            entry.gid,
        ):
            changes.append(Change(entry.path, "attributes"))
    changes += [Change(name, "set aside") for name in absent if os.path.lexists(full_path(src, name))]
    return tuple(changes)


def put_back(
    src: str, source: str, records: Iterable[FileRecord], absent: Iterable[str], aside: str
) -> tuple[Change, ...]:
    """Make the files in ``src`` as recorded, from the copies in ``source``; return what was changed.

    Files that must not be there are moved into ``aside``. Every file is complete or untouched. Raises
    :class:`FilesError`.
    """
    by_path = {entry.path: entry for entry in records}
    changes = compare(src, by_path.values(), absent)
    owner = os.stat(src)
    try:
        for change in changes:
            full = full_path(src, change.path)
            if change.action == "set aside":
                kept = os.path.join(aside, change.path.lstrip("/"))
                _make_folders(os.path.dirname(kept), 0o700)
                shutil.move(full, kept)
                continue
            entry = by_path[change.path]
            if change.action == "attributes":
                os.chown(full, entry.uid, entry.gid)
                os.chmod(full, int(entry.mode, 8))
                continue
            _make_folders(os.path.dirname(full), 0o755, (owner.st_uid, owner.st_gid))
            temporary = f"{full}{TEMPORARY}{os.getpid()}"
            try:
                _write_copy(entry, source, temporary)
                if os.path.isdir(full) and not os.path.islink(full):
                    shutil.move(full, os.path.join(aside, change.path.lstrip("/")))
                os.replace(temporary, full)
            except OSError:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
    except OSError as error:
        raise FilesError(f"{error.filename or src} cannot be put back: {error.strerror}") from error
    return changes


def _write_copy(entry: FileRecord, source: str, path: str) -> None:
    """Write a recorded file or link to ``path``, which nobody else may read before it has its owner and mode."""
    if entry.link:
        os.symlink(entry.link, path)
        os.lchown(path, entry.uid, entry.gid)
        return
    with open(os.path.join(source, entry.stored), "rb") as recorded:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            shutil.copyfileobj(recorded, written)
    os.chown(path, entry.uid, entry.gid)
    os.chmod(path, int(entry.mode, 8))


def _make_folders(path: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Make missing folders, every one of them with this mode and owner (makedirs would do so for the last one only)."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder, mode)
        if owner:
            os.chown(folder, *owner)
