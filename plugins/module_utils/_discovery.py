# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what the parts of a Compose project are, with reasons. Pure; private to this collection.

Every judgement is a suggestion for a person to correct: it names the evidence that it stands on. Values of
environment variables go in, but only names of databases, users and servers come out.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

ROLES = ("database", "cache", "object store", "proxy", "code", "unknown")

# Words in the name of an image that say what is in it.
_IMAGE_WORDS = {
    "database": {
        "postgres", "postgresql", "postgis", "pgvector", "timescaledb", "timescale", "cloudnative", "mysql", "mariadb",
        "percona", "mongo", "mongodb", "cockroach", "clickhouse", "elasticsearch", "opensearch", "mssql",
    },
    "cache": {"redis", "valkey", "memcached", "keydb", "dragonfly", "dragonflydb"},
    "object store": {"minio", "seaweedfs", "garage", "rustfs", "localstack", "azurite"},
    "proxy": {"nginx", "traefik", "haproxy", "caddy", "envoy", "openresty", "angie", "squid", "varnish", "httpd"},
}  # fmt: skip
_NAME_WORDS = {
    "database": {"db", "database", "postgres", "postgresql", "pg", "mysql", "mariadb", "mongo", "mongodb"},
    "cache": {"cache", "redis", "valkey", "memcached"},
    "object store": {"minio", "s3", "objects", "storage", "blobs", "bucket"},
    "proxy": {"proxy", "gateway", "ingress", "nginx", "traefik", "haproxy", "caddy", "lb"},
    "code": {
        "app", "backend", "frontend", "api", "web", "worker", "server", "site", "ui", "scheduler", "cron", "celery",
        "jobs", "queue", "beat", "admin", "portal",
    },
}  # fmt: skip
# What others made and what carries no release of the application, but is none of the roles above.
_FOREIGN = {
    "rabbitmq", "kafka", "zookeeper", "nats", "mosquitto", "prometheus", "grafana", "loki", "alertmanager", "cadvisor",
    "exporter", "jaeger", "mailhog", "mailpit", "adminer", "pgadmin", "pgadmin4", "portainer", "watchtower", "certbot",
    "vault", "consul", "etcd", "keycloak", "pgbouncer", "autoheal", "fluentd", "vector",
}  # fmt: skip
_ENGINES = {
    "postgresql": {"postgres", "postgresql", "postgis", "pgvector", "timescaledb", "timescale", "pg"},
    "mysql": {"mysql", "mariadb", "percona"},
    "mongodb": {"mongo", "mongodb"},
}
_DATA_FOLDERS = {
    "/var/lib/postgresql": "database",
    "/bitnami/postgresql": "database",
    "/var/lib/mysql": "database",
    "/data/db": "database",
    "/etc/nginx": "proxy",
    "/usr/local/etc/haproxy": "proxy",
    "/etc/traefik": "proxy",
    "/etc/caddy": "proxy",
}
_DATABASE_PORTS = {5432: "postgresql", 3306: "mysql", 27017: "mongodb"}
_PUBLIC_REGISTRIES = {"docker.io", "index.docker.io", "quay.io", "mcr.microsoft.com", "gcr.io"}
_SERVER_KEYS = ("DATABASE_HOST", "DB_HOST", "POSTGRES_HOST", "PGHOST", "TYPEORM_HOST", "POSTGRESQL_HOST")
_NAME_KEYS = (
    "POSTGRES_DB",
    "POSTGRESQL_DATABASE",
    "DATABASE_NAME",
    "DB_NAME",
    "DB_DATABASE",
    "PGDATABASE",
    "TYPEORM_DATABASE",
)
_USER_KEYS = (
    "POSTGRES_USER",
    "POSTGRESQL_USERNAME",
    "DATABASE_USER",
    "DB_USER",
    "DB_USERNAME",
    "PGUSER",
    "TYPEORM_USERNAME",
)
_PORT_KEYS = ("DATABASE_PORT", "DB_PORT", "POSTGRES_PORT", "PGPORT", "TYPEORM_PORT")
_URL_KEYS = ("DATABASE_URL", "DB_URL", "POSTGRES_URL", "TYPEORM_URL", "SQLALCHEMY_DATABASE_URI")
_URL_SCHEMES = ("postgres", "postgresql")

