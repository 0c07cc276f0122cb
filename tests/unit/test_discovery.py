# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of a Compose project are taken for, as tables of evidence and judgement."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _discovery as discovery
from ansible_collections.schedgen.rollback.plugins.module_utils._discovery import Database, Judgement, Service

ADDRESS = "postgresql+asyncpg://shop:p%40ss@db.example.org:6432/shop%20db?sslmode=require"


def bind(source: str, target: str, *, writable: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Destination": target, "RW": writable}


def volume(name: str, target: str = "/data", *, writable: bool = True) -> dict[str, Any]:
    return {"Type": "volume", "Name": name, "Destination": target, "RW": writable}


def port(inner: int, outer: int = 8080) -> dict[str, Any]:
    return {"host_ip": "", "host_port": outer, "container_port": inner, "protocol": "tcp"}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("postgres", ("", "postgres", "")),
        ("postgres:15-alpine", ("", "postgres", "15-alpine")),
        ("bitnami/redis:7", ("", "bitnami/redis", "7")),
        ("ghcr.io/acme/shop/api:v2", ("ghcr.io", "acme/shop/api", "v2")),
        ("127.0.0.1:5000/schedgen/backend:v1", ("127.0.0.1:5000", "schedgen/backend", "v1")),
        ("localhost/app", ("localhost", "app", "")),
        ("registry.example.org:5000/app", ("registry.example.org:5000", "app", "")),
        ("app@sha256:00ff", ("", "app", "sha256:00ff")),
    ],
)
def test_image_parts(reference: str, expected: tuple[str, str, str]) -> None:
    assert discovery.image_parts(reference) == expected


@pytest.mark.parametrize(
    ("service", "role", "reason"),
    [
        (Service("db", "postgres:15"), "database", "its image is called postgres"),
        (Service("db", "postgis/postgis:16-3.4"), "database", "its image is called postgis/postgis"),
        (Service("data", "acme/own:1", environment={"POSTGRES_DB": "x"}), "database", "sets up a PostgreSQL server"),
        (Service("db", "mysql:8"), "database", "its image is called mysql"),
        (
            Service("db", "acme/own", mounts=(volume("v", "/var/lib/postgresql/data"),)),
            "database",
            "/var/lib/postgresql",
        ),
        (Service("x", "acme/own", healthcheck=("CMD", "pg_isready")), "database", "its health check asks for that"),
        (Service("redis", "redis:7-alpine"), "cache", "its image is called redis"),
        (Service("sessions", "valkey/valkey"), "cache", "its image is called valkey/valkey"),
        (Service("minio", "minio/minio"), "object store", "its image is called minio/minio"),
        (Service("object-store", "schedgen-demo-python:trixie"), "object store", "it is called object-store"),
        (Service("files", "acme/own", healthcheck=("CMD", "curl", "http://x/minio/health/live")), "object store", ""),
        (Service("edge", "nginx:alpine", ports=(port(80),)), "proxy", "its image is called nginx"),
        (Service("proxy", "schedgen-demo-nginx:trixie"), "proxy", "its image is called schedgen-demo-nginx"),
        (Service("traefik", "traefik:v3"), "proxy", "its image is called traefik"),
        (Service("api", "schedgen-api", build=True), "code", "it is built from the project's own source"),
        (Service("redis-exporter", "oliver006/redis_exporter"), "unknown", "exporter carries no release"),
        (Service("mq", "rabbitmq:3"), "unknown", "rabbitmq carries no release of the application"),
        (Service("backend", "ghcr.io/acme/shop/api:v2"), "code", "its image comes from ghcr.io"),
        (
            Service("site", "ghcr.io/acme/nginx-site:v2", build=True),
            "code",
            "it is built from the project's own source",
        ),
        (Service("db", "ghcr.io/acme/postgres:15"), "database", "its image is called acme/postgres"),
        (Service("thing", "acme/thing:1"), "unknown", "nothing about it says what it is"),
        (
            Service("thing", "acme/thing", environment={"DATABASE_URL": "x"}),
            "code",
            "its environment points to a database",
        ),
        (Service("app", "shop/web:1"), "code", "it is called app"),
        (Service("x"), "unknown", "nothing about it says what it is"),
    ],
)
def test_judge(service: Service, role: str, reason: str) -> None:
    judged = discovery.judge(service, "shop")
    assert (judged.role, [text for text in judged.reasons if reason in text] != []) == (role, True)


