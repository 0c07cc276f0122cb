# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every PostgreSQL version that is said to be supported: back up, restore beside, swap under writes, undo; and across.

Content and schema are compared here by statements of the test's own, rows by the ledger of a client.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _pgtools
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError
from support import postgres, postgres_images
from support.postgres_restore import LIVE_PROPERTIES, RestoreSetup, fingerprint

TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'sales') ORDER BY 1
"""
# How a check is written is not what it means: PostgreSQL writes its casts otherwise after a restore.
SHAPE = """
SET search_path = pg_catalog;
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'sales'))
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname,
  CASE contype WHEN 'c' THEN '' ELSE pg_get_constraintdef(oid) END
  FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours) AND contype <> 'n'
UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'view', oid::regclass::text, pg_get_viewdef(oid)
  FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'function', oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'policy', polrelid::regclass || '.' || polname, polcmd::text FROM pg_policy
UNION ALL SELECT 'rule', ev_class::regclass || '.' || rulename, pg_get_ruledef(oid)
  FROM pg_rewrite WHERE rulename <> '_RETURN' AND ev_class::regclass::text LIKE 'public.%'
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname,
  concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  WHERE c.relkind IN ('r', 'p') AND c.relnamespace IN (SELECT oid FROM ours) AND attnum > 0
UNION ALL SELECT 'grant', c.oid::regclass::text, a.grantee::regrole || ' ' || a.privilege_type
  FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace IN (SELECT oid FROM ours)
  AND a.privilege_type <> 'MAINTAIN'
UNION ALL SELECT 'owner', oid::regclass::text, relowner::regrole::text
  FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL SELECT 'large object', oid::text, encode(lo_get(oid), 'hex') FROM pg_largeobject_metadata
