# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read from a rendered project and from the engine's inspection of a container."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._compose import (
    Project,
    container_state,
    dependencies,
    only_compose_starts,
)

RENDERED: dict[str, Any] = {
    "services": {
        "proxy": {"depends_on": {"backend": {}}},
        "backend": {"depends_on": {"postgres": {}, "redis": {}}},
        "worker": {"depends_on": {"postgres": {}}},
        "a": {"depends_on": {"b": {}}},
        "b": {"depends_on": {"a": {}}},
        "postgres": {},
        "redis": {"depends_on": None},
        "with-secret": {"secrets": [{"source": "token"}]},
        "with-config": {"configs": [{"source": "settings"}]},
        "with-hook": {"post_start": [{"command": ["true"]}]},
        "without": {"secrets": [], "configs": None},
    }
}


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([], set()),
        (["postgres"], set()),
        (["redis"], set()),
        (["worker"], {"postgres"}),
        (["proxy"], {"backend", "postgres", "redis"}),
        (["proxy", "worker"], {"backend", "postgres", "redis"}),
        (["a"], {"a", "b"}),
        (["unknown"], set()),
    ],
)
def test_dependencies_are_followed_to_their_end(services: list[str], expected: set[str]) -> None:
    assert dependencies(RENDERED, services) == expected


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([], False),
        (["backend", "worker"], False),
        (["worker", "redis", "without"], False),
        (["unknown"], False),
        (["backend", "proxy"], True),
        # Through a service that is not among them.
        (["proxy", "redis"], True),
        (["a"], True),
        (["worker", "with-secret"], True),
        (["with-config"], True),
        (["with-hook"], True),
    ],
)
def test_what_only_compose_can_start(services: list[str], expected: bool) -> None:
    assert only_compose_starts(RENDERED, services) is expected


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        (Project("p", "/srv/a b"), []),
        (Project("p", "/srv/a b", ("c.yaml", "/etc/d.yaml")), ["--file", "/srv/a b/c.yaml", "--file", "/etc/d.yaml"]),
        (Project("p", "/srv/a b", env_files=("x.env",)), ["--env-file", "/srv/a b/x.env"]),
        (Project("p", "/srv/a b", profiles=("debug",)), ["--profile", "debug"]),
    ],
)
def test_the_command_names_the_project_and_its_files(project: Project, expected: list[str]) -> None:
    head = ["docker", "compose", "--project-name", "p", "--project-directory", "/srv/a b"]
    assert project.argv(["up", "--detach"]) == [*head, *expected, "up", "--detach"]


def inspection(**state: Any) -> dict[str, Any]:
    return {
        "Id": "ab12",
        "Name": "/app-web-2",
        "Image": "sha256:11",
        "RestartCount": 4,
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-22T13:15:00.1Z", **state},
        "Config": {
            "Image": "web:v1",
            "Env": ["A=1=2", "NOTHING"],
            "Labels": {
                "com.docker.compose.service": "web",
                "com.docker.compose.container-number": "2",
                "com.docker.compose.config-hash": "cafe",
                "com.docker.compose.project.config_files": "/srv/a.yaml,/srv/b.yaml",
            },
        },
        "NetworkSettings": {"Networks": {"app_default": {"IPAddress": "10.0.0.3"}}},
    }


def test_a_container_is_what_the_engine_says() -> None:
    state = container_state(inspection(Health={"Status": "healthy"}))
    assert (state.name, state.service, state.number, state.restarts) == ("app-web-2", "web", 2, 4)
    assert state.config_files == ("/srv/a.yaml", "/srv/b.yaml")
    assert state.addresses == {"app_default": "10.0.0.3"}
    assert state.environment == {"A": "1=2"}
    assert "environment" not in repr(state)
    assert state.running


@pytest.mark.parametrize(
    ("state", "health"),
    [({}, ""), ({"Health": {"Status": "none"}}, ""), ({"Health": {"Status": "starting"}}, "starting")],
)
def test_no_health_check_is_no_health(state: dict[str, Any], health: str) -> None:
    assert container_state(inspection(**state)).health == health
