# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore beside, swap and swap back, on a real server with a client that writes all the time."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _dump,
    _pgtools,
    _ready,
    _restore,
    _restore_plan,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import DatabaseError
from support import application, interpreter, postgres
from support.postgres_restore import LIVE_PROPERTIES, RestoreSetup, fingerprint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    started = postgres.start(f"rollback-restore-{os.getpid()}")
    yield started
    postgres.docker("rm", "--force", "--volumes", started.name)


@pytest.fixture
def setup(server: postgres.Server, tmp_path: Path) -> RestoreSetup:
    here = server.wait()
    postgres.fill(here)
    return RestoreSetup(here, str(tmp_path / "state"))


# --- the dump


def test_a_dump_holds_what_a_dump_of_the_database_does_not(setup: RestoreSetup) -> None:
    point = setup.store.point(setup.point())
    assert point.manifest is not None
    recorded = point.manifest.database
    assert recorded is not None
    assert recorded["rows"] == {
        "public.customers": 2000,
        "public.ledger": 50,
        "public.measured_1": 542,
        "public.measured_2": 458,
        'public.odd " name': 2,
        "sales.orders": 6000,
    }
    assert set(recorded["hashes"]) == set(recorded["rows"])
    assert recorded["roles"] == ["reader", "shop", "web"]
    assert recorded["large_objects"]["count"] == 1
    assert [entry["name"] for entry in recorded["extensions"]] == ["pg_trgm", "plpgsql"]
    assert recorded["properties"]["comment"] == "the shop's own words \\ here"
    globals_text = (Path(point.path) / recorded["globals"]["path"]).read_text()
    assert "CREATE ROLE web" in globals_text
    assert "SCRAM-SHA-256" in globals_text
    kept = {name.split("/")[1] for name in point.manifest.checksums}
    assert kept == {"catalog.json", "dump", "schema.sql", "globals.sql"}
    assert oct((Path(point.path) / recorded["globals"]["path"]).stat().st_mode)[-3:] == "600"


def test_a_role_without_rights_dumps_globals_without_passwords(setup: RestoreSetup) -> None:
    setup.server.sql("DROP ROLE IF EXISTS plain", "postgres")
    setup.server.sql("CREATE ROLE plain LOGIN PASSWORD 'plain'", "postgres")
    setup.server.sql("CREATE DATABASE plain_data OWNER plain", "postgres")
    folder = Path(setup.state) / "plain"
    folder.mkdir(parents=True)
    login = setup.database.login
    other = type(login)(login.host, login.port, "plain_data", "plain", "plain", login.container)
    recorded = _dump.dump(setup.store, str(folder), other)
    assert recorded["globals"]["passwords"] is False
    text = (folder / recorded["globals"]["path"]).read_text()
    assert "CREATE ROLE web" in text
    assert "SCRAM" not in text
    setup.server.sql("DROP DATABASE plain_data", "postgres")
    setup.server.sql("DROP ROLE plain", "postgres")


def test_counts_and_dump_are_of_one_snapshot_while_rows_are_written(setup: RestoreSetup) -> None:
    with postgres.Writer(setup.server):
        point = setup.point()
    done = setup.restore("prepared", id=point)
    assert done["changed"]


def test_a_table_that_stays_locked_ends_a_backup_in_time(setup: RestoreSetup) -> None:
    holder = setup.server.connect()
    holder.autocommit = False
    try:
        holder.cursor().execute("LOCK TABLE ledger")
        # Without a limit it would wait for the end of this test.
        with pytest.raises((_dump.DumpError, _pgtools.ToolError), match="lock"):
            setup.point(lock_timeout=1)
    finally:
        holder.close()
    assert setup.store.points() == []


def test_a_dump_that_is_killed_is_no_restore_point(setup: RestoreSetup) -> None:
    container = setup.database.login.container
    assert container is not None
    helper = f"schedgen-rollback-dump-{container.id[:12]}"
    holder = setup.server.connect()
    holder.autocommit = False
    with ThreadPoolExecutor(1) as pool:
        try:
            holder.cursor().execute("LOCK TABLE ledger")
            taken = pool.submit(setup.point, lock_timeout=60)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
            end = time.monotonic() + 30
            while setup.server.sql(waits, "postgres") == [(0,)]:
                assert time.monotonic() < end
                assert not taken.done(), taken.exception()
            for line in postgres.docker("top", helper, "-eo", "pid,args").splitlines():
                pid, _, words = line.strip().partition(" ")
                if words.strip().startswith("pg_dump --format=directory"):
                    os.kill(int(pid), signal.SIGKILL)
        finally:
            holder.close()
        with pytest.raises(_pgtools.ToolError, match="pg_dump of shop failed"):
            taken.result(60)
    assert setup.store.points() == []


