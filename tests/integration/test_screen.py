# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator sees, on real runs of small playbooks: in a log file, on a terminal and in ansible-runner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_runner
import pexpect  # type: ignore[import-untyped]
import pytest
import yaml
from support import interpreter

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "schedgen.rollback.rollback_timeline"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
RULE = "-" * 80
DOUBLE = "=" * 80

# Times differ from run to run; everything else is compared as it is.
_TIMES = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "DATE"),
    (re.compile(r"^\d\d:\d\d:\d\d  ", re.MULTILINE), "TIME  "),
    (re.compile(r"\b\d+\.\d s\b"), "N s"),
)


@dataclass(frozen=True)
class Seen:
    """What a run printed, and its exit code."""

    rc: int
    text: str
    errors: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines of standard output with the times replaced."""
        text = self.text
        for pattern, word in _TIMES:
            text = pattern.sub(word, text)
        return text.splitlines()


def task(name: str, action: str, arguments: object = None, **keywords: object) -> dict[str, object]:
    return {"name": name, f"ansible.builtin.{action}": arguments if arguments is not None else {}, **keywords}


def says(headline: str = "", lines: tuple[str, ...] = (), **rows: str) -> dict[str, object]:
    """Return the data of a set_stats task that speaks to the screen."""
    table = [{"label": label.replace("_", " "), "value": value} for label, value in rows.items()]
    return {"data": {"rollback_screen": {"headline": headline, "lines": list(lines), "rows": table}}}


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": CALLBACK,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "COLUMNS": "200",
        **more,
    }


def write(folder: Path, tasks: list[dict[str, object]], **play: object) -> Path:
    (folder / "ansible.cfg").write_text("")
    path = folder / "play.yml"
    path.write_text(
        yaml.safe_dump([{"name": "Try the screen", "hosts": "all", "gather_facts": False, **play, "tasks": tasks}])
    )
    return path


def run(
    folder: Path,
    tasks: list[dict[str, object]],
    *arguments: str,
    inventory: str = "app1,",
    env: dict[str, str] | None = None,
    **play: object,
) -> Seen:
    command = [
        str(PLAYBOOK), "-i", inventory, "-e", f"ansible_python_interpreter={interpreter.PYTHON}",
        *(() if "-c" in arguments else ("-c", "local")), *arguments, str(write(folder, tasks, **play)),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment(folder, **(env or {}))
    )
    return Seen(done.returncode, done.stdout, done.stderr)


def assert_narrow(seen: Seen) -> None:
    assert [line for line in seen.text.splitlines() if len(line) > 80] == []


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A role that describes itself."""
    path = tmp_path / "roles" / "switch_it"
    for name in ("tasks", "meta"):
        (path / name).mkdir(parents=True)
    (path / "meta" / "argument_specs.yml").write_text(
        yaml.safe_dump({"argument_specs": {"main": {"short_description": "Switch the release.", "options": {}}}})
    )
    (path / "tasks" / "main.yml").write_text(
        yaml.safe_dump(
            [
                task("sub | Look", "command", "true", changed_when=False),
                task("sub | Leave out", "command", "true", when=False),
                task("sub | Switch", "set_stats", says("backend now runs v2", ("was v3",), From="v3", To="v2")),
            ]
        )
    )
    return path


def test_phases_headlines_table_and_outcome(tmp_path: Path, role: Path) -> None:
    seen = run(
        tmp_path,
        [
            task("Guard", "assert", {"that": "true"}),
            {"name": "Call", "ansible.builtin.import_role": {"name": role.name}},
            task("Write a note", "copy", {"content": "new", "dest": str(tmp_path / "note")}),
            task("Correct the row", "set_stats", says(To="v1", Verified="healthy", Outcome="app1 runs v1 again")),
        ],
        vars={"rollback_application": "schedgen"},
    )
    assert seen.rc == 0
    assert seen.lines == [
        "play.yml: schedgen on app1                               DATE",
        DOUBLE,
        "TIME  Switch the release",
        "          backend now runs v2",
        "            was v3",
        "          done in N s",
        "TIME  Try the screen",
        "          changed: Write a note",
        "          done in N s",
        RULE,
        "From      v3",
        "To        v1",
        "Verified  healthy",
        RULE,
        "DONE: play.yml finished in N s: app1 runs v1 again (exit code 0)",
    ]
    assert seen.errors == ""
    assert_narrow(seen)


