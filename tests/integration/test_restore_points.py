# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore points on disk: what they hold, how they are marked, pruned, damaged and locked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import application

pytestmark = pytest.mark.application


@pytest.fixture(scope="module")
def point(application_up: None) -> str:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Have a healthy v1 and one restore point of it, for tests that leave both as they are."""
    return application.begin()


def take(**options: Any) -> dict[str, Any]:
    return application.module(
        "restore_point",
        project_src=str(application.PROJECT),
        code_services=list(application.CODE_SERVICES),
        **{"with_database": False, "save_images": "never", **options},
    )


def info(**options: Any) -> dict[str, Any]:
    return application.module(
        "restore_point_info",
        project_src=str(application.PROJECT),
        code_services=list(application.CODE_SERVICES),
        **options,
    )


def psql(statement: str, *options: str) -> str:
    return application.docker(
        "exec", "schedgen-postgres", "psql", "-U", "schedgen", "-d", "schedgen", "-Atqc", statement, *options
    )


def test_the_dump_holds_every_row_that_the_manifest_counts(point: str) -> None:
    manifest = application.points()[-1]
    folder = application.STATE / "restore_points" / point
    database = manifest["database"]
    assert int(psql("SELECT count(*) FROM jobs")) == database["rows"]["public.jobs"] > 0
    assert manifest["migrations"]["applied"] == psql("SELECT name FROM migrations ORDER BY id").splitlines()
    application.docker("cp", str(folder / "database" / "dump"), "schedgen-postgres:/tmp/dump")
    try:
        psql("CREATE DATABASE dump_check")
        application.docker(
            "exec", "schedgen-postgres", "pg_restore", "-e", "-U", "schedgen", "-d", "dump_check", "/tmp/dump"
        )
        for table, rows in database["rows"].items():
            counted = application.docker(
                "exec",
                "schedgen-postgres",
                "psql",
                "-U",
                "schedgen",
                "-d",
                "dump_check",
                "-Atqc",
                f"SELECT count(*) FROM {table}",
            )
            assert (table, int(counted)) == (table, rows)
    finally:
        psql("DROP DATABASE IF EXISTS dump_check WITH (FORCE)")
        application.docker("exec", "--user", "0", "schedgen-postgres", "rm", "-rf", "/tmp/dump")
    for name, recorded in manifest["checksums"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == recorded["sha256"], name


def test_damage_is_found(point: str) -> None:
    assert info(verify=True)["problems"] == {}
    dump = application.STATE / "restore_points" / point / "database" / "dump"
    table = max(dump.glob("*.dat*"), key=lambda path: path.stat().st_size)
    toc = dump / "toc.dat"
    recorded = {path: path.read_bytes() for path in (table, toc)}
    content = bytearray(recorded[table])
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    toc.write_bytes(recorded[toc][:-10])
    try:
        found = info(verify=True)["problems"][point]
    finally:
        for path, whole in recorded.items():
            path.write_bytes(whole)
    assert sorted(found) == sorted(
        [
            f"database/dump/{table.name} is not what was recorded (checksum)",
            f"database/dump/toc.dat has {len(recorded[toc]) - 10} bytes, {len(recorded[toc])} were recorded",
        ]
    )


def test_a_library_that_is_missing_is_named_with_the_playbook_that_installs_it(point: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    done = application.playbook("pre-deploy-backup", ansible_python_interpreter=bare)
    assert done.rc == 2
    assert "the Python library docker cannot be imported by" in done.text
    assert "prepare-hosts.yml" in done.text
    assert [point["id"] for point in application.points()] == [point]


def test_marks_labels_and_pins_are_events_and_said_once(at_v1: str) -> None:
    for state, options in (
        ("labelled", {"labels": ["before-v2"]}),
        ("pinned", {}),
        ("bad", {"reason": "wrong prices"}),
    ):
        assert application.module("restore_point", "--check", state=state, id=at_v1, **options)["changed"], state
        assert application.module("restore_point", state=state, id=at_v1, **options)["changed"], state
        assert not application.module("restore_point", state=state, id=at_v1, **options)["changed"], state
    shown = info()["points"][0]
    assert (shown["labels"], shown["pinned"], shown["bad"]) == (["before-v2"], True, "wrong prices")
    application.lab("deploy", "v1.1")
    passed = info(candidate=True)["candidate"]
    assert passed["id"] == ""
    assert "it is marked bad: wrong prices" in passed["passed_over"][0]["reason"]
    assert application.module("restore_point", state="good", id=at_v1)["changed"]
    assert info(candidate=True)["candidate"]["id"] == at_v1


def test_pruning_keeps_what_it_must(at_v1: str) -> None:
    taken = [take()["id"] for _number in range(3)]
    application.module("restore_point", state="pinned", id=taken[0])
    nothing = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0}
    told = application.module("restore_point", "--check", state="pruned", retention=nothing)
    assert [point["id"] for point in application.points()] == [at_v1, *taken]
    done = application.module("restore_point", state="pruned", retention=nothing)
    assert done["pruned"] == told["pruned"] == [taken[1], at_v1]
    assert [point["id"] for point in application.points()] == [taken[0], taken[2]]
    tags = application.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    kept = {tag.rsplit(":", 1)[1] for tag in tags if tag.startswith("schedgen-rollback/schedgen/")}
    assert kept == {taken[0], taken[2]}


@pytest.mark.usefixtures("at_v1")
def test_of_two_at_once_one_is_refused_and_told_why() -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(application.playbook, "pre-deploy-backup", rollback_owner=owner, rollback_reason="before v2")
            for owner in ("ana", "ben")
        ]
        done = {run.result().rc: run.result().text for run in runs}
    assert sorted(done) == [0, 2]
    assert "the lock of schedgen is held by" in done[2]
    assert "(before v2) for run" in done[2]
    assert len(application.points()) == 2
