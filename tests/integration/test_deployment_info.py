# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is observed of the reference application with each of its releases, and what is said when it cannot be."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import application

thorough = pytest.mark.thorough


def deployed(version: str) -> dict[str, Any]:
    """Return what is observed of a version that was just deployed over v1, with a restore point of v1."""
    application.begin(version)
    return application.evidence()


def missing(evidence: dict[str, Any]) -> dict[str, str]:
    return {entry["what"]: entry["why"] for entry in evidence["missing"]}


def down(evidence: dict[str, Any]) -> set[str]:
    return {entry["service"] for entry in evidence["services"] if entry["verdict"] == "unhealthy"}


@pytest.fixture(scope="module")
def well(application_up: None) -> dict[str, Any]:  # noqa: ARG001  pytest ignores usefixtures on fixtures
    """Return what is observed of v1.1, for tests that leave it as it is."""
    return deployed("v1.1")


def test_a_release_that_is_well(well: dict[str, Any]) -> None:
    found = well
    assert found["health"]["verdict"] == "healthy"
    assert (found["running"]["label"], found["candidate"]["label"]) == ("v1.1", "v1")
    assert found["changed"]["images"] == ["backend", "frontend", "pdf-worker"]
    assert found["schema"]["verdict"] == "equal"
    assert down(found) == set()
    assert {entry["service"] for entry in found["services"] if entry["code"]} == set(application.CODE_SERVICES)
    assert [entry["verdict"] for entry in found["corruption"]["assertions"]] == ["healthy"] * 4
    assert (found["traffic"]["requests"], found["traffic"]["failed"]) == (20, 0)
    assert set(missing(found)) <= {"checksums"}
    assert found["durations"][0]["type"] == "backup"


def test_a_project_that_is_not_there(well: dict[str, Any]) -> None:  # noqa: ARG001
    found = application.module(
        "deployment_info", code_services=["backend"], project_src="/nonexistent", project_name="nosuch"
    )["evidence"]  # fmt: skip
    assert found["health"]["verdict"] == "unhealthy"
    assert "candidate" in missing(found)
    assert found["running"]["release"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"assertions": [{"name": "x", "query": "SELECT 1", "nonsense": 1}]}, "nonsense"),
        ({"traffic": {"speed": 9}}, "traffic has no 'speed'"),
        ({"traffic": {"requests": "many"}}, "traffic: requests is 'many'"),
        ({"row_limits": {"jobs": "few"}}, "which is no number"),
        ({"checks": [{"type": "magic"}]}, "magic"),
    ],
)
def test_what_is_declared_wrongly_is_said(well: dict[str, Any], arguments: dict[str, Any], words: str) -> None:  # noqa: ARG001
    found = application.module("deployment_info", code_services=["backend"], project_src="/nonexistent", **arguments)
    assert words in found["msg"]
    assert "Nothing was touched" in found["msg"]


def test_a_prometheus_that_is_away_is_missing(well: dict[str, Any]) -> None:  # noqa: ARG001
    found = application.evidence(prometheus={"url": "http://127.0.0.1:9", "error_rate": RATE})
    assert "127.0.0.1:9" in missing(found)["prometheus"]
    assert found["traffic"]["source"] == "probe"


def test_amcheck_looks_where_it_is_installed(well: dict[str, Any]) -> None:  # noqa: ARG001
    assert "is not installed" in missing(application.evidence(amcheck=True))["amcheck"]
    application.docker("exec", "schedgen-postgres", "psql", "-qU", "schedgen", "-c", "CREATE EXTENSION amcheck")
    found = application.evidence(amcheck=True)
    assert found["corruption"]["amcheck"] == []
    assert "amcheck" not in missing(found)


@thorough
def test_a_release_that_answers_500(application_up: None) -> None:  # noqa: ARG001
    found = deployed("http-500")
    assert found["candidate"]["label"] == "v1"
    assert found["traffic"]["error_rate"] == 0.5
    assert any(sample.endswith("/api/jobs?limit=1: 500") for sample in found["traffic"]["samples"])
    assert down(found) == set()


@thorough
def test_a_release_that_is_slow(application_up: None) -> None:  # noqa: ARG001
    found = deployed("slow")
    assert found["traffic"]["p95"] >= 2.0
    assert found["traffic"]["failed"] == 0


@thorough
@pytest.mark.parametrize(("version", "words"), [("crash", "restart"), ("never-healthy", "fails its own health check")])
def test_a_release_that_does_not_come_up(application_up: None, version: str, words: str) -> None:  # noqa: ARG001
    found = deployed(version)
    assert "backend" in down(found)
    backend = next(entry for entry in found["services"] if entry["service"] == "backend")
    assert words in backend["reason"]
    assert found["health"]["verdict"] == "unhealthy"


