#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether a release could be rolled back, before it is deployed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_readiness
short_description: Say whether a release could be rolled back, before it is deployed
description:
  - Looks at the images of what runs, at the restore point that a rollback would go to, whether its database was proven
    and could be restored now, at health checks, and at the lock.
  - Fetches the release's images, and applies its migrations on a throwaway server that cannot reach the live one. Then
    it takes them back there, and says what the release that runs can live with, and what cannot be brought back.
  - Nothing live is changed. The verdict is kept in the events of the restore point.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.migration
  - schedgen.rollback.project.admin
  - schedgen.rollback.project.steps
  - schedgen.rollback.project.rehearsal
  - schedgen.rollback.project.values
  - schedgen.rollback.project.pull
  - schedgen.rollback.project.apply
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
    description: Nothing is fetched, no migration is rehearsed and no event is written; that is said.
  diff_mode:
    support: none
options:
  release:
    description:
      - What is to be deployed, a git tag or commit, or images as service=tag,service=tag.
      - When empty, and without O(environment), only what is there now is judged.
    type: str
    default: ''
  run:
    description:
      - The run whose journal this belongs to.
    type: str
    default: ''
  max_age:
    description:
      - Hours that the restore point may be old. V(0) for no limit.
    type: float
    default: 24
  rehearse:
    description:
      - Whether the release's migrations are rehearsed.
    type: bool
    default: true
  declared_checks:
    description:
      - How many health checks are declared for the application.
    type: int
    default: 0
  dumped_at:
    description:
      - The host that keeps the database's part of restore points, where that is another one than this.
    type: str
    default: ''
  rehearsed_at:
    description:
      - The host that rehearses the migrations, where that is another one than this. V(nowhere) where none can.
    type: str
    default: ''
  receivers:
    description:
      - Whether the receivers of messages answer, as RV(schedgen.rollback.send_notice#module:deliveries) says it.
    type: list
    elements: dict
    default: []
  gate:
    description:
      - What makes the module fail. V(none) for nothing, V(blocker) for what stands in the way of every rollback,
        V(warning) for warnings too.
    type: str
    choices: [none, blocker, warning]
    default: none
  gate_topics:
    description:
      - The topics of findings that O(gate) stops, for instance V(migrations). Empty for all of them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Could v3 be rolled back?
  schedgen.rollback.rollback_readiness:
    application: schedgen
    project_src: /srv/schedgen
    code_services: [backend, frontend]
    database: schedgen
    migration_tool: typeorm
    release: v3
    gate: blocker
"""

RETURN = r"""
verdict:
  description: V(ready), V(ready with warnings) or V(not ready).
  returned: always
  type: str
findings:
  description: What was looked at, with C(topic), C(grade) (ready, warning or blocker), C(told) and C(next_step).
  returned: always
  type: list
  elements: dict
restore_point:
  description: The restore point that a rollback of the release would go to. Empty when there is none.
  returned: always
  type: str
forecast:
  description: What the release's migrations did in the rehearsal, and what taking them back did. Empty without one.
  returned: always
  type: dict
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import functools
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _compose,
    _environment,
    _failure,
    _git,
    _images,
    _migration_toolbox,
    _postgres,
    _readiness,
    _rehearsal,
    _releases,
    _restore,
    _status,
    _targets,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._store import TEMPORARY, Store, now

Finding = _readiness.Finding


class Readiness:
    """One look at an application and at a release that is to be deployed."""

    def __init__(self, store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> None:
        self.store, self.parameters, self.pretend = store, parameters, pretend
        self.client = _compose.connect()
        self.application = _releases.application_of(parameters)
        self.running = _releases.read(self.client, self.application)
        self.rendered: Mapping[str, Any] = self.running.rendered
        self.forecast: _readiness.Forecast | None = None
        self.wanted = _environment.wanted(parameters["release"], parameters["environment"])
        self.told = functools.partial(store.journal, parameters["run"])

    def look(self) -> tuple[str, list[Finding]]:
        """Return the restore point, and everything that was found."""
        points = self.store.points()
        held, freeze = self.store.lock(), self.store.frozen()
        # The run that asks keeps nobody out but others.
        busy = held is not None and held.run != self.parameters["run"] and not self.store.expired(held)
        found = _readiness.lock(asdict(held) if held and busy else {}, asdict(freeze) if freeze else {})
        found += _readiness.images([self._held(name) for name in self._code()])
        point, more = _readiness.restore_point(
            [entry.summary() for entry in points],
            {entry.id: _status.proven_at(entry.events) for entry in points},
            self.running.release.id,
            now(),
            max_age=self.parameters["max_age"],
            database=bool(self.parameters["database"]),
            code=bool(self.parameters["code_services"]),
            dumped_at=self.parameters["dumped_at"],
        )
        found += more
        dump = point != "" and "database" in self.store.point(point).summary().parts
        if dump:
            found.append(self._room(point))
        if self.wanted:
            found += self._release(dump=dump or bool(point and self.parameters["dumped_at"]))
        unchecked = [name for name in self._code() if not self._has_check(name)]
        found.append(_readiness.health_checks(unchecked, self.parameters["declared_checks"]))
        return point, [*found, *_readiness.receivers(self.parameters["receivers"])]

    def _code(self) -> list[str]:
        return sorted(name for name, entry in self.running.release.services.items() if entry.code)

    def _held(self, name: str) -> _readiness.Held:
        service = self.running.release.services[name]
        place = "nowhere"
        if _images.in_registry(self.client, service.repo_digests):
            place = "registry"
        elif _images.is_stored(self.store, service.image_id):
            place = "store"
        return _readiness.Held(name, service.reference, bool(service.repo_digests), place)

    def _has_check(self, name: str) -> bool:
        """Whether a service has a health check: in the files of the release, or in an image that runs."""
        written = (self.rendered.get("services") or {}).get(name, {}).get("healthcheck") or {}
        return bool(written and not written.get("disable")) or any(
            state.health for state in self.running.containers if state.service == name
        )

    def _room(self, point: str) -> Finding:
        """Run the preflight of a restore, without restoring."""
        try:
            database = database_of(self.store, self.client, self.parameters)
            recorded, _folder = _restore.check_files(database, point)
            checked = _restore.judge(database, recorded, dump=recorded["bytes"], jobs=2)
        except (RestoreError, _postgres.DatabaseError) as error:
            return Finding("restore", "blocker", f"the database could not be restored now: {error}", error.next_step)
        told = "the dump is as recorded, and the server has room and rights to restore it"
        if checked.notes:
            return Finding("restore", "warning", f"{told}; {'; '.join(checked.notes)}")
        return Finding("restore", "ready", told)

    def _release(self, *, dump: bool) -> list[Finding]:
        """Fetch the release that is to be deployed, and rehearse its migrations."""
        name = self.wanted
        staging = tempfile.mkdtemp(prefix=f"{TEMPORARY}staging-", dir=None if self.pretend else self.store.root)
        try:
            target = _environment.resolve(
                self.client,
                self.store,
                self.application,
                self.running,
                name,
                staging,
                values=_environment.values_of(self.parameters["environment"]),
                pull=not self.pretend,
                timeout=self.parameters["pull_timeout"],
            )
        except (_targets.TargetError, _compose.ProjectError, _git.GitError) as error:
            return [Finding("release", "blocker", str(error), "Mend what is named, or name another release.")]
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self.rendered = target.rendered
        moving = sorted(
            f"{service} ({entry.reference})"
            for service, entry in target.release.services.items()
            if entry.code and not entry.repo_digests and not _images.is_stored(self.store, entry.image_id)
        )
        found = [Finding("release", "ready", f"{target.kind} {target.name}: every image is there")]
        if moving:
            found.append(
                Finding(
                    "release",
                    "warning",
                    f"no registry has {', '.join(moving)}",
                    "pre-deploy-backup.yml keeps such images once they run.",
                )
            )
        return [*found, *self._migrations(target, dump=dump)]

    def _migrations(self, target: _targets.Target, *, dump: bool) -> list[Finding]:
        """Rehearse there and back, from the release's own image."""
        parameters = self.parameters
        if parameters["rehearsed_at"] and parameters["migration_tool"] != "none":
            return [_readiness.rehearsed_elsewhere(parameters["rehearsed_at"])]
        if not parameters["database"] or parameters["migration_tool"] == "none":
            return [Finding("migrations", "ready", "no migration tool is declared")]
        if not self._other_images(target):
            told = "no image is another one, and the release changes no schema: a quick rollback is enough"
            return [Finding("migrations", "ready", told)]
        if self.pretend or not parameters["rehearse"]:
            why = "this is check mode" if self.pretend else "that was not wanted"
            return [Finding("migrations", "warning", f"the release's migrations were not rehearsed: {why}")]
        try:
            self.forecast = self._rehearse(target)
        except (_migration_toolbox.RevertError, _postgres.DatabaseError, ValueError) as error:
            return [Finding("migrations", "warning", f"the release's migrations were not rehearsed: {error}")]
        return _readiness.migrations(self.forecast, dump=dump)

    def _other_images(self, target: _targets.Target) -> bool:
        running = self.running.release.services
        return any(
            name not in running or running[name].image_id != entry.image_id
            for name, entry in target.release.services.items()
            if entry.code
        )

    def _rehearse(self, target: _targets.Target) -> _readiness.Forecast:
        tools = _migration_toolbox.of_target(self.client, self.parameters, target)
        login = _postgres.login_of(self.client, self.parameters)
        if login is None:
            raise _migration_toolbox.RevertError("the application has no database")
        self._journal("begun")
        forecast = _rehearsal.forecast(self.client, tools, login)
        self._journal("done", seconds=forecast.seconds)
        return forecast

    def _journal(self, status: str, **details: Any) -> None:
        if self.parameters["run"]:
            self.told("rehearsal", status, **details)


def judge(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> tuple[dict[str, Any], list[Finding]]:
    """Return the module's result and what the gate stops. Raises what looking raises."""
    readiness = Readiness(store, parameters, pretend=pretend)
    point, found = readiness.look()
    verdict = _readiness.verdict(found)
    stopped = _readiness.stopped(found, parameters["gate"], parameters["gate_topics"])
    release = readiness.wanted or readiness.running.release.label
    changed = bool(point) and not pretend
    if changed:
        store.append_event(
            point,
            "readiness",
            release=release,
            verdict=verdict,
            run=parameters["run"],
            reasons=[f"{finding.topic}: {finding.told}" for finding in found if finding.grade != "ready"],
        )
    forecast = readiness.forecast
    return {
        "changed": changed,
        "verdict": verdict,
        "findings": [asdict(finding) for finding in found],
        "restore_point": point,
        "forecast": asdict(forecast) if forecast else {},
        "rollback_screen": {
            "headline": f"{release}: {verdict}",
            "lines": _readiness.lines(found),
            "rows": [
                {"label": "Readiness", "value": f"{release}: {verdict}"},
                {"label": "Would go back to", "value": point or "nowhere"},
            ],
        },
    }, stopped


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            **_arguments.MIGRATION,
            **_arguments.RUN,
            **_arguments.STEPS,
            **_arguments.REHEARSAL,
            **_arguments.VALUES,
            **_arguments.PULL,
            **_arguments.APPLY,
            "release": {"type": "str", "default": ""},
            "max_age": {"type": "float", "default": 24},
            "rehearse": {"type": "bool", "default": True},
            "declared_checks": {"type": "int", "default": 0},
            "dumped_at": {"type": "str", "default": ""},
            "rehearsed_at": {"type": "str", "default": ""},
            "receivers": {"type": "list", "elements": "dict", "default": []},
            "gate": {"type": "str", "choices": list(_readiness.GATES), "default": "none"},
            "gate_topics": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    try:
        store = Store(parameters["state_dir"], parameters["application"])
        if not module.check_mode:
            store.prepare()
        result, stopped = judge(store, parameters, pretend=module.check_mode)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"Readiness cannot be judged: {error}.",
                "Nothing was touched.",
                next_step(error, "Mend the cause and run it again."),
            )
        )
    if stopped:
        module.fail_json(
            msg=_failure.explain(
                "Not ready: "
                + "; ".join(f"{finding.topic}: {' '.join(finding.told.split())}" for finding in stopped)
                + ".",
                "Nothing was deployed and nothing that runs was touched.",
                " ".join(dict.fromkeys(finding.next_step for finding in stopped if finding.next_step))
                or "Mend what is named, or pass with -e rollback_readiness_gate=none.",
            ),
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
