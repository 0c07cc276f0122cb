# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch before it is done: its hash, its sentences, what it replaces, what an operator's words mean."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Judgement
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    FileRecord,
    GitRecord,
    Release,
    ServiceRelease,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._plan import (
    Image,
    Plan,
    data_at_risk,
    full_reference,
    parse_images,
    plan_from_dict,
    plan_to_dict,
    services_to_replace,
    target_release,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NOTHING = Plan(
    application="schedgen",
    kind="restore point",
    target="20261122T131500.123Z",
    label="v3",
    running="0123456789ab",
    running_label="v4",
    images=(Image("backend", A, "present", "r:5000/backend:v3", A),),
    commit="",
    ref="",
    files=(),
    replace=(),
    start_first=("frontend",),
    start=(),
    remove=(),
    scale=(("backend", 1),),
    schema=Judgement("equal"),
)
FULL = replace(
    NOTHING,
    images=(
        Image("backend", A, "registry", "r:5000/backend:v3", B),
        Image("frontend", A, "present", "r:5000/frontend:v3", A),
        Image("pdf-worker", B, "store", "pdf-worker", ""),
        Image("mailer", B, "store", "pdf-worker", ""),
    ),
    commit="c" * 40,
    ref="main",
    files=((".env", "write"), ("override.yml", "set aside")),
    replace=("backend", "frontend", "pdf-worker"),
    start=("redis",),
    remove=("beta",),
    scale=(("backend", 2), ("frontend", 1)),
    schema=Judgement("incompatible", ("x",), ("y",), ("A1",), ("B2",)),
    warnings=("postgres runs otherwise than recorded",),
)


def test_steps_in_the_order_in_which_they_happen() -> None:
    assert FULL.sentences() == [
        "load from the image store: pdf-worker, mailer",
        "pull from the registry by digest: backend",
        "check out main in the project's folder",
        "write file .env",
        "set aside file override.yml",
        "let r:5000/backend:v3 mean aaaaaaaaaaaa",
        "let pdf-worker mean bbbbbbbbbbbb",
        "start what does not run: redis",
        "replace the containers of backend, pdf-worker",
        "replace frontend start-first: the new one answers before the old one stops",
        "remove what this release does not have: beta",
    ]


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({}, []),
        ({"commit": "c" * 40}, ["check out cccccccccccc in the project's folder"]),
        # Start-first is a wish for the case that the service is replaced.
        ({"start_first": ("frontend", "backend")}, []),
        ({"replace": ("frontend",)},
         ["replace frontend start-first: the new one answers before the old one stops"]),
        ({"replace": ("backend",)}, ["replace the containers of backend"]),
    ],
)  # fmt: skip
def test_no_step_without_need(change: dict[str, Any], sentences: list[str]) -> None:
    assert replace(NOTHING, **change).sentences() == sentences


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({}, False),
        ({"warnings": ("x",), "schema": Judgement("incompatible", ("x",))}, False),
        ({"images": (Image("backend", A, "present", "r", B),)}, True),
        ({"images": (Image("backend", A, "present", "r", ""),)}, True),
        ({"commit": "c"}, True),
        ({"files": ((".env", "write"),)}, True),
        ({"replace": ("backend",)}, True),
        ({"start": ("redis",)}, True),
        ({"remove": ("beta",)}, True),
    ],
)
def test_whether_it_changes_anything(change: dict[str, Any], changed: bool) -> None:
    plan = replace(NOTHING, **change)
    assert plan.changed is changed
    assert bool(plan.sentences()) is changed


def test_the_hash_is_the_same_for_the_same_plan_in_every_process() -> None:
    assert replace(FULL).hash == FULL.hash
    # A constant: an approval is given in one process and checked in another, perhaps with another Python.
    assert (NOTHING.hash, FULL.hash) == ("9eb0638f8c0c", "cb5cdb56effb")


@pytest.mark.parametrize("name", [field.name for field in fields(Plan)])
def test_the_hash_covers_every_field(name: str) -> None:
    value = getattr(FULL, name)
    other: Any = f"{value}x" if isinstance(value, str) else Judgement("equal") if name == "schema" else ()
    assert replace(FULL, **{name: other}).hash != FULL.hash


@pytest.mark.parametrize("plan", [NOTHING, FULL])
def test_there_and_back_through_json(plan: Plan) -> None:
    data = json.loads(json.dumps(plan_to_dict(plan)))
    assert (data["hash"], data["changed"], data["steps"]) == (plan.hash, plan.changed, plan.sentences())
    assert plan_from_dict(data) == plan


def test_a_plan_that_was_altered_is_refused() -> None:
    data = {**plan_to_dict(FULL), "target": "20260101T000000.000Z"}
    altered = replace(FULL, target="20260101T000000.000Z")
    message = f"the plan is not the one that was prepared: its hash is {altered.hash} and not {FULL.hash}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        plan_from_dict(data)


@pytest.mark.parametrize("name", ["hash", "images", "schema", "warnings"])
def test_a_plan_with_something_missing_is_refused(name: str) -> None:
    data = plan_to_dict(FULL)
    del data[name]
    with pytest.raises(ValueError, match=rf"^the plan cannot be read: KeyError\('{name}'\)$"):
        plan_from_dict(data)


