# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands on the host, without a shell. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected


@dataclass(frozen=True)
class Completed:
    """A command that ran to its end; ``seconds`` is its wall-clock time."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float


class CommandError(Expected):
    """A command that could not be started, ran out of time or ended with a non-zero exit code."""

    def __init__(self, argv: Sequence[str], reason: str, completed: Completed | None = None) -> None:
        self.argv = tuple(argv)
        self.reason = reason
        self.completed = completed
        super().__init__(f"'{' '.join(self.argv)}' {reason}")


def last_lines(text: str, count: int = 12) -> str:
    """Return the last non-empty lines of a command's output, for a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


# What a child process may inherit: a stray variable such as TAG would otherwise decide what Compose renders.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
_INHERITED_PREFIXES = ("DOCKER_", "BUILDX_", "SSL_CERT_")
_INHERITED_PROXY = ("http_proxy", "https_proxy", "no_proxy")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process: what it needs to find its programs and Docker, and ``extra``."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key in _INHERITED or key.startswith(_INHERITED_PREFIXES) or key.lower() in _INHERITED_PROXY
    }
    return {**kept, "LC_ALL": "C.UTF-8", **(extra or {})}


def as_owner(argv: Sequence[str], owner: tuple[int, int] | None) -> tuple[list[str], dict[str, str]]:
    """Return ``argv`` made to run as ``owner`` (uid, gid), and the environment it needs.

    Nothing is changed where the process already is that user, or is not root and so cannot become it.
    """
    if owner is None or owner[0] == os.geteuid() or os.geteuid() != 0:
        return list(argv), {}
    uid, gid = owner
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        home = "/"
    prefix = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]
    return [*prefix, *argv], {"HOME": home}


def run(
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    input_text: str | None = None,
    owner: tuple[int, int] | None = None,
) -> Completed:
    """Run ``argv`` and return what it did, whatever its exit code.

    ``timeout`` is in seconds. Raises :class:`CommandError` when it cannot be started or the time is over.
    """
    command, owner_env = as_owner(argv, owner)
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env={**environment(env), **owner_env},
            cwd=cwd,
            check=False,
        )
    except OSError as error:
        raise CommandError(argv, f"could not be started: {error.strerror}: {error.filename}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(argv, f"did not end within {timeout:g} s and was stopped") from error
    return Completed(tuple(argv), done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def check(argv: Sequence[str], **options: object) -> Completed:
    """Like :func:`run`, but a non-zero exit code raises :class:`CommandError` with the command's own last words."""
    done = run(argv, **options)  # type: ignore[arg-type]
    if done.rc != 0:
        words = last_lines(done.stderr) or last_lines(done.stdout)
        raise CommandError(argv, f"failed with exit code {done.rc}: {words}", done)
    return done


def pipe(
    first: Sequence[str],
    second: Sequence[str],
    *,
    target: str = "",
    owner: tuple[int, int] | None = None,
    tolerated: tuple[int, ...] = (),
) -> int:
    """Run ``first | second`` without a shell, ``first`` as ``owner``; the output goes to the file ``target``, if any.

    Both exit codes count: raises :class:`CommandError` with both commands' own last words. Those of ``tolerated`` are
    no failure of ``first``; its exit code is returned.
    """
    argv, owner_env = as_owner(first, owner)
    env = environment()
    # The first command's words go to a file: a full pipe that nobody reads would stop both.
    with tempfile.TemporaryFile() as words, open(target or os.devnull, "wb") as output:
        try:
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=words, env={**env, **owner_env}) as reader:
                writer = subprocess.run(
                    list(second), stdin=reader.stdout, stdout=output, stderr=subprocess.PIPE, env=env, check=False
                )
        except FileNotFoundError as error:
            raise CommandError(first, f"could not be started: {error.strerror}: {error.filename}") from error
        words.seek(0)
        said = last_lines((words.read() + writer.stderr).decode(errors="replace"))
    for command, rc in ((first, reader.returncode), (second, writer.returncode)):
        if rc != 0 and not (command is first and rc in tolerated):
            raise CommandError(command, f"failed with exit code {rc}: {said}")
    return reader.returncode


@contextlib.contextmanager
def reading(argv: Sequence[str]) -> Iterator[IO[bytes]]:
    """Read what a command writes. Raises :class:`CommandError` when it fails although it was read to its end."""
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(list(argv), stdout=subprocess.PIPE, stderr=words, env=environment())
        except OSError as error:
            raise CommandError(argv, f"could not be started: {error.strerror}: {error.filename}") from error
        try:
            yield process.stdout  # type: ignore[misc]
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()  # type: ignore[union-attr]
            process.wait()
        if process.returncode != 0:
            words.seek(0)
            said = last_lines(words.read().decode(errors="replace"))
            raise CommandError(argv, f"failed with exit code {process.returncode}: {said}")


def available(program: str) -> bool:
    """Tell whether ``program`` is on the search path."""
    return shutil.which(program) is not None
