"""Runs commands, talks to the person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class LabError(Exception):
    """The command cannot do what it was asked for; the message says why and what to do."""


def say(text: str) -> None:
    """Tell the person; results alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text_input: str | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says; a failure is a LabError that shows its last lines."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=text_input,
            stdin=subprocess.DEVNULL if text_input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: no end after {timeout} s") from error
    if check and done.returncode != 0:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-25:])
        raise LabError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return done


def wait_until(what: str, ready: Callable[[], bool], *, timeout: float, every: float = 0.2) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not so after {timeout:.0f} s")
        time.sleep(every)


def start_background(argv: Sequence[str | Path], *, log: Path, pid_file: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, its output in a log file."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    if pid_file:
        pid_file.write_text(f"{process.pid}\n")
    return process


def running_pid(pid_file: Path, word: str) -> int | None:
    """The process of a pid file, if it lives and its command line has this word: a stale file finds nothing."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if word in command else None


def stop_pid(pid_file: Path, word: str, *, timeout: float = 20) -> bool:
    """End the process of a pid file; True when there was one."""
    pid = running_pid(pid_file, word)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        try:
            wait_until("it ended", lambda: running_pid(pid_file, word) is None, timeout=timeout, every=0.05)
        except LabError:
            os.kill(pid, signal.SIGKILL)
    pid_file.unlink(missing_ok=True)
    return pid is not None
