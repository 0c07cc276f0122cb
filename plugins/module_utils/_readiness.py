# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge whether a release could be rolled back, before it is deployed. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _candidate, _status, _words

#: From best to worst.
GRADES = ("ready", "warning", "blocker")
#: What a gate lets pass: nothing but blockers is stopped, or warnings too.
GATES = ("none", "blocker", "warning")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it stands, in a sentence, and what to do about it."""

    topic: str
    grade: str
    told: str
    next_step: str = ""


@dataclass(frozen=True)
class Held:
    """An image and where it could be had if this host lost it.

    ``place`` is registry, store or nowhere.
    """

    service: str
    reference: str
    pinned: bool
    place: str


@dataclass(frozen=True)
class Forecast:
    """What the migrations of a release did on a throwaway server, and what taking them back did.

    ``failure`` says why they did not run ('' when they did), ``left`` what they did before. ``fits`` is whether the
    release that runs now can live with the schema afterwards: equal, compatible or incompatible. ``revert`` is as in
    ``_catalog.Comparison``. ``back`` is what the steps back led to: equal, compatible, wrong, or failed; '' when there
    was nothing to try.
    """

    pending: tuple[str, ...] = ()
    failure: str = ""
    left: tuple[str, ...] = ()
    fits: str = "equal"
    reasons: tuple[str, ...] = ()
    revert: str = "not needed"
    revert_reasons: tuple[str, ...] = ()
    back: str = ""
    back_reasons: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    seconds: float = 0.0


def images(held: Sequence[Held]) -> list[Finding]:
    """Judge the images of the release that runs: the way back leads to them."""
    found = []
    for image in held:
        if image.place == "nowhere":
            found.append(
                Finding(
                    "images",
                    "warning",
                    f"{image.service}: {image.reference} is on this host alone; a prune would lose it",
                    "pre-deploy-backup.yml keeps images that no registry has.",
                )
            )
        elif not image.pinned and image.place == "registry":
            found.append(
                Finding("images", "warning", f"{image.service}: {image.reference} has no digest: its tag may move")
            )
    if not found and held:
        told = ", ".join(f"{image.service} ({image.place})" for image in held)
        found.append(Finding("images", "ready", f"what runs now can be had again: {told}"))
    return found


def restore_point(
    points: Sequence[_candidate.Point],
    proofs: Mapping[str, str],
    running: str,
    when: datetime,
    *,
    max_age: float,
    database: bool,
    code: bool = True,
    dumped_at: str = "",
) -> tuple[str, list[Finding]]:
    """Return the restore point that a rollback of the next release would go to, '' for none, and how it stands.

    ``proofs`` says when each was last proven to restore ('' for never), ``running`` is the release that runs,
    ``max_age`` is in hours, 0 for no limit. ``code`` tells whether the host has services with code,
    ``dumped_at`` names another host that keeps the database's part.
    """
    usable = [point for point in _candidate.good_points(points, code=code) if point.release == running]
    if not usable:
        return "", [
            Finding(
                "restore point",
                "blocker",
                "there is no good restore point of the release that runs now",
                "ansible-playbook pre-deploy-backup.yml takes one.",
            )
        ]
    # One with its database comes first: without it only the code can go back.
    point = next((point for point in usable if "database" in point.parts), usable[0])
    age = _status.age(point.id, when)
    found = []
    database = database and not dumped_at
    if database and "database" not in point.parts:
        found.append(
            Finding(
                "restore point",
                "blocker",
                f"restore point {point.id} has no database part: data could not go back",
                "ansible-playbook pre-deploy-backup.yml takes one with it.",
            )
        )
    elif max_age > 0 and age > max_age:
        found.append(
            Finding(
                "restore point",
                "warning",
                f"restore point {point.id} is {_status.ago(age)} old: what was written since would not be in it",
                "ansible-playbook pre-deploy-backup.yml takes a fresh one.",
            )
        )
    else:
        beside = f"; its database part is on {dumped_at}" if dumped_at else ""
        found.append(Finding("restore point", "ready", f"restore point {point.id}, {_status.ago(age)} old{beside}"))
    if database and "database" in point.parts:
        proven = proofs.get(point.id, "")
        found.append(
            Finding("proof", "ready", f"its database was proven to restore ({proven})")
            if proven
            else Finding(
                "proof",
                "warning",
                f"the database of restore point {point.id} was never proven to restore",
                "ansible-playbook restore-drill.yml proves it.",
            )
        )
    return point.id, found


def migrations(forecast: Forecast, *, dump: bool) -> list[Finding]:
    """Judge what the release's migrations mean for the way back; ``dump`` tells whether a restore is possible."""
    count = _words.times(len(forecast.pending), "migration")
    if forecast.failure:
        half = f"; a part of them was done: {'; '.join(forecast.left)}" if forecast.left else ""
        return [
            Finding(
                "migrations",
                "blocker",
                f"the release's migrations fail: {forecast.failure}{half}",
                "Mend them before this release is deployed.",
            )
        ]
    if not forecast.pending and forecast.fits == "equal":
        return [Finding("migrations", "ready", "the release changes no schema: a quick rollback is enough")]
    names = ", ".join(forecast.pending) or "none by name"
    limits = [Finding("migrations", "warning", f"rehearsal: {limit}") for limit in forecast.limits]
    if forecast.fits in ("equal", "compatible"):
        told = f"{count} ({names}); what runs now can live with the schema: a quick rollback is enough"
        found = [Finding("migrations", "ready", told), *limits]
        if forecast.back in ("wrong", "failed"):
            found.insert(
                1, Finding("migrations", "warning", f"{_no_way(forecast)}; a restore would bring the old schema back")
            )
        return found
    head = f"{count} ({names}); what runs now cannot live with the schema ({'; '.join(forecast.reasons)})"
    restore = "the way back is the restore of the database; rows written after the deployment are set aside then"
    if forecast.revert == "cannot":
        why = f"a revert {'; '.join(forecast.revert_reasons)}"
    elif forecast.back in ("wrong", "failed"):
        why = _no_way(forecast)
    elif forecast.revert == "destroys":
        told = f"{head}; taking them back was rehearsed, and {'; '.join(forecast.revert_reasons)}"
        return [Finding("migrations", "warning", told), *limits]
    else:
        return [Finding("migrations", "ready", f"{head}; taking them back was rehearsed: {forecast.back}"), *limits]
    if dump:
        return [Finding("migrations", "warning", f"{head}; {why}: {restore}"), *limits]
    return [
        Finding(
            "migrations",
            "blocker",
            f"{head}; {why}, and there is no restore point with the database",
            "ansible-playbook pre-deploy-backup.yml takes one.",
        ),
        *limits,
    ]


