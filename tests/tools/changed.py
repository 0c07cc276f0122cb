# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which jobs a change can touch: by what imports, calls or names what, and by folder.

It follows imports in Python, modules, filters, roles and files that tasks name, and whole words in quotes in tests and
scenarios. That finds too much now and then, and too little where a name is put together while a test runs: what counts
in the end is `make test`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import jobs
import record
from jobs import ROOT, STAGES, Job

# A change of these touches everything.
EVERYTHING = re.compile(
    r"^(ansible\.cfg|requirements.*|galaxy\.yml|pyproject\.toml|meta/.*|tests/tools/(constraints|collections)\.txt|"
    r"tests/tools/(jobs|lanes|machines|payloads/sitecustomize)\.py|"
    r"\.config/molecule/.*|tests/integration/conftest\.py)$"
)
# Which of the jobs that read the source a file is read by.
READ_BY = {
    "lint/ansible-lint": r"\.ya?ml$|^\.ansible-lint$",
    "lint/yamllint": r"\.ya?ml$|^\.yamllint$",
    "lint/ruff-check": r"\.py$|^pyproject\.toml$",
    "lint/ruff-format": r"\.py$|^pyproject\.toml$",
    "lint/mypy": r"\.py$|^pyproject\.toml$",
    "lint/changelog": r"^changelogs/",
    "lint/plugin-documentation": r"^plugins/|^docs/",
    "lint/role-documentation": r"^roles/",
    "units": r"",
    "sanity": r"^plugins/|^roles/|^playbooks/|^changelogs/|^README",
}
OURS = r"(?:ansible_collections\.)?schedgen\.rollback\."
_IMPORT = re.compile(rf"^\s*from {OURS}(plugins[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_OTHER_IMPORT = re.compile(r"^\s*(?:from ([\w.]+) import (\([^)]*\)|[^\n]*)|import ([\w.]+))", re.MULTILINE)
# A task's module, a filter, and the name of a role.
_TASK = re.compile(rf"(?:^[\s-]*|\|\s*|\bname:\s*){OURS}(\w+)", re.MULTILINE)
_TASK_FILE = re.compile(r"\b(?:import_playbook|import_tasks|include_tasks|include_vars|vars_files|file|src):\s*(.+)")
_FILE = re.compile(r"[\w./-]+\.(?:ya?ml|j2)\b")
_QUOTED = re.compile(rf"[\"'](?:{OURS})?([\w.-]+)[\"']")
# One common word alone, "status", names a playbook only where it is handed to what runs one.
_RUN = re.compile(r"(?:playbook\w*|playing|module|call|process|kill_host_side|job)\(\s*[\"']([\w-]+)[\"']")
_ROOM = re.compile(r"/\s*[\"'](plugins|roles|playbooks)[\"'](?:\s*/\s*[\"']modules[\"'])?\s*\)")
_SCENARIO_FILE = re.compile(r"(?<![\w/-])([\w-]+)\.yml\b")
# Where modules of a folder are imported from by their names alone.
FOLDERS = ("tests", "tests/tools", "tests/faults", "tests/awx", "demo")


