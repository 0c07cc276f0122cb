# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a running application and hold it against where a rollback would go. Private to this collection.

All parts are observed at once, under one deadline. A part that cannot be observed is named with the reason, and takes
no other part with it. Nothing is changed.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _candidate,
    _checks,
    _compose,
    _database_rollback,
    _databases,
    _evidence_rules,
    _files,
    _health,
    _judge,
    _libraries,
    _postgres,
    _probes,
    _redact,
    _releases,
    _runs,
    _schema,
    _swap,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._checks import Check
from ansible_collections.schedgen.rollback.plugins.module_utils._evidence_rules import Sample
from ansible_collections.schedgen.rollback.plugins.module_utils._judge import Observation, Result
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Manifest
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now, timestamp
from ansible_collections.schedgen.rollback.plugins.module_utils._words import short

LOG_CHECK = "log of "
RUNS = 20
SAMPLE_LENGTH = 300
INDEXES = """
SELECT c.oid::regclass::text, c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.amname = 'btree' AND i.indisvalid AND c.relkind = 'i' AND c.relpersistence = 'p' AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY pg_relation_size(c.oid)
"""


class Unseen(Exception):
    """A part that could not be observed, and why."""


@dataclass(frozen=True)
class Traffic:
    """How the front door is asked. ``seconds`` is the time for all requests, ``failed`` the statuses that count."""

    urls: tuple[str, ...] = ()
    requests: int = 20
    concurrency: int = 10
    seconds: float = 2.2
    failed: tuple[str, ...] = ("5xx",)
    validate_certs: bool = True


@dataclass(frozen=True)
class Wish:
    """What is to be observed beside what runs. ``to`` is where the operator asked to go, '' for the candidate."""

    checks: Sequence[Mapping[str, Any]] = ()
    assertions: Sequence[Mapping[str, Any]] = ()
    row_limits: Mapping[str, Any] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    prometheus: Mapping[str, Any] = field(default_factory=dict)
    amcheck: bool = False
    to: str = ""
    count_limit: int = 512 << 20
    deadline: float = 30.0


