# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a release: found, recorded, compared and put back, on a real disk."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _files
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import Project
from ansible_collections.schedgen.rollback.plugins.module_utils._files import Change, FilesError
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import FileRecord

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def src(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def find(src: Path, rendered: Any = None, **more: Any) -> _files.Found:
    """Find in a project; ``more`` says otherwise than nothing."""
    project = Project("p", str(src), **{key: more.pop(key) for key in ("compose_files", "env_files") if key in more})
    given: dict[str, Any] = {"config_paths": [], "changed": [], "untracked": [], **more}
    return _files.find(project, rendered or {}, **given)


def mounts(*sources: Path, read_only: bool = True) -> dict[str, Any]:
    volumes = [{"type": "bind", "source": str(path), "read_only": read_only} for path in sources]
    return {"services": {"a": {"volumes": volumes}}}


NAMES = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "compose.override.yaml",
         "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml", ".env"]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "full"),
    [("a", "/opt/p/a"), ("./sub/../a", "/opt/p/a"), ("/etc/a", "/etc/a"), ("../a", "/opt/a")],
)
def test_where_a_path_lies(path: str, full: str) -> None:
    assert _files.full_path("/opt/p", path) == full


@pytest.mark.parametrize(
    ("present", "more", "found", "absent"),
    [
        (["compose.yaml"], {}, ["compose.yaml"], NAMES[1:]),
        (["docker-compose.yml", "docker-compose.override.yml", ".env"], {},
         ["docker-compose.yml", "docker-compose.override.yml", ".env"],
         ["compose.yaml", "compose.yml", "docker-compose.yaml", "compose.override.yaml", "compose.override.yml",
          "docker-compose.override.yaml"]),
        # Files that were named are the only ones: what Compose would find by itself does not matter.
        (["compose.yaml"], {"compose_files": ("x.yml",)}, ["x.yml"], [".env"]),
        (["compose.yaml", ".env"], {"env_files": ("prod.env",)}, ["compose.yaml", "prod.env"], NAMES[1:-1]),
    ],
)  # fmt: skip
def test_what_compose_loads(src: Path, present: list[str], more: Any, found: list[str], absent: list[str]) -> None:
    write(src, dict.fromkeys(present, ""))
    assert _files.compose_files(Project("p", str(src), **more)) == (found, absent)


COMPOSE = """\
include: [extra/more.yml]
services:
  backend:
    env_file: [.env.backend, "conf/app.env"]
    volumes:
      - ./conf/nginx.conf:/etc/nginx/nginx.conf:ro
      - data:/var/lib/data
      - /etc/hostname:/etc/host:ro
    extends: {file: base.yaml, service: x}
    command: --config=conf/command.ini
    image: missing.yml
"""


def test_what_a_compose_file_names(src: Path) -> None:
    named = {"extra/more.yml", ".env.backend", "conf/app.env", "conf/nginx.conf", "base.yaml", "conf/command.ini"}
    write(src, {**dict.fromkeys(named, "x"), "unnamed.yml": "x", "backend/Dockerfile": "x"})
    assert _files.named_in(COMPOSE, str(src)) == named


def test_kinds(src: Path) -> None:
    names = ["extra/more.yml", ".env.backend", "conf/nginx.conf", "base.yaml", ".env", "secrets/db", "conf/mounted"]
    write(src, {**dict.fromkeys(names, "x"), "compose.yaml": COMPOSE, "settings/a/b": "x", "settings/.env.old": "x",
                "changed.py": "x", "untracked.txt": "x", "local.env": "x"})  # fmt: skip
    rendered = {
        **mounts(src / "conf" / "mounted", src / "conf" / "nginx.conf"),
        "configs": {"c": {"file": str(src / "base.yaml")}, "d": {"environment": "X"}},
        "secrets": {"db": {"file": str(src / "secrets" / "db")}, "e": None},
    }
    found = find(src, rendered, config_paths=["settings"], changed=["changed.py", ".env"],
                 untracked=["untracked.txt", "local.env"])  # fmt: skip
    assert found.kinds == {
        ".env": "env",
        ".env.backend": "env",
        "base.yaml": "compose",
        "changed.py": "changed",
        "compose.yaml": "compose",
        "conf/mounted": "configuration",
        "conf/nginx.conf": "configuration",
        "extra/more.yml": "compose",
        "local.env": "env",
        "secrets/db": "secret",
        "settings/.env.old": "env",
        "settings/a/b": "configuration",
        "untracked.txt": "untracked",
    }
    assert list(found.kinds) == sorted(found.kinds)
    assert found.absent == tuple(NAMES[1:-1])
    assert found.notes == ()


