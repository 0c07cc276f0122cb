# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host without the libraries is told so, gets them, and is left alone the second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LIBRARIES = ("docker", "psycopg2", "requests")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has none of the libraries."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin" / "python"


def run(command: str, python: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command of Ansible against an interpreter on this machine; return its exit code and all that it said."""
    done = subprocess.run(
        [str(BIN / command), *arguments, "-e", f"ansible_python_interpreter={python}"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def missing(python: Path) -> list[str]:
    lacks = [
        subprocess.run([str(python), "-c", f"import {name}"], capture_output=True).returncode for name in LIBRARIES
    ]
    return [name for name, code in zip(LIBRARIES, lacks) if code]


def changes(said: str) -> int:
    """The number of changes in the closing line of the play."""
    return int(said.partition("changed=")[2].split()[0])


def test_check_mode_says_what_is_missing_and_installs_nothing(bare: Path) -> None:
    code, said = run("ansible-playbook", bare, "prepare-hosts.yml", "--check")
    assert code == 0, said
    assert "Would install: docker>=" in said
    assert changes(said) == 1
    assert missing(bare) == list(LIBRARIES)


def test_a_module_names_the_library_the_interpreter_and_the_playbook(bare: Path, tmp_path: Path) -> None:
    wanted = f"application=nothing state_dir={tmp_path}"
    code, said = run("ansible", bare, "localhost", "-m", "schedgen.rollback.health_info", "-a", wanted)
    assert code != 0
    assert "the Python library docker cannot be imported by" in said
    assert str(bare) in said
    assert "ansible-playbook prepare-hosts.yml" in said


def test_a_refused_host_gets_nothing(bare: Path) -> None:
    code, said = run("ansible-playbook", bare, "prepare-hosts.yml", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert code != 0
    assert "What happened: Docker Engine does not answer" in said
    assert "State: Nothing was changed" in said
    assert missing(bare) == list(LIBRARIES)


def test_it_installs_what_is_missing_once(bare: Path) -> None:
    code, said = run("ansible-playbook", bare, "prepare-hosts.yml")
    assert code == 0, said
    assert changes(said) == 1
    assert missing(bare) == []
    code, said = run("ansible-playbook", bare, "prepare-hosts.yml")
    assert code == 0, said
    assert changes(said) == 0


def test_pip_is_asked_for_what_the_requirements_say() -> None:
    text = (ROOT / "roles" / "prepare_hosts" / "vars" / "main.yml").read_text()
    libraries = yaml.safe_load(text)["__prepare_hosts_libraries"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sorted(about["pip"] for about in libraries.values()) == sorted(line for line in lines if line[:1].isalpha())
