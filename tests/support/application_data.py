# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data of a chosen size in the reference application's database, past its own code."""

from __future__ import annotations

from support import application


def in_application(statement: str) -> str:
    """Run SQL in the reference application's database, past its own code."""
    arguments = ("psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-U", "schedgen", "-d", "schedgen", "-c", statement)
    return application.docker("exec", "schedgen-postgres", *arguments).strip()


def fill_application(megabytes: int) -> None:
    """Add a table until the reference application's database has a size."""
    in_application("CREATE TABLE IF NOT EXISTS archive (id bigint PRIMARY KEY, title text, content text)")
    while (size := int(in_application("SELECT pg_database_size(current_database())")) >> 20) < megabytes:
        rows = 1000 + min(256, megabytes - size) * 1000
        in_application(
            "INSERT INTO archive SELECT b + i, 'Title ' || i, repeat(md5(i::text), 30)"
            f" FROM generate_series(1, {rows}) i, (SELECT coalesce(max(id), 0) AS b FROM archive) x"
        )
    in_application("VACUUM ANALYZE")
    in_application("CHECKPOINT")


def drop_set_aside() -> None:
    """Remove what the rollback before has set aside: nothing of it is measured again."""
    names = in_application(
        "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('schedgen', 'postgres')"
    )
    for name in names.split():
        in_application(f'DROP DATABASE "{name}" WITH (FORCE)')
