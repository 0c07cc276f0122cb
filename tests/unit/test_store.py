# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state folder, on a real disk and with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _store
from ansible_collections.schedgen.rollback.plugins.module_utils._candidate import Mark, Point
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    Manifest,
    Release,
    ServiceRelease,
    to_json,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import (
    Frozen,
    Lock,
    LockHeld,
    Store,
    StoreError,
)
from ansible_collections.schedgen.rollback.plugins.modules import rollback_freeze

ROOT = Path(__file__).resolve().parents[2]
PAST, FUTURE = "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "state"), "schedgen")


def manifest(point_id: str, **more: Any) -> Manifest:
    release = Release({"backend": ServiceRelease("sha256:aa", "r:5000/backend:v3", config_hash="h", code=True)})
    return Manifest(
        **{"id": point_id, "application": "schedgen", "created": "", "purpose": "deploy", "release": release,
           "health": {"verdict": "healthy"}, **more}
    )  # fmt: skip


def make_point(store: Store, **more: Any) -> str:
    """Take a restore point with one file, as the module does; return its id."""
    point_id, folder = store.begin_point()
    files = Path(folder) / "files"
    files.mkdir()
    (files / ".env").write_text("TAG=v3\n")
    more.setdefault("checksums", _store.tree_checksums(folder))
    store.complete_point(point_id, folder, to_json(manifest(point_id, **more)))
    return point_id


def put_lock(store: Store, run: str, expires: str) -> None:
    """The lock as another run left it."""
    os.makedirs(store.lock_dir)
    lock = {"owner": "ben@laptop", "reason": "slow", "run": run, "since": PAST, "expires": expires}
    Path(store.lock_dir, "lock.json").write_text(json.dumps(lock))


