# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Compose-like application of its own for tests of migrations: a PostgreSQL server, releases, a network."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._catalog_reader import keep
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import LABEL, connect
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import Database
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    Manifest,
    Release,
    ServiceRelease,
    to_json,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import (
    DatabaseError,
    Login,
    connect as connect_database,
    find_login,
    query,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

ROOT = Path(__file__).resolve().parents[2]
SERVER = "schedgen-demo-postgres:trixie"
PASSWORD = "s3cret:with\\odd characters"


def run(*argv: str, check: bool = True, text: str | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, input=text)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def build(
    tag: str, dockerfile: str, files: dict[str, str] | None = None, folders: dict[str, Path] | None = None
) -> str:
    """Build an image from a Dockerfile, small files and folders; nothing is downloaded."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
        for name, folder in (folders or {}).items():
            archive.add(folder, arcname=name)
    argv = ["docker", "build", "--quiet", f"--tag={tag}", "-"]
    done = subprocess.run(argv, input=buffer.getvalue(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return tag


class MigrationProject:
    """One application. Its containers carry Compose's labels, so that the product takes them for a project."""

    def __init__(self, state_dir: Path, *options: str) -> None:
        self.name = f"migrations{os.getpid()}{uuid.uuid4().hex[:6]}"
        self.state_dir = state_dir
        self.client = connect()
        self.containers: list[str] = []
        run("docker", "network", "create", self.name)
        self.start("postgres", SERVER, options=options, environment={
            "POSTGRES_DB": "schedgen", "POSTGRES_USER": "schedgen", "POSTGRES_PASSWORD": PASSWORD,
        })  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                query(self.login, "SELECT 1")
                break
            except DatabaseError:
                assert time.monotonic() < end, "PostgreSQL did not come up"
                time.sleep(0.1)

    @property
    def login(self) -> Login:
        return find_login(self.client, self.name, "postgres", "schedgen", "schedgen")

    @property
    def maintenance(self) -> Login:
        """A login beside the application's database: a session in it would be in the way."""
        return replace(self.login, dbname="postgres")

    @property
    def database(self) -> Database:
        return Database(Store(str(self.state_dir), self.name), self.login, self.login, self.client)

    def sql(self, statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return query(self.login, statement, params)

    def session(self) -> Any:
        return connect_database(self.login)

    def start(
        self,
        service: str,
        image: str,
        *command: str,
        environment: dict[str, str] | None = None,
        wait: bool = True,
        options: Sequence[str] = (),
    ) -> str:
        """Start a service's container; with ``wait`` false it may end at once."""
        self.stop(service)
        name = f"{self.name}-{service}-1"
        argv = [
            "docker",
            "run",
            "--detach",
            f"--name={name}",
            f"--network={self.name}",
            f"--network-alias={service}",
            *options,
        ]
        for key, value in {
            "project": self.name, "service": service, "oneoff": "False", "container-number": "1",
        }.items():  # fmt: skip
            argv.append(f"--label={LABEL}{key}={value}")
        argv += ["--restart=on-failure"] if not wait else []
        argv += [f"--env={key}={value}" for key, value in (environment or {}).items()]
        run(*argv, image, *command)
        self.containers.append(name)
        return name

    def record(self, history: Sequence[str] | None, catalog: Any, tool: str = "typeorm", label: str = "v1") -> str:
        """Keep a restore point that knows this history and this catalogue; return its id."""
        store = Store(str(self.state_dir), self.name)
        identifier, folder = store.begin_point()
        service = ServiceRelease("sha256:" + "0" * 64, f"backend:{label}", code=True)
        manifest = Manifest(
            id=identifier,
            application=self.name,
            created="2026-11-22T13:15:00Z",
            purpose="deploy",
            release=Release({"backend": service}),
            health={"verdict": "healthy", "reasons": []},
            migrations=None if history is None else {"tool": tool, "applied": list(history)},
        )
        if catalog is not None:
            keep(folder, catalog)
        store.complete_point(identifier, folder, to_json(manifest))
        return identifier

    def arguments(self, **given: Any) -> dict[str, Any]:
        """Return what every module is told of this application."""
        return {
            "application": self.name,
            "state_dir": str(self.state_dir),
            "project_name": self.name,
            "code_services": ["backend"],
            "database": "schedgen",
            "migration_tool": "typeorm",
            **given,
        }

    def process(self, module: str, **given: Any) -> subprocess.Popen[str]:
        """Start a module as Ansible does: a process of its own that reads its arguments."""
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "plugins" / "modules" / f"{module}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": self.arguments(**given)}))
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, module: str, **given: Any) -> dict[str, Any]:
        """Run a module to its end and return its result."""
        output, _errors = self.process(module, **given).communicate(timeout=300)
        assert PASSWORD not in output
        result: dict[str, Any] = json.loads(output)
        return result

    def stop(self, service: str) -> None:
        run("docker", "rm", "--force", "--volumes", f"{self.name}-{service}-1", check=False)

    def close(self) -> None:
        for name in dict.fromkeys(self.containers):
            run("docker", "rm", "--force", "--volumes", name, check=False)
        run("docker", "network", "rm", self.name, check=False)


