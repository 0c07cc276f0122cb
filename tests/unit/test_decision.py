# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is decided: every path of the guide's two diagrams, and every piece of evidence missing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils import _decision
from ansible_collections.schedgen.rollback.plugins.module_utils._decision import Decision, Policy, decide
from support.evidence import candidate, evidence, schema, service, traffic

DOWN = {"running": 0, "verdict": "unhealthy", "reason": "exited with code 1"}
BACKEND_DOWN = [service("backend", **DOWN), service("frontend"), service("postgres", code=False)]
ALL_DOWN = [service("backend", **DOWN), service("frontend", **DOWN), service("postgres", code=False)]
OTHER_DOWN = [service("backend", **DOWN), service("frontend"), service("postgres", code=False, **DOWN)]

OUTAGE = {"traffic": traffic(error_rate=1.0)}
ERRORS = {"traffic": traffic(error_rate=0.1)}
A_FEW = {"traffic": traffic(error_rate=0.02)}
SAME_IMAGES = {"images": [], "files": [{"path": ".env", "change": "changed", "keys": ["DATABASE_HOST"]}]}
NOTHING = {"images": [], "files": [], "configuration": [], "commit": ""}

FITS = schema("compatible", added=["AddColumn2"], revert="loses nothing", notes=["new column"])
REVERTS = schema("incompatible", added=["Rename2"], reasons=["jobs.title is gone"], revert="loses nothing")
DESTROYS = schema(
    "incompatible", added=["Rename2"], reasons=["x"], revert="destroys", revert_reasons=["jobs.priority, 40 rows"]
)
LOST = schema(
    "incompatible",
    added=["Drop2"],
    reasons=["jobs.customer is gone"],
    revert="cannot",
    revert_reasons=["cannot bring back jobs.customer"],
)
WRONG = {
    "assertions": [
        {"name": "every job has a title", "critical": True, "verdict": "unhealthy", "message": "7 have none"}
    ]
}


def decided(*hosts: dict[str, Any], **policy: Any) -> Decision:
    return decide(hosts, Policy(**policy))


@pytest.mark.parametrize(
    ("changed", "severity", "kind", "action"),
    [
        # severity: critical at once, major with a person, minor a targeted fix, none nothing
        (OUTAGE, "critical", "quick", "go"),
        (ERRORS, "major", "quick", "confirm"),
        (A_FEW, "minor", "quick", "propose"),
        ({}, "none", "none", "nothing"),
        ({"services": ALL_DOWN}, "critical", "quick", "go"),
        ({"services": BACKEND_DOWN}, "major", "quick", "confirm"),
        # database changed? no: quick
        ({**OUTAGE, "schema": schema("equal")}, "critical", "quick", "go"),
        # it was, and the older release can live with all of it: still quick
        ({**OUTAGE, "schema": FITS}, "critical", "quick", "go"),
        # there is no database
        ({**OUTAGE, "schema": None}, "critical", "quick", "go"),
        # yes, and data are sound: revert, also where it destroys what a copy keeps
        ({**OUTAGE, "schema": REVERTS}, "critical", "revert", "confirm"),
        ({**OUTAGE, "schema": DESTROYS}, "critical", "revert", "confirm"),
        # yes, and no revert brings it back: restore
        ({**OUTAGE, "schema": LOST}, "critical", "restore", "confirm"),
        ({**OUTAGE, "schema": LOST, "candidate": candidate(parts=["release"])}, "critical", "inconclusive", "ask"),
        # data are damaged: restore, whatever the schema
        ({"corruption": WRONG}, "critical", "restore", "confirm"),
        ({"corruption": WRONG, "schema": REVERTS}, "critical", "restore", "confirm"),
        ({"corruption": {"checksum_failures": 2}}, "critical", "restore", "confirm"),
        ({"corruption": WRONG, "candidate": candidate(parts=["release"])}, "critical", "inconclusive", "ask"),
        # configuration only
        ({**OUTAGE, "changed": SAME_IMAGES}, "critical", "configuration", "go"),
        (
            {**OUTAGE, "changed": {"images": [], "files": [], "configuration": ["backend"]}},
            "critical",
            "configuration",
            "go",
        ),
        (
            {
                **OUTAGE,
                "changed": SAME_IMAGES,
                "schema": None,
                "missing": [{"what": "schema", "why": "login refused"}],
            },
            "critical",
            "configuration",
            "go",
        ),
        ({**OUTAGE, "changed": SAME_IMAGES, "schema": REVERTS}, "critical", "revert", "confirm"),
        # several components: full, where a deployment changed them
        (
            {"services": OTHER_DOWN, "changed": {"images": ["backend", "postgres"]}},
            "major",
            "full",
            "confirm",
        ),
        ({"services": OTHER_DOWN}, "major", "inconclusive", "ask"),
        # nothing differs: no rollback changes anything
        ({**OUTAGE, "changed": NOTHING}, "critical", "inconclusive", "ask"),
    ],
)
def test_the_tree(changed: dict[str, Any], severity: str, kind: str, action: str) -> None:
    found = decided(evidence(**changed))
    assert (found.severity, found.type, found.action) == (severity, kind, action)
    assert found.reasons


