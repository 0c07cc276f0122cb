# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How bad a failure is, from what was observed of every host. Pure; private to this collection.

Evidence is what ``deployment_info`` returns of one host; C(missing) in it names what could not be observed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _symptoms
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text, times

CRITICAL, MAJOR, MINOR, NONE, UNKNOWN = "critical", "major", "minor", "none", "unknown"
SEVERITIES = (CRITICAL, MAJOR, MINOR, NONE, UNKNOWN)

Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class Thresholds:
    """From where on something counts. A value that equals its threshold counts.

    Rates are shares of requests from 0 to 1, latencies are seconds of the 95th percentile, ``requests`` is how many
    are needed before a rate says anything. Components are code services that are down, hosts are those affected.
    """

    critical_error_rate: float = 0.25
    major_error_rate: float = 0.05
    minor_error_rate: float = 0.01
    critical_latency: float = 10.0
    major_latency: float = 2.0
    minor_latency: float = 1.0
    critical_components: int = 2
    critical_hosts: int = 2
    minor_restarts: int = 1
    minor_log_errors: int = 10
    requests: int = 10


def thresholds_of(given: Mapping[str, Any]) -> Thresholds:
    """Return the thresholds with what was given in place of the defaults.

    Raises ValueError for a name that is none, what is no number, or levels in the wrong order.
    """
    known = {entry.name: entry.default for entry in fields(Thresholds)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"'{name}' is no threshold: {', '.join(sorted(known))}")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"threshold {name} is '{value}', which is no number") from error
        if not 0 <= number < float("inf"):
            raise ValueError(f"threshold {name} is {value}: it has to be 0 or more")
        values[name] = int(number) if isinstance(known[name], int) else number
    made = Thresholds(**values)
    for high, low in (
        ("critical_error_rate", "major_error_rate"),
        ("major_error_rate", "minor_error_rate"),
        ("critical_latency", "major_latency"),
        ("major_latency", "minor_latency"),
    ):
        if getattr(made, high) < getattr(made, low):
            raise ValueError(f"threshold {high} is below {low}")
    return made


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: how bad it is by itself, what it is about, and the sentence for people."""

    severity: str
    about: str
    told: str


def worst(severities: Iterable[str]) -> str:
    """Return the gravest of some severities, none when there are none."""
    present = set(severities)
    return next((entry for entry in SEVERITIES if entry in present), NONE)


def is_down(service: Mapping[str, Any]) -> bool:
    """Whether a service does not do its work at all: nothing of it runs, or what runs is not healthy."""
    if service.get("wanted") == 0:
        return False
    return service["running"] == 0 or service["verdict"] == "unhealthy"


def failing(evidence: Sequence[Evidence], *, code: bool) -> tuple[str, ...]:
    """Return the services that are down on some host, those that carry code or the others."""
    return tuple(
        sorted(
            {
                entry["service"]
                for seen in evidence
                for entry in seen.get("services") or ()
                if bool(entry["code"]) is code and is_down(entry)
            }
        )
    )


def _named(host: str, hosts: int) -> str:
    return f" on {host}" if hosts > 1 else ""


def _of_services(seen: Evidence, where: str, limits: Thresholds) -> list[Finding]:
    found = []
    services = list(seen.get("services") or ())
    down = [entry for entry in services if is_down(entry)]
    for entry in down:
        why = f": {entry['reason']}" if entry.get("reason") else ""
        found.append(Finding(MAJOR, "services", f"{entry['service']} is down{where}{why}"))
    code = [entry for entry in services if entry["code"] and entry.get("wanted") != 0]
    dead = [entry["service"] for entry in code if is_down(entry)]
    if code and len(dead) == len(code):
        found.append(Finding(CRITICAL, "outage", f"outage{where}: no service that carries code works"))
    elif len(dead) >= limits.critical_components > 0:
        names = ", ".join(sorted(dead))
        found.append(
            Finding(CRITICAL, "services", f"{times(len(dead), 'service')} that carry code are down{where}: {names}")
        )
    for entry in services:
        if entry in down:
            continue
        if limits.minor_restarts and (entry.get("restarts") or 0) >= limits.minor_restarts:
            told = f"{entry['service']} has restarted {times(entry['restarts'], 'time')}{where}"
            found.append(Finding(MINOR, "services", told))
        if limits.minor_log_errors and (entry.get("log_errors") or 0) >= limits.minor_log_errors:
            told = f"{entry['service']} wrote {times(entry['log_errors'], 'error line')} since the deployment{where}"
            found.append(Finding(MINOR, "logs", told))
    return found


def _of_health(seen: Evidence, where: str) -> list[Finding]:
    health = seen.get("health") or {}
    if health.get("verdict") == "unhealthy":
        checks = [
            entry for entry in health.get("checks") or () if entry["verdict"] == "unhealthy" and entry["critical"]
        ]
        told = "; ".join(health.get("reasons") or [f"{entry['name']}: {entry['message']}" for entry in checks])
        return [Finding(MAJOR, "health", f"unhealthy{where}: {told or 'a critical check failed'}")]
    return [
        Finding(MINOR, "health", f"{entry['name']}{where}: {entry['message']}")
        for entry in health.get("checks") or ()
        if entry["verdict"] == "unhealthy" and not entry["critical"]
    ]


def _level(value: float, critical: float, major: float, minor: float) -> str:
    for severity, limit in ((CRITICAL, critical), (MAJOR, major), (MINOR, minor)):
        if limit > 0 and value >= limit:
            return severity
    return NONE


def _of_traffic(seen: Evidence, where: str, limits: Thresholds) -> list[Finding]:
    traffic = seen.get("traffic")
    if not traffic:
        return []
    found = []
    source = "Prometheus" if traffic["source"] == "prometheus" else "direct probes"
    enough = traffic["source"] == "prometheus" or traffic["requests"] >= limits.requests
    rate = traffic.get("error_rate")
    if rate is not None and enough:
        severity = _level(rate, limits.critical_error_rate, limits.major_error_rate, limits.minor_error_rate)
        if rate >= 1:
            found.append(Finding(CRITICAL, "outage", f"outage{where}: every request fails ({source})"))
        elif severity != NONE:
            found.append(
                Finding(severity, "traffic", f"{number_text(rate * 100)} % of requests fail{where} ({source})")
            )
    slow = traffic.get("p95")
    if slow is not None and enough:
        severity = _level(slow, limits.critical_latency, limits.major_latency, limits.minor_latency)
        if severity != NONE:
            told = f"95 % of requests take up to {number_text(slow)} s{where} ({source})"
            found.append(Finding(severity, "traffic", told))
    return found


def corruption(seen: Evidence, where: str = "") -> list[Finding]:
    """Return what says that data are damaged: critical where it is certain, major where rows are merely fewer."""
    data = seen.get("corruption") or {}
    found = []
    for entry in data.get("assertions") or ():
        if entry["verdict"] == "unhealthy":
            severity = CRITICAL if entry["critical"] else MINOR
            found.append(Finding(severity, "corruption", f"{entry['name']}{where}: {entry['message']}"))
    if data.get("checksum_failures"):
        told = f"PostgreSQL counts {times(data['checksum_failures'], 'checksum failure')}{where}"
        found.append(Finding(CRITICAL, "corruption", told))
    for told in data.get("amcheck") or ():
        found.append(Finding(MAJOR, "corruption", f"amcheck{where}: {told}"))
    for entry in data.get("rows") or ():
        if entry["exceeded"]:
            told = f"{entry['table']} has {entry['now']} rows{where}, {entry['then']} at the restore point"
            found.append(Finding(MAJOR, "corruption", f"{told} (limit: {entry['limit']})"))
    return found


def reported(evidence: Sequence[Evidence]) -> tuple[str, _symptoms.Symptom | None]:
    """Return the operator's words and the scenario that they tell; the symptom comes before the reason."""
    words = ""
    for seen in evidence:
        told = seen.get("reported") or {}
        for key in ("symptom", "reason"):
            text = str(told.get(key) or "").strip()
            words = words or text
            scenario = _symptoms.recognise(text) if text else None
            if scenario is not None:
                return text, scenario
    return words, None


def assess(evidence: Sequence[Evidence], limits: Thresholds) -> tuple[Finding, ...]:
    """Return everything that is wrong, the gravest first."""
    found: list[Finding] = []
    affected = []
    for seen in evidence:
        where = _named(seen["host"], len(evidence))
        here = [
            *_of_services(seen, where, limits),
            *_of_health(seen, where),
            *_of_traffic(seen, where, limits),
            *corruption(seen, where),
        ]
        if any(entry.severity in (CRITICAL, MAJOR) for entry in here):
            affected.append(seen["host"])
        found += here
    if len(affected) >= limits.critical_hosts > 1:
        told = f"{len(affected)} of {len(evidence)} hosts are affected: {', '.join(affected)}"
        found.append(Finding(CRITICAL, "hosts", told))
    words, scenario = reported(evidence)
    if scenario is not None:
        found.append(Finding(MAJOR, "reported", f"reported: {words} ({scenario.name})"))
    return tuple(sorted(found, key=lambda entry: SEVERITIES.index(entry.severity)))
