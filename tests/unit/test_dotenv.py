# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables in an env file."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._dotenv import names_in, quoted, with_values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("v1.2.1", "v1.2.1"),
        ("postgres://db:5432/shop", "postgres://db:5432/shop"),
        ("a b", "'a b'"),
        ("pa$$word#1", "'pa$$word#1'"),
        ('say "no"', "'say \"no\"'"),
        ("it's", '"it\'s"'),
    ],
)
def test_a_value_is_quoted_where_it_needs_that(value: str, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize("value", ["a\nb", "it's $1", "it's \\", "ends in \\"])
def test_a_value_that_no_quotes_hold_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="KEY: a value"):
        with_values("", {"KEY": value})


@pytest.mark.parametrize("name", ["", "A-B", "1A", "A B", "A=B"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a variable"):
        with_values("", {name: "x"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "TAG=v2\n"),
        ("TAG=v1\n", "TAG=v2\n"),
        ("TAG=v1", "TAG=v2\n"),
        ("# TAG=v0\nTAG=v1 # now\nA=1\n", "# TAG=v0\nTAG=v2\nA=1\n"),
        ("export TAG=v1\nA=1\n", "TAG=v2\nA=1\n"),
        ("TAG: v1\n", "TAG=v2\n"),
        ("MYTAG=v1\n", "MYTAG=v1\nTAG=v2\n"),
        ("TAG=v0\nTAG=v1\n", "TAG=v0\nTAG=v2\n"),
        ("TAG='one\ntwo'\nA=1\n", "TAG=v2\nA=1\n"),
        ('A="x\\"\nTAG=y"\n', 'A="x\\"\nTAG=y"\nTAG=v2\n'),
        ("TAG='never closed\nA=1\n", "TAG=v2\n"),
    ],
)
def test_only_what_was_asked_for_changes(before: str, after: str) -> None:
    assert with_values(before, {"TAG": "v2"}) == after
    assert with_values(after, {"TAG": "v2"}) == after


def test_several_values_at_once() -> None:
    assert with_values("A=1\nB=2\nC=3\n", {"C": "x", "D": "y", "A": "z"}) == "A=z\nB=2\nC=x\nD=y\n"


def test_the_names_of_a_file() -> None:
    assert names_in("# A=1\nB=2\nexport C='x\nD=y'\n\nE\nF=\n") == {"B", "C", "F"}