def test_a_play_that_guards_on_the_controller_is_no_host_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("")
    (tmp_path / "guard.yml").write_text(
        yaml.safe_dump(
            [
                {"hosts": "localhost", "gather_facts": False, "tasks": [task("Guard", "assert", {"that": "true"})]},
                {"hosts": "all", "gather_facts": False, "tasks": [task("Fail", "fail", {"msg": "in words"})]},
            ]
        )
    )
    command = [str(PLAYBOOK), "-i", "app1,", "-c", "local", "-e", f"ansible_python_interpreter={interpreter.PYTHON}"]
    done = subprocess.run(
        [*command, str(tmp_path / "guard.yml")],
        capture_output=True, text=True, check=False, timeout=120, env=environment(tmp_path),
    )  # fmt: skip
    lines = Seen(done.returncode, done.stdout).lines
    assert lines[0] == "guard.yml on app1                                        DATE"
    assert lines[3] == "          FAILED: Fail"
    assert lines[-1] == "FAILED: in words (exit code 2)"


def test_a_failure_is_told_in_sentences(tmp_path: Path) -> None:
    message = (
        "What happened: image registry.example.org/schedgen/backend:v2 cannot be fetched from its registry\n"
        "State: nothing was changed, v3 keeps running\nNext: start the registry, then run the same command again"
    )
    seen = run(tmp_path, [task("sub | Fetch images", "fail", {"msg": message}), task("Never", "command", "true")])
    assert seen.rc == 2
    assert seen.lines[2:] == [
        "TIME  Try the screen",
        "          FAILED: Fetch images",
        "          What happened: image registry.example.org/schedgen/backend:v2 cannot",
        "            be fetched from its registry",
        "          State: nothing was changed, v3 keeps running",
        "          Next: start the registry, then run the same command again",
        "          FAILED after N s",
        "FAILED: image registry.example.org/schedgen/backend:v2 cannot... (exit code 2)",
    ]
    assert_narrow(seen)


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        (
            task("Run", "shell", "echo no such thing >&2; exit 3"),
            ["          The command ended with code 3:", "          no such thing"],
        ),
        (
            task("Check", "assert", {"that": ["1 == 2"]}),
            ["          Assertion failed", "          Not true: 1 == 2"],
        ),
        (
            task("Secret", "fail", {"msg": "the password is swordfish"}, no_log=True),
            ["          The output is hidden, because the task has no_log set."],
        ),
        (
            task("Each", "fail", {"msg": "no {{ item }}"}, loop=["a", "b"]),
            ["          no a", "          FAILED: Each (b)", "          no b"],
        ),
    ],
)
def test_failures_of_every_kind(tmp_path: Path, failing: dict[str, object], expected: list[str]) -> None:
    seen = run(tmp_path, [failing])
    assert seen.rc == 2
    assert seen.lines[4:-2] == expected
    assert "swordfish" not in seen.text + seen.errors
    assert "{" not in seen.text
    assert_narrow(seen)


def test_an_undefined_variable_is_no_traceback(tmp_path: Path) -> None:
    seen = run(tmp_path, [task("Use", "command", "echo {{ missing }}")])
    assert seen.rc == 2
    assert "'missing' is undefined" in " ".join(seen.text.split())
    assert "Traceback" not in seen.text + seen.errors
    assert_narrow(seen)


def test_a_handled_failure_ends_well(tmp_path: Path) -> None:
    block = {"block": [task("Try", "command", "false")], "rescue": [task("Put back", "command", "true")]}
    seen = run(tmp_path, [{"name": "Switch", **block}])
    assert seen.rc == 0
    assert seen.lines[2:] == [
        "TIME  Switch",
        "          FAILED: Try",
        "          The command ended with code 1",
        "          changed: Put back",
        "          FAILED after N s",
        "DONE: play.yml finished in N s (exit code 0)",
    ]


