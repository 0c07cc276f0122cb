# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Python libraries that a host may lack, imported when they are used. Private to this collection."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils._failure import Expected

# What installs them; the installed collection's name for it is schedgen.rollback.prepare_hosts.
NEXT_STEP = "ansible-playbook prepare-hosts.yml"


class MissingLibrary(Expected):
    """A Python library that a module needs cannot be imported on this host."""

    next_step = f"Run {NEXT_STEP}, then this again."

    def __init__(self, name: str, interpreter: str = "", reason: str = "") -> None:
        """Remember which library is missing, and for which interpreter."""
        self.name = name
        self.interpreter = interpreter or sys.executable or "the host's Python"
        self.reason = reason
        because = f" ({reason})" if reason else ""
        super().__init__(
            f"the Python library {name} cannot be imported by {self.interpreter} on this host{because}; "
            f"install it with: {NEXT_STEP}"
        )


def docker() -> Any:
    """Return the library that talks to Docker Engine."""
    return _load("docker")


def psycopg2() -> Any:
    """Return the library that talks to PostgreSQL."""
    return _load("psycopg2")


def requests() -> Any:
    """Return the library that sends HTTP requests."""
    return _load("requests")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibrary(name, reason=str(error)) from error
