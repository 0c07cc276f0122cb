#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_project_info
short_description: Find the Compose projects that run on a host, and judge what their parts are
description:
  - Reads the running Compose projects of a host from Docker Engine, from C(docker compose config) and from their
    folders, and judges what each service is, where the database is, which migration tool keeps its books there, which
    volumes hold data, and which health checks fit. Every judgement comes with its reasons.
  - It starts, stops and writes nothing. With O(probe=true) it asks published HTTP ports for a health path, with
    O(login=true) it logs in to the database to look at the names of its tables.
  - Values of environment variables and other secrets are not returned; names of databases and users are.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application.libraries
  - schedgen.rollback.attributes
  - schedgen.rollback.attributes.actiongroup_rollback
  - schedgen.rollback.attributes.info_module
options:
  projects:
    description:
      - Names of the Compose projects to look at. The default is every project of which a container runs.
    type: list
    elements: str
    default: []
  probe:
    description:
      - Whether to ask published HTTP ports of the projects for the usual health paths.
    type: bool
    default: true
  login:
    description:
      - Whether to log in to the database to find the migration tool. When the login fails, the project's source is
        read instead and the reason is among the project's RV(projects[].problems).
    type: bool
    default: true
  application:
    description:
      - Not used. It is accepted so that the defaults of the action group can be set for all modules.
    type: str
  state_dir:
    description:
      - Not used. It is accepted so that the defaults of the action group can be set for all modules.
    type: path
"""

EXAMPLES = r"""
- name: See what runs on a host
  schedgen.rollback.compose_project_info:
  register: found

- name: Look at one project without touching its ports and its database
  schedgen.rollback.compose_project_info:
    projects:
      - schedgen
    probe: false
    login: false
"""

RETURN = r"""
projects:
  description: The projects, by name.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the project.
      type: str
    src:
      description: Its folder on the host, from the labels of its containers.
      type: str
    src_exists:
      description: Whether that folder is there.
      type: bool
    compose_files:
      description: Its compose files as they have to be named, relative to the folder; empty where Compose finds them.
      type: list
      elements: str
    running_files:
      description: The compose files that the containers were made from, as their labels say.
      type: list
      elements: str
    env_files:
      description: Environment files that were named when the containers were made, relative to the folder.
      type: list
      elements: str
    profiles:
      description: Profiles of services that run.
      type: list
      elements: str
    git:
      description: Commit, branch, description, changed and untracked files of the folder. Empty when it is no checkout.
      type: dict
    services:
      description:
        - The services, each with C(name), C(role) (V(code), V(database), V(cache), V(proxy), V(object store) or
          V(unknown)), C(reasons), C(image), C(running), C(replicas), C(ports), C(healthcheck), C(depends_on),
          C(volumes), C(build) and C(container_name).
      type: list
      elements: dict
    code_services:
      description: Names of the services that carry code.
      type: list
      elements: str
    start_first_candidates:
      description: Code services that have no published port and no fixed name, but a health check.
      type: list
      elements: str
    database:
      description:
        - C(engine), C(service), C(name), C(user), C(host), C(port), C(reasons) and C(login) (whether it works). Empty
          when there is none.
      type: dict
    migrations:
      description: C(tool), C(table) (empty for the tool's default) and C(reasons).
      type: dict
    volumes:
      description: Named volumes, each with C(name), C(keep), C(services) and C(reason).
      type: list
      elements: dict
    config_paths:
      description: What is mounted read-only from the host, relative to the folder where it is inside.
      type: list
      elements: str
    health_checks:
      description: Health checks in the form that M(schedgen.rollback.health_info) takes.
      type: list
      elements: dict
    problems:
      description: What could not be read, in sentences.
      type: list
      elements: str
rollback_screen:
  description: What an operator's screen shows of this.
  type: dict
  returned: always
"""

import dataclasses
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _checks,
    _compose,
    _discovery,
    _git,
    _libraries,
    _postgres,
    _probes,
    _redact,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import explain

HEALTH_PATHS = ("/health", "/healthz", "/api/health", "/api/v1/health", "/actuator/health", "/status")
_SOURCES = ("package.json", "alembic.ini", "manage.py", "schema.prisma", "requirements.txt", "pyproject.toml")
_DEEPEST = 2
_LARGEST = 200_000
_SKIPPED = {"node_modules", "vendor", "dist", "build", "venv"}
_COLUMNS = """
SELECT CASE table_schema WHEN 'public' THEN table_name ELSE table_schema || '.' || table_name END,
       array_agg(column_name::text)
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
GROUP BY table_schema, table_name
"""


def running_projects(client: Any) -> list[str]:
    """Return the names of the Compose projects of which a container runs."""
    docker = _libraries.docker()
    try:
        listed = client.api.containers(filters={"label": [_compose.LABEL + "project", _compose.LABEL + "oneoff=False"]})
    except (docker.errors.DockerException, OSError) as error:
        raise _compose.EngineError(f"the Docker engine did not list its containers: {error}") from error
    return sorted({entry["Labels"][_compose.LABEL + "project"] for entry in listed})


def _relative(paths: Iterable[str], src: str) -> list[str]:
    prefix = src.rstrip("/") + "/"
    return [path[len(prefix) :] if path.startswith(prefix) else path for path in paths]


def read_sources(src: str) -> dict[str, str]:
    """Return the files near the top of a project's folder that can name a migration tool, by relative path."""
    found = {}
    for folder, folders, names in os.walk(src):
        depth = os.path.relpath(folder, src).count(os.sep) + (folder != src)
        folders[:] = sorted(
            name for name in folders if depth < _DEEPEST and not name.startswith(".") and name not in _SKIPPED
        )
        for name in sorted(set(names) & set(_SOURCES)):
            path = os.path.join(folder, name)
            try:
                with open(path, encoding="utf-8", errors="replace") as stream:
                    found[os.path.relpath(path, src)] = stream.read(_LARGEST)
            except OSError:
                continue
    return found


def _words(error: Exception) -> str:
    """Return what an error says, without the warnings that Compose puts before it and without secrets."""
    lines = [line for line in str(error).splitlines() if line.strip() and "level=warning" not in line]
    first = str(error).split(" failed: ", 1)[0]
    text = " ".join(lines) if len(lines) == len(str(error).splitlines()) else ": ".join([first, *lines[-1:]])
    return str(_redact.redact(text))


def _services(
    states: Sequence[_compose.ContainerState], facts: Sequence[Mapping[str, Any]], rendered: Mapping[str, Any]
) -> list[_discovery.Service]:
    declared: Mapping[str, Any] = rendered.get("services") or {}
    found = []
    for name in sorted({state.service for state in states}):
        mine = [state for state in states if state.service == name]
        looked = next(fact for fact in facts if fact["service"] == name)
        about = declared.get(name) or {}
        running = sum(1 for state in mine if state.running)
        replicas = about.get("scale") or (about.get("deploy") or {}).get("replicas") or len(mine)
        found.append(
            _discovery.Service(
                name=name,
                image=mine[0].reference,
                build=bool(about.get("build")),
                environment=mine[0].environment,
                mounts=mine[0].mounts,
                ports=tuple(looked["ports"]),
                healthcheck=tuple(looked["healthcheck"]),
                # A container made with --no-deps carries no label about what its service needs.
                depends_on=tuple(sorted({*looked["depends_on"], *(about.get("depends_on") or ())})),
                # Compose names containers after project, service and number; another name was asked for.
                container_name=mine[0].name if not mine[0].name.endswith(f"-{mine[0].number}") else "",
                running=running,
                replicas=int(replicas),
                profiles=tuple(about.get("profiles") or ()),
            )
        )
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_keywords: Any) -> None:
        """Follow nobody: only the port's own answer counts."""
        return