ORDER BY 1, 2, 3
"""


def content(server: postgres.Server, name: str = "shop") -> dict[str, Any]:
    """Read every row of every table of ours, without the rows that the writer wrote."""
    found = {}
    for (table,) in server.sql(TABLES, name):
        lines = f"SELECT t::text AS line FROM ONLY {table} t"
        found[table] = server.sql(
            f"SELECT count(*), md5(string_agg(line, '\n' ORDER BY line COLLATE \"C\")) FROM ({lines}) x"
            " WHERE line !~ ',w[0-9]+[)]$'",
            name,
        )
    return found


def opened(server: postgres.Server, name: str, read: Callable[[postgres.Server, str], Any]) -> Any:
    """Read from a database that is closed."""
    server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', "postgres")
    found = read(server, name)
    server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', "postgres")
    return found


def shape(server: postgres.Server, name: str = "shop") -> list[tuple[Any, ...]]:
    """Read the schema, in words that no version of PostgreSQL puts otherwise."""
    return server.sql(SHAPE, name)


# zstd is there from 16 on, but the tools of 16 here are built without it.
COMPRESSION = {14: "1", 15: "1", 16: "1", 17: "zstd:1", 18: "zstd:1"}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[int], postgres.Server]]:
    """Give a filled server of a version; each is started once, none publishes a port."""
    started: dict[int, postgres.Server] = {}

    def of(version: int) -> postgres.Server:
        if version not in started:
            name = f"rollback-pg{version}-{os.getpid()}"
            started[version] = postgres.Server(name, name)
            started[version] = postgres.start(name, image=postgres_images.image(version))
            postgres.fill(started[version])
        return started[version]

    yield of
    for server in started.values():
        postgres.docker("rm", "--force", "--volumes", server.name, check=False)


# What Debian has for its last two releases; every version is tried by the thorough tests.
ALWAYS = (15, postgres_images.LAB)


def chosen(*versions: int) -> list[pytest.MarkDecorator]:
    return [] if set(versions) <= set(ALWAYS) else [pytest.mark.thorough]


@pytest.mark.parametrize("version", [pytest.param(number, marks=chosen(number)) for number in postgres_images.VERSIONS])
def test_nothing_differs_and_nothing_is_lost(
    servers: Callable[[int], postgres.Server], version: int, tmp_path: Path
) -> None:
    server = servers(version)
    setup = RestoreSetup(server, str(tmp_path / "state"))
    assert server.sql("SELECT current_setting('server_version_num')::int / 10000") == [(version,)]
    before = (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server))
    assert {kind for kind, _name, _text in before[2]} >= {"index", "trigger", "view", "policy", "rule", "grant"}
    point = setup.point()
    manifest = setup.store.point(point).manifest
    assert manifest is not None
    assert manifest.database is not None
    assert manifest.database["compression"] == COMPRESSION[version]
    prepared = setup.restore("prepared", id=point)
    assert not [note for note in prepared["notes"] if "not compared" in note or "not hashed" in note]
    name = prepared["database"]
    assert opened(server, name, content) == before[1]
    assert opened(server, name, shape) == before[2]
    with postgres.Writer(server) as writer:
        aside = setup.restore("swapped", id=point)["set_aside"]
        writer.until(10)
        swapped = (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server))
        assert aside in server.databases()
        restored = setup.restore("undone")["set_aside"]
        writer.until(10)
    assert swapped == before
    assert (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server)) == before
    assert set(writer.acknowledged) - (setup.tokens() | setup.tokens(restored)) == set()
    assert setup.tokens() & setup.tokens(restored) == set()
    ready, name, notes = setup.ready("template")
    assert notes == []
    server.sql("DELETE FROM sales.orders")
    done = setup.restore("swapped", id=ready)
    assert (done["ready"], done["database"]) == (True, name)
    assert (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server)) == before


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param(*pair, marks=chosen(*pair))
        for pair in (*zip(postgres_images.VERSIONS, postgres_images.VERSIONS[1:]), ALWAYS)
    ],
)
def test_a_dump_goes_into_a_newer_server_and_into_no_older_one(
    servers: Callable[[int], postgres.Server], older: int, newer: int, tmp_path: Path
) -> None:
    old, new = (RestoreSetup(servers(version), str(tmp_path / "state")) for version in (older, newer))
    then = content(old.server)
    point = old.point()
    done = new.restore("swapped", id=point)
    assert content(new.server) == then
    assert any("another major version" in note for note in done["notes"])
    assert new.restore("undone")["changed"]
    point = new.point()
    before = fingerprint(old)
    for pretend in (True, False):
        with pytest.raises(RestoreError, match=f"dump is of PostgreSQL {newer} and the server is {older}") as refused:
            old.restore("swapped", id=point, pretend=pretend)
        assert refused.value.state == "The live database was not touched."
    words = [
        "exec",
        "--env=PGPASSWORD=" + postgres.PASSWORD,
        new.server.name,
        "pg_dump",
        "-hlocalhost",
        "-Ushop",
        "shop",
    ]
    path = tmp_path / "db_shop_newer.sql"
    path.write_text(postgres.docker(*words) + "\n")
    for pretend in (True, False):
        with pytest.raises(RestoreError, match=f"dump is of PostgreSQL {newer} and the server is {older}"):
            old.restore("swapped", file=str(path), pretend=pretend)
    assert fingerprint(old) == before


# --- with a published port


COMPOSE = """
services:
  postgres:
    image: {image}
    entrypoint: [sh, -c, 'export POSTGRES_PASSWORD="$$(cat /run/secrets/database)"; exec postgres-entrypoint "$$@"', sh]
    command: [postgres]
    environment: {{POSTGRES_USER: shop, POSTGRES_DB: shop, POSTGRES_PASSWORD_FILE: /run/secrets/database}}
    secrets: [database]
    ports: ["127.0.0.1::5432"]
secrets:
  database: {{file: ./password}}
