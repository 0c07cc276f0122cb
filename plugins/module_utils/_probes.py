# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a running application: all probes of a host at once, under one deadline. Private to this collection.

Probes only observe; ``_judge`` says what an observation means. Every probe has a thread of its own that nobody waits
for beyond the deadline, so that one that hangs holds nothing up.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _checks,
    _command,
    _compose,
    _health,
    _judge,
    _libraries,
    _postgres,
    _redact,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Check, Policy
from ansible_collections.schedgen.rollback.plugins.module_utils._health import Outcome
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import Observation, Result
from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import applied_query

# Which library a type of check needs; one that is missing is found before the first round.
_NEEDS: Mapping[str, tuple[Callable[[], Any], ...]] = {
    "container": (_libraries.docker,),
    "image": (_libraries.docker,),
    "log": (_libraries.docker,),
    "http": (_libraries.requests,),
    "prometheus": (_libraries.requests,),
    "sql": (_libraries.psycopg2,),
    "migrations": (_libraries.psycopg2,),
}
# What a probe may take beyond its own timeout before nobody waits for it any more.
GRACE = 1.0
MAX_BODY = 1024 * 1024
MAX_LOG_LINES = 20000


class Trouble(Exception):
    """What kept a probe from its facts: a kind that ``_judge.TROUBLES`` knows, and a detail for people."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail or kind)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Database:
    """How to find the application's database; an empty name says that there is none."""

    name: str = ""
    service: str = ""
    user: str = ""
    host: str = ""
    port: int = 5432
    password_file: str = ""


class Site:
    """One application on this host: its Compose project and its database."""

    def __init__(self, project: str, database: Database | None = None, engine_timeout: float = 10.0) -> None:
        self.project = project
        self.database = database or Database()
        self.engine_timeout = engine_timeout
        self.passwords: set[str] = set()
        self._client: Any = None
        self._files: dict[str, dict[str, Any]] | None = None

    def client(self) -> Any:
        """Return the Docker client, connected once. Raises ``EngineError``."""
        if self._client is None:
            self._client = _compose.connect(timeout=self.engine_timeout)
        return self._client

    def files(self) -> dict[str, dict[str, Any]]:
        """Return what the project's files say of each service, {depends_on, replicas}; nothing where they cannot say.

        Containers that were started without their dependencies (``up --no-deps``) do not know them.
        """
        if self._files is None:
            try:
                self._files = read_files(self.client(), self.project)
            except (_compose.EngineError, _compose.ProjectError, _command.CommandError, OSError, ValueError):
                self._files = {}
        return self._files


class Glance:
    """What all probes of one round share: the project's containers and the database login, each read once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._containers: list[dict[str, Any]] | None = None
        self._login: _postgres.Login | None = None
        self._containers_lock = threading.Lock()
        self._login_lock = threading.Lock()

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return the project's containers (of one service), stopped ones too. Raises ``Trouble``."""
        with self._containers_lock:
            if self._containers is None:
                try:
                    self._containers = look_at_containers(self.site.client(), self.site.project)
                except _compose.EngineError as error:
                    raise Trouble("unavailable", str(error)) from error
            return [item for item in self._containers if not service or item["service"] == service]

    def login(self) -> _postgres.Login:
        """Return how to log in to the application's database. Raises ``Trouble``."""
        wanted = self.site.database
        if not wanted.name:
            raise Trouble("unavailable", "no database is named")
        with self._login_lock:
            if self._login is None:
                try:
                    self._login = _postgres.find_login(
                        None if wanted.host else self.site.client(),
                        self.site.project,
                        wanted.service,
                        wanted.name,
                        wanted.user,
                        wanted.password_file,
                        wanted.host,
                        wanted.port,
                    )
                except _compose.EngineError as error:
                    raise Trouble("unavailable", str(error)) from error
                except _postgres.DatabaseError as error:
                    raise Trouble("absent", str(error)) from error
                except OSError as error:
                    raise Trouble("unavailable", f"the password file cannot be read: {error}") from error
                if self._login.password:
                    self.site.passwords.add(self._login.password)
            return self._login


