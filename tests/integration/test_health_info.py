# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""health_info against real containers, a real PostgreSQL server and real HTTP servers on loopback."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.modules import health_info
from support import interpreter

ROOT = Path(__file__).resolve().parents[2]
NAME = f"health-test-{os.getpid()}"
PASSWORD = "kE9-very-secret"


def run(*argv: str, check: bool = True, **options: Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def assess(**given: Any) -> dict[str, Any]:
    """Call the module's work with its own defaults."""
    params = {name: option.get("default") for name, option in health_info.argument_spec().items()}
    database = given.pop("database", None)
    if database:
        defaults = health_info.argument_spec()["database"]["options"]
        params["database"] = {**{name: option["default"] for name, option in defaults.items()}, **database}
    params.update({"application": NAME, "interval": 0.1, "deadline": 20, **given})
    started = time.monotonic()
    result = health_info.as_result(health_info.assess(params))
    result["took"] = time.monotonic() - started
    return result


def messages(result: dict[str, Any]) -> list[str]:
    return [probe["message"] for probe in result["probes"]]


# ---------------------------------------------------------------------------------------------------------------------
# Containers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = shutil.which("busybox")
    if found and "not a dynamic executable" in subprocess.run(["ldd", found], capture_output=True, text=True).stderr:
        return found
    folder = tmp_path_factory.mktemp("busybox")
    run("apt-get", "download", "busybox-static", cwd=folder)
    run("dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder))
    return str(next(path for path in folder.rglob("busybox") if path.is_file() and os.access(path, os.X_OK)))


@pytest.fixture(scope="module")
def images(busybox: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two tiny images: the same programs, another id."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "bin").mkdir()
    shutil.copy(busybox, folder / "bin" / "busybox")
    for program in ("sh", "httpd", "wget", "sleep", "echo", "kill", "false", "true", "touch", "cat"):
        (folder / "bin" / program).symlink_to("busybox")
    (folder / "www").mkdir()
    (folder / "www" / "health").write_text('{"status": "ok", "info": {"store": "up"}}')
    (folder / "www" / "index.html").write_text("welcome")
    ids = {}
    for version in ("good", "bad"):
        (folder / "version").write_text(version)
        archive = folder.parent / f"{version}.tar"
        with tarfile.open(archive, "w") as tar:
            for entry in ("bin", "www", "version"):
                tar.add(folder / entry, entry)
        ids[version] = run("docker", "import", str(archive), f"{NAME}:{version}")
    yield ids
    run("docker", "image", "rm", "--force", *ids.values(), check=False)


@dataclass
class Compose:
    folder: Path
    image: str

    def __call__(self, *arguments: str) -> str:
        environment = {**os.environ, "IMAGE": self.image}
        return run("docker", "compose", "--project-name", NAME, *arguments, cwd=self.folder, env=environment)


COMPOSE = """
services:
  store:
    image: ${IMAGE}
    command: [/bin/httpd, -f, -p, "8080", -h, /www]
    stop_grace_period: 0s
  web:
    image: ${IMAGE}
    command: [/bin/httpd, -f, -p, "8080", -h, /www]
    stop_grace_period: 0s
    depends_on: [store]
    ports: ["127.0.0.1::8080"]
    healthcheck:
      test: [CMD-SHELL, "/bin/wget -q -O /dev/null http://store:8080/ && /bin/wget -q -O /dev/null http://127.0.0.1:8080/health"]
      interval: 200ms
      timeout: 1s
      retries: 2
  worker:
    image: ${IMAGE}
    command: [/bin/sh, -c, "echo ERROR first; exec /bin/sleep 100000"]
    stop_grace_period: 0s
    scale: 2
  crash:
    image: ${IMAGE}
    profiles: [crash]
    restart: always
    command: [/bin/sh, -c, "exit 3"]
  sick:
    image: ${IMAGE}
    profiles: [sick]
    command: [/bin/sleep, "100000"]
    stop_grace_period: 0s
    healthcheck: {test: [CMD-SHELL, "echo the disk is full; exit 1"], interval: 100ms, retries: 1}
  never:
    image: ${IMAGE}
    profiles: [never]
    command: [/bin/sleep, "100000"]
    stop_grace_period: 0s
    healthcheck: {test: [CMD, /bin/false], interval: 1h, start_period: 1h}
"""


@pytest.fixture(scope="module")
def compose(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "compose.yaml").write_text(COMPOSE)
    project = Compose(folder, images["good"])
    project("up", "--detach", "--quiet-pull")
    yield project
    project("--profile", "*", "down", "--timeout", "0", "--volumes", "--remove-orphans")


@pytest.mark.usefixtures("compose")
def test_a_running_project_is_healthy_by_derived_checks() -> None:
    result = assess()
    assert result["verdict"] == "healthy", result["reasons"]
    assert [probe["name"] for probe in result["probes"]][:3] == ["store runs", "web runs", "worker runs"]
    assert "GET http://127.0.0.1:" in result["probes"][3]["name"]
    assert result["probes"][3]["name"].endswith("/health")
    assert result["probes"][1]["depends_on"] == ["store"]
    assert (result["successes"], result["rollback_screen"]["headline"][:39]) == (
        3, "healthy: 4 of 4 checks, 3 times in a row"[:39],
    )  # fmt: skip


@pytest.mark.usefixtures("compose")
def test_the_verdict_waits_for_the_minimum_healthy_time() -> None:
    result = assess(successes=1, min_healthy=1.5)
    assert result["verdict"] == "healthy"
    assert result["took"] >= 1.5


def test_a_stopped_dependency_explains_what_needs_it(compose: Compose) -> None:
    # Started like this, the container itself does not know what it needs.
    compose("up", "--detach", "--no-deps", "--force-recreate", "web")
    compose("stop", "--timeout", "0", "store")
    try:
        until(lambda: any("fails its own" in text for text in messages(assess(deadline=1, successes=1))))
        result = assess(deadline=1)
    finally:
        compose("start", "store")
    assert result["verdict"] == "unhealthy"
    assert result["reasons"][0].startswith("store has exited with code")
    assert result["reasons"][1].startswith("web is unhealthy because store has exited with code")


@pytest.mark.usefixtures("compose")
def test_one_replica_with_a_wrong_image_is_found(images: dict[str, str]) -> None:
    wanted = {"worker": images["good"], "web": images["good"]}
    assert assess(images=wanted, derive="never")["verdict"] == "healthy"
    label = "com.docker.compose."
    box = run(
        "docker", "run", "--detach", "--name", f"{NAME}-worker-3", "--label", f"{label}project={NAME}", "--label",
        f"{label}service=worker", "--label", f"{label}oneoff=False", "--label", f"{label}container-number=3",
        f"{NAME}:bad", "/bin/sleep", "100000",
    )  # fmt: skip
    try:
        result = assess(images=wanted, derive="never", fail_fast=True, deadline=600)
    finally:
        run("docker", "rm", "--force", box)
    assert result["verdict"] == "unhealthy"
    assert result["took"] < 300, "a wrong image does not become right by waiting"
    assert f"worker runs the wrong image in 1 of 3 containers ({NAME}-worker-3:" in result["reasons"][0]


@pytest.mark.usefixtures("compose")
def test_replicas_are_counted() -> None:
    wanted = {"services": ["web"], "replicas": {"worker": 3}}
    result = assess(containers=wanted, derive="never", deadline=1)
    assert (result["verdict"], result["reasons"]) == ("unhealthy", ["worker runs 2 of 3 containers"])


def test_a_container_that_keeps_restarting_is_unhealthy(compose: Compose) -> None:
    compose("--profile", "crash", "up", "--detach", "--no-deps", "crash")
    try:
        result = assess(containers={"services": ["crash"]}, derive="never", deadline=3)
    finally:
        compose("--profile", "crash", "rm", "--stop", "--force", "crash")
    assert result["verdict"] == "unhealthy"
    assert any("crash" in reason and "restart" in reason for reason in result["reasons"]), result["reasons"]


def test_a_failing_health_check_is_told_with_its_own_words(compose: Compose) -> None:
    compose("--profile", "sick", "up", "--detach", "--no-deps", "sick")
    try:
        until(lambda: "unhealthy" in run("docker", "inspect", "-f", "{{.State.Health.Status}}", f"{NAME}-sick-1"))
        result = assess(containers={"services": ["sick"]}, derive="never", deadline=1)
    finally:
        compose("--profile", "sick", "rm", "--stop", "--force", "sick")
    assert result["reasons"] == ["sick fails its own health check: the disk is full"]


def test_a_health_check_that_has_not_answered_yet_is_no_data(compose: Compose) -> None:
    compose("--profile", "never", "up", "--detach", "--no-deps", "never")
    try:
        result = assess(containers={"services": ["never"]}, derive="never", deadline=1)
    finally:
        compose("--profile", "never", "rm", "--stop", "--force", "never")
    assert (result["verdict"], result["reasons"]) == (
        "inconclusive", ["never is starting: its health check has not answered yet"],
    )  # fmt: skip


def test_a_project_without_containers_is_inconclusive() -> None:
    result = assess(application=f"{NAME}-nothing", deadline=600)
    assert result["verdict"] == "inconclusive"
    assert result["took"] < 300, "there is nothing to wait for"


def test_a_declared_service_without_containers_is_unhealthy() -> None:
    result = assess(application=f"{NAME}-nothing", containers={"services": ["backend"]}, deadline=1)
    assert (result["verdict"], result["reasons"]) == ("unhealthy", ["backend has no container"])


def test_an_engine_that_does_not_answer_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    derived = assess(deadline=1)
    declared = assess(containers={"services": ["backend"]}, derive="never", deadline=1)
    assert (derived["verdict"], declared["verdict"]) == ("inconclusive", "inconclusive")
    assert "the Docker engine does not answer" in derived["reasons"][0]
    assert "the Docker engine does not answer" in declared["reasons"][0]


@pytest.mark.parametrize("derive", ["auto", "never"])
def test_an_engine_that_hangs_does_not_hold_the_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, derive: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        result = assess(containers={"services": ["a", "b"]}, derive=derive, deadline=2)
    assert result["verdict"] == "inconclusive"
    assert result["took"] < 30, "the engine's client alone would wait for a minute"


@pytest.mark.usefixtures("compose")
def test_every_container_of_a_service_is_asked() -> None:
    checks = [
        {"type": "http", "service": "web", "port": 8080, "path": "/health", "json": {"info.store": "up"}},
        {"type": "tcp", "service": "store", "port": 8080},
        {"type": "tcp", "service": "worker", "port": 8080, "critical": False, "name": "closed"},
    ]
    result = assess(checks=checks)
    assert result["verdict"] == "healthy", result["reasons"]
    assert len(result["notes"]) == 1
    assert result["notes"][0].endswith("-worker-1:8080 refuses connections (2 of 2 containers)")


@pytest.mark.usefixtures("compose")
def test_a_command_inside_every_container() -> None:
    good = {"type": "command", "service": "worker", "inside": True, "argv": ["cat", "/version"], "stdout": "good"}
    assert assess(checks=[good])["verdict"] == "healthy"
    bad = assess(checks=[{**good, "argv": ["/bin/sh", "-c", "echo no >&2; exit 4"], "name": "x"}], deadline=1)
    assert bad["reasons"] == ["x ended with exit code 4 instead of 0: no (2 of 2 containers)"]
    away = assess(checks=[{**good, "argv": ["/bin/nonexistent"]}], deadline=1)
    assert away["verdict"] in ("unhealthy", "inconclusive")


@pytest.mark.usefixtures("compose")
def test_error_lines_in_the_log_are_counted() -> None:
    check = {"type": "log", "service": "worker", "since": "start"}
    bad = assess(checks=[check], deadline=1)
    assert bad["reasons"] == ["worker logged 2 error lines, more than 0; the last one: ERROR first"]
    assert assess(checks=[{**check, "limit": 2}])["verdict"] == "healthy"
    assert assess(checks=[{**check, "ignore": "first"}])["verdict"] == "healthy"


# ---------------------------------------------------------------------------------------------------------------------
# HTTP
# ---------------------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    seen: list[str] = []
    encodings: list[str] = []

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        Handler.seen.append(self.headers.get("Authorization") or "")
        Handler.encodings.append(self.headers.get("Accept-Encoding") or "")
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/ok")
            self.end_headers()
            return
        if path == "/slow":
            self.server.stopping.wait(0.5)  # type: ignore[attr-defined]
        if path == "/hang":
            self.server.stopping.wait(60)  # type: ignore[attr-defined]
            return
        body = {
            "/json": b'{"status": "ok", "queue": {"length": 7}}',
            "/api/v1/query": json.dumps(self.metric()).encode(),
        }.get(path, b"welcome")
        self.send_response(500 if path == "/500" else 200)
        self.send_header("Content-Length", str(len(body) + (100 if path == "/drip" else 0)))
        self.end_headers()
        self.wfile.write(body)
        while path == "/drip" and not self.server.stopping.wait(0.05):  # type: ignore[attr-defined]
            try:
                self.wfile.write(b".")
            except OSError:
                return

    def metric(self) -> dict[str, Any]:
        found = [] if "absent" in self.path else [{"metric": {"job": "api"}, "value": [1, "0.02"]}]
        return {"status": "success", "data": {"resultType": "vector", "result": found}}

    def log_message(self, *_arguments: Any) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stopping.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def rude() -> Iterator[int]:
    """A port that answers something other than HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _address = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(1)
                    client.sendall(b"-ERR unknown command\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "verdict", "message"),
    [
        ({"path": "/ok"}, "healthy", "answered 200 in"),
        ({"path": "/ok", "body": "wel+come"}, "healthy", "answered 200 in"),
        ({"path": "/json", "json": {"status": "ok", "queue.length": {"max": 10}}}, "healthy", "answered 200 in"),
        ({"path": "/json", "json": {"queue.length": {"max": 5}}}, "unhealthy", "but queue.length is 7, more than 5"),
        ({"path": "/500"}, "unhealthy", "answered 500 instead of 2xx"),
        ({"path": "/ok", "latency": 0.000001}, "unhealthy", "more than 0 s"),
        ({"path": "/redirect"}, "unhealthy", "answered 302 instead of 2xx (it leads to /ok)"),
        ({"path": "/redirect", "follow_redirects": True}, "healthy", "answered 200 in"),
        ({"path": "/ok", "expect_headers": {"Server": "BaseHTTP"}}, "healthy", "answered 200 in"),
        ({"path": "/hang", "timeout": 0.3}, "unhealthy", "did not answer within 0.3 s"),
        ({"path": "/drip", "timeout": 0.5}, "unhealthy", "did not answer within 0.5 s"),
    ],
)
def test_http(web: str, options: dict[str, Any], verdict: str, message: str) -> None:
    url = web + options.pop("path")
    result = assess(checks=[{"type": "http", "url": url, **options}], successes=1, deadline=2)
    assert result["verdict"] == verdict, result["probes"]
    assert message in messages(result)[0]


def test_other_answers(rude: int) -> None:
    gone = closed_port()
    result = assess(
        checks=[
            {"type": "http", "url": f"http://127.0.0.1:{gone}/", "name": "gone"},
            {"type": "http", "url": f"http://127.0.0.1:{rude}/", "name": "rude"},
            {"type": "http", "url": f"http://127.0.0.1:{rude}/", "name": "any", "any_protocol": True},
            {"type": "tcp", "host": "127.0.0.1", "port": rude, "name": "open"},
            {"type": "tcp", "host": "127.0.0.1", "port": gone, "name": "closed"},
            {"type": "http", "url": "http://no-such-host.invalid/", "name": "unknown"},
            {"type": "command", "argv": ["/bin/sh", "-c", "echo PONG"], "stdout": "PONG", "name": "said"},
            {"type": "command", "argv": ["/bin/sh", "-c", "echo no >&2; exit 4"], "name": "failed"},
            {"type": "command", "argv": ["/nonexistent/program"], "name": "missing"},
            {"type": "command", "argv": ["sleep", "30"], "timeout": 0.2, "name": "slow"},
        ],
        deadline=2,
        successes=1,
    )
    assert {probe["name"]: probe["verdict"] for probe in result["probes"]} == {
        "gone": "unhealthy", "rude": "unhealthy", "any": "healthy", "open": "healthy", "closed": "unhealthy",
        "unknown": "inconclusive", "said": "healthy", "failed": "unhealthy", "missing": "inconclusive",
        "slow": "unhealthy",
    }  # fmt: skip


def test_an_answer_is_asked_for_as_it_is(web: str) -> None:
    # urllib3 before 2.0 takes the first bytes of a compressed answer for its end.
    assert assess(checks=[{"type": "http", "url": f"{web}/ok"}], successes=1)["verdict"] == "healthy"
    assert Handler.encodings[-1] == "identity"


def test_a_hanging_probe_does_not_hold_the_call_past_the_deadline(web: str, silent: int) -> None:
    result = assess(
        checks=[
            {"type": "http", "url": f"http://127.0.0.1:{silent}/", "name": "hangs", "timeout": 600},
            {"type": "http", "url": f"{web}/ok", "name": "answers"},
        ],
        deadline=1.5,
    )
    assert result["took"] < 300
    assert result["verdict"] == "inconclusive"
    assert {probe["name"]: probe["verdict"] for probe in result["probes"]} == {
        "hangs": "inconclusive", "answers": "healthy",
    }  # fmt: skip
    assert result["reasons"][0].startswith("hangs was not finished when the time was up")


def test_twelve_probes_take_no_longer_than_the_slowest(web: str) -> None:
    checks = [{"type": "http", "url": f"{web}/slow?{number}"} for number in range(12)]
    result = assess(checks=checks, successes=1)
    assert (result["verdict"], result["attempts"]) == ("healthy", 1)
    assert result["took"] < max(probe["seconds"] for probe in result["probes"]) + 1


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A web server with a certificate of its own making that ends in five days: its address and the certificate."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "5", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/ok", certificate
    server.shutdown()
    server.server_close()


def test_certificates(tls: tuple[str, str]) -> None:
    url, certificate = tls
    known = {"type": "http", "url": url, "ca_file": certificate}
    result = assess(
        checks=[
            {**known, "tls_days": 3, "name": "valid"},
            {**known, "tls_days": 14, "name": "ends soon"},
            {"type": "http", "url": url, "name": "unknown"},
            {"type": "http", "url": url, "validate_certs": False, "name": "not asked"},
        ],
        deadline=2,
        successes=1,
    )
    told = {probe["name"]: (probe["verdict"], probe["message"]) for probe in result["probes"]}
    assert [told[name][0] for name in ("valid", "ends soon", "unknown", "not asked")] == [
        "healthy", "unhealthy", "unhealthy", "healthy",
    ]  # fmt: skip
    assert "its certificate ends in 5.0 days, less than 14" in told["ends soon"][1]
    assert "has no valid certificate (certificate verify failed: self-signed certificate" in told["unknown"][1]


def test_prometheus(web: str) -> None:
    metric = {"type": "prometheus", "url": web, "query": "error_rate", "max": 0.05}
    assert assess(checks=[metric])["verdict"] == "healthy"
    above = assess(checks=[{**metric, "max": 0.01, "name": "errors"}], deadline=1)
    assert above["reasons"] == ["errors (job=api) is 0.02, more than 0.01"]
    assert assess(checks=[{**metric, "query": "absent"}], deadline=1)["verdict"] == "inconclusive"
    away = assess(checks=[{**metric, "url": f"http://127.0.0.1:{closed_port()}"}], deadline=1)
    assert away["verdict"] == "inconclusive"


def test_tokens_are_sent_and_never_told(web: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("tok-123456\n")
    user = web.replace("://", f"://ann:{PASSWORD}@")
    checks = [
        {"type": "http", "url": f"{web}/500", "token_file": str(token), "name": "by file"},
        {"type": "http", "url": f"{user}/500?token={PASSWORD}"},
        {"type": "http", "url": f"{web}/500", "headers": {"Authorization": f"Bearer {PASSWORD}"}},
    ]
    Handler.seen.clear()
    result = assess(checks=checks, deadline=1, successes=1)
    assert {"Bearer tok-123456", f"Bearer {PASSWORD}"} < set(Handler.seen)
    assert any(header.startswith("Basic ") for header in Handler.seen)
    assert PASSWORD not in json.dumps(result)
    assert "tok-123456" not in json.dumps(result)


# ---------------------------------------------------------------------------------------------------------------------
# PostgreSQL
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    programs: Path
    folder: Path
    port: int
    account: pwd.struct_passwd

    def command(self, program: str, *arguments: str) -> None:
        def become() -> None:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(self.account.pw_gid)
                os.setuid(self.account.pw_uid)

        run(str(self.programs / program), *arguments, preexec_fn=become, cwd=self.folder)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        data = str(self.folder / "data")
        self.command("pg_ctl", "-D", data, "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.command("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        run("apt-get", "install", "-y", "--no-install-recommends", "postgresql-15")
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(run("mktemp", "--directory", "/tmp/health-test-XXXXXX"))
    os.chown(folder, account.pw_uid, account.pw_gid)
    postgres = Server(found[-1].parent, folder, closed_port(), account)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    os.chown(secret, account.pw_uid, account.pw_gid)
    postgres.command(
        "initdb", "-D", str(folder / "data"), "-U", "schedgen", "-A", "scram-sha-256", f"--pwfile={secret}", "-N"
    )
    postgres.start()
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    sql = """
        CREATE TABLE migrations (id serial PRIMARY KEY, "timestamp" bigint NOT NULL, name varchar NOT NULL);
        INSERT INTO migrations ("timestamp", name) VALUES (1, 'CreateUsers1'), (2, 'AddJobs2');
        CREATE TABLE jobs AS SELECT generate_series(1, 20) AS id;
    """
    run(
        str(postgres.programs / "psql"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "schedgen",
        "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql, env=environment,
    )  # fmt: skip
    yield postgres
    if (folder / "data" / "postmaster.pid").exists():
        postgres.stop()
    shutil.rmtree(folder)


@pytest.fixture
def database(server: Server) -> dict[str, Any]:
    return {
        "name": "postgres", "user": "schedgen", "host": "127.0.0.1", "port": server.port,
        "password_file": str(server.folder / "password"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("check", "verdict", "message"),
    [
        ({"type": "sql"}, "healthy", "answers queries"),
        ({"type": "sql", "name": "jobs", "query": "SELECT count(*) FROM jobs", "equals": 20}, "healthy", "jobs: 20"),
        ({"type": "sql", "name": "jobs", "query": "SELECT count(*) FROM jobs", "max": 3}, "unhealthy",
         "jobs: the value is 20, more than 3"),
        ({"type": "sql", "query": "SELECT 1 WHERE false", "equals": 1}, "inconclusive", "returned no row"),
        ({"type": "sql", "name": "n", "query": "SELECT count(*) FROM nothing", "min": 1}, "unhealthy",
         'n failed (relation "nothing" does not exist)'),
        ({"type": "sql", "name": "w", "query": "DELETE FROM jobs RETURNING id"}, "unhealthy",
         "w failed (cannot execute DELETE in a read-only transaction)"),
        ({"type": "sql", "query": "SELECT pg_sleep(30)", "timeout": 0.4}, "unhealthy", "did not answer within 0.4 s"),
        ({"type": "migrations", "head": "AddJobs2"}, "healthy", "migration head is AddJobs2 (2 applied)"),
        ({"type": "migrations", "head": "CreateUsers1"}, "unhealthy", "1 migration past CreateUsers1"),
        ({"type": "migrations", "head": "X", "tool": "knex"}, "unhealthy", '"knex_migrations" does not exist'),
    ],
)  # fmt: skip
def test_sql(database: dict[str, Any], check: dict[str, Any], verdict: str, message: str) -> None:
    result = assess(checks=[check], database=database, successes=1, deadline=1)
    assert result["verdict"] == verdict, messages(result)
    assert message in messages(result)[0]


def test_a_wrong_password_is_told_without_it(database: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not-the-password")
    wrong = {**database, "password_file": str(tmp_path / "wrong")}
    result = assess(checks=[{"type": "sql", "service": "postgres"}], database=wrong, deadline=1)
    assert result["reasons"] == ["postgres refuses the login (of schedgen to postgres)"]
    assert "not-the-password" not in json.dumps(result)


def test_a_database_that_is_away_explains_its_dependents(server: Server, database: dict[str, Any], web: str) -> None:
    checks = [
        {"type": "http", "url": f"{web}/500", "service": "backend", "depends_on": ["postgres"]},
        {"type": "sql", "service": "postgres"},
    ]
    server.stop()
    try:
        result = assess(checks=checks, database=database, deadline=1)
    finally:
        server.start()
    place = f"(127.0.0.1:{server.port})"
    assert result["reasons"] == [
        f"postgres refuses connections {place}",
        f"backend is unhealthy because postgres refuses connections {place}",
    ]


def test_a_database_that_comes_back_becomes_healthy(server: Server, database: dict[str, Any]) -> None:
    server.stop()
    later = threading.Timer(1, server.start)
    later.start()
    result = assess(checks=[{"type": "sql"}], database=database, deadline=20)
    later.join()
    assert result["verdict"] == "healthy"
    assert result["attempts"] > 3


# ---------------------------------------------------------------------------------------------------------------------
# Through Ansible
# ---------------------------------------------------------------------------------------------------------------------


def by_ansible(arguments: dict[str, Any], *options: str) -> tuple[int, str]:
    command = [
        shutil.which("ansible") or str(Path(sys.executable).parent / "ansible"), "localhost", "--connection", "local",
        "--extra-vars", json.dumps({"ansible_python_interpreter": interpreter.PYTHON}), "--module-name",
        "schedgen.rollback.health_info", "--args", json.dumps({"application": NAME, **arguments}), *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_module_in_check_mode(web: str) -> None:
    secret = web.replace("://", f"://ann:{PASSWORD}@")
    check = {"type": "http", "url": f"{secret}/ok", "headers": {"X-Api-Key": f"{PASSWORD}-2"}}
    code, output = by_ansible({"checks": [check], "deadline": 10, "interval": 0.1}, "--check", "-vvv")
    assert code == 0
    assert '"verdict": "healthy"' in output
    assert PASSWORD not in output.split("SUCCESS =>", 1)[1]


@pytest.mark.skipif(os.path.exists("/dev/log") or os.geteuid() != 0, reason="needs the host's log for itself")
def test_no_secret_reaches_the_hosts_log(web: str) -> None:
    lines: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        # Whatever else runs on this machine logs here too, and waits where nobody reads.
        reader = threading.Thread(target=lambda: lines.extend(iter(lambda: log.recv(65536).decode(), "end")))
        reader.start()
        try:
            check = {"type": "http", "url": f"{web}/ok", "headers": {"Cookie": PASSWORD}}
            assert by_ansible({"checks": [check], "successes": 1})[0] == 0
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", "/dev/log")
            os.unlink("/dev/log")
            reader.join()
    written = "".join(line for line in lines if f"application={NAME}" in line)
    assert "Invoked with" in written
    assert PASSWORD not in "".join(lines)


def test_a_bad_check_is_refused_with_what_to_do() -> None:
    code, output = by_ansible({"checks": [{"type": "http", "url": "http://a", "statuss": 1}]})
    assert code != 0
    assert "unknown option 'statuss'; did you mean status?" in output
    assert "Next: correct the check (rollback_health_checks)" in output


def test_the_module_fails_only_where_it_is_told_to(web: str) -> None:
    wanted = {"checks": [{"type": "http", "url": f"{web}/500"}], "deadline": 1, "successes": 1}
    assert by_ansible(wanted)[0] == 0
    code, output = by_ansible({**wanted, "fail_unless_healthy": True})
    assert code != 0
    assert "answered 500 instead of 2xx" in output
