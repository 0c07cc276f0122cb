# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several modules make of their arguments, and the errors they answer. Private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _command,
    _compose,
    _databases,
    _dump,
    _files,
    _git,
    _images,
    _libraries,
    _migration_toolbox,
    _pgtools,
    _postgres,
    _releases,
    _store,
    _swap,
    _switching,
    _targets,
    _volumes,
)

# Errors that a person can act on; anything else is a fault of this collection and shows its traceback.
EXPECTED = (
    _command.CommandError,
    _compose.EngineError,
    _compose.ProjectError,
    _databases.RestoreError,
    _dump.DumpError,
    _pgtools.ToolError,
    _files.FilesError,
    _git.GitError,
    _images.ImageError,
    _libraries.MissingLibrary,
    _migration_toolbox.RevertError,
    _postgres.DatabaseError,
    _releases.ReleaseError,
    _store.LockHeld,
    _store.StoreError,
    _switching.PrepareError,
    _targets.TargetError,
    _volumes.VolumeError,
    ValueError,
    OSError,
)


def next_step(error: Exception, otherwise: str) -> str:
    """Return what a person does about an error: something particular where it is known, else ``otherwise``."""
    if isinstance(error, _store.LockHeld):
        return "Wait for that run to end. If you know that it is dead, pass -e rollback_lock_takeover=yes."
    if isinstance(error, _databases.RestoreError) and error.next_step:
        return error.next_step
    if isinstance(error, _libraries.MissingLibrary):
        return f"Run {error.next_step}, then this again."
    return otherwise


def application_of(parameters: Mapping[str, Any]) -> _releases.Application:
    """Return the declared application."""
    return _releases.Application(
        name=parameters["application"],
        src=(parameters["project_src"] or "").rstrip("/"),
        project=parameters["project_name"] or parameters["application"],
        code_services=tuple(parameters["code_services"]),
        compose_files=tuple(parameters["compose_files"]),
        env_files=tuple(parameters["env_files"]),
        profiles=tuple(parameters["profiles"]),
        config_paths=tuple(parameters["config_paths"]),
    )


def database_of(store: _store.Store, client: Any, parameters: Mapping[str, Any]) -> _databases.Database:
    """Return the declared database with the login that may make and rename databases.

    That is the server's own superuser where its container names one, else the database's user. Raises
    ``RestoreError`` when no database is declared, ``DatabaseError`` when its server does not run.
    """
    login = login_of(client, parameters)
    if login is None:
        raise _databases.RestoreError("the application has no database")
    user = parameters.get("admin_user") or ""
    path = parameters.get("admin_password_file") or ""
    if not user and login.container is not None and not parameters["database_password_file"]:
        environment = login.container.environment
        made_with_password = environment.get("POSTGRES_PASSWORD") or environment.get("POSTGRES_PASSWORD_FILE")
        user = environment.get("POSTGRES_USER") or ("postgres" if made_with_password else login.user)
    admin = login
    if user or path:
        admin = _postgres.find_login(
            client,
            parameters["project_name"] or parameters["application"],
            parameters["database_service"],
            login.dbname,
            user or login.user,
            path or parameters["database_password_file"] or "",
            parameters["database_host"],
            parameters["database_port"],
        )
    return _databases.Database(store, login, admin, client, parameters.get("run") or "")


def client_of(parameters: Mapping[str, Any]) -> Any:
    """Return a Docker client; None for a database outside Docker."""
    return None if parameters["database_host"] else _compose.connect()


def login_of(client: Any, parameters: Mapping[str, Any]) -> _postgres.Login | None:
    """Return how to log in to the declared database, None when the application has none.

    Raises ``DatabaseError`` when its server does not run.
    """
    if not parameters["database"]:
        return None
    return _postgres.find_login(
        client,
        parameters["project_name"] or parameters["application"],
        parameters["database_service"],
        parameters["database"],
        parameters["database_user"] or parameters["database"],
        parameters["database_password_file"] or "",
        parameters["database_host"],
        parameters["database_port"],
    )


def pooler_of(database: _databases.Database, parameters: Mapping[str, Any]) -> _swap.Pooler | None:
    """Return the declared pgbouncer."""
    declared = parameters["pooler"]
    if not declared:
        return None
    password = None
    if declared["password_file"]:
        with open(declared["password_file"], encoding="utf-8") as stream:
            password = stream.read().rstrip("\n")
    login = _postgres.Login(declared["host"], declared["port"], "pgbouncer", declared["user"], password)
    return _swap.Pooler(login, declared["database"] or database.name, declared["timeout"])