def test_a_project_is_judged_as_a_whole() -> None:
    services = [
        Service("postgres", "postgres:15"),
        Service("redis", "redis:7"),
        Service("app", "acme/app:1", depends_on=("postgres", "redis")),
        Service("cron", "acme/app:1", depends_on=("app",)),
    ]
    judged = discovery.judge_all(services, "shop")
    assert {name: each.role for name, each in judged.items()} == {
        "postgres": "database",
        "redis": "cache",
        "app": "code",
        "cron": "unknown",
    }
    assert "it needs postgres, redis" in judged["app"].reasons


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (Service("db", "acme/x", environment={"POSTGRES_USER": "x"}), "postgresql"),
        (Service("db", "postgis/postgis"), "postgresql"),
        (Service("db", "mariadb:11"), "mysql"),
        (Service("mongo", "acme/x"), "mongodb"),
        (Service("db", "acme/x", ports=(port(5432),)), "postgresql"),
        (Service("db", "acme/x"), ""),
    ],
)
def test_engine(service: Service, expected: str) -> None:
    assert discovery.engine(service) == expected


POSTGRES = {"POSTGRES_DB": "shop", "POSTGRES_USER": "owner", "POSTGRES_PASSWORD": "swordfish"}


def place(found: Database | None) -> tuple[object, ...] | None:
    return None if found is None else (found.engine, found.service, found.name, found.user, found.host, found.port)


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([Service("db", "postgres", environment=POSTGRES)], ("postgresql", "db", "shop", "owner", "", 5432)),
        (
            [Service("db", "postgres", environment={"POSTGRES_PASSWORD": "x"})],
            ("postgresql", "db", "postgres", "postgres", "", 5432),
        ),
        (
            [Service("db", "postgres", environment={"POSTGRES_USER": "me"})],
            ("postgresql", "db", "me", "me", "", 5432),
        ),
        (
            [Service("db", "bitnami/postgresql", environment={"POSTGRESQL_DATABASE": "a", "POSTGRESQL_USERNAME": "b"})],
            ("postgresql", "db", "a", "b", "", 5432),
        ),
        (
            [
                Service("db", "postgres", environment=POSTGRES),
                Service("app", build=True, environment={"DB_HOST": "db", "DB_NAME": "other", "DB_USER": "guest"}),
            ],
            ("postgresql", "db", "other", "guest", "", 5432),
        ),
        (
            [
                Service("db", "postgres", environment=POSTGRES, container_name="shop-postgres"),
                Service("app", build=True, environment={"DATABASE_URL": "postgres://guest:x@shop-postgres/other"}),
            ],
            ("postgresql", "db", "other", "guest", "", 5432),
        ),
        (
            [Service("app", build=True, environment={"DATABASE_URL": ADDRESS})],
            ("postgresql", "", "shop db", "shop", "db.example.org", 6432),
        ),
        (
            [Service("app", build=True, environment={"PGHOST": "10.0.0.5", "PGPORT": "odd", "PGDATABASE": "a"})],
            ("postgresql", "", "a", "", "10.0.0.5", 5432),
        ),
        ([Service("app", build=True, environment={"DATABASE_URL": "mysql://a:b@db.example.org/x"})], None),
        ([Service("db", "mysql:8"), Service("app", build=True)], ("mysql", "db", "", "", "", 5432)),
        (
            [Service("old", "mysql:8"), Service("db", "postgres", environment=POSTGRES)],
            ("postgresql", "db", "shop", "owner", "", 5432),
        ),
        ([Service("app", build=True)], None),
        ([], None),
    ],
)
def test_find_database(services: list[Service], expected: tuple[object, ...] | None) -> None:
    assert place(discovery.find_database(services, discovery.judge_all(services))) == expected


