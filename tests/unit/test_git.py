# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git checkouts: a real git, in real folders, as their owner."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _git
from ansible_collections.schedgen.rollback.plugins.module_utils._git import GitError
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import GitRecord

STRANGER = 1234
GONE = "0123456789abcdef0123456789abcdef01234567"


class Checkout:
    """A folder with two commits on main: v1 has a, b and sub/c; v2 changes a, drops b and adds d."""

    def __init__(self, path: Path, uid: int = os.geteuid()) -> None:
        self.path, self.src, self.uid = path, str(path), uid
        path.mkdir(exist_ok=True)
        if uid != os.geteuid():
            os.chown(path, uid, uid)
        self.git("init", "-q", "-b", "main")
        self.write("a", "one\n")
        self.write("b", "b\n")
        self.write("sub/c", "c\n")
        self.v1 = self.commit("v1")
        self.write("a", "two\n")
        (path / "b").unlink()
        self.write("d", "d\n")
        self.v2 = self.commit("v2")

    def git(self, *arguments: str) -> str:
        """Git as a person calls it in this folder, with its own user."""
        done = subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments],
            cwd=self.path,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
            user=self.uid if self.uid != os.geteuid() else None,
            group=self.uid if self.uid != os.geteuid() else None,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def write(self, name: str, content: str) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        if self.uid != os.geteuid():
            os.chown(path.parent, self.uid, self.uid)
            os.chown(path, self.uid, self.uid)

    def commit(self, tag: str) -> str:
        self.git("add", "--all")
        self.git("commit", "-q", "-m", tag)
        self.git("tag", tag)
        return self.git("rev-parse", "HEAD")

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.path)): path.read_text()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and ".git" not in path.parts
        }


V1 = {"a": "one\n", "b": "b\n", "sub/c": "c\n"}
V2 = {"a": "two\n", "d": "d\n", "sub/c": "c\n"}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "project with a space")