# Columns by which a migration tool's own table is known, whatever it is called.
_TABLES = {
    "typeorm": ("migrations", {"id", "timestamp", "name"}),
    "alembic": ("alembic_version", {"version_num"}),
    "django": ("django_migrations", {"app", "name", "applied"}),
    "knex": ("knex_migrations", {"id", "name", "batch", "migration_time"}),
    "prisma": ("_prisma_migrations", {"migration_name", "checksum", "finished_at"}),
}
_FOREIGN_TABLES = {
    "flyway_schema_history": "Flyway",
    "databasechangelog": "Liquibase",
    "schema_migrations": "Rails or golang-migrate",
    "sequelizemeta": "Sequelize",
    "goose_db_version": "goose",
    "doctrine_migration_versions": "Doctrine",
}
# The order counts where a project names several: knex also comes along as a query builder.
_NODE_PACKAGES = (("typeorm", "typeorm"), ("@prisma/client", "prisma"), ("prisma", "prisma"), ("knex", "knex"))


@dataclass(frozen=True)
class Service:
    """What was observed about one service of a running project."""

    name: str
    image: str = ""
    build: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mapping[str, Any], ...] = ()
    ports: tuple[Mapping[str, Any], ...] = ()
    healthcheck: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    container_name: str = ""
    running: int = 0
    replicas: int = 1
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What a service is taken for, and why."""

    role: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Database:
    """The application's database: where, what, and why it is taken for that. ``service`` is '' outside the project."""

    engine: str
    service: str = ""
    name: str = ""
    user: str = ""
    host: str = ""
    port: int = 5432
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Migrations:
    """The migration tool, its table where that is not the tool's default, and why."""

    tool: str = "none"
    table: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A volume of the project, and whether a restore point should hold it."""

    name: str
    keep: bool
    services: tuple[str, ...]
    reason: str


def words(text: str) -> set[str]:
    """Return the words of a name: ``schedgen-demo-nginx`` has three."""
    return {word for word in re.split(r"[^a-z0-9]+", text.lower()) if word}


def image_parts(reference: str) -> tuple[str, str, str]:
    """Split an image reference into registry, repository and tag (or digest)."""
    name, _at, digest = reference.partition("@")
    head, slash, rest = name.partition("/")
    registry = head if slash and ("." in head or ":" in head or head == "localhost") else ""
    path = rest if registry else name
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, ""
    return registry, repository, digest or tag


def _healthcheck_role(healthcheck: Sequence[str]) -> str:
    text = " ".join(healthcheck)
    if re.search(r"\b(pg_isready|psql|mysqladmin|mongosh?)\b", text):
        return "database"
    if re.search(r"\b(redis-cli|valkey-cli)\b", text):
        return "cache"
    return "object store" if "/minio/health" in text else ""


def _score(service: Service, project: str, infrastructure: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Return for each role the evidence that speaks for it, with its weight."""
    found: dict[str, list[tuple[int, str]]] = {role: [] for role in ROLES}
    registry, repository, _tag = image_parts(service.image)
    image_words, name_words = words(repository), words(service.name)

    if any(key.startswith(("POSTGRES_", "POSTGRESQL_")) and key in service.environment for key in _NAME_KEYS) or (
        {"POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_HOST_AUTH_METHOD"} & set(service.environment)
        and not {"POSTGRES_HOST", "DATABASE_URL"} & set(service.environment)
    ):
        found["database"].append((3, "its environment sets up a PostgreSQL server"))
    last = words(repository.rsplit("/", 1)[-1])
    for role, listed in _IMAGE_WORDS.items():
        hit = sorted(image_words & listed)
        if hit:
            found[role].append((3 if last & listed else 2, f"its image is called {repository}"))
    foreign = sorted(image_words & _FOREIGN)
    if foreign:
        found["unknown"].append((6, f"{foreign[0]} carries no release of the application"))
    for mount in service.mounts:
        for folder, role in _DATA_FOLDERS.items():
            if str(mount.get("Destination", "")).startswith(folder):
                found[role].append((2, f"something is mounted on {folder}"))
    role = _healthcheck_role(service.healthcheck)
    if role:
        found[role].append((2, "its health check asks for that"))
    for role, listed in _NAME_WORDS.items():
        if name_words & listed:
            found[role].append((1, f"it is called {service.name}"))
    if {"object", "store"} <= name_words:
        found["object store"].append((2, f"it is called {service.name}"))
    if service.build:
        found["code"].append((4, "it is built from the project's own source"))
    known = any(found[role] for role in ("database", "cache", "object store"))
    if registry and registry not in _PUBLIC_REGISTRIES and not known:
        found["code"].append((2, f"its image comes from {registry}"))
    if words(project) and words(project) <= image_words:
        found["code"].append((1, "its image is named after the project"))
    needs = sorted(set(service.depends_on) & set(infrastructure))
    if needs:
        found["code"].append((1, f"it needs {', '.join(needs)}"))
    if _points_to_database(service.environment):
        found["code"].append((2, "its environment points to a database"))
    return found