class Uses:
    """What each file of a repository uses, from the text of all of them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self._known: dict[str, set[str]] = {}
        self._roles: dict[str, set[str]] = {}
        # Files and rooms of the collection that a test names by the last word of their path.
        self._called: dict[str, set[str]] = {}
        for path in files:
            if path.startswith("roles/"):
                self._roles.setdefault(path.split("/")[1], set()).add(path)
            if not path.startswith(("tests/", "demo/")):
                self._called.setdefault(PurePosixPath(path).name, set()).add(path)
            if path.startswith(("roles/", "playbooks/", "plugins/")):
                self._called.setdefault(path.split("/")[0], set()).add(path)

    def everything(self, roots: Iterable[str]) -> set[str]:
        """Return these files, all they use, all that uses in turn, and so on."""
        found: set[str] = set()
        waiting = [path for path in roots if path in self.files]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting += self.of(path) - found
        return found

    def of(self, path: str) -> set[str]:
        """Return the files that a file uses by itself."""
        if path not in self._known:
            self._known[path] = self._of(path) & set(self.files)
        return self._known[path]

    def _of(self, path: str) -> set[str]:
        text = self.files[path]
        found: set[str] = set()
        if path.endswith(".py"):
            found |= set(self._imported(text))
        else:
            for name in _TASK.findall(text):
                found |= self.named(name)
            folder = PurePosixPath(path).parent
            for name in (name for named in _TASK_FILE.findall(text) for name in _FILE.findall(named)):
                found |= {str(folder / name), str(folder.parent / name), f"playbooks/{name}"}
        if path.startswith("tests/"):
            quoted = [name for name in _QUOTED.findall(text) if re.search(r"[-_.]", name)]
            for name in (*quoted, *_RUN.findall(text)):
                found |= self.named(name.removesuffix(".yml").replace("-", "_")) | self._called.get(name, set())
            for room in _ROOM.findall(text):
                found |= self._called.get(room, set())
        if path.startswith("molecule/"):
            for name in _SCENARIO_FILE.findall(text):
                found |= self.named(name.replace("-", "_"))
        if path.startswith("playbooks/"):
            # What an operator sees of every run.
            found.add("plugins/callback/rollback_timeline.py")
        if path.startswith("roles/"):
            found |= self._roles[path.split("/")[1]]
        return found

    def named(self, name: str) -> set[str]:
        """Return the files of a module, plugin, role or playbook of this name."""
        rooms = ("modules", "action", "filter", "doc_fragments", "callback")
        return {
            *(f"plugins/{room}/{name}.py" for room in rooms),
            f"playbooks/{name}.yml",
            *self._roles.get(name, ()),
        }

    def _imported(self, text: str) -> Iterable[str]:
        for package, names in _IMPORT.findall(text):
            folder = package.replace(".", "/")
            yield f"{folder}.py"
            for name in re.findall(r"\w+", names):
                yield f"{folder}/{name}.py"
        for package, names, module in _OTHER_IMPORT.findall(text):
            for folder in FOLDERS:
                base = f"{folder}/{(package or module).replace('.', '/')}"
                yield f"{base}.py"
                for name in re.findall(r"\w+", names):
                    yield f"{base}/{name}.py"


def roots(job: Job) -> list[str]:
    """Return the files, or with a slash at the end the folders, that a job begins with."""
    if job.stage == "molecule":
        return [f"molecule/{job.name.split('/')[1]}/", "molecule/shared/"]
    if job.stage == "faults":
        return ["tests/faults/run_faults.py"]
    return [job.name]


def touched(job: Job, changes: Iterable[str], uses: Uses) -> bool:
    """Whether a change of these files can touch a job."""
    changed = set(changes)
    if any(EVERYTHING.match(path) for path in changed):
        return True
    if job.name in READ_BY:
        return any(re.search(READ_BY[job.name], path) for path in changed)
    if any(path.startswith("demo/") for path in changed) and job.machine:
        return True
    # Of a file that is gone, nobody knows any more what used it.
    if any(path not in uses.files and path.startswith(("plugins/", "roles/", "playbooks/")) for path in changed):
        return True
    begin = [
        path
        for root in roots(job)
        for path in ([known for known in uses.files if known.startswith(root)] if root.endswith("/") else [root])
    ]
    return bool(changed & uses.everything(begin))


def repository() -> dict[str, str]:
    """Return the text of each file that git knows here, or would."""
    listed = record.git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    found = {}
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".yml", ".yaml", ".j2", ".md", ".json", ".sh", ".conf", ".ts", ""):
            found[name] = path.read_text(errors="replace")
    return found


def chosen(since: str = "") -> tuple[list[Job], list[str]]:
    """Return the jobs that the changes since a commit can touch, and what has to be said of the others.

    Without a commit: since the tree that `make test` has seen green; where there is none, what is not committed. Raises
    ValueError where git does not know the commit.
    """
    green = record.GREEN.read_text().strip() if record.GREEN.exists() else ""
    base = since or (green if record.git("cat-file", "-t", green or "none") == "tree" else "HEAD")
    if not record.git("rev-parse", "--verify", "--quiet", base):
        raise ValueError(f"git knows no {base}")
    changes = set(record.git("diff", "--name-only", "--no-renames", base).splitlines())
    changes |= set(record.git("ls-files", "--others", "--exclude-standard").splitlines())
    uses = Uses(repository())
    every = [job for stage in STAGES for job in jobs.jobs_of(stage)]
    mine = [job for job in every if touched(job, changes, uses)] if changes else []
    meant = "the tree that was last seen green" if base == green else base
    told = [f"{len(changes)} files differ from {meant}; {len(mine)} of {len(every)} jobs can be touched by that"]
    left = [job.name for job in every if job not in mine]
    return mine, [*told, *([f"left out: {', '.join(left)}"] if left else [])]