@pytest.mark.parametrize(
    ("missing", "without", "kind"),
    [
        ("candidate", {"candidate": None, "no_candidate": "there is no restore point"}, "inconclusive"),
        ("changed", {"changed": {}}, "inconclusive"),
        ("schema", {"schema": None}, "inconclusive"),
        ("services", {"services": []}, "quick"),
        ("health", {"health": {"verdict": "inconclusive", "reasons": [], "checks": []}}, "quick"),
        ("assertions", {"corruption": {}}, "quick"),
        ("rows", {"corruption": {}}, "quick"),
        ("prometheus", {}, "quick"),
        ("logs", {}, "quick"),
    ],
)
def test_a_missing_piece_is_told_and_never_guessed(missing: str, without: dict[str, Any], kind: str) -> None:
    why = "it did not answer"
    found = decided(evidence(**{**OUTAGE, **without, "missing": [{"what": missing, "why": why}]}))
    assert found.type == kind
    assert found.action == ("ask" if kind == "inconclusive" else "go")
    assert any(why in sentence for sentence in found.needs)


@pytest.mark.parametrize(
    "missing",
    [
        {"services": [], "missing": [{"what": "services", "why": "no engine"}]},
        {"health": {"verdict": "inconclusive", "reasons": [], "checks": []}},
        {"health": {"verdict": "healthy"}, "missing": [{"what": "health", "why": "no check could be made"}]},
    ],
)
def test_no_data_is_never_healthy(missing: dict[str, Any]) -> None:
    found = decided(evidence(**missing))
    assert (found.severity, found.type, found.action) == ("unknown", "inconclusive", "ask")


@pytest.mark.parametrize(
    ("words", "changed", "kind", "action"),
    [
        # what is said is enough for a person to be asked, and chooses where the evidence leaves it open
        ("500 errors", {}, "quick", "confirm"),
        ("missing records", {}, "restore", "confirm"),
        ("migration failed", {}, "quick", "confirm"),
        ("migration failed", {"schema": REVERTS}, "revert", "confirm"),
        ("service won't start", {"changed": SAME_IMAGES}, "configuration", "confirm"),
        ("complete system failure", {"services": OTHER_DOWN}, "full", "confirm"),
        ("complete system failure", {"changed": NOTHING}, "full", "confirm"),
        ("complete system failure", {"changed": NOTHING, "schema": None}, "inconclusive", "ask"),
        ("complete system failure", {}, "quick", "confirm"),
        # it does not make a rollback of what does not differ
        ("500 errors", {"changed": NOTHING}, "inconclusive", "ask"),
        ("service won't start", {"changed": NOTHING}, "inconclusive", "ask"),
        # nobody knows what it means, and everything is well
        ("the logo is blue", {}, "inconclusive", "ask"),
        # nobody knows what it means, and the evidence does
        ("the logo is blue", OUTAGE, "quick", "go"),
    ],
)
def test_the_operators_words(words: str, changed: dict[str, Any], kind: str, action: str) -> None:
    found = decided(evidence(reported={"symptom": words, "reason": "", "since": ""}, **changed))
    assert (found.type, found.action) == (kind, action)


