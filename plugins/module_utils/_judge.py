# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an observation of a running application means for one health check. Pure; private to this collection."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Callable

from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Check
from ansible_collections.schedgen.rollback.plugins.module_utils._redact import redact
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text, short, short_id, times

HEALTHY = "healthy"
INCONCLUSIVE = "inconclusive"
UNHEALTHY = "unhealthy"

#: From best to worst. Inconclusive is a verdict of its own: no data is never good news, and never proof of a fault.
ORDER = (HEALTHY, INCONCLUSIVE, UNHEALTHY)


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; of none at all: inconclusive."""
    found = [ORDER.index(verdict) for verdict in verdicts]
    return ORDER[max(found)] if found else INCONCLUSIVE


#: What can stop an observation, and what that says about health. A fault of the observer is no data.
TROUBLES: Mapping[str, str] = {
    "refused": UNHEALTHY,
    "timeout": UNHEALTHY,
    "broken": UNHEALTHY,
    "tls": UNHEALTHY,
    "denied": UNHEALTHY,
    "absent": UNHEALTHY,
    "failed": UNHEALTHY,
    "unresolved": INCONCLUSIVE,
    "cut": INCONCLUSIVE,
    "unavailable": INCONCLUSIVE,
}


@dataclass(frozen=True)
class Observation:
    """What one probe saw: facts by type of check, or the trouble that kept it from seeing."""

    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Result:
    """One check, judged. ``final`` says that waiting will not change it."""

    name: str
    type: str
    critical: bool
    verdict: str
    seconds: float
    message: str
    observed: Mapping[str, Any] = field(default_factory=dict)
    service: str = ""
    depends_on: tuple[str, ...] = ()
    final: bool = False
    cut: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The result as the module returns it."""
        found = asdict(self)
        found["depends_on"] = list(self.depends_on)
        found["seconds"] = round(self.seconds, 3)
        del found["cut"]
        return found


@dataclass(frozen=True)
class _Judgement:
    verdict: str
    message: str
    observed: Mapping[str, Any] = field(default_factory=dict)
    final: bool = False


def judge(check: Check, seen: Observation, secrets: Sequence[str] = ()) -> Result:
    """The verdict on one check from what its probe observed; nothing secret stays in it."""
    if seen.trouble:
        found = _Judgement(TROUBLES[seen.trouble], _trouble_text(check, seen.trouble, seen.detail))
    else:
        found = _JUDGES[check.type](check, seen.facts)
    return Result(
        name=redact(check.name, secrets),
        type=check.type,
        critical=check.critical,
        verdict=found.verdict,
        seconds=seen.seconds,
        message=redact(found.message, secrets),
        observed=redact(dict(found.observed), secrets),
        service=check.service,
        depends_on=check.depends_on,
        final=found.final,
        cut=seen.trouble == "cut",
    )


def _trouble_text(check: Check, trouble: str, detail: str, place: str = "") -> str:
    subject = place or check.service or check.name
    reason = f" ({detail})" if detail else ""
    if trouble == "refused":
        return f"{subject} refuses connections{reason}"
    if trouble == "timeout":
        return f"{subject} did not answer within {number_text(check.timeout)} s{reason}"
    if trouble == "broken":
        return f"{subject} broke the connection{reason}"
    if trouble == "tls":
        return f"{subject} has no valid certificate{reason}"
    if trouble == "denied":
        return f"{subject} refuses the login{reason}"
    if trouble == "absent":
        return detail or f"{subject} has no running container"
    if trouble == "unresolved":
        return f"the address of {subject} is unknown here{reason}"
    if trouble == "cut":
        return f"{check.name} was not finished when the time was up{reason}"
    if trouble == "unavailable":
        return f"{check.name} could not be observed{reason}"
    return f"{check.name} failed{reason}"


