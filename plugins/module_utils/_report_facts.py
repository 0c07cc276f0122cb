# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report tells of a rollback: before and after, what is set aside, limits. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _words

#: Runs that are no rollback, and what their reports are headed with.
TITLES = {
    "assess": "Assessment",
    "backup": "Backup",
    "deploy": "Deployment",
    "drill": "Drill",
    "feature": "Feature switch",
    "monitor": "Monitoring",
    "readiness": "Readiness",
}


def is_rollback(report: Mapping[str, Any]) -> bool:
    """Whether a run was a rollback."""
    return str(report.get("type", "")) not in TITLES


def _release(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a plan that switches the release: of a database's plan it is one of its parts."""
    part = plan.get("release")
    return part if isinstance(part, Mapping) else plan


def changed(report: Mapping[str, Any]) -> bool:
    """Whether the run switched something, to its end."""
    return any(step.get("step") == "switch" and step.get("status") == "done" for step in report.get("steps", ()))


def before_after(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what is another one after the rollback: what, before, and after."""
    plan = report.get("plan") or {}
    if not plan or not changed(report):
        return []
    release = _release(plan)
    told = [("release", str(plan.get("running_label", "")), str(plan.get("label", "")))]
    told += [
        (
            f"image of {image['service']}",
            _words.short_id(image["points_to"] or "none"),
            f"{_words.short_id(image['image_id'])} ({image['reference']})",
        )
        for image in release.get("images", ())
        if image["points_to"] != image["image_id"]
    ]
    told += [("file", str(path), str(action)) for path, action in release.get("files", ())]
    told += [
        (f"keys of {entry['path']}", ", ".join(entry["keys"]), "as recorded (values are not shown)")
        for entry in report.get("configuration") or ()
        if entry["keys"]
    ]
    told += [("migration", str(name), "taken back") for name in plan.get("migrations", ())]
    told += [("volume", str(name), "content of the restore point") for name in plan.get("volumes", ())]
    counted = report.get("counted") or {}
    if counted:
        told.append(("rows in all", f"{counted['recorded']} were recorded", f"{counted['now']} after the restore"))
    told += [("rows", str(stake), "in the set-aside database") for stake in plan.get("stake", ())]
    return told


def readiness(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was found about a rollback before a deployment: grade, topic, and words."""
    return [
        (finding["grade"], finding["topic"], f"{finding['told']}. {finding['next_step']}".strip())
        for finding in report.get("readiness") or ()
    ]


def set_aside(report: Mapping[str, Any]) -> list[str]:
    """Return, in sentences, what was set aside and how it is read."""
    told = []
    for row in report.get("rows", ()):
        if row["label"] == "Set aside":
            told.append(
                f"database {row['value']}, on the live one's server: read it with psql -d {row['value']};"
                " nothing drops it but a person"
            )
    plan = report.get("plan") or {}
    if changed(report):
        told += [f"content of volume {name}: status.yml says in which folder" for name in plan.get("volumes", ())]
        safety = [step["id"] for step in report.get("steps", ()) if step.get("purpose") == "safety" and "id" in step]
        told += [f"release {plan.get('running_label', '')}: safety restore point {name}" for name in safety[-1:]]
    return told


def undo(report: Mapping[str, Any]) -> str:
    """Return the command that undoes the run, '' where there is nothing to undo."""
    if not changed(report) or report.get("outcome") == "nothing to do":
        return ""
    return f"ansible-playbook undo-rollback.yml -e rollback_application={report['application']}"


def limits(report: Mapping[str, Any]) -> list[str]:
    """Return the limits of the operators' guide that apply to this rollback, with what a person has to do."""
    plan = report.get("plan") or {}
    if not plan or not changed(report):
        return []
    release = _release(plan)
    schema = release.get("schema") or {}
    told = [
        "External API changes: what the release that was left did in other systems stays done; look through its calls",
        "Third-party service updates: services of others stay as they are; see whether the older release can use them",
    ]
    lost = [reason for _option, reason in plan.get("rejected", ()) if "cannot bring back" in reason]
    dropped = [reason for reason in schema.get("reasons", ()) if "dropped" in reason]
    if lost or dropped:
        told.append(f"Destructive data migrations: {'; '.join(lost or dropped)}")
    if plan.get("stake"):
        told.append(
            "User-generated data conflicts: rows written since the restore point are in the set-aside database;"
            f" a person decides about them ({'; '.join(plan['stake'])})"
        )
    transformed = [*plan.get("migrations", ()), *schema.get("added", ())]
    if transformed:
        told.append(
            f"Schema changes with data transformation: see what {', '.join(dict.fromkeys(transformed))} did to rows"
        )
    if len(release.get("replace", ())) > 1:
        told.append(
            f"Multi-service coordination: {', '.join(release['replace'])} went back together; applications that call"
            " them were not told"
        )
    return told