@pytest.mark.parametrize(
    ("tried", "changed", "kind"),
    [
        # fixed? yes: monitor
        (("quick",), {}, "none"),
        (("quick",), A_FEW, "none"),
        # no: on along the tree, each at most once
        (("quick",), {**OUTAGE, "schema": REVERTS}, "revert"),
        (("quick",), {**OUTAGE, "schema": LOST}, "restore"),
        (("quick",), {"corruption": WRONG}, "restore"),
        (("quick",), OUTAGE, "full"),
        (("configuration",), OUTAGE, "full"),
        (("quick",), {**OUTAGE, "schema": None}, "none"),
        (("quick",), {**OUTAGE, "schema": None, "missing": [{"what": "schema", "why": "down"}]}, "full"),
        (("revert",), {**OUTAGE, "schema": REVERTS}, "full"),
        (("restore",), {"corruption": WRONG}, "full"),
        (("quick", "revert"), OUTAGE, "full"),
        # and there the tree ends
        (("full",), OUTAGE, "none"),
        (("quick", "restore", "full"), {"corruption": WRONG}, "none"),
        # what cannot be observed any more is not called fixed
        (("quick",), {"missing": [{"what": "health", "why": "no answer"}]}, "inconclusive"),
        (("quick",), {**OUTAGE, "candidate": None, "no_candidate": "gone"}, "inconclusive"),
    ],
)
def test_going_on(tried: tuple[str, ...], changed: dict[str, Any], kind: str) -> None:
    found = decided(evidence(**changed), tried=tried)
    assert found.type == kind
    assert found.type not in tried


def test_what_was_reported_before_does_not_count_afterwards() -> None:
    said = {"reported": {"symptom": "500 errors", "reason": "", "since": ""}}
    assert decided(evidence(**said)).type == "quick"
    assert decided(evidence(**said), tried=("quick",)).type == "none"


@pytest.mark.parametrize("first", ["quick", "configuration", "revert", "restore"])
def test_the_tree_always_ends(first: str) -> None:
    tried: tuple[str, ...] = (first,)
    worst_of_all = evidence(**OUTAGE, schema=LOST, corruption=WRONG)
    while True:
        found = decided(worst_of_all, tried=tried)
        if found.type not in _decision.TYPES:
            break
        assert found.type not in tried
        tried = (*tried, found.type)
    assert len(tried) <= 3
    assert found.action == "nothing"


@pytest.mark.parametrize(
    ("auto", "tried", "changed", "action"),
    [
        # critical goes at once, but what changes data only with the level for it
        ("none", (), OUTAGE, "go"),
        ("application", (), OUTAGE, "go"),
        ("application", (), {**OUTAGE, "schema": REVERTS}, "confirm"),
        ("database", (), {**OUTAGE, "schema": REVERTS}, "go"),
        ("database", (), {"corruption": WRONG}, "go"),
        ("full", (), {"corruption": WRONG}, "go"),
        # major is asked whatever the level
        ("full", (), ERRORS, "confirm"),
        # going on
        ("none", ("quick",), {**OUTAGE, "schema": REVERTS}, "confirm"),
        ("application", ("quick",), {**OUTAGE, "schema": REVERTS}, "confirm"),
        ("database", ("quick",), {**OUTAGE, "schema": REVERTS}, "go"),
        ("database", ("quick",), OUTAGE, "confirm"),
        ("full", ("quick",), OUTAGE, "go"),
        ("full", ("quick",), ERRORS, "go"),
    ],
)
def test_who_has_to_agree(auto: str, tried: tuple[str, ...], changed: dict[str, Any], action: str) -> None:
    assert decided(evidence(**changed), auto=auto, tried=tried).action == action


@pytest.mark.parametrize("kind", _decision.TYPES)
def test_what_was_asked_for_is_done_and_still_approved(kind: str) -> None:
    found = decided(evidence(), asked=kind)
    assert (found.type, found.action, found.reasons) == (kind, "confirm", ("it was asked for",))
    assert found.steps


