"""States that are kept to begin with again: volumes, the collection's records, and the images that these name.

A state belongs to a key of whoever kept it: with another key it is none.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import data, project
from .engine import docker, lines
from .settings import HOME, STATE, VOLUMES
from .shell import LabError

KEPT = HOME / "kept"
# Names that the collection gives to images, so that a prune leaves them.
RECORDED = "schedgen-rollback/"


def volumes(name: str) -> dict[str, str]:
    """Project volume: its copy in this state."""
    return {volume: f"schedgen-demo-kept-{name}-{key}" for key, volume in VOLUMES.items()}


def keep(name: str, key: str) -> None:
    """Keep what the application is now; its containers are stopped for that, and stay so."""
    if not STATE.exists():
        raise LabError("there is nothing to keep: `lab.py reset` makes a fresh application")
    forget(name)
    project.compose("stop")
    data.keep(volumes(name))
    folder = KEPT / name
    folder.mkdir(parents=True)
    copy_records(STATE, folder / "state")
    (folder / "images.json").write_text(json.dumps(named_images()))
    (folder / "key").write_text(key)


def is_there(name: str, key: str) -> bool:
    """Whether a state of this name was kept with this key, and is whole."""
    try:
        same = (KEPT / name / "key").read_text() == key
    except FileNotFoundError:
        return False
    return same and set(volumes(name).values()) <= data.existing_volumes()


def named_images() -> dict[str, str]:
    """The names that the collection has given to images, and what each means now."""
    rows = [row.split() for row in lines("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")]
    return {reference: image for reference, image in rows if reference.startswith(RECORDED)}


def images(name: str) -> dict[str, str]:
    """The names that the collection had given to images, and what each meant."""
    found: dict[str, str] = json.loads((KEPT / name / "images.json").read_text())
    return found


def restore_images(name: str) -> bool:
    """Give the images the names that they had; False when one of them is gone."""
    there = named_images()
    missing = {reference: image for reference, image in images(name).items() if there.get(reference) != image}
    return all(docker("tag", image, reference, check=False).returncode == 0 for reference, image in missing.items())


def restore_records(name: str) -> None:
    """Make the collection's state folder what it was."""
    shutil.rmtree(STATE, ignore_errors=True)
    copy_records(KEPT / name / "state", STATE)


def forget(name: str) -> None:
    """Remove a state."""
    shutil.rmtree(KEPT / name, ignore_errors=True)
    docker("volume", "rm", "--force", *volumes(name).values())


def copy_records(source: Path, target: Path) -> None:
    """Copy a state folder; images, which are large and never written again, are the same files."""

    def copy(path: str, to: str) -> None:
        if path.endswith(".tar.zst"):
            os.link(path, to)
        else:
            shutil.copy2(path, to)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)
