# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch an application round by round, in calls that take up where the last one ended. Private to this collection."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _burst,
    _checks,
    _health,
    _monitoring,
    _probes,
    _traffic,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Check
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import EngineError
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import HEALTHY, Result, worst
from ansible_collections.schedgen.rollback.plugins.module_utils._monitoring import Decision, Round, Rules
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now, write_file
from ansible_collections.schedgen.rollback.plugins.module_utils._words import times

#: Where the state between two calls is, in the run's folder; the series itself is in the journal.
STATE_FILE = "monitor.json"
STEP = "monitor"


@dataclass(frozen=True)
class Wanted:
    """What is to be watched, as the operator says it."""

    site: _probes.Site
    declared: tuple[Mapping[str, Any], ...] = ()
    required: tuple[Mapping[str, Any], ...] = ()
    derive: str = "auto"
    traffic: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 10
    prometheus: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What holds for the whole window, fixed when it begins: a service that vanishes must not take its checks along."""

    began: float
    derived: Sequence[Mapping[str, Any]] = ()
    trouble: str = ""
    restarts: Mapping[str, int] = field(default_factory=dict)
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Watch:
    """One window on one application; with a run its series is in the run's journal, and survives the end of a call."""

    def __init__(self, wanted: Wanted, limits: Rules, store: Store | None = None, run: str = "") -> None:
        self.wanted = wanted
        self.limits = limits
        self.asked = _asked(wanted)
        self._folder = store.run_path(run) if store and run else ""
        self._store = store
        self._run = run
        # A mistake in what is declared is told before anything is looked at.
        own = _checks.parse_checks(_checks.merge_checks(wanted.declared, wanted.required))
        _probes.need(["container", "http", *(check.type for check in own)])
        self.series: list[Round] = []
        known = self._read()
        self.setting = known or self._begin()
        self.doors = self._doors()
        self._fixed = _with_prometheus(self._collect(), wanted.prometheus, limits)

    def _read(self) -> Setting | None:
        if not (self._store and self._folder):
            return None
        try:
            with open(os.path.join(self._folder, STATE_FILE), encoding="utf-8") as stream:
                setting = Setting(**json.load(stream))
        except FileNotFoundError:
            return None
        entries = self._store.read_journal(self._run)
        self.series = [_monitoring.read_round(entry) for entry in entries if entry.get("step") == STEP]
        return setting

    def _begin(self) -> Setting:
        derived: list[dict[str, Any]] = []
        restarts: dict[str, int] = {}
        services: dict[str, list[str]] = {}
        trouble = ""
        try:
            derived = _probes.derive(self.wanted.site)
            restarts, services = _look(self.wanted.site)
        except EngineError as error:
            trouble = str(error)
        setting = Setting(time.time(), derived, trouble, restarts, services)
        if self._folder:
            write_file(os.path.join(self._folder, STATE_FILE), json.dumps(asdict(setting)) + "\n")
        return setting

    def _collect(self) -> tuple[Check, ...]:
        wanted, database = self.wanted, self.wanted.site.database
        groups: list[Sequence[Mapping[str, Any]]] = [wanted.declared, wanted.required]
        if wanted.derive == "always" or (wanted.derive == "auto" and not wanted.declared):
            groups.append(self.setting.derived)
        checks = _checks.merge_checks(*groups)
        if database.name and not any(check["type"] == "sql" for check in checks):
            checks.append({"type": "sql", "name": f"database {database.name}"})
        return _probes.collect(wanted.site, checks, (), "never")

    def _doors(self) -> tuple[Check, ...]:
        """What users ask for: where the operator says so, else what critical checks ask, else the published ports."""
        if self.wanted.traffic.get("urls"):
            return _checks.parse_checks(_front_doors(self.wanted.traffic))
        declared = [
            check
            for check in _checks.parse_checks(self.wanted.declared)
            if check.type == "http" and check.critical and check.options["url"] and check.options["method"] == "GET"
        ]
        derived = [item for item in self.setting.derived if item["type"] == "http" and item.get("url")]
        return tuple(declared) or _checks.parse_checks(derived)

    @property
    def over(self) -> bool:
        """Whether the window is filled."""
        late = time.time() - self.setting.began >= self.limits.window + self.limits.interval
        return len(self.series) >= self.limits.total or late

    def go_on(self, rounds: int = 0) -> Decision:
        """Make up to so many rounds (0: all that are left), until the window is over or the verdict is clear."""
        watcher = _probes.Watcher(self.wanted.site, self._fixed)
        decision = self.decision()
        made = 0
        while not (self.over or decision.clear) and (not rounds or made < rounds):
            due = self.setting.began + len(self.series) * self.limits.interval
            time.sleep(min(self.limits.interval, max(0.0, due - time.time())))
            item = self._round(watcher)
            self.series.append(item)
            if self._store and self._folder:
                entry = {key: value for key, value in item.as_dict().items() if key != "at"}
                self._store.journal(self._run, STEP, item.verdict, **entry, message=_monitoring.message(item))
            made += 1
            decision = self.decision()
        return decision

    def decision(self) -> Decision:
        """What the series says so far."""
        return _monitoring.decide(self.series, self.limits, self.asked, over=self.over)

    def _round(self, watcher: _probes.Watcher) -> Round:
        started, begun = time.monotonic(), time.time()
        # The log is read from where the round before began; what was logged before the window is nobody's news.
        since = self.setting.began + self.series[-1].elapsed if self.series else begun
        restarts: dict[str, int] | None = None
        services: dict[str, list[str]] = {}
        trouble = self.setting.trouble
        try:
            restarts, services = _look(self.wanted.site)
        except EngineError as error:
            trouble = str(error)
        logs = _log_checks(services, since)
        watcher.checks = (*self._fixed, *logs)
        samples: list[_traffic.Sample] = []
        patience = max((door.timeout for door in self.doors), default=0.0) + _probes.GRACE

        def ask() -> None:
            samples.extend(_burst.burst(self.doors, self.wanted.requests, patience))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        results = watcher.round(started + max(self.limits.interval, patience, _LONGEST))
        asking.join(patience)
        return self._judge(begun, results, _traffic.summarise(list(samples)), restarts, services, trouble)

    def _judge(
        self,
        begun: float,
        results: Sequence[Result],
        seen: _traffic.Traffic,
        restarts: Mapping[str, int] | None,
        services: Mapping[str, Sequence[str]],
        trouble: str,
    ) -> Round:
        metrics = {item.name: item for item in results}
        logs = [item for item in results if item.name.startswith(_LOG)]
        own = [item for item in results if item.name not in _METRICS and not item.name.startswith(_LOG)]
        verdict = _health.round_verdict(own)
        reasons = _health.explain([item for item in own if item.critical])
        if not own:
            reasons = [trouble or "there is nothing to check: no check is declared and none could be derived"]
        restarted, total = _restarted(self.setting.restarts, restarts)
        readable = [item.observed["matching"] for item in logs if "matching" in item.observed]
        database = [item.verdict for item in own if item.type in ("sql", "migrations")]
        return Round(
            at=now().isoformat(timespec="milliseconds"),
            elapsed=max(0.0, begun - self.setting.began),
            verdict=verdict,
            reasons=tuple(reasons[:5]) if verdict != HEALTHY else (),
            requests=seen.requests,
            failed=seen.failed,
            unobserved=seen.unobserved,
            error_rate=seen.error_rate,
            p95=seen.p95,
            restarts=total,
            restarted=restarted,
            replaced=tuple(
                sorted(
                    name
                    for name, known in self.setting.services.items()
                    if name in services and set(services[name]) - set(known)
                )
            ),
            log_errors=sum(readable) if readable else None,
            database=worst(database) if database else "",
            prometheus={
                key: _metric(metrics[name])
                for key, name in (("error_rate", _monitoring.ERROR_RATE), ("p95", _monitoring.P95))
                if name in metrics
            },
        )


