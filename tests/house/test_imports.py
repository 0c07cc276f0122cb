# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call whom: playbooks → roles → modules → helpers that touch the world → pure helpers. Never upward."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from house.yaml_expressions import expressions

ROOT = Path(__file__).resolve().parents[2]
HOME = "ansible_collections.schedgen.rollback.plugins."

# The helpers that run commands, talk to servers or touch files. Every other one is pure.
WORLD = {
    "_burst",
    "_catalog_reader",
    "_command",
    "_compose",
    "_database_rollback",
    "_databases",
    "_dump",
    "_elsewhere",
    "_environment",
    "_evidence",
    "_files",
    "_git",
    "_images",
    "_libraries",
    "_migration_revert",
    "_migration_toolbox",
    "_pgtools",
    "_plain_load",
    "_postgres",
    "_probes",
    "_ready",
    "_rehearsal",
    "_releases",
    "_report_files",
    "_restore",
    "_runs",
    "_schema",
    "_store",
    "_swap",
    "_switching",
    "_targets",
    "_volumes",
    "_watching",
}

# What a pure helper has no business with, although it comes with Python.
WORLDLY = {
    "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "getpass", "glob", "grp", "http", "importlib", "mmap",
    "multiprocessing", "pwd", "select", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "urllib.request", "syslog", "resource",
}  # fmt: skip
# Asking the clock, the environment or the disk: a pure helper is told.
WORLDLY_CALLS = {
    "open", "print", "input", "exec", "eval",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.date.today",
    "time.time", "time.monotonic", "time.sleep", "time.perf_counter", "random.random", "uuid.uuid4", "os.getenv",
    "os.listdir", "os.stat", "os.open", "os.remove", "os.rename", "os.replace", "os.mkdir", "os.makedirs", "os.walk",
    "os.path.exists", "os.path.isfile", "os.path.isdir", "os.path.getsize", "os.path.getmtime", "os.environ.get",
    "Path.cwd", "Path.home",
}  # fmt: skip

HELPERS = sorted((ROOT / "plugins" / "module_utils").glob("*.py"))
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
ON_THE_CONTROLLER = sorted(
    path
    for room in ("action", "callback", "filter", "lookup", "test")
    for path in (ROOT / "plugins" / room).glob("*.py")
)
PURE = [path for path in HELPERS if path.stem not in WORLD]


def by_name(path: Path) -> str:
    return path.stem


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, wherever in the file, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: an import inside the collection is written in full"
            base = node.module or ""
            if base.rstrip(".") == (HOME + "module_utils"):
                for alias in node.names:
                    yield f"{base}.{alias.name}", node.lineno
            else:
                yield base, node.lineno


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def helper_of(name: str) -> str:
    """The helper that an import names, or nothing when it is none of ours."""
    prefix = HOME + "module_utils."
    return name[len(prefix) :].partition(".")[0] if name.startswith(prefix) else ""


def problems_of_pure(source: str) -> list[str]:
    tree = ast.parse(source)
    found = []
    for name, line in imports(tree):
        helper = helper_of(name)
        if helper:
            if helper in WORLD:
                found.append(f"line {line}: a pure helper imports {helper}, which touches the world")
        elif not is_standard(name):
            found.append(f"line {line}: a pure helper imports {name}, which is not in the standard library")
        elif name in WORLDLY or name.partition(".")[0] in WORLDLY:
            found.append(f"line {line}: a pure helper imports {name}, which touches the world")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in WORLDLY_CALLS:
            found.append(f"line {node.lineno}: a pure helper calls {dotted(node.func)}(): it should be told")
    return found


def problems_of_helper(source: str) -> list[str]:
    tree = ast.parse(source)
    found = []
    for name, line in imports(tree):
        if helper_of(name) or is_standard(name):
            continue
        if name.startswith("ansible.module_utils.") and name != "ansible.module_utils.basic":
            continue
        found.append(
            f"line {line}: a helper imports {name}; libraries come from _libraries, and AnsibleModule stays in main()"
        )
    if "private to this collection" not in (ast.get_docstring(tree) or "").lower():
        found.append("its docstring does not say that it is private to this collection")
    return found


def problems_of_module(source: str) -> list[str]:
    tree = ast.parse(source)
    found = []
    for name, line in imports(tree):
        if helper_of(name) or is_standard(name) or name.startswith("ansible.module_utils."):
            continue
        found.append(f"line {line}: a module imports {name}: modules import helpers only")
    for top in tree.body:
        if isinstance(top, ast.FunctionDef) and top.name == "main":
            continue
        if isinstance(top, (ast.Import, ast.ImportFrom)):
            continue
        found += [
            f"line {node.lineno}: AnsibleModule is for main() alone"
            for node in ast.walk(top)
            if (isinstance(node, ast.Name) and node.id == "AnsibleModule")
            or (isinstance(node, ast.Constant) and node.value == "AnsibleModule")
        ]
    return found