@pytest.mark.parametrize(
    "address",
    ["postgres://me:sword/fish@db.example.org/x", "postgres://me:12/fish@db.example.org/x", "postgres://me:sword@fish"],
)
def test_no_part_of_a_password_is_taken_for_a_name(address: str) -> None:
    services = [Service("app", build=True, environment={"DATABASE_URL": address})]
    found = discovery.find_database(services, discovery.judge_all(services))
    assert "sword" not in str(found)
    assert found is None or (found.name, found.user) == ("", "me")


def test_secrets_are_in_no_representation() -> None:
    assert "swordfish" not in repr(Service("db", environment=POSTGRES))


@pytest.mark.parametrize(
    ("tables", "files", "tool", "table", "reason"),
    [
        ({"migrations": ["id", "timestamp", "name"]}, {}, "typeorm", "", "the database has typeorm's table migrations"),
        ({"typeorm_migrations": ["id", "timestamp", "name"]}, {}, "typeorm", "typeorm_migrations", "columns"),
        ({"app.migrations": ["id", "timestamp", "name"]}, {}, "typeorm", "app.migrations", "columns"),
        ({"events": ["id", "timestamp", "name"]}, {}, "none", "", "neither"),
        ({"migrations": ["id", "migration", "batch"]}, {}, "none", "", "neither"),
        ({"alembic_version": ["version_num"]}, {}, "alembic", "", "alembic_version"),
        ({"django_migrations": ["id", "app", "name", "applied"]}, {}, "django", "", "django_migrations"),
        ({"knex_migrations": ["id", "name", "batch", "migration_time"]}, {}, "knex", "", "knex_migrations"),
        ({"my_migrations": ["id", "name", "batch", "migration_time"]}, {}, "knex", "my_migrations", "columns"),
        (
            {"_prisma_migrations": ["id", "checksum", "finished_at", "migration_name", "logs"]},
            {},
            "prisma",
            "",
            "_prisma_migrations",
        ),
        ({"flyway_schema_history": ["version"]}, {"package.json": '"typeorm": "1"'}, "none", "", "Flyway"),
        ({}, {"package.json": '{"dependencies": {"typeorm": "^0.3"}}'}, "typeorm", "", "package.json names typeorm"),
        ({}, {"api/package.json": '{"dependencies": {"@prisma/client": "5"}}'}, "prisma", "", "api/package.json"),
        ({}, {"package.json": '{"dependencies": {"knex": "3"}}'}, "knex", "", "names knex"),
        ({}, {"package.json": '{"dependencies": {"express": "4"}}'}, "none", "", "neither"),
        ({}, {"api/alembic.ini": ""}, "alembic", "", "there is a api/alembic.ini"),
        ({}, {"manage.py": "import django"}, "django", "", "manage.py"),
        ({}, {"manage.py": "print('own')"}, "none", "", "neither"),
        ({}, {"requirements.txt": "flask==3\nalembic>=1"}, "alembic", "", "requirements.txt names alembic"),
        ({"users": ["id"]}, {"alembic.ini": ""}, "alembic", "", "its table is not in the database yet"),
        ({}, {}, "none", "", "neither the database nor the project's source"),
    ],
)
def test_find_migrations(
    tables: dict[str, list[str]], files: dict[str, str], tool: str, table: str, reason: str
) -> None:
    found = discovery.find_migrations(tables, files)
    assert (found.tool, found.table) == (tool, table)
    assert reason in "; ".join(found.reasons)


