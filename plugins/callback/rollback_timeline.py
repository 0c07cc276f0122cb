# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's screen."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollback_timeline
type: stdout
short_description: Show a rollback as a timeline that can be read at night
author:
  - schedgen.rollback contributors (@schedgen)
description:
  - Shows the phases of a run as they happen (one for each role), with clock times and durations, one line for each task
    that matters, failures as sentences, and at the end a table of what was reached and one line with the outcome.
  - Fits in 80 columns, needs neither colour nor a terminal, and is as readable in AWX and in a log file.
  - A result says what the operator should see under the key C(rollback_screen), a dictionary with C(headline), C(lines)
    and C(rows); a row is a C(label) and a C(value) for the table at the end, and the row C(Outcome) is the last line.
    C(ansible.builtin.set_stats) can carry it too.
  - With C(-v) and more, what C(ansible.builtin.default) would print is printed as well.
  - Named in C(callbacks_enabled) beside another stdout callback, it adds the timeline and the table and leaves
    everything else to that one.
options:
  heartbeat:
    description:
      - In a log file or in AWX, the least number of seconds between two lines about the same long work.
      - On a terminal one line is kept up to date each second instead.
    type: float
    default: 10
    env:
      - name: SCHEDGEN_ROLLBACK_HEARTBEAT
    ini:
      - section: callback_rollback_timeline
        key: heartbeat
extends_documentation_fragment:
  - default_callback
  - result_format_callback
notes:
  - AWX and ansible-runner put a stdout callback of their own in front. With C(ANSIBLE_STDOUT_CALLBACK) set to the name
    of this one in the environment of the job they build on it, and the job's output is this timeline.
requirements:
  - Set as C(stdout_callback), or named in C(callbacks_enabled), in the configuration of Ansible.