@pytest.fixture
def strangers() -> Iterator[Checkout]:
    """A checkout that belongs to a user without a name, where that user can get to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that belongs to somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield Checkout(folder / "project", STRANGER)
    finally:
        shutil.rmtree(folder)


def read(checkout: Checkout) -> tuple[GitRecord, tuple[str, ...]]:
    found = _git.read(checkout.src)
    assert found is not None
    return found


def test_clean_on_a_branch(checkout: Checkout) -> None:
    assert read(checkout) == (GitRecord(checkout.v2, "main", "v2"), ())


def test_past_a_tag(checkout: Checkout) -> None:
    checkout.write("a", "three\n")
    checkout.git("commit", "-q", "-a", "-m", "three")
    record, _deleted = read(checkout)
    assert record.describe == f"v2-1-g{record.commit[:7]}"


def test_without_any_tag(checkout: Checkout) -> None:
    checkout.git("tag", "-d", "v1", "v2")
    assert read(checkout)[0].describe == checkout.v2[:7]


def test_detached(checkout: Checkout) -> None:
    checkout.git("checkout", "-q", "v1")
    assert read(checkout) == (GitRecord(checkout.v1, "", "v1"), ())


def test_changed_untracked_and_deleted(checkout: Checkout) -> None:
    checkout.write("a", "changed\n")
    (checkout.path / "d").unlink()
    checkout.write("new dir/größe", "x")
    checkout.write(".env", "x")
    checkout.write(".gitignore", "*.log\n")
    checkout.write("x.log", "ignored")
    assert read(checkout) == (
        GitRecord(checkout.v2, "main", "v2", ("a", "d"), (".env", ".gitignore", "new dir/größe")),
        ("d",),
    )


def test_what_is_staged_counts_as_changed(checkout: Checkout) -> None:
    checkout.write("new", "x")
    checkout.git("add", "new")
    checkout.git("mv", "a", "moved")
    checkout.git("rm", "-q", "--cached", "d")
    record, deleted = read(checkout)
    assert record.changed == ("a", "d", "moved", "new")
    assert record.untracked == ("d",)
    assert deleted == ("a",)


def test_a_file_that_became_a_link_is_changed(checkout: Checkout) -> None:
    (checkout.path / "a").unlink()
    (checkout.path / "a").symlink_to("nowhere")
    assert read(checkout) == (GitRecord(checkout.v2, "main", "v2", ("a",)), ())


def test_reading_changes_nothing(checkout: Checkout) -> None:
    """The index too stays as it is: whoever owns the folder may be at work in it."""
    os.utime(checkout.path / "a", (1, 1))
    before = (checkout.path / ".git" / "index").read_bytes()
    read(checkout)
    assert (checkout.path / ".git" / "index").read_bytes() == before


def test_what_is_no_checkout(tmp_path: Path, checkout: Checkout) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=unborn, check=True)
    for folder in (empty, unborn, checkout.path / "sub", tmp_path / "gone"):
        assert not _git.is_checkout(str(folder))
        assert _git.read(str(folder)) is None
        assert _git.resolve(str(folder), "HEAD") == ""
        assert not _git.has_commit(str(folder), checkout.v1)
    assert _git.is_checkout(checkout.src)


def test_a_checkout_that_git_cannot_read(checkout: Checkout) -> None:
    (checkout.path / ".git" / "index").write_bytes(b"broken")
    with pytest.raises(GitError) as raised:
        _git.read(checkout.src)
    assert str(raised.value).startswith(f"git status in {checkout.src} failed: ")


@pytest.mark.parametrize(
    ("name", "version"),
    [("v1", "v1"), ("main", "v2"), ("HEAD~1", "v1"), ("refs/tags/v2", "v2"), ("v9", ""), ("", ""), ("--all", "")],
)
def test_resolve(checkout: Checkout, name: str, version: str) -> None:
    commits = {"v1": checkout.v1, "v2": checkout.v2, "": ""}
    assert _git.resolve(checkout.src, name) == commits[version]


def test_resolve_a_commit_and_an_annotated_tag(checkout: Checkout) -> None:
    checkout.git("tag", "-a", "-m", "x", "signed", "v1")
    assert _git.resolve(checkout.src, "signed") == checkout.v1
    assert _git.resolve(checkout.src, checkout.v1[:10]) == checkout.v1
    # A file is no commit.
    assert _git.resolve(checkout.src, "v1:a") == ""


def test_a_commit_that_is_gone(checkout: Checkout) -> None:
    assert _git.has_commit(checkout.src, checkout.v1)
    assert not _git.has_commit(checkout.src, GONE)
    with pytest.raises(GitError) as raised:
        _git.check_out(checkout.src, GONE)
    assert str(raised.value).startswith(f"git checkout in {checkout.src} failed: ")
    assert GONE in str(raised.value)
    assert checkout.files() == V2


def test_tracked(checkout: Checkout) -> None:
    checkout.write("untracked", "x")
    assert _git.tracked(checkout.src) == {"a", "d", "sub/c"}
    assert _git.tracked(checkout.src, checkout.v1) == {"a", "b", "sub/c"}
    with pytest.raises(GitError, match=r"^git ls-tree in .* failed: "):
        _git.tracked(checkout.src, GONE)


def test_export(checkout: Checkout, tmp_path: Path) -> None:
    checkout.write("a", "changed\n")
    folder = tmp_path / "out"
    folder.mkdir()
    _git.export(checkout.src, checkout.v1, str(folder))
    assert {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()} == V1
    assert checkout.files() == {**V2, "a": "changed\n"}


def test_an_export_that_fails(checkout: Checkout, tmp_path: Path) -> None:
    with pytest.raises(GitError) as raised:
        _git.export(checkout.src, GONE, str(tmp_path))
    failed = f"git archive of {GONE[:12]} in {checkout.src} failed with exit code 128: fatal: "
    assert str(raised.value).startswith(failed)
    with pytest.raises(GitError, match=r"failed with exit code 2: tar: "):
        _git.export(checkout.src, checkout.v1, str(tmp_path / "gone"))


def test_check_out_detached(checkout: Checkout) -> None:
    _git.check_out(checkout.src, checkout.v1)
    assert checkout.files() == V1
    assert read(checkout)[0] == GitRecord(checkout.v1, "", "v1")
    assert checkout.git("rev-parse", "main") == checkout.v2


def test_check_out_a_branch_that_is_still_there(checkout: Checkout) -> None:
    checkout.git("branch", "stable", "v1")
    _git.check_out(checkout.src, checkout.v1, "stable")
    assert read(checkout)[0] == GitRecord(checkout.v1, "stable", "v1")
    _git.check_out(checkout.src, checkout.v2, "main")
    assert read(checkout)[0] == GitRecord(checkout.v2, "main", "v2")
    assert checkout.files() == V2


@pytest.mark.parametrize("ref", ["main", "gone", "v1"], ids=["moved on", "deleted", "a tag"])
def test_a_branch_that_is_elsewhere_stays_there(checkout: Checkout, ref: str) -> None:
    _git.check_out(checkout.src, checkout.v1, ref)
    assert read(checkout)[0] == GitRecord(checkout.v1, "", "v1")
    assert checkout.git("rev-parse", "main") == checkout.v2


def test_a_branch_named_like_a_file(checkout: Checkout) -> None:
    checkout.git("branch", "a", "v1")
    _git.check_out(checkout.src, checkout.v1, "a")
    assert checkout.files() == V1
    assert read(checkout)[0].ref == "a"


def test_a_branch_named_like_a_tag(checkout: Checkout) -> None:
    checkout.git("branch", "v1", "v2")
    _git.check_out(checkout.src, checkout.v2, "v1")
    assert read(checkout)[0].commit == checkout.v2


def test_check_out_overwrites_what_is_changed_and_leaves_what_is_untracked(checkout: Checkout) -> None:
    checkout.write("a", "changed\n")
    (checkout.path / "sub" / "c").unlink()
    checkout.write("untracked", "mine\n")
    checkout.write("b", "in the way\n")
    _git.check_out(checkout.src, checkout.v1)
    assert checkout.files() == {**V1, "untracked": "mine\n"}
    assert read(checkout)[0] == GitRecord(checkout.v1, "", "v1", (), ("untracked",))


def test_hooks_are_not_run(checkout: Checkout) -> None:
    hook = checkout.path / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\n")
    hook.chmod(0o755)
    checkout.git("checkout", "-q", "v2")
    assert (checkout.path / "hooked").exists()
    (checkout.path / "hooked").unlink()
    _git.check_out(checkout.src, checkout.v1)
    assert not (checkout.path / "hooked").exists()


def test_variables_of_the_caller_do_not_lead_elsewhere(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert read(checkout)[0].commit == checkout.v2


def owners(folder: Path) -> set[tuple[int, int]]:
    return {_git.owner_of(str(path)) for path in [folder, *folder.rglob("*")]}


def test_somebody_elses_checkout_stays_theirs(strangers: Checkout, tmp_path: Path) -> None:
    strangers.write("a", "changed\n")
    assert read(strangers) == (GitRecord(strangers.v2, "main", "v2", ("a",)), ())
    _git.check_out(strangers.src, strangers.v1)
    assert strangers.files() == V1
    assert owners(strangers.path) == {(STRANGER, STRANGER)}
    _git.export(strangers.src, strangers.v2, str(tmp_path))
    assert (tmp_path / "a").read_text() == "two\n"
    assert owners(tmp_path) == {(os.geteuid(), os.getegid())}


def test_git_runs_as_the_owner(strangers: Checkout) -> None:
    """A filter that the checkout's configuration names could do anything: it must not do it as root."""
    strangers.git("config", "filter.who.smudge", f"id -u > {strangers.src}/who; cat")
    strangers.write(".git/info/attributes", "a filter=who\n")
    _git.check_out(strangers.src, strangers.v1)
    assert (strangers.path / "who").read_text() == f"{STRANGER}\n"


