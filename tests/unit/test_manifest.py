# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points and releases as records: ids, names, the manifest there and back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    NOTHING_RUNS,
    FileRecord,
    GitRecord,
    Manifest,
    Release,
    ServiceRelease,
    from_json,
    identifier,
    moment,
    release_from_dict,
    release_to_dict,
    repository_of,
    tag_of,
    to_json,
)

ID = "20261122T131500.123Z"
AT = datetime(2026, 11, 22, 13, 15, 0, 123000, tzinfo=timezone.utc)


def service(image: str = "sha256:aa", reference: str = "registry:5000/app:v1", **more: Any) -> ServiceRelease:
    return ServiceRelease(**{"image_id": image, "reference": reference, "config_hash": "h", "code": True, **more})


def release(**services: ServiceRelease) -> Release:
    return Release(services=services)


FULL = Release(
    services={
        "worker": service(repo_digests=("registry:5000/app@sha256:dd",), replicas=3, mixed=True, states=("running",)),
        "backend": service(files_hash="f", states=("healthy", "starting")),
        "postgres": service("sha256:bb", "postgres:16", code=False),
    },
    name="schedgen",
    src="/opt/schedgen",
    compose_files=("compose.yaml", "/etc/x.yml"),
    env_files=(".env",),
    profiles=("mail",),
    files=(
        FileRecord(".env", "env", "0600", 1000, 1000, 12, "ab", stored="files/project/.env"),
        FileRecord("current", "configuration", "0777", 0, 0, link="releases/ö"),
    ),
    absent=("compose.override.yml",),
    git=GitRecord("c" * 40, "main", "v1-2-gccc", ("a", "b c"), ("ü",)),
    differences=("backend runs with another configuration than the files give",),
)
MANIFEST = Manifest(
    id=ID,
    application="schedgen",
    created="2026-11-22T13:15:00Z",
    purpose="deploy",
    release=FULL,
    health={"verdict": "healthy", "probes": [{"name": "login", "seconds": 0.25}]},
    reason='v7 „Herbst" | 1',
    owner="ana@laptop",
    run="20261122T131459.001Z-backup",
    host="h1",
    seconds=1.5,
    migrations={"tool": "typeorm", "applied": ["A1", "B2"]},
    database={"name": "schedgen", "rows": {"public.users": 12}},
    volumes=({"name": "uploads", "files": 3},),
    checksums={"files/project/.env": {"sha256": "ab", "size": 12}},
    notes=("a note",),
    versions={"docker": "26.1.5"},
)


@pytest.mark.parametrize(
    ("when", "point_id"),
    [
        (AT, ID),
        (AT.replace(microsecond=0), "20261122T131500.000Z"),
        # Milliseconds are cut, not rounded: an id never lies in the future.
        (AT.replace(microsecond=999_999), "20261122T131500.999Z"),
        (AT.astimezone(timezone(timedelta(hours=5, minutes=30))), ID),
        (datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "20261231T233000.000Z"),
    ],
)
def test_identifier(when: datetime, point_id: str) -> None:
    assert identifier(when) == point_id
    assert identifier(moment(point_id)) == point_id


def test_ids_sort_by_age() -> None:
    ids = [identifier(AT + timedelta(milliseconds=step)) for step in (0, 1, 10, 1000, 60_000, 86_400_000 * 40)]
    assert ids == sorted(ids)


@pytest.mark.parametrize("point_id", [ID, f"{ID}-quick", f"{ID}-single"])
def test_moment(point_id: str) -> None:
    assert moment(point_id) == AT


@pytest.mark.parametrize("text", ["", "lost+found", "20261322T131500.123Z", "20261122T131500Z", "20261122-131500.123Z"])
def test_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no id of a restore point or run \(20261122T131500\.123Z\)$") as raised:
        moment(text)
    assert str(raised.value).startswith(f"'{text}' ")


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("postgres", "postgres", ""),
        ("postgres:16", "postgres", "16"),
        ("schedgen/backend:v3", "schedgen/backend", "v3"),
        ("localhost:5000/schedgen/backend", "localhost:5000/schedgen/backend", ""),
        ("localhost:5000/schedgen/backend:v3", "localhost:5000/schedgen/backend", "v3"),
        ("registry:5000/backend@sha256:aa", "registry:5000/backend", ""),
        ("registry:5000/backend:v3@sha256:aa", "registry:5000/backend", ""),
        ("backend@sha256:aa", "backend", ""),
        ("sha256:aa", "sha256", ""),
        ("", "", ""),
    ],
)
def test_references(reference: str, repository: str, tag: str) -> None:
    assert (repository_of(reference), tag_of(reference)) == (repository, tag)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (release(a=service(), b=service()), release(b=service(), a=service()), True),
        (release(a=service()), release(a=service("sha256:bb")), False),
        (release(a=service()), release(a=service(config_hash="i")), False),
        (release(a=service()), release(a=service(), b=service()), False),
        (release(a=service()), release(b=service()), False),
        # Neither its name, nor how many there are, nor what carries no code makes another release.
        (release(a=service()), release(a=service(reference="app:v2", replicas=2, states=("exited",))), True),
        (release(a=service()), release(a=service(), db=service("sha256:cc", code=False)), True),
    ],
)
def test_a_releases_fingerprint(one: Release, other: Release, same: bool) -> None:
    assert (one.id == other.id) is same
    assert len(one.id) == 12


