# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared health checks: what is accepted, what is refused with which words, what is derived."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.schedgen.rollback.plugins.module_utils import _checks

ID = "sha256:" + "ab" * 32
TYPES = "container, http, tcp, sql, migrations, image, log, command, prometheus"


def only(declared: dict[str, Any]) -> _checks.Check:
    (check,) = _checks.parse_checks([declared])
    return check


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ({"type": "container", "service": "backend"}, "backend runs"),
        ({"type": "container", "service": "seed", "completed": True}, "seed has completed"),
        ({"type": "http", "url": "http://user:pw@a:1/x"}, "GET http://a:1/x"),
        ({"type": "http", "service": "backend", "port": 3000, "path": "/health"}, "GET http://backend:3000/health"),
        ({"type": "tcp", "host": "127.0.0.1", "port": "6379"}, "port 127.0.0.1:6379"),
        ({"type": "tcp", "service": "redis", "port": 6379}, "port redis:6379"),
        ({"type": "sql"}, "database login"),
        ({"type": "sql", "query": "SELECT count(*)\n  FROM jobs", "min": 1}, "query: SELECT count(*) FROM jobs"),
        ({"type": "migrations", "head": "A1"}, "migration head"),
        ({"type": "image", "service": "backend", "id": ID}, "backend image"),
        ({"type": "log", "service": "backend"}, "backend log"),
        ({"type": "command", "argv": ["/usr/bin/true", 1]}, "command true"),
        ({"type": "prometheus", "url": "http://p:9090", "query": "up", "min": 1}, "metric up"),
        ({"type": "tcp", "host": "a", "port": 1, "name": " front door "}, "front door"),
    ],
)
def test_every_type_has_a_name(declared: dict[str, Any], name: str) -> None:
    assert only(declared).name == name


@pytest.mark.parametrize(
    ("declared", "option", "value"),
    [
        ({"type": "http", "url": "http://a"}, "status", ("2xx",)),
        ({"type": "http", "url": "http://a", "status": 200}, "status", ("200",)),
        ({"type": "http", "url": "http://a", "status": [200, "3XX"]}, "status", ("200", "3xx")),
        ({"type": "http", "url": "http://a"}, "follow_redirects", False),
        ({"type": "http", "url": "http://a", "latency": "0.5"}, "latency", 0.5),
        ({"type": "http", "url": "http://a", "latency": None}, "latency", None),
        ({"type": "http", "url": "http://a", "json": {"a.b": 1}}, "json", {"a.b": {"equals": 1}}),
        ({"type": "http", "url": "http://a", "json": {"n": {"max": "3"}}}, "json", {"n": {"max": 3.0}}),
        ({"type": "container", "service": "a", "replicas": "2"}, "replicas", 2),
        ({"type": "container", "service": "a", "completed": "yes"}, "completed", True),
        ({"type": "image", "service": "a", "id": ID[7:].upper()}, "id", ID),
        ({"type": "command", "argv": ["sleep", 1]}, "argv", ("sleep", "1")),
        ({"type": "log", "service": "a", "since": "start"}, "since", "start"),
        ({"type": "log", "service": "a", "since": "60"}, "since", 60.0),
        ({"type": "log", "service": "a", "since": "2026-11-22T13:15:00Z"}, "since", 1795353300.0),
        ({"type": "sql", "equals": None}, "expected", {"equals": None}),
        ({"type": "sql", "min": 1, "max": "9"}, "expected", {"min": 1.0, "max": 9.0}),
        ({"type": "migrations", "head": "x"}, "tool", "typeorm"),
    ],
)
def test_options_are_read(declared: dict[str, Any], option: str, value: Any) -> None:
    assert only(declared).options[option] == value


