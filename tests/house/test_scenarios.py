# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every molecule scenario tries something in `make test`: one whose cases are all left out would pass without a try."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_case_is_tried_by_make_test(scenario: Path) -> None:
    (play,) = yaml.safe_load((scenario / "converge.yml").read_text())
    assert [case["name"] for case in play["vars"]["cases"] if not case.get("thorough")]


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) > 5
