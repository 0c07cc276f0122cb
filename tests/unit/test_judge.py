# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an observation means for a health check."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _checks, _judge
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import Observation

GOOD, BAD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
H, N, U = "healthy", "inconclusive", "unhealthy"


def check(**declared: Any) -> _checks.Check:
    (found,) = _checks.parse_checks([declared])
    return found


def judged(declared: dict[str, Any], facts: dict[str, Any], *secrets: str) -> tuple[str, str]:
    result = _judge.judge(check(**declared), Observation(0.1, facts), secrets)
    return result.verdict, result.message


def box(**more: Any) -> dict[str, Any]:
    return {
        "id": "0123456789abcdef", "name": "shop-backend-1", "service": "backend", "state": "running", "health": "",
        "restarts": 0, "exit_code": 0, "uptime": 60.0, "oom_killed": False, "health_failed": False, "health_output": "",
        "restart_policy": "unless-stopped", "image_id": GOOD, "alone": True, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "boxes", "verdict", "message"),
    [
        ({}, [box()], H, "backend: 1 of 1 running"),
        ({}, [box(health="healthy")], H, "backend: 1 of 1 healthy"),
        ({}, [box(), box(name="b")], H, "backend: 2 of 2 running"),
        ({}, [], U, "backend has no container"),
        ({"replicas": 0}, [], H, "backend has no container, as expected"),
        ({"replicas": 2}, [box()], U, "backend runs 1 of 2 containers"),
        ({"replicas": 2}, [box(), box(state="exited")], U, "backend has exited with code 0"),
        ({"replicas": 1}, [box(), box(name="b")], U, "backend runs 2 of 1 containers"),
        ({}, [box(state="restarting", restarts=4, exit_code=1)], U,
         "backend keeps restarting: 4 times so far, last exit code 1"),
        ({}, [box(state="exited", exit_code=137, oom_killed=True)], U,
         "backend has exited with code 137, out of memory"),
        ({}, [box(state="created")], U, "backend is created, not running"),
        ({}, [box(state="paused")], U, "backend is paused, not running"),
        ({}, [box(health="unhealthy", health_output="db:\n refused")], U,
         "backend fails its own health check: db: refused"),
        ({"health": "ignored"}, [box(health="unhealthy")], H, "backend: 1 of 1 running"),
        ({"health": "required"}, [box()], N, "backend has no health check of its own"),
        ({}, [box(health="starting")], N, "backend is starting: its health check has not answered yet"),
        ({}, [box(health="starting", health_failed=True)], U, "backend is starting, and its last health check failed"),
        ({"max_restarts": 2}, [box(restarts=2)], H, "backend: 1 of 1 running"),
        ({"max_restarts": 2}, [box(restarts=3)], U, "backend restarted 3 times, more than 2"),
        ({}, [box(restarts=1, uptime=9.9)], U, "backend restarted once and runs for 9.9 s only, less than 10 s"),
        ({}, [box(restarts=4, uptime=0.5, health="starting", health_failed=True)], U,
         "backend restarted 4 times and runs for 0.5 s only, less than 10 s"),
        ({}, [box(restarts=1, uptime=10.0)], H, "backend: 1 of 1 running"),
        ({"settle": 0}, [box(restarts=1, uptime=0.1)], H, "backend: 1 of 1 running"),
        ({"min_uptime": 30}, [box(uptime=29.0)], N, "backend runs for 29 s, not yet 30 s"),
        ({"min_uptime": 30}, [box(uptime=30.0)], H, "backend: 1 of 1 running"),
        # One bad replica makes the service bad, and is named.
        ({}, [box(alone=False), box(name="shop-backend-2", alone=False, health="unhealthy")], U,
         "backend (shop-backend-2) fails its own health check"),
        ({}, [box(health="starting"), box(name="b", state="dead"), box(name="c", state="dead")], U,
         "backend has exited with code 0 (and 1 more of its containers)"),
        ({"completed": True}, [box(state="exited")], H, "backend has completed"),
        ({"completed": True}, [box(state="exited", exit_code=3)], U, "backend ended with exit code 3"),
        ({"completed": True}, [box()], N, "backend has not completed yet (shop-backend-1 is running)"),
    ],
)  # fmt: skip
def test_container(options: Any, boxes: Any, verdict: str, message: str) -> None:
    assert judged({"type": "container", "service": "backend", **options}, {"containers": boxes}) == (verdict, message)


