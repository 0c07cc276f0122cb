# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify-deployment.yml: exit code 0 is healthy and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import interpreter

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """
all:
  vars: {ansible_connection: local}
  children:
    application: {hosts: {first: , second: }}
    elsewhere: {hosts: {third: }}
    away: {hosts: {away: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}}}
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/bad" else 200)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(INVENTORY)
    return str(path)


def verify(url: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    given = {
        "ansible_python_interpreter": interpreter.PYTHON,
        "rollback_application": "verify-test",
        "rollback_database": "",
        "rollback_code_services": [],
        "rollback_health_checks": [{"type": "http", "url": url, "name": "door"}],
        "rollback_health_deadline": 1,
        "verify_successes": 2,
        "verify_interval": 0.1,
        **variables,
    }
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "verify-deployment.yml", "--extra-vars",
         json.dumps(given), *options],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip


def test_healthy_without_an_inventory(web: str) -> None:
    done = verify(f"{web}/ok")
    assert done.returncode == 0, done.stdout
    assert "healthy: 1 of 1 checks, 2 times in a row" in done.stdout


def test_unhealthy(web: str, inventory: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = verify(f"{web}/bad", "-i", inventory, rollback_hosts="application", verify_results_dir=str(results))
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert "What happened: verify-test is unhealthy: GET " in told
    assert "State: The application was only looked at" in told
    assert "Next: Go back to the last good release with quick-rollback.yml" in told
    assert sorted(path.name for path in results.iterdir()) == [
        "verify-test-first.json", "verify-test-first.xml", "verify-test-second.json", "verify-test-second.xml",
    ]  # fmt: skip
    result = json.loads((results / "verify-test-second.json").read_text())
    assert (result["verdict"], result["host"], result["probes"][0]["observed"]["status"]) == (
        "unhealthy",
        "second",
        500,
    )
    suite = ET.parse(results / "verify-test-first.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "2", "0")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["verdict", "door"]


def test_inconclusive_is_not_healthy(tmp_path: Path) -> None:
    done = verify("http://no-such-host.invalid/", verify_results_dir=str(tmp_path))
    assert done.returncode == 2
    assert "verify-test is inconclusive" in done.stdout
    suite = ET.parse(tmp_path / "verify-test-localhost.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "2")


def test_a_host_that_is_away_is_not_healthy(web: str, inventory: str) -> None:
    assert verify(f"{web}/ok", "-i", inventory, rollback_hosts="first:away").returncode == 4


@pytest.mark.parametrize(
    ("hosts", "options", "code"),
    [
        ("nosuch", (), 2),
        ("application", ("--limit", "third"), 2),
        ("application", ("--limit", "first"), 0),
        ("application:&elsewhere", (), 2),
        ("localhost", (), 0),
        # Nothing is left out by a tag, and check mode looks as well.
        ("first", ("--tags", "nosuch"), 0),
        ("nosuch", ("--tags", "nosuch"), 2),
        ("first", ("--check",), 0),
    ],
)
def test_no_host_is_not_healthy(web: str, inventory: str, hosts: str, options: tuple[str, ...], code: int) -> None:
    done = verify(f"{web}/ok", "-i", inventory, *options, rollback_hosts=hosts)
    assert done.returncode == code, done.stdout
    assert ("healthy: 1 of 1 checks" in done.stdout) is (code == 0)


def test_the_verdict_alone_where_it_is_not_required(web: str) -> None:
    done = verify(f"{web}/bad", verify_required=False)
    assert done.returncode == 0
    assert "unhealthy: 0 of 1 checks good" in done.stdout


def test_the_verdict_is_passed_on(web: str, inventory: str) -> None:
    environment = {"ANSIBLE_SHOW_CUSTOM_STATS": "true", "ANSIBLE_STDOUT_CALLBACK": "default"}
    os.environ.update(environment)
    try:
        done = verify(f"{web}/bad", "-i", inventory, rollback_hosts="first:away")
    finally:
        for name in environment:
            del os.environ[name]
    assert '"rollback_verdict": "unhealthy"' in done.stdout
    assert '"away": "inconclusive"' in done.stdout
