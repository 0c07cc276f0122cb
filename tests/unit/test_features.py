# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared feature switches."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._features import Action, action, command_for, fitting

EDITOR = {"name": "editor", "symptoms": ["Editor", "cannot save"], "turn_off": {"command": ["flag", "editor", 0]}}
PAYMENT = {"name": "payment", "symptoms": ["payment"]}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("the EDITOR is slow", ["editor"]),
        ("payment, and users cannot save", ["editor", "payment"]),
        ("", []),
        ("x", []),
    ],
)
def test_a_switch_fits_by_its_symptoms(words: str, names: list[str]) -> None:
    assert [switch["name"] for switch in fitting([EDITOR, PAYMENT, {"name": "bare"}], words)] == names


def test_only_a_switch_that_can_be_switched_has_a_command() -> None:
    assert "feature-switch.yml -e rollback_feature=editor" in command_for(EDITOR)
    assert command_for(PAYMENT) == "turn off payment"


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ({"command": ["flag", "editor", 0]}, Action(command=("flag", "editor", "0"))),
        ({"url": "http://h/f"}, Action(url="http://h/f", method="POST")),
        (
            {
                "url": "http://h/f",
                "method": "put",
                "body": {"on": False},
                "headers": {"X": 1},
                "status": 204,
                "timeout": 5,
            },
            Action(url="http://h/f", method="PUT", headers={"X": "1"}, body={"on": False}, status=(204,), timeout=5.0),
        ),
    ],
)
def test_what_is_declared_is_read(declared: dict[str, Any], wanted: Action) -> None:
    assert action([{"name": "editor", "turn_off": declared}], "editor", "off") == wanted


@pytest.mark.parametrize(
    ("name", "to", "declared", "why"),
    [
        ("other", "off", {"command": ["x"]}, "no feature switch 'other' is declared.*: editor"),
        ("editor", "up", {"command": ["x"]}, "switched off or on, and not 'up'"),
        ("editor", "on", {"command": ["x"]}, "nothing is declared that switches editor on"),
        ("editor", "off", "flag off", "has to have 'command' or 'url'"),
        ("editor", "off", {"status": 200}, "either 'command' or 'url'"),
        ("editor", "off", {"command": ["x"], "url": "http://h"}, "either 'command' or 'url'"),
        ("editor", "off", {"command": "flag off"}, "a list of words, without a shell"),
        ("editor", "off", {"command": ["flag", "editor", False]}, "put quotes around off and on"),
        ("editor", "off", {"cmd": ["x"]}, "unknown cmd"),
        ("editor", "off", {"url": "http://h", "status": ["ok"]}, "invalid literal"),
        ("editor", "off", {"url": "http://h", "timeout": 0}, "between 0 and 3600"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, to: str, declared: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        action([{"name": "editor", "turn_off": declared}], name, to)


def test_nothing_is_declared() -> None:
    with pytest.raises(ValueError, match="rollback_feature_switches: none"):
        action([], "editor", "off")