def _judge_container(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    options, containers = check.options, facts["containers"]
    observed = {"containers": [_container_summary(item) for item in containers]}
    if not containers:
        wanted = options["replicas"]
        if wanted == 0:
            return _Judgement(HEALTHY, f"{check.service} has no container, as expected", observed)
        return _Judgement(UNHEALTHY, f"{check.service} has no container", observed)
    if options["completed"]:
        return _judge_completed(check, containers, observed)
    judged = [_judge_one_container(check, item) for item in containers]
    verdict = worst(item.verdict for item in judged)
    running = sum(1 for item in containers if item["state"] == "running")
    if verdict != UNHEALTHY and options["replicas"] is not None and running != options["replicas"]:
        return _Judgement(UNHEALTHY, f"{check.service} runs {running} of {options['replicas']} containers", observed)
    bad = [item for item in judged if item.verdict == verdict]
    if verdict != HEALTHY:
        more = f" (and {len(bad) - 1} more of its containers)" if len(bad) > 1 else ""
        return _Judgement(verdict, bad[0].message + more, observed, all(item.final for item in bad))
    state = "healthy" if all(item["health"] == "healthy" for item in containers) else "running"
    return _Judgement(HEALTHY, f"{check.service}: {running} of {running} {state}", observed)


def _container_summary(item: Mapping[str, Any]) -> dict[str, Any]:
    uptime = item.get("uptime")
    return {
        "name": item["name"],
        "id": str(item.get("id", ""))[:12],
        "state": item["state"],
        "health": item["health"],
        "restarts": item["restarts"],
        "exit_code": item["exit_code"],
        "uptime": None if uptime is None else round(uptime, 1),
    }


def _judge_completed(check: Check, containers: Sequence[Mapping[str, Any]], observed: Mapping[str, Any]) -> _Judgement:
    for item in containers:
        if item["state"] != "exited":
            return _Judgement(
                INCONCLUSIVE, f"{check.service} has not completed yet ({item['name']} is {item['state']})", observed
            )
        if item["exit_code"] != 0:
            return _Judgement(
                UNHEALTHY, f"{check.service} ended with exit code {item['exit_code']}", observed, final=True
            )
    return _Judgement(HEALTHY, f"{check.service} has completed", observed)


def _judge_one_container(check: Check, item: Mapping[str, Any]) -> _Judgement:
    options, many = check.options, item.get("alone") is False
    who = f"{check.service} ({item['name']})" if many else check.service
    state, health, restarts, uptime = item["state"], item["health"], item["restarts"], item.get("uptime")
    times = "once" if restarts == 1 else f"{restarts} times"
    if state == "restarting":
        return _Judgement(UNHEALTHY, f"{who} keeps restarting: {times} so far, last exit code {item['exit_code']}")
    if state == "exited" or state == "dead":
        killed = ", out of memory" if item.get("oom_killed") else ""
        gone_for_good = item.get("restart_policy", "") in ("", "no")
        return _Judgement(UNHEALTHY, f"{who} has exited with code {item['exit_code']}{killed}", final=gone_for_good)
    if state != "running":
        return _Judgement(UNHEALTHY, f"{who} is {state}, not running")
    if health == "unhealthy" and options["health"] != "ignored":
        return _Judgement(UNHEALTHY, f"{who} fails its own health check{_output(item)}")
    # Before its health check, which starts anew with every restart and so would tell less.
    if restarts and uptime is not None and uptime < options["settle"]:
        return _Judgement(
            UNHEALTHY,
            f"{who} restarted {times} and runs for {number_text(uptime)} s only, "
            f"less than {number_text(options['settle'])} s",
        )
    if health == "starting" and options["health"] != "ignored":
        if item.get("health_failed"):
            return _Judgement(UNHEALTHY, f"{who} is starting, and its last health check failed{_output(item)}")
        return _Judgement(INCONCLUSIVE, f"{who} is starting: its health check has not answered yet")
    if not health and options["health"] == "required":
        return _Judgement(INCONCLUSIVE, f"{who} has no health check of its own", final=True)
    if options["max_restarts"] is not None and restarts > options["max_restarts"]:
        return _Judgement(UNHEALTHY, f"{who} restarted {times}, more than {options['max_restarts']}", final=True)
    if options["min_uptime"] and (uptime is None or uptime < options["min_uptime"]):
        shown = "an unknown time" if uptime is None else f"{number_text(uptime)} s"
        return _Judgement(INCONCLUSIVE, f"{who} runs for {shown}, not yet {number_text(options['min_uptime'])} s")
    return _Judgement(HEALTHY, f"{who} runs")


def _output(item: Mapping[str, Any]) -> str:
    text = short(item.get("health_output") or "", 160)
    return f": {text}" if text else ""


def _judge_image(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    expected, containers = check.options["id"], [item for item in facts["containers"] if item["state"] == "running"]
    observed = {"expected": expected, "containers": {item["name"]: item["image_id"] for item in containers}}
    if not containers:
        return _Judgement(UNHEALTHY, f"{check.service} has no running container", observed)
    wanted = check.options["replicas"]
    if wanted is not None and len(containers) != wanted:
        return _Judgement(UNHEALTHY, f"{check.service} runs {len(containers)} of {wanted} containers", observed)
    wrong = [item for item in containers if item["image_id"] != expected]
    if wrong:
        which = ", ".join(item["name"] for item in wrong)
        return _Judgement(
            UNHEALTHY,
            f"{check.service} runs the wrong image in {len(wrong)} of {len(containers)} containers "
            f"({which}: {short_id(wrong[0]['image_id'])} instead of {short_id(expected)})",
            observed,
            final=True,
        )
    return _Judgement(
        HEALTHY,
        f"{check.service} runs image {short_id(expected)} in {len(containers)} of {len(containers)} containers",
        observed,
    )


def _worst_answer(check: Check, facts: Mapping[str, Any], one: Callable[[Mapping[str, Any]], _Judgement]) -> _Judgement:
    """Every target of a check must be good; the worst answer speaks for all."""
    answers = facts["answers"]
    if not answers:
        return _Judgement(UNHEALTHY, f"{check.service} has no running container", {"answers": []})
    judged = []
    for answer in answers:
        if answer.get("trouble"):
            text = _trouble_text(check, answer["trouble"], answer.get("detail", ""), answer["target"])
            verdict = TROUBLES[answer["trouble"]]
            if check.options.get("any_protocol") and answer["trouble"] in ("broken", "timeout"):
                # Something listens that does not care for HTTP, or a broken web server: nobody declared which.
                verdict, text = INCONCLUSIVE, text + "; declare a check that says what this port answers"
            judged.append(_Judgement(verdict, text, {"target": answer["target"], "trouble": answer["trouble"]}))
        else:
            judged.append(one(answer))
    verdict = worst(item.verdict for item in judged)
    first = next(item for item in judged if item.verdict == verdict)
    others = [item for item in judged if item.verdict == verdict]
    message = first.message
    if len(judged) > 1:
        message += f" ({len(others)} of {len(judged)} containers)"
    observed = dict(first.observed) if len(judged) == 1 else {"answers": [dict(item.observed) for item in judged]}
    return _Judgement(verdict, message, observed)


def _judge_http(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    return _worst_answer(check, facts, lambda answer: _judge_answer(check, answer))


def _judge_answer(check: Check, answer: Mapping[str, Any]) -> _Judgement:
    options = check.options
    call = f"{options['method']} {answer['target']}"
    if answer.get("not_http"):
        observed = {"target": answer["target"], "http": False}
        if options["any_protocol"]:
            return _Judgement(HEALTHY, f"{answer['target']} is open (it does not speak HTTP)", observed)
        return _Judgement(UNHEALTHY, f"{call} got an answer that is not HTTP", observed)
    status, latency, body = answer["status"], answer["latency"], answer.get("body", "")
    observed = {"target": answer["target"], "status": status, "latency": round(latency, 3)}
    if answer.get("location"):
        observed["location"] = answer["location"]
    if not any(
        str(status) == item or (item.endswith("xx") and str(status)[0] == item[0]) for item in options["status"]
    ):
        where = f" (it leads to {answer['location']})" if answer.get("location") else ""
        return _Judgement(
            UNHEALTHY, f"{call} answered {status} instead of {' or '.join(options['status'])}{where}", observed
        )
    if options["json"]:
        try:
            document = json.loads(body)
        except ValueError:
            return _Judgement(UNHEALTHY, f"{call} answered {status}, but its body is not JSON", observed)
        values = {path: value_at(document, path) for path in options["json"]}
        observed["json"] = {path: (None if value is MISSING else value) for path, value in values.items()}
        for path, wanted in options["json"].items():
            complaint = compare(values[path], wanted)
            if complaint:
                return _Judgement(UNHEALTHY, f"{call} answered {status}, but {path} {complaint}", observed)
    if options["body"] and not re.search(options["body"], body):
        return _Judgement(
            UNHEALTHY, f"{call} answered {status}, but its body does not match {options['body']!r}", observed
        )
    headers = {str(name).lower(): value for name, value in (answer.get("headers") or {}).items()}
    for name, pattern in options["expect_headers"].items():
        if not re.search(pattern, headers.get(name.lower(), "")):
            return _Judgement(
                UNHEALTHY, f"{call} answered {status}, but its header {name} does not match {pattern!r}", observed
            )
    if options["latency"] is not None and latency > options["latency"]:
        return _Judgement(
            UNHEALTHY, f"{call} took {latency:.2f} s, more than {number_text(options['latency'])} s", observed
        )
    if options["tls_days"] is not None:
        left = answer.get("tls_days")
        if left is None:
            return _Judgement(INCONCLUSIVE, f"{call}: the certificate's last day is unknown", observed)
        observed["tls_days"] = round(left, 1)
        if left < options["tls_days"]:
            return _Judgement(
                UNHEALTHY,
                f"{answer['target']}: its certificate ends in {left:.1f} days, "
                f"less than {number_text(options['tls_days'])}",
                observed,
            )
    return _Judgement(HEALTHY, f"{call} answered {status} in {latency * 1000:.0f} ms", observed)


def _judge_tcp(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    return _worst_answer(
        check,
        facts,
        lambda answer: _Judgement(
            HEALTHY,
            f"{answer['target']} accepts connections",
            {"target": answer["target"], "latency": round(answer["latency"], 3)},
        ),
    )


def _judge_sql(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    options, rows = check.options, facts["rows"]
    who, latency = check.service or facts.get("target") or "the database", facts.get("latency", 0.0)
    if options["expected"]:
        if not rows or not rows[0]:
            return _Judgement(INCONCLUSIVE, f"{check.name}: the query returned no row", {"rows": len(rows)})
        value = rows[0][0]
        observed = {"value": _plain(value), "rows": len(rows)}
        if value is None and options["expected"].get("equals", MISSING) is not None:
            return _Judgement(INCONCLUSIVE, f"{check.name}: the query returned no value (NULL)", observed)
        complaint = compare(value, options["expected"])
        if complaint:
            return _Judgement(UNHEALTHY, f"{check.name}: the value {complaint}", observed)
        good = f"{check.name}: {_plain(value)}"
    else:
        observed, good = {"rows": len(rows)}, f"{who} answers queries"
    observed["latency"] = round(latency, 3)
    if options["latency"] is not None and latency > options["latency"]:
        return _Judgement(
            UNHEALTHY, f"{check.name} took {latency:.2f} s, more than {number_text(options['latency'])} s", observed
        )
    return _Judgement(HEALTHY, good, observed)


def _judge_migrations(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    applied, wanted = list(facts["applied"]), check.options["head"]
    observed = {"head": applied[-1] if applied else None, "expected": wanted, "applied": len(applied)}
    if not applied:
        return _Judgement(INCONCLUSIVE, "no migration is recorded in the database", observed)
    if applied[-1] == wanted:
        return _Judgement(HEALTHY, f"migration head is {wanted} ({len(applied)} applied)", observed)
    if wanted in applied:
        ahead = len(applied) - 1 - applied.index(wanted)
        more = "1 migration" if ahead == 1 else f"{ahead} migrations"
        return _Judgement(
            UNHEALTHY, f"the database is {more} past {wanted} (head is {applied[-1]})", observed, final=True
        )
    return _Judgement(UNHEALTHY, f"migration head is {applied[-1]} instead of {wanted}, which is not applied", observed)


def _judge_log(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    if not facts["containers"]:
        return _Judgement(UNHEALTHY, f"{check.service} has no container", {"lines": 0})
    matches, limit = list(facts["matches"]), check.options["limit"]
    samples = [short(line, 200) for line in matches[-3:]]
    observed = {"lines": facts["lines"], "matching": len(matches), "limit": limit, "samples": samples}
    if len(matches) <= limit:
        return _Judgement(
            HEALTHY,
            f"{check.service} logged {times(len(matches), 'error line')} in {times(facts['lines'], 'line')}",
            observed,
        )
    return _Judgement(
        UNHEALTHY,
        f"{check.service} logged {times(len(matches), 'error line')}, more than {limit}; the last one: {samples[-1]}",
        observed,
    )


def _judge_command(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    return _worst_answer(check, facts, lambda answer: _judge_ended(check, answer))


def _judge_ended(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    options, output = check.options, short(facts.get("stderr") or facts.get("stdout") or "", 160)
    observed = {
        "target": facts["target"],
        "rc": facts["rc"],
        "stdout": short(facts.get("stdout") or "", 200),
        "stderr": short(facts.get("stderr") or "", 200),
    }
    if facts["rc"] != options["rc"]:
        return _Judgement(
            UNHEALTHY,
            f"{check.name} ended with exit code {facts['rc']} instead of {options['rc']}"
            + (f": {output}" if output else ""),
            observed,
        )
    if options["stdout"] and not re.search(options["stdout"], facts.get("stdout") or ""):
        return _Judgement(UNHEALTHY, f"{check.name}: its output does not match {options['stdout']!r}", observed)
    return _Judgement(HEALTHY, f"{check.name} ended with exit code {facts['rc']}", observed)


def _judge_prometheus(check: Check, facts: Mapping[str, Any]) -> _Judgement:
    series = facts["series"]
    observed: dict[str, Any] = {"series": len(series)}
    if not series:
        return _Judgement(INCONCLUSIVE, f"{check.name}: Prometheus has no data for it", observed)
    values = [item["value"] for item in series]
    if any(not isinstance(value, (int, float)) or math.isnan(value) for value in values):
        return _Judgement(INCONCLUSIVE, f"{check.name}: Prometheus has no number for it", observed)
    observed["values"] = [value if math.isfinite(value) else str(value) for value in values[:10]]
    for item in series:
        complaint = compare(item["value"], check.options["expected"])
        if complaint:
            labels = ", ".join(
                f"{name}={value}" for name, value in sorted(item.get("labels", {}).items()) if name != "__name__"
            )
            return _Judgement(UNHEALTHY, f"{check.name}{f' ({labels})' if labels else ''} {complaint}", observed)
    return _Judgement(HEALTHY, f"{check.name}: {', '.join(number_text(value) for value in values[:3])}", observed)


def prometheus_series(status: int, body: str) -> list[dict[str, Any]]:
    """The series in Prometheus' answer to an instant query; an answer that is no success holds none."""
    try:
        document = json.loads(body) if status == 200 else {}
    except ValueError:
        document = {}
    if not isinstance(document, Mapping) or document.get("status") != "success":
        return []
    data = document.get("data") or {}
    if data.get("resultType") == "scalar":
        return [{"labels": {}, "value": float(data["result"][1])}]
    if data.get("resultType") != "vector":
        return []
    return [{"labels": item.get("metric") or {}, "value": float(item["value"][1])} for item in data.get("result") or []]


_JUDGES: Mapping[str, Callable[[Check, Mapping[str, Any]], _Judgement]] = {
    "container": _judge_container,
    "http": _judge_http,
    "tcp": _judge_tcp,
    "sql": _judge_sql,
    "migrations": _judge_migrations,
    "image": _judge_image,
    "log": _judge_log,
    "command": _judge_command,
    "prometheus": _judge_prometheus,
}


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Any = _Missing()


def value_at(document: Any, path: str) -> Any:
    """The value at a path such as ``info.database.status`` or ``items.0.name``; MISSING where there is none."""
    here = document
    for word in re.findall(r"[^.\[\]]+", path):
        if isinstance(here, Mapping) and word in here:
            here = here[word]
        elif isinstance(here, list) and re.fullmatch(r"-?\d+", word) and -len(here) <= int(word) < len(here):
            here = here[int(word)]
        else:
            return MISSING
    return here


def compare(value: Any, wanted: Mapping[str, Any]) -> str:
    """Empty when the value is as wanted, else the complaint: ``is 3 instead of 4``."""
    if value is MISSING:
        return "is missing"
    shown = _plain(value)
    if "equals" in wanted and not _same(value, wanted["equals"]):
        return f"is {_quoted(shown)} instead of {_quoted(wanted['equals'])}"
    if "not_equals" in wanted and _same(value, wanted["not_equals"]):
        return f"is {_quoted(shown)}"
    if "matches" in wanted and not re.search(wanted["matches"], str(shown)):
        return f"is {_quoted(shown)} and does not match {wanted['matches']!r}"
    limits = [key for key in ("min", "max") if key in wanted]
    if not limits:
        return ""
    number = _decimal(value)
    if number is None:
        return f"is {_quoted(shown)}, which is not a number"
    for key in limits:
        limit = Decimal(str(wanted[key]))
        if number < limit if key == "min" else number > limit:
            word = "less than" if key == "min" else "more than"
            return f"is {number_text(value)}, {word} {number_text(limit)}"
    return ""


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return None if number.is_nan() else number


def _same(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is None and right is None
    if isinstance(left, bool) or isinstance(right, bool):
        return str(left).lower() == str(right).lower()
    first, second = _decimal(left), _decimal(right)
    if first is not None and second is not None:
        return first == second
    return str(left) == str(right)


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return short(value, 200) if isinstance(value, str) else value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return short(str(value), 200)


def _quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) and _decimal(value) is None else str(value)
