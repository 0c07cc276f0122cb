# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and move the git checkout of a project's folder, as its owner. Private to this collection."""

from __future__ import annotations

import os

from ansible_collections.schedgen.rollback.plugins.module_utils import _command
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import GitRecord


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


def check_out(src: str, commit: str, ref: str = "") -> None:
    """Make tracked files those of ``commit``: on branch ``ref`` when it still points there, else detached.

    Changed tracked files are overwritten: whoever calls this has kept them. Untracked files stay, unless the
    commit has a file of that name.
    """
    target = ["--detach", commit]
    if ref and resolve(src, f"refs/heads/{ref}") == commit:
        target = [ref]
    _checked(src, ["checkout", "--force", "--quiet", *target, "--"], timeout=300)