def _points_to_database(environment: Mapping[str, str]) -> bool:
    return any(key in environment for key in (*_SERVER_KEYS, *_URL_KEYS))


def judge(service: Service, project: str = "", infrastructure: Iterable[str] = ()) -> Judgement:
    """Say what a service is. ``infrastructure`` names the services that are known to be databases, caches or stores."""
    found = _score(service, project, infrastructure)
    totals = {role: sum(weight for weight, _reason in evidence) for role, evidence in found.items()}
    best = max(ROLES, key=lambda role: (totals[role], -ROLES.index(role)))
    if totals[best] < 2:
        return Judgement("unknown", ("nothing about it says what it is",))
    reasons: list[str] = []
    for _weight, reason in sorted(found[best], key=lambda evidence: -evidence[0]):
        if reason not in reasons:
            reasons.append(reason)
    return Judgement(best, tuple(reasons))


def judge_all(services: Sequence[Service], project: str = "") -> dict[str, Judgement]:
    """Say what each service of a project is; the second look knows which others they need."""
    first = {service.name: judge(service, project) for service in services}
    infrastructure = [name for name, judged in first.items() if judged.role in ("database", "cache", "object store")]
    return {service.name: judge(service, project, infrastructure) for service in services}


def _first(environment: Mapping[str, str], keys: Sequence[str], default: str = "") -> str:
    return next((environment[key] for key in keys if environment.get(key)), default)


def engine(service: Service) -> str:
    """Return which database a database service is: postgresql, mysql, mongodb or ''."""
    if any(key.startswith(("POSTGRES_", "POSTGRESQL_")) for key in service.environment):
        return "postgresql"
    known = words(image_parts(service.image)[1]) | words(service.name)
    for name, names in _ENGINES.items():
        if known & names:
            return name
    ports = {int(port.get("container_port") or 0) for port in service.ports}
    return next((name for port, name in _DATABASE_PORTS.items() if port in ports), "")


