# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide from evidence how bad it is, what to go back with, and who has to agree. Pure; private to this collection.

The tree is that of the operators' rollback guide: was the database changed, are data damaged, and, while it is not
fixed, on to the full rollback. What the evidence leaves open is not guessed: the decision is then inconclusive.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import (
    _failure,
    _features,
    _report,
    _severity,
    _symptoms,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._severity import (
    CRITICAL,
    MAJOR,
    MINOR,
    NONE,
    UNKNOWN,
    Evidence,
    Finding,
    Thresholds,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._words import times

QUICK, CONFIGURATION, REVERT, RESTORE, FULL = "quick", "configuration", "revert", "restore", "full"
TYPES = (QUICK, CONFIGURATION, REVERT, RESTORE, FULL)
NO_ROLLBACK, INCONCLUSIVE = "none", "inconclusive"
# How far a run may go by itself.
LEVELS = ("none", "application", "database", "full")
LEVEL_OF = {QUICK: "application", CONFIGURATION: "application", REVERT: "database", RESTORE: "database", FULL: "full"}
# What earlier runs of the type are called in their journals.
RUN_TYPE = {QUICK: "quick", CONFIGURATION: "configuration", REVERT: "database", RESTORE: "database", FULL: "full"}
# Seconds: the upper ends of the guide's times.
WINDOWS = {QUICK: 300.0, CONFIGURATION: 600.0, REVERT: 900.0, RESTORE: 900.0, FULL: 1800.0}
# What the decision asks to be done with it.
GO, CONFIRM, PROPOSE, ASK, NOTHING = "go", "confirm", "propose", "ask", "nothing"

_NEEDS = {
    "candidate": "a restore point to go back to: name a target with -e rollback_to=",
    "schema": "the database's catalogue: let PostgreSQL answer, or say what changed with -e rollback_type=",
    "changed": "what runs against the restore point: see why it could not be read",
    "services": "the state of the containers: see why Docker did not answer",
    "health": "a health check that can be observed: declare rollback_health_checks",
    "traffic": "requests through the front door: name URLs in rollback_traffic",
    "prometheus": "Prometheus: see why it did not answer",
    "assertions": "the application's own SQL assertions: declare rollback_assertions",
    "rows": "row counts: see why the database could not be counted",
    "logs": "the containers' logs: see why they could not be read",
}


@dataclass(frozen=True)
class Policy:
    """What was configured. ``declared`` has external, third_party, order and manual: lists of names or sentences.

    ``auto`` is one of ``LEVELS``; ``asked`` a rollback type that the operator named, '' for none; ``tried`` the
    types that were tried already, in order.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    auto: str = "application"
    windows: Mapping[str, float] = field(default_factory=lambda: dict(WINDOWS))
    declared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    switches: Sequence[Mapping[str, Any]] = ()
    asked: str = ""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What to do, and why. ``expected`` has seconds (None: never measured here), from, window and fits.

    ``rejected`` are pairs of an option and why not. ``blockers`` are what a person has to see to, ``stake`` what
    happens to data, ``needs`` what would make the decision surer.
    """

    application: str
    severity: str
    type: str
    action: str
    target: str = ""
    target_label: str = ""
    running: str = ""
    running_label: str = ""
    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    blockers: tuple[str, ...] = ()
    stake: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Identify the decision by what it would do: an approval is bound to this."""
        done = [self.application, self.type, self.target, self.running, self.added, self.tried]
        return hashlib.sha256(json.dumps(done).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Situation:
    """The evidence of all hosts as the tree reads it.

    ``schema`` is equal, compatible, incompatible, unknown, or '' where the application has no database.
    ``release_changed`` and ``configuration_changed`` are None where they could not be observed.
    """

    target: str
    target_label: str
    no_target: str
    running: str
    running_label: str
    dump: bool
    release_changed: bool | None
    configuration_changed: bool | None
    schema: str
    schema_reasons: tuple[str, ...]
    revert: str
    revert_reasons: tuple[str, ...]
    added: tuple[str, ...]
    damage: tuple[str, ...]
    failing_code: tuple[str, ...]
    failing_other: tuple[str, ...]
    changed_services: tuple[str, ...]
    written: Mapping[str, Any] | None
    scenario: _symptoms.Symptom | None
    words: str
    missing: tuple[tuple[str, str], ...]

    def unseen(self, what: str) -> str:
        """Return why something could not be observed, '' when it was."""
        return next((why for name, why in self.missing if name == what), "")


def _first(values: Sequence[Any]) -> Any:
    return next((value for value in values if value), None)


def situation(evidence: Sequence[Evidence]) -> Situation:
    """Put the evidence of all hosts together. Raises ValueError when there is none, or of several applications."""
    if not evidence:
        raise ValueError("there is no evidence: no host was looked at")
    names = {seen["application"] for seen in evidence}
    if len(names) > 1:
        raise ValueError(f"the evidence is of several applications: {', '.join(sorted(names))}")
    candidate = _first([seen.get("candidate") for seen in evidence]) or {}
    running = _first([seen.get("running") for seen in evidence]) or {}
    schema = _first([seen.get("schema") for seen in evidence])
    missing = [(entry["what"], entry["why"]) for seen in evidence for entry in seen.get("missing") or ()]
    unseen = {what for what, _why in missing}
    changed = [seen.get("changed") or {} for seen in evidence]
    known = bool(candidate) and "changed" not in unseen
    images = sorted({name for entry in changed for name in entry.get("images") or ()})
    configured = sorted({name for entry in changed for name in entry.get("configuration") or ()})
    files = [item["path"] for entry in changed for item in entry.get("files") or ()]
    words, scenario = _severity.reported(evidence)
    damage = tuple(
        finding.told
        for seen in evidence
        for finding in _severity.corruption(seen)
        if finding.severity in (CRITICAL, MAJOR)
    )
    unread = "unknown" if "schema" in unseen else ""
    return Situation(
        target=candidate.get("id") or "",
        target_label=candidate.get("label") or candidate.get("id") or "",
        no_target=str(_first([seen.get("no_candidate") for seen in evidence]) or "no restore point qualifies"),
        running=running.get("release") or "",
        running_label=running.get("label") or running.get("release") or "",
        dump="database" in (candidate.get("parts") or ()),
        release_changed=bool(images) if known else None,
        configuration_changed=bool(configured or files) if known else None,
        schema=unread if schema is None else schema["verdict"],
        schema_reasons=tuple((schema or {}).get("reasons") or ()),
        revert=(schema or {}).get("revert") or "unknown",
        revert_reasons=tuple((schema or {}).get("revert_reasons") or ()),
        added=tuple((schema or {}).get("added") or ()),
        damage=damage,
        failing_code=_severity.failing(evidence, code=True),
        failing_other=_severity.failing(evidence, code=False),
        changed_services=tuple(sorted({*images, *configured})),
        written=_first([seen.get("written") for seen in evidence]),
        scenario=scenario,
        words=words,
        missing=tuple(dict.fromkeys(missing)),
    )


@dataclass(frozen=True)
class Branch:
    """Where the tree led: a type or ``INCONCLUSIVE`` or ``NO_ROLLBACK``, why, and what it passed by."""

    type: str
    reasons: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...] = ()


def corrupted(seen: Situation) -> tuple[str, ...]:
    """Return the sentences that say that data are damaged: observed ones, or the operator's own."""
    if seen.damage:
        return seen.damage
    if seen.scenario is not None and seen.scenario.points_to == _symptoms.CORRUPTION:
        return (f"reported: {seen.words}",)
    return ()


def tree(seen: Situation) -> Branch:
    """Walk the decision tree for a failure that nothing was done about yet."""
    damage = corrupted(seen)
    changed_others = [name for name in seen.failing_other if name in seen.changed_services]
    whole = seen.scenario is not None and seen.scenario.points_to == _symptoms.FULL
    if not seen.target:
        return Branch(INCONCLUSIVE, (f"there is nowhere to go back to: {seen.no_target}",))
    if changed_others or (whole and seen.failing_other):
        why = f"{', '.join(changed_others or seen.failing_other)} fails too, and a rollback of the code leaves it alone"
        return Branch(FULL, (f"several components fail: {why}",), ((QUICK, "it replaces only what carries code"),))
    if damage:
        return _damaged(seen, damage)
    if seen.failing_other:
        names = ", ".join(seen.failing_other)
        return Branch(
            INCONCLUSIVE,
            (f"{names} fails, and nothing of it was changed by a deployment: going back does not mend it",),
        )
    if seen.release_changed is None:
        return Branch(INCONCLUSIVE, (f"what was changed is not known: {seen.unseen('changed') or 'it was not told'}",))
    if seen.schema == "incompatible":
        return _database_changed(seen)
    if seen.configuration_changed and not seen.release_changed:
        return Branch(
            CONFIGURATION,
            ("only configuration differs: the images are those of the restore point",),
            ((QUICK, "the images need not change"), (RESTORE, "the database is not what differs")),
        )
    if not seen.release_changed and not seen.configuration_changed:
        if seen.scenario is not None and seen.scenario.points_to == _symptoms.FULL:
            return Branch(FULL, (f"reported: {seen.words}",))
        return Branch(
            INCONCLUSIVE,
            (f"nothing differs from {seen.target_label}: going back to it changes nothing",),
        )
    if seen.schema == "unknown":
        why = seen.unseen("schema") or "; ".join(seen.schema_reasons) or "it was not told"
        return Branch(INCONCLUSIVE, (f"whether the database was changed is not known: {why}",))
    return _code_alone(seen)


def _code_alone(seen: Situation) -> Branch:
    if seen.schema == "":
        why = "the application has no database"
    elif seen.schema == "equal":
        why = f"the database's schema is that of {seen.target_label}"
    else:
        why = f"{seen.target_label} can live with every change of the schema"
    rejected = [] if seen.schema == "" else [(RESTORE, "no data are damaged: rows written since would be set aside")]
    if seen.added:
        rejected.insert(0, (REVERT, "the older release can live with the schema as it is"))
    return Branch(QUICK, (why,), tuple(rejected))


def _database_changed(seen: Situation) -> Branch:
    told = "; ".join(seen.schema_reasons)
    changed = f"the database was changed, and {seen.target_label} cannot live with it: {told}"
    quick = (QUICK, "the older release would run on a schema that it cannot live with")
    if seen.revert in ("loses nothing", "destroys") and seen.added:
        reasons = [changed, f"{times(len(seen.added), 'migration')} can be taken back, and rows stay"]
        return Branch(REVERT, tuple(reasons), (quick, (RESTORE, "rows written since would be set aside")))
    why = "; ".join(seen.revert_reasons) or "no migration is known that could be taken back"
    if seen.dump:
        return Branch(RESTORE, (changed, f"a revert cannot bring it back: {why}"), (quick, (REVERT, why)))
    return Branch(
        INCONCLUSIVE,
        (changed, f"a revert cannot bring it back ({why}), and {seen.target_label} has no database to restore"),
    )


def _damaged(seen: Situation, damage: Sequence[str]) -> Branch:
    reasons = [f"data are damaged: {told}" for told in damage]
    rejected = ((QUICK, "it leaves the data as they are"), (REVERT, "it takes the schema back, and not rows"))
    if not seen.dump:
        reasons.append(f"{seen.target_label} has no database to restore")
        return Branch(INCONCLUSIVE, tuple(reasons), rejected)
    return Branch(RESTORE, tuple(reasons), rejected)


def go_on(seen: Situation, tried: Sequence[str]) -> Branch:
    """Go on along the tree after types that did not help: each at most once, and never back."""
    done = ", then ".join(tried)
    reasons = [f"{done} did not help"]
    reached = max(LEVELS.index(LEVEL_OF[name]) for name in tried)
    rejected = [(name, "it was tried already") for name in tried]
    if reached >= LEVELS.index("full"):
        return Branch(NO_ROLLBACK, (*reasons, "the tree ends here: a person has to take over"), tuple(rejected))
    if not seen.target:
        return Branch(INCONCLUSIVE, (*reasons, f"there is nowhere to go back to: {seen.no_target}"), tuple(rejected))
    if reached < LEVELS.index("database") and seen.schema:
        damage = corrupted(seen)
        branch = None
        if damage:
            branch = _damaged(seen, damage)
        elif seen.schema == "incompatible":
            branch = _database_changed(seen)
        if branch is not None and branch.type in (REVERT, RESTORE):
            return Branch(branch.type, (*reasons, *branch.reasons), (*rejected, *branch.rejected))
        if seen.schema == "unknown":
            why = seen.unseen("schema") or "; ".join(seen.schema_reasons)
            reasons.append(f"whether the database was changed is not known: {why}")
        else:
            rejected.append((RESTORE, "the schema fits and no data are known to be damaged"))
    return Branch(FULL, (*reasons, "what is left is everything"), tuple(rejected))


def _stake(seen: Situation, kind: str) -> tuple[str, ...]:
    if kind in (QUICK, CONFIGURATION):
        return ("the database stays as it is",)
    written = seen.written
    if kind == REVERT:
        told = ["rows stay; a copy of the database is set aside first"]
        if seen.revert == "destroys":
            told += [f"a revert destroys: {reason}" for reason in seen.revert_reasons]
        return tuple(told)
    if kind in (RESTORE, FULL):
        told = ["what is live is set aside and nothing is dropped"]
        if written is None:
            told.append("how much was written since the restore point is not known")
        else:
            for entry in written.get("tables") or ():
                told.append(
                    f"{entry['table']}: about {entry['inserted']} inserted, {entry['updated']} updated and"
                    f" {entry['deleted']} deleted since, which the restored database does not have"
                )
        if kind == FULL:
            told.append("configuration, volumes and every service go back too")
        return tuple(told)
    return ()


def _blockers(seen: Situation, kind: str, policy: Policy) -> tuple[str, ...]:
    told = []
    if seen.revert == "cannot" and seen.schema == "incompatible":
        told.append(f"destructive migration, which no revert brings back: {'; '.join(seen.revert_reasons)}")
    if kind == REVERT:
        told.append(
            "what the migrations did to rows is in no catalogue: look through what they transformed,"
            " in the copy that is set aside"
        )
    for name in policy.declared.get("external") or ():
        told.append(f"external interface that stays as it is: {name}; tell those who use it")
    for name in policy.declared.get("third_party") or ():
        told.append(f"third-party service that stays as it is: {name}; see whether the older release can use it")
    order = list(policy.declared.get("order") or ())
    if order:
        told.append(f"several services have to go back together, in this order: {', '.join(order)}")
    told += list(policy.declared.get("manual") or ())
    if kind in (RESTORE, FULL) and (seen.written is None or seen.written.get("rows")):
        told.append("what users wrote since the restore point has to be looked through in the set-aside database")
    return tuple(told)


def _expected(evidence: Sequence[Evidence], kind: str, policy: Policy) -> dict[str, Any]:
    """Expect what was measured: the median of the last five runs of the type, else what the dump took."""
    window = policy.windows[kind]
    runs = [
        float(entry["seconds"])
        for seen in evidence
        for entry in seen.get("durations") or ()
        if entry["type"] in (RUN_TYPE[kind], kind) and entry["outcome"] == "success"
    ][:5]
    if runs:
        seconds: float | None = round(statistics.median(runs), 1)
        source = f"the median of {times(len(runs), 'run')}"
    else:
        candidate = _first([seen.get("candidate") for seen in evidence]) or {}
        seconds, source = None, "no run of this type was measured on this application"
        if kind in (RESTORE, FULL) and candidate.get("dump_seconds"):
            seconds = round(float(candidate["dump_seconds"]), 1)
            source = "what the dump took; a restore takes longer where there are many indexes"
    fits = None if seconds is None or window <= 0 else seconds <= window
    return {"seconds": seconds, "from": source, "window": window, "fits": fits}


def _steps(seen: Situation, kind: str) -> tuple[str, ...]:
    code = [
        "take a safety restore point of what runs",
        f"switch the services that carry code to {seen.target_label} ({seen.target})",
        "prove it: images, health checks",
    ]
    if kind == QUICK:
        return tuple(code)
    if kind == CONFIGURATION:
        return (code[0], f"put back the configuration of {seen.target_label} and restart what it concerns", code[2])
    if kind == REVERT:
        return (
            f"rehearse taking back {', '.join(seen.added)} on a throwaway server",
            code[0],
            "stop the services that carry code, and set a copy of the database aside",
            f"take back {', '.join(reversed(seen.added))}",
            f"start {seen.target_label}",
            "prove it: migration history, images, health checks",
        )
    if kind in (RESTORE, FULL):
        steps = [
            f"restore the database of {seen.target} beside the live one, and compare it",
            code[0],
            "stop the services that carry code" if kind == RESTORE else "stop all services but the database's",
            "swap the restored database in, and set the live one aside",
        ]
        if kind == FULL:
            steps.append("put back configuration and volumes")
        return (*steps, f"start {seen.target_label}", "prove it: rows, migration history, images, health checks")
    return ()


def _action(severity: str, branch: Branch, policy: Policy) -> str:
    """Say who has to agree: nobody for what is critical and within the level, else a person."""
    if branch.type == NO_ROLLBACK:
        return NOTHING
    if branch.type == INCONCLUSIVE:
        return ASK
    if severity == MINOR and not policy.tried and not policy.asked:
        return PROPOSE
    level, allowed = LEVELS.index(LEVEL_OF[branch.type]), LEVELS.index(policy.auto)
    if policy.tried:
        return GO if level <= allowed else CONFIRM
    # A rollback of the application is what critical means; only what changes data needs the level for it.
    within = level <= max(allowed, LEVELS.index("application"))
    return GO if severity == CRITICAL and within else CONFIRM


def _needs(seen: Situation) -> tuple[str, ...]:
    told = []
    for what, why in seen.missing:
        if what in _NEEDS:
            told.append(f"{_NEEDS[what]} ({why})")
    return tuple(dict.fromkeys(told))


def _branch(seen: Situation, severity: str, policy: Policy) -> Branch:
    """Return where this failure leads: what was asked for, nowhere, on along the tree, or through it."""
    if policy.asked and not policy.tried:
        if not seen.target:
            return Branch(INCONCLUSIVE, (f"there is nowhere to go back to: {seen.no_target}",))
        return Branch(policy.asked, ("it was asked for",))
    if severity == UNKNOWN:
        return Branch(INCONCLUSIVE, ("nothing is known to be wrong, and not everything could be observed",))
    if severity == MINOR and policy.tried:
        return Branch(NO_ROLLBACK, (f"{policy.tried[-1]} helped: what is left is minor",))
    if severity == NONE and seen.words and not policy.tried:
        return Branch(INCONCLUSIVE, (f"reported: {seen.words}; and everything that was observed is well",))
    if severity == NONE:
        return Branch(NO_ROLLBACK, ("everything that was observed is well",))
    branch = go_on(seen, policy.tried) if policy.tried else tree(seen)
    if branch.type != FULL or seen.schema:
        return branch
    why = "none of these hosts has a database, and it goes around one"
    rejected = (*branch.rejected, *((name, why) for name in (REVERT, RESTORE, FULL)))
    return Branch(NO_ROLLBACK if policy.tried else INCONCLUSIVE, branch.reasons[:-1] or branch.reasons, rejected)


def decide(evidence: Sequence[Evidence], policy: Policy) -> Decision:
    """Decide. Raises ValueError for evidence or a policy that is none."""
    if policy.auto not in LEVELS:
        raise ValueError(f"the level '{policy.auto}' is not one of {', '.join(LEVELS)}")
    for name in (*policy.tried, *([policy.asked] if policy.asked else [])):
        if name not in TYPES:
            raise ValueError(f"'{name}' is no rollback type: {', '.join(TYPES)}")
    seen = situation(evidence)
    findings = _severity.assess(evidence, policy.thresholds)
    if policy.tried:
        # What was reported before something was done says nothing about now.
        findings = tuple(finding for finding in findings if finding.about != "reported")
    severity = _severity.worst(finding.severity for finding in findings)
    unobserved = any(seen.unseen(what) for what in ("services", "health"))
    healthy = all((entry.get("health") or {}).get("verdict") == "healthy" for entry in evidence)
    if severity == NONE and (unobserved or not healthy):
        severity = UNKNOWN
    branch = _branch(seen, severity, policy)
    known = branch.type in TYPES
    action = _action(severity, branch, policy)
    blockers = _blockers(seen, branch.type, policy) if known else ()
    outside = any(policy.declared.get(key) for key in ("external", "third_party", "order", "manual"))
    if action == GO and outside:
        action = CONFIRM
    steps = _steps(seen, branch.type) if known else ()
    if action == PROPOSE:
        fitting = [_features.command_for(switch) for switch in _features.fitting(policy.switches, seen.words)]
        # A declared switch is the smallest fix.
        fix = fitting or ["deploy a fix of what fails, with its own verification: ansible-playbook hotfix-deploy.yml"]
        steps = (*fix, *(f"if that does not help: {step}" for step in steps))
    return Decision(
        application=str(evidence[0]["application"]),
        severity=severity,
        type=branch.type,
        action=action,
        target=seen.target if known else "",
        target_label=seen.target_label if known else "",
        running=seen.running,
        running_label=seen.running_label,
        findings=findings,
        reasons=branch.reasons,
        rejected=branch.rejected,
        blockers=blockers,
        stake=_stake(seen, branch.type) if known else (),
        steps=steps,
        needs=_needs(seen),
        expected=_expected(evidence, branch.type, policy) if known else {},
        added=seen.added,
        tried=policy.tried,
    )


def is_well(decision: Decision) -> bool:
    """Whether there is nothing left that a rollback is for."""
    return decision.type == NO_ROLLBACK and decision.severity in (NONE, MINOR)


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def ending(decision: Decision) -> str:
    """Return what to tell where a run ends with this decision, '' where all is well or there is something to do."""
    if is_well(decision) or decision.action in (GO, CONFIRM):
        return ""
    if decision.tried:
        state = (
            f"{', then '.join(decision.tried)} was tried, and {decision.running_label or 'nothing'} runs."
            " Deployments stay frozen."
        )
    else:
        state = "Nothing that runs was touched."
    found = "; ".join(finding.told for finding in decision.findings) or "nothing is known to be wrong"
    because = "; ".join(decision.reasons)
    if decision.action == PROPOSE:
        return _failure.explain(
            f"It is minor, and a targeted fix is better than a rollback: {found}.",
            state,
            f"{decision.steps[0][0].upper()}{decision.steps[0][1:]}."
            f" To roll back all the same: -e rollback_type={decision.type}",
        )
    if decision.action == ASK:
        surer = f" What would make it surer: {'; '.join(decision.needs)}." if decision.needs else ""
        ruled_out = {name for name, _why in decision.rejected}
        offered = [name for name in TYPES if name not in ruled_out] or list(TYPES)
        return _failure.explain(
            f"The evidence does not say what to go back with: {because}. Observed: {found}.",
            state,
            f"Say it: -e rollback_type={_either(offered)}; or where to: -e rollback_to=<restore point>.{surer}",
        )
    return _failure.explain(
        f"It is not well: {found}. {because}.",
        state,
        "A person has to take over: the reports of the runs say what was done. To let deployments in again:"
        " ansible-playbook freeze.yml -e rollback_freeze=off",
    )


def to_dict(decision: Decision) -> dict[str, Any]:
    """Return plain data for JSON."""
    return {**asdict(decision), "hash": decision.hash, "well": is_well(decision), "ending": ending(decision)}


def headline(decision: Decision) -> str:
    """Return the decision in one line."""
    severity = decision.severity.capitalize()
    if decision.type == INCONCLUSIVE:
        return f"{severity}: inconclusive, a person has to decide"
    if is_well(decision):
        return f"Nothing is wrong{' any more' if decision.tried else ''}"
    if decision.type == NO_ROLLBACK:
        return f"{severity}: the tree ends here, a person has to take over"
    kind = {REVERT: "migration revert", RESTORE: "database restore"}.get(decision.type, f"{decision.type} rollback")
    if decision.action == PROPOSE:
        return f"{severity}: a targeted fix is proposed, before a {kind} to {decision.target_label}"
    how = "goes at once" if decision.action == GO else "needs an approval"
    return f"{severity}: {kind} to {decision.target_label}, {how}"


def screen(decision: Decision) -> dict[str, Any]:
    """Return what the operator's screen shows: the decision first, then why, and what it takes."""
    lines = [finding.told for finding in decision.findings]
    lines += [f"Because {reason}" for reason in decision.reasons]
    lines += [f"{number}. {step}" for number, step in enumerate(decision.steps, start=1)]
    lines += [f"Not {option}: {why}" for option, why in decision.rejected]
    lines += [f"At stake: {told}" for told in decision.stake]
    lines += [f"For a person: {told}" for told in decision.blockers]
    if not is_well(decision):
        lines += [f"To be surer: {told}" for told in decision.needs]
    expected = decision.expected
    if expected:
        took = "not known" if expected["seconds"] is None else _report.duration(expected["seconds"])
        within = f", window {_report.duration(expected['window'])}" if expected["window"] else ""
        lines.append(f"Expected to take: {took} ({expected['from']}{within})")
    rows = [{"label": "Decision", "value": headline(decision)}]
    if decision.action in (CONFIRM, PROPOSE):
        rows.append({"label": "Its hash", "value": decision.hash})
    return {"headline": headline(decision), "lines": lines, "rows": rows}