def problems_on_the_controller(source: str) -> list[str]:
    found = []
    for name, line in imports(ast.parse(source)):
        helper = helper_of(name)
        if helper in WORLD:
            found.append(f"line {line}: {helper} touches the world, and is for hosts")
        elif name.startswith(HOME) and not helper and not name.startswith(HOME + "plugin_utils"):
            found.append(f"line {line}: {name} is no helper")
    return found


@pytest.mark.parametrize("path", HELPERS, ids=by_name)
def test_helpers_are_private_and_import_no_library_by_themselves(path: Path) -> None:
    assert path.name.startswith("_"), "a helper is private: its name starts with an underscore"
    assert problems_of_helper(path.read_text()) == []


@pytest.mark.parametrize("path", PURE, ids=by_name)
def test_pure_helpers_know_plain_data_only(path: Path) -> None:
    assert problems_of_pure(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=by_name)
def test_modules_import_helpers_only_and_keep_ansible_in_main(path: Path) -> None:
    assert problems_of_module(path.read_text()) == []


@pytest.mark.parametrize("path", ON_THE_CONTROLLER, ids=by_name)
def test_what_runs_on_the_controller_does_not_touch_hosts(path: Path) -> None:
    assert problems_on_the_controller(path.read_text()) == []


@pytest.mark.parametrize("name", sorted(WORLD))
def test_the_world_list_names_only_helpers_that_touch_the_world(name: str) -> None:
    path = ROOT / "plugins" / "module_utils" / f"{name}.py"
    assert problems_of_pure(path.read_text()), f"{name} is pure: take it off the list, and it is kept so"


# --- roles and playbooks

ROLES = sorted(path for path in (ROOT / "roles").glob("*") if path.is_dir())
ROLE_FILES = sorted(
    path
    for role in ROLES
    for room in ("tasks", "handlers", "vars", "templates", "meta", "files")
    for path in (role / room).glob("**/*")
    if path.suffix in (".yml", ".yaml", ".j2")
)
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PLAYBOOK_TASKS = sorted((ROOT / "playbooks" / "tasks").glob("*.yml"))
ROLE_ACTIONS = {"ansible.builtin.import_role", "ansible.builtin.include_role", "import_role", "include_role"}
# Beside roles: what refuses, ends a rescue, passes results on, remembers and steers the play itself.
PLAYBOOK_ACTIONS = {
    "ansible.builtin.assert",
    "ansible.builtin.fail",
    "ansible.builtin.set_stats",
    "ansible.builtin.meta",
    "ansible.builtin.import_tasks",
    "ansible.builtin.include_tasks",
    "ansible.builtin.set_fact",
}
TASK_WORDS = {
    "name", "when", "block", "rescue", "always", "vars", "tags", "become", "become_user", "run_once", "delegate_to",
    "register", "loop", "loop_control", "until", "retries", "delay", "environment", "no_log", "check_mode", "diff",
    "any_errors_fatal", "ignore_errors", "ignore_unreachable", "module_defaults", "failed_when", "changed_when",
    "notify", "listen", "async", "poll", "throttle", "timeout", "args", "collections", "connection", "port",
    "remote_user", "become_method", "become_flags", "become_exe", "debugger", "delegate_facts",
}  # fmt: skip


