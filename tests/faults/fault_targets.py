# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers on which faults are tried: a fresh state for each, what may be wrong in it, and a look with our own SQL."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _databases,
    _postgres,
    _schema,
    _store,
)
from ansible_collections.schedgen.rollback.plugins.modules import postgresql_restore
from fault_table import Fault, Seen
from support import interpreter, migrations, postgres

SEED = "seed"
# Marks are a database's comment: these words and JSON.
MARK = "schedgen.rollback"
ROOM = {"data": "700m", "state": "200m"}
TABLES = {"customers": "id", "sales.orders": "id", "measured": "at, value", '"odd "" name"': '"a column"', "bulk": "id"}
DAMAGE = (
    "DELETE FROM sales.orders WHERE id % 7 = 0; UPDATE customers SET name = 'damaged' WHERE id % 5 = 0;"
    " DELETE FROM measured WHERE value > 900; DELETE FROM bulk WHERE id < 100"
)
NOT_WHOLE = """
SELECT 'constraint ' || conname || ' is not validated' FROM pg_constraint WHERE NOT convalidated
UNION ALL SELECT 'index ' || indexrelid::regclass || ' is not valid' FROM pg_index WHERE NOT indisvalid
"""


class Target:
    """A server that starts again by itself, its disk and its state folder limited in size, and the live database."""

    application = ""
    live = ""
    module = ""
    # Targets of one place are used one after the other.
    place = "database"
    # Whether a copy with the same content may stand in for the live database after a failure.
    copies = False
    # How long an operation may take, whatever is done to it.
    patience = 150.0
    # Bytes that stay free on a full disk, so that the server itself lives.
    leaves = 0

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data, self.state_dir = home / "data", home / "state"
        self.number = 0
        self.before: Any = None
        self.oid = 0
        self.around = contextlib.ExitStack()
        self.fixed: Callable[[], None] = lambda: None
        self.next_arguments: dict[str, Any] = {}
        self.images: list[str] = []

    server: postgres.Server

    @property
    def state(self) -> Path:
        """The application's state folder."""
        return self.state_dir / self.application

    @property
    def store(self) -> _store.Store:
        return _store.Store(str(self.state_dir), self.application)

    def prepare(self) -> None:
        """Make the limited disks; a target starts its server on them and makes its seeds."""
        for name, size in ROOM.items():
            (self.home / name).mkdir(parents=True)
            options = f"size={size},mode=0711"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.home / name], check=True)

    def close(self) -> None:
        self.remove()
        for name in ROOM:
            subprocess.run(["umount", "--lazy", self.home / name], check=False)

    def remove(self) -> None:
        """Remove what the target has started."""

    def fresh(self, fault: Fault) -> dict[str, Any]:
        """Begin anew with the fault's trouble; return the operation's arguments."""
        raise NotImplementedError

    def begin_run(self) -> str:
        """Open a run as a playbook does, taking the lock over from whoever died with it."""
        self.number += 1
        run = f"run{self.number}"
        self.store.begin_run(run)
        self.store.acquire(run, "a fault test", "", takeover=True)
        return run

    def end_run(self, run: str) -> None:
        """End a run as the playbook does that lives."""
        self.store.journal(run, "run", "finished")

    def command(self, arguments: dict[str, Any], *, detached: bool) -> list[str]:
        """Return the operation's command line; ``detached`` under async, as the roles do: it belongs to the host."""
        local = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={interpreter.PYTHON}"]
        under_async = ["-B", "600", "-P", "1"] if detached else []
        wanted = ["-m", f"schedgen.rollback.{self.module}", "-a", json.dumps(arguments)]
        return ["ansible", "localhost", *local, *under_async, *wanted]

    def journal(self, run: str) -> list[dict[str, Any]]:
        """Read the first run's journal from its file."""
        try:
            lines = (self.state / "runs" / run / "journal.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def writer(self) -> Any:
        """Return the client that writes: its ``acknowledged`` writes, and ``until`` there are some more."""
        return postgres.Writer(self.server, pause=0.01)

    def lost(self, writer: Any) -> int:
        """Count acknowledged writes that are in no database."""
        return len(set(writer.acknowledged) - self.tokens())

    def fill_disk(self, name: str) -> None:
        """Take all the room there is but what the target leaves, and give it back when a person fixes things."""
        ballast = self.home / name / "ballast"
        self.fixed = lambda: ballast.unlink(missing_ok=True)
        status = os.statvfs(self.home / name)
        chunk, offset = status.f_bavail * status.f_frsize - self.leaves, 0
        with ballast.open("wb") as stream:
            # Others write meanwhile: what they take is not there for us.
            while chunk >= status.f_frsize:
                try:
                    os.posix_fallocate(stream.fileno(), offset, chunk)
                except OSError:
                    chunk //= 2
                else:
                    offset += chunk
                    chunk = 0 if self.leaves else chunk

    def no_more_writing(self) -> None:
        """Have the state folder read-only, as a kernel does after an error of the disk."""
        command = ["mount", "-o", "remount"]
        end = time.monotonic() + 20
        while subprocess.run([*command, "-o", "ro", self.state_dir], capture_output=True).returncode:
            # A file is open for writing just now.
            assert time.monotonic() < end
            time.sleep(0.01)
        self.fixed = lambda: ignore(subprocess.run([*command, "-o", "rw", self.state_dir], check=True))

    def fix(self) -> None:
        """Do what a person does about the trouble, once."""
        fixed, self.fixed = self.fixed, lambda: None
        fixed()

    def finish(self) -> None:
        """Give back what a fault took, whatever came of it."""
        with contextlib.suppress(psycopg2.Error, AssertionError):
            self.fix()
        self.around.close()
        with contextlib.suppress(psycopg2.Error):
            self.server = self.server.wait(database="postgres")
            self.settle()

    def settle(self) -> None:
        """Let a server commit that waits for a stand-by, and accept a target that was left over."""
        self.server.sql("ALTER SYSTEM RESET synchronous_standby_names", "postgres")
        self.server.sql("SELECT pg_reload_conf()", "postgres")

    # -- looking -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[Any]:
        """Yield a cursor in a database, which is opened for it where it is closed."""
        [(was_open,)] = self.server.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'", "postgres")
        if not was_open:
            self.server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', "postgres")
        try:
            connection = self.server.connect(name)
        finally:
            if not was_open:
                self.server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', "postgres")
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def content(self, name: str) -> Any:
        """What a database holds, as this target compares it; the ledger's own rows left out."""
        raise NotImplementedError

    def expected(self) -> tuple[Any, ...]:
        """The contents that the live database may have."""
        raise NotImplementedError

    def asked(self, fault: Fault) -> bool:
        """Whether what the operation is for is there."""
        raise NotImplementedError

    def others(self) -> list[tuple[str, bool, str]]:
        """Databases beside the live one: name, whether they let anybody in, comment."""
        return [
            (name, is_open, comment or "")
            for name, is_open, comment in self.server.sql(
                "SELECT datname, datallowconn, shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE NOT datistemplate ORDER BY 1",
                "postgres",
            )
            if name not in ("postgres", self.live) and not name.startswith(SEED)
        ]

    def tokens(self) -> set[str]:
        """Every row of the ledger, in whichever database it is kept."""
        found: set[str] = set()
        for name in (self.live, *(entry[0] for entry in self.others())):
            with contextlib.suppress(psycopg2.errors.UndefinedTable), self.inside(name) as cursor:
                cursor.execute("SELECT token FROM ledger")
                found |= {row[0] for row in cursor.fetchall()}
        return found

    def look(self, fault: Fault, rc: int | None, message: str) -> Seen:
        """Look at everything with SQL and files alone."""
        self.server = self.server.wait(database="postgres")
        found = self.server.sql(
            f"SELECT oid::bigint, datallowconn FROM pg_database WHERE datname = '{self.live}'", "postgres"
        )
        if not found:
            return Seen(rc, message, False, False, False, ("there is no live database",), tuple(self.left()))
        [(oid, is_open)] = found
        content = self.content(self.live)
        broken = [] if content in self.expected() else ["the live database is neither the old nor the new one"]
        with self.inside(self.live) as cursor:
            cursor.execute(NOT_WHOLE)
            broken += [row[0] for row in cursor.fetchall()]
        broken += self.broken(message)
        unchanged = content == self.before and (oid == self.oid or self.copies)
        return Seen(rc, message, self.asked(fault), unchanged, is_open, tuple(broken), tuple(self.left()))

    def broken(self, message: str) -> list[str]:
        """What else is not as it has to be."""
        del message
        return []

    def left(self) -> list[str]:
        """What a killed run would leave behind, in words."""
        left = []
        for name, is_open, comment in self.others():
            told = json.loads(comment[comment.index("{") :]) if comment.startswith(MARK) else {}
            if not comment.startswith(MARK):
                left.append(f"database {name} without a mark")
            if is_open:
                left.append(f"database {name} open to everybody")
            if told.get("kind") in ("side", "ready") and not told.get("verified"):
                left.append(f"database {name} half restored")
            if told.get("note") == "reverting":
                left.append(f"database {name} of a revert that has no end")
        label = f"--filter=label=schedgen.rollback.application={self.application}"
        left += [f"container {name}" for name in postgres.docker("ps", "-a", "--format={{.Names}}", label).split()]
        left += [f"network {name}" for name in postgres.docker("network", "ls", "--format={{.Name}}", label).split()]
        left += [f"file {path}" for path in self.state_dir.rglob(".incomplete-*")]
        roles = self.server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'schedgen\\_rollback%'", "postgres")
        left += [f"role {name}" for (name,) in roles]
        sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'schedgen.rollback'"
        left += [f"session {pid}" for (pid,) in self.server.sql(sessions, "postgres")]
        return left

    # -- beginning ---------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove every database but the seeds, and what would be in the way of that."""
        self.server = self.server.wait(database="postgres")
        for gid, name in self.server.sql("SELECT gid, database FROM pg_prepared_xacts", "postgres"):
            with self.inside(name) as cursor:
                cursor.execute(f"ROLLBACK PREPARED '{gid}'")
        for (slot,) in self.server.sql("SELECT slot_name FROM pg_replication_slots", "postgres"):
            self.server.sql(f"SELECT pg_drop_replication_slot('{slot}')", "postgres")
        for name in (self.live, *(entry[0] for entry in self.others())):
            self.server.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', "postgres")

    def remember(self) -> None:
        """Keep what the live database is before the fault."""
        self.before = self.content(self.live)
        self.oid = self.server.sql(f"SELECT oid::bigint FROM pg_database WHERE datname = '{self.live}'", "postgres")[0][
            0
        ]

    def reconnecting_clients(self) -> None:
        """Have clients that come in, go, and come again until the fault is over."""
        over = threading.Event()
        server = self.server

        def nag() -> None:
            while not over.wait(0.002):
                with contextlib.suppress(psycopg2.Error):
                    server.sql("SELECT pg_sleep(0.02)")

        clients = [threading.Thread(target=nag, daemon=True) for _number in range(3)]
        for client in clients:
            client.start()

        def end() -> None:
            over.set()
            for client in clients:
                client.join()

        self.around.callback(end)


class Shop(Target):
    """A database with a bit of everything: restore points, restores beside, swaps."""

    # A name of its own: one-off containers of an application of another test run are none of ours.
    application = f"faultshop{os.getpid()}"
    live = "shop"

    def prepare(self) -> None:
        super().prepare()
        (self.home / "project").mkdir()
        (self.home / "project" / "compose.yaml").write_text(f"services:\n  postgres:\n    image: {postgres.IMAGE}\n")
        self.server = postgres.start(
            f"rollback-faults-{os.getpid()}", "--restart=always", f"--volume={self.data}:/var/lib/postgresql/data"
        )
        postgres.fill(self.server)
        self.server.sql(
            "CREATE TABLE bulk (id serial PRIMARY KEY, text text);"
            "INSERT INTO bulk (text) SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 20000) i,"
            " generate_series(1, 30) GROUP BY i"
        )
        self.old = self.new = self.wanted = self.content("shop")
        self.points = [self.point(), self.point()]
        self.plain = gzip.compress(
            subprocess.run(
                ["docker", "exec", self.server.name, "pg_dump", "-U", "shop", "shop"], capture_output=True, check=True
            ).stdout
        )
        self.server.sql(DAMAGE)
        self.old = self.content("shop")
        self.server.sql(f"CREATE DATABASE {SEED} TEMPLATE shop", "postgres")
        self.server.sql("CREATE TABLE probe (n int)", "postgres")
        self.kept = self.home / "kept"
        shutil.copytree(self.state, self.kept)
        self.taken: set[str] = set()

    def remove(self) -> None:
        postgres.docker("rm", "--force", "--volumes", f"rollback-faults-{os.getpid()}", check=False)

    def parameters(self, **more: Any) -> dict[str, Any]:
        return postgres.parameters(self.server, str(self.state_dir), application=self.application, **more)

    def point(self) -> str:
        """Take a restore point of the database alone, without the module."""
        parameters = self.parameters()
        database = _databases.database_of(self.store, _postgres.client_of(parameters), parameters)
        return postgres.take_point(self.store, database.login)

    def fresh(self, fault: Fault) -> dict[str, Any]:
        """Begin anew with a damaged live database and two restore points of it; return the operation's arguments."""
        self.clear()
        self.server.sql(f"CREATE DATABASE shop TEMPLATE {SEED}", "postgres")
        for statement in postgres.PROPERTIES.strip().splitlines():
            self.server.sql(statement, "postgres")
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.kept, self.state)
        arguments: dict[str, Any] = {
            "application": self.application,
            "state_dir": str(self.state_dir),
            "project_name": self.server.project,
            "database": "shop",
            "database_user": "shop",
        }
        self.module = "postgresql_restore"
        self.next_arguments, self.wanted = {}, self.new
        if fault.operation == "dump":
            self.module = "restore_point"
            arguments.update(project_src=str(self.home / "project"), code_services=["postgres"])
            if "copy" in fault.moment:
                arguments["database_ready"] = "restored"
        elif fault.operation == "restore":
            arguments.update(state="prepared", id=self.points[1])
        elif fault.operation == "swap":
            postgresql_restore.carry_out(self.parameters(state="prepared", id=self.points[1]), pretend=False)
            arguments.update(state="swapped", id=self.points[1])
        elif fault.operation == "undo":
            postgresql_restore.carry_out(self.parameters(state="swapped", id=self.points[1]), pretend=False)
            arguments.update(state="undone")
        self.taken = {path.name for path in self.whole_points()}
        self.remember()
        self.troubled(fault.trouble, arguments)
        return arguments

    def troubled(self, trouble: str, arguments: dict[str, Any]) -> None:
        """Bring the trouble about, and say how it is fixed."""
        server = self.server
        dump = self.state / "restore_points" / self.points[1] / "database" / "dump"
        if trouble in ("truncated", "flipped", "empty"):
            path = max(dump.glob("*.dat*"), key=lambda found: found.stat().st_size)
            path.write_bytes(damaged(path.read_bytes(), trouble))
            # What the message says to do next: another restore point.
            self.next_arguments = {"id": self.points[0]}
        elif trouble.startswith("plain "):
            bad, good = self.state_dir / "db_shop_bad.sql.gz", self.state_dir / "db_shop_good.sql.gz"
            bad.write_bytes(damaged(self.plain, trouble.partition(" ")[2]))
            good.write_bytes(self.plain)
            del arguments["id"]
            arguments["file"] = str(bad)
            self.next_arguments = {"file": str(good)}
        elif trouble == "role missing":
            server.sql("CREATE ROLE auditor; GRANT SELECT ON customers TO auditor")
            arguments["id"], self.wanted = self.point(), self.old
            server.sql("DROP OWNED BY auditor; DROP ROLE auditor")
            self.fixed = lambda: ignore(self.server.sql("CREATE ROLE auditor", "postgres"))
            self.around.callback(lambda: self.finish_role("auditor"))
        elif trouble == "extension missing":
            server.sql("CREATE EXTENSION citext")
            arguments["id"], self.wanted = self.point(), self.old
            server.sql("DROP EXTENSION citext")
            find = "cd /usr/share/postgresql/*/extension && mv citext.control"
            in_container(server, f"{find} /tmp/")
            back = "cd /usr/share/postgresql/*/extension && mv /tmp/citext.control ."
            self.fixed = lambda: ignore(in_container(self.server, back))
        elif trouble == "table locked":
            connection = server.connect()
            connection.autocommit = False
            connection.cursor().execute("LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE")
            self.fixed = lambda: ignore(connection.close())
        elif trouble == "disk is full":
            self.fill_disk("data")
        elif trouble == "clients reconnect":
            self.reconnecting_clients()
        elif trouble == "session stopped":
            connection = server.connect()
            pid = connection.info.backend_pid
            in_container(server, f"kill -STOP {pid}")

            def go_on() -> None:
                in_container(self.server, f"kill -CONT {pid} || true")
                connection.close()

            self.fixed = go_on
        elif trouble == "prepared":
            connection = server.connect()
            connection.cursor().execute("BEGIN; INSERT INTO ledger (token) VALUES ('p'); PREPARE TRANSACTION 'stuck'")
            connection.close()
            self.fixed = lambda: ignore(self.server.sql("ROLLBACK PREPARED 'stuck'"))
        elif trouble == "slot":
            server.sql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
            self.fixed = lambda: ignore(self.server.sql("SELECT pg_drop_replication_slot('feed')"))

    def finish_role(self, role: str) -> None:
        """Remove a role, with every database that knows it."""
        self.clear()
        self.server.sql(f"DROP ROLE IF EXISTS {role}", "postgres")

    def content(self, name: str) -> Any:
        found = []
        with self.inside(name) as cursor:
            for table, key in TABLES.items():
                try:
                    cursor.execute(f"SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY {key})) FROM {table} t")
                except psycopg2.errors.UndefinedTable:
                    found.append((table, "is missing"))
                else:
                    found.append((table, *cursor.fetchone()))
            cursor.execute("SELECT count(*) FROM ledger WHERE token LIKE 'seed-%'")
            found.append(("seeds", *cursor.fetchone()))
            cursor.execute(
                "SELECT count(*) FROM sales.orders o WHERE NOT EXISTS (SELECT FROM customers c WHERE c.id = o.customer)"
            )
            found.append(("orphans", *cursor.fetchone()))
            cursor.execute("SELECT (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_index)")
            found.append(("constraints and indexes", *cursor.fetchone()))
        return found

    def expected(self) -> tuple[Any, ...]:
        return self.old, self.new

    def asked(self, fault: Fault) -> bool:
        if fault.operation == "dump":
            points = [path for path in self.whole_points() if path.name not in self.taken]
            ready = [
                entry for entry in self.others() if '"kind": "ready"' in entry[2] and '"verified": true' in entry[2]
            ]
            return bool(points) and self.restorable(points[-1]) and (bool(ready) or "copy" not in fault.moment)
        if fault.operation == "restore":
            return any(
                not is_open and '"verified": true' in comment and self.content(name) == self.wanted
                for name, is_open, comment in self.others()
            )
        return bool(self.content("shop") == (self.old if fault.operation == "undo" else self.new))

    def whole_points(self) -> list[Path]:
        """Restore points that have their name and every file as their manifest says."""
        found = []
        for path in sorted((self.state / "restore_points").glob("[0-9]*")):
            recorded = json.loads((path / "manifest.json").read_text())["checksums"]
            files = {name: path / name for name in recorded}
            if files and all(
                file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == recorded[name]["sha256"]
                for name, file in files.items()
            ):
                found.append(path)
        return found

    def restorable(self, path: Path) -> bool:
        """Whether pg_restore alone makes the live database out of a restore point's dump."""
        name = f"{SEED}_check"
        self.server.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "postgres")
        self.server.sql(f"CREATE DATABASE {name} TEMPLATE template0", "postgres")
        in_container(self.server, "rm -rf /tmp/check")
        postgres.docker("cp", str(path / "database" / "dump"), f"{self.server.name}:/tmp/check")
        in_container(self.server, f"pg_restore -U shop -h /var/run/postgresql -e -j 2 -d {name} /tmp/check")
        same = bool(self.content(name) == self.old)
        self.server.sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")
        return same