def test_what_was_asked_for_is_asked_once() -> None:
    assert decided(evidence(**OUTAGE), asked="quick", tried=("quick",)).type == "full"


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"external": ["orders API v3"]}, "external interface that stays as it is: orders API v3"),
        ({"third_party": ["payments"]}, "third-party service that stays as it is: payments"),
        ({"order": ["backend", "billing"]}, "in this order: backend, billing"),
        ({"manual": ["tell the warehouse"]}, "tell the warehouse"),
    ],
)
def test_what_was_declared_needs_a_person(declared: dict[str, list[str]], words: str) -> None:
    found = decided(evidence(**OUTAGE), declared=declared)
    assert found.action == "confirm"
    assert any(words in sentence for sentence in found.blockers)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({**OUTAGE, "schema": LOST}, "destructive migration"),
        ({**OUTAGE, "schema": REVERTS}, "what the migrations did to rows is in no catalogue"),
        ({"corruption": WRONG, "written": {"tables": [], "rows": 3}}, "what users wrote since"),
        ({"corruption": WRONG, "written": None}, "what users wrote since"),
    ],
)
def test_what_blocks(changed: dict[str, Any], words: str) -> None:
    assert any(words in sentence for sentence in decided(evidence(**changed)).blockers)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (OUTAGE, "the database stays as it is"),
        ({**OUTAGE, "schema": REVERTS}, "rows stay; a copy of the database is set aside first"),
        ({**OUTAGE, "schema": DESTROYS}, "a revert destroys: jobs.priority, 40 rows"),
        (
            {
                "corruption": WRONG,
                "written": {
                    "tables": [{"table": "public.jobs", "inserted": 5, "updated": 1, "deleted": 2}],
                    "rows": 8,
                },
            },
            "public.jobs: about 5 inserted, 1 updated and 2 deleted since",
        ),
        ({"corruption": WRONG, "written": None}, "is not known"),
    ],
)
def test_what_is_at_stake(changed: dict[str, Any], words: str) -> None:
    assert any(words in sentence for sentence in decided(evidence(**changed)).stake)


def runs(kind: str, *seconds: float, outcome: str = "success") -> list[dict[str, Any]]:
    return [{"type": kind, "seconds": each, "outcome": outcome, "at": ""} for each in seconds]


@pytest.mark.parametrize(
    ("changed", "seconds", "fits", "words"),
    [
        (OUTAGE, None, None, "no run of this type was measured"),
        ({**OUTAGE, "durations": runs("quick", 8.0, 10.0, 9.0)}, 9.0, True, "the median of 3 runs"),
        ({**OUTAGE, "durations": runs("quick", 9, 9, 9, 9, 9, 900)}, 9.0, True, "the median of 5 runs"),
        ({**OUTAGE, "durations": runs("quick", 9.0, outcome="failed")}, None, None, "no run"),
        ({**OUTAGE, "durations": runs("database", 9.0)}, None, None, "no run"),
        ({**OUTAGE, "durations": runs("quick", 300.0)}, 300.0, True, "the median of 1 run"),
        ({**OUTAGE, "durations": runs("quick", 300.1)}, 300.1, False, "the median of 1 run"),
        ({"corruption": WRONG}, 2.0, True, "what the dump took"),
        ({"corruption": WRONG, "durations": runs("database", 20.0)}, 20.0, True, "the median of 1 run"),
    ],
)
def test_what_is_expected(changed: dict[str, Any], seconds: float | None, fits: bool | None, words: str) -> None:
    expected = decided(evidence(**changed)).expected
    assert (expected["seconds"], expected["fits"]) == (seconds, fits)
    assert words in expected["from"]


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("the editor looks odd", "turn off new-editor"),
        ("", "deploy a fix of what fails, with its own verification: ansible-playbook hotfix-deploy.yml"),
        ("mail is late", "deploy a fix of what fails, with its own verification: ansible-playbook hotfix-deploy.yml"),
    ],
)
def test_a_declared_switch_is_the_smallest_fix(said: str, first: str) -> None:
    switches = [{"name": "new-editor", "symptoms": ["Editor"]}]
    seen = evidence(**A_FEW, reported={"symptom": "", "reason": said, "since": ""})
    assert decided(seen, switches=switches).steps[0] == first


