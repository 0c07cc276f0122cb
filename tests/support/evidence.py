# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of a healthy application that was just deployed, for tables to change."""

from __future__ import annotations

from typing import Any


def service(name: str, **changed: Any) -> dict[str, Any]:
    """Return what is observed of one service; a healthy one that carries code when nothing is changed."""
    return {
        "service": name,
        "code": True,
        "wanted": 1,
        "running": 1,
        "verdict": "healthy",
        "reason": "",
        "restarts": 0,
        "exit_code": None,
        "oom_killed": False,
        "health_log": [],
        "log_errors": 0,
        "log_sample": "",
        **changed,
    }


def traffic(**changed: Any) -> dict[str, Any]:
    """Return what requests through the front door gave."""
    return {
        "source": "probe",
        "requests": 20,
        "failed": 0,
        "error_rate": 0.0,
        "p95": 0.05,
        "window": 1.0,
        "samples": [],
        **changed,
    }


def schema(verdict: str = "equal", **changed: Any) -> dict[str, Any]:
    """Return the comparison of the live schema with the candidate's."""
    return {
        "verdict": verdict,
        "reasons": [],
        "notes": [],
        "added": [],
        "missing": [],
        "revert": "not needed",
        "revert_reasons": [],
        **changed,
    }


def candidate(**changed: Any) -> dict[str, Any]:
    """Return the restore point to go back to."""
    return {
        "id": "20261122T131500.123Z",
        "label": "v1",
        "created": "2026-11-22T13:15:00Z",
        "parts": ["release", "database"],
        "dump_bytes": 1000,
        "dump_seconds": 2.0,
        "reason": "the newest one that was healthy when taken and is not what runs now",
        "satisfied": False,
        **changed,
    }


def evidence(**changed: Any) -> dict[str, Any]:
    """Return one host's evidence: v2 runs, v1 is the candidate, and everything is well."""
    return {
        "application": "schedgen",
        "host": "app1",
        "observed_at": "2026-11-25T12:00:00Z",
        "seconds": 1.0,
        "reported": {"symptom": "", "reason": "", "since": ""},
        "running": {"release": "feed00000002", "label": "v2", "commit": "", "since": "2026-11-25T11:50:00Z"},
        "candidate": candidate(),
        "passed_over": [],
        "no_candidate": "",
        "services": [service("backend"), service("frontend"), service("postgres", code=False)],
        "health": {"verdict": "healthy", "reasons": [], "checks": []},
        "changed": {"images": ["backend", "frontend"], "files": [], "configuration": [], "commit": ""},
        "schema": schema(),
        "corruption": {"assertions": [], "checksum_failures": 0, "amcheck": None, "rows": []},
        "written": {"tables": [], "rows": 0},
        "traffic": traffic(),
        "durations": [],
        "missing": [],
        **changed,
    }
