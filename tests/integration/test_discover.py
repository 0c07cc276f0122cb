# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""discover.yml and compose_project_info on a real Compose project, and on the reference application."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.schedgen.rollback.plugins.module_utils import _checks, _compose
from ansible_collections.schedgen.rollback.plugins.modules import compose_project_info
from support import interpreter

ROOT = Path(__file__).resolve().parents[2]
NAME = f"discover-test-{os.getpid()}"
PASSWORD = "swordfish-under-the-sea"
VARIABLES = {
    "rollback_hosts", "rollback_application", "rollback_project_src", "rollback_project_name", "rollback_compose_files",
    "rollback_env_files", "rollback_profiles", "rollback_code_services", "rollback_start_first_services",
    "rollback_config_paths", "rollback_volumes", "rollback_database", "rollback_database_service",
    "rollback_database_user", "rollback_database_host", "rollback_database_port", "rollback_database_password_file",
    "rollback_migration_tool", "rollback_migration_table", "rollback_health_checks", "rollback_health_deadline",
    "rollback_state_dir", "rollback_window_quick",
}  # fmt: skip
COMPOSE = f"""
name: {NAME}
services:
  edge:
    image: {NAME}-nginx
    command: [busybox, httpd, -f, -p, "8080", -h, /www]
    ports: ["127.0.0.1::8080"]
    volumes: ["./edge:/etc/nginx/conf.d:ro"]
    stop_grace_period: 0s
  api:
    image: {NAME}-api
    build: .
    environment: {{DATABASE_HOST: db, DATABASE_NAME: shop, DATABASE_USER: shop, DATABASE_PASSWORD: "${{SECRET:?}}"}}
    command: [busybox, sleep, "86400"]
    depends_on: [db]
    stop_grace_period: 0s
  files:
    image: {NAME}-minio
    command: [busybox, sleep, "86400"]
    volumes: ["files:/data"]
    stop_grace_period: 0s
  db:
    image: {NAME}-postgres
    environment: {{POSTGRES_DB: shop, POSTGRES_USER: shop, POSTGRES_PASSWORD: "${{SECRET:?}}"}}
    command: [busybox, sleep, "86400"]
    volumes: ["data:/var/lib/postgresql/data"]
    stop_grace_period: 0s
  extra:
    image: {NAME}-api
    command: [busybox, sleep, "86400"]
    profiles: [more]
    stop_grace_period: 0s
  never:
    image: {NAME}-api
    profiles: [other]
volumes:
  files:
  data:
"""


