# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a database goes back, and what is shown and approved before it does. Pure; private to this collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _plan
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import Comparison, Judgement

REVERT, RESTORE, UNDO, NOTHING = "revert", "restore", "undo", "nothing"
# What a host does whose database goes back on another one: it stops, and starts again when that is done.
ELSEWHERE = "elsewhere"
WAYS = ("auto", REVERT, RESTORE, UNDO)
PLACES = ("here", ELSEWHERE, "nowhere")


def utc(text: str) -> str:
    """Return a moment that an operator named as UTC, RFC 3339, seconds; without a zone it is UTC.

    Raises ValueError for what is no moment.
    """
    plain = text.strip()
    if plain.endswith(("Z", "z")):
        plain = plain[:-1] + "+00:00"
    try:
        when = datetime.fromisoformat(plain)
    except ValueError as error:
        raise ValueError(f"'{text}' is no moment: write it as 2026-11-22T13:15:00Z") from error
    when = when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Observed:
    """What the choice between a revert and a restore is made from.

    ``asked`` is one of ``WAYS`` but undo. ``label`` names the target's release. ``comparison`` is None where the
    target has no catalogue. ``dump`` tells whether the target has a database part, ``plain`` that it is a plain dump.
    ``damaged`` tells that the operator said since when data are damaged. ``there`` tells that the database is the
    target's already. ``obstacle`` is why the migration tool cannot take the steps, ``rehearsed`` what a rehearsal
    found ('' before one), with ``rehearsal_reasons``. ``accept_loss`` lets a revert go on that cannot bring back all.
    """

    asked: str
    label: str
    judgement: Judgement
    comparison: Comparison | None = None
    dump: bool = False
    plain: bool = False
    damaged: bool = False
    there: bool = False
    obstacle: str = ""
    rehearsed: str = ""
    rehearsal_reasons: tuple[str, ...] = ()
    accept_loss: bool = False


@dataclass(frozen=True)
class Choice:
    """How to go back, why, and what was rejected with its reason. ``refusal`` says why there is no way."""

    how: str
    reasons: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    refusal: str = ""


def no_revert(seen: Observed) -> str:
    """Return why migrations cannot be taken back to the target, '' when nothing is known against it."""
    if seen.plain:
        return "a plain dump does not say which migrations it has"
    if not seen.judgement.added:
        return "no migration was applied since"
    if seen.judgement.missing:
        return f"no revert brings back migrations that are applied no more: {', '.join(seen.judgement.missing)}"
    compared = seen.comparison
    if compared is not None and compared.revert == "cannot" and not seen.accept_loss:
        return f"a revert {'; '.join(compared.revert_reasons)}"
    if seen.obstacle:
        return seen.obstacle
    if seen.rehearsed == "failed":
        return f"the rehearsal failed: {'; '.join(seen.rehearsal_reasons)}"
    if seen.rehearsed == "wrong":
        return f"the rehearsal left a schema that {seen.label} cannot live with: {'; '.join(seen.rehearsal_reasons)}"
    return ""


def choose(seen: Observed) -> Choice:
    """Choose how the database goes back.

    A revert keeps every row that was written since, so it comes first where it leads to the recorded schema; a restore
    sets those rows aside, and is the way where data are damaged or a revert cannot bring back what was there.
    """
    against_revert = no_revert(seen)
    no_dump = "" if seen.dump else f"{seen.label} has no database part"
    if seen.asked == REVERT:
        if seen.there and not seen.judgement.added:
            return Choice(NOTHING, (f"the database is that of {seen.label} already",))
        if against_revert:
            return Choice(REVERT, refusal=against_revert)
        return Choice(REVERT, ("it was asked for",))
    if seen.there and not (seen.judgement.added or seen.judgement.missing):
        return Choice(NOTHING, (f"the database is that of {seen.label} already",))
    if seen.asked == RESTORE or seen.damaged or seen.plain:
        why = "it was asked for" if seen.asked == RESTORE else "data were reported as damaged"
        if seen.plain:
            why = "a dump was named"
        elif no_dump:
            return Choice(RESTORE, refusal=no_dump)
        rejected = () if seen.plain else ((REVERT, "it takes the schema back, and not what was written into rows"),)
        return Choice(RESTORE, (why,), rejected)
    if not against_revert:
        if seen.comparison is None and seen.dump:
            return Choice(
                RESTORE,
                (f"no catalogue was recorded with {seen.label}: what a revert leaves could not be compared",),
                ((REVERT, "its outcome could not be proven"),),
            )
        added = len(seen.judgement.added)
        reasons = [f"{added} migration{'' if added == 1 else 's'} applied since can be taken back, and rows stay"]
        if seen.comparison is not None and seen.comparison.revert == "destroys":
            reasons.append("what that destroys stays in the copy that is set aside")
        if seen.rehearsed:
            reasons.append(f"rehearsed: the schema is {seen.rehearsed} with that of {seen.label}")
        why_not = no_dump or "rows written since would be set aside with the database"
        return Choice(REVERT, tuple(reasons), ((RESTORE, why_not),))
    if seen.judgement.verdict in ("equal", "compatible") and not seen.judgement.added:
        return Choice(
            NOTHING,
            refusal=f"the schema is {seen.judgement.verdict} with that of {seen.label}, and no migration was applied"
            " since: there is no reason to change the database",
        )
    if no_dump:
        return Choice(RESTORE, rejected=((REVERT, against_revert),), refusal=f"{against_revert}, and {no_dump}")
    return Choice(RESTORE, (against_revert,), ((REVERT, against_revert),))