def test_a_folder_that_its_owner_cannot_get_to(tmp_path: Path) -> None:
    """As happens below /root: the words are git's own, and nothing is taken for a checkout that is none."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that belongs to somebody else")
    tmp_path.chmod(0o700)
    src = tmp_path / "project"
    Checkout(src)
    subprocess.run(["chown", "-R", str(STRANGER), str(src)], check=True)
    assert not _git.is_checkout(str(src))


def test_the_lock_of_a_git_that_was_killed_keeps_nobody_out(checkout: Checkout) -> None:
    for name in ("index.lock", "HEAD.lock"):
        (checkout.path / ".git" / name).write_text("")
    _git.check_out(checkout.src, checkout.v1)
    assert checkout.git("rev-parse", "HEAD") == checkout.v1
    assert list((checkout.path / ".git").glob("*.lock")) == []


def test_a_git_at_work_is_left_alone(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_git, "LOCK_WAIT", 0.3)
    lock = checkout.path / ".git" / "index.lock"
    lock.write_text("")
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=checkout.path / "sub", stdin=subprocess.PIPE) as other:
        with pytest.raises(GitError, match=f"another git \\(process {other.pid}\\) is at work"):
            _git.check_out(checkout.src, checkout.v1)
        assert lock.exists()
        assert other.stdin is not None
        other.stdin.close()
    _git.check_out(checkout.src, checkout.v1)
    assert checkout.git("rev-parse", "HEAD") == checkout.v1
