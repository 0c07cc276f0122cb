# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on the host: real processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _command
from ansible_collections.schedgen.rollback.plugins.module_utils._command import CommandError, Completed

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_it_did_is_returned_whatever_its_exit_code() -> None:
    done = _command.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert done == Completed(("sh", "-c", "echo out; echo err >&2; exit 3"), 3, "out\n", "err\n", done.seconds)
    assert done.seconds >= 0


def test_no_shell_comes_between() -> None:
    assert _command.run(["printf", "%s|", "a b", "$HOME", "*;ls"]).stdout == "a b|$HOME|*;ls|"


def test_input() -> None:
    assert _command.run(["cat"], input_text="größe\n").stdout == "größe\n"
    # Without any, a program that reads finds the end and does not wait for a person.
    assert _command.run(["cat"]).stdout == ""


def test_output_that_is_no_text() -> None:
    assert _command.run(["printf", r"a\377b"]).stdout == "a\ufffdb"


def test_folder(tmp_path: Path) -> None:
    assert _command.run(["pwd", "-P"], cwd=str(tmp_path)).stdout == f"{os.path.realpath(tmp_path)}\n"


def test_a_time_that_is_over() -> None:
    with pytest.raises(CommandError) as raised:
        _command.run(["sleep", "60"], timeout=0.1)
    assert str(raised.value) == "'sleep 60' did not end within 0.1 s and was stopped"
    assert raised.value.argv == ("sleep", "60")
    assert raised.value.completed is None


def test_a_program_that_is_missing() -> None:
    with pytest.raises(CommandError) as raised:
        _command.run(["no-such-program", "x"])
    assert str(raised.value) == ("'no-such-program x' could not be started: No such file or directory: no-such-program")


def test_what_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no program")
    with pytest.raises(CommandError) as raised:
        _command.run([str(path)])
    assert str(raised.value) == f"'{path}' could not be started: Permission denied: {path}"


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        _command.run(["true"], cwd=str(tmp_path / "gone"))
    assert str(raised.value) == f"'true' could not be started: No such file or directory: {tmp_path / 'gone'}"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo a; echo b >&2; exit 2", "failed with exit code 2: b"),
        ("echo a; exit 1", "failed with exit code 1: a"),
        ("exit 1", "failed with exit code 1: "),
        ("printf 'a\\n\\nb\\n' >&2; exit 1", "failed with exit code 1: a\nb"),
        ("kill -9 $$", "failed with exit code -9: "),
    ],
)
def test_a_failure_has_the_commands_own_last_words(script: str, message: str) -> None:
    with pytest.raises(CommandError) as raised:
        _command.check(["sh", "-c", script])
    assert str(raised.value) == f"'sh -c {script}' {message}"
    assert raised.value.completed is not None


def test_a_success_is_returned() -> None:
    assert _command.check(["echo", "a"]).stdout == "a\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ""),
        ("\n \n", ""),
        ("a", "a"),
        ("a\n\nb\n", "a\nb"),
        ("\n".join(str(number) for number in range(20)), "\n".join(str(number) for number in range(8, 20))),
    ],
)
def test_last_lines(text: str, lines: str) -> None:
    assert _command.last_lines(text) == lines


def test_only_what_is_needed_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAG", "COMPOSE_FILE", "POSTGRES_PASSWORD", "GIT_DIR", "LANG", "LC_MESSAGES"):
        monkeypatch.setenv(name, "stray")
    for name in ("DOCKER_HOST", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "HOME"):
        monkeypatch.setenv(name, "kept")
    code = "import json, os; print('\\n'.join(f'{k}={v}' for k, v in sorted(os.environ.items())))"
    seen = dict(line.split("=", 1) for line in _command.run(python(code)).stdout.splitlines())
    assert "stray" not in seen.values()
    assert {name for name, value in seen.items() if value == "kept"} == {
        "DOCKER_HOST", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "HOME",
    }  # fmt: skip
    assert seen["LC_ALL"] == "C.UTF-8"
    assert seen["PATH"] == os.environ["PATH"]


def test_more_variables_as_asked() -> None:
    done = _command.run(["sh", "-c", 'echo "$TAG $LC_ALL"'], env={"TAG": "v3", "LC_ALL": "C"})
    assert done.stdout == "v3 C\n"


@root_only
def test_as_somebody_else_who_has_no_name() -> None:
    script = 'id -u; id -g; id -G; echo "$HOME"'
    done = _command.check(["sh", "-c", script], owner=(1234, 1235))
    assert done.stdout == "1234\n1235\n1235\n/\n"
    # The message is about the command itself, not about how it was made to run.
    assert done.argv == ("sh", "-c", script)


@root_only
def test_as_somebody_who_has_a_home() -> None:
    assert _command.check(["sh", "-c", 'id -un; echo "$HOME"'], owner=(1, 1)).stdout == "daemon\n/usr/sbin\n"


@pytest.mark.parametrize("owner", [None, (os.geteuid(), 99)])
def test_nobody_else_is_asked_for(owner: tuple[int, int] | None) -> None:
    assert _command.as_owner(["id"], owner) == (["id"], {})


def test_one_command_feeds_another(tmp_path: Path) -> None:
    target = tmp_path / "out"
    _command.pipe(["printf", "b\\na\\n"], ["sort"], target=str(target))
    assert target.read_text() == "a\nb\n"
    _command.pipe(["true"], ["cat"], target=str(target))
    assert target.read_text() == ""


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("echo a >&2; exit 3", "cat", "'sh -c echo a >&2; exit 3' failed with exit code 3: a"),
        ("echo a", "cat; echo b >&2; exit 4", "'sh -c cat; echo b >&2; exit 4' failed with exit code 4: b"),
        ("echo a >&2; exit 3", "cat; echo b >&2; exit 4", "'sh -c echo a >&2; exit 3' failed with exit code 3: a\nb"),
    ],
)
def test_both_ends_of_a_pipe_count(first: str, second: str, message: str) -> None:
    with pytest.raises(CommandError) as raised:
        _command.pipe(["sh", "-c", first], ["sh", "-c", second])
    assert str(raised.value) == message


def test_neither_end_of_a_pipe_waits_for_ever() -> None:
    # More words than a pipe holds, and a reader that stops early.
    many = "head -c 1000000 /dev/zero | tr '\\0' x"
    _command.pipe(["sh", "-c", f"{many} >&2"], ["cat"])
    with pytest.raises(CommandError, match=r" failed with exit code 5: (?s:.*)no room$"):
        _command.pipe(
            ["sh", "-c", f"trap '' PIPE; {many} 2>/dev/null; exit 0"], ["sh", "-c", "echo no room >&2; exit 5"]
        )


def test_a_program_that_is_missing_at_either_end_of_a_pipe() -> None:
    for first, second in (("no-such-program", "cat"), ("true", "no-such-program")):
        with pytest.raises(CommandError, match=r" could not be started: No such file or directory: no-such-program$"):
            _command.pipe([first], [second])


def test_available() -> None:
    assert _command.available("sh")
    assert not _command.available("no-such-program")