def test_the_content_of_a_json_column_counts(setup: RestoreSetup) -> None:
    def hashes() -> dict[str, str]:
        manifest = setup.store.point(setup.point()).manifest
        assert manifest is not None
        assert manifest.database is not None
        return dict(manifest.database["hashes"])

    before = hashes()
    setup.server.sql("""UPDATE customers SET raw = '{"b": 1,  "a":2}' WHERE id = 7""")
    after = hashes()
    assert [table for table in before if before[table] != after[table]] == ["public.customers"]


# --- restore beside


def test_a_copy_is_restored_beside_compared_analysed_and_fenced(setup: RestoreSetup) -> None:
    point = setup.point()
    before = fingerprint(setup)
    done = setup.restore("prepared", id=point)
    name = done["database"]
    assert done["changed"]
    assert setup.server.databases() == {"postgres", "shop", name}
    [(is_open,)] = setup.server.sql(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'", "postgres")
    assert not is_open
    assert fingerprint(setup)[:3] == before[:3]
    assert [event["event"] for event in setup.store.point(point).events] == ["proven"]
    again = setup.restore("prepared", id=point)
    assert (again["changed"], again["database"]) == (False, name)
    setup.server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', "postgres")
    for table in ("customers", "sales.orders", "measured", "turnover"):
        query = f"SELECT count(*) FROM pg_statistic WHERE starelid = '{table}'::regclass"
        assert setup.server.sql(query, name)[0][0] > 0, f"{table} has no statistics"
    assert setup.restore("absent", id=point)["changed"]
    assert setup.server.databases() == {"postgres", "shop"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing"])
def test_a_damaged_dump_is_refused_before_anything_is_made(setup: RestoreSetup, damage: str) -> None:
    point = setup.point()
    files = sorted(
        (Path(setup.store.point_path(point)) / "database" / "dump").glob("*.zst"), key=lambda f: f.stat().st_size
    )
    content = files[-1].read_bytes()
    if damage == "missing":
        files[-1].unlink()
    else:
        flipped = content[:-9] + bytes([content[-9] ^ 4]) + content[-8:]
        files[-1].write_bytes({"truncated": content[:-7], "flipped": flipped, "empty": b""}[damage])
    before = fingerprint(setup)
    with pytest.raises(RestoreError, match="damaged"):
        setup.restore("swapped", id=point)
    assert fingerprint(setup) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["rows"].update({"sales.orders": 6001}), "sales.orders has 6000 rows, 6001 were recorded"),
        (lambda d: d["hashes"].update({"sales.orders": "1"}), "the content of sales.orders is not what was recorded"),
        (lambda d: d.update(schema="x"), "the schema is not what was recorded"),
        (lambda d: d["large_objects"].update(count=2), "there are 1 large objects, 2 were recorded"),
    ],
)
def test_a_copy_that_is_not_what_was_recorded_is_dropped(setup: RestoreSetup, change: Any, words: str) -> None:
    point = setup.point()
    setup.edit(point, change)
    before = fingerprint(setup)
    with pytest.raises(RestoreError, match=words):
        setup.restore("prepared", id=point)
    assert fingerprint(setup) == before