def run(*argv: str, check: bool = True, **options: Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny image under the names that the project wants."""
    folder = tmp_path_factory.mktemp("image")
    found = shutil.which("busybox")
    if (
        not found
        or "not a dynamic executable" not in subprocess.run(["ldd", found], capture_output=True, text=True).stderr
    ):
        run("apt-get", "download", "busybox-static", cwd=folder)
        run("dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder))
        found = str(next(path for path in folder.rglob("busybox") if path.is_file() and os.access(path, os.X_OK)))
    for name in ("bin", "www"):
        (folder / name).mkdir(exist_ok=True)
    if Path(found) != folder / "bin" / "busybox":
        shutil.copy(found, folder / "bin" / "busybox")
    (folder / "www" / "healthz").write_text("fine")
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder / "bin" / "busybox", "bin/busybox")
        tar.add(folder / "www", "www")
    names = [f"{NAME}-{kind}" for kind in ("nginx", "api", "minio", "postgres")]
    identifier = run("docker", "import", str(archive), names[0])
    for name in names[1:]:
        run("docker", "tag", identifier, name)
    yield identifier
    run("docker", "image", "rm", "--force", *names, check=False)


@pytest.fixture(scope="module")
def project(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001
    """The project, running, in a folder with a space, as a git checkout with a changed file."""
    src = tmp_path_factory.mktemp("my project")
    (src / "compose.yaml").write_text(COMPOSE)
    (src / ".env").write_text(f"SECRET={PASSWORD}\n")
    (src / ".gitignore").write_text(".env\n")
    (src / "package.json").write_text(json.dumps({"dependencies": {"typeorm": "1.1.0"}}))
    (src / "edge").mkdir()
    (src / "edge" / "site.conf").write_text("first\n")
    git = ("git", "-C", str(src), "-c", "user.name=a", "-c", "user.email=a@example.org")
    run(*git, "init", "--quiet")
    run(*git, "add", ".")
    run(*git, "commit", "--quiet", "-m", "First")
    run(*git, "tag", "v1")
    (src / "edge" / "site.conf").write_text("second\n")
    compose = ("docker", "compose", "--project-directory", str(src), "--profile", "more")
    run(*compose, "up", "-d", "--no-build")
    yield src
    run(*compose, "--profile", "other", "down", "--volumes", "--timeout", "0", check=False)


@pytest.fixture(scope="module")
def described(project: Path) -> dict[str, Any]:
    assert project
    client = _compose.connect()
    assert NAME in compose_project_info.running_projects(client)
    return compose_project_info.describe(client, NAME, probe=True, login=True)


def test_a_project_is_read_from_what_runs(described: dict[str, Any], project: Path) -> None:
    assert (described["name"], described["src"], described["src_exists"]) == (NAME, str(project), True)
    assert described["compose_files"] == []
    assert described["running_files"] == [str(project / "compose.yaml")]
    assert described["profiles"] == ["more"]
    assert described["git"]["describe"] == "v1"
    assert described["git"]["changed"] == ("edge/site.conf",)


def test_services_are_judged(described: dict[str, Any]) -> None:
    roles = {service["name"]: service["role"] for service in described["services"]}
    assert roles == {"edge": "proxy", "api": "code", "files": "object store", "db": "database", "extra": "unknown"}
    assert described["code_services"] == ["api"]
    assert described["config_paths"] == ["edge"]
    assert {each["name"]: each["keep"] for each in described["volumes"]} == {
        f"{NAME}_data": False,
        f"{NAME}_files": True,
    }


def test_a_database_that_does_not_answer_is_said(described: dict[str, Any]) -> None:
    database = described["database"]
    assert (database["service"], database["name"], database["user"], database["login"]) == ("db", "shop", "shop", False)
    assert [problem for problem in described["problems"] if "no login to database shop" in problem]
    # The project's source names the tool all the same.
    assert described["migrations"]["tool"] == "typeorm"


def test_the_health_path_that_answers_is_found(described: dict[str, Any]) -> None:
    urls = [check["url"] for check in described["health_checks"] if check["type"] == "http"]
    assert len(urls) == 1
    assert urls[0].endswith("/healthz")
    assert len(_checks.parse_checks(described["health_checks"])) == len(described["health_checks"])


def test_no_secret_is_returned(described: dict[str, Any]) -> None:
    assert PASSWORD not in json.dumps(described, default=str)


@dataclass(frozen=True)
class Done:
    rc: int
    screen: str


def discover(folder: Path, *arguments: str, inventory: str = "localhost,") -> Done:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "PWD": str(folder),
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory, str(ROOT / "discover.yml")]
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": interpreter.PYTHON,
        "rollback_discover_projects": [NAME],
    }
    done = subprocess.run(
        [*command, "-e", json.dumps(values), *arguments],
        capture_output=True, text=True, check=False, timeout=120, cwd=folder, env=environment,
    )  # fmt: skip
    return Done(done.returncode, done.stdout + done.stderr)


@pytest.mark.usefixtures("project")
def test_the_file_is_ready_to_use(tmp_path: Path) -> None:
    done = discover(tmp_path)
    assert done.rc == 0, done.screen
    path = tmp_path / f"rollback-{NAME}.yml"
    text = path.read_text()
    given = yaml.safe_load(text)
    assert set(given) == VARIABLES
    assert given["rollback_hosts"] == "localhost"
    assert given["rollback_code_services"] == ["api"]
    assert given["rollback_profiles"] == ["more"]
    assert given["rollback_volumes"] == [f"{NAME}_files"]
    assert given["rollback_migration_tool"] == "typeorm"
    assert _checks.parse_checks(given["rollback_health_checks"])
    assert PASSWORD not in text + done.screen
    assert "NOT KNOWN: no login to database shop" in text
    for line in ("pre-deploy-backup.yml", "quick-rollback.yml"):
        assert f"ansible-playbook {line} -e" in done.screen
    rules = "{extends: default, rules: {line-length: {max: 160}}}"
    run(str(Path(sys.executable).with_name("yamllint")), "--strict", "-d", rules, str(path))


@pytest.mark.usefixtures("project")
def test_a_file_that_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / f"rollback-{NAME}.yml"
    path.write_text("---\nmine: true\n")
    kept = discover(tmp_path)
    assert kept.rc == 0, kept.screen
    assert "it is there already" in kept.screen
    assert path.read_text() == "---\nmine: true\n"
    again = discover(tmp_path, "-e", "rollback_discover_overwrite=true")
    assert again.rc == 0, again.screen
    assert "rollback_application" in path.read_text()
    assert [other.read_text() for other in tmp_path.iterdir() if other != path] == ["---\nmine: true\n"]


@pytest.mark.usefixtures("project")
def test_check_mode_shows_the_file_and_writes_nothing(tmp_path: Path) -> None:
    done = discover(tmp_path, "--check")
    assert done.rc == 0, done.screen
    assert f"+rollback_application: {NAME}\n" in done.screen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("project")
def test_two_hosts_have_one_file(tmp_path: Path) -> None:
    done = discover(tmp_path, inventory="app1,app2,")
    assert done.rc == 0, done.screen
    assert [path.name for path in tmp_path.iterdir()] == [f"rollback-{NAME}.yml"]
    given = yaml.safe_load((tmp_path / f"rollback-{NAME}.yml").read_text())
    assert given["rollback_hosts"] == "app1,app2"


def test_a_project_that_does_not_run_is_a_failure(tmp_path: Path) -> None:
    done = discover(tmp_path, "-e", '{"rollback_discover_projects": ["no-such-project"]}')
    assert done.rc == 2
    assert "no container of Compose project no-such-project runs" in " ".join(done.screen.split())
    assert list(tmp_path.iterdir()) == []


def test_no_host_is_a_failure(tmp_path: Path) -> None:
    done = discover(tmp_path, "-e", "rollback_hosts=nobody")
    assert done.rc == 2
    assert "No host matches 'nobody'" in done.screen


@pytest.mark.application
@pytest.mark.usefixtures("application_up")
def test_the_reference_application_is_understood() -> None:
    found = compose_project_info.describe(_compose.connect(), "schedgen", probe=True, login=True)
    roles = {service["name"]: service["role"] for service in found["services"]}
    assert roles["postgres"] == "database"
    assert roles["redis"] == "cache"
    assert roles["proxy"] == "proxy"
    assert roles["object-store"] == "object store"
    assert found["code_services"] == ["backend", "frontend", "pdf-worker"]
    assert (found["database"]["name"], found["database"]["user"], found["database"]["login"]) == (
        "schedgen",
        "schedgen",
        True,
    )
    assert found["migrations"]["tool"] == "typeorm"
    assert {each["name"] for each in found["volumes"] if each["keep"]} == {"schedgen_minio_data"}
    assert _checks.parse_checks(found["health_checks"])
    assert found["problems"] == []