def test_a_secret_stays_one_whatever_else_it_is(src: Path) -> None:
    write(src, {"compose.yaml": "file: ./db.env", "db.env": "x"})
    rendered = {"secrets": {"db": {"file": str(src / "db.env")}}}
    assert find(src, rendered).kinds["db.env"] == "secret"


def test_a_project_that_cannot_be_rendered(src: Path) -> None:
    write(src, {"compose.yaml": "services: {a: {env_file: a.env}}", "a.env": ""})
    (src / "latin.yml").write_bytes(b"\xff: a.env")
    assert find(src).kinds == {"compose.yaml": "compose", "a.env": "env"}
    assert find(src, compose_files=("latin.yml", "gone.yml")).kinds == {"latin.yml": "compose", "gone.yml": "compose"}


def test_paths_outside_of_the_project_are_absolute(src: Path, tmp_path: Path) -> None:
    write(tmp_path, {"outside.conf": "x", "projects.conf": "x", "folder/a": "x"})
    write(src, {"compose.yaml": ""})
    rendered = mounts(tmp_path / "outside.conf", tmp_path / "folder", Path("/dev/null"), src / "gone")
    found = find(src, rendered, config_paths=["../projects.conf", "./compose.yaml"])
    # A folder outside is nobody's configuration unless it is declared; a device is no file.
    assert set(found.kinds) == {str(tmp_path / "outside.conf"), str(tmp_path / "projects.conf"), "compose.yaml"}
    assert str(tmp_path / "folder/a") in find(src, rendered, config_paths=[str(tmp_path / "folder")]).kinds


def test_what_is_large_is_left_and_told(src: Path) -> None:
    large = _files.FILE_SIZE + 1
    for name in ("big.conf", "big-untracked", "data/one"):
        write(src, {name: ""})
        os.truncate(src / name, large)
    write(src, {f"many/{number}": "" for number in range(_files.MOUNT_FILES + 1)})
    write(src, {f"few/{number}": "" for number in range(_files.MOUNT_FILES)})
    rendered = mounts(src / "big.conf", src / "data", src / "many", src / "few")
    found = find(src, rendered, untracked=["big-untracked", "gone"])
    assert found.notes == (
        "big.conf is mounted and larger than 5 MB: it was not recorded",
        f"data is mounted and looks like data: it was not recorded ({_files.DECLARE})",
        f"many is mounted and looks like data: it was not recorded ({_files.DECLARE})",
        "big-untracked (untracked in git) is larger than 5 MB or no plain file: it was not recorded",
    )
    assert len([path for path in found.kinds if path.startswith("few/")]) == _files.MOUNT_FILES
    # What was declared is recorded, whatever its size.
    assert find(src, config_paths=["data"]).kinds["data/one"] == "configuration"


def test_a_folder_that_a_service_writes_to_is_data(src: Path) -> None:
    write(src, {"uploads/a": "", "uploads-notes/b": "", "one.conf": ""})
    rendered = mounts(src / "uploads", src / "one.conf", read_only=False)
    found = find(src, rendered, untracked=["uploads/a", "uploads-notes/b"])
    assert set(found.kinds) == {"one.conf", "uploads-notes/b"}
    assert found.notes == (
        f"uploads is mounted writable, so it is taken for data: it was not recorded ({_files.DECLARE})",
    )
    assert find(src, rendered, config_paths=["uploads"]).kinds["uploads/a"] == "configuration"


def test_links_and_pipes_in_a_folder(src: Path) -> None:
    write(src, {"conf/releases/3/a": "x"})
    (src / "conf" / "current").symlink_to("releases/3")
    (src / "conf" / "dangling").symlink_to("nowhere")
    os.mkfifo(src / "conf" / "pipe")
    expected = {"conf/releases/3/a", "conf/current", "conf/dangling"}
    for found in (find(src, mounts(src / "conf")), find(src, config_paths=["conf"])):
        assert set(found.kinds) - {"compose.yaml"} == expected
        assert {entry.path for entry in _files.record(str(src), found.kinds)} == expected


def test_a_declared_path_that_is_missing(src: Path) -> None:
    with pytest.raises(FilesError, match=r"^the declared configuration path conf/x does not exist$"):
        find(src, config_paths=["conf/x"])


# -- record


