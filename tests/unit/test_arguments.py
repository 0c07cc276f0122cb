# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that modules share, and the documentation fragments that describe them, say the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.schedgen.rollback.plugins.doc_fragments import application, project
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments

SAID = ("type", "elements", "required", "default", "choices")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (_arguments.APPLICATION, application.ModuleDocFragment.DOCUMENTATION),
        (_arguments.PROJECT, project.ModuleDocFragment.DOCUMENTATION),
        (_arguments.DATABASE, project.ModuleDocFragment.DATABASE),
        (_arguments.RUN, project.ModuleDocFragment.RUN),
    ],
    ids=["application", "project", "database", "run"],
)
def test_said_twice_and_alike(arguments: dict[str, Any], fragment: str) -> None:
    options = yaml.safe_load(fragment)["options"]
    documented = {name: {key: option[key] for key in SAID if key in option} for name, option in options.items()}
    meant = {name: {key: entry[key] for key in SAID if key in entry} for name, entry in arguments.items()}
    assert documented == meant
    assert list(options) == list(arguments)
    for name, option in options.items():
        assert option["description"], name
        assert set(option) <= {*SAID, "description"}, name
    for name, entry in arguments.items():
        # no_log is not documented; it may only say that a path to a secret is none itself.
        assert set(entry) <= {*SAID, "no_log"}, name
        assert entry.get("no_log", False) is False, name


def test_no_argument_stands_in_two_places() -> None:
    groups = (_arguments.APPLICATION, _arguments.PROJECT, _arguments.DATABASE, _arguments.RUN)
    assert len({name for group in groups for name in group}) == sum(len(group) for group in groups)