"""


class Watcher(threading.Thread):
    """Looks for a text in the arguments of every process and in the settings of every container."""

    def __init__(self, text: str) -> None:
        super().__init__(daemon=True)
        self.seen: list[str] = []
        self.looked: set[str] = set()
        self._text, self._over = text, threading.Event()

    def run(self) -> None:
        client = docker.from_env()
        while not self._over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if self._text.encode() in path.read_bytes():
                        self.seen.append(str(path))
            for entry in client.api.containers(filters={"label": "schedgen.rollback.application=shop"}):
                self.looked.add(entry["Names"][0])
                with contextlib.suppress(docker.errors.NotFound):
                    if self._text in json.dumps(client.api.inspect_container(entry["Id"])):
                        self.seen.append(entry["Names"][0])

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()


@pytest.fixture
def published(tmp_path: Path) -> Iterator[postgres.Server]:
    """A service of a real Compose project with a published port and its password in a file, seen from outside."""
    folder = tmp_path / f"published{os.getpid()}"
    folder.mkdir()
    password = secrets.token_urlsafe(16)
    (folder / "password").write_text(password + "\n")
    (folder / "compose.yaml").write_text(COMPOSE.format(image=postgres_images.image(postgres_images.LAB)))
    compose = ["docker", "compose", "--project-directory", str(folder)]
    subprocess.run([*compose, "up", "--detach", "--quiet-pull"], check=True, capture_output=True)
    try:
        told = subprocess.run([*compose, "port", "postgres", "5432"], check=True, capture_output=True, text=True)
        port = int(told.stdout.rpartition(":")[2])
        server = postgres.Server(folder.name, folder.name, "127.0.0.1", port, password=password)
        server.wait_for_login()
        postgres.fill(server)
        yield server
    finally:
        subprocess.run([*compose, "down", "--volumes", "--timeout", "2"], check=True, capture_output=True)


def test_a_service_with_a_published_port_and_its_password_in_a_file(published: postgres.Server, tmp_path: Path) -> None:
    setup = RestoreSetup(published, str(tmp_path / "state"))
    properties = published.sql(LIVE_PROPERTIES, "postgres")
    with postgres.Writer(published) as writer, Watcher(published.password) as watcher:
        point = setup.point()
        done = setup.restore("swapped", id=point)
        writer.until(10)
        undone = setup.restore("undone")
        writer.until(10)
    assert published.sql(LIVE_PROPERTIES, "postgres") == properties
    assert set(writer.acknowledged) - (setup.tokens() | setup.tokens(undone["set_aside"])) == set()
    assert done["set_aside"] not in published.databases()
    assert watcher.looked
    assert watcher.seen == []
    records = [path for path in Path(setup.state).rglob("*") if path.is_file()]
    assert [path for path in records if published.password.encode() in path.read_bytes()] == []
    assert published.password not in json.dumps([done, undone])


# --- outside Docker


# A host that has a server of its own packages is tried with it, too.
OWN = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


# Where the host has a server of its own, those of packages are left to the thorough tests.
FETCHED = [
    pytest.param(str(number), marks=[pytest.mark.thorough] if OWN else []) for number in postgres_images.UNPACKED
]


@pytest.fixture(params=[*FETCHED, *(["own"] if OWN else [])])
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.Server]:
    """A server that runs on this host, at a port of its own; the host has tools that fit."""
    # Where a user without any right may look.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        if request.param == "own":
            programs = OWN[-1].parent
        else:
            programs, tools = postgres_images.unpack(int(request.param), Path(folder))
            monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        nobody = 65534
        secret = Path(folder) / "password"
        secret.write_text(postgres.PASSWORD)
        for path in (folder, secret):
            os.chown(path, nobody, nobody)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        as_nobody = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
        data = f"{folder}/data"
        options = ["--username=shop", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*as_nobody, programs / "initdb", f"--pgdata={data}", *options], check=True, capture_output=True)
        settings = f"-c port={port} -c unix_socket_directories={folder} -c max_wal_size=64MB"
        control = [*as_nobody, str(programs / "pg_ctl"), f"--pgdata={data}", "--wait", "--silent"]
        subprocess.run([*control, f"--options={settings}", f"--log={folder}/log", "start"], check=True)
        try:
            server = postgres.Server("outside", "outside", "127.0.0.1", port)
            postgres.fill(server)
            yield server
        finally:
            subprocess.run([*control, "--mode=immediate", "stop"], check=False)


def test_a_database_outside_docker_uses_the_tools_of_its_host(
    outside: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text(postgres.PASSWORD + "\n")
    setup = RestoreSetup(
        outside,
        str(tmp_path / "state"),
        {"database_host": outside.address, "database_port": outside.port, "database_password_file": str(secret)},
    )
    before = (outside.sql(LIVE_PROPERTIES, "postgres"), content(outside), shape(outside))
    point = setup.point()
    with postgres.Writer(outside) as writer:
        done = setup.restore("swapped", id=point)
        writer.until(5)
        assert (outside.sql(LIVE_PROPERTIES, "postgres"), content(outside), shape(outside)) == before
        undone = setup.restore("undone")
        writer.until(5)
    assert (outside.sql(LIVE_PROPERTIES, "postgres"), content(outside), shape(outside)) == before
    assert set(writer.acknowledged) - (setup.tokens() | setup.tokens(undone["set_aside"])) == set()
    assert postgres.PASSWORD not in json.dumps([done, undone])
    names = outside.databases()
    monkeypatch.setattr(_pgtools, "_searched", list)
    with pytest.raises(RestoreError, match=r"this host has no pg_dump for a server of PostgreSQL \d+ \(it has none\)"):
        setup.restore("prepared", id=point)
    assert outside.databases() == names
