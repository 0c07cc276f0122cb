# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a molecule scenario's cases wrote down (scenario_case.py), for its tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

CODE_SERVICES = ("backend", "frontend", "pdf-worker")
STATE = f"{os.environ.get('SCHEDGEN_DEMO_DIR', '/opt/schedgen-demo')}/state/schedgen"


class Case:
    """One case: what ran before, after the deployment, after the playbook and after its second run."""

    def __init__(self, name: str) -> None:
        path = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "cases", f"{name}.json")
        # A case that was not tried although it was chosen has failed the scenario before its tests begin.
        if not path.exists() and os.environ.get("ROLLBACK_TESTS_CASE", "") not in ("", name):
            pytest.skip("another case was asked for")
        if not path.exists() and os.environ.get("ROLLBACK_TESTS") != "thorough":
            pytest.skip("left to make test-all")
        self.found: dict[str, Any] = json.loads(path.read_text())
        self.rc: int = self.found["rc"]
        self.text = " ".join(str(self.found["screen"]).split())
        self.again_rc: int = self.found["again_rc"]
        self.again_text = " ".join(str(self.found["again_screen"]).split())
        self.ledger: dict[str, Any] = self.found["ledger"]

    def code(self, moment: str) -> dict[str, list[str]]:
        """Return the running images of the code services at a moment: before, deployed, after, after_again."""
        images: dict[str, list[str]] = self.found[moment]["images"]
        return {service: images.get(service, []) for service in CODE_SERVICES}

    def at(self, moment: str, what: str) -> Any:
        """Return what was found at a moment: unhealthy, containers, commit, points, outcomes, leftovers."""
        return self.found[moment][what]