def test_a_failure_that_is_raised_again_is_told_once(tmp_path: Path) -> None:
    block = {
        "block": [task("Switch", "fail", {"msg": "What happened: no image\nState: v3 runs\nNext: start the registry"})],
        "rescue": [
            task("Put back", "command", "true"),
            task("Fail", "fail", {"msg": "{{ ansible_failed_result.msg }}"}),
        ],
    }
    seen = run(tmp_path, [{"name": "Go back", **block}])
    assert seen.rc == 2
    assert seen.lines[2:] == [
        "TIME  Go back",
        "          FAILED: Switch",
        "          What happened: no image",
        "          State: v3 runs",
        "          Next: start the registry",
        "          changed: Put back",
        "          FAILED after N s",
        RULE,
        "Next  start the registry",
        RULE,
        "FAILED: no image (exit code 2)",
    ]


def test_an_unreachable_host(tmp_path: Path) -> None:
    seen = run(
        tmp_path,
        [task("Ping", "ping")],
        "-c", "ssh", "-e", "ansible_host=127.0.0.1 ansible_port=1",
    )  # fmt: skip
    assert seen.rc == 4
    assert seen.lines[2:4] == ["TIME  Try the screen", "          app1: UNREACHABLE: Ping"]
    assert "Connection refused" in seen.text
    assert seen.lines[-1] == "FAILED: cannot be reached (exit code 4: unreachable)"
    assert_narrow(seen)


def test_an_unreachable_host_where_any_error_is_fatal_has_the_code_that_is_printed(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    lost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts.write_text(yaml.safe_dump({"all": {"hosts": {"app1": {"ansible_connection": "local"}, "app2": lost}}}))
    command = [str(PLAYBOOK), "-i", str(hosts), "-e", f"ansible_python_interpreter={interpreter.PYTHON}"]
    path = write(tmp_path, [task("Ping", "ping"), task("Again", "ping")], any_errors_fatal=True)
    done = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, check=False, timeout=120, env=environment(tmp_path)
    )
    assert f"exit code {done.returncode}" in done.stdout.splitlines()[-1]


