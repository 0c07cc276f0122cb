# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every playbook has its dashed name at the root, and what is committed is of use on any machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def by_name(path: Path) -> str:
    return path.stem


def shim_of(playbook: Path) -> Path:
    return ROOT / playbook.name.replace("_", "-")


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=by_name)
def test_a_playbook_has_a_shim_of_three_lines(playbook: Path) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", playbook.stem), "a collection's playbook has no dash in its name"
    lines = shim_of(playbook).read_text().splitlines()
    assert len(lines) == 3
    assert lines[0] == "---"
    assert re.fullmatch(r"- name: [A-Z].*", lines[1])
    assert lines[2] == f"  ansible.builtin.import_playbook: playbooks/{playbook.name}"


def test_every_playbook_at_the_root_is_a_shim() -> None:
    playbooks = {path for path in ROOT.glob("*.yml") if isinstance(yaml.safe_load(path.read_text()), list)}
    assert playbooks == {shim_of(playbook) for playbook in PLAYBOOKS}


@pytest.mark.skipif(not PLAYBOOKS, reason="no playbook yet")
def test_the_playbooks_are_understood_by_ansible(tmp_path: Path) -> None:
    shims = [str(shim_of(playbook)) for playbook in PLAYBOOKS]
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--syntax-check", *shims],
        # From another folder and without the clone's settings: the collection is found beside the playbook.
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}, "ANSIBLE_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert sorted(re.findall(r"^playbook: (.*)$", checked.stdout, re.MULTILINE)) == sorted(shims)


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return []
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


# Whoever reads the project can reach these; and what is only an example.
KNOWN_HOSTS = re.compile(
    r"(www\.)?(gnu\.org|fsf\.org)|github\.com|docs\.ansible\.com|galaxy\.ansible\.com|prometheus\.io|www\.w3\.org|"
    r"(.*\.)?(example|test|invalid|localhost|internal)|(.*\.)?example\.(com|org|net)|\d+(\.\d+){3}"
)


def strange_hosts(text: str) -> set[str]:
    """Hosts of URLs that a clone on another machine may not reach; a name without a dot is a container's."""
    hosts = re.findall(r"\b(?:https?|wss?|ssh|git)://(?:[^/@\s\"']*@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+)", text)
    return {host for host in hosts if not KNOWN_HOSTS.fullmatch(host)}


# Written in pieces, so that this file does not hold what it looks for.
HOME_PATHS = re.compile(
    "|".join(("/wo" + r"rk/(?!dir)\w", "/home" + r"/(?!user\b|me\b)\w+/", "/root/" + r"\.pyenv", r"/tmp/" + r"w/"))
)


@pytest.mark.skipif(not committed(), reason="not a git checkout: nothing says which files belong to the project")
def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in committed():
        if path.name in ("LICENSE",):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if path.name == "package-lock.json":
            # Its packages name their authors' sites; where they were downloaded from is what matters.
            text = "\n".join(line for line in text.splitlines() if '"resolved"' in line)
        found += [f"{path.relative_to(ROOT)}: {host}" for host in sorted(strange_hosts(text))]
        found += [f"{path.relative_to(ROOT)}: {match}" for match in HOME_PATHS.findall(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("see https://docs.ansible.com/x", set()),
        ("http://backend:3000/health http://127.0.0.1:8080 https://app.example.com/", set()),
        ("https://packages." + "somewhere.org/simple", {"packages.somewhere.org"}),
        ("git+ssh" + "://git@code.somewhere.net/a", {"code.somewhere.net"}),
    ],
)
def test_a_strange_host_is_found(text: str, hosts: set[str]) -> None:
    assert strange_hosts(text) == hosts


def test_the_links_of_the_collection_are_there() -> None:
    folder = ROOT / "collections" / "ansible_collections" / "schedgen" / "rollback"
    assert not folder.is_symlink(), "a link to the whole repository would be a loop"
    links = {path.name: os.readlink(path) for path in folder.iterdir()}
    assert links == {name: f"../../../../{name}" for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles")}
    assert all(path.exists() for path in folder.iterdir())


def files_of(path: Path) -> set[Path]:
    """Return a file and every task file that it includes, directly or through others."""
    found = {path}
    while True:
        named = {
            (file.parent if file.parent.name == "tasks" else file.parent / "tasks") / Path(name).name
            for file in found
            for name in re.findall(r"(?:include|import)_tasks: (\S+)", file.read_text())
        }
        if named <= found:
            return found
        found |= named


@pytest.mark.parametrize("shared", sorted((ROOT / "playbooks" / "vars").glob("*.yml")), ids=by_name)
@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=by_name)
def test_who_uses_shared_variables_names_their_file(playbook: Path, shared: Path) -> None:
    files = files_of(playbook)
    text = "\n".join(file.read_text() for file in files)
    names = {name for name in yaml.safe_load(shared.read_text()) if re.search(rf"\b{name}\b", text)}
    # What a play or its tasks set for themselves is theirs.
    own = {name for name in names if re.search(rf"^ +{name}:", text, re.MULTILINE)}
    if names - own:
        assert f"vars/{shared.name}" in playbook.read_text(), sorted(names - own)
