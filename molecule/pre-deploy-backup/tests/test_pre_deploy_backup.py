# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore point says what ran, how it was, and holds what it says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.scenario import STATE, Case

ALL = ["healthy", "unhealthy", "retention", "release-only"]


def newest_manifest(host: Any) -> dict[str, Any]:
    folder = f"{STATE}/restore_points"
    newest = sorted(name for name in host.file(folder).listdir() if not name.startswith("."))[-1]
    manifest: dict[str, Any] = json.loads(host.file(f"{folder}/{newest}/manifest.json").content_string)
    return manifest | {"folder": f"{folder}/{newest}"}


@pytest.mark.parametrize("name", ALL)
def test_it_succeeds_and_touches_nothing_that_runs(name: str) -> None:
    case = Case(name)
    assert (case.rc, case.again_rc) == (0, 0), case.text
    if name != "unhealthy":
        assert case.at("after_again", "containers") == case.at("before", "containers")
        assert case.ledger["failed"] == 0


def test_the_application_was_judged() -> None:
    assert "healthy: 7 of 7 checks" in Case("healthy").text
    assert "unhealthy" not in Case("healthy").text
    _before, found, reasons = Case("unhealthy").text.partition("The application was unhealthy: ")
    assert found
    assert "backend" in reasons.split("DONE")[0]


def test_the_retention_keeps_what_it_says() -> None:
    points = Case("retention").at("after", "points")
    assert len(points) == 1


def test_each_run_makes_one_restore_point() -> None:
    case = Case("healthy")
    assert [len(case.at(moment, "points")) for moment in ("before", "after", "after_again")] == [0, 1, 2]


def test_the_newest_one_holds_what_its_manifest_says(host: Any) -> None:
    manifest = newest_manifest(host)
    assert manifest["parts"] == ["release", "database", "volumes"]
    for path, recorded in manifest["checksums"].items():
        assert host.file(f"{manifest['folder']}/{path}").sha256sum == recorded["sha256"]


def test_a_restore_point_of_the_release_has_no_dump() -> None:
    assert re.search(r"Restore point \S+ \(release, volumes\)", Case("release-only").text)


def test_images_that_no_registry_has_are_in_the_image_store(host: Any) -> None:
    services = newest_manifest(host)["release"]["services"]
    folder = f"{STATE}/images"
    stored = {name.split(".")[0] for name in host.file(folder).listdir()}
    assert services["pdf-worker"]["repo_digests"] == []
    assert services["pdf-worker"]["image_id"].removeprefix("sha256:") in stored
    assert services["backend"]["image_id"].removeprefix("sha256:") not in stored
