# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reach an application's PostgreSQL database from its host. Private to this collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _compose, _libraries
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import ContainerState, containers
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected

# How long a server that was killed may take until it lets somebody in again, in seconds.
RECOVERY = 60.0


class DatabaseError(Expected):
    """The database cannot be reached, refused the login or refused a statement."""


@dataclass(frozen=True)
class Login:
    """Where and as whom to log in. The password never appears in a representation of this object.

    ``moved`` returns the address that the server's container has now, '' without one: a container that was started
    again may have another.
    """

    host: str
    port: int
    dbname: str
    user: str
    password: str | None = field(default=None, repr=False)
    container: ContainerState | None = field(default=None, repr=False)
    moved: Callable[[], str] = field(default=lambda: "", repr=False, compare=False)


def _read_secret(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read().rstrip("\n")


def _container_password(client: Any, container: ContainerState) -> str | None:
    """Return the password that the database's own container was started with (official image's variables)."""
    environment = container.environment
    if environment.get("POSTGRES_PASSWORD"):
        return environment["POSTGRES_PASSWORD"]
    path = environment.get("POSTGRES_PASSWORD_FILE")
    if not path:
        return None
    # The file lives inside the container; reading it there needs neither its mount's place on the host nor a shell.
    done = client.api.exec_create(container.id, ["cat", path], user="0")
    output: bytes = client.api.exec_start(done["Id"])
    if client.api.exec_inspect(done["Id"])["ExitCode"] != 0:
        raise DatabaseError(f"the password file {path} of container {container.name} cannot be read")
    return output.decode("utf-8").rstrip("\n")


def _address(container: ContainerState) -> str:
    return next((ip for ip in container.addresses.values() if ip), "")


def _running(client: Any, project: str, service: str) -> list[ContainerState]:
    return [state for state in containers(client, project, services=[service], stopped=False) if state.running]


def find_login(
    client: Any,
    project: str,
    service: str,
    dbname: str,
    user: str,
    password_file: str = "",
    host: str = "",
    port: int = 5432,
) -> Login:
    """Return how to log in to the application's database.

    With ``host`` the server is reached there, outside Docker. Without it the running container of ``service`` is
    reached at its own address on the project's network, so no published port is needed. The password comes from
    ``password_file`` on the host, else from the environment that the database's container was started with.
    Raises :class:`DatabaseError` when no container of the service runs or it has no address.
    """
    password = _read_secret(password_file) if password_file else None
    if host:
        return Login(host, port, dbname, user, password)
    running = _running(client, project, service)
    if not running:
        raise DatabaseError(f"no container of database service '{service}' of project '{project}' is running")
    container = running[0]
    address = _address(container)
    if not address:
        raise DatabaseError(f"container {container.name} has no address on a network of this host")
    if password is None:
        password = _container_password(client, container)

    def moved() -> str:
        try:
            return next(map(_address, _running(client, project, service)), "")
        except _libraries.docker().errors.DockerException:
            return ""

    return Login(address, port, dbname, user, password, container, moved)


def connect(login: Login, *, timeout: float = 10, statement_timeout: float | None = None, deadline: float = 0) -> Any:
    """Return an autocommitting psycopg2 connection. ``timeout`` and ``statement_timeout`` are in seconds.

    For ``deadline`` seconds it is tried again: a server that was killed recovers first. It may be somewhere else then,
    and what is found under its old address may be another container.
    """
    psycopg2 = _libraries.psycopg2()
    host = login.host
    options = f"-c statement_timeout={int(statement_timeout * 1000)}" if statement_timeout else ""
    end = time.monotonic() + deadline
    while True:
        try:
            connection = psycopg2.connect(
                host=host,
                port=login.port,
                dbname=login.dbname,
                user=login.user,
                password=login.password,
                connect_timeout=max(2, int(timeout)),
                application_name="schedgen.rollback",
                options=options,
            )
        except psycopg2.Error as error:
            known, host = host, login.moved() or host
            if host == known and time.monotonic() >= end:
                raise DatabaseError(str(error).strip()) from error
            time.sleep(0.2)
        else:
            connection.autocommit = True
            return connection


def query(
    login: Login, sql: str, params: Sequence[Any] = (), *, timeout: float = 10, deadline: float = 0
) -> list[tuple[Any, ...]]:
    """Run one statement in a connection of its own and return its rows.

    ``timeout`` in seconds holds for the connection and for the statement, ``deadline`` is :func:`connect`'s. Raises
    :class:`DatabaseError`.
    """
    psycopg2 = _libraries.psycopg2()
    connection = connect(login, timeout=timeout, statement_timeout=timeout, deadline=deadline)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, tuple(params) or None)
            return list(cursor.fetchall()) if cursor.description else []
    except psycopg2.Error as error:
        raise DatabaseError(str(error).strip()) from error
    finally:
        connection.close()


def client_of(parameters: Mapping[str, Any]) -> Any:
    """Return a Docker client; None for a database outside Docker."""
    return None if parameters["database_host"] else _compose.connect()


def login_of(client: Any, parameters: Mapping[str, Any]) -> Login | None:
    """Return how to log in to the declared database, None when the application has none.

    Raises ``DatabaseError`` when its server does not run.
    """
    if not parameters["database"]:
        return None
    return find_login(
        client,
        parameters["project_name"] or parameters["application"],
        parameters["database_service"],
        parameters["database"],
        parameters["database_user"] or parameters["database"],
        parameters["database_password_file"] or "",
        parameters["database_host"],
        parameters["database_port"],
    )