ROLES = {
    "db": Judgement("database", ()),
    "redis": Judgement("cache", ()),
    "api": Judgement("code", ()),
    "minio": Judgement("object store", ()),
    "proxy": Judgement("proxy", ()),
    "what": Judgement("unknown", ()),
}


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([Service("db", mounts=(volume("p_data"),))], [("p_data", False, "dumped")]),
        ([Service("redis", mounts=(volume("p_cache"),))], [("p_cache", False, "fills itself again")]),
        ([Service("minio", mounts=(volume("p_files"),))], [("p_files", True, "minio keeps data in it")]),
        (
            [Service("minio", mounts=(volume("p_files"),)), Service("api", mounts=(volume("p_files"),))],
            [("p_files", True, "api and minio keep data in it")],
        ),
        ([Service("proxy", mounts=(volume("p_static", writable=False),))], [("p_static", False, "nobody writes")]),
        ([Service("api", mounts=(volume("ab" * 32),))], [("ab" * 32, False, "no name of its own")]),
        ([Service("api", mounts=(bind("/srv/x", "/x", writable=True),))], []),
        (
            [Service("db", mounts=(volume("v"),)), Service("api", mounts=(volume("v"),))],
            [("v", True, "api and db keep")],
        ),
    ],
)
def test_find_volumes(services: list[Service], expected: list[tuple[str, bool, str]]) -> None:
    found = discovery.find_volumes(services, ROLES)
    assert [(each.name, each.keep) for each in found] == [(name, keep) for name, keep, _reason in expected]
    assert all(reason in each.reason for each, (_name, _keep, reason) in zip(found, expected))


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (bind("/srv/app/proxy", "/etc/nginx/conf.d"), ["proxy"]),
        (bind("/srv/app/proxy/nginx.conf", "/etc/nginx/nginx.conf"), ["proxy/nginx.conf"]),
        (bind("/etc/shop/shop.ini", "/etc/shop.ini"), ["/etc/shop/shop.ini"]),
        (bind("/srv/application", "/x"), ["/srv/application"]),
        (bind("/srv/app", "/x"), []),
        (bind("/var/run/docker.sock", "/var/run/docker.sock"), []),
        (bind("/srv/app/uploads", "/uploads", writable=True), []),
        (volume("v"), []),
    ],
)
def test_config_paths(mount: dict[str, Any], expected: list[str]) -> None:
    assert discovery.config_paths([Service("proxy", mounts=(mount,))], "/srv/app", ROLES) == expected


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (Service("api", healthcheck=("CMD", "true")), ["api"]),
        (Service("api"), []),
        (Service("api", healthcheck=("CMD", "true"), ports=(port(80),)), []),
        (Service("api", healthcheck=("CMD", "true"), container_name="api"), []),
        (Service("db", healthcheck=("CMD", "true")), []),
    ],
)
def test_start_first(service: Service, expected: list[str]) -> None:
    assert discovery.start_first([service], ROLES) == expected


def test_a_worker_is_no_candidate_for_start_first() -> None:
    service = Service("pdf-worker", healthcheck=("CMD", "true"))
    assert discovery.start_first([service], {"pdf-worker": Judgement("code", ())}) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["/srv/app/compose.yaml"], []),
        (["/srv/app/compose.yaml", "/srv/app/compose.override.yaml"], []),
        (["/srv/app/prod.yml"], ["prod.yml"]),
        (["/srv/app/compose.yaml", "/srv/app/prod.yml"], ["compose.yaml", "prod.yml"]),
        (["/srv/shared/compose.yaml"], ["/srv/shared/compose.yaml"]),
        ([], []),
    ],
)
def test_compose_files(files: list[str], expected: list[str]) -> None:
    found = discovery.compose_files(files, "/srv/app", ("compose.yaml",), ("compose.override.yaml",))
    assert found == expected


def test_a_health_path_that_answers_replaces_a_mere_port() -> None:
    plain = {"type": "http", "url": "http://127.0.0.1:80/", "status": ["2xx"], "any_protocol": True, "service": "web"}
    other = {"type": "container", "service": "web"}
    assert discovery.with_answers([plain, other], {"http://127.0.0.1:80/": "http://127.0.0.1:80/health"}) == [
        {"type": "http", "url": "http://127.0.0.1:80/health", "service": "web"},
        other,
    ]
    assert discovery.with_answers([plain], {}) == [plain]