def in_another_process(code: str) -> subprocess.Popen[str]:
    """Start Python on this collection; it says and hears what it must through its pipes."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from ansible_collections.schedgen.rollback.plugins.module_utils import _store\n" + code,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -- names and folders


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", ".x", "a b", "a\n", "ä", "a" * 64])
def test_a_name_that_is_no_plain_folder_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        Store(str(tmp_path), name)
    assert str(raised.value) == (
        f"the application's name '{name}' is not usable: letters, digits, '.', '_' and '-', at most 63"
    )


@pytest.mark.parametrize("name", ["schedgen", "a.b_c-1", "1", "a" * 63])
def test_a_usable_name(name: str, tmp_path: Path) -> None:
    assert Store(str(tmp_path), name).root == str(tmp_path / name)


def test_looking_makes_nothing(store: Store, tmp_path: Path) -> None:
    assert store.points() == []
    assert store.runs() == []
    assert store.lock() is None
    assert store.leftovers() == []
    assert store.sweep() == []
    assert os.listdir(tmp_path) == []


def test_everything_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.acquire("r1", "ana", "")
        store.append_event(make_point(store), "pinned")
        store.begin_run("r1")
        store.journal("r1", "run", "started")
        _store.write_file(os.path.join(store.run_path("r1"), "report.md"), "x")
    finally:
        os.umask(before)
    modes = {
        os.path.relpath(os.path.join(base, name), tmp_path): stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode)
        for base, folders, names in os.walk(tmp_path)
        for name in [*folders, *names]
        if "files" not in os.path.join(base, name)  # what is in there is made by others
    }
    assert {path for path, mode in modes.items() if mode & 0o077} == set()
    assert "state/schedgen/runs/r1/journal.jsonl" in modes


def test_a_state_folder_that_is_there_keeps_its_mode(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    store.prepare()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "state" / "schedgen").stat().st_mode) == 0o700


def test_times() -> None:
    when = datetime(2026, 11, 22, 14, 15, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert _store.timestamp(when) == "2026-11-22T13:15:00Z"
    assert _store.now().tzinfo is timezone.utc


# -- files


def test_a_file_is_complete_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    _store.write_file(str(path), "größe\n")
    _store.write_file(str(path), "new\n")
    assert path.read_text(encoding="utf-8") == "new\n"
    assert os.listdir(tmp_path) == ["report.md"]


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "files" / "sub").mkdir(parents=True)
    (tmp_path / "files" / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "files" / "empty").write_bytes(b"")
    (tmp_path / "files" / "link").symlink_to("empty")
    os.mkfifo(tmp_path / "files" / "pipe")
    (tmp_path / "top").write_bytes(b"x")
    abc = {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "size": 3}
    empty = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0}
    assert _store.tree_checksums(str(tmp_path), under="files") == {"files/sub/a": abc, "files/empty": empty}
    assert set(_store.tree_checksums(str(tmp_path))) == {"files/sub/a", "files/empty", "top"}
    assert _store.tree_checksums(str(tmp_path / "gone")) == {}


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        (b"", []),
        (b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'{"a": 1}\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        (b'{"a": 1}\n{"b": "x', [{"a": 1}]),
        (b'{"a": 1}\n\n[1]\nnull\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'{"a": "\xff"}\n{"b": "\xc3', [{"a": "\ufffd"}]),
        (b"\0\0\0\0", []),
    ],
)
def test_lines_that_a_crash_cut_short_are_left_out(tmp_path: Path, content: bytes, entries: list[Any]) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    assert list(_store.read_lines(str(path))) == entries


def test_no_file_no_lines(tmp_path: Path) -> None:
    assert _store.read_lines(str(tmp_path / "gone")) == ()


@pytest.mark.parametrize("cut", [0, 1, 5, 11])
def test_a_line_after_one_that_was_cut_is_not_lost(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.jsonl"
    _store.append_line(str(path), {"event": "pinned"})
    with open(path, "ab") as stream:
        stream.write(b'{"event": "bad"}\n'[:cut])
    _store.append_line(str(path), {"event": "good", "at": datetime(2026, 11, 22)})
    assert _store.read_lines(str(path)) == ({"event": "pinned"}, {"event": "good", "at": "2026-11-22 00:00:00"})


# -- lock


def test_take_renew_and_give_back(store: Store) -> None:
    assert store.acquire("r1", "ana@laptop", "500s", lease=100) is None
    first = store.lock()
    assert first is not None
    assert (first.owner, first.reason, first.run) == ("ana@laptop", "500s", "r1")
    assert not store.expired(first)
    store.renew("r1", lease=1000)
    second = store.lock()
    assert second is not None
    assert second.expires > first.expires
    assert second.since == first.since
    assert store.release("r1")
    assert store.lock() is None
    assert not store.release("r1")


def test_it_is_held_by_another(store: Store) -> None:
    put_lock(store, "r1", FUTURE)
    with pytest.raises(LockHeld) as raised:
        store.acquire("r2", "ana", "")
    assert str(raised.value) == (
        f"the lock of schedgen is held by ben@laptop (slow) for run r1 since {PAST},"
        f" until {FUTURE} unless it is renewed"
    )
    assert raised.value.lock == Lock("ben@laptop", "slow", "r1", PAST, FUTURE)
    assert not store.release("r2")
    held = store.lock()
    assert held is not None
    assert held.run == "r1"


def test_a_holder_without_a_reason() -> None:
    held = LockHeld("schedgen", Lock("ben", "", "r1", PAST, FUTURE))
    assert str(held) == (
        f"the lock of schedgen is held by ben for run r1 since {PAST}, until {FUTURE} unless it is renewed"
    )


def test_the_same_run_may_take_it_again(store: Store) -> None:
    put_lock(store, "r1", FUTURE)
    assert store.acquire("r1", "ana", "") is None


@pytest.mark.parametrize(("expires", "takeover"), [(PAST, False), (FUTURE, True)], ids=["expired", "by will"])
def test_taking_over_names_whose_it_was(store: Store, expires: str, takeover: bool) -> None:
    put_lock(store, "r1", expires)
    assert store.acquire("r2", "ana", "", takeover=takeover) == Lock("ben@laptop", "slow", "r1", PAST, expires)
    with pytest.raises(StoreError) as raised:
        store.renew("r1")
    assert str(raised.value) == "run r1 does not hold the lock of schedgen: ana for run r2 does"
    assert not store.release("r1")


def test_nobody_holds_it(store: Store) -> None:
    with pytest.raises(StoreError, match=r"^run r1 does not hold the lock of schedgen: nobody does$"):
        store.renew("r1")


def test_its_own_expired_lock_can_be_renewed_as_long_as_nobody_took_it(store: Store) -> None:
    put_lock(store, "r1", PAST)
    store.renew("r1")
    held = store.lock()
    assert held is not None
    assert not store.expired(held)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"owner": "x"}', "null"])
def test_a_lock_that_cannot_be_read_is_nobodys(store: Store, content: str) -> None:
    put_lock(store, "r1", FUTURE)
    Path(store.lock_dir, "lock.json").write_text(content)
    held = store.acquire("r2", "ana", "")
    assert held is not None
    assert (held.owner, held.reason, held.run) == ("unknown", "the lock file cannot be read", "unknown")


def test_a_lock_folder_that_a_crash_left_empty(store: Store) -> None:
    os.makedirs(store.lock_dir)
    assert store.acquire("r2", "ana", "") is None


def test_of_two_processes_that_race_one_gets_it(store: Store) -> None:
    code = f"""