def test_common_options() -> None:
    check = only({"type": "tcp", "host": "a", "port": 1, "critical": "no", "depends_on": "redis", "timeout": 2})
    assert (check.critical, check.depends_on, check.timeout) == (False, ("redis",), 2.0)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"a": 1}, "health checks must be a list of mappings"),
        (["x"], "health check 1: must be a mapping, not 'x'"),
        ([{}], f"health check 1: type must be one of {TYPES}, not None"),
        ([{"type": "ping", "name": "a"}], f"health check 1 (a): type must be one of {TYPES}, not 'ping'"),
        ([{"type": "http", "url": "http://a", "statuss": 1}],
         "health check 1: unknown option 'statuss'; did you mean status?"),
        ([{"type": "tcp", "zzzzz": 1}],
         ("health check 1: unknown option 'zzzzz'; "
         "tcp knows critical, depends_on, host, name, port, service, timeout, type")),
        ([{"type": "tcp", "host": "a"}], "health check 1: port is missing"),
        ([{"type": "tcp", "host": "a", "port": ""}], "health check 1: port is missing"),
        ([{"type": "tcp", "port": 1}],
         "health check 1: host is missing (or service, to connect to each of its containers)"),
        ([{"type": "tcp", "host": "a", "port": 70000}],
         "health check 1: port must be a port from 1 to 65535, not 70000"),
        ([{"type": "tcp", "host": " ", "port": 1}], "health check 1: host must be a text that is not empty, not ' '"),
        ([{"type": "container"}], "health check 1: service is missing"),
        ([{"type": "container", "service": "a", "replicas": 1.5}],
         "health check 1: replicas must be a whole number from 0, not 1.5"),
        ([{"type": "container", "service": "a", "health": "yes"}],
         "health check 1: health must be one of if_defined, required, ignored, not 'yes'"),
        ([{"type": "container", "service": "a", "completed": True, "replicas": 1}],
         ("health check 1: completed is for a job that ends; "
         "replicas, min_uptime and max_restarts are for one that runs")),
        ([{"type": "http"}], "health check 1: url is missing (or service and port, to ask each of its containers)"),
        ([{"type": "http", "url": "http://a", "port": 1}],
         "health check 1: url stands alone; port, path and scheme go with service"),
        ([{"type": "http", "url": "ftp://u:secret@a/"}],
         "health check 1: url must be an address that starts with http:// or https://, not 'ftp://a/'"),
        ([{"type": "http", "url": "http://a:99999/"}],
         "health check 1: url must be an address that starts with http:// or https://, not 'http://a:99999/'"),
        ([{"type": "http", "url": "http://a", "status": "ok"}],
         "health check 1: status must be a status such as 200, a class such as 2xx, or a list of them, not 'ok'"),
        ([{"type": "http", "url": "http://a", "body": "("}],
         "health check 1: body is not a regular expression: missing ), unterminated subpattern at position 0"),
        ([{"type": "http", "url": "http://a", "json": {"a": [1]}}],
         "health check 1: json a: must be one value or a mapping of equals, not_equals, min, max, matches, not a list"),
        ([{"type": "http", "url": "http://a", "json": {"a": {"above": 1}}}],
         ("health check 1: json a: must be one value or a mapping of equals, not_equals, min, max, matches, "
         "not {'above': 1}")),
        ([{"type": "http", "url": "http://a", "json": {"a": {"max": "x"}}}],
         "health check 1: json a: max must be a number, not 'x'"),
        ([{"type": "http", "url": "http://a", "tls_days": 7}],
         "health check 1: tls_days needs https and validate_certs"),
        ([{"type": "http", "url": "https://a", "tls_days": 7, "validate_certs": False}],
         "health check 1: tls_days needs https and validate_certs"),
        ([{"type": "sql", "equals": [1]}], "health check 1: equals must be one value, not [1]"),
        ([{"type": "sql", "timeout": 0}], "health check 1: timeout must be more than 0 seconds, not 0"),
        ([{"type": "sql", "critical": "maybe"}], "health check 1: critical must be true or false, not 'maybe'"),
        ([{"type": "migrations"}], "health check 1: head is missing"),
        ([{"type": "image", "service": "a", "id": "v1"}],
         "health check 1: id must be an image id (sha256: and 64 hexadecimal digits), not 'v1'"),
        ([{"type": "command", "argv": "rm -rf /"}],
         "health check 1: argv must be a list of words, the program first (there is no shell)"),
        ([{"type": "command", "argv": ["x"], "inside": True}],
         "health check 1: service is missing: whose containers is it to be run inside?"),
        ([{"type": "log", "service": "a", "since": "yesterday"}],
         ("health check 1: since must be seconds before now, a time such as 2026-11-22T13:15:00Z, or start, "
         "not 'yesterday'")),
        ([{"type": "prometheus", "url": "http://p", "query": "up"}],
         "health check 1: one of equals, not_equals, min, max, matches is missing"),
        ([{"type": "sql", "name": "a"}, {"type": "sql", "name": "a"}],
         "health check 2 (a): another check already has this name"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how(declared: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _checks.parse_checks(declared)


def test_names_that_nobody_gave_are_made_unique() -> None:
    names = [check.name for check in _checks.parse_checks([{"type": "sql"}, {"type": "sql"}, {"type": "sql"}])]
    assert names == ["database login", "database login (2)", "database login (3)"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T13:15:00Z", 1795353300.0),
        ("2026-11-22T13:15:00.123456789Z", 1795353300.123456),
        ("2026-11-22T13:15:00.5Z", 1795353300.5),
        ("2026-11-22T14:15:00+01:00", 1795353300.0),
        ("2026-11-22 13:15:00", 1795353300.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert _checks.parse_time(text) == pytest.approx(seconds, abs=1e-5)


def container(service: str, **more: Any) -> dict[str, Any]:
    return {"service": service, "number": 1, "depends_on": {}, "ports": [], "healthcheck": [], **more}


def port(inner: int, outer: int, ip: str = "0.0.0.0", protocol: str = "tcp") -> dict[str, Any]:
    return {"host_ip": ip, "host_port": outer, "container_port": inner, "protocol": protocol}


@pytest.mark.parametrize(
    ("containers", "database", "expected"),
    [
        ([], None, []),
        (
            [container("backend", depends_on={"postgres": "service_healthy", "seed": "service_completed_successfully"}),
             container("postgres"), container("seed")],
            None,
            [{"type": "container", "service": "backend", "depends_on": ["postgres", "seed"]},
             {"type": "container", "service": "postgres", "depends_on": []},
             {"type": "container", "service": "seed", "depends_on": [], "completed": True}],
        ),
        # A service that another one needs, and of which nothing is left, is missed.
        (
            [container("backend", depends_on={"redis": "service_started"})],
            None,
            [{"type": "container", "service": "backend", "depends_on": ["redis"]},
             {"type": "container", "service": "redis", "depends_on": []}],
        ),
        # The path comes from the container's own health check; both addresses of one port are one check.
        (
            [container("proxy", ports=[port(80, 8080), port(80, 8080, "::")],
                       healthcheck=["CMD-SHELL", "curl -f http://localhost/health || exit 1"])],
            None,
            [{"type": "container", "service": "proxy", "depends_on": []},
             {"type": "http", "service": "proxy", "depends_on": [], "status": ["2xx", "3xx"],
              "url": "http://127.0.0.1:8080/health"}],
        ),
        # A health check of another port says nothing about this one.
        (
            [container("api", ports=[port(3000, 3000, "10.0.0.5")], healthcheck=["CMD", "wget", "http://127.0.0.1:9/ok"])],
            None,
            [{"type": "container", "service": "api", "depends_on": []},
             {"type": "http", "service": "api", "depends_on": [], "status": ["2xx", "3xx", "4xx"], "any_protocol": True,
              "url": "http://10.0.0.5:3000/"}],
        ),
        (
            [container("proxy", ports=[port(443, 443), port(443, 443, protocol="udp")])],
            None,
            [{"type": "container", "service": "proxy", "depends_on": []},
             {"type": "http", "service": "proxy", "depends_on": [], "status": ["2xx", "3xx", "4xx"],
              "any_protocol": True, "validate_certs": False, "url": "https://127.0.0.1:443/"}],
        ),
        (
            [container("postgres", ports=[port(5432, 15432, "127.0.0.1")])],
            {"name": "schedgen", "service": "postgres", "host": ""},
            [{"type": "container", "service": "postgres", "depends_on": []},
             {"type": "tcp", "service": "postgres", "depends_on": [], "host": "127.0.0.1", "port": 15432},
             {"type": "sql", "name": "database schedgen", "service": "postgres"}],
        ),
        (
            [], {"name": "shop", "service": "postgres", "host": "db.example"},
            [{"type": "sql", "name": "database shop", "service": ""}],
        ),
    ],
)  # fmt: skip
def test_derived_checks(containers: Any, database: Any, expected: Any) -> None:
    derived = _checks.derive_checks(containers, database)
    assert derived == expected
    _checks.parse_checks(derived)


def test_derived_checks_know_what_only_the_files_say() -> None:
    files: dict[str, dict[str, Any]] = {
        "backend": {"depends_on": {"postgres": "service_healthy", "seed": "service_completed_successfully"}},
        "seed": {"depends_on": {}, "replicas": 1},
        "mailer": {"depends_on": {}, "replicas": 1},
        "spare": {"depends_on": {}, "replicas": 0},
    }
    containers = [container("backend"), container("postgres"), container("seed")]
    assert _checks.derive_checks(containers, None, files) == [
        {"type": "container", "service": "backend", "depends_on": ["postgres", "seed"]},
        {"type": "container", "service": "mailer", "depends_on": [], "critical": False},
        {"type": "container", "service": "postgres", "depends_on": []},
        {"type": "container", "service": "seed", "depends_on": [], "completed": True},
    ]


def test_required_checks_come_first_and_learn_dependencies() -> None:
    required = _checks.required_checks(["backend"], {"backend": ID}, {"pdf-worker": 2}, 5.0)
    derived: list[dict[str, Any]] = [
        {"type": "container", "service": "backend", "depends_on": ["postgres"]},
        {"type": "sql"},
    ]
    assert _checks.merge_checks(required, derived) == [
        {"type": "container", "service": "backend", "min_uptime": 5.0, "depends_on": ["postgres"]},
        {"type": "container", "service": "pdf-worker", "min_uptime": 5.0, "replicas": 2},
        {"type": "image", "service": "backend", "id": ID},
        {"type": "sql"},
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"deadline": 0}, "deadline must be more than 0 seconds, not 0"),
        ({"successes": 0}, "successes must be at least 1"),
        ({"successes": 2.5}, "successes must be a whole number from 0, not 2.5"),
        ({"interval": -1}, "interval must not be negative, not -1"),
        ({"deadline": 10, "min_healthy": 10},
         "deadline must be longer than 10 s: 3 successes every 1 s and at least 10 s healthy do not fit into it"),
        ({"deadline": 4, "successes": 5},
         "deadline must be longer than 4 s: 5 successes every 1 s and at least 0 s healthy do not fit into it"),
    ],
)  # fmt: skip
def test_policies_that_cannot_be_met(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _checks.policy(**given)


def test_a_policy_from_texts() -> None:
    assert _checks.policy("60", "2", "0.5", "3", "yes") == _checks.Policy(60.0, 2, 0.5, 3.0, True)


def test_checks_of_the_database_speak_about_its_service() -> None:
    checks = _checks.parse_checks([
        {"type": "sql"}, {"type": "migrations", "head": "x"}, {"type": "sql", "name": "n", "service": "backend"},
        {"type": "tcp", "host": "a", "port": 1},
    ])  # fmt: skip
    assert [check.service for check in _checks.of_the_database(checks, "postgres")] == [
        "postgres", "postgres", "backend", "",
    ]  # fmt: skip


def test_secrets_of_checks() -> None:
    checks = _checks.parse_checks([
        {"type": "http", "url": "http://ann:hunter22@a/?token=t0ken&page=2",
         "headers": {"Authorization": "Bearer abc.def", "Host": "shop.example"}},
    ])  # fmt: skip
    assert set(_checks.check_secrets(checks)) == {"hunter22", "t0ken", "Bearer abc.def", "abc.def"}


def test_the_page_of_health_checks_knows_all_of_them() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "health_checks.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example
    shown = _checks.parse_checks(yaml.safe_load(example.group(1))["rollback_health_checks"])
    assert {check.type for check in shown} == set(_checks.TYPES)
    options = {name for fields in (_checks.COMMON, *_checks.TYPES.values()) for name in fields} - {"type"}
    assert [name for name in sorted(options) if f"`{name}`" not in page] == []
