# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection is found where it is installed, and beside the playbooks of a plain clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import interpreter, repository

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
# A module that needs no argument.
SATISFIED = "compose_project_info"
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))


def ansible(
    command: str, *arguments: str, cwd: Path, home: Path, collections: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of Ansible as somebody would who has no settings, or only says where collections are."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_HOME=str(home), ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="false")
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    return subprocess.run(
        [str(BIN / command), *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has nothing to do with the collection."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    folder = tmp_path_factory.mktemp("build")
    built = ansible("ansible-galaxy", "collection", "build", "--output-path", str(folder), cwd=ROOT, home=home)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("schedgen-rollback-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, tarball: Path, elsewhere: Path, home: Path) -> Path:
    """The folder of collections that the tarball was installed into."""
    folder = tmp_path_factory.mktemp("installed")
    done = ansible(
        "ansible-galaxy", "collection", "install", str(tarball), "-p", str(folder), cwd=elsewhere, home=home
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would hand to somebody, the changes of this moment included, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a clone of") / "the collection"
    repository.copy_to(folder)
    return folder


def test_the_tarball_holds_what_an_operator_needs_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    rooms = {name.partition("/")[0] for name in names}
    assert {"LICENSE", "README.md", "meta", "plugins", "roles", "playbooks", "changelogs", "requirements.txt"} <= rooms
    strange = rooms & {"tests", "demo", "molecule", "collections", "Makefile", "build", "ansible.cfg", "pyproject.toml"}
    assert strange == set()
    assert {name for name in rooms if name.startswith(".")} == set()
    assert [name for name in names if name.endswith((".pyc", ".retry", ".tar.gz"))] == []


def test_an_installed_playbook_really_runs(installed: Path, elsewhere: Path, home: Path) -> None:
    done = ansible(
        "ansible-playbook", "schedgen.rollback.prepare_hosts", "--check", "-e", "prepare_hosts_engine=false",
        cwd=elsewhere, home=home, collections=installed,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"failed=0", done.stdout)


def test_four_folders_are_enough_for_every_playbook_by_its_name(
    installed: Path, tmp_path: Path, elsewhere: Path, home: Path
) -> None:
    target = tmp_path / "ansible_collections" / "schedgen" / "rollback"
    target.mkdir(parents=True)
    for room in ("meta", "plugins", "roles", "playbooks"):
        shutil.copytree(installed / "ansible_collections" / "schedgen" / "rollback" / room, target / room)
    names = [f"schedgen.rollback.{playbook}" for playbook in PLAYBOOKS]
    checked = ansible("ansible-playbook", "--syntax-check", *names, cwd=elsewhere, home=home, collections=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(f"playbook: {tmp_path}") == len(PLAYBOOKS)


@pytest.mark.parametrize("inside", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_every_playbook_of_a_clone_is_found_from_any_folder(
    inside: bool, clone: Path, elsewhere: Path, home: Path
) -> None:
    shims = [str(clone / f"{playbook.replace('_', '-')}.yml") for playbook in PLAYBOOKS]
    checked = ansible("ansible-playbook", "--syntax-check", *shims, cwd=clone if inside else elsewhere, home=home)
    assert checked.returncode == 0, checked.stderr


def test_a_playbook_of_a_clone_really_runs(clone: Path, home: Path) -> None:
    done = ansible(
        "ansible-playbook", "prepare-hosts.yml", "--check", "-e", "prepare_hosts_engine=false", cwd=clone, home=home
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit code 0" in done.stdout, "a clone shows its runs by the timeline"


def test_a_clone_resolves_the_modules(clone: Path, home: Path) -> None:
    """Each is found and starts: what it says is about its arguments, or its answer."""
    tasks: list[dict[str, Any]] = [
        {"name": module, f"schedgen.rollback.{module}": {}, "ignore_errors": True, "register": f"told_{module}"}
        for module in MODULES
    ]
    told = {module: f"{{{{ told_{module}.msg | default('') }}}}" for module in MODULES}
    tasks.append({"ansible.builtin.copy": {"content": json.dumps(told), "dest": str(clone / "told"), "mode": "0600"}})
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    (clone / "modules.yml").write_text(json.dumps(play))
    done = ansible(
        "ansible-playbook",
        "modules.yml",
        "-e",
        f"ansible_python_interpreter={interpreter.PYTHON}",
        cwd=clone,
        home=home,
    )
    (clone / "modules.yml").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads((clone / "told").read_text())
    answered = {module: words for module, words in answers.items() if "missing required arguments" not in words}
    assert answered == {SATISFIED: ""}


def test_an_installed_collection_leaves_the_screen_of_others_alone(
    installed: Path, elsewhere: Path, home: Path, tmp_path: Path
) -> None:
    playbook = tmp_path / "other.yml"
    playbook.write_text("---\n- hosts: localhost\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug:\n")
    done = ansible("ansible-playbook", str(playbook), cwd=elsewhere, home=home, collections=installed)
    assert done.returncode == 0
    assert "PLAY RECAP" in done.stdout
    assert "exit code" not in done.stdout
