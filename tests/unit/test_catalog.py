# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a difference between two catalogues means for an older release, and for a revert."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._catalog import (
    compare,
    empty,
    fingerprint,
    judge_application_rollback,
    questions,
    to_dict,
    widened,
)

Change = Callable[[dict[str, Any]], Any]


def column(number: int, type_: str = "text", **given: Any) -> dict[str, Any]:
    return {
        "number": number,
        "type": type_,
        "nullable": True,
        "default": "",
        "identity": "",
        "generated": "",
        **given,
    }


def constraint(kind: str, definition: str, *columns: str, references: str = "") -> dict[str, Any]:
    return {"kind": kind, "definition": definition, "columns": list(columns), "references": references}


def index(*columns: str, unique: bool = False, definition: str = "CREATE INDEX") -> dict[str, Any]:
    return {"unique": unique, "definition": definition, "columns": list(columns)}


def table(oid: int, columns: dict[str, Any], rows: int = 100, **given: Any) -> dict[str, Any]:
    return {
        "kind": "table",
        "oid": oid,
        "rows": rows,
        "row_security": False,
        "columns": columns,
        "constraints": {},
        "indexes": {},
        "triggers": {},
        **given,
    }


RECORDED: dict[str, Any] = {
    **empty(),
    "tables": {
        "public.jobs": table(
            1,
            {
                "id": column(1, "integer", nullable=False, default="nextval('public.jobs_id_seq'::regclass)"),
                "title": column(2, "character varying(40)", nullable=False),
                "customer": column(3),
                "status": column(4, "public.job_status", nullable=False, default="'queued'::public.job_status"),
                "amount": column(5, "integer"),
                "price": column(6, "numeric(10,2)"),
            },
            constraints={
                "jobs_pkey": constraint("primary key", "PRIMARY KEY (id)", "id"),
                "jobs_title_key": constraint("unique", "UNIQUE (title)", "title"),
                "jobs_amount_check": constraint("check", "CHECK ((amount >= 0))", "amount"),
            },
            indexes={"jobs_status": index("status"), "jobs_mail": index("customer", unique=True)},
            triggers={"audit": {"definition": "CREATE TRIGGER audit", "enabled": "O"}},
        ),
        "public.events": table(
            2,
            {"id": column(1, "bigint", nullable=False, identity="by default"), "job": column(2, "integer")},
            constraints={
                "events_job_fkey": constraint(
                    "foreign key",
                    "FOREIGN KEY (job) REFERENCES public.jobs(id) ON DELETE CASCADE",
                    "job",
                    references="public.jobs",
                )
            },
        ),
    },
    "enums": {"public.job_status": ["queued", "done"]},
    "domains": {"public.email": "text CHECK (VALUE ~ '@')"},
    "views": {"public.open_jobs": {"kind": "view", "definition": "SELECT id FROM public.jobs"}},
    "functions": {"public.total()": "f integer sql"},
    "sequences": {
        "public.jobs_id_seq": {"type": "integer", "owned_by": "public.jobs.id"},
        "public.numbers": {"type": "bigint", "owned_by": ""},
    },
    "extensions": {"pgcrypto": "1.3"},
}