def test_missing_roles_and_extensions_and_an_older_server_are_refused(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("DROP OWNED BY reader; DROP ROLE reader")
    setup.edit(point, lambda d: d["extensions"].append({"name": "postgis", "version": "3", "schema": "public"}))
    setup.edit(point, lambda d: d.update(server_version=180001))
    with pytest.raises(RestoreError) as refused:
        setup.restore("prepared", id=point)
    told = str(refused.value)
    assert "roles that the dump needs are missing on the server: reader" in told
    assert "not available on the server: postgis" in told
    assert "the dump is of PostgreSQL 18 and the server is 17" in told


def test_what_lies_in_tablespaces_comes_back_to_them_or_is_refused(setup: RestoreSetup) -> None:
    for name in ("fast", "slow"):
        place = f"/var/lib/postgresql/{name}"
        postgres.docker("exec", "--user=0", setup.server.name, "sh", "-c", f"rm -rf {place}; mkdir {place}")
        postgres.docker("exec", "--user=0", setup.server.name, "chown", "postgres:", place)
        setup.server.sql(f"DROP TABLESPACE IF EXISTS {name}", "postgres")
        setup.server.sql(f"CREATE TABLESPACE {name} LOCATION '{place}'", "postgres")
    places = """
    SELECT 'database', spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace
      WHERE datname = current_database()
    UNION ALL SELECT c.relname, spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
      WHERE NOT relisshared AND relkind IN ('r', 'i') AND relname NOT LIKE 'pg_toast%' ORDER BY 1
    """
    try:
        setup.server.sql("ALTER DATABASE shop SET TABLESPACE fast", "postgres")
        setup.server.sql("ALTER TABLE ledger SET TABLESPACE slow; ALTER INDEX customers_lower SET TABLESPACE slow")
        before = setup.server.sql(places)
        assert len(before) == 3
        point, _name, notes = setup.ready("template")
        assert notes == []
        assert setup.restore("swapped", id=point)["ready"]
        assert setup.server.sql(places) == before
        point = setup.point()
        done = setup.restore("swapped", id=point)
        assert "of the tablespaces fast, slow is not measured" in " ".join(done["notes"])
        assert setup.server.sql(places) == before
        setup.edit(point, lambda d: d["tablespaces"].append("gone"))
        kept = fingerprint(setup)
        with pytest.raises(RestoreError, match="tablespaces that the dump needs are missing on the server: gone"):
            setup.restore("prepared", id=point)
        assert fingerprint(setup) == kept
    finally:
        for name in setup.server.databases() - {"postgres"}:
            setup.server.sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")
        setup.server.sql("DROP TABLESPACE fast", "postgres")
        setup.server.sql("DROP TABLESPACE slow", "postgres")
        setup.server.sql("CREATE DATABASE shop", "postgres")


def test_what_is_newer_than_the_restore_point_is_set_aside_and_not_mixed_in(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("CREATE TABLE newer (id int REFERENCES customers); INSERT INTO newer VALUES (1)")
    setup.server.sql("DELETE FROM sales.orders WHERE id > 10")
    aside = setup.restore("swapped", id=point)["set_aside"]
    assert setup.server.sql("SELECT to_regclass('newer'), (SELECT count(*) FROM sales.orders)") == [(None, 6000)]
    setup.server.sql("INSERT INTO customers (name) VALUES ('one more')")
    exact = setup.info(exact=[aside])["databases"][0]["rows_only_here"]
    assert exact == {"public.newer": {"rows": 1, "table_in_live": False}}


def test_what_relies_on_a_search_path_that_a_restore_empties_is_an_error(setup: RestoreSetup) -> None:
    setup.server.sql("CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2'")
    setup.server.sql(
        "CREATE FUNCTION outer_twice(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN twice(n); END'"
    )
    setup.server.sql("ALTER TABLE customers ADD CHECK (outer_twice(id) > 0)")
    point = setup.point()
    before = fingerprint(setup)
    with pytest.raises(_pgtools.ToolError, match="twice"):
        setup.restore("swapped", id=point)
    assert fingerprint(setup) == before


def test_an_event_trigger_that_forbids_ddl_is_no_hindrance(setup: RestoreSetup) -> None:
    setup.server.sql("CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
    setup.server.sql("CREATE EVENT TRIGGER forbidden ON ddl_command_start EXECUTE FUNCTION forbid()")
    setup.server.sql("COMMENT ON EVENT TRIGGER forbidden IS 'ask first'")
    # One statement after the other, the trigger comes before the materialized view's REFRESH.
    assert setup.restore("swapped", id=setup.point(), jobs=1)["set_aside"]
    kept = "SELECT evtname, evtenabled, obj_description(oid, 'pg_event_trigger') FROM pg_event_trigger"
    assert setup.server.sql(kept) == [("forbidden", "O", "ask first")]
    assert setup.server.sql("SELECT count(*) > 0 FROM turnover") == [(True,)]


def test_names_in_another_encoding_come_back(setup: RestoreSetup) -> None:
    setup.server.sql("DROP DATABASE shop WITH (FORCE)", "postgres")
    setup.server.sql("CREATE DATABASE shop OWNER shop ENCODING LATIN1 LOCALE 'C' TEMPLATE template0", "postgres")
    setup.server.sql('CREATE TABLE "größe" (id int); INSERT INTO "größe" VALUES (1)')
    assert setup.restore("swapped", id=setup.point())["set_aside"]
    assert setup.server.sql('SELECT id FROM "größe"') == [(1,)]


def test_check_mode_looks_and_changes_nothing(setup: RestoreSetup) -> None:
    point = setup.point()
    before = fingerprint(setup)
    for state in ("prepared", "swapped"):
        done = setup.restore(state, id=point, pretend=True)
        assert done["changed"]
        assert "needed beside the live database" in " ".join(done["notes"])
    assert fingerprint(setup) == before


# --- swap


def test_a_swap_under_writes_loses_nothing_and_can_be_undone_twice(setup: RestoreSetup) -> None:
    point = setup.point()
    properties = setup.server.sql(LIVE_PROPERTIES, "postgres")
    setup.restore("prepared", id=point)
    with postgres.Writer(setup.server) as writer:
        swapped = setup.restore("swapped", id=point)
        writer.until(20)
        assert setup.server.sql(LIVE_PROPERTIES, "postgres") == properties
        aside = swapped["set_aside"]
        assert setup.restore("swapped", id=point)["changed"] is False
        undone = setup.restore("undone")
        writer.until(20)
        assert setup.server.sql(LIVE_PROPERTIES, "postgres") == properties
        redone = setup.restore("undone")
        writer.until(20)
    assert setup.server.sql(LIVE_PROPERTIES, "postgres") == properties
    [entry] = setup.info()["databases"]
    assert (entry["kind"], entry["name"]) == ("set aside", redone["set_aside"])
    assert aside not in setup.server.databases()
    assert undone["set_aside"] not in setup.server.databases()
    held = setup.tokens() | setup.tokens(entry["name"])
    assert set(writer.acknowledged) - held == set()
    assert setup.info()["live"]["restored_from"] == point
    exact = setup.info(exact=[entry["name"]])["databases"][0]["rows_only_here"]
    assert exact == {
        "public.ledger": {"rows": len(setup.tokens(entry["name"]) - setup.tokens()), "table_in_live": True}
    }


def test_an_undo_is_done_once_in_a_run(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.store.begin_run("r1")
    setup.store.acquire("r1", "me", "")
    setup.restore("swapped", id=point, run="r1")
    assert setup.restore("undone", run="r1")["changed"]
    assert setup.restore("undone", run="r1")["changed"] is False
    setup.store.release("r1")
    steps = [entry["step"] for entry in setup.store.read_journal("r1")]
    assert steps.count("database swap") == 2


def test_a_role_that_is_no_superuser_needs_three_rights_and_no_more(setup: RestoreSetup, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("plain")
    names = {"database": "plain_data", "database_user": "plain", "database_password_file": str(secret)}
    plain = RestoreSetup(setup.server, setup.state, names)
    setup.server.sql("DROP ROLE IF EXISTS plain", "postgres")
    setup.server.sql("CREATE ROLE plain LOGIN PASSWORD 'plain'", "postgres")
    setup.server.sql("CREATE DATABASE plain_data OWNER plain", "postgres")
    owner = setup.server.connect("plain_data", "plain", "plain")
    try:
        owner.cursor().execute("CREATE TABLE things (id serial PRIMARY KEY); INSERT INTO things DEFAULT VALUES")
        point = plain.point()
        with pytest.raises(RestoreError) as refused:
            plain.restore("prepared", id=point)
        assert "may not create databases" in str(refused.value)
        assert "may not end the sessions of others" in str(refused.value)
        setup.server.sql("ALTER ROLE plain CREATEDB; GRANT pg_signal_backend TO plain", "postgres")
        done = plain.restore("swapped", id=point)
        assert "free space on the server could not be measured" in " ".join(done["notes"])
        assert plain.restore("undone")["changed"]
        assert setup.server.sql("SELECT count(*) FROM things", "plain_data") == [(1,)]
    finally:
        owner.close()
        for name in setup.server.databases() - {"postgres", "shop"}:
            setup.server.sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")
        setup.server.sql("DROP ROLE plain", "postgres")


def test_what_changed_since_is_estimated_from_the_counters(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("UPDATE customers SET name = name || '!' WHERE id <= 10; DELETE FROM sales.orders WHERE id <= 3")
    setup.server.sql("INSERT INTO ledger (token) VALUES ('late'); SELECT pg_stat_force_next_flush()")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = setup.info(id=point)
        if len(found["at_stake"]) == 3:
            break
        time.sleep(0.2)
    counts = {table: (c["inserted"], c["updated"], c["deleted"]) for table, c in found["at_stake"].items()}
    assert counts == {"public.customers": (0, 10, 0), "public.ledger": (1, 0, 0), "sales.orders": (0, 0, 3)}


def test_a_live_database_that_is_gone_comes_back(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("DROP DATABASE shop WITH (FORCE)", "postgres")
    done = setup.restore("swapped", id=point)
    assert done["set_aside"] == ""
    assert setup.server.sql("SELECT count(*) FROM customers") == [(2000,)]
    assert setup.server.sql(LIVE_PROPERTIES, "postgres")[0][5] == "the shop's own words \\ here"


def test_prepared_transactions_slots_and_subscriptions_are_refused_by_name(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
    connection = setup.server.connect()
    connection.cursor().execute("BEGIN; INSERT INTO ledger (token) VALUES ('p'); PREPARE TRANSACTION 'stuck'")
    connection.close()
    setup.server.sql(
        "CREATE SUBSCRIPTION incoming CONNECTION 'host=x' PUBLICATION y WITH (connect = false, slot_name = NONE)"
    )
    try:
        with pytest.raises(RestoreError) as refused:
            setup.restore("swapped", id=point)
        for words in ("stuck (COMMIT PREPARED", "set-aside one: feed", "incoming (drop or disable"):
            assert words in str(refused.value)
        assert setup.restore("prepared", id=point, drill=True)["changed"]
        with pytest.raises(RestoreError, match="stuck"):
            setup.restore("swapped", id=point)
    finally:
        setup.server.sql("ROLLBACK PREPARED 'stuck'")
        setup.server.sql("SELECT pg_drop_replication_slot('feed')")
        setup.server.sql("DROP SUBSCRIPTION incoming")
    assert setup.restore("swapped", id=point)["set_aside"]


def test_only_our_own_databases_are_removed_and_only_by_name(setup: RestoreSetup) -> None:
    setup.server.sql("CREATE DATABASE shop_old_important", "postgres")
    for name in ("shop", "postgres", "shop_old_important"):
        with pytest.raises(RestoreError, match="no database that was set aside"):
            setup.restore("absent", name=name)
    aside = setup.restore("swapped", id=setup.point())["set_aside"]
    assert setup.restore("absent", name=aside, pretend=True)["changed"]
    assert setup.restore("absent", name=aside)["changed"]
    assert not setup.restore("absent", name=aside)["changed"]
    assert setup.server.databases() == {"postgres", "shop", "shop_old_important"}


@pytest.fixture
def pooler(setup: RestoreSetup, tmp_path: Path) -> Iterator[postgres.Server]:
    """A pgbouncer in front of the server, whose clients share few connections."""
    tmp_path.chmod(0o755)
    name = f"rollback-pooler-{os.getpid()}"
    try:
        yield postgres.start_pooler(name, setup.server, tmp_path / "pooler")
    finally:
        postgres.docker("rm", "--force", name)


def test_behind_a_paused_pgbouncer_no_client_sees_an_error(setup: RestoreSetup, pooler: postgres.Server) -> None:
    point = setup.point()
    setup.restore("prepared", id=point)
    console = postgres.console(pooler)
    with postgres.Writer(pooler) as writer:
        setup.restore("swapped", id=point, pooler=console)
        writer.until(20)
        setup.restore("undone", pooler=console)
        writer.until(20)
        # A transaction that stays open keeps PAUSE waiting: refused, and everybody goes on.
        holding = pooler.connect()
        holding.autocommit = False
        holding.cursor().execute("SELECT 1")
        with pytest.raises(RestoreError, match="a transaction is open too long"):
            setup.restore("undone", pooler=console)
        writer.until(20)
        holding.close()
    assert writer.failed == 0
    aside = setup.info()["databases"][0]["name"]
    assert set(writer.acknowledged) - (setup.tokens() | setup.tokens(aside)) == set()


# --- what crashes leave


def test_a_run_that_is_killed_while_restoring_is_swept_and_converges(setup: RestoreSetup) -> None:
    point = setup.point()
    code = (
        "import json, sys; from ansible_collections.schedgen.rollback.plugins.modules import postgresql_restore as m;"
        "m.carry_out(json.load(sys.stdin), pretend=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment, text=True, start_new_session=True
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(setup.parameters(state="swapped", id=point)))
    child.stdin.close()
    end = time.monotonic() + 30
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'shop\\_side\\_%'"
    while setup.server.sql(query, "postgres")[0][0] == 0:
        assert time.monotonic() < end
        assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    setup.store.release(setup.store.lock().run)  # type: ignore[union-attr]
    with postgres.Writer(setup.server) as writer:
        done = setup.restore("swapped", id=point)
        writer.until(5)
    assert done["set_aside"]
    assert any("half restored" in line or "one-off container" in line for line in done["swept"])
    assert setup.server.databases() == {"postgres", "shop", done["set_aside"]}
    assert set(writer.acknowledged) - (setup.tokens() | setup.tokens(done["set_aside"])) == set()


def test_a_server_that_is_killed_while_restoring_leaves_nothing_behind(setup: RestoreSetup) -> None:
    point = setup.point()
    database = setup.database
    killing: list[threading.Thread] = []

    def kill() -> None:
        # pg_restore has come to its first statement when the copy's event trigger sleeps in it.
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        application.wait_until(lambda: setup.server.sql(asleep, "postgres") == [(1,)], "pg_restore sleeps")
        [(pid,)] = setup.server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'", "postgres")
        # The whole server starts again.
        postgres.docker("exec", "--user=0", setup.server.name, "kill", "-9", str(pid))

    def hold(step: str) -> None:
        if step == "made":
            [copy] = setup.server.databases() - {"postgres", "shop"}
            body = "'BEGIN PERFORM pg_sleep(600); END'"
            setup.server.sql(f"CREATE FUNCTION sleep() RETURNS event_trigger LANGUAGE plpgsql AS {body}", copy)
            setup.server.sql("CREATE EVENT TRIGGER asleep ON ddl_command_start EXECUTE FUNCTION sleep()", copy)
            killing.append(threading.Thread(target=kill))
            killing[0].start()

    with pytest.raises(_pgtools.ToolError, match="pg_restore of restore point"):
        _restore.prepare(database, point, progress=hold)
    killing[0].join()
    setup.server.wait()
    assert setup.server.databases() == {"postgres", "shop"}
    assert setup.restore("swapped", id=point)["set_aside"]


def test_a_fence_that_a_crash_left_is_taken_down_by_the_next_call(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("ALTER DATABASE shop ALLOW_CONNECTIONS false", "postgres")
    assert setup.info()["live"]["open"] is False
    done = setup.restore("prepared", id=point)
    assert any("opened shop" in line for line in done["swept"])
    assert setup.server.sql("SELECT count(*) FROM customers") == [(2000,)]


def test_a_side_database_that_was_made_and_never_marked_is_dropped(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.server.sql("CREATE DATABASE shop_side_20261122t140000000z", "postgres")
    setup.server.sql("CREATE DATABASE shop_side_project", "postgres")
    setup.server.sql("COMMENT ON DATABASE shop_side_project IS 'a person made this'", "postgres")
    setup.restore("prepared", id=point)
    assert "shop_side_20261122t140000000z" not in setup.server.databases()
    assert "shop_side_project" in setup.server.databases()


def test_a_swap_that_cannot_rename_opens_the_live_database_again(
    setup: RestoreSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = setup.point()
    done = setup.restore("prepared", id=point)
    statements = _restore_plan.swap_statements

    def broken(*words: Any, **more: Any) -> list[str]:
        return [*statements(*words, **more), "SELECT 1 / 0"]

    monkeypatch.setattr(_restore_plan, "swap_statements", broken)
    with pytest.raises(RestoreError, match="division by zero") as failed:
        setup.restore("swapped", id=point)
    assert "is live as before and open" in failed.value.state
    assert setup.server.databases() == {"postgres", "shop", done["database"]}
    assert setup.server.sql("SELECT count(*) FROM customers") == [(2000,)]


# --- playbooks


def playbook(setup: RestoreSetup, name: str, *options: str, **variables: Any) -> str:
    """Run a playbook of this repository on this host and return what it showed."""
    told = {
        "rollback_application": "shop",
        "rollback_state_dir": setup.state,
        "rollback_project_name": setup.server.project,
        "rollback_database": postgres.DATABASE,
        "rollback_database_user": postgres.OWNER,
        "rollback_migration_tool": "none",
        "rollback_code_services": ["postgres"],
        "rollback_health_deadline": 20,
        "ansible_python_interpreter": interpreter.PYTHON,
        **variables,
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, str(ROOT / name), "-i", "localhost,", "-c", "local"]
    done = subprocess.run(
        [*command, *options, "-e", json.dumps(told)],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, done.stdout + done.stderr
    return shown


def test_the_playbook_drill(setup: RestoreSetup) -> None:
    older = setup.point()
    newer = setup.ready("restored")[0]
    before = fingerprint(setup)
    shown = playbook(setup, "restore-drill.yml")
    assert f"Database of {newer}: restored beside the live one and compared" in shown
    assert fingerprint(setup) == before
    assert [event["event"] for event in setup.store.point(newer).events] == ["proven", "ready", "proven"]
    playbook(setup, "restore-drill.yml", rollback_to=older)
    assert [event["event"] for event in setup.store.point(older).events] == ["proven"]
    assert postgres.PASSWORD not in shown


def test_a_backup_keeps_its_database_ready_and_tells(setup: RestoreSetup, tmp_path: Path) -> None:
    source = tmp_path / "project"
    source.mkdir()
    (source / "compose.yaml").write_text(f"services:\n  postgres:\n    image: {postgres.IMAGE}\n")
    shown = playbook(setup, "pre-deploy-backup.yml", rollback_project_src=str(source))
    [point] = setup.store.points()
    assert [event["event"] for event in point.events] == ["proven", "ready"]
    [entry] = setup.info()["databases"]
    assert (entry["kind"], entry["point"]) == ("ready", point.id)
    assert entry["name"] in shown
    setup.server.sql("DELETE FROM sales.orders; DELETE FROM ledger")
    shown = playbook(setup, "pre-deploy-backup.yml", rollback_project_src=str(source), rollback_database_ready="none")
    assert "the database has 3002 rows; it had 9052 at the restore point before" in shown
    assert entry["name"] in setup.server.databases()


# --- ready copies


@pytest.mark.parametrize("asked", ["auto", "restored", "template"])
def test_a_ready_copy_is_swapped_in_without_a_restore(setup: RestoreSetup, asked: str) -> None:
    point, name, notes = setup.ready(asked)
    assert name in setup.server.databases(), notes
    events = [event["event"] for event in setup.store.point(point).events]
    assert events == (["ready"] if asked == "template" else ["proven", "ready"])
    setup.server.sql("DELETE FROM sales.orders")
    properties = setup.server.sql(LIVE_PROPERTIES, "postgres")
    # Not one byte of the dump is read.
    for path in (Path(setup.store.point_path(point)) / "database" / "dump").iterdir():
        path.unlink()
    done = setup.restore("swapped", id=point)
    assert (done["ready"], done["database"]) == (True, name)
    assert setup.server.sql("SELECT count(*) FROM sales.orders") == [(6000,)]
    assert setup.server.sql(LIVE_PROPERTIES, "postgres") == properties
    assert setup.restore("undone")["changed"]
    assert setup.server.sql("SELECT count(*) FROM sales.orders") == [(0,)]


def test_a_template_needs_the_application_stopped(setup: RestoreSetup) -> None:
    connection = setup.server.connect()
    try:
        with pytest.raises(RestoreError, match="1 sessions are open in shop: a template needs the application stopped"):
            setup.ready("template")
    finally:
        connection.close()
    assert setup.server.databases() == {"postgres", "shop"}


def test_ready_copies_are_limited_and_what_is_given_up_is_said(setup: RestoreSetup) -> None:
    first, first_name, _notes = setup.ready("restored", keep=1)
    _second, second_name, notes = setup.ready("restored", keep=1)
    assert setup.server.databases() == {"postgres", "shop", second_name}
    assert notes == [f"the ready copy {first_name} of {first} was dropped: 1 newer ones are kept"]
    assert setup.store.point(first).events[-1]["event"] == "not ready"
    _third, third_name, notes = setup.ready("auto", limit=1000)
    assert third_name == ""
    assert "more than the 0 MB below which it is kept ready" in notes[0]


def test_a_backup_that_does_not_hold_is_an_error_and_recorded(setup: RestoreSetup) -> None:
    point = setup.point()
    setup.edit(point, lambda d: d["rows"].update({"sales.orders": 1}))
    manifest = setup.store.point(point).manifest
    assert manifest is not None
    assert manifest.database is not None
    with pytest.raises(RestoreError, match="could not be kept ready"):
        _ready.after_backup(setup.database, point, manifest.database, _ready.Policy("auto"))
    assert setup.store.point(point).events[-1]["event"] == "not proven"
    assert setup.server.databases() == {"postgres", "shop"}


# --- outside Docker


def test_a_host_without_fitting_tools_says_which_package_it_lacks() -> None:
    with pytest.raises(_pgtools.ToolError, match=r"no pg_dump for a server of PostgreSQL 99 .*postgresql-client-99"):
        _pgtools.host_tools(990001)


# --- room


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    started = postgres.start(f"rollback-room-{os.getpid()}", "--tmpfs=/var/lib/postgresql/data:size=300m")
    try:
        postgres.fill(started)
        setup = RestoreSetup(started, str(tmp_path / "state"))
        point = setup.point()
        [free] = re.findall(
            r"(\d+) +\d+% /", postgres.docker("exec", started.name, "df", "-Pk", "/var/lib/postgresql/data")
        )
        postgres.docker(
            "exec", started.name, "fallocate", "-l", f"{int(free) - 50000}K", "/var/lib/postgresql/data/ballast"
        )
        with pytest.raises(RestoreError, match=r"are needed beside the live database and .* free"):
            setup.restore("prepared", id=point)
        assert started.databases() == {"postgres", "shop"}
        postgres.docker("exec", started.name, "rm", "/var/lib/postgresql/data/ballast")
        assert setup.restore("prepared", id=point)["changed"]
    finally:
        postgres.docker("rm", "--force", "--volumes", started.name)


def test_a_disk_that_fills_up_in_a_restore_is_free_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "/var/lib/postgresql/data"
    started = postgres.start(f"rollback-full-{os.getpid()}", f"--tmpfs={place}:size=400m")

    def free() -> int:
        [kilobytes] = re.findall(r"(\d+) +\d+% /", postgres.docker("exec", started.name, "df", "-Pk", place))
        return int(kilobytes)

    try:
        postgres.fill(started)
        started.sql("CREATE TABLE big AS SELECT repeat(md5(i::text), 30) AS t FROM generate_series(1, 40000) i")
        setup = RestoreSetup(started, str(tmp_path / "state"))
        point = setup.point()
        # Log segments that are there already: without one to write to, the server itself would stop.
        for _number in range(6):
            started.sql("INSERT INTO ledger (token) SELECT gen_random_uuid()::text; SELECT pg_switch_wal(); CHECKPOINT")
        postgres.docker("exec", started.name, "fallocate", "-l", f"{free() - 20000}K", f"{place}/ballast")
        monkeypatch.setattr(_restore_plan, "room_needed", lambda *_sizes: 0)
        with pytest.raises((RestoreError, _pgtools.ToolError, DatabaseError), match="No space left on device"):
            setup.restore("swapped", id=point)
        assert started.databases() == {"postgres", "shop"}
        assert free() > 10000
        started.sql("INSERT INTO ledger (token) SELECT 'w' || i FROM generate_series(1, 1000) i")
    finally:
        postgres.docker("rm", "--force", "--volumes", started.name)


# --- plain dumps


def plain(setup: RestoreSetup) -> bytes:
    done = subprocess.run(
        ["docker", "exec", setup.server.name, "pg_dump", "-U", "shop", "shop"], capture_output=True, check=True
    )
    return done.stdout


def test_a_plain_dump_is_restored_beside_and_swapped_in(setup: RestoreSetup, tmp_path: Path) -> None:
    path = tmp_path / "db_shop_20261122.sql.gz"
    path.write_bytes(gzip.compress(plain(setup)))
    properties = setup.server.sql(LIVE_PROPERTIES, "postgres")
    setup.server.sql("DELETE FROM sales.orders")
    done = setup.restore("swapped", file=str(path))
    assert done["set_aside"]
    assert setup.server.sql("SELECT count(*) FROM sales.orders") == [(6000,)]
    assert setup.server.sql(LIVE_PROPERTIES, "postgres") == properties
    assert setup.server.sql(
        "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname IN ('public', 'sales')"
    ) == [("shop",)]
    assert setup.server.sql("SELECT total(7) IS NOT NULL, (SELECT count(*) FROM good) > 0") == [(True, True)]
    assert setup.restore("swapped", file=str(path))["changed"] is False
    assert setup.server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'schedgen%'") == []


FLAG = "/var/run/postgresql/a-program-ran"
ATTACKS = {
    "psql's shell": b"\\! touch " + FLAG.encode() + b"\n",
    "psql's copy": b"\\copy customers from program 'touch " + FLAG.encode() + b"'\n",
    "another database": b"\\connect postgres\n",
    "a program": b"COPY customers FROM PROGRAM 'touch " + FLAG.encode() + b"';\n",
    "a program, disguised": b"COPY (SELECT 'FROM stdin') TO /* x */ PROGRAM 'touch " + FLAG.encode() + b"';\n",
    "the superuser again": b"RESET ROLE; SET ROLE shop;\n",
    "a superuser of its own": b"CREATE ROLE evil SUPERUSER;\n",
    "a block that copies": b"DO $x$ BEGIN EXECUTE 'COPY customers TO PROGRAM ''touch "
    + FLAG.encode()
    + b"'''; END $x$;\n",
    "rows that are statements, behind a COPY that fails": b"""
COPY gone (a) FROM stdin;
CREATE ROLE evil SUPERUSER;
\\.
""",
    "a failing statement": b"INSERT INTO customers (id, name) VALUES (1, 'x');\n",
    "a function that runs when statistics are gathered": b"""
CREATE TABLE trap (a int);
CREATE FUNCTION spring(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
 'BEGIN EXECUTE $q$COPY (SELECT 1) TO PROGRAM ''touch """
    + FLAG.encode()
    + b"""''$q$; RETURN 1; END';
CREATE INDEX ON trap (spring(a));
INSERT INTO trap VALUES (1);
""",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_dump_is_refused_and_leaves_nothing(setup: RestoreSetup, tmp_path: Path, attack: str) -> None:
    text = plain(setup)
    trailer = text.index(b"--\n-- PostgreSQL database dump complete")
    path = tmp_path / "db_shop_evil.sql.gz"
    path.write_bytes(gzip.compress(text[:trailer] + ATTACKS[attack] + text[trailer:]))
    before = fingerprint(setup)
    with pytest.raises(RestoreError):
        setup.restore("swapped", file=str(path))
    assert fingerprint(setup) == before
    assert postgres.docker("exec", setup.server.name, "sh", "-c", f"test -e {FLAG} && echo ran || true") == ""


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda packed, _text: packed[:-200], "damaged or was cut off"),
        (lambda packed, _text: packed[:5000] + bytes([packed[5000] ^ 1]) + packed[5001:], "damaged"),
        (
            lambda _packed, text: gzip.compress(text[: text.index(b"COPY public.ledger") + 90]),
            "middle of a table's rows",
        ),
        (lambda _packed, text: gzip.compress(text[: text.index(b"-- PostgreSQL database dump complete")]), "cut off"),
        (lambda _packed, _text: b"", "no statement"),
        (lambda _packed, _text: gzip.compress(b""), "no statement"),
    ],
)
def test_an_incomplete_plain_dump_is_refused_before_its_first_statement(
    setup: RestoreSetup, tmp_path: Path, damage: Any, words: str
) -> None:
    text = plain(setup)
    path = tmp_path / "db_shop_half.sql.gz"
    path.write_bytes(damage(gzip.compress(text), text))
    before = fingerprint(setup)
    with pytest.raises(RestoreError, match=words):
        setup.restore("swapped", file=str(path))
    assert fingerprint(setup) == before