@dataclass(frozen=True)
class DatabasePlan:
    """One rollback of a database with its release, complete: it is carried out as it stands here.

    ``target`` is the restore point, the dump's name or, for an undo, the database that was set aside. ``migrations``
    are taken back in this order. ``ready`` tells that the database to swap in is beside the live one already.
    ``stake`` says, in sentences, what is set aside or cannot come back; ``release`` is what happens to the release.
    ``whole`` tells that every service goes back but the database's, ``volumes`` whose content goes back, and
    ``emptied`` those that are empty afterwards.
    """

    application: str
    database: str
    how: str
    target: str
    label: str
    release: _plan.Plan
    migrations: tuple[str, ...] = ()
    recorded: tuple[str, ...] | None = None
    ready: bool = False
    reasons: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    stake: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    whole: bool = False
    volumes: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Identify the plan by what it does: an approval is bound to this.

        What changes while somebody thinks it over is left out, such as the rows at stake and where an image lies.
        """
        release = asdict(self.release)
        release["images"] = [[image.service, image.image_id] for image in self.release.images]
        del release["schema"], release["warnings"]
        done: list[Any] = [self.application, self.database, self.how, self.target, self.migrations, release]
        if self.whole or self.volumes:
            done += [self.whole, self.volumes]
        if self.emptied:
            done += [self.emptied]
        return hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def changed(self) -> bool:
        """Whether carrying it out changes anything."""
        return self.how != NOTHING or self.release.changed or bool(self.volumes or self.emptied)

    def sentences(self) -> list[str]:
        """Return the steps as a person reads them, in the order in which they happen."""
        told = []
        if self.how == RESTORE and not self.ready:
            told.append(f"restore the database of {self.target} beside the live one, and compare it")
        told += [f"restore the content of volume {name} beside the live one, and compare it" for name in self.volumes]
        stops = self.how != NOTHING or bool(self.volumes or self.emptied)
        if stops:
            told.append("stop all services but the database's" if self.whole else "stop the services that carry code")
        if self.how == REVERT:
            told.append(f"copy {self.database} inside its server and set the copy aside")
            told += [f"take back {name}" for name in self.migrations]
        elif self.how == ELSEWHERE:
            told.append(f"wait until {self.database or 'the database'} has gone back on its host")
        elif self.how in (RESTORE, UNDO):
            what = f"the database of {self.target}" if self.how == RESTORE else self.target
            told.append(f"swap {what} in; what is live is set aside")
        told += [f"swap the content of volume {name} in; what is there is set aside" for name in self.volumes]
        told += [f"empty volume {name}; what is there is set aside" for name in self.emptied]
        return [*told, *self.release.sentences()] + (["start the services"] if stops else [])


def plan_to_dict(plan: DatabasePlan) -> dict[str, Any]:
    """Return plain data for JSON, with what readers want to know at the top."""
    return {
        **asdict(plan),
        "hash": plan.hash,
        "changed": plan.changed,
        "steps": plan.sentences(),
        "kind": plan.how,
        "running": plan.release.running,
        "running_label": plan.release.running_label,
        "release": _plan.plan_to_dict(plan.release),
    }


def plan_from_dict(data: Mapping[str, Any]) -> DatabasePlan:
    """Rebuild a plan. Raises ValueError when it is not the one that its hash names."""
    try:
        values = {"emptied": (), **{name: data[name] for name in DatabasePlan.__dataclass_fields__ if name in data}}
        values["release"] = _plan.plan_from_dict(data["release"])
        for name in ("migrations", "reasons", "stake", "warnings", "volumes", "emptied"):
            values[name] = tuple(values[name])
        values["recorded"] = None if data["recorded"] is None else tuple(data["recorded"])
        values["rejected"] = tuple((option, why) for option, why in data["rejected"])
        plan = DatabasePlan(**values)
        wanted = data["hash"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the plan cannot be read: {error!r}") from error
    if plan.hash != wanted:
        raise ValueError(f"the plan is not the one that was prepared: its hash is {plan.hash} and not {wanted}")
    return plan


def with_rehearsal(seen: Observed, verdict: str, reasons: Sequence[str]) -> Observed:
    """Return what was observed, with what a rehearsal found."""
    return replace(seen, rehearsed=verdict, rehearsal_reasons=tuple(reasons))


def told_change(table: str, change: Mapping[str, Any]) -> str:
    """Say in words what changed in one table since a restore point."""
    if change.get("gone"):
        return f"{table}: is gone, it had {change['rows_then']} rows"
    if "inserted" in change:
        return f"{table}: about {change['inserted']} inserted, {change['updated']} updated, {change['deleted']} deleted"
    return f"{table}: about {change['rows_now']} rows, {change['rows_then']} then"


def fewer_rows(recorded: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Return, in words, the tables that have fewer rows than were recorded, or are gone."""
    return [
        f"{table} has {found.get(table, 'no')} rows, {count} were recorded"
        for table, count in sorted(recorded.items())
        if found.get(table, -1) < count
    ]
