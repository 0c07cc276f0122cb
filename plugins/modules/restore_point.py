#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take, mark, label, keep and prune restore points."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point
short_description: Take, mark and prune restore points of a Compose application
description:
  - A restore point is one immutable, self-contained record of what runs, that is images, configuration files and git
    commit, and as asked of its database.
  - It is complete or absent. What a killed call leaves cannot be taken for a restore point, and is removed by the next.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.application.libraries
  - schedgen.rollback.project
  - schedgen.rollback.project.database
  - schedgen.rollback.project.admin
  - schedgen.rollback.project.run
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  state:
    description:
      - V(present) takes a new restore point.
      - V(bad) and V(good) put and take back the bad mark, V(pinned) and V(unpinned) keep one from being pruned or no
        longer, V(labelled) adds labels.
      - V(stored) saves its images to the image store where no registry has them.
      - V(proven) and V(unproven) record what a drill on another O(host) came to.
      - V(whole) says that every host of its O(fleet) has it. Before that it is never chosen as a candidate.
      - V(pruned) removes those that O(retention) does not keep, V(absent) removes one.
    type: str
    choices: [present, bad, good, pinned, unpinned, labelled, stored, whole, proven, unproven, pruned, absent]
    default: present
  id:
    description:
      - The restore point. Needed for every state except V(present) and V(pruned).
      - With V(present) the id that a new one gets, so that several hosts have the same.
    type: str
  fleet:
    description:
      - The hosts that are asked for a new restore point together. Empty where this one is asked alone.
    type: list
    elements: str
    default: []
  purpose:
    description:
      - Why a restore point is taken. One with the purpose V(safety) is never chosen as a candidate.
    type: str
    choices: [deploy, scheduled, manual, safety]
    default: manual
  reason:
    description:
      - Words for the record.
    type: str
    default: ''
  host:
    description:
      - Where it was restored, with O(state=proven) and O(state=unproven).
    type: str
    default: ''
  seconds:
    description:
      - How long that took, with O(state=proven).
    type: float
    default: 0
  owner:
    description:
      - Who asks, for the record and for the lock.
    type: str
    default: ''
  labels:
    description:
      - Labels to record.
    type: list
    elements: str
    default: []
  with_database:
    description:
      - Whether a new restore point has a dump of O(database).
    type: bool
    default: true
  volumes:
    description:
      - Named volumes whose content a new restore point has, archived after the dump. One that cannot be swapped back
        later is left out, with a note.
    type: list
    elements: str
    default: []
  dump_jobs:
    description:
      - How many tables are dumped at once.
    type: int
    default: 2
  content_hash_limit:
    description:
      - Up to how many megabytes of database the content of every table is hashed beside the dump.
      - Above it rows are counted only. V(0) never hashes.
    type: int
    default: 512
  database_ready:
    description:
      - Whether the database is kept ready beside the live one, so that going back is a swap alone at any size.
      - V(restored) restores the dump at once, which proves it. V(template) copies the live database in the server,
        which needs the application stopped. V(auto) restores below O(ready_limit) where the disk has ample room.
      - Copies are dropped by number, by age and when less than a tenth of the server's disk is free. The dumps stay.
    type: str
    choices: [auto, restored, template, none]
    default: none
  ready_limit:
    description:
      - Up to how many megabytes of database O(database_ready=auto) keeps it ready.
    type: int
    default: 2048
  ready_keep:
    description:
      - How many copies are kept ready at most.
    type: int
    default: 2
  ready_days:
    description:
      - For how many days a copy is kept ready.
    type: float
    default: 7
  save_images:
    description:
      - V(auto) saves images that no registry has to the image store, V(always) all, V(never) none.
    type: str
    choices: [auto, always, never]
    default: auto
  health:
    description:
      - What a verification found, with keys V(verdict) and V(reasons).
      - When not given, the states of the containers are judged.
    type: dict
  target:
    description:
      - With O(state=bad), the restore point that a rollback went to.
    type: str
    default: ''
  release_after:
    description:
      - With O(state=bad), the release that ran after the rollback. While it runs, there is nothing to go back from.
    type: str
    default: ''
  retention:
    description:
      - What O(state=pruned) keeps.
      - The last good one, the newest safety restore point and pinned ones are always kept.
    type: dict
    default: {}
    suboptions:
      last:
        description: How many of the newest are kept.
        type: int
        default: 10
      daily:
        description: For how many days the newest of the day is kept.
        type: int
        default: 7
      weekly:
        description: For how many weeks the newest of the week is kept.
        type: int
        default: 4
      monthly:
        description: For how many months the newest of the month is kept.
        type: int
        default: 6