RUNTIME = "schedgen-demo-backend-runtime:trixie"
COMPILED = "schedgen-demo-backend-build:trixie"
V1 = ("1760000000001-create-jobs", "1760000000002-create-job-events", "1760000000003-drop-jobs-draft")
V2 = (
    *V1,
    "1761000000001-add-job-priority",
    "1761000000002-add-cancelled-status",
    "1761000000003-split-customer",
    "1761000000004-index-jobs-by-time",
)
TYPEORM_ENVIRONMENT = {
    "DATABASE_HOST": "postgres",
    "DATABASE_NAME": "schedgen",
    "DATABASE_USER": "schedgen",
    "DATABASE_PASSWORD": PASSWORD,
}


def typeorm_image(tag: str, migrations: Sequence[str], more: dict[str, str] | None = None) -> str:
    """Build a release of the demo's backend that has these migrations, and files of the test's own in ``dist``."""
    wanted = " ".join(f"/migrations/{name}.js" for name in migrations)
    release = {"release.json": '{"version": "test", "features": [], "faults": []}'}
    copies = "COPY release.json .\n" + "".join(f"COPY {name} dist/{name}\n" for name in more or {})
    return build(
        tag,
        f"FROM {COMPILED} AS build\nRUN mkdir /out && cp {wanted} /out/\n"
        f"FROM {RUNTIME}\nCOPY --from=build /out dist/migrations\n{copies}",
        {**release, **(more or {})},
    )


# What a release may bring wrong: a `down` that stops half-way, that hangs, that rows are in the way of.
BROKEN = """
export class Broken1769000000001 {
  async up(runner) { await runner.query('ALTER TABLE jobs ADD COLUMN extra text'); }
  async down(runner) { %s }
}
"""


def broken_image(tag: str, down: str) -> str:
    """Build a release that adds one column with a migration whose `down` is given."""
    return typeorm_image(tag, V1, {"migrations/1769000000001-broken.js": BROKEN % down})


def migrate(project: MigrationProject, image: str) -> None:
    """Migrate the project's database with a release's own image."""
    environment = [f"--env={key}={value}" for key, value in TYPEORM_ENVIRONMENT.items()]
    tool = ("node_modules/.bin/typeorm", "migration:run", "-d", "dist/data-source.js")
    run("docker", "run", "--rm", f"--network={project.name}", *environment, image, *tool)


def others(project: MigrationProject) -> list[str]:
    """Return the databases that reverts have left beside the live one."""
    found = query(project.maintenance, "SELECT datname FROM pg_database WHERE datname ~ '^schedgen_' ORDER BY 1")
    return [row[0] for row in found]


def begin_again(project: MigrationProject, image: str) -> None:
    """Give the project a fresh database, migrated by this image, with one row."""
    beside = project.maintenance
    for name in others(project):
        query(beside, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        query(beside, f'DROP DATABASE "{name}" WITH (FORCE)')
    query(beside, "DROP DATABASE IF EXISTS schedgen WITH (FORCE)")
    query(beside, "CREATE DATABASE schedgen")
    migrate(project, image)
    project.sql("INSERT INTO jobs (key, title, customer, amount) VALUES ('a', 'A', 'Ada <ada@example.org>', 5)")


def helpers(project: MigrationProject) -> str:
    """Return the one-off containers and networks of the project's application that are still there."""
    label = f"--filter=label=schedgen.rollback.application={project.name}"
    return run("docker", "ps", "--all", "--quiet", label) + run("docker", "network", "ls", "--quiet", label)