def look_at_containers(client: Any, project: str, now: float | None = None) -> list[dict[str, Any]]:
    """Return the containers of a project as plain facts, one-off containers left out. Raises ``EngineError``."""
    docker = _libraries.docker()
    moment = time.time() if now is None else now
    label = _compose.LABEL
    found = []
    try:
        filters = {"label": [f"{label}project={project}", f"{label}oneoff=False"]}
        for entry in client.api.containers(all=True, filters=filters):
            try:
                found.append(_container_facts(client.api.inspect_container(entry["Id"]), moment))
            except docker.errors.NotFound:
                continue  # removed between the list and the look
    except (docker.errors.DockerException, OSError) as error:
        raise _compose.EngineError(f"the Docker engine did not list the containers of {project}: {error}") from error
    per_service: dict[str, int] = {}
    for item in found:
        per_service[item["service"]] = per_service.get(item["service"], 0) + 1
    for item in found:
        item["alone"] = per_service[item["service"]] == 1
    return sorted(found, key=lambda item: (item["service"], item["number"], item["name"]))


def _container_facts(attributes: Mapping[str, Any], now: float) -> dict[str, Any]:
    state = _compose.container_state(dict(attributes))
    raw, host, config = attributes["State"], attributes.get("HostConfig") or {}, attributes["Config"]
    health = raw.get("Health") or {}
    last = (health.get("Log") or [{}])[-1]
    uptime = None
    if state.state == "running" and state.started_at:
        uptime = max(0.0, now - _checks.parse_time(state.started_at))
    return {
        "id": state.id,
        "name": state.name,
        "service": state.service,
        "number": state.number,
        "image_id": state.image_id,
        "state": state.state,
        "health": state.health,
        "restarts": state.restarts,
        "exit_code": state.exit_code,
        "started_at": state.started_at,
        "uptime": uptime,
        "oom_killed": bool(raw.get("OOMKilled")),
        "health_failed": last.get("ExitCode", 0) != 0,
        "health_output": last.get("Output") or "",
        "restart_policy": (host.get("RestartPolicy") or {}).get("Name") or "",
        "addresses": [ip for ip in state.addresses.values() if ip],
        "host_network": host.get("NetworkMode") == "host",
        "depends_on": _depends_on(state.labels.get(_compose.LABEL + "depends_on", "")),
        "healthcheck": [str(word) for word in (config.get("Healthcheck") or {}).get("Test") or []],
        "ports": _ports(attributes),
    }


def read_files(client: Any, project: str) -> dict[str, dict[str, Any]]:
    """Return what the files that the newest container was started with say of each service."""
    started = sorted(_compose.containers(client, project), key=lambda item: item.started_at)
    if not started:
        return {}
    last = started[-1]
    files = _compose.Project(project, last.working_dir, last.config_files, last.env_files)
    # Without its variables, so that a project that was started with `TAG=… docker compose up` can be read as well.
    rendered = json.loads(files.check(["config", "--no-interpolate", "--format", "json"], timeout=10).stdout)
    found = {}
    for name, service in (rendered.get("services") or {}).items():
        wanted = service.get("depends_on") or {}
        replicas = (service.get("deploy") or {}).get("replicas", service.get("scale", 1))
        found[name] = {
            "depends_on": {other: entry.get("condition", "service_started") for other, entry in wanted.items()},
            # A service of a profile is nobody's loss where it does not run.
            "replicas": 0 if service.get("profiles") else replicas,
        }
    return found


def _depends_on(label: str) -> dict[str, str]:
    """Compose writes ``postgres:service_healthy:false,redis:service_started:false``."""
    found = {}
    for part in label.split(","):
        words = part.split(":")
        if words[0]:
            found[words[0]] = words[1] if len(words) > 1 else "service_started"
    return found