"""

EXAMPLES = r"""
- name: Take a restore point with the database before a deployment
  schedgen.rollback.restore_point:
    application: schedgen
    project_src: /opt/schedgen
    code_services: [backend, frontend, pdf-worker]
    database: schedgen
    migration_tool: typeorm
    purpose: deploy
    reason: release v2

- name: Keep one that is known to be good
  schedgen.rollback.restore_point:
    application: schedgen
    state: pinned
    id: 20261122T131500.123Z

- name: Remove those that are no longer needed
  schedgen.rollback.restore_point:
    application: schedgen
    state: pruned
    retention:
      last: 5
"""

RETURN = r"""
id:
  description: The restore point that was taken or changed.
  returned: when one was
  type: str
  sample: 20261122T131500.123Z
path:
  description: Its folder on the host.
  returned: when one was taken
  type: str
  sample: /var/lib/schedgen-rollback/schedgen/restore_points/20261122T131500.123Z
release:
  description: Fingerprint of the release that it records.
  returned: when one was taken
  type: str
  sample: 2f6a0c1d9b7e
label:
  description: The release's name for people.
  returned: when one was taken
  type: str
  sample: v1
health:
  description: Verdict and reasons at the time.
  returned: when one was taken
  type: dict
ready:
  description: The database that is kept ready for it. Empty when none is.
  returned: when one was taken
  type: str
notes:
  description: What the restore point does not hold or could not reproduce, in sentences.
  returned: when one was taken
  type: list
  elements: str
swept:
  description: What killed runs had left, files that were removed and what else was put right.
  returned: when one was taken
  type: list
  elements: str
pruned:
  description: Restore points that were removed.
  returned: with O(state=pruned)
  type: list
  elements: str
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _arguments,
    _catalog_reader,
    _compose,
    _databases,
    _dump,
    _failure,
    _images,
    _invariants,
    _pgtools,
    _postgres,
    _ready,
    _releases,
    _retention,
    _schema,
    _volumes,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._databases import RestoreError, database_of
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import Manifest, to_json
from ansible_collections.schedgen.rollback.plugins.module_utils._postgres import login_of
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import application_of
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, now, timestamp, tree_checksums

# What a drill on another host came to, and the events that say so.
PROOFS = {"proven": "proven", "unproven": "not proven"}
MARKS = ("bad", "good", "pinned", "unpinned", "labelled", "whole", *PROOFS)


