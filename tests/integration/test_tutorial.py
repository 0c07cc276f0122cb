# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tutorial is followed to the letter: its files are written, its shell is run, and it says what the page says."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from schedgen_lab import images
from schedgen_lab.settings import SUPPORT_IMAGES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(
    r"^## (?P<title>[^\n]+)$|^(?:`(?P<file>[^`\n]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
NAMES = ("CLONE", "ANSIBLE_CONFIG", "PYTHON_IMAGE", "POSTGRES_IMAGE", "PYTHON_VERSION", "PORT", "STATE", "WORK")


# What the screens say where the page tells what is decided, folded to one line each.
TOLD = {
    "Let the collection find it": [
        "rollback_migration_tool: django",
        "rollback_database: noteboard",
        "rollback_code_services: - web",
    ],
    "A bad release": [
        "Critical: quick rollback to v1",
        "Because the database's schema is that of v1",
        "Release v2 is marked bad",
    ],
    "A migration that takes something away": [
        "column public.notes_note.author was dropped",
        "Rejected: revert, because a revert cannot bring back what column public.notes_note.author held",
        "public.notes_note: about 1 inserted",
        "Release v3 is marked bad",
    ],
    "And back again": ["v3 runs and is healthy"],
}


@dataclass(frozen=True)
class Part:
    """A block of the page: a file to write, shell to run, or what the shell before it says at its end."""

    title: str
    file: str
    kind: str
    text: str


def parts() -> list[Part]:
    """Return the page's blocks in their order."""
    title, found = "", []
    for match in BLOCK.finditer(PAGE.read_text()):
        if match["title"]:
            title = match["title"]
        else:
            found.append(Part(title, match["file"] or "", match["kind"], match["text"]))
    return found


def test_every_block_of_the_page_is_a_file_shell_or_what_it_says() -> None:
    found = parts()
    assert len(found) == PAGE.read_text().count("```") / 2
    assert {part.kind for part in found if not part.file} == {"bash", "text"}
    assert all(before.kind == "bash" for before, part in zip(found, found[1:]) if part.kind == "text")


@dataclass
class Reader:
    """Somebody who follows the page in one shell after the other, as if it were one."""

    work: Path
    variables: dict[str, str]
    said: str = ""
    head: str = ""

    def run(self, text: str) -> str:
        """Run shell as the page has it; what it defines is there for the next."""
        functions = "\n".join(line for line in text.splitlines() if re.match(r"\w+\(\) \{.*\}$", line))
        place = f"cd {shlex.quote(str(self.work))}\n" if self.work.exists() else ""
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", f"{place}{self.head}\n{text}"],
            env={**os.environ, **self.variables, "ANSIBLE_NOCOLOR": "1"},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        self.head += functions
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        self.said = done.stdout
        return done.stdout

    def follow(self, part: Part) -> None:
        """Do what a block asks for."""
        if part.file:
            (self.work / part.file).write_text(part.text)
        elif part.kind == "text":
            assert self.said.endswith(part.text), f"{part.title}: {self.said}"
        else:
            self.run(part.text)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    images.ensure_bases(["postgres", "python"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = SUPPORT_IMAGES["python"]
    asked = subprocess.run(
        ["docker", "run", "--rm", python, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    made = Reader(
        tmp_path / "noteboard",
        {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "CLONE": str(ROOT),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "PYTHON_IMAGE": python,
            "POSTGRES_IMAGE": SUPPORT_IMAGES["postgres"],
            "PYTHON_VERSION": asked.stdout.strip(),
            "PORT": str(port),
            "STATE": str(tmp_path / "state"),
            "WORK": str(tmp_path / "noteboard"),
        },
    )
    yield made
    # Nothing is left where a block has failed.
    mine = "label=com.docker.compose.project=noteboard"
    for list_them, remove in (
        (["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        (["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        (["network", "ls", "--quiet"], ["network", "rm"]),
    ):
        found = subprocess.run(["docker", *list_them, "--filter", mine], capture_output=True, text=True).stdout.split()
        if found:
            subprocess.run(["docker", *remove, *found], capture_output=True)
    for name in ("noteboard-web", "schedgen-rollback/noteboard/*"):
        form = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={name}"]
        tags = subprocess.run(form, capture_output=True, text=True).stdout.split()
        if tags:
            subprocess.run(["docker", "rmi", "--force", *tags], capture_output=True)


@pytest.mark.thorough
def test_the_tutorial_as_it_is_written(reader: Reader) -> None:
    assert all(f"{name}=" in parts()[0].text for name in NAMES), "the first block sets what a reader may set"
    screens: dict[str, str] = {}
    for part in parts():
        reader.follow(part)
        if part.kind == "bash":
            screens[part.title] = screens.get(part.title, "") + " ".join(reader.said.split())
    for title, words in TOLD.items():
        for word in words:
            assert word in screens[title], f"{title}: {word}\n{screens[title]}"
    left = subprocess.run(["docker", "ps", "--all", "--quiet", "--filter", "name=noteboard"], capture_output=True)
    assert left.stdout == b""
    assert not reader.work.exists()