def test_check_mode_with_differences(tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("one\ntwo\n")
    secret = tmp_path / "secret"
    seen = run(
        tmp_path,
        [
            task("Write a note", "copy", {"content": "one\nthree\n", "dest": str(note)}),
            task("Write a secret", "copy", {"content": "swordfish", "dest": str(secret)}, no_log=True),
        ],
        "--check",
        "--diff",
    )
    assert seen.rc == 0
    assert note.read_text() == "one\ntwo\n"
    lines = seen.lines
    assert lines[2:5] == [
        "CHECK MODE: nothing is changed. What follows is what would happen.",
        "TIME  Try the screen",
        "          would change: Write a note",
    ]
    assert lines[5].startswith("--- before: ")
    assert lines[6].startswith("+++ after: ")
    assert lines[7:10] == ["@@ -1,2 +1,2 @@", " one", "-two"]
    assert lines[10:] == [
        "+three",
        "          would change: Write a secret",
        "          done in N s",
        "DONE: check only, nothing was changed (exit code 0)",
    ]
    assert "swordfish" not in seen.text


def test_two_hosts_are_told_apart(tmp_path: Path) -> None:
    speak = task("Speak", "set_stats", says("{{ inventory_hostname }} is ready", To="v2"), when="true")
    seen = run(tmp_path, [speak], inventory="app1,app2,", env={"ANSIBLE_FORKS": "1"})
    assert seen.rc == 0
    assert seen.lines == [
        "play.yml on app1, app2                                   DATE",
        DOUBLE,
        "TIME  Try the screen",
        "          app1: app1 is ready",
        "          app2: app2 is ready",
        "          done in N s",
        RULE,
        "app1",
        "  To  v2",
        "app2",
        "  To  v2",
        RULE,
        "DONE: play.yml finished on 2 hosts in N s (exit code 0)",
    ]


def test_loops_and_things_that_stay_silent(tmp_path: Path) -> None:
    seen = run(
        tmp_path,
        [
            task("Count", "command", "echo {{ item }}", loop=[1, 2, 3], changed_when="item == 2"),
            task("Say for each", "set_stats", says("item {{ item }}"), loop=["x", "y"]),
            task("Set", "set_fact", {"a_fact": 1}),
            task("Allowed", "command", "false", ignore_errors=True),
            task("Show", "debug", {"msg": ["first", "second"]}),
            task("Show a value", "debug", {"var": "a_fact"}),
            task("Hide", "debug", {"msg": "swordfish"}, no_log=True),
        ],
    )
    assert seen.rc == 0
    assert seen.lines[2:] == [
        "TIME  Try the screen",
        "          changed: Count (1 of 3 items)",
        "          item x",
        "          item y",
        "          failed, which is allowed here: Allowed: The command ended with code 1",
        "          first",
        "          second",
        "          a_fact: 1",
        "          done in N s",
        "DONE: play.yml finished in N s (exit code 0)",
    ]
    assert "swordfish" not in seen.text


def test_no_host_matched(tmp_path: Path) -> None:
    seen = run(tmp_path, [task("Ping", "ping")], hosts="nobody")
    assert seen.lines[2:] == [
        "          no host matches 'nobody': this part is left out",
        "NOTHING DONE: no host matched, so no task ran (exit code 0)",
    ]


def test_long_work_in_a_log_has_a_line_now_and_then(tmp_path: Path) -> None:
    seen = run(
        tmp_path,
        [task("sub | Dump the database", "command", "sleep 5", **{"async": 30, "poll": 1})],
        env={"SCHEDGEN_ROLLBACK_HEARTBEAT": "2"},
    )
    beats = [line for line in seen.lines if line.endswith(" s: Dump the database")]
    assert seen.rc == 0
    elapsed = [int(line.split()[0]) for line in beats]
    assert len(elapsed) >= 2
    assert all(later - earlier >= 2 for earlier, later in zip(elapsed, elapsed[1:]))
    assert seen.lines[2] == "TIME  Try the screen"
    assert seen.lines[-3:-1] == ["          changed: Dump the database", "          done in N s"]
    assert "\r" not in seen.text
    assert "\x1b" not in seen.text


def test_verbose_adds_what_the_default_callback_prints(tmp_path: Path) -> None:
    seen = run(tmp_path, [task("Echo", "command", "echo hello"), task("Speak", "set_stats", says("spoken"))], "-v")
    assert "TASK [Echo] " in seen.text
    assert '"stdout": "hello"' in seen.text
    assert "          spoken" in seen.lines
    assert "PLAY RECAP " in seen.text
    assert seen.lines[-1] == "DONE: play.yml finished in N s (exit code 0)"


def test_beside_another_stdout_callback(tmp_path: Path) -> None:
    tasks = [task("Speak", "set_stats", says("spoken", To="v2")), task("Fail", "fail", {"msg": "in words"})]
    beside = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_CALLBACKS_ENABLED": CALLBACK}
    seen = run(tmp_path, tasks, env=beside)
    assert seen.rc == 2
    assert "TASK [Speak] " in seen.text
    assert seen.text.count("fatal: [app1]: FAILED!") == 1
    assert [line for line in seen.lines if line.startswith(("TIME", "          ", "To", "FAILED"))] == [
        "TIME  Try the screen",
        "          spoken",
        "          FAILED: Fail",
        "          in words",
        "          FAILED after N s",
        "To  v2",
        "FAILED: in words (exit code 2)",
    ]


def test_named_twice_it_prints_once(tmp_path: Path) -> None:
    seen = run(tmp_path, [task("Speak", "set_stats", says("spoken"))], env={"ANSIBLE_CALLBACKS_ENABLED": CALLBACK})
    assert seen.lines.count("          spoken") == 1
    assert seen.lines.count(DOUBLE) == 1


def test_warnings_are_kept(tmp_path: Path) -> None:
    module = tmp_path / "library" / "warns.py"
    module.parent.mkdir()
    module.write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        "module = AnsibleModule({})\nmodule.warn('the disk is nearly full')\nmodule.exit_json(changed=False)\n"
    )
    seen = run(tmp_path, [{"name": "Warn", "warns": {}}])
    assert "the disk is nearly full" in seen.text + seen.errors