def test_many_hosts_are_one_decision() -> None:
    database = evidence(host="db", services=[service("postgres", code=False)], schema=REVERTS)
    applications = [
        evidence(host=f"app{number}", services=BACKEND_DOWN[:2], schema=None, corruption={}) for number in (1, 2)
    ]
    found = decided(*applications, database)
    assert (found.severity, found.type) == ("critical", "revert")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"traffic": traffic(error_rate=0.9)}, True),
        ({"written": {"tables": [], "rows": 99}}, True),
        ({"candidate": candidate(id="20261121T131500.123Z")}, False),
        ({"running": {"release": "other", "label": "v3", "commit": "", "since": ""}}, False),
        ({"schema": FITS}, False),
        ({"corruption": WRONG}, False),
    ],
)
def test_the_hash_is_of_what_would_be_done(changed: dict[str, Any], same: bool) -> None:
    assert (decided(evidence(**{**OUTAGE, **changed})).hash == decided(evidence(**OUTAGE)).hash) is same


@pytest.mark.parametrize(
    ("hosts", "policy", "words"),
    [
        ([], {}, "no host was looked at"),
        ([evidence(), evidence(application="other")], {}, "of several applications: other, schedgen"),
        ([evidence()], {"auto": "always"}, "the level 'always' is not one of"),
        ([evidence()], {"asked": "magic"}, "'magic' is no rollback type"),
        ([evidence()], {"tried": ("magic",)}, "'magic' is no rollback type"),
    ],
)
def test_what_is_no_evidence_or_policy(hosts: list[dict[str, Any]], policy: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decide(hosts, Policy(**policy))


@pytest.mark.parametrize(
    ("changed", "tried", "words"),
    [
        (OUTAGE, (), "Critical: quick rollback to v1, goes at once"),
        (ERRORS, (), "Major: quick rollback to v1, needs an approval"),
        ({**OUTAGE, "schema": REVERTS}, (), "Critical: migration revert to v1, needs an approval"),
        ({"corruption": WRONG}, (), "Critical: database restore to v1, needs an approval"),
        (A_FEW, (), "Minor: a targeted fix is proposed, before a quick rollback to v1"),
        ({}, (), "Nothing is wrong"),
        ({}, ("quick",), "Nothing is wrong any more"),
        (OUTAGE, ("full",), "Critical: the tree ends here, a person has to take over"),
        ({**OUTAGE, "changed": NOTHING}, (), "Critical: inconclusive, a person has to decide"),
    ],
)
def test_the_headline(changed: dict[str, Any], tried: tuple[str, ...], words: str) -> None:
    assert _decision.headline(decided(evidence(**changed), tried=tried)) == words


@pytest.mark.parametrize(
    ("changed", "tried", "words"),
    [
        ({}, (), ()),
        ({}, ("quick",), ()),
        (A_FEW, ("quick",), ()),
        (OUTAGE, (), ()),
        (ERRORS, (), ()),
        (A_FEW, (), ("It is minor", "Nothing that runs was touched", "Deploy a fix", "-e rollback_type=quick")),
        ({**OUTAGE, "changed": NOTHING}, (), ("does not say what to go back with", "or full; or where to")),
        (
            {"missing": [{"what": "health", "why": "no engine"}]},
            ("quick",),
            ("quick was tried, and v2 runs. Deployments stay frozen", "What would make it surer", "no engine"),
        ),
        (OUTAGE, ("quick", "full"), ("It is not well: outage", "quick, then full was tried", "rollback_freeze=off")),
    ],
)
def test_the_ending(changed: dict[str, Any], tried: tuple[str, ...], words: tuple[str, ...]) -> None:
    told = _decision.ending(decided(evidence(**changed), tried=tried))
    assert bool(told) is bool(words)
    for word in words:
        assert word in told
