# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared feature switches: the smallest fix of a release. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Where a feature can be switched to, and the key that says how.
WAYS = {"off": "turn_off", "on": "turn_on"}
_KEYS = {"command", "url", "method", "headers", "body", "status", "timeout"}


@dataclass(frozen=True)
class Action:
    """What switches a feature: a command's words, or a request. ``timeout`` is in seconds."""

    command: tuple[str, ...] = ()
    url: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)
    status: tuple[int, ...] = (200, 201, 202, 204)
    timeout: float = 30.0


def fitting(switches: Sequence[Mapping[str, Any]], words: str) -> list[Mapping[str, Any]]:
    """Return the declared switches one of whose symptoms is in what was reported."""
    return [
        switch
        for switch in switches
        if any(str(symptom).lower() in words.lower() for symptom in switch.get("symptoms") or ())
    ]


def command_for(switch: Mapping[str, Any]) -> str:
    """Return what an operator does to turn a feature off: a command where the switch says how, else words."""
    if switch.get("turn_off"):
        return f"turn off {switch['name']}: ansible-playbook feature-switch.yml -e rollback_feature={switch['name']}"
    return f"turn off {switch['name']}"


def action(switches: Sequence[Mapping[str, Any]], name: str, to: str) -> Action:
    """Return what switches a declared feature on or off. Raises ValueError where nothing usable is declared."""
    known = {str(switch.get("name", "")): switch for switch in switches}
    if name not in known:
        raise ValueError(
            f"no feature switch '{name}' is declared in rollback_feature_switches: {', '.join(sorted(known)) or 'none'}"
        )
    if to not in WAYS:
        raise ValueError(f"a feature is switched {' or '.join(WAYS)}, and not '{to}'")
    declared = known[name].get(WAYS[to])
    if not declared:
        raise ValueError(f"nothing is declared that switches {name} {to} ({WAYS[to]})")
    if not isinstance(declared, Mapping):
        raise ValueError(f"{WAYS[to]} of {name} has to have 'command' or 'url'")
    unknown = sorted(set(declared) - _KEYS)
    if unknown:
        raise ValueError(f"{WAYS[to]} of {name}: unknown {', '.join(unknown)} (known: {', '.join(sorted(_KEYS))})")
    if bool(declared.get("command")) is bool(declared.get("url")):
        raise ValueError(f"{WAYS[to]} of {name} has to have either 'command' or 'url'")
    command = declared.get("command") or ()
    if any(isinstance(word, bool) for word in command):
        raise ValueError(
            f"{WAYS[to]} of {name}: a word of 'command' is a truth value in YAML: put quotes around off and on"
        )
    if isinstance(command, str) or not all(isinstance(word, (str, int, float)) for word in command):
        raise ValueError(f"{WAYS[to]} of {name}: 'command' is a list of words, without a shell")
    status = declared.get("status", Action.status)
    try:
        codes = tuple(int(code) for code in (status if isinstance(status, (list, tuple)) else [status]))
        timeout = float(declared.get("timeout", Action.timeout))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{WAYS[to]} of {name}: {error}") from error
    if not 0 < timeout <= 3600:
        raise ValueError(f"{WAYS[to]} of {name}: a timeout is between 0 and 3600 seconds")
    return Action(
        command=tuple(str(word) for word in command),
        url=str(declared.get("url", "")),
        method=str(declared.get("method", Action.method)).upper(),
        headers={str(key): str(value) for key, value in (declared.get("headers") or {}).items()},
        body=declared.get("body"),
        status=codes,
        timeout=timeout,
    )