@pytest.mark.parametrize("nothing", [release(), release(db=service(code=False))])
def test_nothing_runs(nothing: Release) -> None:
    assert nothing.id == nothing.label == NOTHING_RUNS


GIT = GitRecord("0123456789abcdef", describe="v2-1-g0123")


@pytest.mark.parametrize(
    ("services", "git", "label"),
    [
        ({"a": service(reference="r:5000/a:v3"), "b": service(reference="r:5000/b:v3")}, GIT, "v3"),
        ({"a": service(reference="r:5000/a:v3"), "b": service(reference="b")}, GIT, "v3"),
        ({"a": service(), "db": service(reference="postgres:16", code=False)}, None, "v1"),
        ({"a": service(reference="a:v3"), "b": service(reference="b:v4")}, GIT, "v2-1-g0123"),
        ({"a": service(reference="a")}, GIT, "v2-1-g0123"),
        ({"a": service(reference="a@sha256:aa")}, GitRecord("0123456789abcdef"), "0123456789ab"),
    ],
)
def test_a_name_for_people(services: dict[str, ServiceRelease], git: GitRecord | None, label: str) -> None:
    assert Release(services=services, git=git).label == label


def test_without_any_name_the_fingerprint_is_one() -> None:
    nameless = release(a=service(reference="sha256:aa"))
    assert nameless.label == nameless.id


def test_clean_and_reproducible() -> None:
    assert GitRecord("c", untracked=("x",)).clean
    assert not GitRecord("c", changed=("x",)).clean
    assert release().reproducible
    assert not FULL.reproducible


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"database": None, "volumes": ()}, ("release",)),
        ({"volumes": ()}, ("release", "database")),
        ({"database": {}}, ("release", "volumes")),
        ({}, ("release", "database", "volumes")),
    ],
)
def test_parts(more: dict[str, Any], parts: tuple[str, ...]) -> None:
    manifest = Manifest(**{**MANIFEST.__dict__, **more})
    assert manifest.parts == parts
    assert json.loads(to_json(manifest))["parts"] == list(parts)


@pytest.mark.parametrize(
    "manifest",
    [MANIFEST, Manifest(ID, "a", "2026-11-22T13:15:00Z", "safety", release(), {"verdict": "inconclusive"})],
    ids=["everything", "nothing but what is needed"],
)
def test_there_and_back(manifest: Manifest) -> None:
    text = to_json(manifest)
    assert from_json(text) == manifest
    assert to_json(from_json(text)) == text


def test_readers_find_what_is_derived() -> None:
    document = json.loads(to_json(MANIFEST))
    assert document["schema"] == 1
    assert {key: document["release"][key] for key in ("id", "label", "reproducible")} == {
        "id": FULL.id,
        "label": "v1",
        "reproducible": False,
    }
    assert to_json(MANIFEST).endswith("}\n")
    assert "ü" in to_json(MANIFEST)


def without(*path: str, **put: Any) -> str:
    """The manifest's text with one entry taken out, or put in its place."""
    document = json.loads(to_json(MANIFEST))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if put:
        inner[path[-1]] = put["value"]
    else:
        del inner[path[-1]]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the manifest is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (to_json(MANIFEST)[:10], "the manifest is no JSON: "),
        ("[]", "the manifest's schema is None, this collection reads schema 1"),
        ("{}", "the manifest's schema is None, this collection reads schema 1"),
        (without("schema", value=2), "the manifest's schema is 2, this collection reads schema 1"),
        (without("id"), "the manifest cannot be read: KeyError('id')"),
        (without("id", value="x"), "'x' is no id of a restore point or run (20261122T131500.123Z)"),
        (without("id", value=1), "the manifest cannot be read: TypeError("),
        (without("purpose", value="party"), "the manifest's purpose 'party' is unknown"),
        (without("notes"), "the manifest cannot be read: KeyError('notes')"),
        (without("volumes", value=None), "the manifest cannot be read: TypeError("),
        (without("health", value=None), "the manifest's health is no object"),
        (without("checksums", value=[]), "the manifest's checksums is no object"),
        (without("release", value=None), "the release in the manifest cannot be read: AttributeError("),
        (without("release", "services"), "the release in the manifest cannot be read: KeyError('services')"),
        (without("release", "services", "backend", "image_id"), "the release in the manifest cannot be read: TypeErr"),
        (without("release", "services", "backend", "colour", value=1), "the release in the manifest cannot be read: "),
        (without("release", "git", "commit"), "the release in the manifest cannot be read: KeyError('commit')"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^the manifest|^the release|^'x'") as raised:
        from_json(text)
    assert str(raised.value).startswith(message)


def test_a_manifest_cut_anywhere_is_refused() -> None:
    text = to_json(MANIFEST).rstrip()
    for length in range(0, len(text), 37):
        with pytest.raises(ValueError, match=r"^the manifest is no JSON"):
            from_json(text[:length])


def test_a_release_there_and_back() -> None:
    data = release_to_dict(FULL)
    assert data == json.loads(json.dumps(data))
    assert list(data["services"]) == ["backend", "postgres", "worker"]
    assert release_from_dict(data) == FULL