@pytest.mark.parametrize(
    ("policy", "final"), [("", True), ("no", True), ("on-failure", False), ("always", False), ("unless-stopped", False)]
)
def test_an_exit_is_final_where_nobody_restarts_it(policy: str, final: bool) -> None:
    seen = Observation(0.1, {"containers": [box(state="exited", restart_policy=policy)]})
    assert _judge.judge(check(type="container", service="backend"), seen).final is final


@pytest.mark.parametrize(
    ("options", "boxes", "verdict", "message"),
    [
        ({}, [box()], H, "backend runs image aaaaaaaaaaaa in 1 of 1 containers"),
        ({}, [], U, "backend has no running container"),
        ({}, [box(state="exited")], U, "backend has no running container"),
        ({}, [box(), box(name="shop-backend-2", image_id=BAD)], U,
         "backend runs the wrong image in 1 of 2 containers (shop-backend-2: bbbbbbbbbbbb instead of aaaaaaaaaaaa)"),
        ({"replicas": 2}, [box()], U, "backend runs 1 of 2 containers"),
        ({}, [box(), box(image_id=BAD, state="exited")], H, "backend runs image aaaaaaaaaaaa in 1 of 1 containers"),
    ],
)  # fmt: skip
def test_image(options: Any, boxes: Any, verdict: str, message: str) -> None:
    declared = {"type": "image", "service": "backend", "id": GOOD, **options}
    assert judged(declared, {"containers": boxes}) == (verdict, message)


def answer(**more: Any) -> dict[str, Any]:
    return {"target": "http://a/h", "status": 200, "latency": 0.02, "body": "", "headers": {}, "location": "", **more}


@pytest.mark.parametrize(
    ("options", "answers", "verdict", "message"),
    [
        ({}, [answer()], H, "GET http://a/h answered 200 in 20 ms"),
        ({}, [answer(status=204)], H, "GET http://a/h answered 204 in 20 ms"),
        ({}, [answer(status=500)], U, "GET http://a/h answered 500 instead of 2xx"),
        ({"status": [200, "3xx"]}, [answer(status=404)], U, "GET http://a/h answered 404 instead of 200 or 3xx"),
        ({}, [answer(status=302, location="http://a/login")], U,
         "GET http://a/h answered 302 instead of 2xx (it leads to http://a/login)"),
        ({"json": {"status": "ok"}}, [answer(body='{"status": "ok"}')], H, "GET http://a/h answered 200 in 20 ms"),
        ({"json": {"status": "ok"}}, [answer(body='{"status": "error"}')], U,
         "GET http://a/h answered 200, but status is 'error' instead of 'ok'"),
        ({"json": {"info.db": "up"}}, [answer(body='{"info": {}}')], U,
         "GET http://a/h answered 200, but info.db is missing"),
        ({"json": {"queue": {"max": 10}}}, [answer(body='{"queue": 11}')], U,
         "GET http://a/h answered 200, but queue is 11, more than 10"),
        ({"json": {"a": 1}}, [answer(body="<html>")], U, "GET http://a/h answered 200, but its body is not JSON"),
        ({"body": "wel+come"}, [answer(body="we wellcome you")], H, "GET http://a/h answered 200 in 20 ms"),
        ({"body": "wel+come"}, [answer(body="welcom")], U,
         "GET http://a/h answered 200, but its body does not match 'wel+come'"),
        ({"expect_headers": {"content-type": "json"}}, [answer(headers={"Content-Type": "application/json"})], H,
         "GET http://a/h answered 200 in 20 ms"),
        ({"expect_headers": {"Content-Type": "json"}}, [answer()], U,
         "GET http://a/h answered 200, but its header Content-Type does not match 'json'"),
        ({"latency": 0.02}, [answer()], H, "GET http://a/h answered 200 in 20 ms"),
        ({"latency": 0.01}, [answer()], U, "GET http://a/h took 0.02 s, more than 0.01 s"),
        ({}, [answer(not_http=True)], U, "GET http://a/h got an answer that is not HTTP"),
        ({"any_protocol": True}, [answer(not_http=True)], H, "http://a/h is open (it does not speak HTTP)"),
        ({"any_protocol": True}, [{"target": "http://a/h", "trouble": "broken"}], N,
         "http://a/h broke the connection; declare a check that says what this port answers"),
        ({}, [{"target": "http://a/h", "trouble": "refused"}], U, "http://a/h refuses connections"),
        ({}, [{"target": "http://a/h", "trouble": "timeout"}], U, "http://a/h did not answer within 5 s"),
        ({}, [{"target": "http://a/h", "trouble": "unresolved"}], N, "the address of http://a/h is unknown here"),
        ({}, [answer(), answer(target="http://b/h", status=500)], U,
         "GET http://b/h answered 500 instead of 2xx (1 of 2 containers)"),
        ({}, [answer(), answer()], H, "GET http://a/h answered 200 in 20 ms (2 of 2 containers)"),
    ],
)  # fmt: skip
def test_http(options: Any, answers: Any, verdict: str, message: str) -> None:
    assert judged({"type": "http", "url": "http://a/h", **options}, {"answers": answers}) == (verdict, message)


