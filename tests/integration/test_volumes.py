# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes: archived, read back, restored beside and swapped, on a real disk and with real Docker volumes."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _compose, _volume_listing, _volumes
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store
from ansible_collections.schedgen.rollback.plugins.module_utils._volumes import VolumeError

RUN = "20261122T131500.000Z-full"


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A volume's folder with all that a folder can hold."""
    folder = tmp_path / "volume" / "_data"
    folder.mkdir(parents=True)
    (folder / "a.pdf").write_bytes(b"one")
    (folder / "empty").touch()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "n\u00e4me with space\n.txt").write_text("two")
    (folder / "deep").chmod(0o2770)
    (folder / "big").write_bytes(os.urandom(3 << 20))
    os.link(folder / "a.pdf", folder / "hard")
    (folder / "latest").symlink_to("a.pdf")
    (folder / "dangling").symlink_to("/nowhere")
    os.chown(folder / "a.pdf", 1234, 5678)
    os.mkfifo(folder / "pipe")
    for number in range(500):
        (folder / f"{number:04}").write_text(str(number))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "state"), "shop")
    made.prepare()
    made.begin_run(RUN)
    return made


def archived(store: Store, content: Path) -> tuple[str, dict[str, Any]]:
    point = "20261122T131500.123Z"
    folder = Path(store.points_dir, point, "volumes")
    return point, _volumes.archive(str(content), "data", str(folder))


def listed(folder: Path) -> list[str]:
    return _volume_listing.lines(_volumes.scan(str(folder)))


def test_what_is_restored_is_what_was_there(store: Store, content: Path) -> None:
    before = listed(content)
    point, recorded = archived(store, content)
    assert recorded["files"] == 505
    assert recorded["fingerprint"] == _volume_listing.fingerprint(before)
    for path in (content / "big", content / "0001"):
        path.write_text("damaged")
    restored = _volumes.restore_beside(store, RUN, point, str(content), recorded)
    assert listed(Path(restored.beside)) == before
    assert (content / "big").read_text() == "damaged"
    found = Path(restored.beside, "a.pdf").stat()
    assert (found.st_uid, found.st_gid, found.st_nlink) == (1234, 5678, 2)


def test_a_socket_is_left_to_whoever_listens(store: Store, content: Path) -> None:
    before = listed(content)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(content / "socket"))
        assert listed(content) == before
        point, recorded = archived(store, content)
        _volumes.restore_beside(store, RUN, point, str(content), recorded)


@pytest.mark.parametrize("damage", ["cut off", "flipped", "missing", "another list"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(store: Store, content: Path, damage: str) -> None:
    point, recorded = archived(store, content)
    path = Path(store.points_dir, point, "volumes", "data.tar.zst")
    packed = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(packed[: len(packed) // 2])
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
        path.write_bytes(packed)
    elif damage == "missing":
        path.unlink()
    else:
        with path.with_name("data.list").open("a") as stream:
            stream.write('["more", "file", "0644", 0, 0, 0, ""]\n')
    with pytest.raises(VolumeError, match="volume data"):
        _volumes.restore_beside(store, RUN, point, str(content), recorded)
    assert os.listdir(content.parent) == ["_data"]


def test_no_room_is_refused_before_anything_is_made(store: Store, content: Path) -> None:
    point, recorded = archived(store, content)
    with pytest.raises(VolumeError, match="are to be restored and"):
        _volumes.restore_beside(store, RUN, point, str(content), {**recorded, "bytes": 1 << 60})
    assert os.listdir(content.parent) == ["_data"]


@pytest.mark.parametrize("at_once", [True, False])
def test_folders_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    if not at_once:
        monkeypatch.setattr(_volumes, "_RENAME_EXCHANGE", 1 << 30)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    _volumes.exchange(str(tmp_path / "one"), str(tmp_path / "other"))
    assert os.listdir(tmp_path / "one") == ["other"]
    assert os.listdir(tmp_path / "other") == ["one"]
    assert sorted(os.listdir(tmp_path)) == ["one", "other"]


# -- with Docker ------------------------------------------------------------------------------------------------------


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def volume() -> Iterator[str]:
    name = f"rollback-test-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", name)
    yield name
    subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)
    docker("volume", "rm", name)


def test_a_swap_is_what_a_container_sees_and_can_be_put_back(store: Store, volume: str) -> None:
    client = _compose.connect()
    folder = Path(_volumes.usable(client, "shop", volume))
    (folder / "state").write_text("good")
    point, recorded = archived(store, folder)
    recorded["name"] = volume
    (folder / "state").write_text("bad")
    restored = _volumes.restore_beside(store, RUN, point, str(folder), recorded)
    _volumes.keep(store, RUN, [restored])
    assert not _volumes.is_there(store, point, volume)
    told: list[Any] = []
    change = _volumes.VolumesChange(client, _volumes.kept(store, RUN), lambda *_words, **more: told.append(more))
    with pytest.raises(VolumeError, match="is not the restored one"):
        change.check()

    def seen() -> str:
        return docker("run", "--rm", "-v", f"{volume}:/data", "schedgen-demo-python:trixie", "cat", "/data/state")

    assert seen() == "bad"
    change.carry_out()
    change.check()
    assert _volumes.is_there(store, point, volume)
    assert seen() == "good"
    assert told == [{"name": volume, "set_aside": restored.beside}]
    assert Path(restored.beside, "state").read_text() == "bad"
    # A second time changes nothing.
    change.carry_out()
    assert seen() == "good"
    change.put_back()
    assert seen() == "bad"
    assert not _volumes.is_there(store, point, volume)


def test_a_volume_is_emptied_and_what_was_there_is_kept(store: Store, volume: str) -> None:
    client = _compose.connect()
    folder = Path(_volumes.usable(client, "shop", volume))
    (folder / "cached").write_text("stale")
    os.chown(folder, 999, 1000)
    folder.chmod(0o2750)
    point = "20261122T131500.123Z"
    emptied = _volumes.empty_beside(RUN, point, volume, str(folder))
    _volumes.keep(store, RUN, [emptied])
    change = _volumes.VolumesChange(client, [emptied], lambda *_words, **_more: None)
    change.carry_out()
    change.check()
    facts = folder.stat()
    assert (list(folder.iterdir()), facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == ([], 999, 1000, 0o2750)
    assert Path(emptied.beside, "cached").read_text() == "stale"
    assert _volumes.is_there(store, point, volume)
    change.put_back()
    assert (folder / "cached").read_text() == "stale"


def test_a_volume_in_use_is_not_swapped(store: Store, volume: str) -> None:
    client = _compose.connect()
    folder = Path(_volumes.usable(client, "shop", volume))
    (folder / "state").write_text("good")
    point, recorded = archived(store, folder)
    recorded["name"] = volume
    restored = _volumes.restore_beside(store, RUN, point, str(folder), recorded)
    docker("run", "-d", "--name", volume, "-v", f"{volume}:/data", "schedgen-demo-python:trixie", "sleep", "600")
    with pytest.raises(VolumeError, match=f"is still used by {volume}"):
        _volumes.VolumesChange(client, [restored], lambda *_words, **_more: None).carry_out()
    with pytest.raises(VolumeError, match=f"is used by {volume}, which would go on"):
        _volumes.usable(client, "shop", volume)


def test_a_volume_that_is_not_there_is_said() -> None:
    with pytest.raises(VolumeError, match="there is no volume nosuch"):
        _volumes.look(_compose.connect(), "nosuch")