import sys
store = _store.Store({os.path.dirname(store.root)!r}, "schedgen")
for number in range(25):
    run = sys.stdin.readline().strip()
    try:
        store.acquire(run, "x", "")
        print("mine", flush=True)
    except _store.LockHeld:
        print("held", flush=True)
"""
    racers = [in_another_process(code) for _number in range(2)]
    try:
        for number in range(25):
            for index, racer in enumerate(racers):
                assert racer.stdin is not None
                racer.stdin.write(f"run-{index}-{number}\n")
                racer.stdin.flush()
            answers = sorted(racer.stdout.readline().strip() for racer in racers if racer.stdout is not None)
            assert answers == ["held", "mine"]
            held = store.lock()
            assert held is not None
            assert store.release(held.run)
        assert [racer.wait(10) for racer in racers] == [0, 0]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


@contextlib.contextmanager
def a_killed_holder(store: Store, lease: float) -> Iterator[None]:
    """A process takes the lock, and is killed while it holds it, in the middle of changing it."""
    code = f"""
store = _store.Store({os.path.dirname(store.root)!r}, "schedgen")
store.acquire("r1", "ben", "", lease={lease})
with store._alone():
    print("mine", flush=True)
    input()
"""
    with in_another_process(code) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        holder.kill()
        assert holder.wait(10) == -signal.SIGKILL
        yield


def test_a_killed_holder_keeps_it_until_its_lease_is_over(store: Store) -> None:
    with a_killed_holder(store, lease=600), pytest.raises(LockHeld):
        store.acquire("r2", "ana", "")


def test_a_killed_holders_lease_ends(store: Store) -> None:
    with a_killed_holder(store, lease=-1):
        stale = store.acquire("r2", "ana", "")
    assert stale is not None
    assert (stale.run, stale.owner) == ("r1", "ben")


def test_held_for_a_block_by_itself(store: Store) -> None:
    with store.held("", owner="ana", reason="backup") as stale:
        assert stale is None
        lock = store.lock()
        assert lock is not None
        assert (lock.owner, lock.reason) == ("ana", "backup")
        assert lock.run.endswith("Z-single")
        with pytest.raises(LockHeld):
            store.acquire("r2", "ben", "")
    assert store.lock() is None


def test_held_for_a_block_that_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.held("", owner="ana"):
        raise RuntimeError
    assert store.lock() is None


def test_held_after_another_that_was_killed(store: Store) -> None:
    put_lock(store, "r1", PAST)
    with store.held("", owner="ana") as stale:
        assert stale == Lock("ben@laptop", "slow", "r1", PAST, PAST)


def test_held_within_a_run(store: Store) -> None:
    put_lock(store, "r1", PAST)
    with store.held("r1"):
        lock = store.lock()
        assert lock is not None
        assert not store.expired(lock)
    lock = store.lock()
    assert lock is not None
    assert lock.run == "r1"


@pytest.mark.parametrize("run", ["r1", ""])
def test_it_is_renewed_for_the_length_of_the_block(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's file is seen to be written again and again; a short lease makes that quick."""
    monkeypatch.setattr(_store, "LEASE", 0.06)
    if run:
        store.acquire(run, "ana", "")
    with store.held(run):
        lock_file = Path(store.lock_dir, "lock.json")
        seen = {lock_file.stat().st_mtime_ns}
        deadline = datetime.now(timezone.utc) + timedelta(seconds=20)
        while len(seen) < 4 and datetime.now(timezone.utc) < deadline:
            seen.add(lock_file.stat().st_mtime_ns)
        assert len(seen) == 4


def test_a_block_cannot_be_held_by_a_run_that_lost_the_lock(store: Store) -> None:
    put_lock(store, "r2", FUTURE)
    with pytest.raises(StoreError) as raised, store.held("r1"):
        pytest.fail("the block was entered")
    assert str(raised.value) == "run r1 does not hold the lock of schedgen: ben@laptop for run r2 does"


# -- restore points


def test_there_is_one_when_it_is_complete(store: Store) -> None:
    point_id, folder = store.begin_point()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert store.points() == []
    with pytest.raises(StoreError):
        store.point(point_id)
    final = store.complete_point(point_id, folder, to_json(manifest(point_id)))
    assert final == os.path.join(store.points_dir, point_id)
    assert [point.id for point in store.points()] == [point_id]
    assert store.point(point_id).manifest == manifest(point_id)
    assert store.leftovers() == []


