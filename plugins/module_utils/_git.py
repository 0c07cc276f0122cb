# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and move the git checkout of a project's folder, as its owner. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import time

from ansible_collections.schedgen.rollback.plugins.module_utils import _command
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import GitRecord

# Seconds for another git to come to its end.
LOCK_WAIT = 10.0


class GitError(Expected):
    """Git refused; the message has its own words."""


def owner_of(path: str) -> tuple[int, int]:
    """Return (uid, gid) of a file or folder."""
    status = os.stat(path)
    return status.st_uid, status.st_gid


def _git(src: str, arguments: list[str], *, timeout: float = 60) -> _command.Completed:
    # Hooks stay out: a post-checkout hook that deploys or notifies is not part of going back.
    argv = ["git", "-C", src, "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", *arguments]
    # A look changes nothing: git would otherwise write its index anew, and lock it, to remember what it saw.
    env = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return _command.run(argv, timeout=timeout, owner=owner_of(src), env=env)
    except _command.CommandError as error:
        raise GitError(str(error)) from error


def _checked(src: str, arguments: list[str], *, timeout: float = 60) -> str:
    done = _git(src, arguments, timeout=timeout)
    if done.rc != 0:
        raise GitError(f"git {arguments[0]} in {src} failed: {_command.last_lines(done.stderr)}")
    return done.stdout


def is_checkout(src: str) -> bool:
    """Tell whether ``src`` itself is the top of a git checkout with at least one commit."""
    if not os.path.exists(os.path.join(src, ".git")) or not _command.available("git"):
        return False
    return _git(src, ["rev-parse", "--verify", "--quiet", "HEAD"]).rc == 0


def read(src: str) -> tuple[GitRecord, tuple[str, ...]] | None:
    """Return what is checked out in ``src`` and the tracked files that were deleted there, None when it is no checkout.

    Raises :class:`GitError` when git cannot read it.
    """
    if not is_checkout(src):
        return None
    commit = _checked(src, ["rev-parse", "HEAD"]).strip()
    ref = _git(src, ["symbolic-ref", "--quiet", "--short", "HEAD"]).stdout.strip()
    describe = _git(src, ["describe", "--tags", "--always", "HEAD"]).stdout.strip()
    changed, untracked, deleted = [], [], []
    entries = _checked(src, ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"]).split("\0")
    for entry in entries:
        if not entry:
            continue
        state, path = entry[:2], entry[3:]
        if state == "??":
            untracked.append(path)
        else:
            changed.append(path)
            if not os.path.lexists(os.path.join(src, path)):
                deleted.append(path)
    return GitRecord(commit, ref, describe, tuple(sorted(changed)), tuple(sorted(untracked))), tuple(sorted(deleted))


def resolve(src: str, name: str) -> str:
    """Return the commit that a tag, branch or commit name means in ``src``, '' when git knows none."""
    if not is_checkout(src) or name.startswith("-"):
        return ""
    done = _git(src, ["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"])
    return done.stdout.strip() if done.rc == 0 else ""


def has_commit(src: str, commit: str) -> bool:
    """Tell whether the checkout in ``src`` still has this commit."""
    return is_checkout(src) and _git(src, ["cat-file", "-e", f"{commit}^{{commit}}"]).rc == 0


def tracked(src: str, commit: str = "HEAD") -> set[str]:
    """Return the paths that ``commit`` has."""
    return {path for path in _checked(src, ["ls-tree", "-r", "-z", "--name-only", commit]).split("\0") if path}


def export(src: str, commit: str, folder: str) -> None:
    """Write the files of ``commit`` into ``folder``, which must exist."""
    try:
        _command.pipe(
            ["git", "-C", src, "archive", "--format=tar", commit], ["tar", "-x", "-C", folder], owner=owner_of(src)
        )
    except _command.CommandError as error:
        raise GitError(f"git archive of {commit[:12]} in {src} {error.reason}") from error


def _unlock(src: str) -> None:
    """Remove the locks of a git that was killed: they would keep every other one out for good.

    Raises :class:`GitError` where a live one holds them for longer than :data:`LOCK_WAIT` seconds.
    """
    folder = os.path.join(src, _checked(src, ["rev-parse", "--git-dir"]).strip())
    for path in (os.path.join(folder, name) for name in ("index.lock", "HEAD.lock")):
        end = time.monotonic() + LOCK_WAIT
        while os.path.lexists(path):
            process = _git_at_work(src, path)
            if not process:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            elif time.monotonic() > end:
                raise GitError(f"another git (process {process}) is at work in {src}")
            else:
                time.sleep(0.1)


def _git_at_work(src: str, lock: str) -> int:
    """Return a process of git that works in a checkout or holds its lock open, 0 where there is none."""
    here = os.path.realpath(src)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry.name}/comm", encoding="utf-8", errors="replace") as stream:
                if not stream.read().startswith("git"):
                    continue
            places = [os.readlink(f"/proc/{entry.name}/cwd")]
            places += [os.readlink(descriptor.path) for descriptor in os.scandir(f"/proc/{entry.name}/fd")]
            if any(place == os.path.realpath(lock) or f"{place}/".startswith(f"{here}/") for place in places):
                return int(entry.name)
    return 0


def check_out(src: str, commit: str, ref: str = "") -> None:
    """Make tracked files those of ``commit``: on branch ``ref`` when it still points there, else detached.

    Changed tracked files are overwritten: whoever calls this has kept them. Untracked files stay, unless the
    commit has a file of that name. What a killed git has left locked is unlocked.
    """
    _unlock(src)
    target = ["--detach", commit]
    if ref and resolve(src, f"refs/heads/{ref}") == commit:
        target = [ref]
    _checked(src, ["checkout", "--force", "--quiet", *target, "--"], timeout=300)
