# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a database can be restored beside, under which name, and what is swept, kept and given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._restore_plan import (
    Beside,
    Mark,
    Properties,
    Server,
    beside_name,
    create_statement,
    fitting_version,
    guc_list,
    ident,
    is_beside_name,
    literal,
    mark_text,
    preflight,
    properties_from_dict,
    properties_to_dict,
    property_differences,
    property_statements,
    read_mark,
    ready_choice,
    ready_to_drop,
    room_needed,
    standing,
    swap_statements,
)

POINT = "20261122T131500.123Z"
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=timezone.utc)
GB = 10**9


@pytest.mark.parametrize("database", ["shop", "a" * 63, "ö" * 31, 'odd "name"', "x" * 36, "x" * 37, "x" * 38])
@pytest.mark.parametrize("kind", ["side", "ready", "set aside"])
def test_names_fit_and_are_found_again(database: str, kind: str) -> None:
    name = beside_name(database, kind, POINT)
    assert len(name.encode()) <= 63
    assert is_beside_name(database, kind, name)
    assert not is_beside_name(database + "x", kind, name)


def test_long_names_stay_apart() -> None:
    names = {beside_name("a" * 50 + end, kind, POINT) for end in "bc" for kind in ("side", "ready", "set aside")}
    assert len(names) == 6
    assert beside_name("shop", "set aside", POINT) == "shop_old_20261122t131500123z"