def damaged(content: bytes, how: str) -> bytes:
    """Cut a file off, flip one bit of it, or empty it."""
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    return {"truncated": content[: -(len(content) // 9)], "flipped": flipped, "empty": b""}[how]


def ignore(_result: object) -> None:
    """Take a result and do nothing with it."""


def in_container(server: postgres.Server, command: str) -> str:
    """Run a shell command in the server's container."""
    return postgres.docker("exec", "--user=0", server.name, "sh", "-c", command)


# -- migrations ----------------------------------------------------------------------------------------------------

# Two migrations to take back, the newer first: that one takes its time, and hangs where a row says so.
MIGRATIONS = {
    "migrations/1769000000001-first.js": """
export class First1769000000001 {
  async up(runner) { await runner.query('ALTER TABLE jobs ADD COLUMN first text'); }
  async down(runner) { await runner.query('ALTER TABLE jobs DROP COLUMN first'); }
}
""",
    "migrations/1769000000002-second.js": """
export class Second1769000000002 {
  async up(runner) { await runner.query('ALTER TABLE jobs ADD COLUMN second text'); }
  async down(runner) {
    const [row] = await runner.query("SELECT count(*)::int AS n FROM jobs WHERE key = 'hang'");
    if (row.n > 0) await new Promise((done) => setTimeout(done, 600000));
    await runner.query('SELECT pg_sleep(1)');
    await runner.query('ALTER TABLE jobs DROP COLUMN second');
  }
}
""",
}
CREATED = ["CreateJobs1760000000001", "CreateJobEvents1760000000002", "DropJobsDraft1760000000003"]
ADDED = {"First1769000000001": "first", "Second1769000000002": "second"}
# Two runs of these tests on one machine do not take each other's images away.
IMAGE = f"rollback-faults-backend-{os.getpid()}"


class Migrations(Target):
    """A release that migrated twice and crashes since."""

    place = "migrations"
    live = "schedgen"
    module = "migration_revert"
    copies = True
    leaves = 4 << 20

    def prepare(self) -> None:
        super().prepare()
        self.images += [
            migrations.typeorm_image(f"{IMAGE}:old", migrations.V1),
            migrations.typeorm_image(f"{IMAGE}:new", migrations.V1, MIGRATIONS),
        ]
        self.project = migrations.MigrationProject(
            self.state_dir, "--restart=always", f"--volume={self.data}:/var/lib/postgresql/data"
        )
        self.application = self.project.name
        self.server = postgres.Server(
            f"{self.project.name}-postgres-1",
            self.project.name,
            database="schedgen",
            user="schedgen",
            password=migrations.PASSWORD,
        ).wait()
        # Nobody makes a copy where the room for the log is not there as well, and this disk is small.
        self.server.sql("ALTER SYSTEM SET max_wal_size = '64MB'", "postgres")
        self.server.sql("SELECT pg_reload_conf()", "postgres")
        self.server.sql("CREATE TABLE probe (n int)", "postgres")
        migrations.begin_again(self.project, self.images[0])
        self.server.sql("CREATE TABLE ledger (id bigserial PRIMARY KEY, token text UNIQUE NOT NULL)")
        catalog, _facts = _schema.catalogue(self.project.login)
        history = _schema.history(self.project.login, _schema.Settings("typeorm"))
        assert history == CREATED, history
        self.recorded = self.project.record(history, catalog)
        migrations.migrate(self.project, self.images[1])
        self.server.sql("UPDATE jobs SET first = 'one', second = 'two'")
        self.server.sql(f"CREATE DATABASE {SEED} TEMPLATE schedgen", "postgres")
        self.kept = self.home / "kept"
        shutil.copytree(self.state, self.kept)

    def remove(self) -> None:
        if hasattr(self, "project"):
            self.project.close()
        for image in self.images:
            postgres.docker("image", "rm", "--force", image, check=False)

    def fresh(self, fault: Fault) -> dict[str, Any]:
        """Begin anew with both migrations applied and a service that crashes; return the operation's arguments."""
        self.clear()
        self.server.sql(f"CREATE DATABASE schedgen TEMPLATE {SEED}", "postgres")
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.kept, self.state)
        self.project.start(
            "backend", self.images[1], "node", "-e", "setTimeout(() => process.exit(1), 500)",
            environment=migrations.TYPEORM_ENVIRONMENT, wait=False,
        )  # fmt: skip
        arguments = self.project.arguments(to=self.recorded, rehearse="rehears" in fault.moment, lock_timeout=1)
        self.next_arguments = {}
        self.remember()
        if fault.trouble == "clients reconnect":
            self.reconnecting_clients()
        elif fault.trouble.startswith("tool hangs"):
            self.server.sql("INSERT INTO jobs (key, title, customer, amount) VALUES ('hang', 'A', 'Ada <a@b.org>', 5)")
            arguments["step_timeout"] = 8
            self.fixed = lambda: ignore(self.server.sql("DELETE FROM jobs WHERE key = 'hang'"))
            self.next_arguments = {"step_timeout": 120}
        elif fault.trouble == "long transaction":
            self.long_transaction()
        return arguments

    def long_transaction(self) -> None:
        """Have a report read the jobs in one long transaction, begun when the copy stands aside."""
        over = threading.Event()
        server, journal = self.server, self.state / "runs"

        def read() -> None:
            while not over.wait(0.05):
                newest = sorted(journal.glob("*/journal.jsonl"))
                if not newest or '"step": "revert", "status": "begun"' not in newest[-1].read_text():
                    continue
                with contextlib.suppress(psycopg2.Error):
                    connection = server.connect()
                    connection.autocommit = False
                    connection.cursor().execute("SELECT count(*) FROM jobs")
                    over.wait(600)
                    connection.close()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def end() -> None:
            over.set()
            reader.join()

        self.fixed = end

    def content(self, name: str) -> Any:
        with self.inside(name) as cursor:
            cursor.execute("SELECT name FROM migrations ORDER BY id")
            history = [row[0] for row in cursor.fetchall()]
            cursor.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped"
            )
            columns = {row[0] for row in cursor.fetchall()}
            cursor.execute("SELECT key, title, customer, amount::text FROM jobs WHERE key <> 'hang' ORDER BY key")
            rows = cursor.fetchall()
            cursor.execute("SELECT count(*) FROM pg_constraint")
            [constraints] = cursor.fetchone()
        return history, sorted(columns & set(ADDED.values())), rows, constraints

    def expected(self) -> tuple[Any, ...]:
        _history, _columns, rows, constraints = self.before
        # After each step, history and schema belong together.
        added = list(ADDED)
        return tuple(
            ([*CREATED, *added[:count]], sorted(ADDED[name] for name in added[:count]), rows, constraints)
            for count in range(len(added) + 1)
        )

    def asked(self, fault: Fault) -> bool:
        del fault
        return bool(self.content("schedgen") == self.expected()[0])

    def broken(self, message: str) -> list[str]:
        if "services were started again" not in message and "so are the services" not in message:
            return []
        state = postgres.docker("inspect", "--format={{.State.Status}}", f"{self.project.name}-backend-1")
        return [] if state in ("running", "restarting") else [f"the services are said to run, and are {state}"]