def jobs(live: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = live["tables"]["public.jobs"]
    return entry


def changed(change: Change) -> dict[str, Any]:
    live = copy.deepcopy(RECORDED)
    change(live)
    return live


def set_column(name: str, **given: Any) -> Change:
    return lambda live: jobs(live)["columns"][name].update(given)


def new_column(name: str, type_: str = "text", **given: Any) -> Change:
    return lambda live: jobs(live)["columns"].update({name: column(9, type_, **given)})


def put(part: str, name: str, value: Any) -> Change:
    return lambda live: jobs(live)[part].update({name: value})


def drop(part: str, name: str) -> Change:
    return lambda live: jobs(live)[part].pop(name)


def put_top(part: str, name: str, value: Any) -> Change:
    return lambda live: live[part].update({name: value})


def drop_top(part: str, name: str) -> Change:
    return lambda live: live[part].pop(name)


def both(*changes: Change) -> Change:
    def apply(live: dict[str, Any]) -> None:
        for change in changes:
            change(live)

    return apply


def rename_column(live: dict[str, Any]) -> None:
    jobs(live)["columns"]["client"] = jobs(live)["columns"].pop("customer")


def rename_table(live: dict[str, Any]) -> None:
    live["tables"]["public.tasks"] = live["tables"].pop("public.jobs")


def readded_column(live: dict[str, Any]) -> None:
    jobs(live)["columns"]["customer"]["number"] = 7


def moved_to_another_server(live: dict[str, Any]) -> None:
    for number, entry in enumerate(live["tables"].values()):
        entry.update(oid=900 + number, rows=-1)
        for name in entry["columns"]:
            entry["columns"][name]["number"] += 3


INVOICES = table(3, {"id": column(1, "integer"), "job": column(2, "integer")})
INVOICE_KEY = "FOREIGN KEY (job) REFERENCES public.jobs(id)"


def invoices(definition: str = INVOICE_KEY) -> Change:
    key = constraint("foreign key", definition, "job", references="public.jobs")
    return put_top("tables", "public.invoices", {**INVOICES, "constraints": {"invoices_job": key}})


HARMLESS: list[tuple[str, Change, dict[str, Any], str]] = [
    (
        "a new table",
        put_top("tables", "public.invoices", INVOICES),
        {"rows": {"public.invoices": 0}},
        "table public.invoices is new",
    ),
    (
        "a new table with rows",
        put_top("tables", "public.invoices", INVOICES),
        {"rows": {"public.invoices": 3}},
        "table public.invoices is new",
    ),
    (
        "a nullable column",
        new_column("email"),
        {"filled": {"public.jobs.email": 0}},
        "column public.jobs.email is new (nullable)",
    ),
    (
        "a column with a default",
        new_column("priority", "integer", nullable=False, default="0"),
        {},
        "column public.jobs.priority is new (with a default)",
    ),
    (
        "an identity column",
        new_column("n", "integer", nullable=False, identity="always"),
        {},
        "column public.jobs.n is new (with a default)",
    ),
    (
        "a generated column",
        new_column("n", "integer", nullable=False, generated="(amount + 1)"),
        {},
        "column public.jobs.n is new (generated)",
    ),
    (
        "a plain index",
        put("indexes", "jobs_amount", index("amount")),
        {},
        "index jobs_amount of table public.jobs is new",
    ),
    (
        "no plain index any more",
        drop("indexes", "jobs_status"),
        {},
        "index jobs_status of table public.jobs was dropped",
    ),
    (
        "another plain index",
        put("indexes", "jobs_status", index("status", definition="CREATE INDEX x DESC")),
        {},
        "index jobs_status of table public.jobs was CREATE INDEX and is CREATE INDEX x DESC",
    ),
    (
        "an unused enum value",
        put_top("enums", "public.job_status", ["queued", "done", "cancelled"]),
        {"enum_values": {"public.job_status cancelled public.jobs.status": 0}},
        "value 'cancelled' of enum public.job_status is new, and no row uses it",
    ),
    ("a new enum", put_top("enums", "public.colour", ["red"]), {}, "enum public.colour is new"),
    (
        "a wider text",
        set_column("title", type="character varying(80)"),
        {},
        "column public.jobs.title was character varying(40) and is character varying(80) (wider)",
    ),
    (
        "a text without a limit",
        set_column("title", type="text"),
        {},
        "column public.jobs.title was character varying(40) and is text (wider)",
    ),
    (
        "a wider number",
        set_column("amount", type="bigint"),
        {},
        "column public.jobs.amount was integer and is bigint (wider)",
    ),
    (
        "nullable, and nowhere NULL",
        set_column("title", nullable=True),
        {"nulls": {"public.jobs.title": 0}},
        "column public.jobs.title may be NULL now",
    ),
    (
        "another default",
        set_column("status", default="'done'::public.job_status"),
        {},
        "the default of column public.jobs.status was 'queued'::public.job_status and is 'done'::public.job_status",
    ),
    (
        "no check any more",
        drop("constraints", "jobs_amount_check"),
        {},
        "check jobs_amount_check of table public.jobs was dropped",
    ),
    (
        "a constraint with another name",
        both(
            drop("constraints", "jobs_title_key"),
            put("constraints", "uq_1", constraint("unique", "UNIQUE (title)", "title")),
        ),
        {},
        "constraint jobs_title_key of table public.jobs is called uq_1 now",
    ),
    (
        "unique on a new nullable column",
        both(new_column("code"), put("constraints", "jobs_code", constraint("unique", "UNIQUE (code)", "code"))),
        {},
        "unique jobs_code of table public.jobs is new: UNIQUE (code)",
    ),
    (
        "a unique index on a new nullable column",
        both(new_column("code"), put("indexes", "jobs_code", index("code", unique=True))),
        {},
        "unique index jobs_code of table public.jobs is new",
    ),
    (
        "a check of a new column",
        both(new_column("n", default="0"), put("constraints", "c", constraint("check", "CHECK (n >= 0)", "n"))),
        {},
        "check c of table public.jobs is new: CHECK (n >= 0)",
    ),
    (
        "a foreign key of a new table without rows",
        invoices(),
        {"rows": {"public.invoices": 0}},
        "foreign key invoices_job of new table public.invoices refers to public.jobs",
    ),
    (
        "a foreign key that lets go",
        invoices(f"{INVOICE_KEY} ON DELETE CASCADE"),
        {"rows": {"public.invoices": 3}},
        "foreign key invoices_job of new table public.invoices refers to public.jobs",
    ),
    (
        "a new view",
        put_top("views", "public.v", {"kind": "view", "definition": "SELECT 1"}),
        {},
        "view public.v is new",
    ),
    ("a new function", put_top("functions", "public.f()", "f"), {}, "function public.f() is new"),
    ("a new domain", put_top("domains", "public.d", "text"), {}, "domain public.d is new"),
    (
        "a new sequence",
        put_top("sequences", "public.s", {"type": "bigint", "owned_by": ""}),
        {},
        "sequence public.s is new",
    ),
    (
        "a wider sequence",
        put_top("sequences", "public.jobs_id_seq", {"type": "bigint", "owned_by": "public.jobs.id"}),
        {},
        "sequence public.jobs_id_seq was changed",
    ),
    ("a new extension", put_top("extensions", "hstore", "1.8"), {}, "extension hstore is new"),
    ("a newer extension", put_top("extensions", "pgcrypto", "1.4"), {}, "extension pgcrypto is 1.4 and was 1.3"),
    ("another order of columns", readded_column, {}, "the columns of table public.jobs stand in another order"),
]


@pytest.mark.parametrize(("change", "facts", "note"), [row[1:] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
def test_what_an_older_release_can_live_with(change: Change, facts: dict[str, Any], note: str) -> None:
    found = compare(RECORDED, changed(change), added=["M"], facts=facts)
    assert found.reasons == ()
    assert found.verdict == ("compatible" if note else "equal")
    assert not note or note in found.notes


FATAL: list[tuple[str, Change, dict[str, Any], str]] = [
    ("a table dropped", drop_top("tables", "public.events"), {}, "table public.events was dropped"),
    ("a table renamed", rename_table, {}, "table public.jobs was renamed to public.tasks"),
    (
        "a table that is something else",
        lambda live: jobs(live).update(kind="partitioned table"),
        {},
        "public.jobs was a table and is a partitioned table",
    ),
    (
        "row security",
        lambda live: jobs(live).update(row_security=True),
        {},
        "row security of table public.jobs was switched on",
    ),
    ("a column dropped", drop("columns", "customer"), {}, "column public.jobs.customer was dropped"),
    ("a column renamed", rename_column, {}, "column public.jobs.customer was renamed to client"),
    (
        "a column retyped",
        set_column("amount", type="boolean"),
        {},
        "column public.jobs.amount was integer and is boolean",
    ),
    (
        "a narrower text",
        set_column("title", type="character varying(20)"),
        {},
        "column public.jobs.title was character varying(40) and is character varying(20)",
    ),
    (
        "a column NOT NULL without default",
        new_column("due", "date", nullable=False),
        {},
        "column public.jobs.due is new, NOT NULL and without a default: rows without it are refused",
    ),
    (
        "an old column NOT NULL",
        set_column("customer", nullable=False),
        {},
        "column public.jobs.customer is NOT NULL now",
    ),
    (
        "NULLs where there were none",
        set_column("title", nullable=True),
        {"nulls": {"public.jobs.title": 2}},
        "column public.jobs.title may be NULL now, and is in 2 rows",
    ),
    (
        "perhaps NULLs",
        set_column("title", nullable=True),
        {},
        "column public.jobs.title may be NULL now, and whether it is somewhere is not known",
    ),
    (
        "no default any more",
        set_column("status", default=""),
        {},
        "the default of column public.jobs.status was 'queued'::public.job_status and is none",
    ),
    ("computed now", set_column("amount", generated="1"), {}, "column public.jobs.amount is computed from others now"),
    (
        "identity always",
        set_column("id", default="", identity="always"),
        {},
        "the default of column public.jobs.id was nextval('public.jobs_id_seq'::regclass) and is always",
    ),
    (
        "a new unique",
        put("constraints", "u", constraint("unique", "UNIQUE (customer)", "customer")),
        {},
        "unique u of table public.jobs is new: UNIQUE (customer)",
    ),
    (
        "unique on a new column with a default",
        both(new_column("code", default="1"), put("constraints", "u", constraint("unique", "UNIQUE (code)", "code"))),
        {},
        "unique u of table public.jobs is new: UNIQUE (code)",
    ),
    (
        "a new check",
        put("constraints", "c", constraint("check", "CHECK (amount > 1)", "amount")),
        {},
        "check c of table public.jobs is new: CHECK (amount > 1)",
    ),
    (
        "a stricter check",
        put("constraints", "jobs_amount_check", constraint("check", "CHECK (amount > 9)", "amount")),
        {},
        "constraint jobs_amount_check of table public.jobs was CHECK ((amount >= 0)) and is CHECK (amount > 9)",
    ),
    (
        "a new foreign key",
        put(
            "constraints", "f", constraint("foreign key", "FOREIGN KEY (amount) REFERENCES public.events(id)", "amount")
        ),
        {},
        "foreign key f of table public.jobs is new: FOREIGN KEY (amount) REFERENCES public.events(id)",
    ),
    (
        "a foreign key of a new table with rows",
        invoices(),
        {"rows": {"public.invoices": 3}},
        (
            "foreign key invoices_job of new table public.invoices refers to public.jobs: rows of"
            " public.jobs that it refers"
            " to can be deleted no more"
        ),
    ),
    (
        "a filled foreign key of a new column",
        both(
            new_column("event", "bigint"),
            put(
                "constraints",
                "f",
                constraint(
                    "foreign key",
                    "FOREIGN KEY (event) REFERENCES public.events(id)",
                    "event",
                    references="public.events",
                ),
            ),
        ),
        {"filled": {"public.jobs.event": 1}},
        (
            "foreign key f of table public.jobs is new: FOREIGN KEY (event) REFERENCES"
            " public.events(id): rows of public.events"
            " that it refers to can be deleted no more"
        ),
    ),
    (
        "no unique any more",
        drop("constraints", "jobs_title_key"),
        {},
        "unique jobs_title_key of table public.jobs was dropped: an upsert needs it",
    ),
    (
        "no cascade any more",
        lambda live: live["tables"]["public.events"]["constraints"].pop("events_job_fkey"),
        {},
        "foreign key events_job_fkey of table public.events was dropped: it deletes or changes rows",
    ),
    (
        "a unique index",
        put("indexes", "u", index("amount", unique=True)),
        {},
        "unique index u of table public.jobs is new",
    ),
    (
        "no unique index any more",
        drop("indexes", "jobs_mail"),
        {},
        "unique index jobs_mail of table public.jobs was dropped",
    ),
    (
        "a trigger",
        put("triggers", "t", {"definition": "CREATE TRIGGER t", "enabled": "O"}),
        {},
        "trigger t of table public.jobs is new",
    ),
    ("no trigger any more", drop("triggers", "audit"), {}, "trigger audit of table public.jobs was dropped"),
    (
        "a trigger switched off",
        put("triggers", "audit", {"definition": "CREATE TRIGGER audit", "enabled": "D"}),
        {},
        "trigger audit of table public.jobs was changed",
    ),
    (
        "an enum value in use",
        put_top("enums", "public.job_status", ["queued", "done", "cancelled"]),
        {"enum_values": {"public.job_status cancelled public.jobs.status": 4}},
        "value 'cancelled' of enum public.job_status is new, and in use in public.jobs.status (4 rows)",
    ),
    (
        "an enum value, perhaps in use",
        put_top("enums", "public.job_status", ["queued", "done", "cancelled"]),
        {},
        "value 'cancelled' of enum public.job_status is new, and whether public.jobs.status uses it is not known",
    ),
    (
        "an enum value gone",
        put_top("enums", "public.job_status", ["queued"]),
        {},
        "value 'done' of enum public.job_status is gone",
    ),
    (
        "enum values in another order",
        put_top("enums", "public.job_status", ["done", "queued"]),
        {},
        "the values of enum public.job_status stand in another order",
    ),
    ("an enum dropped", drop_top("enums", "public.job_status"), {}, "enum public.job_status was dropped"),
    ("a view dropped", drop_top("views", "public.open_jobs"), {}, "view public.open_jobs was dropped"),
    (
        "a view changed",
        put_top("views", "public.open_jobs", {"kind": "view", "definition": "SELECT 1"}),
        {},
        "view public.open_jobs was changed",
    ),
    ("a function dropped", drop_top("functions", "public.total()"), {}, "function public.total() was dropped"),
    ("a function changed", put_top("functions", "public.total()", "g"), {}, "function public.total() was changed"),
    ("a domain changed", put_top("domains", "public.email", "text"), {}, "domain public.email was changed"),
    ("a sequence dropped", drop_top("sequences", "public.numbers"), {}, "sequence public.numbers was dropped"),
    ("an extension dropped", drop_top("extensions", "pgcrypto"), {}, "extension pgcrypto was dropped"),
]


@pytest.mark.parametrize(("change", "facts", "reason"), [row[1:] for row in FATAL], ids=[row[0] for row in FATAL])
def test_what_an_older_release_cannot_live_with(change: Change, facts: dict[str, Any], reason: str) -> None:
    found = compare(RECORDED, changed(change), added=["M"], facts=facts)
    assert found.verdict == "incompatible"
    assert reason in found.reasons


@pytest.mark.parametrize(
    ("change", "added", "missing", "cannot", "facts", "verdict", "reasons"),
    [
        (both(), [], [], "", {}, "not needed", ()),
        # A migration of rows alone: the catalogue is the same, the history is not.
        (both(), ["M"], [], "", {}, "loses nothing", ()),
        (new_column("email"), ["M"], [], "", {"filled": {"public.jobs.email": 0}}, "loses nothing", ()),
        (
            new_column("email"),
            ["M"],
            [],
            "",
            {"filled": {"public.jobs.email": 1}},
            "destroys",
            ("destroys what column public.jobs.email holds in 1 row",),
        ),
        (
            new_column("email"),
            ["M"],
            [],
            "",
            {},
            "destroys",
            ("destroys what column public.jobs.email holds in an unknown number of rows",),
        ),
        (new_column("sum", generated="1"), ["M"], [], "", {}, "loses nothing", ()),
        (
            put_top("tables", "public.invoices", INVOICES),
            ["M"],
            [],
            "",
            {"rows": {"public.invoices": 7}},
            "destroys",
            ("destroys table public.invoices with 7 rows",),
        ),
        (
            put_top("enums", "public.job_status", ["queued", "done", "x"]),
            ["M"],
            [],
            "",
            {"enum_values": {"public.job_status x public.jobs.status": 4}},
            "destroys",
            ("destroys that 4 rows have the value 'x' of enum public.job_status",),
        ),
        (
            drop("columns", "customer"),
            ["M"],
            [],
            "",
            {},
            "cannot",
            ("cannot bring back what column public.jobs.customer held, in 100 rows when it was recorded",),
        ),
        (
            drop_top("tables", "public.events"),
            ["M"],
            [],
            "",
            {},
            "cannot",
            ("cannot bring back what table public.events held, 100 rows when it was recorded",),
        ),
        (
            set_column("amount", type="boolean"),
            ["M"],
            [],
            "",
            {},
            "cannot",
            ("cannot bring back what turning public.jobs.amount from integer into boolean cut away",),
        ),
        (set_column("amount", type="bigint"), ["M"], [], "", {}, "loses nothing", ()),
        (set_column("amount", type="text"), ["M"], [], "", {}, "loses nothing", ()),
        (rename_column, ["M"], [], "", {}, "loses nothing", ()),
        (rename_table, ["M"], [], "", {}, "loses nothing", ()),
        (
            new_column("email"),
            ["M"],
            [],
            "prisma has no down migrations",
            {},
            "cannot",
            ("prisma has no down migrations",),
        ),
        (
            new_column("email"),
            [],
            [],
            "",
            {},
            "cannot",
            ("no migration was added since: the schema was changed by other means",),
        ),
        (both(), ["M"], ["L"], "", {}, "cannot", ("migrations recorded as applied are applied no more: L",)),
    ],
)
def test_what_a_revert_does(
    change: Change,
    added: list[str],
    missing: list[str],
    cannot: str,
    facts: dict[str, Any],
    verdict: str,
    reasons: tuple[str, ...],
) -> None:
    found = compare(RECORDED, changed(change), added=added, missing=missing, cannot_revert=cannot, facts=facts)
    assert (found.revert, found.revert_reasons) == (verdict, reasons)
    assert json.loads(json.dumps(to_dict(found))) == to_dict(found)


def test_a_history_that_went_back_is_no_equal_one() -> None:
    found = compare(RECORDED, RECORDED, missing=["M1"])
    assert found.verdict == "incompatible"
    assert found.reasons == ("recorded as applied, and applied no more: M1",)


def test_another_server_is_the_same_schema() -> None:
    live = changed(moved_to_another_server)
    assert compare(RECORDED, live).verdict == "equal"
    assert fingerprint(live) == fingerprint(RECORDED)


def test_a_renamed_column_on_another_server_is_a_dropped_one() -> None:
    live = changed(both(rename_column, moved_to_another_server))
    assert "column public.jobs.customer was dropped" in compare(RECORDED, live).reasons


@pytest.mark.parametrize("change", [row[1] for row in FATAL], ids=[row[0] for row in FATAL])
def test_the_fingerprint_tells_every_difference(change: Change) -> None:
    assert fingerprint(changed(change)) != fingerprint(RECORDED)


@pytest.mark.parametrize("change", [readded_column, lambda live: jobs(live).update(rows=5, oid=77)])
def test_the_fingerprint_is_not_about_places_and_rows(change: Change) -> None:
    assert fingerprint(changed(change)) == fingerprint(RECORDED)


@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        ("smallint", "integer", True),
        ("integer", "bigint", True),
        ("bigint", "numeric", True),
        ("bigint", "integer", False),
        ("bigint", "numeric(10,0)", False),
        ("real", "double precision", True),
        ("double precision", "real", False),
        ("character varying(5)", "character varying(9)", True),
        ("character varying(9)", "character varying(5)", False),
        ("character varying", "character varying(5)", False),
        ("character varying(5)", "character varying", True),
        ("character varying", "text", True),
        ("text", "character varying", True),
        ("text", "character varying(5)", False),
        ("numeric(10,2)", "numeric(12,2)", True),
        ("numeric(10,2)", "numeric(12,4)", True),
        ("numeric(10,2)", "numeric(10,4)", False),
        ("numeric(10,2)", "numeric", True),
        ("numeric", "numeric(10,2)", False),
        ("text", "jsonb", False),
        ("timestamp without time zone", "timestamp with time zone", False),
    ],
)
def test_wider_types(before: str, after: str, wider: bool) -> None:
    assert widened(before, after) is wider


@pytest.mark.parametrize(
    ("change", "sql"),
    [
        (new_column("email"), 'SELECT count(*) FROM "public"."jobs" WHERE "email" IS NOT NULL'),
        (new_column('e"mail'), 'SELECT count(*) FROM "public"."jobs" WHERE "e""mail" IS NOT NULL'),
        (set_column("title", nullable=True), 'SELECT count(*) FROM "public"."jobs" WHERE "title" IS NULL'),
        (put_top("tables", "public.invoices", INVOICES), 'SELECT count(*) FROM "public"."invoices" WHERE true'),
        (
            put_top("enums", "public.job_status", ["queued", "done", "it's"]),
            """SELECT count(*) FROM "public"."jobs" WHERE "status"::text = 'it''s'""",
        ),
        (
            both(
                put_top("enums", "public.job_status", ["queued", "done", "x"]),
                set_column("status", type="public.job_status[]"),
            ),
            """SELECT count(*) FROM "public"."jobs" WHERE 'x' = ANY ("status"::text[])""",
        ),
        (rename_column, ""),
        (rename_table, ""),
        (new_column("n", generated="1"), ""),
    ],
)
def test_what_is_asked_of_the_live_database(change: Change, sql: str) -> None:
    assert [question.sql for question in questions(RECORDED, changed(change))] == ([sql] if sql else [])


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({}, "the recorded catalogue is of a form that this collection does not read"),
        ({"schema": 2}, "the recorded catalogue is of a form that this collection does not read"),
        ({**RECORDED, "enums": None}, "the recorded catalogue has no enums"),
    ],
)
def test_a_catalogue_that_is_none(recorded: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        compare(recorded, RECORDED)


LIVE = changed(new_column("email"))


@pytest.mark.parametrize(
    ("recorded", "live", "added", "missing", "verdict", "reason"),
    [
        (RECORDED, RECORDED, [], [], "equal", ""),
        (RECORDED, LIVE, ["M"], [], "compatible", ""),
        (RECORDED, RECORDED, [], ["M"], "incompatible", "recorded as applied, and applied no more: M"),
        (
            RECORDED,
            changed(drop("columns", "customer")),
            ["M"],
            [],
            "incompatible",
            "column public.jobs.customer was dropped",
        ),
        # The catalogues say it, whether or not a migration tool is declared.
        (RECORDED, LIVE, None, None, "compatible", ""),
        # No catalogue: the histories alone.
        (None, None, [], [], "equal", ""),
        (None, LIVE, ["M"], [], "incompatible", "applied since: M"),
        (None, LIVE, [], ["M"], "incompatible", "recorded and applied no more: M"),
        (None, None, None, None, "unknown", "the migration history is not known on both sides"),
    ],
)
def test_whether_an_older_release_may_run(
    recorded: Any, live: Any, added: Any, missing: Any, verdict: str, reason: str
) -> None:
    found = judge_application_rollback(recorded, live, added=added, missing=missing)
    assert found.verdict == verdict
    assert not reason or reason in found.reasons
    assert bool(found.reasons) == bool(reason)


def test_what_no_catalogue_shows_is_said() -> None:
    found = judge_application_rollback(RECORDED, LIVE, added=["M"], missing=[], refuses_unknown="knex refuses")
    assert found.notes == (
        "column public.jobs.email is new (nullable)",
        "knex refuses",
        "what these migrations did to rows is in no catalogue: M",
    )
