# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project is looked at while its containers come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _compose as compose
from ansible_collections.schedgen.rollback.plugins.modules import compose_project_info


def inspected(service: str) -> dict[str, Any]:
    return {
        "Id": service,
        "Name": f"/shop-{service}-1",
        "Image": "sha256:0",
        "Config": {"Image": f"{service}:1", "Labels": {f"{compose.LABEL}service": service}, "Env": []},
        "State": {"Status": "running"},
        "NetworkSettings": {},
    }


def engine_that_lists(*answers: list[str]) -> Any:
    """An engine that lists other services at each look: the fault cannot be timed with a real one."""
    left = list(answers)
    return SimpleNamespace(
        api=SimpleNamespace(
            containers=lambda **_filters: [{"Id": service} for service in left.pop(0)],
            inspect_container=inspected,
        )
    )


@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        (["api", "web"], ["api", "web"], ["api", "web"]),
        (["api", "web"], ["web"], ["web"]),
        (["web"], ["api", "web"], ["web"]),
        (["web"], [], []),
    ],
    ids=["nothing changes", "one goes", "one comes", "all go"],
)
def test_a_service_counts_that_both_looks_have_seen(first: list[str], second: list[str], seen: list[str]) -> None:
    client = engine_that_lists(first, second)
    found = compose_project_info.describe(client, "shop", probe=False, login=False)
    assert [service["name"] for service in found["services"]] == seen
