# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts in batches, the first one a canary."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._batches import batches


@pytest.mark.parametrize(
    ("hosts", "sizes", "expected"),
    [
        pytest.param("a", [1, "25%", "100%"], ["a"], id="one host"),
        pytest.param("ab", [1, "25%", "100%"], ["a", "b"], id="two hosts"),
        pytest.param("abcdefgh", [1, "25%", "100%"], ["a", "bc", "defgh"], id="a canary, a quarter, the rest"),
        pytest.param("abcde", [2], ["ab", "cd", "e"], id="the last size goes on"),
        pytest.param("abcde", "100%", ["abcde"], id="all at once"),
        pytest.param("abcde", ["1", "2"], ["a", "bc", "de"], id="text, as a survey gives it"),
        pytest.param("abc", ["10%"], ["a", "b", "c"], id="a share is rounded up"),
        pytest.param("", [1], [], id="no host"),
    ],
)
def test_batches(hosts: str, sizes: Any, expected: list[str]) -> None:
    assert ["".join(batch) for batch in batches(list(hosts), sizes)] == expected


@pytest.mark.parametrize("sizes", [[], [0], ["0%"], ["some"], ["-1"], [""]])
def test_what_is_no_batch_is_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match="batch"):
        batches(["a", "b"], sizes)