def _ports(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    # A container that is down has no ports in its network settings; what was asked for is in its configuration.
    asked = (attributes.get("HostConfig") or {}).get("PortBindings") or {}
    given = (attributes.get("NetworkSettings") or {}).get("Ports") or {}
    found = []
    for place, bindings in asked.items():
        port, _dummy, protocol = place.partition("/")
        for binding in bindings or []:
            chosen = binding.get("HostPort") or next((item["HostPort"] for item in given.get(place) or []), "")
            if chosen:
                found.append(
                    {
                        "host_ip": binding.get("HostIp") or "",
                        "host_port": int(chosen),
                        "container_port": int(port),
                        "protocol": protocol or "tcp",
                    }
                )
    return found


def derive(site: Site) -> list[dict[str, Any]]:
    """Return checks, in the declared form, for what runs now. Raises ``EngineError``."""
    database = {"name": site.database.name, "service": site.database.service, "host": site.database.host}
    return _checks.derive_checks(look_at_containers(site.client(), site.project), database, site.files())


def collect(
    site: Site, declared: Sequence[Mapping[str, Any]], required: Sequence[Mapping[str, Any]], derive_them: str
) -> tuple[Check, ...]:
    """Return the checks of an application: declared, required, and (``always``, or ``auto`` without any) derived.

    Raises ValueError for a bad check, ``MissingLibrary``, and ``EngineError`` where they cannot be derived.
    """
    checks = _checks.parse_checks(_checks.merge_checks(declared, required))
    if derive_them == "always" or (derive_them == "auto" and not _checks.parse_checks(declared)):
        need(("container", "http"))
        checks = _checks.parse_checks(_checks.merge_checks(declared, required, derive(site)))
    if not site.database.host:
        checks = _checks.of_the_database(checks, site.database.service)
    need(check.type for check in checks)
    return checks


def need(types: Iterable[str]) -> None:
    """Have the libraries that these types of checks need. Raises ``MissingLibrary``."""
    for kind in types:
        for library in _NEEDS.get(kind, ()):
            library()


# ---------------------------------------------------------------------------------------------------------------------
# The probes: each returns facts for _judge, or raises Trouble
# ---------------------------------------------------------------------------------------------------------------------


def _probe_container(check: Check, here: Glance, _timeout: float) -> Mapping[str, Any]:
    return {"containers": here.containers(check.service)}


def _probe_log(check: Check, here: Glance, _timeout: float) -> Mapping[str, Any]:
    wanted, ignored = re.compile(check.options["pattern"]), check.options["ignore"]
    unwanted = re.compile(ignored) if ignored else None
    docker = _libraries.docker()
    containers, lines, matches = here.containers(check.service), 0, []
    for item in containers:
        try:
            output = _log(here.site.client(), item["id"], _log_since(check.options["since"], item))
        except (docker.errors.DockerException, OSError) as error:
            raise Trouble("unavailable", f"the log of {item['name']} cannot be read: {error}") from error
        for line in output.decode("utf-8", "replace").splitlines():
            lines += 1
            if wanted.search(line) and not (unwanted and unwanted.search(line)):
                matches.append(line)
    return {"containers": containers, "lines": lines, "matches": matches}


def _log(client: Any, container: str, since: float) -> bytes:
    """Return the last lines that a container has written since a moment (seconds since 1970)."""
    read: Callable[..., bytes] = partial(client.api.logs, container, stdout=True, stderr=True, tail=MAX_LOG_LINES)
    try:
        return read(since=since)
    except _libraries.docker().errors.InvalidArgument:
        # The library that Debian 12 has knows whole seconds only.
        return read(since=int(since))


def _log_since(since: Any, item: Mapping[str, Any]) -> float:
    if since == "start":
        # The engine notes the start a moment after the process has begun to write.
        return _checks.parse_time(item["started_at"]) - 0.5
    # A moment is some fifty years of seconds; "seconds before now" is never that much.
    return float(since) if since > 10**9 else time.time() - float(since)


def _targets(check: Check, here: Glance) -> list[tuple[str, str]]:
    """The address of every running container of a service, with the container's name."""
    found = []
    for item in here.containers(check.service):
        if item["state"] != "running":
            continue
        address = "127.0.0.1" if item["host_network"] else next(iter(item["addresses"]), "")
        if address:
            found.append((address, item["name"]))
    return found


def _probe_tcp(check: Check, here: Glance, timeout: float) -> Mapping[str, Any]:
    port = check.options["port"]
    host = check.options["host"]
    places = [(host, f"{host}:{port}")] if host else [(ip, f"{name}:{port}") for ip, name in _targets(check, here)]
    return {"answers": _all_of([(place, _connect_call(address, port, timeout)) for address, place in places], timeout)}


def _connect_call(address: str, port: int, timeout: float) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        started = time.monotonic()
        try:
            socket.create_connection((address, port), timeout=timeout).close()
        except OSError as error:
            raise _socket_trouble(error) from error
        return {"latency": time.monotonic() - started}

    return call


def _socket_trouble(error: OSError) -> Trouble:
    if isinstance(error, socket.gaierror):
        return Trouble("unresolved", error.strerror or str(error))
    if isinstance(error, ConnectionRefusedError):
        return Trouble("refused")
    if isinstance(error, (socket.timeout, TimeoutError)):
        return Trouble("timeout")
    if isinstance(error, ConnectionError):
        return Trouble("broken", error.strerror or "")
    return Trouble("failed", error.strerror or str(error))


def _probe_http(check: Check, here: Glance, timeout: float) -> Mapping[str, Any]:
    options = check.options
    if options["url"]:
        calls = [(_redact.redact_url(options["url"]), _http_call(check, options["url"], timeout))]
    else:
        calls = []
        for address, name in _targets(check, here):
            end = f":{options['port']}{options['path']}"
            url = f"{options['scheme']}://{f'[{address}]' if ':' in address else address}{end}"
            calls.append((f"{options['scheme']}://{name}{end}", _http_call(check, url, timeout)))
    return {"answers": _all_of(calls, timeout)}


def ask(door: Check) -> dict[str, Any]:
    """Make the one request of a check of type ``http`` with a url; the answer names its trouble, if it had one."""
    return _answer(_redact.redact_url(door.options["url"]), _http_call(door, door.options["url"], door.timeout))


def _http_call(check: Check, url: str, timeout: float) -> Callable[[], dict[str, Any]]:
    def call() -> dict[str, Any]:
        options = check.options
        found = _request(check, options["method"], url, timeout, follow=options["follow_redirects"])
        if options["tls_days"] is not None:
            found["tls_days"] = _certificate_days(url, timeout, options["ca_file"])
        return found

    return call


def _request(
    check: Check,
    method: str,
    url: str,
    timeout: float,
    follow: bool = False,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One HTTP request with a limit on its whole time. Raises ``Trouble``."""
    requests = _libraries.requests()
    options = check.options
    # Uncompressed: the first bytes of a compressed answer are no text yet, and older libraries tell that as its end.
    plain = {"User-Agent": "schedgen.rollback", "Accept": "*/*", "Accept-Encoding": "identity"}
    headers = {**plain, **options["headers"]}
    if options["token_file"]:
        headers["Authorization"] = f"Bearer {_token(options['token_file'])}"
    if not options["validate_certs"]:
        # The check said so; a warning on the module's error output helps nobody.
        requests.packages.urllib3.disable_warnings()
    started = time.monotonic()
    with requests.Session() as session:
        # Neither proxies nor logins that this host's environment or a .netrc file happens to hold.
        session.trust_env = False
        session.max_redirects = 5
        try:
            with session.request(
                method,
                url,
                headers=headers,
                params=params,
                timeout=(timeout, timeout),
                allow_redirects=follow,
                stream=True,
                verify=(options["ca_file"] or True) if options["validate_certs"] else False,
            ) as answer:
                body = _read_body(answer, started + timeout)
                return {
                    "status": answer.status_code,
                    "latency": time.monotonic() - started,
                    "body": body,
                    "headers": dict(answer.headers),
                    "location": _redact.redact_url(answer.headers.get("Location", "")),
                }
        except (requests.exceptions.RequestException, requests.packages.urllib3.exceptions.HTTPError) as error:
            return _request_trouble(requests, error)
        except (ValueError, UnicodeError) as error:
            raise Trouble("unavailable", f"the request cannot be made: {error}") from error


def _read_body(answer: Any, until: float) -> str:
    # A read waits until it has all it asked for: asked for single bytes first, a server that sends one byte a second
    # is noticed, which passes any timeout on a read.
    body = b""
    while len(body) < MAX_BODY:
        piece = answer.raw.read(1 if len(body) < 256 else 4096, decode_content=True)
        if not piece:
            break
        body += piece
        if time.monotonic() > until:
            raise Trouble("timeout", "its answer did not end")
    return body.decode(answer.encoding or "utf-8", "replace")


def _token(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError as error:
        raise Trouble("unavailable", f"the token file cannot be read: {error}") from error


def _request_trouble(requests: Any, error: Exception) -> dict[str, Any]:
    """What a failed request says: facts when something other than HTTP answered, ``Trouble`` otherwise."""
    kinds = requests.exceptions
    causes = _causes(error)
    if isinstance(error, kinds.SSLError):
        text = next((str(cause) for cause in reversed(causes) if isinstance(cause, ssl.SSLError)), "")
        # "[SSL: …] certificate verify failed: … (_ssl.c:1006)": the middle is for people.
        raise Trouble("tls", re.sub(r"^\[[^\]]*\]\s*|\s*\(_ssl\.c:\d+\)$", "", text)) from error
    if isinstance(error, (kinds.Timeout, requests.packages.urllib3.exceptions.TimeoutError)):
        raise Trouble("timeout") from error
    if isinstance(error, kinds.TooManyRedirects):
        raise Trouble("failed", "it redirects again and again") from error
    for cause in causes:
        if isinstance(cause, http.client.RemoteDisconnected):
            raise Trouble("broken", "no answer") from error
        if isinstance(cause, (http.client.BadStatusLine, http.client.LineTooLong)):
            return {"not_http": True}
        if isinstance(cause, OSError) and not isinstance(cause, kinds.RequestException):
            raise _socket_trouble(cause) from error
        if type(cause).__name__ == "NameResolutionError":
            raise Trouble("unresolved") from error
    if not isinstance(error, kinds.RequestException):
        raise Trouble("broken", "its answer is cut off") from error
    if isinstance(error, kinds.ConnectionError):
        raise Trouble("broken") from error
    raise Trouble("unavailable", f"the request cannot be made: {error}") from error


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and everything that it wraps, outermost first."""
    found: list[BaseException] = []
    ahead: list[Any] = [error]
    while ahead:
        item = ahead.pop(0)
        if isinstance(item, BaseException) and not any(item is known for known in found):
            found.append(item)
            ahead += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return found


def _certificate_days(url: str, timeout: float, ca_file: str) -> float | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    context = ssl.create_default_context(cafile=ca_file or None)
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            certificate = wrapped.getpeercert() or {}
    except OSError as error:
        raise Trouble("tls", str(error)) from error
    end = certificate.get("notAfter")
    return (ssl.cert_time_to_seconds(end) - time.time()) / 86400 if isinstance(end, str) else None


def _all_of(calls: Sequence[tuple[str, Callable[[], dict[str, Any]]]], timeout: float) -> list[dict[str, Any]]:
    """Make calls to several targets at once; each answer names its target, and its trouble if it had one."""
    if len(calls) == 1:
        return [_answer(*calls[0])]
    answers: list[dict[str, Any]] = [{"target": target, "trouble": "timeout"} for target, _dummy in calls]

    def work(index: int) -> None:
        answers[index] = _answer(*calls[index])

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout + GRACE / 2
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return list(answers)


def _answer(target: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {**call(), "target": target}
    except Trouble as trouble:
        return {"target": target, "trouble": trouble.kind, "detail": trouble.detail}


def _probe_sql(check: Check, here: Glance, timeout: float) -> Mapping[str, Any]:
    started = time.monotonic()
    login = here.login()
    if check.options["database"]:
        login = replace(login, dbname=check.options["database"])
    rows = _select(login, check.options["query"], timeout)
    return {"rows": rows, "latency": time.monotonic() - started, "target": f"{login.host}:{login.port}"}


def _probe_migrations(check: Check, here: Glance, timeout: float) -> Mapping[str, Any]:
    _table, query = applied_query(check.options["tool"], check.options["table"])
    return {"applied": [str(row[0]) for row in _select(here.login(), query, timeout)]}


def _select(login: _postgres.Login, sql: str, timeout: float) -> list[tuple[Any, ...]]:
    """Rows of one statement in a read-only session. Raises ``Trouble``."""
    psycopg2 = _libraries.psycopg2()
    try:
        connection = _postgres.connect(login, timeout=timeout, statement_timeout=timeout)
        try:
            # A check looks; a statement that writes is an error, whatever its author meant.
            connection.set_session(readonly=True, autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchmany(100)) if cursor.description else []
        finally:
            connection.close()
    except _postgres.DatabaseError as error:
        raise _database_trouble(str(error), login) from error
    except psycopg2.Error as error:
        raise _database_trouble(str(error), login) from error


_DATABASE_TROUBLES = (
    ("refused", r"connection refused"),
    ("unresolved", r"could not translate host name"),
    ("denied", r"authentication failed|no pg_hba\.conf entry|no password supplied|permission denied for database"),
    ("denied", r"role \"[^\"]*\" does not exist"),
    ("timeout", r"timeout expired|statement timeout"),
    ("broken", r"server closed the connection|connection reset"),
)


def _database_trouble(text: str, login: _postgres.Login) -> Trouble:
    for kind, pattern in _DATABASE_TROUBLES:
        if re.search(pattern, text, re.IGNORECASE):
            details = {"refused": f"{login.host}:{login.port}", "denied": f"of {login.user} to {login.dbname}"}
            return Trouble(kind, details.get(kind, ""))
    said = re.search(r"(?:FATAL|ERROR):\s*(.+)", text) or re.match(r"(.+)", text)
    return Trouble("failed", said.group(1).strip() if said else "")


def _probe_command(check: Check, here: Glance, timeout: float) -> Mapping[str, Any]:
    argv, folder = list(check.options["argv"]), check.options["chdir"] or None

    def on_the_host() -> dict[str, Any]:
        try:
            done = _command.run(argv, timeout=timeout, cwd=folder)
        except _command.CommandError as error:
            if "did not end" in error.reason:
                raise Trouble("timeout") from error
            raise Trouble("unavailable", error.reason) from error
        except OSError as error:
            raise Trouble("unavailable", str(error)) from error
        return {"rc": done.rc, "stdout": done.stdout, "stderr": done.stderr}

    if not check.options["inside"]:
        return {"answers": _all_of([(check.name, on_the_host)], timeout)}
    running = [item for item in here.containers(check.service) if item["state"] == "running"]
    calls = [(item["name"], _inside_call(here.site.client(), item["id"], argv, folder)) for item in running]
    return {"answers": _all_of(calls, timeout)}


def _inside_call(client: Any, container: str, argv: list[str], folder: str | None) -> Callable[[], dict[str, Any]]:
    docker = _libraries.docker()

    def call() -> dict[str, Any]:
        try:
            begun = client.api.exec_create(container, argv, workdir=folder)
            stdout, stderr = client.api.exec_start(begun["Id"], demux=True)
            code = client.api.exec_inspect(begun["Id"])["ExitCode"]
        except docker.errors.APIError as error:
            raise Trouble("unavailable", error.explanation or str(error)) from error
        except OSError as error:
            raise Trouble("timeout", str(error)) from error
        return {
            "rc": code,
            "stdout": (stdout or b"").decode("utf-8", "replace"),
            "stderr": (stderr or b"").decode("utf-8", "replace"),
        }

    return call


def _probe_prometheus(check: Check, _here: Glance, timeout: float) -> Mapping[str, Any]:
    base = check.options["url"].rstrip("/")
    try:
        answer = _request(check, "GET", f"{base}/api/v1/query", timeout, params={"query": check.options["query"]})
    except Trouble as trouble:
        # That Prometheus is away says nothing about the application.
        place = _redact.redact_url(base)
        raise Trouble("unavailable", f"Prometheus at {place}: {trouble.detail or trouble.kind}") from trouble
    series = _judge.prometheus_series(answer.get("status", 0), answer.get("body", ""))
    return {"series": series}


_PROBES: Mapping[str, Callable[[Check, Glance, float], Mapping[str, Any]]] = {
    "container": _probe_container,
    "image": _probe_container,
    "http": _probe_http,
    "tcp": _probe_tcp,
    "sql": _probe_sql,
    "migrations": _probe_migrations,
    "log": _probe_log,
    "command": _probe_command,
    "prometheus": _probe_prometheus,
}


# ---------------------------------------------------------------------------------------------------------------------
# Rounds
# ---------------------------------------------------------------------------------------------------------------------


def _observe(check: Check, here: Glance, timeout: float) -> Observation:
    """Run one probe; whatever goes wrong in it becomes an observation too."""
    started = time.monotonic()
    try:
        facts = _PROBES[check.type](check, here, timeout)
    except Trouble as trouble:
        return Observation(time.monotonic() - started, {}, trouble.kind, trouble.detail)
    except Exception as error:  # the observer's own fault must neither kill the call nor count against the application
        return Observation(time.monotonic() - started, {}, "unavailable", f"{type(error).__name__}: {error}")
    return Observation(time.monotonic() - started, facts)


class Watcher:
    """Runs rounds of probes. A probe that still hangs from an earlier round is not started again."""

    def __init__(self, site: Site, checks: Sequence[Check]) -> None:
        self.site = site
        self.checks = tuple(checks)
        self.secrets = _checks.check_secrets(self.checks)
        self._hanging: dict[str, tuple[threading.Thread, float]] = {}

    def round(self, deadline: float) -> tuple[Result, ...]:
        """Run every probe once, in parallel, and judge what was seen until ``deadline`` (monotonic time) at most."""
        here, started = Glance(self.site), time.monotonic()
        seen: dict[str, Observation] = {}
        threads: dict[str, threading.Thread] = {}
        for check in self.checks:
            hanging = self._hanging.get(check.name)
            if hanging and hanging[0].is_alive():
                seen[check.name] = Observation(0.0, {}, "cut", f"no answer since {started - hanging[1]:.0f} s")
                continue
            thread = threading.Thread(target=self._work, args=(check, here, deadline, seen), daemon=True)
            threads[check.name] = thread
            thread.start()
        for check in self.checks:
            if check.name in threads:
                until = min(deadline, started + check.timeout + GRACE)
                threads[check.name].join(max(0.0, until - time.monotonic()))
                if threads[check.name].is_alive():
                    self._hanging[check.name] = (threads[check.name], started)
        snapshot = dict(seen)
        took = time.monotonic() - started
        return tuple(
            _judge.judge(
                check,
                snapshot.get(check.name) or Observation(took, {}, "cut", f"no answer in {took:.1f} s"),
                (*self.secrets, *sorted(self.site.passwords, key=len, reverse=True)),
            )
            for check in self.checks
        )

    @staticmethod
    def _work(check: Check, here: Glance, deadline: float, seen: dict[str, Observation]) -> None:
        left = max(0.05, deadline - time.monotonic())
        found = _observe(check, here, min(check.timeout, left))
        timed_out = found.trouble == "timeout" or any(
            answer.get("trouble") == "timeout" for answer in found.facts.get("answers", [])
        )
        if timed_out and left < check.timeout:
            # It was not given its own time, so its silence proves nothing.
            found = Observation(found.seconds, {}, "cut", f"{left:.1f} s were left of its {check.timeout:g} s")
        seen[check.name] = found


def watch(
    site: Site,
    checks: Sequence[Check],
    rules: Policy,
    on_round: Callable[[_health.Progress], None] | None = None,
    started: float | None = None,
) -> Outcome:
    """Probe until enough good rounds have followed each other, or until the deadline; return the verdict.

    The deadline counts from ``started`` (monotonic time), where the caller has begun before.
    """
    started = time.monotonic() if started is None else started
    deadline = started + rules.deadline
    # Only a fault has to be explained; asking Compose for its files takes a moment, and nobody waits for it long.
    files = threading.Thread(target=site.files, daemon=True)
    progress = _health.Progress()
    watcher = Watcher(site, checks)
    while checks:
        begun = time.monotonic()
        results = watcher.round(deadline)
        now = time.monotonic()
        if now >= deadline and _health.tells_less(progress, results):
            break
        progress = _health.advance(progress, results, now)
        if on_round:
            on_round(progress)
        if _health.satisfied(progress, rules, now) or _health.hopeless(progress, rules):
            break
        if not progress.streak and files.ident is None:
            files.start()
        pause = max(0.0, begun + rules.interval - now)
        # A round that cannot end in time would only blur what the last one saw.
        if now + pause + min(now - begun, 1.0) >= deadline:
            break
        time.sleep(pause)
    now = time.monotonic()
    needs: dict[str, dict[str, str]] = {}
    if files.ident is not None and not progress.streak:
        files.join(GRACE / 2)
        needs = {} if files.is_alive() else {name: entry["depends_on"] for name, entry in site.files().items()}
    return _health.conclude(progress, rules, now - started, now, needs)