def test_a_record_is_byte_for_byte(src: Path, tmp_path: Path) -> None:
    content = bytes(range(256)) + b"\r\n"
    (src / "sub").mkdir()
    (src / "sub" / "a b").write_bytes(content)
    (src / "sub" / "a b").chmod(0o640)
    (src / "link").symlink_to("../outside")
    (tmp_path / "outside").write_bytes(b"")
    (tmp_path / "outside").chmod(0o644)
    point = tmp_path / "point"
    point.mkdir()
    kinds = {"sub/a b": "configuration", "link": "untracked", str(tmp_path / "outside"): "env", "gone": "changed"}
    uid, gid = os.geteuid(), os.getegid()
    outside = f"files/absolute{tmp_path}/outside"
    records = _files.record(str(src), kinds, str(point))
    assert records == (
        FileRecord("sub/a b", "configuration", "0640", uid, gid, 258, hashlib.sha256(content).hexdigest(),
                   stored="files/project/sub/a b"),
        FileRecord("link", "untracked", "0777", uid, gid, link="../outside"),
        FileRecord(str(tmp_path / "outside"), "env", "0644", uid, gid, 0, hashlib.sha256(b"").hexdigest(),
                   stored=outside),
    )  # fmt: skip
    assert (point / "files/project/sub/a b").read_bytes() == content
    assert stat.S_IMODE((point / "files/project/sub/a b").stat().st_mode) == 0o600
    assert stat.S_IMODE((point / "files/project/sub").stat().st_mode) == 0o700
    assert (point / outside).read_bytes() == b""
    # Without a folder the same is told, and nothing is copied.
    assert [(entry.path, entry.sha256, entry.stored) for entry in _files.record(str(src), kinds)] == [
        (entry.path, entry.sha256, "") for entry in records
    ]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_cannot_be_recorded(src: Path, kind: str) -> None:
    (src / kind).mkdir() if kind == "folder" else os.mkfifo(src / kind)
    with pytest.raises(FilesError) as raised:
        _files.record(str(src), {kind: "configuration"})
    assert str(raised.value) == f"{src / kind} is neither a file nor a link"


# -- compare and put back


RECORDED = {".env": "TAG=v3\n", "conf/app.conf": "a\n", "run.sh": "#!/bin/sh\n"}


class Recorded:
    """A project that was recorded, and where its copies are."""

    def __init__(self, src: Path, tmp_path: Path) -> None:
        write(src, RECORDED)
        (src / "run.sh").chmod(0o755)
        (src / ".env").chmod(0o600)
        (src / "current").symlink_to("releases/3")
        self.src, self.point, self.aside = src, tmp_path / "point", tmp_path / "aside"
        self.point.mkdir()
        self.aside.mkdir()
        kinds = dict.fromkeys([*RECORDED, "current"], "configuration")
        self.records = _files.record(str(src), kinds, str(self.point))

    def compare(self, *absent: str) -> dict[str, str]:
        return {change.path: change.action for change in _files.compare(str(self.src), self.records, absent)}

    def put_back(self, *absent: str) -> tuple[Change, ...]:
        return _files.put_back(str(self.src), str(self.point), self.records, absent, str(self.aside))

    def is_back(self) -> bool:
        names = [name for _base, _folders, files in os.walk(self.src) for name in files]
        return self.compare() == {} and not [name for name in names if ".incomplete-" in name]


@pytest.fixture
def recorded(src: Path, tmp_path: Path) -> Recorded:
    return Recorded(src, tmp_path)


def harm_same_size(src: Path) -> None:
    (src / ".env").write_text("TAG=v4\n")


def harm_link_target(src: Path) -> None:
    (src / "current").unlink()
    (src / "current").symlink_to("releases/4")


def harm_link_becomes_file(src: Path) -> None:
    (src / "current").unlink()
    (src / "current").write_text("x")


def harm_file_becomes_link(src: Path) -> None:
    (src / ".env").rename(src / ".env.real")
    (src / ".env").symlink_to(".env.real")


def harm_file_becomes_folder(src: Path) -> None:
    (src / "conf" / "app.conf").unlink()
    write(src, {"conf/app.conf/mine": "x"})


def harm_folder_gone(src: Path) -> None:
    (src / "conf" / "app.conf").unlink()
    (src / "conf").rmdir()


def harm_owner(src: Path) -> None:
    os.chown(src / ".env", 1234, 1235)


