# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator's words point to."""

from __future__ import annotations

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._symptoms import recognise


@pytest.mark.parametrize(
    ("text", "points_to"),
    [
        # the guide's four scenarios, word by word
        ("Application errors", "quick"),
        ("crashes", "quick"),
        ("500 errors", "quick"),
        ("Database errors", "database"),
        ("schema mismatch", "database"),
        ("Service won't start", "configuration"),
        ("connection errors", "configuration"),
        ("Invalid data", "corruption"),
        ("missing records", "corruption"),
        ("Complete system failure", "full"),
        ("multiple component issues", "full"),
        # and their like
        ("v3 answers 500", "quick"),
        ("backend returns 502 since the deploy", "quick"),
        ("the site is slow", "quick"),
        ("checkout times out", "quick"),
        ("timeouts everywhere", "quick"),
        ("bad release", "quick"),
        ("worker ran out of memory", "quick"),
        ("backend keeps restarting", "quick"),
        ("migration failed half-way", "database"),
        ('column "customer" does not exist', "database"),
        ('relation "invoices" does not exist', "database"),
        ("QueryFailedError in every request", "database"),
        ("backend does not start", "configuration"),
        ("backend won\u2019t start", "configuration"),
        ("cannot connect to redis", "configuration"),
        ("wrong password in .env", "configuration"),
        ("connection refused", "configuration"),
        ("data corruption", "corruption"),
        ("jobs are missing", "corruption"),
        ("all rows were deleted", "corruption"),
        ("rows have been deleted", "corruption"),
        ("wrong amounts on invoices", "corruption"),
        ("duplicate records", "corruption"),
        ("everything is down", "full"),
        ("total outage", "full"),
        ("several services are failing", "full"),
        ("INVALID   DATA\nin jobs", "corruption"),
        # nothing that is known
        ("", None),
        ("the logo is blue", None),
        ("v3", None),
    ],
)
def test_words(text: str, points_to: str | None) -> None:
    found = recognise(text)
    assert (found.points_to if found else None) == points_to
