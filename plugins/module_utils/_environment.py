# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other values of variables in a target's env files. Private to this collection."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _dotenv, _files, _targets
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import Project
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import FileRecord
from ansible_collections.schedgen.rollback.plugins.module_utils._releases import Application, Running
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, sha256_of, write_file
from ansible_collections.schedgen.rollback.plugins.module_utils._targets import Target, TargetError


def values_of(text: str) -> dict[str, str]:
    """Read a JSON object of values. Raises ValueError for anything else."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or any(isinstance(value, (dict, list)) for value in found.values()):
        raise ValueError("the values of variables are no object of names and plain values")
    empty = sorted(str(name) for name, value in found.items() if value is None)
    if empty:
        raise ValueError(f"{', '.join(empty)} has no value: '' is an empty one")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def wanted(name: str, text: str) -> str:
    """Return what is to be deployed: values alone are for what runs. '' where there is nothing."""
    return name or (_targets.RUNNING if values_of(text) else "")


def resolve(
    client: Any,
    store: Store,
    application: Application,
    running: Running,
    name: str,
    staging: str,
    *,
    values: Mapping[str, str],
    pull: bool,
    timeout: float,
    kept: str = "",
) -> Target:
    """Resolve ``name`` as ``_targets.resolve`` does, with other values of variables in the target's env files.

    ``kept`` is the folder that keeps the files that change, where they are needed later. Raises what that one raises,
    and ValueError for what an env file cannot hold.
    """
    target = _targets.resolve(client, store, application, running, name, staging, pull=pull, timeout=timeout)
    if not values:
        return target
    source = os.path.join(kept or staging, "environment")
    return _lay_over(client, running, target, values, source, staging, pull=pull, timeout=timeout)


def _lay_over(
    client: Any,
    running: Running,
    target: Target,
    values: Mapping[str, str],
    source: str,
    staging: str,
    *,
    pull: bool,
    timeout: float,
) -> Target:
    """Return the target with these values in its env files, and with every service along that reads one of them.

    A variable is changed in the file that assigns it, and added to the project's own env file where none does. Where a
    value names another image, that one is meant. ``source`` gets the changed files, ``staging`` is an empty folder.
    """
    if target.kind != "images":
        raise TargetError(
            f"values of variables go with images, or alone: {target.kind} {target.name} has its own files"
        )
    copies = os.path.join(staging, ".copies")
    records = _files.record(running.project.src, running.found.kinds, copies)
    release = replace(running.release, files=records, absent=())
    before = _targets.stage_records(staging, copies, release).hashes()
    changed = _write(running, records, values, copies, source)
    staged = _targets.stage_records(staging, source, replace(release, files=changed))
    after = staged.hashes()
    read = [name for name, digest in after.items() if digest != before.get(name)]
    # What was written already, and never started: by a run that was killed, or by hand.
    behind = [name for name, entry in running.release.services.items() if entry.code and entry.otherwise]
    affected = list(dict.fromkeys([*read, *behind]))
    names = ", ".join(sorted(values))
    if changed and not read:
        raise TargetError(f"no service of the project reads {names}: nothing would be different")
    rendered = staged.config()
    services = dict(target.release.services)
    images_named = set() if target.name == _targets.RUNNING else set(services)
    warnings = list(target.warnings)
    for name in affected:
        entry = running.release.services.get(name)
        if entry is None or name in images_named:
            continue
        if not entry.code:
            warnings.append(f"{name} reads {names} as well and carries no code: it runs on with the old value")
            continue
        reference = _targets.compose_reference(staged, rendered, name)
        if reference != entry.reference:
            facts = _targets.named_image(client, name, reference, pull=pull, timeout=timeout)
            entry = _targets.service_with(running, name, reference, facts)
        services[name] = entry
    return replace(
        target,
        name=f"{target.name}, with other values of {names}",
        release=replace(target.release, services=services, files=changed),
        staged=staged,
        rendered=rendered,
        source=source,
        warnings=tuple(warnings),
        redefined=tuple(name for name in affected if name in services),
    )


def _loaded(project: Project) -> set[str]:
    """Return the env files that Compose reads for a project, and those that its services name; not what lies beside."""
    chosen, _absent = _files.compose_files(project)
    loaded = set(project.env_files or (".env",))
    for path in set(chosen) - loaded:
        with open(_files.full_path(project.src, path), encoding="utf-8") as stream:
            loaded |= {name for name in _files.named_in(stream.read(), project.src) if _files.kind_of(name) == "env"}
    return loaded


def _write(
    running: Running, records: Sequence[FileRecord], values: Mapping[str, str], copies: str, source: str
) -> tuple[FileRecord, ...]:
    """Write the files that change, of which there are ``copies``, into ``source``; return what describes them."""
    texts = {}
    loaded = _loaded(running.project)
    for entry in records:
        if entry.path in loaded and entry.link:
            raise TargetError(f"{entry.path} is a link to {entry.link}: change that file, and deploy")
        if entry.path in loaded:
            with open(os.path.join(copies, entry.stored), encoding="utf-8") as stream:
                texts[entry.path] = stream.read()
    own = (running.project.env_files or (".env",))[-1]
    wanted: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        holders = [path for path, text in texts.items() if name in _dotenv.names_in(text)]
        if len(holders) > 1:
            raise TargetError(f"{name} is assigned in {' and in '.join(holders)}: it is not known which one counts")
        wanted.setdefault(holders[0] if holders else own, {})[name] = value
    by_path = {entry.path: entry for entry in records}
    owner = os.stat(running.project.src)
    changed = []
    for path, mine in wanted.items():
        text = _dotenv.with_values(texts.get(path, ""), mine)
        if text == texts.get(path):
            continue
        # One that is not there yet is for its owner alone: it can hold secrets.
        entry = by_path.get(path) or FileRecord(path, "env", "0600", owner.st_uid, owner.st_gid, stored=f"files/{own}")
        copy = os.path.join(source, entry.stored)
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        write_file(copy, text)
        changed.append(replace(entry, size=len(text.encode()), sha256=sha256_of(copy)))
    return tuple(changed)
