# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database's catalogue as plain data, and what a difference between two means. Pure; private to this collection.

A catalogue is a dict, as ``_catalog_reader.read`` makes it and as JSON keeps it::

    tables:     {"public.jobs": {kind, oid, rows (an estimate, -1 unknown), row_security, columns, constraints,
                 indexes, triggers}}
      columns:     {name: {number, type, nullable, default, identity, generated}}  default as SQL text, '' for none
      constraints: {name: {kind, definition, columns, references}}   kind: primary key, unique, check, foreign key, …
      indexes:     {name: {unique, definition, columns}}             those that no constraint makes
      triggers:    {name: {definition, enabled}}
    enums:      {"public.status": [label, …]}      domains: {name: definition}
    views:      {name: {kind, definition}}         functions: {"public.f(integer)": definition's hash and result}
    sequences:  {name: {type, owned_by}}           extensions: {name: version}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Catalog = Mapping[str, Any]

SCHEMA = 1
# What tells two moments or two servers apart, and not two schemas.
_INCIDENTAL = ("oid", "number", "rows")

NOTHING, DESTROYS, LOST = "nothing", "destroys", "lost"


@dataclass(frozen=True)
class Difference:
    """One difference. ``fits`` tells whether the recorded release can live with it.

    ``revert`` is what going back by migrations would do here: lose nothing, destroy what ``revert_told`` says, or be
    unable to bring it back (lost). ``rows`` is how many rows that is about, None when nobody knows.
    """

    object: str
    told: str
    fits: bool
    revert: str = NOTHING
    revert_told: str = ""
    rows: int | None = 0


@dataclass(frozen=True)
class Comparison:
    """The recorded catalogue against the live one.

    ``verdict``: equal, compatible or incompatible with the recorded release, for ``reasons``; ``notes`` are the
    differences that it can live with. ``revert``: not needed, loses nothing, destroys, or cannot, for
    ``revert_reasons``.
    """

    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    revert: str
    revert_reasons: tuple[str, ...]
    added: tuple[str, ...]
    missing: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Judgement:
    """Whether an older release may run on the live schema without the database going back.

    ``verdict``: equal, compatible, incompatible or unknown.
    """

    verdict: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A fact that the comparison needs from the live database: one statement that returns one number."""

    fact: str
    key: str
    table: str
    sql: str


def fingerprint(catalog: Catalog) -> str:
    """Identify a schema: equal for equal schemas, whatever the order of columns, the rows and the server."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(entry) for key, entry in value.items() if key not in _INCIDENTAL}
        return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    kept = {name: plain(catalog.get(name) or {}) for name in sorted(_PARTS)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def quoted(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_path(name: str) -> str:
    """Quote a name with its schema, as catalogues write it."""
    schema, _dot, rest = name.partition(".")
    return f"{quoted(schema)}.{quoted(rest)}"


def _widths(text: str) -> tuple[str, list[int]]:
    matched = re.match(r"^([a-z ]+?)\s*\(([\d, -]+)\)$", text)
    if not matched:
        return text, []
    return matched.group(1), [int(part) for part in matched.group(2).split(",")]


_WHOLE = ("smallint", "integer", "bigint", "numeric")


def widened(before: str, after: str) -> bool:
    """Whether every value of type ``before`` is one of ``after``, and is written the same way."""
    (old, old_widths), (new, new_widths) = _widths(before), _widths(after)
    if old in _WHOLE[:3] and new in _WHOLE:
        return not new_widths and _WHOLE.index(new) > _WHOLE.index(old)
    if old == "real":
        return new == "double precision"
    if old == "character varying" and new in ("character varying", "text"):
        return not new_widths or bool(old_widths and new_widths[0] >= old_widths[0])
    if old == "text":
        return after == "character varying"
    if old == new == "numeric" and old_widths:
        precision, scale = (*old_widths, 0)[:2]
        if not new_widths:
            return True
        wider, finer = (*new_widths, 0)[:2]
        return finer >= scale and wider - finer >= precision - scale
    return False


def _writable_without(column: Mapping[str, Any]) -> bool:
    """Whether a row can be inserted that does not mention this column."""
    return bool(column["nullable"] or column["default"] or column["identity"] or column["generated"])


def _untouched(names: Sequence[str], added: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether these columns are all new, and stay NULL when a release does not know them."""
    return bool(names) and all(
        name in added and added[name]["nullable"] and not added[name]["default"] and not added[name]["generated"]
        for name in names
    )


def _about(rows: int | None) -> str:
    if rows is None or rows < 0:
        return "an unknown number of rows"
    return f"{rows} row{'' if rows == 1 else 's'}"


def _renamed_tables(recorded: Catalog, live: Catalog) -> dict[str, str]:
    gone = {entry["oid"]: name for name, entry in recorded["tables"].items() if name not in live["tables"]}
    return {
        gone[entry["oid"]]: name
        for name, entry in live["tables"].items()
        if name not in recorded["tables"] and entry.get("oid") in gone
    }


def _renamed_columns(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return renamed columns: the same place in the same table. Another table's places say nothing."""
    if before.get("oid") != after.get("oid"):
        return {}
    gone = {
        (entry["number"], entry["type"]): name
        for name, entry in before["columns"].items()
        if name not in after["columns"]
    }
    return {
        gone[(entry["number"], entry["type"])]: name
        for name, entry in after["columns"].items()
        if name not in before["columns"] and (entry["number"], entry["type"]) in gone
    }


def questions(recorded: Catalog, live: Catalog) -> tuple[Question, ...]:
    """Return what has to be asked of the live database, so that :func:`compare` need not guess."""
    asked = []
    for name, labels in live["enums"].items():
        known = recorded["enums"].get(name)
        new = [label for label in labels if known is not None and label not in known]
        for table, column in _columns_of_type(live, name):
            for label in new:
                literal = "'" + label.replace("'", "''") + "'"
                condition = f"{quoted(column)}::text = {literal}"
                if live["tables"][table]["columns"][column]["type"].endswith("[]"):
                    condition = f"{literal} = ANY ({quoted(column)}::text[])"
                asked.append(
                    Question("enum_values", f"{name} {label} {table}.{column}", table, _count(table, condition))
                )
    renamed = _renamed_tables(recorded, live)
    for name, entry in live["tables"].items():
        before = recorded["tables"].get(name)
        if before is None:
            if name not in renamed.values() and entry["kind"] == "table":
                asked.append(Question("rows", name, name, _count(name, "true")))
            continue
        moved = _renamed_columns(before, entry)
        for column, about in entry["columns"].items():
            then = before["columns"].get(column)
            if then is None and column not in moved.values() and not about["generated"]:
                asked.append(
                    Question("filled", f"{name}.{column}", name, _count(name, f"{quoted(column)} IS NOT NULL"))
                )
            elif then is not None and about["nullable"] and not then["nullable"]:
                asked.append(Question("nulls", f"{name}.{column}", name, _count(name, f"{quoted(column)} IS NULL")))
    return tuple(asked)


def _count(table: str, condition: str) -> str:
    return f"SELECT count(*) FROM {quoted_path(table)} WHERE {condition}"


def _columns_of_type(catalog: Catalog, name: str) -> Iterator[tuple[str, str]]:
    bare = name.partition(".")[2]
    wanted = {name, bare, quoted_path(name), f"{name.partition('.')[0]}.{quoted(bare)}"}
    for table, entry in catalog["tables"].items():
        if entry["kind"] == "table":
            for column, about in entry["columns"].items():
                if about["type"].replace("[]", "") in wanted:
                    yield table, column


class _Comparer:
    """Walk through two catalogues side by side."""

    def __init__(self, recorded: Catalog, live: Catalog, facts: Mapping[str, Mapping[str, int | None]]) -> None:
        self.recorded, self.live, self.facts = recorded, live, facts
        self.renamed = _renamed_tables(recorded, live)

    def fact(self, kind: str, key: str) -> int | None:
        return (self.facts.get(kind) or {}).get(key)

    def differences(self) -> Iterator[Difference]:
        yield from self.tables()
        yield from self.enums()
        for part, word in _PLAIN.items():
            yield from self.plain(part, word)

    def tables(self) -> Iterator[Difference]:
        for name, entry in self.recorded["tables"].items():
            if name in self.renamed:
                yield Difference(name, f"table {name} was renamed to {self.renamed[name]}", fits=False)
            elif name not in self.live["tables"]:
                yield Difference(
                    name,
                    f"table {name} was dropped",
                    fits=False,
                    revert=LOST,
                    revert_told=f"what table {name} held, {_about(entry.get('rows'))} when it was recorded",
                    rows=entry.get("rows"),
                )
        for name, entry in self.live["tables"].items():
            if name in self.recorded["tables"]:
                yield from self.table(name, self.recorded["tables"][name], entry)
            elif name not in self.renamed.values():
                rows = self.fact("rows", name)
                empty = rows == 0
                yield Difference(
                    name,
                    f"table {name} is new",
                    fits=True,
                    revert=NOTHING if empty else DESTROYS,
                    revert_told="" if empty else f"table {name} with {_about(rows)}",
                    rows=rows,
                )
                yield from self.keys_of_new_table(name, entry, rows)

    def keys_of_new_table(self, name: str, entry: Mapping[str, Any], rows: int | None) -> Iterator[Difference]:
        """A new table's rows can forbid the older release to delete those that they refer to."""
        for constraint, about in entry["constraints"].items():
            target = about.get("references") or ""
            if about["kind"] == "foreign key" and target in self.recorded["tables"]:
                lets_go = "ON DELETE CASCADE" in about["definition"] or "ON DELETE SET" in about["definition"]
                yield Difference(
                    f"{name}.{constraint}",
                    f"foreign key {constraint} of new table {name} refers to {target}"
                    + ("" if lets_go or rows == 0 else f": rows of {target} that it refers to can be deleted no more"),
                    fits=lets_go or rows == 0,
                )

    def table(self, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
        if before["kind"] != after["kind"]:
            yield Difference(name, f"{name} was a {before['kind']} and is a {after['kind']}", fits=False)
            return
        if before.get("row_security", False) != after.get("row_security", False):
            on = bool(after.get("row_security"))
            yield Difference(name, f"row security of table {name} was switched {'on' if on else 'off'}", fits=not on)
        moved = _renamed_columns(before, after)
        added = {
            column: about
            for column, about in after["columns"].items()
            if column not in before["columns"] and column not in moved.values()
        }
        yield from self.columns(name, before, after, moved, added)
        yield from self.constraints(name, before, after, added)
        yield from self.indexes(name, before, after, added)
        yield from self.triggers(name, before, after)

    def columns(
        self,
        table: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        moved: Mapping[str, str],
        added: Mapping[str, Mapping[str, Any]],
    ) -> Iterator[Difference]:
        for column, then in before["columns"].items():
            path = f"{table}.{column}"
            if column in moved:
                yield Difference(path, f"column {path} was renamed to {moved[column]}", fits=False)
            elif column not in after["columns"]:
                yield Difference(
                    path,
                    f"column {path} was dropped",
                    fits=False,
                    revert=LOST,
                    revert_told=f"what column {path} held, in {_about(before.get('rows'))} when it was recorded",
                    rows=before.get("rows"),
                )
            else:
                yield from _column(path, then, after["columns"][column], self.fact("nulls", path))
        for column, now in added.items():
            path = f"{table}.{column}"
            filled = 0 if now["generated"] else self.fact("filled", path)
            kind = "nullable" if now["nullable"] else "with a default"
            if now["generated"]:
                kind = "generated"
            fits = _writable_without(now)
            yield Difference(
                path,
                f"column {path} is new ({kind})"
                if fits
                else f"column {path} is new, NOT NULL and without a default: rows without it are refused",
                fits=fits,
                revert=NOTHING if filled == 0 else DESTROYS,
                revert_told="" if filled == 0 else f"what column {path} holds in {_about(filled)}",
                rows=filled,
            )
        common = [column for column in before["columns"] if column in after["columns"]]

        def in_order(entry: Mapping[str, Any]) -> list[str]:
            return sorted(common, key=lambda column: entry["columns"][column]["number"])

        if in_order(before) != in_order(after):
            yield Difference(table, f"the columns of table {table} stand in another order", fits=True)

    def constraints(
        self, table: str, before: Mapping[str, Any], after: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Difference]:
        old, new = before["constraints"], after["constraints"]
        only_old = {
            name: entry for name, entry in old.items() if new.get(name, {}).get("definition") != entry["definition"]
        }
        only_new = {
            name: entry for name, entry in new.items() if old.get(name, {}).get("definition") != entry["definition"]
        }
        for name, entry in list(only_new.items()):
            twin = next((one for one, was in only_old.items() if was["definition"] == entry["definition"]), "")
            if twin:
                yield Difference(
                    f"{table}.{name}", f"constraint {twin} of table {table} is called {name} now", fits=True
                )
                del only_old[twin], only_new[name]
        for name, entry in only_old.items():
            gone = [column for column in entry["columns"] if column not in after["columns"]]
            if gone and name not in only_new:
                continue  # it went with its column, and that is told
            if name in only_new:
                now = only_new.pop(name)
                told = f"constraint {name} of table {table} was {entry['definition']} and is {now['definition']}"
                validated = now["definition"].replace(" NOT VALID", "") == entry["definition"].replace(" NOT VALID", "")
                yield Difference(f"{table}.{name}", told, fits=validated)
            else:
                relied_on = entry["kind"] in ("primary key", "unique", "exclusion")
                deletes = entry["kind"] == "foreign key" and re.search(r"ON (DELETE|UPDATE) ", entry["definition"])
                why = ": an upsert needs it" if relied_on else ": it deletes or changes rows" if deletes else ""
                yield Difference(
                    f"{table}.{name}",
                    f"{entry['kind']} {name} of table {table} was dropped{why}",
                    fits=not (relied_on or deletes),
                )
        for name, entry in only_new.items():
            fits = _untouched(entry["columns"], added)
            if entry["kind"] == "check":
                fits = bool(entry["columns"]) and set(entry["columns"]) <= set(added)
            told = f"{entry['kind']} {name} of table {table} is new: {entry['definition']}"
            if fits and entry["kind"] == "foreign key" and "ON DELETE" not in entry["definition"]:
                filled = [self.fact("filled", f"{table}.{column}") for column in entry["columns"]]
                target = entry.get("references") or ""
                if target in self.recorded["tables"] and any(count != 0 for count in filled):
                    fits = False
                    told += f": rows of {target} that it refers to can be deleted no more"
            yield Difference(f"{table}.{name}", told, fits=fits)

    def indexes(
        self, table: str, before: Mapping[str, Any], after: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Difference]:
        old, new = before["indexes"], after["indexes"]
        for name in sorted({*old, *new}):
            then, now = old.get(name), new.get(name)
            path = f"{table}.{name}"
            if then is None and now is not None:
                fits = not now["unique"] or _untouched(now["columns"], added)
                word = "unique index" if now["unique"] else "index"
                yield Difference(path, f"{word} {name} of table {table} is new", fits=fits)
            elif then is not None and now is None:
                if any(column not in after["columns"] for column in then["columns"]):
                    continue  # it went with its column
                word = "unique index" if then["unique"] else "index"
                yield Difference(path, f"{word} {name} of table {table} was dropped", fits=not then["unique"])
            elif then is not None and now is not None and then["definition"] != now["definition"]:
                fits = not then["unique"] and not now["unique"]
                told = f"index {name} of table {table} was {then['definition']} and is {now['definition']}"
                yield Difference(path, told, fits=fits)

    def triggers(self, table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
        for name in sorted({*before["triggers"], *after["triggers"]}):
            then, now = before["triggers"].get(name), after["triggers"].get(name)
            if then != now:
                word = "is new" if then is None else "was dropped" if now is None else "was changed"
                yield Difference(f"{table}.{name}", f"trigger {name} of table {table} {word}", fits=False)

    def enums(self) -> Iterator[Difference]:
        old, new = self.recorded["enums"], self.live["enums"]
        for name in sorted({*old, *new}):
            if name not in old:
                yield Difference(name, f"enum {name} is new", fits=True)
                continue
            if name not in new:
                yield Difference(name, f"enum {name} was dropped", fits=False)
                continue
            for label in old[name]:
                if label not in new[name]:
                    yield Difference(name, f"value '{label}' of enum {name} is gone", fits=False)
            for label in new[name]:
                if label not in old[name]:
                    yield self.enum_value(name, label)
            if [label for label in new[name] if label in old[name]] != [
                label for label in old[name] if label in new[name]
            ]:
                yield Difference(name, f"the values of enum {name} stand in another order", fits=False)

    def enum_value(self, name: str, label: str) -> Difference:
        used: dict[str, int | None] = {
            f"{table}.{column}": self.fact("enum_values", f"{name} {label} {table}.{column}")
            for table, column in _columns_of_type(self.live, name)
        }
        unknown = [path for path, count in used.items() if count is None]
        where = [f"{path} ({_about(count)})" for path, count in used.items() if count]
        told = f"value '{label}' of enum {name} is new"
        if unknown:
            told += f", and whether {', '.join(unknown)} uses it is not known"
        told += f", and in use in {', '.join(where)}" if where else "" if unknown else ", and no row uses it"
        rows = None if unknown else sum(count or 0 for count in used.values())
        in_use = bool(where or unknown)
        return Difference(
            name,
            told,
            fits=not in_use,
            revert=DESTROYS if in_use else NOTHING,
            revert_told=f"that {_about(rows)} have the value '{label}' of enum {name}" if in_use else "",
            rows=rows,
        )

    def plain(self, part: str, word: str) -> Iterator[Difference]:
        """Things that are compared whole: new ones do no harm, the older release needs what it knows."""
        old, new = self.recorded.get(part) or {}, self.live.get(part) or {}
        for name in sorted({*old, *new}):
            if name not in old:
                yield Difference(name, f"{word} {name} is new", fits=True)
            elif name not in new:
                if part == "sequences" and old[name].get("owned_by"):
                    continue  # it belongs to a column
                yield Difference(name, f"{word} {name} was dropped", fits=False)
            elif old[name] != new[name]:
                if part == "extensions":
                    yield Difference(name, f"extension {name} is {new[name]} and was {old[name]}", fits=True)
                elif part == "sequences":
                    fits = old[name]["type"] == new[name]["type"] or widened(old[name]["type"], new[name]["type"])
                    yield Difference(name, f"sequence {name} was changed", fits=fits)
                else:
                    yield Difference(name, f"{word} {name} was changed", fits=False)


_PLAIN = {
    "domains": "domain",
    "views": "view",
    "functions": "function",
    "sequences": "sequence",
    "extensions": "extension",
}
_PARTS = ("tables", "enums", *_PLAIN)


def _column(path: str, then: Mapping[str, Any], now: Mapping[str, Any], nulls: int | None) -> Iterator[Difference]:
    """Compare one column that both catalogues have."""
    if then["type"] != now["type"]:
        wider = widened(then["type"], now["type"])
        keeps = wider or now["type"] in ("text", "character varying")
        yield Difference(
            path,
            f"column {path} was {then['type']} and is {now['type']}" + (" (wider)" if wider else ""),
            fits=wider,
            revert=NOTHING if keeps else LOST,
            revert_told="" if keeps else f"what turning {path} from {then['type']} into {now['type']} cut away",
            rows=0 if keeps else None,
        )
    if then["nullable"] and not now["nullable"]:
        yield Difference(path, f"column {path} is NOT NULL now", fits=False)
    if not then["nullable"] and now["nullable"]:
        told = f"column {path} may be NULL now"
        if nulls is None:
            told += ", and whether it is somewhere is not known"
        elif nulls:
            told += f", and is in {_about(nulls)}"
        yield Difference(path, told, fits=nulls == 0)
    if then["generated"] != now["generated"]:
        word = "computed from others now" if now["generated"] else "computed no more"
        yield Difference(path, f"column {path} is {word}", fits=False)
    elif (then["default"], then["identity"]) != (now["default"], now["identity"]):
        fits = now["identity"] != "always" and _writable_without(now)
        before, after = then["default"] or then["identity"], now["default"] or now["identity"]
        told = f"the default of column {path} was {before or 'none'} and is {after or 'none'}"
        yield Difference(path, told, fits=fits)


def empty() -> dict[str, Any]:
    """Return the catalogue of a database with nothing in it."""
    return {"schema": SCHEMA, **{name: {} for name in _PARTS}}


def check(catalog: Any) -> Catalog:
    """Return the catalogue; raise ValueError when it is none that this collection can read."""
    if not isinstance(catalog, Mapping) or catalog.get("schema") != SCHEMA:
        raise ValueError("the recorded catalogue is of a form that this collection does not read")
    absent = [name for name in _PARTS if not isinstance(catalog.get(name), Mapping)]
    if absent:
        raise ValueError(f"the recorded catalogue has no {', '.join(absent)}")
    return catalog


def compare(
    recorded: Catalog,
    live: Catalog,
    *,
    added: Sequence[str] = (),
    missing: Sequence[str] = (),
    cannot_revert: str = "",
    facts: Mapping[str, Mapping[str, int | None]] | None = None,
) -> Comparison:
    """Compare the catalogue that was recorded with a release with the live one.

    ``added`` are migrations applied since, ``missing`` those recorded and applied no more; ``cannot_revert`` says why
    the migration tool cannot go back ('' when it can); ``facts`` are the answers to :func:`questions`.
    """
    found = tuple(_Comparer(check(recorded), check(live), facts or {}).differences())
    reasons = [difference.told for difference in found if not difference.fits]
    if missing:
        reasons.append(f"recorded as applied, and applied no more: {', '.join(missing)}")
    notes = tuple(difference.told for difference in found if difference.fits)
    verdict = "incompatible" if reasons else "compatible" if notes else "equal"
    lost = [f"cannot bring back {each.revert_told}" for each in found if each.revert == LOST]
    destroyed = [f"destroys {each.revert_told}" for each in found if each.revert == DESTROYS]
    if not added and not found:
        revert, why = "not needed", []
    elif cannot_revert:
        revert, why = "cannot", [cannot_revert, *lost]
    elif not added:
        revert, why = "cannot", ["no migration was added since: the schema was changed by other means", *lost]
    elif lost:
        revert, why = "cannot", [*lost, *destroyed]
    elif missing:
        revert, why = "cannot", [f"migrations recorded as applied are applied no more: {', '.join(missing)}"]
    elif destroyed:
        revert, why = "destroys", destroyed
    else:
        revert, why = "loses nothing", []
    return Comparison(verdict, tuple(reasons), notes, revert, tuple(why), tuple(added), tuple(missing), found)


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return plain data."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(comparison)))
    return plain


def judge_application_rollback(
    recorded: Catalog | None,
    live: Catalog | None,
    *,
    added: Sequence[str] | None,
    missing: Sequence[str] | None,
    facts: Mapping[str, Mapping[str, int | None]] | None = None,
    refuses_unknown: str = "",
    reason: str = "",
) -> Judgement:
    """Judge whether an older release may run on the live schema.

    ``added`` and ``missing`` are as ``_migration_tools.since`` returns them, None when a history is not known.
    Without both catalogues the histories alone decide, as strictly as they can. ``refuses_unknown`` is what the
    migration tool does with an applied migration that the release does not have, where that matters.
    """
    names, gone = tuple(added or ()), tuple(missing or ())
    notes = [refuses_unknown] if names and refuses_unknown else []
    if recorded is not None and live is not None:
        found = compare(recorded, live, added=names, missing=gone, facts=facts)
        if names:
            notes.append(f"what these migrations did to rows is in no catalogue: {', '.join(names)}")
        return Judgement(found.verdict, found.reasons, (*found.notes, *notes), names, gone)
    if added is None or missing is None:
        return Judgement("unknown", (reason or "the migration history is not known on both sides",))
    if not names and not gone:
        return Judgement("equal")
    told = []
    if names:
        told.append(f"applied since: {', '.join(names)}")
    if gone:
        told.append(f"recorded and applied no more: {', '.join(gone)}")
    told.append("no catalogue was recorded, so whether the release can live with them is not known")
    return Judgement("incompatible", tuple(told), tuple(notes), names, gone)
