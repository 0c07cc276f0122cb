# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run, from its journal."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._report import (
    against_window,
    build,
    duration,
    markdown,
    may_still_run,
)

BEGIN = datetime(2026, 11, 22, 13, 15, tzinfo=timezone.utc)
RUN = "20261122T131500.000Z-quick"


def entry(after: float, step: str, status: str, **more: Any) -> dict[str, Any]:
    return {"at": (BEGIN + timedelta(seconds=after)).isoformat(timespec="milliseconds"), "step": step,
            "status": status, **more}  # fmt: skip


STARTED = entry(0, "run", "started", type="quick", owner="ana@laptop", reason="500s on login", window=300)


def report(*journal: dict[str, Any], outcome: str = "success", took: float = 42.5, **facts: Any) -> dict[str, Any]:
    return build(RUN, "schedgen", [STARTED, *journal], outcome, BEGIN + timedelta(seconds=took), facts)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (239.7, "4 min 00 s"),
        (3600, "60 min 00 s"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "window", "told"),
    [
        (42.5, 300, "42.5 s (window 5 min 00 s: met)"),
        (300, 300, "5 min 00 s (window 5 min 00 s: met)"),
        (301, 300, "5 min 01 s (window 5 min 00 s: missed)"),
        (42.5, 0, "42.5 s"),
        (42.5, -1, "42.5 s"),
    ],
)
def test_time_windows(seconds: float, window: float, told: str) -> None:
    assert against_window(seconds, window) == told


def test_plain_data() -> None:
    built = report(entry(1.25, "plan", "done", hash="ab"), entry(40, "switch", "failed", message="no"), lines=["x"])
    assert built == {
        "run": RUN,
        "application": "schedgen",
        "type": "quick",
        "owner": "ana@laptop",
        "reason": "500s on login",
        "started": "2026-11-22T13:15:00.000+00:00",
        "finished": "2026-11-22T13:15:42.500+00:00",
        "seconds": 42.5,
        "window": 300.0,
        "outcome": "success",
        "steps": [
            {"after_s": 0.0, "step": "run", "status": "started", "type": "quick", "owner": "ana@laptop",
             "reason": "500s on login", "window": 300},
            {"after_s": 1.25, "step": "plan", "status": "done", "hash": "ab"},
            {"after_s": 40.0, "step": "switch", "status": "failed", "message": "no"},
        ],
        "lines": ["x"],
    }  # fmt: skip
    assert json.loads(json.dumps(built)) == built


@pytest.mark.parametrize("outcome", ["success", "nothing to do", "failed", "interrupted"])
def test_outcomes(outcome: str) -> None:
    assert report(outcome=outcome)["outcome"] == outcome


def test_an_unknown_outcome() -> None:
    message = "^the outcome 'fine' is not one of success, nothing to do, failed, interrupted$"
    with pytest.raises(ValueError, match=message):
        report(outcome="fine")


@pytest.mark.parametrize("journal", [[], [entry(0, "run", "finished")], [entry(0, "plan", "started")]])
def test_a_journal_without_a_start(journal: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=rf"^the journal of run {RUN} has no start$"):
        build(RUN, "schedgen", journal, "failed", BEGIN, {})


def test_a_clock_that_was_set_back() -> None:
    assert report(took=-5)["seconds"] == 0.0


def test_a_start_that_says_little() -> None:
    built = build(RUN, "schedgen", [entry(0, "run", "started")], "failed", BEGIN, {})
    assert {key: built[key] for key in ("type", "owner", "reason", "window")} == {
        "type": "",
        "owner": "",
        "reason": "",
        "window": 0.0,
    }


