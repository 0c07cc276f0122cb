# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Database logins that a service's environment holds."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._logins import FoundLogin, find


@pytest.mark.parametrize(
    ("value", "login"),
    [
        ("postgres://u:p@db:5433/d", ("db", 5433, "d", "u", "p")),
        ("postgresql://u:p@db/d?sslmode=require", ("db", 5432, "d", "u", "p")),
        ("POSTGRESQL://u:p@DB/d", ("db", 5432, "d", "u", "p")),
        ("postgresql+psycopg2://u:p@db/d", ("db", 5432, "d", "u", "p")),
        ("postgresql+asyncpg://u:p@[::1]:5433/d", ("::1", 5433, "d", "u", "p")),
        ("postgres://u%40x:p%2F%20%25@db/my%20d", ("db", 5432, "my d", "u@x", "p/ %")),
        ("postgres://u%40x:p@db", ("db", 5432, "u@x", "u@x", "p")),
        ("postgres://u@db/d", ("db", 5432, "d", "u", "")),
    ],
)
def test_an_address(value: str, login: tuple[str, int, str, str, str]) -> None:
    assert find({"X_URL": value}) == (FoundLogin(*login, ("X_URL",)),)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "postgres",
        "mysql://u:p@db/d",
        "http://u:p@db/d",
        "jdbc:postgresql://db/d",
        "postgres://db/d",
        "postgres://u:p@/d",
        "postgres://u:p@db:port/d",
        "postgres://u:p@db:99999/d",
        "postgres://u:p[w@db/d",
        "http://[broken",
    ],
)
def test_no_login(value: str) -> None:
    assert find({"X_URL": value}) == ()


@pytest.mark.parametrize(
    ("environment", "login"),
    [
        ({"DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p", "DB_NAME": "d", "DB_PORT": "5433"},
         FoundLogin("db", 5433, "d", "u", "p", ("DB_HOST", "DB_USER", "DB_PASSWORD", "DB_NAME"))),
        ({"DATABASE_HOST": "db", "DATABASE_USERNAME": "u", "DATABASE_PASS": "p", "DATABASE_NAME": "d"},
         FoundLogin("db", 5432, "d", "u", "p", ("DATABASE_HOST", "DATABASE_USERNAME", "DATABASE_PASS",
                                                "DATABASE_NAME"))),
        ({"POSTGRES_HOST": "db", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p", "POSTGRES_DB": "d"},
         FoundLogin("db", 5432, "d", "u", "p", ("POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD",
                                                "POSTGRES_DB"))),
        ({"TYPEORM_HOST": "db", "TYPEORM_USERNAME": "u", "TYPEORM_PASSWORD": "p", "TYPEORM_DATABASE": "d"},
         FoundLogin("db", 5432, "d", "u", "p", ("TYPEORM_HOST", "TYPEORM_USERNAME", "TYPEORM_PASSWORD",
                                                "TYPEORM_DATABASE"))),
        ({"PGHOST": "db", "PGUSER": "u", "PGPASSWORD": "p", "PGDATABASE": "d"},
         FoundLogin("db", 5432, "d", "u", "p", ("PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE"))),
        # Without a name the database is the user's; an empty port is the usual one.
        ({"DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p", "DB_PORT": ""},
         FoundLogin("db", 5432, "u", "u", "p", ("DB_HOST", "DB_USER", "DB_PASSWORD"))),
    ],
)  # fmt: skip
def test_a_group_of_variables(environment: dict[str, str], login: FoundLogin) -> None:
    assert find(environment) == (login,)


@pytest.mark.parametrize("missing", ["DB_HOST", "DB_USER", "DB_PASSWORD"])
def test_half_a_group_is_no_login(missing: str) -> None:
    whole = {"DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p", "DB_NAME": "d"}
    assert find({**whole, missing: ""}) == ()
    del whole[missing]
    assert find(whole) == ()


def test_a_port_that_is_no_number() -> None:
    assert find({"DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p", "DB_PORT": "tcp://10.0.0.1:5432"}) == ()


def test_addresses_first_then_groups_in_a_steady_order() -> None:
    environment = {
        "PGHOST": "e", "PGUSER": "u", "PGPASSWORD": "p",
        "Z_URL": "postgres://u:p@z/d", "A_URL": "postgres://u:p@a/d",
        "DB_HOST": "db", "DB_USER": "u", "DB_PASSWORD": "p",
    }  # fmt: skip
    assert [login.host for login in find(environment)] == ["a", "z", "db", "e"]
    assert find(dict(reversed(environment.items()))) == find(environment)


def test_the_password_is_not_in_the_repr() -> None:
    (login,) = find({"X_URL": "postgres://u:hunter2@db/d"})
    assert "hunter2" not in repr(login)
    assert login.variables == ("X_URL",)