"""

import os
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar

from ansible import constants as C, context  # noqa: N812
from ansible.playbook.handler import Handler
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.template import Templar
from ansible_collections.schedgen.rollback.plugins.module_utils import _timeline as timeline


def _names(*actions: str) -> frozenset[str]:
    """Return the ways in which a playbook can name these built-in actions."""
    return frozenset(prefix + name for name in actions for prefix in ("", "ansible.builtin.", "ansible.legacy."))


_DEBUG = _names("debug")
_PAUSE = _names("pause")
# Work of Ansible itself: no sign that a phase does anything.
_TRIVIAL = _names(
    "add_host", "assert", "debug", "group_by", "include_role", "include_tasks", "include_vars", "import_role",
    "import_tasks", "meta", "set_fact", "set_stats", "validate_argument_spec",
)  # fmt: skip
# Work this long is worth a line, in seconds.
_LONG = 1.0


class _Phase:
    """One phase of a run: a role, or a part of a playbook outside roles."""

    def __init__(self, key: tuple[str, ...], title: str, *, of_role: bool) -> None:
        self.key = key
        self.title = title
        self.of_role = of_role
        self.started = time.monotonic()
        self.moment = datetime.now(timezone.utc)
        self.shown = False
        self.failed = False


class _Ticker:
    """Calls ``beat`` while something runs, from a thread of its own that sleeps at all other times.

    Ansible forks while holding the lock of its display; ``beat`` prints under that lock only, so no worker inherits a
    half-written line or a lock that nobody frees.
    """

    def __init__(self, beat: Any, pause: float) -> None:
        self._beat = beat
        self._pause = pause
        self._changed = threading.Condition()
        self._active = False
        self._ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._changed:
            if self._ended:
                return
            self._active = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rollback_timeline", daemon=True)
                self._thread.start()
            self._changed.notify()

    def rest(self) -> None:
        with self._changed:
            self._active = False

    def end(self) -> None:
        with self._changed:
            self._active = False
            self._ended = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._active and not self._ended:
                    self._changed.wait()
                if not self._ended:
                    self._changed.wait(self._pause)
                if self._ended:
                    return
                active = self._active
            if active:
                try:
                    self._beat()
                except (OSError, ValueError):
                    return  # the output is gone: nobody reads a moving line there


class CallbackModule(Default):
    """What an on-call engineer sees."""

    CALLBACK_VERSION = 2.0
    # Not "stdout": Ansible would then refuse it in callbacks_enabled. As stdout_callback it is loaded by name.
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "schedgen.rollback.rollback_timeline"
    CALLBACK_NEEDS_ENABLED = True

    # The instance whose run is on the screen: named both as stdout_callback and in callbacks_enabled, only one prints.
    _on_screen: ClassVar[weakref.ref[CallbackModule] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._lock = getattr(self._display, "_lock", None) or threading.RLock()
        self._beside = False
        self._terminal = False
        self._heartbeat = 10.0
        self._ticker = _Ticker(self._beat, _LONG)
        self._reset("")

    def _reset(self, playbook: str) -> None:
        self._playbook = playbook
        self._check = bool(context.CLIARGS.get("check"))
        self._began = time.monotonic()
        self._phase: _Phase | None = None
        self._hosts: tuple[str, ...] = ()
        self._play_hosts: tuple[str, ...] = ()
        self._failures: list[timeline.Failure] = []
        self._rows: dict[str, dict[str, str]] = {}
        self._outcomes: dict[str, str] = {}
        self._task = ""
        self._detail = ""
        self._task_began = 0.0
        self._last_beat = 0.0
        self._running: dict[str, bool] = {}
        self._answered: set[str] = set()
        self._drawn = 0
        # (host, task) whose line was printed before its differences.
        self._diffed: tuple[str, str] = ("", "")

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Read the options; find out whether another callback owns the screen."""
        super().set_options(*args, **kwargs)
        self._heartbeat = float(self.get_option("heartbeat"))
        mine = str(self._load_name).rsplit(".", 1)[-1]
        self._beside = str(C.DEFAULT_STDOUT_CALLBACK).rsplit(".", 1)[-1] != mine
        # ansible-runner gives its child a terminal, but what it shows is a log.
        self._terminal = (
            sys.stdout.isatty()
            and os.environ.get("TERM", "dumb") != "dumb"
            and "AWX_ISOLATED_DATA_DIR" not in os.environ
            and not self._beside
            and self._display.verbosity < 3
        )

    @property
    def _verbose(self) -> bool:
        """Whether the default callback's lines are printed, too."""
        return bool(self._display.verbosity >= 1) and not self._beside

    # Output

    def _print(self, lines: Sequence[str], color: str | None = None) -> None:
        with self._lock:
            self._erase()
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
            for line in lines:
                self._display.display(timeline.writable(line, encoding), color=color)
            if lines:
                sys.stdout.flush()

    def _erase(self) -> None:
        """Take the moving line away; spaces do it on every terminal."""
        if self._drawn:
            sys.stdout.write("\r" + " " * self._drawn + "\r")
            sys.stdout.flush()
            self._drawn = 0

    def _say(self, lines: Sequence[str], color: str | None = None) -> None:
        """Print under the running phase, whose own line comes first."""
        if lines:
            with self._lock:
                self._show_phase()
                self._print(lines, color)

    def _host(self, name: str) -> str:
        """Return the host's name where there is more than one to tell apart."""
        return name if len(self._play_hosts) > 1 else ""

    # The moving line

    def _beat(self) -> None:
        with self._lock:
            hosts = [host for host, quiet in self._running.items() if not quiet]
            elapsed = time.monotonic() - self._task_began
            if not hosts or elapsed < _LONG:
                return
            several = hosts if len(self._play_hosts) > 1 else ()
            self._show_phase()
            if self._terminal:
                line = timeline.moving(elapsed, self._task, several, detail=self._detail, width=_terminal_width())
                wide = timeline.columns(line)
                # The cursor goes back to the start: whatever else is printed replaces the line.
                sys.stdout.write("\r" + line + " " * max(0, self._drawn - wide) + "\r")
                sys.stdout.flush()
                self._drawn = wide
            elif timeline.beat_due(elapsed, self._last_beat, self._heartbeat):
                self._last_beat = elapsed
                self._print([timeline.moving(elapsed, self._task, several, detail=self._detail)])

    def _quiet(self, host: Any, task: Any) -> bool:
        """Whether a moving line would cover a question: of a pause, or of ssh about a host that it does not know."""
        if task.action in _PAUSE:
            return True
        name = host.get_name()
        if not self._terminal or name in self._answered or not getattr(C, "HOST_KEY_CHECKING", True):
            return False
        connection = host.get_vars().get("ansible_connection", task.connection)
        return name not in C.LOCALHOST and connection in ("ssh", "smart", "ansible.builtin.ssh", "paramiko_ssh")

    def _task_starts(self, task: Any) -> None:
        with self._lock:
            self._enter(task)
            self._task = task.name or task.action
            self._detail = ""
            self._task_began = time.monotonic()
            self._last_beat = 0.0
            self._running.clear()

    def _answers(self, result: Any) -> None:
        """Note that a host is done with the running task."""
        with self._lock:
            host = result._host.get_name()
            self._running.pop(host, None)
            self._answered.add(host)
            self._erase()
            if not self._running:
                self._ticker.rest()

    # Phases

    def _enter(self, task: Any) -> None:
        """Make the phase of ``task`` the running one."""
        key, title, of_role = self._place(task)
        if self._phase is not None and self._phase.key == key:
            return
        self._leave()
        self._phase = _Phase(key, title, of_role=of_role)

    def _place(self, task: Any) -> tuple[tuple[str, ...], str, bool]:
        play = str(getattr(self._play, "_uuid", ""))
        role = getattr(task, "_role", None)
        if role is not None:
            entry = str((getattr(role, "_from_files", None) or {}).get("tasks") or "main").rsplit(".", 1)[0]
            name = role.get_name()
            return (play, "role", name, entry), timeline.phase_title(name, entry, *_descriptions(role, entry)), True
        block = getattr(task, "_parent", None)
        while block is not None:
            name = getattr(block, "name", None)
            if name and not isinstance(block, TaskInclude):
                return (play, "block", name), timeline.phase_title(name, "main", name), False
            block = getattr(block, "_parent", None)
        name = str(getattr(self._play, "name", "") or "").strip() or self._playbook
        if isinstance(task, Handler):
            name = f"{name}: handlers"
        return (play, "play", name), timeline.phase_title(name, "main", name), False

    def _show_phase(self) -> None:
        phase = self._phase
        if phase is not None and not phase.shown:
            phase.shown = True
            self._print([timeline.phase_start(phase.moment, phase.title)])

    def _leave(self) -> None:
        phase, self._phase = self._phase, None
        if phase is not None and phase.shown:
            seconds = time.monotonic() - phase.started
            color = C.COLOR_ERROR if phase.failed else None
            self._print([timeline.phase_end(seconds, failed=phase.failed)], color)

    # What a result says

    def _keep(self, host: str, said: timeline.Screen) -> None:
        rows = list(said.rows)
        outcomes = [value for label, value in rows if label == "Outcome"]
        if outcomes:
            self._outcomes[host] = outcomes[-1]
        table = [row for row in rows if row[0] != "Outcome"]
        self._rows[host] = timeline.merge_rows(self._rows.get(host, {}), table)

    def _result(self, result: Any, data: Mapping[str, Any], *, item: bool = False) -> None:
        """Show a result that is no failure."""
        host = result._host.get_name()
        said = timeline.screen(data)
        self._keep(host, said)
        if said.headline or said.lines:
            changed = C.COLOR_CHANGED if data.get("changed") else None
            self._say(timeline.screen_lines(said, self._host(host)), changed)
            return
        if self._verbose or self._beside:
            return
        action = result._task.action
        if action in _DEBUG and not timeline.hidden(data):
            first, *more = _debug_text(data).split("\n")
            said = timeline.Screen(first, tuple(more))
            self._say(timeline.screen_lines(said, self._host(host), deeper=bool(self._host(host))))
        elif data.get("changed") and not item and self._diffed != (host, result._task._uuid):
            results = data.get("results")
            items = [entry for entry in results if isinstance(entry, dict)] if isinstance(results, list) else []
            if any(timeline.screen(entry).headline for entry in items):
                return
            text = timeline.changed_text(result.task_name, check=self._in_check(result), items=items)
            self._say(timeline.told(text, self._host(host)), C.COLOR_CHANGED)

    def _in_check(self, result: Any) -> bool:
        task_check = result._task_fields.get("check_mode")
        return bool(self._check if task_check is None else task_check)

    def _warn(self, data: dict[str, Any]) -> None:
        if not self._beside and not self._verbose:
            with self._lock:
                self._erase()
            self._handle_warnings(data)

    def _fail(self, result: Any, data: Mapping[str, Any], label: str = "", *, unreachable: bool = False) -> None:
        host = result._host.get_name()
        name = f"{result.task_name} ({label})" if label else result.task_name
        failure = timeline.Failure(host, name, timeline.failure_text(data), unreachable)
        # A rescue that ends in "fail" says again what has been read already; what to do next comes at the end.
        again = any(earlier.host == host and earlier.text == failure.text for earlier in self._failures)
        self._failures.append(failure)
        self._keep(host, timeline.screen(data))
        with self._lock:
            if self._phase is not None:
                self._phase.failed = True
            said = timeline.screen(data)
            if said.headline or said.lines:
                self._say(timeline.screen_lines(said, self._host(host)))
            color = C.COLOR_UNREACHABLE if unreachable else C.COLOR_ERROR
            if again:
                self._rows[host] = timeline.merge_rows(self._rows.get(host, {}), timeline.next_row(failure.text))
                return
            self._say(timeline.failure_lines(failure, name_host=len(self._play_hosts) > 1), color)

    def _label(self, data: Mapping[str, Any]) -> str:
        """Return what a loop's item is called."""
        label = self._get_item_label(data)
        return timeline.shorten(label if isinstance(label, str) else str(label), 30) if label is not None else ""

    # Events of a playbook

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Open the screen."""
        reference = CallbackModule._on_screen
        other = reference() if reference is not None else None
        if other is not None and other is not self:
            self.disabled = True
            return
        CallbackModule._on_screen = weakref.ref(self)
        self._reset(os.path.basename(str(getattr(playbook, "_file_name", "") or "playbook")))
        if self._verbose:
            super().v2_playbook_on_start(playbook)
        application, hosts = _subject(playbook)
        self._hosts = tuple(hosts)
        moment = datetime.now(timezone.utc)
        self._print(timeline.title(self._playbook, application, hosts, moment, check=self._check))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note the play and its hosts."""
        with self._lock:
            self._leave()
        if self._verbose:
            super().v2_playbook_on_play_start(play)
        self._play = play
        self._play_hosts = tuple(_play_hosts(play))

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Say that a play has no host."""
        hosts = getattr(self._play, "hosts", "")
        pattern = ", ".join(hosts) if isinstance(hosts, (list, tuple)) else str(hosts)
        self._print(timeline.told(f"no host matches '{pattern}': this part is left out"), C.COLOR_SKIP)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """Say that no host is left."""
        self._say(timeline.told("no host is left to go on with"), C.COLOR_ERROR)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Note the task; the screen shows it when it has something to show."""
        self._task_starts(task)
        if self._verbose:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Note the handler."""
        self._task_starts(task)
        if self._verbose:
            super().v2_playbook_on_handler_task_start(task)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Stay silent about included files."""
        if self._verbose:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_notify(self, handler: Any, host: Any) -> None:
        """Stay silent about notified handlers."""
        if self._verbose:
            super().v2_playbook_on_notify(handler, host)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Close the screen with the table and the outcome."""
        self._ticker.rest()
        with self._lock:
            self._running.clear()
            self._leave()
        if self._verbose:
            super().v2_playbook_on_stats(stats)
        totals = {host: stats.summarize(host) for host in sorted(stats.processed)}
        # The controller that only checks the command line is no host of the run.
        others = [host for host in totals if host not in C.LOCALHOST]
        ending = timeline.Ending(
            playbook=self._playbook,
            seconds=time.monotonic() - self._began,
            hosts=len(others or totals),
            failed=tuple(host for host, total in totals.items() if total["failures"]),
            unreachable=tuple(host for host, total in totals.items() if total["unreachable"]),
            failures=tuple(self._failures),
            outcomes=tuple(self._outcomes.values()),
            check=self._check,
        )
        order = {host: place for place, host in enumerate(self._hosts)}
        hosts = sorted(self._rows, key=lambda host: (order.get(host, len(order)), host))
        bad = bool(ending.failed or ending.unreachable)
        if not bad:
            # What a failure on the way asked for has no use when the run has come to a good end.
            for rows in self._rows.values():
                rows.pop("Next", None)
        self._print(timeline.table({host: self._rows[host] for host in hosts}))
        self._print([timeline.outcome(ending)], C.COLOR_ERROR if bad else C.COLOR_OK)
        CallbackModule._on_screen = None

    # Events of a task

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Begin to count the seconds."""
        if self._verbose:
            super().v2_runner_on_start(host, task)
        with self._lock:
            self._running[host.get_name()] = self._quiet(host, task)
        self._ticker.start()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Show what a task did, when it matters."""
        self._answers(result)
        if isinstance(result._task, TaskInclude):
            if self._verbose:
                super().v2_runner_on_ok(result)
            return
        data = dict(result._result)
        with self._lock:
            if self._phase is not None and self._phase.of_role and result._task.action not in _TRIVIAL:
                self._show_phase()
        if self._verbose:
            self._result(result, data)
            super().v2_runner_on_ok(result)
        else:
            self._warn(result._result)
            self._result(result, data)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Show why a task failed."""
        self._answers(result)
        data = dict(result._result)
        self._warn(result._result)
        if ignore_errors:
            if not self._verbose and not self._beside:
                why = timeline.summary(timeline.failure_text(data))
                text = f"failed, which is allowed here: {timeline.task_name(result.task_name)}: {why}"
                self._say(timeline.told(text, self._host(result._host.get_name())), C.COLOR_SKIP)
        elif not (result._task.loop and data.get("results") and not timeline.hidden(data)):
            self._fail(result, data)
        if self._verbose:
            super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Stay silent about skipped tasks."""
        self._answers(result)
        if self._verbose:
            super().v2_runner_on_skipped(result)
        else:
            self._warn(result._result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Show which host does not answer."""
        self._answers(result)
        data = dict(result._result)
        self._warn(result._result)
        if result._task.ignore_unreachable:
            text = f"cannot be reached, which is allowed here: {timeline.task_name(result.task_name)}"
            self._say(timeline.told(text, result._host.get_name()), C.COLOR_SKIP)
        else:
            self._fail(result, data, unreachable=True)
        if self._verbose:
            super().v2_runner_on_unreachable(result)

    def v2_runner_retry(self, result: Any) -> None:
        """Put the attempt into the moving line."""
        data = result._result
        with self._lock:
            self._detail = f"attempt {data.get('attempts', 0) + 1} of {data.get('retries', 0)}"
        if self._verbose:
            super().v2_runner_retry(result)

    def v2_runner_on_async_poll(self, result: Any) -> None:
        """Leave the waiting to the moving line."""
        if self._verbose:
            super().v2_runner_on_async_poll(result)

    def v2_runner_on_async_ok(self, result: Any) -> None:
        """Leave the end of the waiting to the result."""
        if self._verbose:
            super().v2_runner_on_async_ok(result)

    def v2_runner_on_async_failed(self, result: Any) -> None:
        """Leave the end of the waiting to the result."""
        if self._verbose:
            super().v2_runner_on_async_failed(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Show what a task did for one item, when it says so itself."""
        data = dict(result._result)
        self._warn(result._result)
        self._result(result, data, item=True)
        if self._verbose:
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Show for which item a task failed."""
        data = dict(result._result)
        self._warn(result._result)
        if not result._task.ignore_errors:
            self._fail(result, data, self._label(data))
        if self._verbose:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Stay silent about skipped items."""
        if self._verbose:
            super().v2_runner_item_on_skipped(result)

    def v2_on_file_diff(self, result: Any) -> None:
        """Show what changed in a file, when it was asked for."""
        if self._beside:
            return
        if self._verbose:
            super().v2_on_file_diff(result)
            return
        data = result._result
        if timeline.hidden(data):
            return
        results = data.get("results") if result._task.loop else None
        for entry in results if isinstance(results, list) else [data]:
            # A plan has changed nothing yet, and shows what it will change.
            shows = isinstance(entry, dict) and (entry.get("changed") or "rollback_screen" in entry)
            if shows and entry.get("diff") and not timeline.hidden(entry):
                shown = self._get_diff(entry["diff"])
                lines = [line for line in shown.splitlines() if line]
                host = result._host.get_name()
                if lines and entry.get("changed") and self._diffed != (host, result._task._uuid):
                    self._diffed = (host, result._task._uuid)
                    text = timeline.changed_text(result.task_name, check=self._in_check(result))
                    self._say(timeline.told(text, self._host(host)), C.COLOR_CHANGED)
                self._say(lines)


def _terminal_width() -> int:
    """Return the width to draw in: a line that is broken by a narrow terminal could not be wiped."""
    try:
        return min(timeline.WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns or timeline.WIDTH)
    except (OSError, ValueError):
        return timeline.WIDTH


def _debug_text(data: Mapping[str, Any]) -> str:
    """Return what a debug task wants to show."""
    if "msg" in data:
        return timeline.plain(data["msg"])
    internal = ("changed", "failed", "skipped", "invocation", "results", "warnings", "deprecations", "exception")
    shown = {key: value for key, value in data.items() if key not in internal and not key.startswith(("_", "ansible_"))}
    return "\n".join(f"{key}: {timeline.plain(value)}" for key, value in shown.items())


def _descriptions(role: Any, entry: str) -> list[str]:
    """Return what a role says about itself: of this entry point, then of the whole role."""
    metadata = getattr(role, "_metadata", None)
    specs = getattr(metadata, "argument_specs", None)
    if not specs and hasattr(role, "_get_role_argspecs"):
        specs = role._get_role_argspecs()
    spec = specs.get(entry) if isinstance(specs, Mapping) else None
    galaxy = getattr(metadata, "galaxy_info", None)
    found = [
        spec.get("short_description") if isinstance(spec, Mapping) else None,
        galaxy.get("description") if isinstance(galaxy, Mapping) and entry == "main" else None,
    ]
    return [text for text in found if isinstance(text, str)]


def _variables(play: Any, **of: Any) -> dict[str, Any]:
    manager = play.get_variable_manager()
    return dict(manager.get_vars(play=play, **of)) if manager is not None else {}


def _subject(playbook: Any) -> tuple[str, list[str]]:
    """Return the application and the hosts that a playbook will be about, as far as that is known before it runs.

    A title is no reason to stop a rollback: whatever cannot be found out is left out.
    """
    application, hosts = "", []
    for play in playbook.get_plays():
        try:
            manager = play.get_variable_manager()
            pattern = Templar(loader=play.get_loader(), variables=_variables(play)).template(play.hosts)
            matched = manager._inventory.get_hosts(pattern)
            for host in matched:
                if host.get_name() not in hosts:
                    hosts.append(host.get_name())
            if matched and not application:
                variables = _variables(play, host=matched[0])
                found = Templar(loader=play.get_loader(), variables=variables).template(
                    variables.get("rollback_application", "")
                )
                application = found if isinstance(found, str) and "{{" not in found else ""
        except Exception:
            continue
    # A first play that checks the command line on the controller is not what the run is about.
    others = [name for name in hosts if name not in C.LOCALHOST]
    return application, others or hosts


def _play_hosts(play: Any) -> list[str]:
    """Return the hosts of a play, or nothing when that cannot be found out."""
    try:
        return [str(name) for name in _variables(play).get("ansible_play_hosts_all", [])]
    except Exception:
        return []
