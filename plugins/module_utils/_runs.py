# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier runs did, read from their journals. Private to this collection."""

from __future__ import annotations

from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store

# The plan of the database in a run's folder, where one is part of the run.
DATABASE_PLAN = "database_plan.json"


def interrupted_target(store: Store) -> str:
    """Return the restore point that the last switch went to, where it neither ended nor was put back; else ''."""
    for run in reversed(store.runs()):
        switches = [entry for entry in store.read_journal(run) if entry["step"] == "switch"]
        if switches:
            last = switches[-1]
            over = last["status"] == "done" or (last["status"] == "failed" and last.get("put_back"))
            return "" if over else str(switches[0].get("target", ""))
    return ""


def taken_by(store: Store, run: str, purpose: str = "") -> str:
    """Return the last restore point that a run took (of one purpose) and that can be read, '' where there is none."""
    taken = [
        str(entry["id"])
        for entry in store.read_journal(run)
        if entry["step"] == "restore point" and entry["status"] == "done" and purpose in ("", entry.get("purpose"))
    ]
    there = {point.id for point in store.points() if point.manifest is not None}
    return next((point_id for point_id in reversed(taken) if point_id in there), "")


def last_switch(store: Store) -> tuple[str, str]:
    """Return the last run that has switched to its end, and the restore point that it took before; '' for none."""
    for run in reversed(store.runs()):
        if any(entry["step"] == "switch" and entry["status"] == "done" for entry in store.read_journal(run)):
            return run, taken_by(store, run)
    return "", ""