def test_ids_are_never_given_twice(store: Store) -> None:
    begun = [store.begin_point()[0] for _number in range(20)]
    assert len(set(begun)) == 20
    assert begun == sorted(begun)


def test_oldest_first(store: Store) -> None:
    made = [make_point(store) for _number in range(3)]
    assert [point.id for point in store.points()] == made


@pytest.mark.parametrize("point_id", ["20260101T000000.000Z", "", "..", "../runs", ".incomplete-x", "a/b"])
def test_no_such_restore_point(store: Store, point_id: str) -> None:
    store.prepare()
    with pytest.raises(StoreError) as raised:
        store.point(point_id)
    assert str(raised.value) == f"there is no restore point '{point_id}' of schedgen on this host"


def test_what_is_no_restore_point_is_left_out(store: Store) -> None:
    made = make_point(store)
    Path(store.points_dir, "lost+found").mkdir()
    Path(store.points_dir, "notes.txt").write_text("x")
    Path(store.points_dir, "20260101T000000.000Z").write_text("a file")
    Path(store.points_dir, f"{made}.bak").mkdir()
    assert [point.id for point in store.points()] == [made]


def test_what_is_told_of_one(store: Store) -> None:
    point_id = make_point(store)
    store.append_event(point_id, "labelled", labels=["b", "a"])
    store.append_event(point_id, "pinned")
    store.append_event(point_id, "bad", reason="slow", target="t", release_after="r")
    point = store.point(point_id)
    at = point.events[-1]["at"]
    assert point.summary() == Point(
        id=point_id,
        purpose="deploy",
        release=manifest(point_id).release.id,
        label="v3",
        verdict="healthy",
        bad=Mark(at, "slow", "t", "r"),
        pinned=True,
        labels=("a", "b"),
        parts=("release",),
    )
    assert [event["event"] for event in point.events] == ["labelled", "pinned", "bad"]
    assert store.verify(point) == []


def test_no_verdict_is_inconclusive(store: Store) -> None:
    assert store.point(make_point(store, health={})).summary().verdict == "inconclusive"


def break_truncated(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text[: len(text) // 2])


def break_schema(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text.replace('"schema": 1', '"schema": 7'))


def break_id(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text.replace(folder.name, "20260101T000000.000Z"))


def break_bytes(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(b"\xff" + text.encode())


def break_gone(folder: Path, text: str) -> None:
    assert text
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (break_truncated, "the manifest is no JSON: "),
        (break_schema, "the manifest's schema is 7, this collection reads schema 1"),
        (break_id, "the manifest belongs to restore point 20260101T000000.000Z"),
        (break_bytes, "'utf-8' codec can't decode byte 0xff"),
        (break_gone, "[Errno 2] No such file or directory"),
    ],
)
def test_one_that_cannot_be_read(store: Store, harm: Any, problem: str) -> None:
    point_id = make_point(store)
    store.append_event(point_id, "pinned")
    folder = Path(store.point_path(point_id))
    harm(folder, (folder / "manifest.json").read_text())
    (point,) = store.points()
    assert point.manifest is None
    assert point.problem.startswith(problem)
    assert point.summary() == Point(point_id, problem=point.problem, pinned=True)
    assert store.verify(point) == [point.problem]


def harm_content(path: Path) -> None:
    path.write_text("TAG=v4\n")


def harm_size(path: Path) -> None:
    path.write_text("TAG=v10\n")


def harm_kind(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "wrong"),
    [
        (harm_content, ["files/.env is not what was recorded (checksum)"]),
        (harm_size, ["files/.env has 8 bytes, 7 were recorded"]),
        (Path.unlink, ["files/.env is missing"]),
        (harm_kind, ["files/.env is missing"]),
        (str, []),
    ],
    ids=["content", "size", "gone", "a folder", "whole"],
)
def test_verify(store: Store, harm: Any, wrong: list[str]) -> None:
    point = store.point(make_point(store))
    harm(Path(point.path, "files", ".env"))
    assert store.verify(point) == wrong


def test_remove(store: Store) -> None:
    first, second = make_point(store), make_point(store)
    store.remove_point(first)
    assert os.listdir(store.points_dir) == [second]
    with pytest.raises(StoreError):
        store.remove_point(first)