def traffic(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the front door is. Raises ValueError."""
    urls = declared.get("urls") or []
    found = {**declared, "urls": [urls] if isinstance(urls, str) else list(urls)}
    try:
        _checks.parse_checks(_front_doors(found))
    except ValueError as error:
        raise ValueError(f"traffic: {error}") from None
    return found


def _front_doors(declared: Mapping[str, Any]) -> list[dict[str, Any]]:
    certificates = declared.get("validate_certs", True)
    # Two addresses can be the same for people, whose secret part differs: the number keeps their names apart.
    return [
        {"type": "http", "name": f"front door {number}", "url": url, "validate_certs": certificates}
        for number, url in enumerate(declared["urls"], start=1)
    ]


def prometheus(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked of Prometheus. Raises ValueError."""
    unknown = sorted(set(declared) - {"url", "error_rate", "p95", "token_file", "validate_certs", "ca_file"})
    if unknown:
        raise ValueError(f"prometheus: unknown option {', '.join(unknown)}")
    if declared.get("url") and not (declared.get("error_rate") or declared.get("p95")):
        raise ValueError("prometheus: error_rate or p95 is missing: the query to ask")
    return dict(declared)


_LOG = "log of "
_METRICS = (_monitoring.ERROR_RATE, _monitoring.P95)
# What a round of checks may take at least, in seconds: their own timeouts decide before.
_LONGEST = 10.0


def _asked(wanted: Wanted) -> tuple[str, ...]:
    found = ["requests"] if wanted.traffic.get("urls") else []
    if wanted.prometheus.get("url"):
        found += [f"prometheus {key.replace('_', ' ')}" for key in ("error_rate", "p95") if wanted.prometheus.get(key)]
    return tuple(found)


def _look(site: _probes.Site) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Restarts of every container, and the containers of every service. Raises ``EngineError``."""
    restarts: dict[str, int] = {}
    services: dict[str, list[str]] = {}
    for item in _probes.look_at_containers(site.client(), site.project):
        restarts[f"{item['service']} {item['id']}"] = item["restarts"]
        services.setdefault(item["service"], []).append(item["id"])
    return restarts, services


def _restarted(before: Mapping[str, int], after: Mapping[str, int] | None) -> tuple[tuple[str, ...], int | None]:
    """Which services restarted since the window began, in words, and how often all of them did."""
    if after is None:
        return (), None
    counts: dict[str, int] = {}
    for key, count in after.items():
        more = max(0, count - before.get(key, 0))
        if more:
            service = key.split(" ", 1)[0]
            counts[service] = counts.get(service, 0) + more
    words = tuple(
        f"{service} restarted {'once' if count == 1 else times(count, 'time')}"
        for service, count in sorted(counts.items())
    )
    return words, sum(counts.values())


def _log_checks(services: Mapping[str, Sequence[str]], since: float) -> tuple[Check, ...]:
    return tuple(
        replace(check, options={**check.options, "since": since})
        for check in _checks.parse_checks(
            [
                {"type": "log", "name": f"{_LOG}{service}", "service": service, "critical": False}
                for service in sorted(services)
            ]
        )
    )


def _with_prometheus(checks: tuple[Check, ...], asked: Mapping[str, Any], limits: Rules) -> tuple[Check, ...]:
    if not asked.get("url"):
        return checks
    common = {
        key: asked[key] for key in ("url", "token_file", "validate_certs", "ca_file") if asked.get(key) is not None
    }
    more = [
        {"type": "prometheus", "name": name, "query": asked[key], "critical": False, **limit, **common}
        for key, name, limit in (
            ("error_rate", _monitoring.ERROR_RATE, {"max": limits.threshold}),
            ("p95", _monitoring.P95, {"max": limits.p95} if limits.p95 else {"min": 0}),
        )
        if asked.get(key)
    ]
    _probes.need(["prometheus"])
    return (*checks, *_checks.parse_checks(more))


def _metric(result: Result) -> float | None:
    """The worst value that Prometheus had for a query, None where it had no number."""
    values = [value for value in result.observed.get("values", ()) if isinstance(value, (int, float))]
    return float(max(values)) if values else None
