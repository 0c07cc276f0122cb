# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL server with a database and its application's records, and what the modules do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _databases,
    _postgres,
    _ready,
    _store,
)
from ansible_collections.schedgen.rollback.plugins.modules import postgresql_restore, postgresql_restore_info

from support import postgres

ACKNOWLEDGED = "SELECT token FROM ledger WHERE token LIKE 'w%'"
LIVE_PROPERTIES = """
SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datconnlimit, datallowconn,
  shobj_description(d.oid, 'pg_database'), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
  (SELECT array_agg(setrole::regrole || ' ' || c ORDER BY setrole::regrole::text, c)
    FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid)
FROM pg_database d WHERE datname = 'shop'
"""


@dataclass
class RestoreSetup:
    """A server with a fresh database, and the state folder of its application."""

    server: postgres.Server
    state: str
    more: dict[str, Any] = field(default_factory=dict)

    def parameters(self, **more: Any) -> dict[str, Any]:
        return postgres.parameters(self.server, self.state, **{**self.more, **more})

    @property
    def store(self) -> _store.Store:
        return _store.Store(self.state, "shop")

    @property
    def database(self) -> _databases.Database:
        parameters = self.parameters()
        return _databases.database_of(self.store, _postgres.client_of(parameters), parameters)

    def point(self, **more: Any) -> str:
        """Take a restore point of the database alone, as the module restore_point does."""
        return postgres.take_point(self.store, self.database.login, **more)

    def ready(self, asked: str, **more: Any) -> tuple[str, str, list[str]]:
        """Take a restore point and keep it ready; return its id, the copy's name and notes."""
        point_id = self.point()
        manifest = self.store.point(point_id).manifest
        assert manifest is not None
        assert manifest.database is not None
        policy = _ready.Policy(asked, **more)
        return (point_id, *_ready.after_backup(self.database, point_id, manifest.database, policy))

    def edit(self, point_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change what a manifest says of the database."""
        path = Path(self.store.point_path(point_id)) / "manifest.json"
        data = json.loads(path.read_text())
        change(data["database"])
        path.write_text(json.dumps(data))

    def restore(self, state: str, *, pretend: bool = False, **more: Any) -> dict[str, Any]:
        return postgresql_restore.carry_out(self.parameters(state=state, **more), pretend=pretend)

    def info(self, **more: Any) -> dict[str, Any]:
        return postgresql_restore_info.look(self.parameters(**more))

    def tokens(self, name: str = "shop") -> set[str]:
        """Rows of the writer in a database; a fenced one is opened to look."""
        if name != "shop":
            self.server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', "postgres")
        found = {row[0] for row in self.server.sql(ACKNOWLEDGED, name)}
        if name != "shop":
            self.server.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', "postgres")
        return found


def fingerprint(setup: RestoreSetup) -> Any:
    """What must not change when something is refused."""
    return (
        setup.server.sql(LIVE_PROPERTIES, "postgres"),
        setup.server.sql("SELECT oid FROM pg_database WHERE datname = 'shop'", "postgres"),
        setup.server.sql("SELECT count(*) FROM customers"),
        setup.server.databases(),
        setup.server.sql("SELECT rolname FROM pg_roles ORDER BY 1"),
    )