def _connection(environment: Mapping[str, str]) -> tuple[str, int, str, str] | None:
    """Return (host, port, database, user) that a service connects to, without its password."""
    for key in _URL_KEYS:
        try:
            parts = urlsplit(environment.get(key, ""))
            scheme = parts.scheme.split("+")[0]
            # An @ in the path: the password was not escaped, and what looks like a name may be a part of it.
            if scheme in _URL_SCHEMES and parts.hostname and "@" not in parts.path:
                name = unquote(parts.path.lstrip("/"))
                return parts.hostname, parts.port or 5432, name, unquote(parts.username or "")
        except ValueError:
            continue
    host = _first(environment, _SERVER_KEYS)
    if not host:
        return None
    port = _first(environment, _PORT_KEYS, "5432")
    name, user = _first(environment, _NAME_KEYS), _first(environment, _USER_KEYS)
    return host, int(port) if port.isdigit() else 5432, name, user


def find_database(services: Sequence[Service], roles: Mapping[str, Judgement]) -> Database | None:
    """Return the application's database: a PostgreSQL service of the project, else a server that its code points to.

    Another engine is returned as well (``engine`` says which), so that a person is told.
    """
    connections = [
        (service.name, *found)
        for service in services
        if roles[service.name].role != "database" and (found := _connection(service.environment))
    ]
    servers = [service for service in services if roles[service.name].role == "database"]
    for service in sorted(servers, key=lambda each: engine(each) != "postgresql"):
        kind = engine(service)
        if kind != "postgresql":
            return Database(kind or "unknown", service=service.name, reasons=roles[service.name].reasons)
        user = _first(service.environment, ("POSTGRES_USER", "POSTGRESQL_USERNAME"), "postgres")
        name = _first(service.environment, ("POSTGRES_DB", "POSTGRESQL_DATABASE"), user)
        reasons = [*roles[service.name].reasons]
        names = {service.name, service.container_name}
        used = [each for each in connections if each[1] in names]
        # What the code really uses counts more than what the server was first set up with.
        if used and used[0][3] and (used[0][3], used[0][4] or user) != (name, user):
            name, user = used[0][3], used[0][4] or user
            reasons.append(f"{used[0][0]} uses database {name} as {user}")
        return Database("postgresql", service.name, name, user, reasons=tuple(reasons))
    inside = {service.name for service in services} | {service.container_name for service in services}
    for who, host, port, name, user in connections:
        if host not in inside:
            return Database("postgresql", "", name, user, host, port, (f"{who} points to the server {host}",))
    return None


def find_migrations(tables: Mapping[str, Iterable[str]], files: Mapping[str, str]) -> Migrations:
    """Return the migration tool by what the database holds, else by what the project's source names.

    ``tables`` are the columns of each table (its name with the schema, unless that is ``public``); ``files`` are
    contents by path, of files that a tool or its packages are declared in.
    """
    columns = {name: {column.lower() for column in found} for name, found in tables.items()}
    for tool, (default, needed) in _TABLES.items():
        if default in columns and needed <= columns[default]:
            return Migrations(tool, "", (f"the database has {tool}'s table {default}",))
    for name, found in sorted(columns.items()):
        bare = name.rsplit(".", 1)[-1]
        for tool, (default, needed) in _TABLES.items():
            named = bare == default or "migration" in bare or tool in bare
            if named and (found == needed or (tool not in ("typeorm", "alembic") and needed <= found)):
                return Migrations(tool, name, (f"the database has a table {name} with {tool}'s columns",))
    for name in sorted(columns):
        other = _FOREIGN_TABLES.get(name.rsplit(".", 1)[-1].lower())
        if other:
            return Migrations(reasons=(f"the database has a table {name} of {other}, which is not known here",))
    by_file = _by_files(files)
    if by_file.tool != "none" and tables:
        return Migrations(by_file.tool, "", (*by_file.reasons, "its table is not in the database yet"))
    return by_file