class Observer:
    """One look at one host. Its parts share the engine, the release and the restore point to go to."""

    def __init__(
        self,
        store: Store,
        application: _releases.Application,
        site: _probes.Site,
        settings: _schema.Settings,
        database: Callable[[], _databases.Database] | None,
        wish: Wish,
    ) -> None:
        self.store, self.application, self.site, self.settings = store, application, site, settings
        self._database, self.wish = database, wish
        self._found: dict[str, Any] = {}
        self._missing: dict[str, str] = {}
        self._chosen = threading.Event()
        self._manifest: Manifest | None = None
        self._until = time.monotonic() + wish.deadline

    def observe(self) -> dict[str, Any]:
        """Return the evidence."""
        started = time.monotonic()
        parts: dict[str, Callable[[], None]] = {
            "candidate": self._release,
            "health": self._health,
            "traffic": self._traffic,
            "durations": self._durations,
        }
        if self._database is not None:
            parts.update(schema=self._schema_part, assertions=self._assertions, checksums=self._checksums)
            parts["rows"] = self._rows
            if self.wish.amcheck:
                parts["amcheck"] = self._amcheck
        if self.wish.prometheus.get("url"):
            parts["prometheus"] = self._prometheus
        threads = {
            name: threading.Thread(target=self._part, args=(name, part), daemon=True) for name, part in parts.items()
        }
        for thread in threads.values():
            thread.start()
        for thread in threads.values():
            thread.join(max(0.0, self._until - time.monotonic()))
        # What comes in later is not waited for, and not half used either.
        found, missing = dict(self._found), dict(self._missing)
        for name, thread in threads.items():
            if thread.is_alive():
                missing.setdefault(name, f"it took longer than {self.wish.deadline:g} s")
        return self._evidence(found, missing, time.monotonic() - started)

    def _evidence(self, found: Mapping[str, Any], missing: Mapping[str, str], seconds: float) -> dict[str, Any]:
        none_changed: dict[str, Any] = {"images": [], "files": [], "configuration": [], "commit": ""}
        observed = {
            "application": self.application.name,
            "host": socket.gethostname(),
            "observed_at": timestamp(now()),
            "seconds": round(seconds, 3),
            "running": found.get("running", {"release": "", "label": "", "commit": "", "since": ""}),
            "candidate": found.get("candidate"),
            "passed_over": found.get("passed_over", []),
            "no_candidate": found.get("no_candidate", ""),
            "services": found.get("services", []),
            "health": found.get("health", {"verdict": "inconclusive", "reasons": [], "checks": []}),
            "changed": found.get("changed", none_changed),
            "schema": found.get("schema"),
            "corruption": {
                "assertions": found.get("assertions", []),
                "checksum_failures": found.get("checksums"),
                "amcheck": found.get("amcheck"),
                "rows": found.get("rows", []),
            },
            "written": found.get("written"),
            "traffic": found.get("prometheus") or found.get("traffic"),
            "durations": found.get("durations", []),
            "missing": [{"what": name, "why": why} for name, why in missing.items()],
        }
        secrets = (*_checks.check_secrets(_checks.parse_checks(self.wish.checks)), *self.site.passwords)
        redacted: dict[str, Any] = _redact.redact(observed, secrets)
        return redacted

    def _part(self, name: str, part: Callable[[], None]) -> None:
        try:
            part()
        except Unseen as error:
            self._missing[name] = str(error)
        except _libraries.MissingLibrary as error:
            self._missing[name] = f"{error}: run {_libraries.NEXT_STEP}"
        except Exception as error:  # one part that breaks leaves the others
            self._missing[name] = f"{type(error).__name__}: {error}" if not str(error) else str(error)
        finally:
            if name == "candidate":
                self._chosen.set()

    # -- release and candidate ---------------------------------------------------------------------------------------

    def _release(self) -> None:
        client = self.site.client()
        running = _releases.read(client, self.application)
        release = running.release
        self._found["running"] = {
            "release": release.id,
            "label": release.label,
            "commit": release.git.commit if release.git else "",
            "since": self._deployed(client),
        }
        points = self.store.points()
        summaries = [point.summary() for point in points]
        if self.wish.to:
            choice = _candidate.Choice(self.wish.to, "it was asked for")
        else:
            choice = _candidate.choose_release(summaries, release.id, _runs.interrupted_target(self.store))
        self._found["passed_over"] = [{"id": passed.id, "reason": passed.reason} for passed in choice.passed_over]
        if not choice.id:
            self._found["no_candidate"] = choice.reason
            raise Unseen(choice.reason)
        manifest = next((point.manifest for point in points if point.id == choice.id), None)
        database = (manifest.database if manifest else None) or {}
        self._found["candidate"] = {
            "id": choice.id,
            "label": manifest.release.label if manifest else choice.id,
            "created": manifest.created if manifest else "",
            "parts": list(manifest.parts) if manifest else ["release"],
            "dump_bytes": database.get("bytes"),
            "dump_seconds": manifest.seconds if manifest and database else None,
            "reason": choice.reason,
            "satisfied": choice.satisfied,
        }
        if manifest is None:
            self._missing["changed"] = f"{choice.id} is no restore point: what differs from it is not known beforehand"
            return
        self._manifest = manifest
        self._chosen.set()
        self._found["changed"] = self._changed(running, manifest, self.store.point_path(choice.id))

    def _deployed(self, client: Any) -> str:
        """Return when the newest container of a service that carries code was made, '' where there is none."""
        label = f"{_compose.LABEL}project={self.application.project}"
        made = [
            float(entry["Created"])
            for entry in client.api.containers(all=True, filters={"label": label})
            if (entry.get("Labels") or {}).get(f"{_compose.LABEL}service") in self.application.code_services
        ]
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(made))) if made else ""

    def _changed(self, running: _releases.Running, then: Manifest, folder: str) -> dict[str, Any]:
        now_, was = running.release, then.release
        names = [name for name in sorted({*now_.services, *was.services}) if self._carries(name, running, then)]
        images, configuration = [], []
        for name in names:
            mine, its = now_.services.get(name), was.services.get(name)
            if mine is None or its is None or mine.image_id != its.image_id or mine.mixed:
                images.append(name)
            elif mine.config_hash != its.config_hash:
                configuration.append(name)
        words = {"write": "changed", "link": "changed", "attributes": "changed", "set aside": "added"}
        stored = {entry.path: entry for entry in was.files}
        files = []
        for change in _files.compare(running.project.src, was.files, was.absent):
            entry = stored.get(change.path)
            full = _files.full_path(running.project.src, change.path)
            there = os.path.lexists(full)
            before = _text(os.path.join(folder, entry.stored)) if entry and entry.stored else ""
            files.append(
                {
                    "path": change.path,
                    "kind": entry.kind if entry else "",
                    "change": words[change.action] if there else "removed",
                    "keys": _evidence_rules.changed_keys(before, _text(full)),
                }
            )
        commits = (was.git.commit if was.git else "", now_.git.commit if now_.git else "")
        moved = f"{commits[0][:12]}..{commits[1][:12]}" if commits[0] != commits[1] else ""
        return {"images": images, "files": files, "configuration": configuration, "commit": moved}

    @staticmethod
    def _carries(name: str, running: _releases.Running, then: Manifest) -> bool:
        """Whether a service differs where that matters: those with code always, others where they ran then as well."""
        mine, its = running.release.services.get(name), then.release.services.get(name)
        return bool((mine and mine.code) or (its and its.code) or (mine and its))

    # -- health ------------------------------------------------------------------------------------------------------

    def _health(self) -> None:
        for library in (_libraries.docker, _libraries.requests):
            library()
        derived = _probes.derive(self.site)
        code = list(self.application.code_services)
        required = _checks.required_checks(code, {}, None, 0.0, None)
        declared = list(self.wish.checks)
        wanted = _checks.parse_checks(_checks.merge_checks(declared, required, *([] if declared else [derived])))
        logs = _checks.parse_checks(
            [
                {"type": "log", "service": name, "since": "start", "name": f"{LOG_CHECK}{name}", "critical": False}
                for name in code
            ]
        )
        results = _probes.Watcher(self.site, [*wanted, *logs]).round(self._until)
        checks = [result for result in results if not result.name.startswith(LOG_CHECK)]
        verdict = _health.round_verdict(checks)
        self._found["health"] = {
            "verdict": verdict if checks else "inconclusive",
            "reasons": [] if verdict == "healthy" else _health.explain(checks),
            "checks": [
                {"name": result.name, "critical": result.critical, "verdict": result.verdict, "message": result.message}
                for result in checks
            ],
        }
        unread = [result.message for result in results if result.name.startswith(LOG_CHECK) and _unread(result)]
        if unread:
            self._missing["logs"] = "; ".join(unread)
        self._found["services"] = self._services(derived, required, {result.name: result for result in results})

    def _services(
        self, derived: Sequence[Mapping[str, Any]], required: Sequence[Mapping[str, Any]], results: Mapping[str, Result]
    ) -> list[dict[str, Any]]:
        containers = _probes.look_at_containers(self.site.client(), self.site.project)
        own = [entry for entry in (*required, *derived) if entry.get("type") == "container"]
        checks: dict[str, Check] = {}
        for check in _checks.parse_checks(_checks.merge_checks(own)):
            checks.setdefault(check.service, check)
        told = []
        for name in sorted({*checks, *(item["service"] for item in containers)}):
            mine = [item for item in containers if item["service"] == name]
            check = checks.get(name) or _checks.parse_checks([{"type": "container", "service": name}])[0]
            judged = _judge.judge(check, Observation(0.0, {"containers": mine}))
            log = results.get(f"{LOG_CHECK}{name}")
            wanted = self.site.files().get(name, {}).get("replicas")
            told.append(
                {
                    "service": name,
                    "code": name in self.application.code_services,
                    "wanted": None if check.options.get("completed") else wanted,
                    # A job that has done its work is there, although nothing of it runs.
                    "running": sum(item["state"] == "running" for item in mine)
                    or int(judged.verdict == "healthy" and bool(mine)),
                    "verdict": judged.verdict,
                    "reason": "" if judged.verdict == "healthy" else judged.message,
                    "restarts": sum(item["restarts"] for item in mine),
                    "exit_code": next((item["exit_code"] for item in mine if item["state"] != "running"), None),
                    "oom_killed": any(item["oom_killed"] for item in mine),
                    "health_log": _health_log(self.site.client(), mine),
                    "log_errors": None if log is None or _unread(log) else log.observed.get("matching"),
                    "log_sample": short((log.observed.get("samples") or [""])[-1], SAMPLE_LENGTH) if log else "",
                }
            )
        return told

    # -- front door --------------------------------------------------------------------------------------------------

    def _urls(self) -> list[str]:
        if self.wish.traffic.urls:
            return list(self.wish.traffic.urls)
        declared = [str(entry["url"]) for entry in self.wish.checks if entry.get("type") == "http" and entry.get("url")]
        if declared:
            return declared
        return [
            str(entry["url"]) for entry in _probes.derive(self.site) if entry.get("type") == "http" and entry.get("url")
        ]

    def _traffic(self) -> None:
        wish, urls = self.wish.traffic, self._urls()
        if not urls:
            raise Unseen("no URL of the front door is named, and none could be derived")
        started = time.monotonic()
        samples = burst(urls, wish, min(self._until, started + wish.seconds))
        self._found["traffic"] = _evidence_rules.traffic(samples, time.monotonic() - started, wish.failed)

    def _prometheus(self) -> None:
        asked = self.wish.prometheus
        values: dict[str, float | None] = {}
        options = {
            name: asked[name] for name in ("url", "headers", "token_file", "validate_certs", "ca_file") if name in asked
        }
        queries = {name: asked[name] for name in ("error_rate", "p95") if asked.get(name)}
        if not queries:
            raise Unseen("no query is named: error_rate and p95 in rollback_prometheus")
        checks = [
            {**options, "type": "prometheus", "query": query, "name": name, "max": float("1e300")}
            for name, query in queries.items()
        ]
        for result in _probes.Watcher(self.site, _checks.parse_checks(checks)).round(self._until):
            values[result.name] = _evidence_rules.largest(result.observed.get("values") or [])
            if values[result.name] is None:
                raise Unseen(f"{result.name}: {result.message}")
        self._found["prometheus"] = {
            "source": "prometheus",
            "requests": 0,
            "failed": 0,
            "error_rate": values.get("error_rate"),
            "p95": values.get("p95"),
            "window": 0.0,
            "samples": [],
        }

    # -- database ----------------------------------------------------------------------------------------------------

    def _candidate_known(self) -> Manifest:
        self._chosen.wait(max(0.0, self._until - time.monotonic()))
        if self._manifest is None:
            raise Unseen("there is no restore point to compare with")
        return self._manifest

    def _login(self) -> _postgres.Login:
        return self._open().login

    def _open(self) -> _databases.Database:
        if self._database is None:
            raise Unseen("the application has no database")
        return self._database()

    def _schema_part(self) -> None:
        login = self._login()
        manifest = self._candidate_known()
        against = _schema.reference(self.store, manifest.id)
        found = _schema.assess(login, self.settings, against)
        comparison = found.comparison
        self._found["schema"] = {
            "verdict": found.judgement.verdict,
            "reasons": list(found.judgement.reasons),
            "notes": list(found.judgement.notes),
            "added": list(found.added or ()),
            "missing": list(found.missing or ()),
            "revert": comparison.revert if comparison else "unknown",
            "revert_reasons": list(comparison.revert_reasons) if comparison else [],
        }

    def _assertions(self) -> None:
        checks = _checks.parse_checks([{**entry, "type": "sql"} for entry in self.wish.assertions])
        if not checks:
            return
        results = _probes.Watcher(self.site, checks).round(self._until)
        self._found["assertions"] = [
            {"name": result.name, "critical": result.critical, "verdict": result.verdict, "message": result.message}
            for result in results
        ]
        unread = [f"{result.name}: {result.message}" for result in results if result.verdict == "inconclusive"]
        if unread:
            self._missing["assertions"] = "; ".join(unread)

    def _checksums(self) -> None:
        rows = _postgres.query(
            self._login(), "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
        )
        if not rows or rows[0][0] is None:
            raise Unseen("the server was made without data checksums")
        self._found["checksums"] = int(rows[0][0])

    def _amcheck(self) -> None:
        database, findings = self._open(), []
        with database.cursor(database.name) as cursor:
            cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")
            if cursor.fetchone() is None:
                raise Unseen("the extension amcheck is not installed in the database")
            cursor.execute("SET statement_timeout TO %s", (f"{max(1, int((self._until - time.monotonic()) * 1000))}",))
            cursor.execute(INDEXES)
            for name, oid in cursor.fetchall():
                try:
                    cursor.execute("SELECT bt_index_check(%s::oid::regclass)", (oid,))
                except _libraries.psycopg2().errors.IndexCorrupted as error:
                    findings.append(f"{name}: {str(error).splitlines()[0]}")
        self._found["amcheck"] = findings

    def _rows(self) -> None:
        database = self._open()
        recorded = self._candidate_known().database
        if not recorded:
            raise Unseen("the restore point has no database to compare with")
        changes, _known_by = _swap.at_stake(database, recorded)
        tables: list[dict[str, Any]] = [
            {
                "table": table,
                "inserted": int(change.get("inserted", 0)),
                "updated": int(change.get("updated", 0)),
                "deleted": int(change.get("deleted", 0)),
            }
            for table, change in changes.items()
        ]
        written = sum(entry["inserted"] + entry["updated"] + entry["deleted"] for entry in tables)
        self._found["written"] = {"tables": tables, "rows": written}
        found, why = _database_rollback.count_rows(database, self.wish.count_limit)
        if why:
            raise Unseen(why)
        self._found["rows"] = _evidence_rules.rows(recorded["rows"], found, self.wish.row_limits)

    # -- what was measured before ------------------------------------------------------------------------------------

    def _durations(self) -> None:
        self._found["durations"] = [
            {**{name: report.get(name, "") for name in ("type", "seconds", "outcome")}, "at": report.get("started", "")}
            for report in self.store.reports(RUNS)
        ]