@pytest.mark.parametrize(("days", "verdict"), [(14.0, H), (13.9, U), (-1.0, U), (None, N)])
def test_certificate(days: float | None, verdict: str) -> None:
    declared = {"type": "http", "url": "https://a/h", "tls_days": 14}
    assert judged(declared, {"answers": [answer(tls_days=days)]})[0] == verdict


def test_a_service_without_containers_answers_nothing() -> None:
    declared = {"type": "http", "service": "backend", "port": 1}
    assert judged(declared, {"answers": []}) == (U, "backend has no running container")


@pytest.mark.parametrize(
    ("options", "rows", "verdict", "message"),
    [
        ({}, [(1,)], H, "postgres answers queries"),
        ({}, [], H, "postgres answers queries"),
        ({"equals": 3}, [(3,)], H, "n: 3"),
        ({"equals": "3"}, [(Decimal("3.00"),)], H, "n: 3"),
        ({"equals": 3}, [(4,)], U, "n: the value is 4 instead of 3"),
        ({"equals": "yes"}, [("no",)], U, "n: the value is 'no' instead of 'yes'"),
        ({"not_equals": 0}, [(0,)], U, "n: the value is 0"),
        ({"equals": True}, [(True,)], H, "n: True"),
        ({"equals": None}, [(None,)], H, "n: None"),
        ({"min": 5}, [(4,)], U, "n: the value is 4, less than 5"),
        ({"max": 5}, [(Decimal("5.5"),)], U, "n: the value is 5.5, more than 5"),
        ({"max": 5}, [("many",)], U, "n: the value is 'many', which is not a number"),
        ({"matches": "^v2"}, [("v1.9",)], U, "n: the value is 'v1.9' and does not match '^v2'"),
        # No data is inconclusive.
        ({"equals": 3}, [], N, "n: the query returned no row"),
        ({"min": 3}, [(None,)], N, "n: the query returned no value (NULL)"),
    ],
)
def test_sql(options: Any, rows: Any, verdict: str, message: str) -> None:
    declared = {"type": "sql", "name": "n", "service": "postgres", "query": "SELECT n", **options}
    assert judged(declared, {"rows": rows, "latency": 0.01}) == (verdict, message)


@pytest.mark.parametrize(
    ("trouble", "detail", "verdict", "message"),
    [
        ("refused", "10.0.0.2:5432", U, "postgres refuses connections (10.0.0.2:5432)"),
        ("denied", "of schedgen to schedgen", U, "postgres refuses the login (of schedgen to schedgen)"),
        ("timeout", "", U, "postgres did not answer within 5 s"),
        ("broken", "", U, "postgres broke the connection"),
        ("absent", "", U, "postgres has no running container"),
        ("failed", "relation does not exist", U, "login failed (relation does not exist)"),
        ("cut", "no answer in 2.0 s", N, "login was not finished when the time was up (no answer in 2.0 s)"),
        ("unavailable", "engine away", N, "login could not be observed (engine away)"),
    ],
)
def test_troubles(trouble: str, detail: str, verdict: str, message: str) -> None:
    seen = Observation(0.1, {}, trouble, detail)
    result = _judge.judge(check(type="sql", name="login", service="postgres"), seen)
    assert (result.verdict, result.message, result.cut) == (verdict, message, trouble == "cut")


@pytest.mark.parametrize(
    ("applied", "verdict", "message"),
    [
        (["A1", "B2"], H, "migration head is B2 (2 applied)"),
        (["A1", "B2", "C3"], U, "the database is 1 migration past B2 (head is C3)"),
        (["A1", "B2", "C3", "D4"], U, "the database is 2 migrations past B2 (head is D4)"),
        (["A1"], U, "migration head is A1 instead of B2, which is not applied"),
        ([], N, "no migration is recorded in the database"),
    ],
)
def test_migrations(applied: list[str], verdict: str, message: str) -> None:
    assert judged({"type": "migrations", "head": "B2"}, {"applied": applied}) == (verdict, message)