def test_for_people() -> None:
    built = report(
        entry(1.25, "plan", "done"),
        entry(2, "images", "done", seconds=0.75),
        entry(40, "switch", "failed", message="backend did not start", seconds=38),
        outcome="failed",
        message="What happened: no\nState: put back\nNext: look",
        rows=[{"label": "Ticket", "value": "OPS-7"}],
        plan={
            "running_label": "v2",
            "running": "b7a9097e6de3",
            "label": "v1",
            "kind": "restore point",
            "target": "20261122T131500.123Z",
            "steps": ["load a", "replace b"],
            "warnings": ["postgres differs"],
            "reasons": ["it was asked for"],
            "rejected": [["revert", "data are damaged"]],
            "stake": ["orders: about 3 inserted"],
        },
        verification={
            "verdict": "unhealthy",
            "reasons": ["login answers 500"],
            "probes": [{"name": "login", "verdict": "unhealthy", "seconds": 0.2, "message": "500", "more": 1}],
        },
    )
    assert (
        markdown(built)
        == """\
# Quick rollback of schedgen: failed

| | |
| --- | --- |
| Run | 20261122T131500.000Z-quick |
| Started by | ana@laptop |
| Reason | 500s on login |
| Started | 2026-11-22T13:15:00.000+00:00 |
| Duration | 42.5 s (window 5 min 00 s: met) |
| From | v2 (b7a9097e6de3) |
| To | v1 (restore point 20261122T131500.123Z) |
| Ticket | OPS-7 |

## What went wrong

```text
What happened: no
State: put back
Next: look
```

## Plan

1. load a
2. replace b

## Reasons

- it was asked for

## Rejected

- revert: data are damaged

## At stake

- orders: about 3 inserted

## Warnings

- postgres differs

## Timeline

| after | step | | |
| --- | --- | --- | --- |
| 0.0 s | run | started |  |
| 1.25 s | plan | done |  |
| 2.0 s | images | done | 0.75 s |
| 40.0 s | switch | failed | backend did not start |

## Verification: unhealthy

- login answers 500

| check | verdict | took | |
| --- | --- | --- | --- |
| login | unhealthy | 0.2 s | 500 |

## Before the rollback

- [x] Identify the issue and root cause: 500s on login
- [x] Determine rollback scope (app, database, full): quick: v2 to v1
- [ ] Take backup of current state: none was taken
- [ ] Notify team of rollback action: nobody was told by this run: set rollback_notify, or tell the team
- [x] Document the issue: this report
- [x] Prepare verification steps: 1 check

## After the rollback

- [ ] Verify System Health: unhealthy: login answers 500; run verify-deployment.yml
- [ ] Monitor Metrics: run ansible-playbook monitor.yml
- [ ] Notify Stakeholders: tell the team and the users
- [x] Document Incident: this report; add what only people know
- [ ] Plan Fix: schedule a fix of v2 and deploy it with its own verification
- [ ] Review Process: look through the lines that are open here, and what took long
"""
    )


def test_a_backup_is_no_rollback() -> None:
    built = build(RUN, "schedgen", [entry(0, "run", "started", type="backup")], "success", BEGIN, {})
    assert markdown(built).startswith("# Backup of schedgen: success\n")


def test_what_is_not_there_has_no_heading() -> None:
    built = build(RUN, "schedgen", [entry(0, "run", "started", type="full")], "success", BEGIN, {})
    text = markdown(built)
    assert "| Started by | unknown |\n| Reason | none given |\n" in text
    assert "| Duration | 0.0 s |\n" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Full rollback of schedgen: success",
        "## Timeline",
        "## Before the rollback",
        "## After the rollback",
    ]


def test_words_of_others_do_not_break_the_tables() -> None:
    built = report(
        entry(1, "switch", "failed", message="docker compose up failed:\na | b\n\nc"),
        reason="v4 | v5\nare slow",
        rows=[{"label": "To", "value": "a|b"}],
        verification={"probes": [{"name": "x|y", "verdict": "healthy", "seconds": 1, "message": "1\n2"}]},
    )
    text = markdown(built)
    assert "| Reason | v4 \\| v5<br>are slow |\n" in text
    assert "| To | a\\|b |\n" in text
    assert "| 1.0 s | switch | failed | docker compose up failed:<br>a \\| b<br><br>c |\n" in text
    assert "| x\\|y | healthy | 1 s | 1<br>2 |\n" in text


def test_a_run_without_the_lock_has_no_target_to_meet() -> None:
    begun = [entry(0, "run", "started", type="monitor", window=600, lock=False)]
    assert build(RUN, "schedgen", begun, "success", BEGIN + timedelta(seconds=601), {})["window"] == 0


def test_a_watch_is_no_rollback() -> None:
    found = markdown(report(outcome="failed") | {"type": "monitor"})
    assert found.startswith("# Monitoring of schedgen: failed\n")


@pytest.mark.parametrize(
    ("begin", "after", "may"),
    [
        # Whoever holds the lock is known by the lock.
        ({}, 1, False),
        ({"lock": True}, 1, False),
        ({"lock": False, "window": 600}, 1, True),
        ({"lock": False, "window": 600}, 899, True),
        ({"lock": False, "window": 600}, 900, False),
        ({"lock": False}, 299, True),
        ({"lock": False}, 300, False),
    ],
)
def test_a_run_without_the_lock_may_still_be_at_work(begin: dict[str, Any], after: float, may: bool) -> None:
    journal = [entry(0, "run", "started", type="monitor", **begin)]
    assert may_still_run(journal, BEGIN + timedelta(seconds=after)) is may


def test_a_run_without_a_start_is_not_at_work() -> None:
    assert not may_still_run([], BEGIN)