def take(client: Any, store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Take a restore point and return the module's result. Raises what reading, dumping and storing raise."""
    started = now()
    application = application_of(parameters)
    store.prepare()
    swept = store.sweep() + _pgtools.remove_helpers(client, application.name)
    put_right: list[str] = []
    if parameters["database"] and parameters["with_database"]:
        # A live database that was left closed could not be dumped, and a half restored copy takes up room.
        put_right = _databases.sweep(database_of(store, client, parameters))
    point_id, folder = store.begin_point(parameters["id"] or "")
    running = _releases.read(client, application, folder=folder)
    notes = [*running.notes, *running.release.differences]
    for name, service in running.release.services.items():
        if service.code:
            _images.tag(client, service.image_id, f"{_images.kept_name(application.name, name)}:{point_id}")
    if parameters["save_images"] != "never":
        notes += save_images(client, store, running.release, always=parameters["save_images"] == "always")
    migrations, database, database_notes = record_database(client, store, folder, parameters)
    notes += database_notes
    # After the dump: every object that one of its rows names is there then.
    volumes, volume_notes = archive_volumes(client, folder, parameters)
    notes += volume_notes
    health = parameters["health"] or _releases.health_of(running.containers, sorted(running.release.services))
    manifest = Manifest(
        id=point_id,
        application=application.name,
        created=timestamp(started),
        purpose=parameters["purpose"],
        release=running.release,
        health={"verdict": health["verdict"], "reasons": list(health.get("reasons", []))},
        reason=parameters["reason"],
        owner=parameters["owner"],
        run=parameters["run"],
        host=os.uname().nodename,
        seconds=round((now() - started).total_seconds(), 3),
        migrations=migrations,
        database=database,
        volumes=tuple(volumes),
        checksums=tree_checksums(folder),
        notes=tuple(notes),
        fleet=tuple(parameters["fleet"]),
    )
    path = store.complete_point(point_id, folder, to_json(manifest))
    if parameters["labels"]:
        store.append_event(point_id, "labelled", labels=parameters["labels"])
    store.journal(
        parameters["run"], "restore point", "done", id=point_id, purpose=manifest.purpose, release=running.release.id
    )
    ready, ready_notes = keep_ready(client, store, manifest, parameters)
    notes += ready_notes
    lines = [f"Left by a killed run and removed: {os.path.basename(name)}" for name in swept]
    lines += [f"Left by a killed run: {line}" for line in put_right]
    lines += [f"Note: {note}" for note in notes]
    if health["verdict"] != "healthy":
        lines.append(f"The application was {health['verdict']}: {'; '.join(health.get('reasons', []))}")
    return {
        "changed": True,
        "id": point_id,
        "path": path,
        "release": running.release.id,
        "label": running.release.label,
        "health": manifest.health,
        "ready": ready,
        "notes": notes,
        "swept": [*swept, *put_right],
        "rollback_screen": {
            "headline": f"{manifest.purpose} restore point {point_id} of {running.release.label}: {describe(manifest)}",
            "lines": lines,
            "rows": [
                {
                    "label": "Safety point" if manifest.purpose == "safety" else "Restore point",
                    "value": f"{point_id} ({', '.join(manifest.parts)})",
                },
                *([{"label": "Kept ready", "value": ready}] if ready else []),
            ],
        },
    }


def keep_ready(client: Any, store: Store, manifest: Manifest, parameters: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Keep a new restore point's database ready as configured; return the copy's name and notes."""
    if not manifest.database:
        return "", []
    policy = _ready.Policy(
        asked=parameters["database_ready"],
        limit=parameters["ready_limit"] << 20,
        keep=parameters["ready_keep"],
        days=parameters["ready_days"],
        jobs=parameters["dump_jobs"],
    )
    return _ready.after_backup(database_of(store, client, parameters), manifest.id, manifest.database, policy)


def archive_volumes(client: Any, folder: str, parameters: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Archive the volumes that were asked for; return what the manifest says of them, and notes."""
    archived, notes = [], []
    project = parameters["project_name"] or parameters["application"]
    database = _volumes.of_service(client, project, parameters["database_service"]) if parameters["volumes"] else []
    for name in parameters["volumes"]:
        try:
            content = _volumes.usable(client, project, name, database)
        except _volumes.VolumeError as error:
            notes.append(f"{error}; it is not part of this restore point")
            continue
        entry = _volumes.archive(content, name, os.path.join(folder, "volumes"))
        if entry["written_to"]:
            notes.append(f"volume {name} was written to while it was archived")
        archived.append(entry)
    return archived, notes


def describe(manifest: Manifest) -> str:
    """Say in a few words what a restore point holds."""
    told = f"{len(manifest.release.services)} services, {len(manifest.release.files)} files"
    if manifest.database:
        rows = sum(manifest.database["rows"].values())
        told += f", database ({rows} rows, {manifest.database['bytes'] / 1e6:.1f} MB dump)"
    for volume in manifest.volumes:
        told += f", volume {volume['name']} ({volume['files']} files, {volume['bytes'] / 1e6:.1f} MB)"
    return told


def save_images(client: Any, store: Store, release: Any, *, always: bool) -> list[str]:
    """Save the images of code services to the image store where no registry has them; return notes."""
    notes = []
    for name, service in release.services.items():
        if not service.code or _images.is_stored(store, service.image_id):
            continue
        if not always and _images.in_registry(client, service.repo_digests):
            continue
        if _compose.image(client, service.image_id) is None:
            notes.append(f"the image of {name} is not on this host any more and could not be saved")
            continue
        _images.save(store, service.image_id)
    return notes


def record_database(
    client: Any, store: Store, folder: str, parameters: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[str]]:
    """Return what is recorded of migrations and database (with a dump as asked), and notes."""
    tool, table = parameters["migration_tool"], parameters["migration_table"]
    try:
        login = login_of(client, parameters)
        if login is None:
            return None, None, []
        if parameters["with_database"]:
            dumped = _dump.dump(
                store,
                folder,
                login,
                jobs=parameters["dump_jobs"],
                tool=tool,
                table=table,
                hash_limit=parameters["content_hash_limit"] << 20,
            )
            applied = dumped.pop("migrations")
            note = shrank(store, dumped)
            return (None if applied is None else {"tool": tool, "applied": applied}), dumped, [note] if note else []
        live, _facts = _schema.catalogue(login)
        _catalog_reader.keep(folder, live)
        applied = None if tool == "none" else _releases.applied_migrations(login, tool, table)
        return (None if applied is None else {"tool": tool, "applied": applied}), None, []
    except _postgres.DatabaseError as error:
        # A safety point is taken when things are broken: it records what it can instead of standing in the way.
        if parameters["with_database"]:
            raise
        return None, None, [f"the database's schema and migration history could not be read: {error}"]


def shrank(store: Store, dumped: Mapping[str, Any]) -> str:
    """Compare a dump with the one of the restore point before; return a note when it holds much less."""
    for point in reversed(store.points()):
        if point.manifest and point.manifest.database and point.manifest.database["name"] == dumped["name"]:
            return _invariants.shrank(point.manifest.database, dumped)
    return ""


def mark(store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Append an event to a restore point where it changes something."""
    state, point_id = parameters["state"], parameters["id"]
    summary = store.point(point_id).summary()
    already = {
        "bad": summary.bad is not None,
        "good": summary.bad is None,
        "pinned": summary.pinned,
        "unpinned": not summary.pinned,
        "labelled": set(parameters["labels"]) <= set(summary.labels),
        "whole": summary.whole,
    }.get(state, False)
    if already:
        return {
            "changed": False,
            "id": point_id,
            "rollback_screen": {"headline": f"restore point {point_id} is {state} already"},
        }
    details: dict[str, Any] = {"reason": parameters["reason"], "owner": parameters["owner"], "run": parameters["run"]}
    if state == "labelled":
        details["labels"] = parameters["labels"]
    if state == "bad":
        details.update(target=parameters["target"], release_after=parameters["release_after"])
    if state in PROOFS:
        details.update(host=parameters["host"], seconds=parameters["seconds"])
    store.append_event(point_id, PROOFS.get(state, state), **details)
    words = {
        "bad": f"release {summary.label} is marked bad",
        "labelled": f"labels of {point_id}: {', '.join(parameters['labels'])}",
        "whole": f"restore point {point_id} is on all of its hosts",
        "unproven": f"restore point {point_id} could not be proven on {parameters['host']}",
    }
    return {
        "changed": True,
        "id": point_id,
        "rollback_screen": {"headline": words.get(state, f"restore point {point_id} is {state}")},
    }


def prune(client: Any, store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Remove restore points that the retention does not keep, or the one that is to be absent."""
    points = store.points()
    if parameters["state"] == "absent":
        gone = [point.id for point in points if point.id == parameters["id"]]
    else:
        options = {key: value for key, value in parameters["retention"].items() if value is not None}
        decided = _retention.decide([point.summary() for point in points], _retention.Policy(**options))
        gone = [kept.id for kept in decided if not kept.reason]
    if not pretend:
        needed: set[str] = set()
        for point in points:
            services = point.manifest.release.services if point.manifest else {}
            if point.id in gone:
                store.remove_point(point.id)
                for name in services:
                    _images.untag(client, f"{_images.kept_name(store.application, name)}:{point.id}")
            else:
                needed.update(service.image_id for service in services.values())
        _images.remove_unreferenced(store, needed)
    kept_count = len(points) - len(gone)
    return {
        "changed": bool(gone),
        "pruned": gone,
        "rollback_screen": {
            "headline": f"{len(gone)} restore points removed, {kept_count} kept",
            "lines": [f"Removed: {point_id}" for point_id in gone],
        },
    }


def carry_out(parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Do what the parameters ask for and return the module's result."""
    store = Store(parameters["state_dir"], parameters["application"])
    state = parameters["state"]
    client = _compose.connect()
    if pretend:
        return foretell(client, store, parameters)
    with store.held(parameters["run"], owner=parameters["owner"], reason=parameters["reason"]):
        if state == "present":
            return take(client, store, parameters)
        if state in MARKS:
            return mark(store, parameters)
        if state == "stored":
            point = store.point(parameters["id"])
            before = set(os.listdir(store.images_dir))
            notes = (
                save_images(client, store, point.manifest.release, always=False) if point.manifest else [point.problem]
            )
            count = len(set(os.listdir(store.images_dir)) - before) // 2
            headline = f"{count} {'image' if count == 1 else 'images'} saved to the image store"
            return {
                "changed": bool(count),
                "id": point.id,
                "notes": notes,
                "rollback_screen": {"headline": headline, "lines": [f"Note: {note}" for note in notes]},
            }
        return prune(client, store, parameters, pretend=False)


def foretell(client: Any, store: Store, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a real run would do, and do nothing."""
    state = parameters["state"]
    if state in ("pruned", "absent"):
        return prune(client, store, parameters, pretend=True)
    if state != "present":
        store.point(parameters["id"])
        return {"changed": True, "id": parameters["id"], "rollback_screen": {"headline": f"would make it {state}"}}
    running = _releases.read(client, application_of(parameters))
    named = ["release"] + (["database"] if parameters["database"] and parameters["with_database"] else [])
    parts = ", ".join([*named, *(f"volume {name}" for name in parameters["volumes"])])
    return {
        "changed": True,
        "release": running.release.id,
        "label": running.release.label,
        "notes": [*running.notes, *running.release.differences],
        "rollback_screen": {
            "headline": f"would take a {parameters['purpose']} restore point of {running.release.label} ({parts})"
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            **_arguments.PROJECT,
            **_arguments.DATABASE,
            **_arguments.ADMIN,
            **_arguments.RUN,
            "state": {
                "type": "str",
                "choices": [
                    "present",
                    "bad",
                    "good",
                    "pinned",
                    "unpinned",
                    "labelled",
                    "stored",
                    "whole",
                    "proven",
                    "unproven",
                    "pruned",
                    "absent",
                ],
                "default": "present",
            },
            "id": {"type": "str"},
            "purpose": {"type": "str", "choices": ["deploy", "scheduled", "manual", "safety"], "default": "manual"},
            "reason": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
            "seconds": {"type": "float", "default": 0},
            "owner": {"type": "str", "default": ""},
            "labels": {"type": "list", "elements": "str", "default": []},
            "fleet": {"type": "list", "elements": "str", "default": []},
            "with_database": {"type": "bool", "default": True},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "dump_jobs": {"type": "int", "default": 2},
            "content_hash_limit": {"type": "int", "default": 512},
            "database_ready": {"type": "str", "choices": ["auto", "restored", "template", "none"], "default": "none"},
            "ready_limit": {"type": "int", "default": 2048},
            "ready_keep": {"type": "int", "default": 2},
            "ready_days": {"type": "float", "default": 7},
            "save_images": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "health": {"type": "dict"},
            "target": {"type": "str", "default": ""},
            "release_after": {"type": "str", "default": ""},
            "retention": {
                "type": "dict",
                "default": {},
                "options": {
                    "last": {"type": "int", "default": 10},
                    "daily": {"type": "int", "default": 7},
                    "weekly": {"type": "int", "default": 4},
                    "monthly": {"type": "int", "default": 6},
                },
            },
        },
        required_if=[
            ("state", "present", ("project_src",)),
            *[("state", state, ("id",)) for state in (*MARKS, "stored", "absent")],
        ],
        supports_check_mode=True,
    )
    state = "Nothing that runs was touched, and there is no new restore point."
    try:
        result = carry_out(module.params, pretend=module.check_mode)
    except EXPECTED as error:
        if isinstance(error, RestoreError):
            state = error.state
        happened = f"restore_point {module.params['state']}: {error}"
        module.fail_json(msg=_failure.explain(happened, state, next_step(error, "Mend the cause and run it again.")))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