def test_a_configuration_that_is_bad(application_up: None) -> None:  # noqa: ARG001
    secret = (application.PROJECT / ".env").read_text()
    found = deployed("config-bad")
    assert found["changed"]["images"] == []
    assert {"path": ".env", "kind": "env", "change": "changed", "keys": ["DATABASE_HOST"]} in found["changed"]["files"]
    assert "backend" in found["changed"]["configuration"]
    assert "backend" in down(found)
    for line in secret.splitlines():
        if "PASSWORD" in line:
            assert line.partition("=")[2] not in json.dumps(found)


@thorough
@pytest.mark.parametrize(
    ("version", "verdict", "revert"),
    [
        ("v2", "compatible", "loses nothing"),
        ("migration-fails", "compatible", "loses nothing"),
        ("migration-destructive", "incompatible", "cannot"),
    ],
)
def test_migrations(application_up: None, version: str, verdict: str, revert: str) -> None:  # noqa: ARG001
    found = deployed(version)
    assert found["schema"]["verdict"] == verdict
    assert found["schema"]["added"]
    assert revert == found["schema"]["revert"] or found["schema"]["revert"] == "destroys"


def test_damaged_data_are_found_by_what_has_to_be_true(application_up: None) -> None:  # noqa: ARG001
    found = deployed("corruption")
    assert found["health"]["verdict"] == "healthy"
    wrong = [entry["name"] for entry in found["corruption"]["assertions"] if entry["verdict"] == "unhealthy"]
    assert wrong == ["every job was queued"]
    written = {entry["table"]: entry for entry in found["written"]["tables"]}
    assert written["public.job_events"]["deleted"] > 0
    assert written["public.jobs"]["updated"] > 0


@thorough
def test_what_is_fewer_than_it_may_be(application_up: None) -> None:  # noqa: ARG001
    application.begin("v1.1")
    application.docker(
        "exec", "schedgen-postgres", "psql", "-qU", "schedgen", "-c", "DELETE FROM job_events WHERE id % 3 = 0"
    )
    rows = application.evidence()["corruption"]["rows"]
    assert [(entry["table"], entry["exceeded"]) for entry in rows] == [("public.job_events", True)]
    assert not application.evidence(row_limits={"job_events": 0.5})["corruption"]["rows"][0]["exceeded"]


def test_no_restore_point(application_up: None) -> None:  # noqa: ARG001
    application.lab("reset", "v1")
    found = application.evidence()
    assert found["candidate"] is None
    assert found["no_candidate"] == "there is no restore point"
    assert {"candidate", "schema", "rows"} <= set(missing(found))
    assert found["health"]["verdict"] == "healthy"


@pytest.fixture
def stopped_database(at_v1: str) -> Iterator[str]:
    application.docker("stop", "schedgen-postgres")
    yield at_v1
    application.docker("start", "schedgen-postgres")


@thorough
def test_a_database_that_does_not_run(stopped_database: str) -> None:  # noqa: ARG001
    found = application.evidence()
    assert "postgres" in down(found)
    assert found["schema"] is None
    assert {"schema", "rows", "checksums"} <= set(missing(found))
    assert found["health"]["verdict"] == "unhealthy"


@pytest.fixture
def prometheus(at_v1: str, tmp_path: Path) -> Iterator[str]:  # noqa: ARG001
    """A real Prometheus from Debian's package, not installed, that asks the application every half second."""
    # The download is root's own: apt's sandbox user may not write here.
    fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
    subprocess.run(fetch, cwd=tmp_path, check=True, capture_output=True)
    package = next(tmp_path.glob("*.deb"))
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "root"], check=True, capture_output=True)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms}\n"
        "scrape_configs: [{job_name: backend, static_configs: [{targets: ['127.0.0.1:8080']}]}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command: list[str | Path] = [
        tmp_path / "root/usr/bin/prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"http://{address}"
        process.terminate()


RATE = 'sum(rate(http_requests_total{status=~"5.."}[10s])) / sum(rate(http_requests_total[10s]))'
MEAN = "rate(http_request_duration_seconds_sum[10s]) / rate(http_request_duration_seconds_count[10s])"


def test_what_a_real_prometheus_says_comes_before_direct_probes(prometheus: str, ledger: Path) -> None:
    queries = {"url": prometheus, "error_rate": RATE, "p95": MEAN}
    early = application.evidence(prometheus={**queries, "error_rate": "absent_metric"})
    assert "prometheus" in missing(early)
    assert early["traffic"]["source"] == "probe"
    application.lab("deploy", "http-500")
    found: dict[str, Any] = {}

    def counted() -> bool:
        found.update(application.evidence(prometheus=queries)["traffic"])
        return found["source"] == "prometheus" and (found["error_rate"] or 0) > 0.05

    with application.load(ledger):
        application.wait_until(counted, "Prometheus has counted failed requests")
    assert found["p95"] is not None