def tasks_of(tasks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        nested = [task[word] for word in ("block", "rescue", "always") if word in task]
        if nested:
            for inner in nested:
                yield from tasks_of(inner)
        else:
            yield task


def action_of(task: dict[str, Any]) -> str:
    return next((word for word in task if word not in TASK_WORDS and not word.startswith("with_")), "")


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_a_role_does_not_include_its_siblings(role: Path) -> None:
    siblings = {other.name for other in ROLES}
    for path in (role / "tasks").glob("**/*.yml"):
        for task in tasks_of(yaml.safe_load(path.read_text())):
            if action_of(task) in ROLE_ACTIONS:
                named = str(task[action_of(task)].get("name", ""))
                assert named.rpartition(".")[2] not in siblings, (
                    f"{path}: {named} is a sibling: a playbook puts them in order"
                )
                assert "{{" not in named, f"{path}: {named} may be a sibling"
    meta = role / "meta" / "main.yml"
    dependencies = (yaml.safe_load(meta.read_text()) or {}).get("dependencies", []) if meta.exists() else []
    assert not dependencies, "a role depends on no role"


# `rollback_screen` is a key that results carry, and no variable.
NO_VARIABLES = {"rollback_screen"}


def collection_variables(text: str) -> set[str]:
    without_strings = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
    return set(re.findall(r"(?<![\w.])rollback_\w+", without_strings)) - NO_VARIABLES


@pytest.mark.parametrize("path", ROLE_FILES, ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_collection_variables_are_read_in_defaults_alone(path: Path) -> None:
    text = path.read_text()
    pieces = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text, re.DOTALL)
    if path.suffix != ".j2":
        pieces = list(expressions(yaml.safe_load(text)))
    read = {name for piece in pieces for name in collection_variables(piece)}
    assert not read, f"{sorted(read)}: give the role a variable of its own, whose default reads it"


def roles_in(tasks: list[dict[str, Any]] | None) -> int:
    """How many roles tasks of a playbook call; nothing else of theirs does work."""
    roles = 0
    for task in tasks_of(tasks):
        action = action_of(task)
        assert action in ROLE_ACTIONS | PLAYBOOK_ACTIONS, f"{task.get('name')}: {action} belongs into a role"
        if action in ROLE_ACTIONS:
            roles += 1
            assert task[action]["name"].startswith("schedgen.rollback."), "a role is called by its full name"
    return roles


@pytest.mark.parametrize("path", PLAYBOOK_TASKS, ids=by_name)
def test_the_tasks_that_playbooks_share_call_roles(path: Path) -> None:
    roles_in(yaml.safe_load(path.read_text()))
    assert any(path.name in other.read_text() for other in (*PLAYBOOKS, *PLAYBOOK_TASKS) if other != path)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=by_name)
def test_a_playbook_is_a_list_of_roles(path: Path) -> None:
    plays = yaml.safe_load(path.read_text())
    roles = 0
    for play in plays:
        if "ansible.builtin.import_playbook" in play:
            roles += 1
            continue
        roles += len(play.get("roles", []))
        for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            roles += roles_in(play.get(part))
        for role in play.get("roles", []):
            named = role if isinstance(role, str) else role.get("role", role.get("name", ""))
            assert named.startswith("schedgen.rollback."), "a role is called by its full name"
    assert roles, "it calls no role"


# --- the checks above are checks: each finds its violation


@pytest.mark.parametrize(
    ("check", "source", "told"),
    [
        (problems_of_pure, "import subprocess", "touches the world"),
        (problems_of_pure, "import urllib.request", "touches the world"),
        (problems_of_pure, "import yaml", "not in the standard library"),
        (problems_of_pure, "def f():\n    import docker", "not in the standard library"),
        (problems_of_pure, f"from {HOME}module_utils._compose import connect", "which touches the world"),
        (problems_of_pure, f"from {HOME}module_utils import _command", "which touches the world"),
        (problems_of_pure, "import time\nnow = time.time()", "should be told"),
        (problems_of_pure, "from datetime import datetime\nnow = datetime.now()", "should be told"),
        (problems_of_pure, "text = open('/etc/hosts').read()", "should be told"),
        (problems_of_helper, '"""Private to this collection."""\nimport docker', "libraries come from _libraries"),
        (problems_of_helper, '"""Private to this collection."""\nimport ansible.module_utils.basic', "stays in main()"),
        (
            problems_of_helper,
            '"""Private to this collection."""\nfrom ansible.module_utils.basic import AnsibleModule',
            "main()",
        ),
        (problems_of_helper, '"""For all."""', "does not say that it is private"),
        (problems_of_module, f"from {HOME}modules.restore_point import main", "modules import helpers only"),
        (problems_of_module, "import docker", "modules import helpers only"),
        (problems_of_module, "def f(module: AnsibleModule) -> None: ...", "for main() alone"),
        (problems_of_module, "def f() -> None:\n    AnsibleModule()", "for main() alone"),
        (problems_on_the_controller, f"from {HOME}module_utils._store import Store", "is for hosts"),
        (problems_on_the_controller, f"from {HOME}modules.health_info import main", "is no helper"),
    ],
)
def test_a_violation_is_found(check: Any, source: str, told: str) -> None:
    assert [problem for problem in check(source) if told in problem]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("{{ rollback_application }}", {"rollback_application"}),
        ("{{ app_rollback_to }}", set()),
        ("{{ 'set rollback_to=' ~ app_rollback_to }}", set()),
        ("{{ __result.rollback_screen }}", set()),
        ("{{ [rollback_to] | first }}", {"rollback_to"}),
    ],
)
def test_reading_a_collection_variable_is_seen(text: str, read: set[str]) -> None:
    assert collection_variables(text) == read