@pytest.mark.parametrize(
    ("harm", "changes"),
    [
        (str, {}),
        (harm_same_size, {".env": "write"}),
        (lambda src: (src / ".env").unlink(), {".env": "write"}),
        (lambda src: (src / "run.sh").chmod(0o644), {"run.sh": "attributes"}),
        pytest.param(harm_owner, {".env": "attributes"}, marks=root_only),
        (harm_link_target, {"current": "link"}),
        (lambda src: (src / "current").unlink(), {"current": "link"}),
        (harm_link_becomes_file, {"current": "link"}),
        (harm_file_becomes_link, {".env": "write"}),
        (harm_file_becomes_folder, {"conf/app.conf": "write"}),
        (harm_folder_gone, {"conf/app.conf": "write"}),
    ],
)
def test_put_back(recorded: Recorded, harm: Any, changes: dict[str, str]) -> None:
    harm(recorded.src)
    assert recorded.compare() == changes
    assert {change.path: change.action for change in recorded.put_back()} == changes
    assert recorded.is_back()
    assert {name: (recorded.src / name).read_text() for name in RECORDED} == RECORDED
    assert os.readlink(recorded.src / "current") == "releases/3"
    # A second time there is nothing to do.
    assert recorded.put_back() == ()


def test_a_link_in_the_way_is_replaced_and_not_followed(recorded: Recorded) -> None:
    harm_file_becomes_link(recorded.src)
    (recorded.src / ".env.real").write_text("mine\n")
    recorded.put_back()
    assert (recorded.src / ".env.real").read_text() == "mine\n"


def test_a_folder_in_the_way_is_set_aside(recorded: Recorded) -> None:
    harm_file_becomes_folder(recorded.src)
    recorded.put_back()
    assert (recorded.aside / "conf" / "app.conf" / "mine").read_text() == "x"


def test_what_must_not_be_there_is_set_aside(recorded: Recorded, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yml"
    write(recorded.src, {"compose.override.yaml": "mine", "conf/new/x": "mine"})
    (recorded.src / "dangling").symlink_to("nowhere")
    outside.write_text("mine")
    absent = ["compose.override.yaml", "conf/new/x", "dangling", "gone", str(outside)]
    assert recorded.put_back(*absent) == tuple(Change(name, "set aside") for name in absent if name != "gone")
    assert not [name for name in absent if os.path.lexists(recorded.src / name)]
    assert (recorded.aside / "compose.override.yaml").read_text() == "mine"
    assert (recorded.aside / "conf/new/x").read_text() == "mine"
    assert os.readlink(recorded.aside / "dangling") == "nowhere"
    assert (recorded.aside / str(outside).lstrip("/")).read_text() == "mine"


@root_only
def test_owners_and_new_folders(recorded: Recorded) -> None:
    harm_folder_gone(recorded.src)
    os.chown(recorded.src, 1234, 1235)
    recorded.put_back()
    assert (os.stat(recorded.src / "conf").st_uid, os.stat(recorded.src / "conf").st_gid) == (1234, 1235)
    # The file itself has the owner that was recorded.
    assert os.stat(recorded.src / "conf/app.conf").st_uid == os.geteuid()


@root_only
def test_special_modes_survive_a_change_of_owner(recorded: Recorded) -> None:
    os.chown(recorded.src / "run.sh", 1234, 1235)
    (recorded.src / "run.sh").chmod(0o4750)
    records = _files.record(str(recorded.src), {"run.sh": "configuration"}, str(recorded.point))
    (recorded.src / "run.sh").unlink()
    _files.put_back(str(recorded.src), str(recorded.point), records, [], str(recorded.aside))
    status = os.stat(recorded.src / "run.sh")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4750, 1234, 1235)


def test_a_copy_that_is_missing(recorded: Recorded) -> None:
    harm_same_size(recorded.src)
    stored = recorded.point / "files" / "project" / ".env"
    stored.unlink()
    with pytest.raises(FilesError) as raised:
        recorded.put_back()
    assert str(raised.value) == f"{stored} cannot be put back: No such file or directory"
    assert (recorded.src / ".env").read_text() == "TAG=v4\n"


def test_a_file_where_a_folder_must_be(recorded: Recorded) -> None:
    harm_folder_gone(recorded.src)
    (recorded.src / "conf").write_text("mine")
    assert recorded.compare() == {"conf/app.conf": "write"}
    with pytest.raises(FilesError) as raised:
        recorded.put_back()
    assert str(raised.value) == f"{recorded.src / 'conf'} cannot be put back: File exists"
    assert (recorded.src / "conf").read_text() == "mine"