@pytest.mark.parametrize(
    ("options", "lines", "matches", "verdict", "message"),
    [
        ({}, 10, [], H, "backend logged no error lines in 10 lines"),
        ({"limit": 1}, 10, ["ERROR a"], H, "backend logged 1 error line in 10 lines"),
        ({}, 10, ["ERROR a", "ERROR  password=hunter22 b"], U,
         "backend logged 2 error lines, more than 0; the last one: ERROR password=******** b"),
    ],
)  # fmt: skip
def test_log(options: Any, lines: int, matches: list[str], verdict: str, message: str) -> None:
    facts = {"containers": [box()], "lines": lines, "matches": matches}
    assert judged({"type": "log", "service": "backend", **options}, facts) == (verdict, message)


@pytest.mark.parametrize(
    ("options", "facts", "verdict", "message"),
    [
        ({}, {"rc": 0}, H, "command x ended with exit code 0"),
        ({}, {"rc": 2, "stderr": "no\nway"}, U, "command x ended with exit code 2 instead of 0: no way"),
        ({"rc": 1}, {"rc": 1}, H, "command x ended with exit code 1"),
        ({"stdout": "PONG"}, {"rc": 0, "stdout": "ping"}, U, "command x: its output does not match 'PONG'"),
    ],
)
def test_command(options: Any, facts: Any, verdict: str, message: str) -> None:
    declared = {"type": "command", "argv": ["x"], **options}
    assert judged(declared, {"answers": [{"target": "command x", **facts}]}) == (verdict, message)


@pytest.mark.parametrize(
    ("series", "verdict", "message"),
    [
        ([], N, "m: Prometheus has no data for it"),
        ([{"labels": {}, "value": float("nan")}], N, "m: Prometheus has no number for it"),
        ([{"labels": {}, "value": 0.01}], H, "m: 0.01"),
        ([{"labels": {"__name__": "e", "job": "api"}, "value": 0.2}], U, "m (job=api) is 0.2, more than 0.05"),
        ([{"labels": {}, "value": 0.0}, {"labels": {}, "value": float("inf")}], U, "m is inf, more than 0.05"),
    ],
)
def test_prometheus(series: Any, verdict: str, message: str) -> None:
    declared = {"type": "prometheus", "name": "m", "url": "http://p", "query": "e", "max": 0.05}
    assert judged(declared, {"series": series}) == (verdict, message)


@pytest.mark.parametrize(
    ("status", "body", "values"),
    [
        (
            200,
            '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}',
            [2.0],
        ),
        (200, '{"status":"success","data":{"resultType":"vector","result":[]}}', []),
        (200, '{"status":"success","data":{"resultType":"scalar","result":[1,"5"]}}', [5.0]),
        (200, '{"status":"success","data":{"resultType":"matrix","result":[]}}', []),
        (400, '{"status":"error","error":"parse error"}', []),
        (200, "<html>", []),
        (200, "[]", []),
    ],
)
def test_answers_of_prometheus(status: int, body: str, values: list[float]) -> None:
    assert [item["value"] for item in _judge.prometheus_series(status, body)] == values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ("c.0.d", 2),
        ("c[0].d", 2),
        ("c.-1.d", 2),
        ("a.x", _judge.MISSING),
        ("c.5", _judge.MISSING),
        ("n", None),
    ],
)
def test_paths(path: str, value: Any) -> None:
    assert _judge.value_at({"a": {"b": 1}, "c": [{"d": 2}], "n": None}, path) == value


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [([], N), ([H], H), ([H, N], N), ([N, U, H], U), ([H, H], H)],
)
def test_the_worst_of_verdicts(verdicts: list[str], verdict: str) -> None:
    assert _judge.worst(verdicts) == verdict


def test_no_secret_stays_in_a_result() -> None:
    declared = {"type": "http", "url": "http://ann:hunter22@a/h", "name": "door hunter22"}
    seen = Observation(0.1, {"answers": [answer(target="http://a/h", status=500, location="http://ann:hunter22@b/")]})
    result = _judge.judge(check(**declared), seen, ["hunter22"])
    assert "hunter22" not in repr(result.as_dict())