def _answers(url: str) -> bool:
    # The project's own port on this host: never through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(url, timeout=2) as answer:
            return 200 <= answer.status < 300 and "text/html" not in answer.headers.get("Content-Type", "")
    except (OSError, ValueError, urllib.error.URLError):
        return False


def health_paths(checks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return for each HTTP check that only knows a port the health address that answers there."""
    found = {}
    for check in checks:
        if check["type"] != "http" or not check.get("any_protocol") or not check["url"].startswith("http://"):
            continue
        for path in HEALTH_PATHS:
            url = urllib.parse.urljoin(check["url"], path)
            if _answers(url):
                found[check["url"]] = url
                break
    return found


def _tables(client: Any, project: str, database: _discovery.Database) -> dict[str, list[str]]:
    login = _postgres.find_login(
        client, project, database.service, database.name, database.user, host=database.host, port=database.port
    )
    return {str(name): list(columns) for name, columns in _postgres.query(login, _COLUMNS, timeout=5)}


def describe(client: Any, name: str, *, probe: bool, login: bool) -> dict[str, Any]:
    """Return what is known about one project. Raises ``EngineError`` and ``MissingLibrary`` (docker)."""
    states = _compose.containers(client, name)
    facts = _probes.look_at_containers(client, name)
    # Between the two looks a container can go or come: a service counts that both have seen.
    both = {state.service for state in states} & {str(fact["service"]) for fact in facts}
    states = [state for state in states if state.service in both]
    src = next((state.working_dir for state in states if state.working_dir), "")
    files = next((state.config_files for state in states if state.config_files), ())
    env_files = next((state.env_files for state in states if state.env_files), ())
    there = bool(src) and os.path.isdir(src)
    problems = []
    rendered: dict[str, Any] = {}
    git: dict[str, Any] = {}
    if not there:
        problems.append(f"the project's folder {src or '(unknown)'} is not on this host")
    else:
        try:
            rendered = _compose.Project(name, src, files, env_files, ("*",)).config()
        except (_compose.ProjectError, ValueError) as error:
            problems.append(f"the compose files cannot be read: {_words(error)}")
        try:
            read = _git.read(src)
            git = dataclasses.asdict(read[0]) if read else {}
        except (_git.GitError, OSError) as error:
            problems.append(f"the git checkout cannot be read: {_words(error)}")

    services = _services(states, facts, rendered)
    roles = _discovery.judge_all(services, name)
    database = _discovery.find_database(services, roles)
    works = False
    tables: dict[str, list[str]] = {}
    if database is not None and database.engine != "postgresql":
        problems.append(f"the database of service {database.service} is no PostgreSQL: {database.engine}")
    elif database is not None and login:
        try:
            tables = _tables(client, name, database)
            works = True
        except (_postgres.DatabaseError, _libraries.MissingLibrary, OSError) as error:
            problems.append(f"no login to database {database.name}: {_words(error)}")
    migrations = _discovery.find_migrations(tables, read_sources(src) if there else {})

    usable = database if database is not None and database.engine == "postgresql" else None
    wanted = {"name": usable.name, "service": usable.service, "host": usable.host} if usable and works else None
    checks = _checks.derive_checks(facts, wanted)
    if probe:
        checks = _discovery.with_answers(checks, health_paths(checks))
    return {
        "name": name,
        "src": src,
        "src_exists": there,
        "compose_files": _discovery.compose_files(files, src, _compose.DEFAULT_FILES, _compose.OVERRIDE_FILES),
        "running_files": list(files),
        "env_files": _relative(env_files, src),
        "profiles": sorted({profile for service in services for profile in service.profiles if service.running}),
        "git": git,
        "services": [_told(service, roles[service.name]) for service in services],
        "code_services": [service.name for service in services if roles[service.name].role == "code"],
        "start_first_candidates": _discovery.start_first(services, roles),
        "database": {**dataclasses.asdict(database), "login": works} if database is not None else {},
        "migrations": dataclasses.asdict(migrations),
        "volumes": [dataclasses.asdict(volume) for volume in _discovery.find_volumes(services, roles)],
        "config_paths": _discovery.config_paths(services, src, roles),
        "health_checks": checks,
        "problems": problems,
    }


def _told(service: _discovery.Service, judged: _discovery.Judgement) -> dict[str, Any]:
    """Return a service without what could be secret."""
    return {
        "name": service.name,
        "role": judged.role,
        "reasons": list(judged.reasons),
        "image": service.image,
        "build": service.build,
        "running": service.running,
        "replicas": service.replicas,
        "ports": [dict(port) for port in service.ports],
        "healthcheck": bool(service.healthcheck),
        "depends_on": list(service.depends_on),
        "volumes": sorted({str(mount["Name"]) for mount in service.mounts if mount.get("Type") == "volume"}),
        "container_name": service.container_name,
    }


def screen(projects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the operator's screen shows."""
    count = len(projects)
    lines = []
    for project in projects:
        code = ", ".join(project["code_services"]) or "no service that looks like code"
        base = project["database"]
        data = f"database {base['name'] or base['engine']}" if base else "no database"
        lines.append(f"{project['name']} in {project['src'] or 'an unknown folder'}: {code}; {data}")
        lines += [f"  {problem}" for problem in project["problems"]]
    found = "no Compose project runs here" if not count else f"{count} Compose project{'s' * (count > 1)} found"
    return {"headline": found, "lines": lines, "rows": []}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "projects": {"type": "list", "elements": "str", "default": []},
            "probe": {"type": "bool", "default": True},
            "login": {"type": "bool", "default": True},
            "application": {"type": "str"},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    wanted = module.params["projects"]
    try:
        client = _compose.connect()
        running = running_projects(client)
        missing = sorted(set(wanted) - set(running))
        if missing:
            module.fail_json(
                msg=explain(
                    f"no container of Compose project {', '.join(missing)} runs on this host",
                    "nothing was changed; these projects run: " + (", ".join(running) or "none"),
                    "start the project, or name one that runs",
                )
            )
        projects = [
            describe(client, name, probe=module.params["probe"], login=module.params["login"])
            for name in running
            if not wanted or name in wanted
        ]
    except _libraries.MissingLibrary as error:
        module.fail_json(msg=explain(str(error), "nothing was changed", error.next_step))
    except _compose.EngineError as error:
        module.fail_json(
            msg=explain(str(error), "nothing was changed", "start Docker on this host, or run as root (become)")
        )
    module.exit_json(changed=False, projects=projects, rollback_screen=screen(projects))


if __name__ == "__main__":
    main()