def rehearsed_elsewhere(host: str) -> Finding:
    """Say who rehearses the migrations in place of this host; ``nowhere`` where no host can."""
    if host == "nowhere":
        why = "no host has both the code and the login of a database"
        return Finding(
            "migrations",
            "warning",
            f"the release's migrations were not rehearsed: {why}",
            "Tell a host with code how the database is reached: rollback_database, rollback_database_host.",
        )
    return Finding("migrations", "ready", f"{host} rehearses them for all")


def _no_way(forecast: Forecast) -> str:
    outcome = "failed" if forecast.back == "failed" else "led to another schema"
    return f"taking them back {outcome} in the rehearsal: {'; '.join(forecast.back_reasons)}"


def health_checks(unchecked: Sequence[str], declared: int) -> Finding:
    """Judge whether anything would tell that a release is bad; ``unchecked`` are code services without a check."""
    if unchecked:
        return Finding(
            "health checks",
            "warning",
            f"{', '.join(unchecked)}: no health check, and {_words.times(declared, 'check')} declared beside",
            "Give it a healthcheck in the compose file, or declare rollback_health_checks.",
        )
    told = f"every service that carries code has one, and {_words.times(declared, 'check')} declared beside"
    return Finding("health checks", "ready", told)


def receivers(answers: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Judge who would be told of a rollback, from whether the receivers answer."""
    if not answers:
        return [Finding("receivers", "warning", "nobody would be told of a rollback", "Declare rollback_notify.")]
    dead = [f"{answer['target']} ({answer['reason']})" for answer in answers if not answer["sent"]]
    if dead:
        return [
            Finding(
                "receivers",
                "warning",
                f"would not be told of a rollback: {', '.join(dead)}",
                "Mend the receiver, or what rollback_notify says of it.",
            )
        ]
    return [Finding("receivers", "ready", f"answer: {', '.join(str(answer['target']) for answer in answers)}")]


def lock(held: Mapping[str, Any], freeze: Mapping[str, Any]) -> list[Finding]:
    """Judge whether a deployment may begin at all."""
    found = []
    if held:
        found.append(
            Finding(
                "lock",
                "blocker",
                f"{held['owner'] or 'somebody'} is at work since {held['since']} (run {held['run']})",
                "Wait for that run to end.",
            )
        )
    if freeze:
        found.append(
            Finding(
                "lock",
                "blocker",
                f"deployments are frozen by {freeze['owner']} since {freeze['since']}:"
                f" {freeze['reason'] or 'no reason given'}",
                "ansible-playbook freeze.yml -e rollback_freeze=off lets them in again.",
            )
        )
    return found or [Finding("lock", "ready", "the lock is free and deployments are let in")]


def verdict(findings: Sequence[Finding]) -> str:
    """Return ready, ready with warnings, or not ready."""
    worst = max((GRADES.index(finding.grade) for finding in findings), default=2)
    return ("ready", "ready with warnings", "not ready")[worst]


def stopped(findings: Sequence[Finding], gate: str, topics: Sequence[str] = ()) -> list[Finding]:
    """Return the findings that a gate does not let pass, of these topics where some are named.

    Raises ValueError for an unknown gate.
    """
    if gate not in GATES:
        raise ValueError(f"the gate '{gate}' is none of {', '.join(GATES)}")
    grades = {"none": (), "blocker": ("blocker",), "warning": ("blocker", "warning")}[gate]
    return [finding for finding in findings if finding.grade in grades and (not topics or finding.topic in topics)]


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings for people, the worst first."""
    ordered = sorted(findings, key=lambda finding: -GRADES.index(finding.grade))
    return [
        f"{finding.grade.upper()} {finding.topic}: {' '.join(finding.told.split())}."
        + (f" {finding.next_step}" if finding.next_step else "")
        for finding in ordered
    ]
