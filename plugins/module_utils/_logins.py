# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the database logins that a service's environment holds. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg")
_PREFIXES = ("DB_", "DATABASE_", "POSTGRES_", "TYPEORM_", "PG")
_USER = ("USER", "USERNAME")
_PASSWORD = ("PASSWORD", "PASS")
_NAME = ("NAME", "DATABASE", "DB")


@dataclass(frozen=True)
class FoundLogin:
    """A login that a service would use; ``variables`` names where it stands, never what it says."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    variables: tuple[str, ...] = ()


def find(environment: Mapping[str, str]) -> tuple[FoundLogin, ...]:
    """Return the PostgreSQL logins in an environment: URLs, and groups such as DB_HOST, DB_USER, DB_PASSWORD."""
    found = []
    for key, value in sorted(environment.items()):
        if "://" not in value:
            continue
        try:
            parts = urlsplit(value)
            port = parts.port or 5432
        except ValueError:
            continue
        if parts.scheme in _SCHEMES and parts.hostname and parts.username:
            user = unquote(parts.username)
            dbname = unquote(parts.path.lstrip("/")) or user
            found.append(FoundLogin(parts.hostname, port, dbname, user, unquote(parts.password or ""), (key,)))
    for prefix in _PREFIXES:
        host = environment.get(f"{prefix}HOST", "")
        user_key = next((prefix + word for word in _USER if environment.get(prefix + word)), "")
        password_key = next((prefix + word for word in _PASSWORD if environment.get(prefix + word)), "")
        name_key = next((prefix + word for word in _NAME if environment.get(prefix + word)), "")
        port_text = environment.get(f"{prefix}PORT") or "5432"
        if host and user_key and password_key and port_text.isdigit():
            user = environment[user_key]
            keys = tuple(key for key in (f"{prefix}HOST", user_key, password_key, name_key) if key)
            dbname = environment[name_key] if name_key else user
            found.append(FoundLogin(host, int(port_text), dbname, user, environment[password_key], keys))
    return tuple(found)
