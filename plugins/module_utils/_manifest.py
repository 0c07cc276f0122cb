# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore point records: releases, their files and the manifest. Pure; private to this collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

SCHEMA = 1
PURPOSES = ("deploy", "scheduled", "manual", "safety")
FILE_KINDS = ("compose", "env", "secret", "configuration", "changed", "untracked")
NOTHING_RUNS = "nothing"


def identifier(now: datetime) -> str:
    """Return the id of what is made at ``now``: UTC with milliseconds, so that ids sort by age."""
    utc = now.astimezone(timezone.utc)
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03d}Z"


def moment(point_id: str) -> datetime:
    """Return when the restore point or run with this id was begun. Raises ValueError when it is no such id."""
    stamp = point_id[:20]
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError(f"'{point_id}' is no id of a restore point or run (20261122T131500.123Z)") from error


@dataclass(frozen=True)
class FileRecord:
    """One recorded file. ``path`` is relative to the project's folder, or absolute outside of it.

    ``link`` is a symbolic link's target (then there is no content); ``stored`` is the copy's path inside the
    restore point; ``mode`` is octal text.
    """

    path: str
    kind: str
    mode: str
    uid: int
    gid: int
    size: int = 0
    sha256: str = ""
    link: str = ""
    stored: str = ""


@dataclass(frozen=True)
class ServiceRelease:
    """What one service runs.

    ``config_hash`` is Compose's hash on the running containers, ``files_hash`` the hash that the project's files
    render to ('' where they know no such service); ``mixed`` tells that its containers run different images.
    ``along`` tells that a full rollback takes it along although it carries no code.
    """

    image_id: str
    reference: str
    repo_digests: tuple[str, ...] = ()
    replicas: int = 1
    config_hash: str = ""
    files_hash: str = ""
    code: bool = False
    mixed: bool = False
    states: tuple[str, ...] = ()
    along: bool = False

    @property
    def goes_back(self) -> bool:
        """Whether a rollback replaces its containers."""
        return self.code or self.along

    @property
    def otherwise(self) -> bool:
        """Whether it runs with another configuration than its files have now, as far as both are known."""
        return bool(self.files_hash and self.config_hash and self.files_hash != self.config_hash)


@dataclass(frozen=True)
class GitRecord:
    """The project folder's git checkout: ``ref`` is the branch ('' when detached), ``describe`` a name for people."""

    commit: str
    ref: str = ""
    describe: str = ""
    changed: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether no tracked file differs from the commit."""
        return not self.changed


@dataclass(frozen=True)
class Release:
    """What runs: services with their images, and the files that describe them."""

    services: Mapping[str, ServiceRelease]
    name: str = ""
    src: str = ""
    compose_files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    files: tuple[FileRecord, ...] = ()
    absent: tuple[str, ...] = ()
    git: GitRecord | None = None
    differences: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The release's fingerprint: images and configuration hashes of the services that carry code."""
        running = {
            name: [service.image_id, service.config_hash]
            for name, service in sorted(self.services.items())
            if service.code
        }
        if not running:
            return NOTHING_RUNS
        return hashlib.sha256(json.dumps(running).encode()).hexdigest()[:12]

    def all_along(self, but: str) -> Release:
        """Return it with every service going back, but one: the database's server stays."""
        services = {name: replace(entry, along=name != but) for name, entry in self.services.items()}
        return replace(self, services=services)

    @property
    def reproducible(self) -> bool:
        """Whether the project's files render to what runs."""
        return not self.differences

    @property
    def label(self) -> str:
        """A name for people: the common image tag of the code services, else git's own, else the fingerprint."""
        tags = sorted({tag_of(service.reference) for service in self.services.values() if service.code} - {""})
        name = tags[0] if len(tags) == 1 else ""
        if not name and self.git is not None:
            name = self.git.describe or self.git.commit[:12]
        return name or self.id


