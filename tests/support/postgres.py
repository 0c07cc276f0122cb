# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private PostgreSQL server in a container, a database with a bit of everything, and a client that keeps a ledger."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from ansible_collections.schedgen.rollback.plugins.module_utils import _dump, _manifest, _postgres, _store

IMAGE = "schedgen-demo-postgres:trixie"
# Characters that pgpass files and shells take for their own.
PASSWORD = r"p:w\d'$x"
DATABASE = "shop"
OWNER = "shop"

EVERYTHING = """
CREATE ROLE reader NOLOGIN;
CREATE ROLE web LOGIN PASSWORD 'web';
CREATE EXTENSION pg_trgm;
CREATE SCHEMA sales;
CREATE TYPE sales.state AS ENUM ('new', 'paid', 'sent');
CREATE TABLE customers (
  id serial PRIMARY KEY, name text NOT NULL, kind varchar(10) CHECK (kind IN ('shop', 'person')), extra jsonb,
  raw json);
CREATE TABLE sales.orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers, state sales.state,
  total numeric(10,2), twice numeric GENERATED ALWAYS AS (total * 2) STORED, at timestamptz DEFAULT now());
CREATE TABLE ledger (id bigserial PRIMARY KEY, token text UNIQUE NOT NULL);
CREATE TABLE "odd "" name" ("a column" int);
CREATE TABLE measured (at date NOT NULL, value float8) PARTITION BY RANGE (at);
CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE measured_2 PARTITION OF measured FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE FUNCTION lower_name(t text) RETURNS text IMMUTABLE LANGUAGE sql AS $f$ SELECT lower(t); $f$;
CREATE FUNCTION total(c int) RETURNS numeric LANGUAGE sql
  BEGIN ATOMIC SELECT sum(total) FROM sales.orders WHERE customer = c; END;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := trim(NEW.name); RETURN NEW; END;';
CREATE TRIGGER touched BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE INDEX customers_lower ON customers (lower_name(name));
CREATE INDEX customers_trgm ON customers USING gin (name gin_trgm_ops);
CREATE VIEW good AS SELECT id, name FROM customers WHERE kind = 'shop';
CREATE MATERIALIZED VIEW turnover AS SELECT customer, sum(total) AS sum FROM sales.orders GROUP BY customer;
CREATE RULE kept AS ON DELETE TO customers WHERE OLD.id < 0 DO INSTEAD (SELECT 1; SELECT 2);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON customers FOR SELECT TO reader USING (kind <> 'person');
GRANT USAGE ON SCHEMA sales TO reader;
GRANT SELECT ON sales.orders, customers TO reader;
INSERT INTO customers (name, kind, extra, raw)
  SELECT 'Käthe ' || i || E' \\\\ x', (ARRAY['shop', 'person'])[1 + i % 2], jsonb_build_object('n', i),
    '{"b": 1, "a":2}' FROM generate_series(1, 2000) i;
INSERT INTO sales.orders (customer, state, total)
  SELECT 1 + i % 2000, (ARRAY['new', 'paid', 'sent']::sales.state[])[1 + i % 3], i / 7.0
  FROM generate_series(1, 6000) i;
INSERT INTO measured SELECT date '2026-01-01' + i % 364, i FROM generate_series(1, 1000) i;
INSERT INTO ledger (token) SELECT 'seed-' || i FROM generate_series(1, 50) i;
INSERT INTO "odd "" name" VALUES (1), (NULL);
SELECT lo_from_bytea(0, '\\x00ff10');
REFRESH MATERIALIZED VIEW turnover;
ANALYZE;
"""
PROPERTIES = """
COMMENT ON DATABASE shop IS 'the shop''s own words \\ here';
ALTER DATABASE shop SET search_path TO "$user", public, sales;
ALTER DATABASE shop SET work_mem TO '5MB';
ALTER DATABASE shop SET "app.greeting" TO 'it''s';
ALTER ROLE web IN DATABASE shop SET statement_timeout TO '9s';
ALTER DATABASE shop CONNECTION LIMIT 77;
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO web WITH GRANT OPTION;
GRANT TEMPORARY, CONNECT ON DATABASE shop TO reader;
"""


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Server:
    """A server of a test run: its container, Compose project and address, and who comes in where."""

    name: str
    project: str
    address: str = ""
    port: int = 5432
    database: str = DATABASE
    user: str = OWNER
    password: str = PASSWORD

    def connect(self, database: str = "", user: str = "", password: str = "") -> Any:
        connection = psycopg2.connect(
            host=self.address,
            port=self.port,
            dbname=database or self.database,
            user=user or self.user,
            password=password or self.password,
            connect_timeout=5,
            # A server whose machine is gone says nothing more.
            tcp_user_timeout=5000,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def databases(self) -> set[str]:
        return {row[0] for row in self.sql("SELECT datname FROM pg_database WHERE NOT datistemplate", "postgres")}

    def found(self) -> Server:
        """Return the server with its address of now."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return replace(self, address=docker("inspect", "--format", form, self.name, check=False) or self.address)

    def wait(self, seconds: float = 60, database: str = "") -> Server:
        """Return the server with its address of now, once it lets somebody in."""
        end = time.monotonic() + seconds
        while True:
            found = self.found()
            try:
                found.sql("SELECT 1", database)
            except psycopg2.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return found

    def wait_for_login(self, seconds: float = 60) -> None:
        """Return once the server at this address lets somebody in."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.sql("SELECT 1")
            except psycopg2.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return


def start(name: str, *options: str, settings: tuple[str, ...] = (), image: str = IMAGE) -> Server:
    """Start a server that looks like the service ``postgres`` of a Compose project of its own."""
    docker("rm", "--force", "--volumes", name, check=False)
    label = "com.docker.compose."
    labels = {"project": name, "service": "postgres", "oneoff": "False", "container-number": "1"}
    docker(
        "run",
        "--detach",
        f"--name={name}",
        *[f"--label={label}{key}={value}" for key, value in labels.items()],
        f"--env=POSTGRES_USER={OWNER}",
        f"--env=POSTGRES_DB={DATABASE}",
        f"--env=POSTGRES_PASSWORD={PASSWORD}",
        *options,
        image,
        "postgres",
        "-cwal_level=logical",
        "-cmax_prepared_transactions=4",
        "-cmax_wal_size=64MB",
        *settings,
    )
    return Server(name, name).wait()


def fill(server: Server) -> None:
    """Make the live database anew, with a bit of everything, and remove every other one."""
    for name in server.databases() - {"postgres"}:
        server.sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")
    for role in ("reader", "web"):
        server.sql(f"DROP ROLE IF EXISTS {role}", "postgres")
    server.sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0", "postgres")
    server.sql(EVERYTHING)
    for statement in PROPERTIES.strip().splitlines():
        server.sql(statement, "postgres")


def take_point(store: _store.Store, login: _postgres.Login, **options: Any) -> str:
    """Take a restore point of the database alone, as the module restore_point does."""
    point_id, folder = store.begin_point()
    recorded = _dump.dump(store, folder, login, **options)
    recorded.pop("migrations")
    manifest = _manifest.Manifest(
        id=point_id,
        application=store.application,
        created="2026-11-22T00:00:00Z",
        purpose="manual",
        release=_manifest.Release({}),
        health={"verdict": "healthy"},
        database=recorded,
        checksums=_store.tree_checksums(folder),
    )
    store.complete_point(point_id, folder, _manifest.to_json(manifest))
    return point_id


POOLER = """
FROM schedgen-demo-base:trixie
RUN apt-get update -q && apt-get install -y -q --no-install-recommends pgbouncer
"""
POOLER_IMAGE = "rollback-test-pgbouncer:trixie"


def start_pooler(name: str, server: Server, folder: Path) -> Server:
    """Start a pgbouncer in front of the server, whose clients share few connections; ``folder`` is for its settings."""
    if not docker("image", "ls", "--quiet", POOLER_IMAGE):
        build = ["docker", "build", "--quiet", "--network=host", f"--tag={POOLER_IMAGE}", "-"]
        subprocess.run(build, input=POOLER, text=True, check=True, capture_output=True)
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{OWNER}" "{PASSWORD}"\n')
    (folder / "ini").write_text(
        f"[databases]\n{DATABASE} = host={server.address} port=5432 dbname={DATABASE}\n[pgbouncer]\n"
        "listen_addr = 0.0.0.0\nlisten_port = 6432\nauth_type = trust\nauth_file = /etc/pooler/users\n"
        f"admin_users = {OWNER}\npool_mode = transaction\nunix_socket_dir =\n"
    )
    docker("rm", "--force", name, check=False)
    docker(
        "run", "--detach", f"--name={name}", "--user=65534:65534", f"--volume={folder}:/etc/pooler:ro", POOLER_IMAGE,
        "pgbouncer", "/etc/pooler/ini",
    )  # fmt: skip
    return Server(name, name, port=6432).wait()


def console(pooler: Server, timeout: float = 2.0) -> dict[str, Any]:
    """Return the argument ``pooler`` of the module for :func:`start_pooler`'s administration console."""
    return {
        "host": pooler.address,
        "port": pooler.port,
        "user": OWNER,
        "password_file": None,
        "database": "",
        "timeout": timeout,
    }


class Writer(threading.Thread):
    """Writes rows as fast as one client does, and connects again after a failure. Remembers what was acknowledged."""

    def __init__(self, server: Server, pause: float = 0.002) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.failed = 0
        self.longest_gap = 0.0
        self._server, self._pause = server, pause
        self._over = threading.Event()

    def run(self) -> None:
        connection: Any = None
        number, last = 0, time.monotonic()
        while not self._over.wait(self._pause):
            token = f"w{number}"
            number += 1
            try:
                if connection is None:
                    connection = self._connected()
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO ledger (token) VALUES (%s)", (token,))
            except psycopg2.Error:
                self.failed += 1
                if connection is not None:
                    connection.close()
                connection = None
                continue
            self.acknowledged.append(token)
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now
        if connection is not None:
            connection.close()

    def _connected(self) -> Any:
        try:
            return self._server.connect()
        except psycopg2.OperationalError as error:
            # Whoever resolves a name finds a server that was started again under its new address.
            if "does not accept" not in str(error) and "not currently accepting" not in str(error):
                self._server = self._server.found()
            raise

    def __enter__(self) -> Writer:
        self.start()
        self.until(5)
        return self

    def until(self, more: int, seconds: float = 60) -> None:
        """Wait until ``more`` further rows were acknowledged."""
        wanted, end = len(self.acknowledged) + more, time.monotonic() + seconds
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < end, f"only {len(self.acknowledged)} writes were acknowledged"
            time.sleep(0.01)

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()


def parameters(server: Server, state_dir: str, **more: Any) -> dict[str, Any]:
    """Return a module's arguments as Ansible gives them, with defaults."""
    return {
        "application": "shop",
        "state_dir": state_dir,
        "project_name": server.project,
        "database": DATABASE,
        "database_service": "postgres",
        "database_user": OWNER,
        "database_host": "",
        "database_port": 5432,
        "database_password_file": None,
        "migration_tool": "none",
        "migration_table": "",
        "admin_user": "",
        "admin_password_file": None,
        "run": "",
        "id": "",
        "file": None,
        "name": "",
        "jobs": 2,
        "drill": False,
        "again": False,
        "pooler": None,
        "exact": [],
        "owner": "",
        "reason": "",
        **more,
    }
