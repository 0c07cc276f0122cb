# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a server's own tools: from its image, or from the host for a server outside Docker.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _command, _libraries
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import Login
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import fitting_version
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store

LABEL = "schedgen.rollback.application"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class ToolError(Expected):
    """A server's tool is missing or failed; the message has its own words."""


@dataclass(frozen=True)
class Script:
    """A shell script of server tools: ``text`` gets ``arguments`` as $1, $2 … and each of ``folders`` as a variable.

    ``what`` names the step in a message.
    """

    what: str
    text: str
    arguments: Sequence[str]
    folders: Mapping[str, str]


def remove_helpers(client: Any, application: str) -> list[str]:
    """Remove one-off containers that a killed run left; return their names."""
    docker = _libraries.docker()
    removed = []
    for entry in client.api.containers(all=True, filters={"label": f"{LABEL}={application}"}):
        with contextlib.suppress(docker.errors.APIError):
            client.api.remove_container(entry["Id"], force=True)
            removed.append(entry["Names"][0].lstrip("/"))
    return removed


def _pgpass(login: Login) -> str:
    escaped = (login.password or "").replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"


def host_tools(version: int, searched: Sequence[str] | None = None) -> str:
    """Return the folder of host tools that fit a server of ``version`` (170002 and the like).

    Raises :class:`ToolError` when there is none: an older pg_dump refuses a newer server, and not every older server
    takes what a newer pg_restore says.
    """
    folders = list(searched) if searched is not None else _searched()
    found: dict[int, str] = {}
    for folder in folders:
        program = os.path.join(folder, "pg_dump")
        if os.path.isfile(program):
            with contextlib.suppress(_command.CommandError):
                told = _VERSION.search(_command.check([program, "--version"], timeout=10).stdout)
                if told:
                    found.setdefault(int(told.group(1)), folder)
    chosen = fitting_version(version // 10000, sorted(found))
    if chosen is None:
        has = f"it has {', '.join(str(major) for major in sorted(found))}" if found else "it has none"
        raise ToolError(
            f"this host has no pg_dump for a server of PostgreSQL {version // 10000} ({has}):"
            f" install postgresql-client-{version // 10000}"
        )
    return found[chosen]


def _searched() -> list[str]:
    """Where packages of several versions put their programs: Debian and its kin, Red Hat and its; then the path."""
    program = shutil.which("pg_dump")
    found = [*glob.glob("/usr/lib/postgresql/*/bin"), *glob.glob("/usr/pgsql-*/bin")]
    return [*sorted(found), *([os.path.dirname(program)] if program else [])]


def run(
    store: Store,
    login: Login,
    script: Script,
    *,
    version: int,
    name: str,
    options: str = "",
    timeout: float | None = None,
) -> float:
    """Run ``script`` against ``login``'s server and return the seconds that it took.

    ``version`` is the server's, ``name`` the one-off container's, ``options`` are settings of its sessions
    (PGOPTIONS). Raises :class:`ToolError` with the tool's own words.
    """
    started = time.monotonic()
    # By file: an argument or a variable of the container would show the password to anybody who may look.
    store.prepare()
    secret = os.path.join(store.root, f"{TEMPORARY}pgpass-{os.getpid()}-{name}")
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(_pgpass(login))
    # A failed stage must not be hidden by a later one; nothing else of the host's environment is of use here.
    text = "set -eu\n" + script.text
    environment = {
        "PGAPPNAME": "schedgen.rollback",
        "PGPORT": str(login.port),
        "PGUSER": login.user,
        "PGOPTIONS": options,
        "PGCONNECT_TIMEOUT": "10",
    }
    try:
        if login.container is None:
            folder = host_tools(version)
            environment.update(script.folders, PGPASSFILE=secret, PGHOST=login.host, PATH=f"{folder}:/usr/bin:/bin")
            _command.check(["sh", "-c", text, "sh", *script.arguments], env=environment, timeout=timeout)
        else:
            inside = {key: f"/rollback/{key.lower()}" for key in script.folders}
            environment.update(inside, PGPASSFILE="/run/rollback-pgpass", PGHOST="127.0.0.1")
            _command.check(
                [
                    "docker",
                    "run",
                    "--rm",
                    f"--name={name}",
                    f"--label={LABEL}={store.application}",
                    f"--network=container:{login.container.id}",
                    "--user=0:0",
                    *[f"--volume={outside}:{inside[key]}" for key, outside in script.folders.items()],
                    f"--volume={secret}:/run/rollback-pgpass:ro",
                    *[f"--env={key}={value}" for key, value in environment.items()],
                    "--entrypoint=sh",
                    login.container.image_id,
                    "-c",
                    text,
                    "sh",
                    *script.arguments,
                ],
                timeout=timeout,
            )
    except _command.CommandError as error:
        raise ToolError(f"{script.what} {error.reason}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(secret)
    return time.monotonic() - started