NOW = ServiceRelease(A, "r:v3", config_hash="h", code=True, states=("healthy",))
THEN = ServiceRelease(A, "r:v3", config_hash="h", code=True)
IMAGE = Image("backend", A, "present", "r:v3", A)


@pytest.mark.parametrize(
    ("now", "then", "exact", "replaced"),
    [
        (NOW, THEN, True, False),
        (replace(NOW, states=("running", "healthy"), replicas=2), replace(THEN, replicas=2), True, False),
        (None, THEN, True, True),
        (replace(NOW, mixed=True), THEN, True, True),
        (replace(NOW, image_id=B), THEN, False, True),
        (replace(NOW, replicas=2), THEN, False, True),
        (replace(NOW, states=("healthy", "exited")), THEN, False, True),
        (replace(NOW, states=("unhealthy",)), THEN, False, True),
        (replace(NOW, states=("starting",)), THEN, False, True),
        (replace(NOW, config_hash="i"), THEN, True, True),
        # A target that knows its images only does not compare the configuration.
        (replace(NOW, config_hash="i"), THEN, False, False),
        # What the recorded files give counts: they are what the containers are made from.
        (NOW, replace(THEN, files_hash="i"), True, True),
        (replace(NOW, config_hash="i"), replace(THEN, files_hash="i"), True, False),
    ],
)
def test_what_is_replaced(now: ServiceRelease | None, then: ServiceRelease, exact: bool, replaced: bool) -> None:
    running = {} if now is None else {"backend": now}
    assert services_to_replace(running, {"backend": then}, [IMAGE], exact) == (("backend",) if replaced else ())


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("backend=v3", {"backend": "v3"}),
        (" backend = v3 , frontend=r:5000/f:v2", {"backend": "v3", "frontend": "r:5000/f:v2"}),
        ("backend=sha256:aa", {"backend": "sha256:aa"}),
        ("backend=r:5000/b@sha256:aa", {"backend": "r:5000/b@sha256:aa"}),
    ],
)
def test_images_named_by_an_operator(text: str, images: dict[str, str]) -> None:
    assert parse_images(text) == images


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not of the form service=tag, service=sha256:… or service=image"),
        ("v3", "'v3' is not of the form service=tag, service=sha256:… or service=image"),
        ("backend=", "'backend=' is not of the form service=tag, service=sha256:… or service=image"),
        ("=v3", "'=v3' is not of the form service=tag, service=sha256:… or service=image"),
        ("backend=v3,", "'' is not of the form service=tag, service=sha256:… or service=image"),
        ("backend=v3,backend=v4", "service 'backend' is named twice"),
        ("backend=v3, backend =v3", "service 'backend' is named twice"),
    ],
)
def test_images_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"form|twice") as raised:
        parse_images(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("wanted", "present", "whole"),
    [
        ("v3", "backend:v4", "backend:v3"),
        ("v3", "backend", "backend:v3"),
        ("v3", "r:5000/s/backend:v4", "r:5000/s/backend:v3"),
        ("v3", "r:5000/s/backend", "r:5000/s/backend:v3"),
        ("v3", "r:5000/s/backend@sha256:bb", "r:5000/s/backend:v3"),
        ("v3", "r:5000/s/backend:v4@sha256:bb", "r:5000/s/backend:v3"),
        ("sha256:aa", "r:5000/s/backend:v4", "r:5000/s/backend@sha256:aa"),
        ("sha256:aa", "r:5000/s/backend:v4@sha256:bb", "r:5000/s/backend@sha256:aa"),
        ("other:v1", "r:5000/s/backend:v4", "other:v1"),
        ("q:5000/other", "backend:v4", "q:5000/other"),
        ("q:5000/other@sha256:aa", "backend:v4", "q:5000/other@sha256:aa"),
        ("other@sha256:aa", "backend:v4", "other@sha256:aa"),
    ],
)
def test_whole_references(wanted: str, present: str, whole: str) -> None:
    assert full_reference(wanted, present) == whole


def test_a_target_that_no_restore_point_describes() -> None:
    running = Release(
        services={"backend": NOW},
        name="schedgen",
        src="/opt/schedgen",
        compose_files=("compose.yaml",),
        env_files=(".env",),
        profiles=("mail",),
        files=(FileRecord(".env", "env", "0600", 0, 0),),
        absent=("x",),
        git=GitRecord("c"),
        differences=("y",),
    )
    images = {"backend": replace(NOW, image_id=B)}
    assert target_release(running, images) == Release(
        services=images,
        name="schedgen",
        src="/opt/schedgen",
        compose_files=("compose.yaml",),
        env_files=(".env",),
        profiles=("mail",),
    )


@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        ("redis:7.2", "redis:7.0", ""),
        ("redis:7.2", "redis:6.2", "its data were written by version 7"),
        ("registry.example/redis:v8", "registry.example/redis:v7", "its data were written by version 8"),
        ("minio:latest", "minio:2024", ""),
        ("redis:7-alpine", "redis:7", "its data were written with the C library musl, and redis:7 has glibc"),
        ("redis:7-bookworm", "redis:7-alpine", "its data were written with the C library glibc"),
        ("proxy:a", "other:alpine", ""),
        ("redis@sha256:aa", "redis@sha256:bb", ""),
    ],
)
def test_another_image_on_data_that_stay(now: str, then: str, words: str) -> None:
    told = data_at_risk(now, then)
    assert bool(told) is bool(words)
    assert words in told
