# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What observations amount to: requests, rows, files, queries."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._evidence_rules import (
    Sample,
    changed_keys,
    failed,
    largest,
    rows,
    traffic,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._traffic import percentile

URL = "http://front/"


@pytest.mark.parametrize(
    ("sample", "statuses", "is_failure"),
    [
        (Sample(URL, 200, 0.1), ["5xx"], False),
        (Sample(URL, 404, 0.1), ["5xx"], False),
        (Sample(URL, 404, 0.1), ["5xx", "404"], True),
        (Sample(URL, 404, 0.1), ["4xx"], True),
        (Sample(URL, 499, 0.1), ["5xx"], False),
        (Sample(URL, 500, 0.1), ["5xx"], True),
        (Sample(URL, 599, 0.1), ["5xx"], True),
        (Sample(URL, None, 0.1, "ConnectionError"), ["5xx"], True),
        # Nobody knows what it would have answered.
        (Sample(URL, None, 2.0, open=True), ["5xx"], False),
    ],
)
def test_what_is_a_failure(sample: Sample, statuses: list[str], is_failure: bool) -> None:
    assert failed(sample, statuses) is is_failure


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.95, None),
        ([3.0], 0.95, 3.0),
        (range(1, 101), 0.95, 95),
        (range(1, 21), 0.95, 19),
        (range(1, 20), 0.95, 19),
        ([5.0, 1.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
    ],
)
def test_percentiles(values: Any, share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_requests_are_summed_up() -> None:
    samples = [Sample(URL, 200, 0.1)] * 7 + [Sample(URL, 500, 0.2)] * 2 + [Sample(URL, None, 1.5, open=True)]
    assert traffic(samples, 1.504) == {
        "source": "probe",
        "requests": 10,
        "failed": 2,
        "error_rate": 0.2,
        "p95": 1.5,
        "window": 1.5,
        "samples": [f"{URL}: 500"],
    }


def test_no_request_is_no_traffic() -> None:
    assert traffic([], 1.0) is None


def test_kinds_of_failures_are_named_once_and_not_all() -> None:
    samples = [Sample(URL, status, 0.1) for status in (500, 500, 502, 503, 504)]
    found = traffic(samples, 1.0)
    assert found is not None
    assert found["samples"] == [f"{URL}: 500", f"{URL}: 502", f"{URL}: 503"]


THEN = {"public.jobs": 100, "public.events": 1000, "audit.log": 10}


@pytest.mark.parametrize(
    ("found", "limits", "told"),
    [
        (THEN, {}, []),
        ({**THEN, "public.jobs": 200}, {}, []),
        ({**THEN, "public.jobs": 90}, {}, [("public.jobs", 90, "10 %", False)]),
        ({**THEN, "public.jobs": 89}, {}, [("public.jobs", 89, "10 %", True)]),
        ({**THEN, "public.jobs": 99}, {"default": 0}, [("public.jobs", 99, "0 %", True)]),
        ({**THEN, "public.jobs": 50}, {"jobs": 0.5}, [("public.jobs", 50, "50 %", False)]),
        ({**THEN, "public.jobs": 49}, {"public.jobs": "0.5"}, [("public.jobs", 49, "50 %", True)]),
        ({**THEN, "public.jobs": 95}, {"jobs": 5}, [("public.jobs", 95, "5 rows", False)]),
        ({**THEN, "public.jobs": 94}, {"jobs": 5}, [("public.jobs", 94, "5 rows", True)]),
        # A table that is gone has lost all.
        ({"public.jobs": 100, "public.events": 1000}, {}, [("audit.log", 0, "10 %", True)]),
        ({**THEN, "new": 5}, {}, []),
    ],
)
def test_rows(found: dict[str, int], limits: dict[str, Any], told: list[tuple[str, int, str, bool]]) -> None:
    seen = rows(THEN, found, limits)
    assert [(entry["table"], entry["now"], entry["limit"], entry["exceeded"]) for entry in seen] == told


@pytest.mark.parametrize(("value", "words"), [("many", "which is no number"), (-1, "has to be 0 or more")])
def test_what_is_no_limit(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rows({"jobs": 2}, {"jobs": 1}, {"jobs": value})


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ("", "", []),
        ("A=1\nB=2\n", "A=1\nB=2\n", []),
        ("A=1\n", "A=2\n", ["A"]),
        ("A=1\n", "", ["A"]),
        ("", "export A=1\n", ["A"]),
        ("# A=1\n", "# A=2\n", []),
        ("A=1\n# old\n", "A=1\n# new\n", []),
        ("image: one\nports:\n  - 80\n", "image: two\nports:\n  - 80\n", ["image"]),
        ("server:\n  name: a\n", "server:\n  name: b\n", ["name"]),
        ('{"level": "info"}\n', '{"level": "debug"}\n', []),
        ('  "level": "info",\n', '  "level": "debug",\n', ["level"]),
        ("PASSWORD=secret\n", "PASSWORD=other\n", ["PASSWORD"]),
        ("A=1\nA=2\n", "A=2\nA=1\n", ["A"]),
    ],
)
def test_keys_and_never_values(before: str, after: str, keys: list[str]) -> None:
    assert changed_keys(before, after) == keys


@pytest.mark.parametrize(
    ("values", "value"),
    [
        ([], None),
        ([0.25], 0.25),
        ([0.25, 0.5], 0.5),
        ([float("nan")], None),
        (["+Inf", None, "x", "0.1"], 0.1),
    ],
)
def test_the_value_of_a_query(values: list[Any], value: float | None) -> None:
    assert largest(values) == value