def test_killed_runs_leave_leftovers_that_are_swept(store: Store) -> None:
    kept = make_point(store)
    begun, folder = store.begin_point()
    Path(folder, "half").write_text("x")
    image = Path(store.images_dir, f"sha256-aa.tar.zst{_store.TEMPORARY}17")
    image.write_text("x")
    (Path(store.images_dir) / "sha256-bb.tar.zst").write_text("x")
    link = Path(store.root, f"x{_store.TEMPORARY}1")
    link.symlink_to(store.points_dir)
    left = {folder, str(image), str(link)}
    assert set(store.leftovers()) == left
    assert set(store.sweep()) == left
    assert store.leftovers() == []
    assert [point.id for point in store.points()] == [kept]
    assert os.listdir(store.images_dir) == ["sha256-bb.tar.zst"]
    assert begun not in os.listdir(store.points_dir)


# -- runs


def test_a_journal(store: Store) -> None:
    path = store.begin_run("20261122T131500.000Z-quick")
    store.journal("20261122T131500.000Z-quick", "run", "started", type="quick")
    store.journal("20261122T131500.000Z-quick", "plan", "done", steps=("a", "ü"))
    store.journal("", "plan", "done")
    first, second = store.read_journal("20261122T131500.000Z-quick")
    assert {**first, "at": ""} == {"at": "", "step": "run", "status": "started", "type": "quick"}
    assert {**second, "at": ""} == {"at": "", "step": "plan", "status": "done", "steps": ["a", "ü"]}
    assert datetime.fromisoformat(first["at"]).tzinfo is not None
    assert os.listdir(path) == ["journal.jsonl"]


def test_a_journal_that_was_cut_goes_on(store: Store) -> None:
    path = store.begin_run("r1")
    store.journal("r1", "run", "started")
    store.journal("r1", "plan", "done")
    journal = Path(path, "journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-9])
    store.journal("r1", "run", "interrupted")
    assert [entry["status"] for entry in store.read_journal("r1")] == ["started", "interrupted"]


@pytest.mark.parametrize("run", ["r9", "", "..", "../restore_points"])
def test_no_such_run(store: Store, run: str) -> None:
    store.prepare()
    with pytest.raises(StoreError) as raised:
        store.run_path(run)
    assert str(raised.value) == f"there is no run '{run}' of schedgen on this host"


def test_runs_oldest_first(store: Store) -> None:
    for run in ("20261122T131500.000Z-quick", "20261121T131500.000Z-backup"):
        store.begin_run(run)
        store.begin_run(run)
    assert store.runs() == ["20261121T131500.000Z-backup", "20261122T131500.000Z-quick"]


def test_a_freeze_is_kept_until_it_is_lifted(store: Store) -> None:
    assert store.frozen() is None
    assert store.freeze("rollback", "ana", "v3 answers 500")
    assert not store.freeze("operator", "ben", "a later one does not take it over")
    found = store.frozen()
    assert found is not None
    assert (found.by, found.owner, found.reason) == ("rollback", "ana", "v3 answers 500")
    assert stat.S_IMODE(os.stat(store.freeze_path).st_mode) == 0o600
    assert store.thaw()
    assert not store.thaw()
    assert store.frozen() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"owner": "ana"}'])
def test_a_freeze_that_cannot_be_read_is_one(store: Store, content: str) -> None:
    store.prepare()
    Path(store.freeze_path).write_text(content)
    found = store.frozen()
    assert found is not None
    assert found.by == "operator"


@pytest.mark.parametrize(
    ("made_by", "state", "by", "changed", "frozen"),
    [
        ("", "frozen", "operator", True, True),
        ("", "free", "operator", False, False),
        ("operator", "frozen", "rollback", False, True),
        ("operator", "free", "rollback", False, True),
        ("operator", "free", "operator", True, False),
        ("rollback", "free", "rollback", True, False),
        ("rollback", "free", "operator", True, False),
        ("", "checked", "operator", False, False),
    ],
)
@pytest.mark.parametrize("pretend", [False, True])
def test_who_lifts_a_freeze(
    store: Store, made_by: str, state: str, by: str, changed: bool, frozen: bool, pretend: bool
) -> None:
    if made_by:
        store.freeze(made_by, "ana", "")
    asked = {"state": state, "by": by, "owner": "ben", "reason": ""}
    done = rollback_freeze.apply(store, asked, pretend=pretend)
    assert (done["changed"], done["frozen"]) == (changed, frozen)
    assert (store.frozen() is not None) is (bool(made_by) if pretend else frozen)


def test_a_pipeline_that_asks_is_told_who_keeps_it_out(store: Store) -> None:
    store.freeze("operator", "ana", "v3 is being rolled back")
    with pytest.raises(Frozen, match=r"frozen by ana \(v3 is being rolled back\) since"):
        rollback_freeze.apply(store, {"state": "checked", "by": "operator", "owner": "", "reason": ""}, pretend=False)
