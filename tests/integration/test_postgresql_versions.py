# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every PostgreSQL version that is said to be supported: back up, restore beside, swap under writes, undo; and across.

Content and schema are compared here by statements of the test's own, rows by the ledger of a client.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pg_images
import pg_lab
import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError
from restore_lab import LIVE_PROPERTIES, Lab, fingerprint

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


def content(server: pg_lab.Server, name: str = "shop") -> dict[str, Any]:
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


def opened(server: pg_lab.Server, name: str, read: Callable[[pg_lab.Server, str], Any]) -> Any:
    """Read from a database that is closed."""
    server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', "postgres")
    found = read(server, name)
    server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', "postgres")
    return found


def shape(server: pg_lab.Server, name: str = "shop") -> list[tuple[Any, ...]]:
    """Read the schema, in words that no version of PostgreSQL puts otherwise."""
    return server.sql(SHAPE, name)


# zstd is there from 16 on, but the tools of 16 here are built without it.
COMPRESSION = {14: "1", 15: "1", 16: "1", 17: "zstd:1", 18: "zstd:1"}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[int], pg_lab.Server]]:
    """Give a filled server of a version; each is started once, none publishes a port."""
    started: dict[int, pg_lab.Server] = {}

    def of(version: int) -> pg_lab.Server:
        if version not in started:
            name = f"rollback-pg{version}-{os.getpid()}"
            started[version] = pg_lab.Server(name, name)
            started[version] = pg_lab.start(name, image=pg_images.image(version))
            pg_lab.fill(started[version])
        return started[version]

    yield of
    for server in started.values():
        pg_lab.docker("rm", "--force", "--volumes", server.name, check=False)


@pytest.mark.parametrize("version", pg_images.VERSIONS)
def test_nothing_differs_and_nothing_is_lost(
    servers: Callable[[int], pg_lab.Server], version: int, tmp_path: Path
) -> None:
    server = servers(version)
    lab = Lab(server, str(tmp_path / "state"))
    assert server.sql("SELECT current_setting('server_version_num')::int / 10000") == [(version,)]
    before = (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server))
    assert {kind for kind, _name, _text in before[2]} >= {"index", "trigger", "view", "policy", "rule", "grant"}
    point = lab.point()
    manifest = lab.store.point(point).manifest
    assert manifest is not None
    assert manifest.database is not None
    assert manifest.database["compression"] == COMPRESSION[version]
    prepared = lab.restore("prepared", id=point)
    assert not [note for note in prepared["notes"] if "not compared" in note or "not hashed" in note]
    name = prepared["database"]
    assert opened(server, name, content) == before[1]
    assert opened(server, name, shape) == before[2]
    with pg_lab.Writer(server) as writer:
        aside = lab.restore("swapped", id=point)["set_aside"]
        writer.until(10)
        swapped = (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server))
        assert aside in server.databases()
        restored = lab.restore("undone")["set_aside"]
        writer.until(10)
    assert swapped == before
    assert (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server)) == before
    assert set(writer.acknowledged) - (lab.tokens() | lab.tokens(restored)) == set()
    assert lab.tokens() & lab.tokens(restored) == set()
    ready, name, notes = lab.ready("template")
    assert notes == []
    server.sql("DELETE FROM sales.orders")
    done = lab.restore("swapped", id=ready)
    assert (done["ready"], done["database"]) == (True, name)
    assert (server.sql(LIVE_PROPERTIES, "postgres"), content(server), shape(server)) == before


@pytest.mark.parametrize(("older", "newer"), list(zip(pg_images.VERSIONS, pg_images.VERSIONS[1:])))
def test_a_dump_goes_into_a_newer_server_and_into_no_older_one(
    servers: Callable[[int], pg_lab.Server], older: int, newer: int, tmp_path: Path
) -> None:
    old, new = (Lab(servers(version), str(tmp_path / "state")) for version in (older, newer))
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
    assert fingerprint(old) == before
