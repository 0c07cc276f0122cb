# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep images and get them back: local tags, the registry and the image store. Private to this collection."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _command, _libraries
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import image
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import ServiceRelease
from ansible_collections.schedgen.rollback.plugins.module_utils._store import (
    TEMPORARY,
    Store,
    fsync,
    sha256_of,
    write_file,
)

KEPT = "schedgen-rollback"


class ImageError(Expected):
    """An image cannot be kept or had."""


@dataclass(frozen=True)
class Source:
    """Where an image comes from: ``place`` is present, registry, store or nowhere; ``detail`` says more."""

    place: str
    detail: str = ""


def kept_name(application: str, service: str) -> str:
    """Return the local repository under which this collection keeps a service's images."""
    return f"{KEPT}/{application}/{service}".lower()


def tag(client: Any, image_id: str, reference: str) -> None:
    """Let the name ``reference`` point to an image on this host. Raises :class:`ImageError`."""
    docker = _libraries.docker()
    name, colon, label = reference.rpartition(":")
    if not colon or "/" in label:
        name, label = reference, "latest"
    try:
        client.api.tag(image_id, name, label, force=True)
    except docker.errors.DockerException as error:
        raise ImageError(f"image {image_id[:19]} cannot be named {reference}: {error}") from error


def untag(client: Any, reference: str) -> None:
    """Remove a name from an image; the image goes only when nothing else names or uses it."""
    docker = _libraries.docker()
    with contextlib.suppress(docker.errors.APIError):
        client.api.remove_image(reference, noprune=True)


def in_registry(client: Any, digests: Sequence[str]) -> bool:
    """Tell whether a registry has one of these repository digests now."""
    docker = _libraries.docker()
    for digest in digests:
        with contextlib.suppress(docker.errors.DockerException, OSError):
            client.api.inspect_distribution(digest)
            return True
    return False


def archive(store: Store, image_id: str) -> str:
    """Return the path of an image in the image store."""
    return os.path.join(store.images_dir, image_id.split(":", 1)[-1] + ".tar.zst")


def is_stored(store: Store, image_id: str) -> bool:
    """Tell whether the image store has the image, complete."""
    return os.path.isfile(archive(store, image_id)) and os.path.isfile(archive(store, image_id) + ".sha256")


def save(store: Store, image_id: str) -> bool:
    """Save an image to the image store; tell whether it was not there yet. Raises :class:`ImageError`."""
    if is_stored(store, image_id):
        return False
    if not _command.available("zstd"):
        raise ImageError(
            "the program 'zstd' is not installed on this host, so an image that no registry has cannot be saved:"
            " run 'ansible-playbook prepare-hosts.yml'"
        )
    final = archive(store, image_id)
    temporary = os.path.join(store.images_dir, TEMPORARY + os.path.basename(final))
    try:
        _command.pipe(["docker", "image", "save", image_id], ["zstd", "-q", "-3", "-T0", "-c"], target=temporary)
    except _command.CommandError as error:
        os.unlink(temporary)
        raise ImageError(f"image {image_id[:19]} cannot be saved to {store.images_dir}: {error}") from error
    os.chmod(temporary, 0o600)
    fsync(temporary)
    write_file(final + ".sha256", sha256_of(temporary) + "\n")
    os.rename(temporary, final)
    fsync(store.images_dir)
    return True


def load(store: Store, image_id: str) -> None:
    """Load an image from the image store, its checksum first. Raises :class:`ImageError`."""
    path = archive(store, image_id)
    with open(path + ".sha256", encoding="utf-8") as stream:
        recorded = stream.read().strip()
    if sha256_of(path) != recorded:
        raise ImageError(f"{path} is damaged: its checksum is not the recorded one")
    try:
        _command.pipe(["zstd", "-q", "-d", "-c", path], ["docker", "image", "load", "-q"])
    except _command.CommandError as error:
        raise ImageError(f"{path} cannot be loaded: {error}") from error


def locate(client: Any, store: Store, service: ServiceRelease) -> Source:
    """Say where a service's recorded image can be had, without getting it."""
    if image(client, service.image_id) is not None:
        return Source("present")
    if is_stored(store, service.image_id):
        return Source("store", archive(store, service.image_id))
    if in_registry(client, service.repo_digests):
        return Source("registry", service.repo_digests[0])
    tried = ["it is not on this host", "not in the image store"]
    tried.append(
        f"no registry answers for {', '.join(service.repo_digests)}"
        if service.repo_digests
        else "no registry ever had it"
    )
    return Source("nowhere", ", ".join(tried))


def fetch(client: Any, store: Store, service: ServiceRelease, *, timeout: float = 300) -> Source:
    """Make a service's recorded image present: as it is, from the image store, else from a registry by digest.

    ``timeout`` is in seconds, for one pull. Raises :class:`ImageError` with everything that was tried.
    """
    if image(client, service.image_id) is not None:
        return Source("present")
    tried = ["it is not on this host"]
    if is_stored(store, service.image_id):
        try:
            load(store, service.image_id)
            if image(client, service.image_id) is not None:
                return Source("store", archive(store, service.image_id))
            tried.append("the image store's copy loaded as another image")
        except ImageError as error:
            tried.append(str(error))
    else:
        tried.append("it is not in the image store")
    for digest in service.repo_digests:
        try:
            _command.check(["docker", "pull", "--quiet", digest], timeout=timeout)
        except _command.CommandError as error:
            tried.append(f"pulling {digest} {error.reason}")
            continue
        if image(client, service.image_id) is not None:
            return Source("registry", digest)
        tried.append(f"{digest} is another image than the recorded one")
    if not service.repo_digests:
        tried.append("no registry ever had it")
    raise ImageError(f"image {service.reference} ({service.image_id[:19]}) cannot be had: {'; '.join(tried)}")


def remove_unreferenced(store: Store, referenced: set[str]) -> list[str]:
    """Remove images from the image store that no restore point needs; return their file names."""
    removed = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(store.images_dir)):
            image_id = "sha256:" + name.split(".", 1)[0]
            if image_id not in referenced:
                os.unlink(os.path.join(store.images_dir, name))
                removed.append(name)
    return removed
