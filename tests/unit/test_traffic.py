# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a handful of requests says, as tables."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _traffic as traffic
from ansible_collections.schedgen.rollback.plugins.module_utils._traffic import Sample, Traffic

GOOD = Sample("http://a/", 0.1, 200)


@pytest.mark.parametrize(
    ("sample", "observed", "failed"),
    [
        (Sample("a", 0.1, 200), True, False),
        (Sample("a", 0.1, 404), True, False),
        (Sample("a", 0.1, 499), True, False),
        (Sample("a", 0.1, 500), True, True),
        (Sample("a", 0.1, 503), True, True),
        (Sample("a", 0.1, trouble="refused"), True, True),
        (Sample("a", 5.0, trouble="timeout"), True, True),
        (Sample("a", 0.1, trouble="broken"), True, True),
        (Sample("a", 0.1, trouble="tls"), True, True),
        # The observer's own fault says nothing about the application.
        (Sample("a", 0.1, trouble="unresolved"), False, False),
        (Sample("a", 0.1, trouble="cut"), False, False),
        (Sample("a", 0.1, trouble="unavailable"), False, False),
        (Sample("a", 0.1), False, False),
    ],
)
def test_a_sample(sample: Sample, observed: bool, failed: bool) -> None:
    assert (sample.observed, sample.failed) == (observed, failed)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], Traffic()),
        ([GOOD], Traffic(1, 0, 0, 0.0, 0.1)),
        ([GOOD, Sample("a", 0.3, 500)], Traffic(2, 1, 0, 0.5, 0.3)),
        # A refused connection has no latency, and what was not observed has no rate.
        ([GOOD, Sample("a", 9.0, trouble="timeout")], Traffic(2, 1, 0, 0.5, 0.1)),
        ([Sample("a", 0.0, trouble="refused")] * 3, Traffic(3, 3, 0, 1.0, None)),
        ([GOOD, Sample("a", 0.0, trouble="cut")], Traffic(1, 0, 1, 0.0, 0.1)),
        ([Sample("a", 0.0, trouble="unresolved")] * 2, Traffic(0, 0, 2, None, None)),
    ],
)
def test_a_summary(samples: list[Sample], expected: Traffic) -> None:
    assert traffic.summarise(samples) == expected


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.95, None),
        ([3.0], 0.95, 3.0),
        ([2.0, 1.0], 0.5, 1.0),
        ([float(number) for number in range(1, 21)], 0.95, 19.0),
        ([float(number) for number in range(1, 101)], 0.95, 95.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
    ],
)
def test_a_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert traffic.percentile(values, share) == expected


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        traffic.percentile([1.0], share)