def _unread(result: Result) -> bool:
    return result.verdict == "inconclusive"


def _text(path: str) -> str:
    """Return a file's text, '' where it is none or not there."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _health_log(client: Any, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the last results of Docker's own health check of the first container that fails it, else none."""
    failing = next((item for item in items if item["health"] not in ("", "healthy")), None)
    if failing is None:
        return []
    try:
        log = (client.api.inspect_container(failing["id"])["State"].get("Health") or {}).get("Log") or []
    except _libraries.docker().errors.DockerException:
        return []
    return [
        {
            "at": entry.get("Start", ""),
            "exit_code": entry.get("ExitCode"),
            "output": short(entry.get("Output") or "", 200),
        }
        for entry in log[-5:]
    ]


def burst(urls: Sequence[str], wish: Traffic, until: float) -> list[Sample]:
    """Send requests through the front door, several at once, until ``until`` (monotonic time).

    A request that is not over then is a sample as well: it took at least that long.
    """
    requests = _libraries.requests()
    work: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    for number in range(wish.requests):
        work.put((number, urls[number % len(urls)]))
    begun: dict[int, tuple[str, float]] = {}
    ended: dict[int, Sample] = {}

    def worker() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() < until:
                try:
                    number, url = work.get_nowait()
                except queue.Empty:
                    return
                started = time.monotonic()
                begun[number] = (url, started)
                status, trouble = None, ""
                try:
                    with session.get(
                        url, timeout=30, allow_redirects=False, verify=wish.validate_certs, stream=True
                    ) as answer:
                        status = answer.status_code
                        answer.raw.read(1 << 20)
                except (requests.exceptions.RequestException, OSError, ValueError) as error:
                    trouble = type(error).__name__
                ended[number] = Sample(_redact.redact_url(url), status, time.monotonic() - started, trouble)

    threads = [threading.Thread(target=worker, daemon=True) for _number in range(max(1, wish.concurrency))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    over = time.monotonic()
    return [
        ended.get(number) or Sample(_redact.redact_url(url), None, over - started, open=True)
        for number, (url, started) in sorted(begun.items())
    ]
