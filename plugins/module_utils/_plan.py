# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What switching from the running release to another one does, before it is done. Pure; private to this collection."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    Release,
    ServiceRelease,
    repository_of,
    tag_of,
)


@dataclass(frozen=True)
class Image:
    """An image that a service is to run.

    ``place`` is where it comes from (present, store, registry); ``reference`` is the name in the compose file, which
    is made to point to it; ``points_to`` is the image id that this name points to now ('' for none).
    """

    service: str
    image_id: str
    place: str
    reference: str
    points_to: str


@dataclass(frozen=True)
class Plan:
    """One switch, complete: it is carried out exactly as it stands here, and approved by its hash."""

    application: str
    kind: str
    target: str
    label: str
    running: str
    running_label: str
    images: tuple[Image, ...]
    commit: str
    ref: str
    files: tuple[tuple[str, str], ...]
    replace: tuple[str, ...]
    start_first: tuple[str, ...]
    start: tuple[str, ...]
    remove: tuple[str, ...]
    scale: tuple[tuple[str, int], ...]
    schema: Judgement
    warnings: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Identify the plan by what it does: an approval is bound to this."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def changed(self) -> bool:
        """Whether carrying it out changes anything."""
        moved = any(image.points_to != image.image_id for image in self.images)
        return bool(moved or self.commit or self.files or self.replace or self.start or self.remove)

    def sentences(self) -> list[str]:
        """Return the plan's steps as a person reads them, in the order in which they happen."""
        told = []
        for place, words in (("store", "load from the image store"), ("registry", "pull from the registry by digest")):
            names = [image.service for image in self.images if image.place == place]
            if names:
                told.append(f"{words}: {', '.join(names)}")
        if self.commit:
            told.append(f"check out {self.ref or self.commit[:12]} in the project's folder")
        told += [f"{action} file {path}" for path, action in self.files]
        # Several services can run one image under one name.
        moved = [image for image in self.images if image.points_to != image.image_id]
        told += dict.fromkeys(f"let {image.reference} mean {image.image_id[7:19]}" for image in moved)
        if self.start:
            told.append(f"start what does not run: {', '.join(self.start)}")
        gap = [name for name in self.replace if name not in self.start_first]
        if gap:
            told.append(f"replace the containers of {', '.join(gap)}")
        first = [name for name in self.replace if name in self.start_first]
        if first:
            told.append(f"replace {', '.join(first)} start-first: the new one answers before the old one stops")
        if self.remove:
            told.append(f"remove what this release does not have: {', '.join(self.remove)}")
        return told


def services_to_replace(
    running: Mapping[str, ServiceRelease], target: Mapping[str, ServiceRelease], images: Sequence[Image], exact: bool
) -> tuple[str, ...]:
    """Return the services that go back whose containers are not yet what the target says.

    ``exact`` tells that the target knows the configuration it runs with, and not its images only.
    """
    names = []
    for image in images:
        now, then = running.get(image.service), target[image.service]
        same = (
            now is not None
            and not now.mixed
            and now.image_id == image.image_id
            and now.replicas == then.replicas
            and all(state in ("running", "healthy") for state in now.states)
            and (not exact or now.config_hash == (then.files_hash or then.config_hash))
        )
        if not same:
            names.append(image.service)
    return tuple(names)


def data_at_risk(now: str, then: str) -> str:
    """Return why another image must not be started on the data that a service has, '' where nothing is known.

    ``now`` and ``then`` are image references. Their tags tell the major version, and whether the C library is another
    one, with which text sorts otherwise.
    """
    versions = [re.match(r"v?(\d+)", tag_of(reference)) for reference in (now, then)]
    if versions[0] and versions[1] and versions[0].group(1) != versions[1].group(1):
        return f"its data were written by version {versions[0].group(1)}, and {then} is version {versions[1].group(1)}"
    libraries = ["musl" if "alpine" in tag_of(reference) else "glibc" for reference in (now, then)]
    if repository_of(now) == repository_of(then) and libraries[0] != libraries[1]:
        return f"its data were written with the C library {libraries[0]}, and {then} has {libraries[1]}"
    return ""


def parse_images(text: str) -> dict[str, str]:
    """Read image tags, digests or references per service from ``service=reference[,service=reference…]``.

    Raises ValueError with what is wrong.
    """
    wanted: dict[str, str] = {}
    for part in text.split(","):
        service, equals, reference = part.strip().partition("=")
        if not equals or not service.strip() or not reference.strip():
            raise ValueError(f"'{part.strip()}' is not of the form service=tag, service=sha256:… or service=image")
        if service.strip() in wanted:
            raise ValueError(f"service '{service.strip()}' is named twice")
        wanted[service.strip()] = reference.strip()
    return wanted


def full_reference(wanted: str, present: str) -> str:
    """Return the whole image reference that an operator meant with a tag, a digest or a reference.

    ``present`` is the reference that the service has now: a bare tag or digest keeps its repository.
    """
    if wanted.startswith("sha256:"):
        return f"{repository_of(present)}@{wanted}"
    if "/" in wanted or ":" in wanted or "@" in wanted:
        return wanted
    return f"{repository_of(present)}:{wanted}"


def target_release(running: Release, images: Mapping[str, ServiceRelease]) -> Release:
    """Return a release for a target that no restore point describes: what runs, with other images."""
    return Release(
        services=dict(images),
        name=running.name,
        src=running.src,
        compose_files=running.compose_files,
        env_files=running.env_files,
        profiles=running.profiles,
    )


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Return plain data for JSON, with the derived hash and steps for readers."""
    return {"hash": plan.hash, "changed": plan.changed, "steps": plan.sentences(), **asdict(plan)}


def plan_from_dict(data: Mapping[str, Any]) -> Plan:
    """Rebuild a plan. Raises ValueError when it is not the one that its hash names."""
    try:
        wanted = data["hash"]
        values = {name: data[name] for name in Plan.__dataclass_fields__}
        values["images"] = tuple(Image(**entry) for entry in data["images"])
        values["files"] = tuple((path, action) for path, action in data["files"])
        values["scale"] = tuple((name, int(count)) for name, count in data["scale"])
        schema = dict(data["schema"])
        values["schema"] = Judgement(schema.pop("verdict"), **{key: tuple(value) for key, value in schema.items()})
        for name in ("replace", "start_first", "start", "remove", "warnings"):
            values[name] = tuple(data[name])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the plan cannot be read: {error!r}") from error
    plan = Plan(**values)
    if plan.hash != wanted:
        raise ValueError(f"the plan is not the one that was prepared: its hash is {plan.hash} and not {wanted}")
    return plan