def tag_of(reference: str) -> str:
    """Return the tag in an image reference, '' for a digest or where none is written."""
    if "@" in reference or reference.startswith("sha256:"):
        return ""
    last = reference.rsplit("/", 1)[-1]
    return last.split(":", 1)[1] if ":" in last else ""


def repository_of(reference: str) -> str:
    """Return an image reference without its tag and digest."""
    name = reference.split("@", 1)[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.split(":", 1)[0]


def release_to_dict(release: Release) -> dict[str, Any]:
    """Return plain data for JSON, with the derived id, label and reproducibility for readers of the manifest."""
    data = asdict(replace(release, services={}))
    data["services"] = {name: asdict(service) for name, service in sorted(release.services.items())}
    return {"id": release.id, "label": release.label, "reproducible": release.reproducible, **_plain(data)}


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON would give it back: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def release_from_dict(data: Mapping[str, Any]) -> Release:
    """Rebuild a :class:`Release` from a manifest. Raises ValueError when something needed is missing."""
    try:
        git = data.get("git")
        return Release(
            services={name: _service(entry) for name, entry in data["services"].items()},
            name=data["name"],
            src=data["src"],
            compose_files=tuple(data["compose_files"]),
            env_files=tuple(data["env_files"]),
            profiles=tuple(data["profiles"]),
            files=tuple(FileRecord(**entry) for entry in data["files"]),
            absent=tuple(data["absent"]),
            git=None
            if git is None
            else GitRecord(git["commit"], git["ref"], git["describe"], tuple(git["changed"]), tuple(git["untracked"])),
            differences=tuple(data["differences"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the release in the manifest cannot be read: {error!r}") from error


def _service(entry: Mapping[str, Any]) -> ServiceRelease:
    values = dict(entry)
    for name in ("repo_digests", "states"):
        values[name] = tuple(values[name])
    return ServiceRelease(**values)


@dataclass(frozen=True)
class Manifest:
    """The unchanging description of one restore point."""

    id: str
    application: str
    created: str
    purpose: str
    release: Release
    health: Mapping[str, Any]
    reason: str = ""
    owner: str = ""
    run: str = ""
    host: str = ""
    seconds: float = 0.0
    migrations: Mapping[str, Any] | None = None
    database: Mapping[str, Any] | None = None
    volumes: tuple[Mapping[str, Any], ...] = ()
    checksums: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    # The hosts that were asked for it together; empty where one host was.
    fleet: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that this restore point has: release, database, volumes."""
        return ("release", *(["database"] if self.database else []), *(["volumes"] if self.volumes else []))


def to_json(manifest: Manifest) -> str:
    """Return the manifest file's text."""
    data = {
        name: _plain(getattr(manifest, name))
        for name in Manifest.__dataclass_fields__
        if name not in ("release", "checksums")
    }
    document = {
        "schema": SCHEMA,
        "parts": list(manifest.parts),
        **data,
        "release": release_to_dict(manifest.release),
        "checksums": _plain(dict(sorted(manifest.checksums.items()))),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Manifest:
    """Read a manifest file. Raises ValueError with what is wrong."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the manifest is no JSON: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise ValueError(f"the manifest's schema is {found}, this collection reads schema {SCHEMA}")
    try:
        moment(data["id"])
        if data["purpose"] not in PURPOSES:
            raise ValueError(f"the manifest's purpose '{data['purpose']}' is unknown")
        for name in ("health", "checksums", "versions"):
            if not isinstance(data[name], dict):
                raise ValueError(f"the manifest's {name} is no object")
        fields = {
            name: data[name]
            for name in Manifest.__dataclass_fields__
            if name not in ("release", "volumes", "notes", "fleet")
        }
        return Manifest(
            release=release_from_dict(data["release"]),
            volumes=tuple(data["volumes"]),
            notes=tuple(data["notes"]),
            fleet=tuple(data.get("fleet", ())),
            **fields,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the manifest cannot be read: {error!r}") from error