def _by_files(files: Mapping[str, str]) -> Migrations:
    for path, text in sorted(files.items(), key=lambda entry: (entry[0].count("/"), entry[0])):
        name = os.path.basename(path)
        if name == "package.json":
            for package, tool in _NODE_PACKAGES:
                if re.search(rf'"{re.escape(package)}"\s*:', text):
                    return Migrations(tool, "", (f"{path} names {package}",))
        elif name == "alembic.ini":
            return Migrations("alembic", "", (f"there is a {path}",))
        elif name == "schema.prisma":
            return Migrations("prisma", "", (f"there is a {path}",))
        elif name == "manage.py" and "django" in text.lower():
            return Migrations("django", "", (f"there is a {path}",))
    for path, text in sorted(files.items()):
        if os.path.basename(path) in ("requirements.txt", "pyproject.toml"):
            for package in ("alembic", "django"):
                if re.search(rf"(?im)^[\s\"']*{package}\b", text):
                    return Migrations(package, "", (f"{path} names {package}",))
    return Migrations(reasons=("neither the database nor the project's source names a migration tool",))


def find_volumes(services: Sequence[Service], roles: Mapping[str, Judgement]) -> list[Volume]:
    """Return the named volumes, and which of them hold data that nothing else brings back."""
    users: dict[str, list[tuple[Service, bool]]] = {}
    for service in services:
        for mount in service.mounts:
            if mount.get("Type") == "volume" and mount.get("Name"):
                users.setdefault(str(mount["Name"]), []).append((service, bool(mount.get("RW", True))))
    found = []
    for name, entries in sorted(users.items()):
        names = tuple(sorted({service.name for service, _written in entries}))
        kinds = {roles[service.name].role for service, _written in entries}
        if re.fullmatch(r"[0-9a-f]{64}", name):
            keep, reason = False, "it has no name of its own, so Compose does not keep it either"
        elif kinds == {"database"}:
            keep, reason = False, "the database is dumped by its own tools"
        elif kinds == {"cache"}:
            keep, reason = False, "a cache fills itself again"
        elif not any(written for _service, written in entries):
            keep, reason = False, "nobody writes to it"
        else:
            keep, reason = True, f"{_listed(names)} {'keeps' if len(names) == 1 else 'keep'} data in it"
        found.append(Volume(name, keep, names, reason))
    return found


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def config_paths(services: Sequence[Service], src: str, roles: Mapping[str, Judgement]) -> list[str]:
    """Return what is mounted read-only from the host: configuration. Paths inside the project are relative to it."""
    found = set()
    for service in services:
        for mount in service.mounts:
            source = str(mount.get("Source", ""))
            if mount.get("Type") != "bind" or mount.get("RW", True) or roles[service.name].role == "unknown":
                continue
            if source.startswith(("/var/run", "/run", "/proc", "/sys", "/etc/localtime", "/etc/timezone", "/dev")):
                continue
            inside = src and (source == src or source.startswith(src.rstrip("/") + "/"))
            relative = os.path.relpath(source, src) if inside else source
            if relative != ".":
                found.add(relative)
    return sorted(found)


def start_first(services: Sequence[Service], roles: Mapping[str, Judgement]) -> list[str]:
    """Return the code services that could be replaced without a gap: a second one can start beside the first."""
    return [
        service.name
        for service in services
        if roles[service.name].role == "code"
        and not service.ports
        and not service.container_name
        and service.healthcheck
        and not words(service.name) & {"worker", "scheduler", "cron", "beat", "jobs"}
    ]


def compose_files(files: Sequence[str], src: str, defaults: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return what ``rollback_compose_files`` has to say: nothing where Compose finds the same files by itself."""
    relative = [os.path.relpath(path, src) if path.startswith(src.rstrip("/") + "/") else path for path in files]
    by_itself = len(relative) in (1, 2) and relative[0] in defaults and set(relative[1:]) <= set(overrides)
    return [] if by_itself else relative


def with_answers(checks: Sequence[Mapping[str, Any]], answers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return derived health checks with the health path that really answered, by the check's own address."""
    changed = []
    for check in checks:
        better = answers.get(str(check.get("url", "")))
        if better:
            kept = {key: value for key, value in check.items() if key not in ("any_protocol", "status")}
            changed.append({**kept, "url": better})
        else:
            changed.append(dict(check))
    return changed