def terminal(folder: Path, tasks: list[dict[str, object]], width: int) -> Any:
    command = ["-i", "app1,", "-c", "local", "-e", f"ansible_python_interpreter={interpreter.PYTHON}"]
    full = environment(folder, TERM="xterm", ANSIBLE_NOCOLOR="1")
    del full["COLUMNS"]
    path = write(folder, tasks)
    return pexpect.spawn(
        str(PLAYBOOK), [*command, str(path)], env=full, dimensions=(24, width), timeout=60, encoding="utf-8"
    )


@pytest.mark.parametrize("width", [80, 40])
def test_a_terminal_has_one_moving_line(tmp_path: Path, width: int) -> None:
    name = "Restore the database into a new one beside the live one"
    child = terminal(tmp_path, [task(name, "command", "sleep 4")], width)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    moves = re.findall(r"\r( +\d s: [^\r]*)\r", child.before)
    assert [int(line.split()[0]) for line in moves][:3] == [1, 2, 3]
    assert all(len(line) < width for line in moves)
    # The line is wiped before the next one is printed in its place.
    assert f"\r{' ' * len(moves[-1])}\r          changed: {name[:10]}" in child.before
    assert "\x1b" not in child.before


def test_a_pause_can_be_answered(tmp_path: Path) -> None:
    child = terminal(
        tmp_path,
        [
            task("Ask", "pause", {"prompt": "Go on? "}, register="asked"),
            task("Show", "debug", {"msg": "the answer is {{ asked.user_input }}"}),
        ],
        80,
    )
    child.expect_exact("Go on? ")
    # Longer than the moving line would wait: it has to stay away from a question.
    assert child.expect([r"\d s: Ask", pexpect.TIMEOUT], timeout=3) == 1
    child.sendline("yes")
    child.expect_exact("the answer is yes")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.parametrize("original", [True, False])
def test_ansible_runner(tmp_path: Path, original: bool) -> None:
    """AWX puts its own stdout callback in front: it builds on this one, or stands beside it."""
    project = tmp_path / "project"
    project.mkdir()
    write(project, [task("Speak", "set_stats", says("spoken", To="v2")), task("Work", "command", "sleep 3")])
    settings = {**environment(project), "SCHEDGEN_ROLLBACK_HEARTBEAT": "1"}
    if not original:
        del settings["ANSIBLE_STDOUT_CALLBACK"]
        settings["ANSIBLE_CALLBACKS_ENABLED"] = CALLBACK
    result = ansible_runner.run(
        private_data_dir=str(tmp_path),
        playbook="play.yml",
        inventory={"all": {"hosts": {"app1": {"ansible_connection": "local"}}}},
        extravars={"ansible_python_interpreter": interpreter.PYTHON},
        envvars={key: value for key, value in settings.items() if key.startswith(("ANSIBLE_", "SCHEDGEN_"))},
        settings={"suppress_ansible_output": True},
        quiet=True,
    )
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", result.stdout.read())
    seen = Seen(result.rc, text.replace("\r", ""))
    assert result.rc == 0
    for line in ("TIME  Try the screen", "          spoken", "          2 s: Work", "To  v2"):
        assert line in seen.lines
    assert seen.lines[-1] == "DONE: play.yml finished in N s (exit code 0)"
    assert ("TASK [Speak]" in text) is not original
    assert {"playbook_on_start", "runner_on_ok", "playbook_on_stats"} <= {event["event"] for event in result.events}