@pytest.mark.parametrize(("kind", "stamp"), [("other", POINT), ("side", ""), ("side", "x" * 30)])
def test_no_name_is_made_of_nonsense(kind: str, stamp: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        beside_name("shop", kind, stamp)


@pytest.mark.parametrize("name", ["shop_side_", "shop_side_project", "other_side_20261122t131500123z", "shop"])
def test_a_name_of_somebody_else_is_not_ours(name: str) -> None:
    assert name == "shop_side_project" or not is_beside_name("shop", "side", name)


MARK = Mark("app", "shop", "side", POINT, verified=True, at="2026-11-22T13:00:00Z")


@pytest.mark.parametrize(
    "mark",
    [MARK, replace(MARK, kind="set aside", comment="it's \\ ö", successor=5, note="undone"), Mark("a", "b", "ready")],
)
def test_a_mark_comes_back_as_it_was(mark: Mark) -> None:
    assert read_mark(mark_text(mark)) == mark


@pytest.mark.parametrize(
    "comment",
    [None, "", "a person's words", "schedgen.rollback", "schedgen.rollback {", "schedgen.rollback []",
     'schedgen.rollback {"kind": "side"}', 'schedgen.rollback {"application":"a","database":"b","kind":"x"}'],
)  # fmt: skip
def test_other_comments_are_no_marks(comment: str | None) -> None:
    assert read_mark(comment) is None


def beside(name: str, mark: Mark | None = None, *, oid: int = 1, comment: str | None = None, size: int = 1) -> Beside:
    return Beside(oid, name, True, size, mark_text(mark) if mark else comment)


def test_databases_are_sorted_into_ours_and_others() -> None:
    side = beside_name("shop", "side", POINT)
    stands = standing(
        "app",
        "shop",
        [
            beside("shop", oid=9, comment="live"),
            beside("verified", MARK),
            beside("half", replace(MARK, verified=False)),
            beside(side),
            beside(beside_name("shop", "side", "20261122T131500.124Z"), comment="a person's"),
            beside("kept", replace(MARK, kind="ready")),
            beside("half ready", replace(MARK, kind="ready", verified=False)),
            beside(beside_name("shop", "ready", POINT)),
            beside("old1", replace(MARK, kind="set aside", at="20261122T100000.000Z", successor=7)),
            beside(
                "old2", replace(MARK, kind="set aside", at="20261122T110000.000Z", successor=9, successor_point="P")
            ),
            beside("of another application", replace(MARK, application="other")),
            beside("of another database", replace(MARK, database="other")),
            beside("foreign"),
        ],
    )
    assert stands.live is not None
    assert stands.live.name == "shop"
    assert [entry.name for entry in stands.sides] == ["verified"]
    half = ["half", side, "half ready", beside_name("shop", "ready", POINT)]
    assert [entry.name for entry in stands.crashed] == half
    assert [entry.name for entry in stands.ready] == ["kept"]
    assert [entry.name for entry in stands.aside] == ["old2", "old1"]
    assert stands.restored_from == "P"
    ready = stands.ready_for(POINT)
    assert ready is not None
    assert ready.name == "kept"
    assert stands.ready_for("other") is None


def test_a_live_database_that_was_made_anew_was_not_restored() -> None:
    aside = beside("old", replace(MARK, kind="set aside", successor=9, successor_point="P"))
    assert standing("app", "shop", [beside("shop", oid=10), aside]).restored_from == ""
    assert standing("app", "shop", [aside]).restored_from == ""


LIVE = beside("shop", oid=9)


def aside(at: str, note: str = "", *, successor: int = 9, point: str = "P") -> Beside:
    mark = replace(MARK, kind="set aside", at=at, note=note, successor=successor, successor_point=point)
    return beside(f"old {at}", mark)


@pytest.mark.parametrize(
    ("databases", "restored", "reverted", "unfinished", "newest"),
    [
        ([], "", "", "", ""),
        ([aside("1")], "P", "", "", "old 1"),
        ([aside("1", "undone")], "P", "", "", "old 1"),
        ([aside("1", "reverted")], "", "P", "", "old 1"),
        # A copy that may have to come back is no place for an undo to go to.
        ([aside("1", "reverting")], "", "", "old 1", ""),
        ([aside("1"), aside("2", "reverting", point="Q")], "", "", "old 2", "old 1"),
        ([aside("1"), aside("2", "reverted", point="Q")], "", "Q", "", "old 2"),
        ([aside("1", "reverted"), aside("2", point="Q")], "Q", "", "", "old 2"),
        # What a failed rollback left is kept, and never swapped back in by itself.
        ([aside("1", successor=3), aside("2", "failed rollback", point="")], "", "", "", "old 1"),
        ([aside("1", "reverting", successor=3)], "", "", "", ""),
    ],
)
def test_what_became_of_the_live_database(
    databases: list[Beside], restored: str, reverted: str, unfinished: str, newest: str
) -> None:
    stands = standing("app", "shop", [LIVE, *databases])
    assert (stands.restored_from, stands.reverted_to) == (restored, reverted)
    assert (stands.unfinished.name if stands.unfinished else "") == unfinished
    assert (stands.newest_aside.name if stands.newest_aside else "") == newest


RECORDED: dict[str, Any] = {
    "server_version": 170002,
    "extensions": [{"name": "pg_trgm"}],
    "roles": ["shop"],
    "properties": {"tablespace": "pg_default"},
}
SERVER = Server(
    version=170004, free=10 * GB, wal=GB, roles=frozenset({"shop"}), extensions=frozenset({"pg_trgm", "plpgsql"})
)


@pytest.mark.parametrize(
    ("recorded", "server", "refusals"),
    [
        ({}, {}, []),
        ({"server_version": 160009}, {}, []),
        ({"server_version": 180000}, {}, ["the dump is of PostgreSQL 18 and the server is 17: an older server cannot"]),
        ({"extensions": [{"name": "postgis"}]}, {}, ["extensions that the dump needs are not available"]),
        ({"roles": ["shop", "web", "ann"]}, {}, ["roles that the dump needs are missing on the server: ann, web"]),
        (
            {"properties": {"tablespace": "fast"}},
            {},
            ["tablespaces that the dump needs are missing on the server: fast"],
        ),
        ({"tablespaces": ["b", "a"]}, {}, ["tablespaces that the dump needs are missing on the server: a, b"]),
        ({}, {"free": 2 * GB}, ["2.5 GB are needed beside the live database and 2.0 GB are free"]),
        ({}, {"lacking": ("may not x",)}, ["the login may not x"]),
        ({}, {"free": None}, []),
    ],
)
def test_a_preflight_refuses_in_words(recorded: dict[str, Any], server: dict[str, Any], refusals: list[str]) -> None:
    found = preflight({**RECORDED, **recorded}, replace(SERVER, **server), size=GB, dump=GB // 5, jobs=2)
    assert len(found.refusals) == len(refusals)
    for told, expected in zip(found.refusals, refusals):
        assert told.startswith(expected)
    assert bool(found.notes) is (server.get("free", 1) is None)
    assert found.needed == room_needed(GB, GB, GB // 5) == 2_500_000_000


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({}, []),
        ({"prepared": ("g1",)}, ["g1 (COMMIT PREPARED or ROLLBACK PREPARED them)"]),
        ({"slots": ("s",), "subscriptions": ("u",)}, ["s (drop them, and make", "u (drop or disable them first)"]),
    ],
)
def test_a_swap_is_blocked_in_words(server: dict[str, Any], told: list[str]) -> None:
    found = preflight(RECORDED, replace(SERVER, **server), size=1, dump=1, jobs=1)
    assert found.refusals == ()
    assert len(found.blockers) == len(told)
    assert all(words in blocker for blocker, words in zip(found.blockers, told))


@pytest.mark.parametrize(
    ("memory", "work", "jobs"),
    [(None, 64 << 20, 8), (1 << 30, 64 << 20, 8), (512 << 20, 256 << 20, 1), (1, 1 << 30, 1)],
)
def test_jobs_stay_within_the_memory_of_the_container(memory: int | None, work: int, jobs: int) -> None:
    server = replace(SERVER, memory=memory, maintenance_work_mem=work, shared_buffers=128 << 20)
    found = preflight(RECORDED, server, size=1, dump=1, jobs=8)
    assert found.jobs == jobs
    assert bool(found.notes) is (jobs < 8)


@pytest.mark.parametrize(
    ("server", "available", "chosen"),
    [
        (15, [15, 17], 15),
        (14, [15, 16], 15),
        (17, [16, 18, 19], 18),
        (17, [15, 16], None),
        (17, [], None),
        # What 17 and newer write as settings of a restore stops a server before 17.
        (16, [15, 17, 18], None),
        (14, [16, 17], 16),
    ],
)
def test_tools_are_never_older_than_the_server_nor_too_new_to_restore(
    server: int, available: list[int], chosen: int | None
) -> None:
    assert fitting_version(server, available) == chosen


@pytest.mark.parametrize(
    ("asked", "size", "free", "chosen"),
    [
        ("none", 1, GB, "none"),
        ("restored", 9 * GB, None, "restored"),
        ("template", 9 * GB, None, "template"),
        ("auto", GB, 9 * GB, "restored"),
        ("auto", 3 * GB, 90 * GB, "none"),
        ("auto", GB, 2 * GB, "none"),
        ("auto", GB, None, "none"),
    ],
)
def test_a_copy_is_kept_ready_where_there_is_room(asked: str, size: int, free: int | None, chosen: str) -> None:
    how, why = ready_choice(asked, size=size, limit=2 * GB, free=free, needed=GB)
    assert how == chosen
    assert bool(why) is (asked == "auto" and chosen == "none")


def copies(*days: int) -> list[Beside]:
    marks = [replace(MARK, kind="ready", point=f"p{day}", at=f"2026-11-{22 - day:02d}T13:00:00Z") for day in days]
    return [replace(beside(f"d{day}", mark, size=10), mark=mark) for day, mark in zip(days, marks)]


@pytest.mark.parametrize(
    ("days", "points", "free", "gone"),
    [
        ([0, 1], ["p0", "p1"], 500, {}),
        ([0, 1, 2], ["p0", "p1", "p2"], 500, {"d2": "2 newer ones are kept"}),
        ([0, 9], ["p0", "p9"], 500, {"d9": "it is 9 days old, more than 7"}),
        ([0, 1], ["p1"], 500, {"d0": "its restore point is gone"}),
        ([0, 1], ["p0", "p1"], 95, {"d1": "less than 10% of the server's disk is free"}),
        ([0, 1], ["p0", "p1"], 10, {"d1": "less than 10%", "d0": "less than 10%"}),
        ([0, 1], ["p0"], 95, {"d1": "its restore point is gone"}),
        ([0, 1], ["p0", "p1"], None, {}),
    ],
)
def test_ready_copies_are_given_up_for_a_reason(
    days: list[int], points: list[str], free: int | None, gone: dict[str, str]
) -> None:
    found = ready_to_drop(copies(*days), NOW, points=points, keep=2, days=7, free=free, total=1000)
    assert {entry.name for entry in found} == set(gone)
    assert all(entry.reason.startswith(gone[entry.name]) for entry in found)


PROPERTIES = Properties(
    owner='o"w',
    connection_limit=7,
    comment="c",
    grants=(("", "TEMPORARY", False), ("web", "CONNECT", True)),
    settings=(("", "search_path", '"$user", public'), ("web", "app.x", "it's"), ("", "work_mem", "4MB")),
)


def test_properties_come_back_from_a_manifest() -> None:
    assert properties_from_dict(properties_to_dict(PROPERTIES)) == PROPERTIES
    assert properties_from_dict({**properties_to_dict(PROPERTIES), "new": 1}) == PROPERTIES


def test_properties_are_given_in_statements() -> None:
    assert property_statements("b", PROPERTIES) == [
        'ALTER DATABASE "b" OWNER TO "o""w"',
        'ALTER DATABASE "b" CONNECTION LIMIT 7',
        'REVOKE ALL ON DATABASE "b" FROM PUBLIC',
        'REVOKE ALL ON DATABASE "b" FROM "o""w"',
        'GRANT TEMPORARY ON DATABASE "b" TO PUBLIC',
        'GRANT CONNECT ON DATABASE "b" TO "web" WITH GRANT OPTION',
        "ALTER DATABASE \"b\" SET \"search_path\" TO '$user', 'public'",
        'ALTER ROLE "web" IN DATABASE "b" SET "app"."x" TO \'it\'\'s\'',
        'ALTER DATABASE "b" SET "work_mem" TO \'4MB\'',
    ]


def test_properties_that_changed_are_named() -> None:
    other = replace(PROPERTIES, owner="x", settings=())
    assert property_differences(PROPERTIES, other) == ["owner", "settings"]
    assert property_differences(PROPERTIES, PROPERTIES) == []


@pytest.mark.parametrize(
    ("properties", "version", "words"),
    [
        (Properties(), 170000, "LC_COLLATE 'C' LC_CTYPE 'C'"),
        (Properties(provider="i", locale="de-x"), 150000, "LOCALE_PROVIDER icu ICU_LOCALE 'de-x'"),
        (Properties(provider="i", locale="de", icu_rules="&a<b"), 160000, "ICU_RULES '&a<b'"),
        (Properties(provider="b", locale="C.UTF-8"), 170000, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        (Properties(tablespace="fast"), 170000, 'TABLESPACE "fast"'),
    ],
)
def test_a_copy_has_the_encoding_and_locale_of_the_original(properties: Properties, version: int, words: str) -> None:
    statement = create_statement("b", properties, version)
    assert statement.startswith("CREATE DATABASE \"b\" TEMPLATE template0 ENCODING 'UTF8'")
    assert statement.endswith(words)


@pytest.mark.parametrize(
    ("value", "names"),
    [('"$user", public', ["$user", "public"]), ("", []), ('a, "b,""c"', ["a", 'b,"c']), ("Public", ["public"])],
)
def test_a_list_of_names_is_split(value: str, names: list[str]) -> None:
    assert guc_list(value) == names


def test_texts_are_quoted() -> None:
    assert literal("it's") == "'it''s'"
    assert literal("a\\b'c").strip() == "E'a\\\\b''c'"
    assert ident('a"b') == '"a""b"'


def test_a_swap_is_two_renames_and_what_belongs_to_them() -> None:
    mark = Mark("app", "shop", "set aside", successor=9)
    done = swap_statements("shop", "old", "new", aside_mark=mark, comment=None)
    assert [words for words in done if "RENAME" in words] == [
        'ALTER DATABASE "shop" RENAME TO "old"',
        'ALTER DATABASE "new" RENAME TO "shop"',
    ]
    assert 'COMMENT ON DATABASE "new" IS NULL' in done
    assert done[0] == 'ALTER DATABASE "shop" WITH ALLOW_CONNECTIONS false'
    alone = swap_statements("shop", "old", "new", aside_mark=mark, comment="x", live_there=False)
    assert all('"old"' not in words for words in alone)
