# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import explain


def test_three_parts_one_line_each() -> None:
    assert explain("the disk is full", "nothing was changed", "free 2 GB, then run again") == (
        "What happened: the disk is full\nState: nothing was changed\nNext: free 2 GB, then run again"
    )


def test_surrounding_blanks_are_dropped() -> None:
    assert explain(" a\n", " b ", "\tc") == "What happened: a\nState: b\nNext: c"


@pytest.mark.parametrize(
    ("parts", "missing"),
    [(("", "b", "c"), "What happened"), (("a", " ", "c"), "State"), (("a", "b", "\n"), "Next")],
)
def test_an_empty_part_is_refused(parts: tuple[str, str, str], missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        explain(*parts)
