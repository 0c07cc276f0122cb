# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How bad a failure is: every finding, and every threshold at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._severity import (
    Thresholds,
    assess,
    thresholds_of,
    worst,
)
from support.evidence import evidence, service, traffic


def severity(*hosts: dict[str, Any], limits: Thresholds | None = None) -> str:
    return worst(finding.severity for finding in assess(hosts, limits or Thresholds()))


DOWN = {"running": 0, "verdict": "unhealthy", "reason": "exited with code 1"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "none"),
        # one component, two, all of them
        ({"services": [service("backend", **DOWN), service("frontend"), service("worker")]}, "major"),
        ({"services": [service("backend", **DOWN), service("frontend", **DOWN), service("worker")]}, "critical"),
        ({"services": [service("backend", **DOWN)]}, "critical"),
        ({"services": [service("backend"), service("redis", code=False, **DOWN)]}, "major"),
        ({"services": [service("backend", verdict="unhealthy", reason="503"), service("frontend")]}, "major"),
        # not observed is not down; switched off is not down
        ({"services": [service("backend", verdict="inconclusive"), service("frontend")]}, "none"),
        ({"services": [service("backend"), service("worker", wanted=0, running=0, verdict="inconclusive")]}, "none"),
        ({"services": [service("backend", restarts=1), service("frontend")]}, "minor"),
        ({"services": [service("backend", log_errors=9)]}, "none"),
        ({"services": [service("backend", log_errors=10)]}, "minor"),
        ({"services": [service("backend", log_errors=None, restarts=None)]}, "none"),
        # checks
        ({"health": {"verdict": "unhealthy", "reasons": ["backend answers 503"], "checks": []}}, "major"),
        ({"health": {"verdict": "inconclusive", "reasons": [], "checks": []}}, "none"),
        (
            {
                "health": {
                    "verdict": "healthy",
                    "reasons": [],
                    "checks": [{"name": "mail", "critical": False, "verdict": "unhealthy", "message": "refused"}],
                }
            },
            "minor",
        ),
        # error rate: below, at and above each threshold
        ({"traffic": traffic(error_rate=0.0)}, "none"),
        ({"traffic": traffic(error_rate=0.0099)}, "none"),
        ({"traffic": traffic(error_rate=0.01)}, "minor"),
        ({"traffic": traffic(error_rate=0.0499)}, "minor"),
        ({"traffic": traffic(error_rate=0.05)}, "major"),
        ({"traffic": traffic(error_rate=0.2499)}, "major"),
        ({"traffic": traffic(error_rate=0.25)}, "critical"),
        ({"traffic": traffic(error_rate=1.0)}, "critical"),
        # too few requests say nothing, unless Prometheus counted
        ({"traffic": traffic(error_rate=1.0, requests=9)}, "none"),
        ({"traffic": traffic(error_rate=1.0, requests=10)}, "critical"),
        ({"traffic": traffic(error_rate=0.05, requests=0, source="prometheus")}, "major"),
        ({"traffic": traffic(error_rate=None)}, "none"),
        # latency
        ({"traffic": traffic(p95=0.999)}, "none"),
        ({"traffic": traffic(p95=1.0)}, "minor"),
        ({"traffic": traffic(p95=1.999)}, "minor"),
        ({"traffic": traffic(p95=2.0)}, "major"),
        ({"traffic": traffic(p95=9.999)}, "major"),
        ({"traffic": traffic(p95=10.0)}, "critical"),
        ({"traffic": traffic(p95=None)}, "none"),
        ({"traffic": None}, "none"),
        # data
        (
            {"corruption": {"assertions": [{"name": "a", "critical": True, "verdict": "unhealthy", "message": "3"}]}},
            "critical",
        ),
        (
            {"corruption": {"assertions": [{"name": "a", "critical": False, "verdict": "unhealthy", "message": "3"}]}},
            "minor",
        ),
        (
            {"corruption": {"assertions": [{"name": "a", "critical": True, "verdict": "inconclusive", "message": ""}]}},
            "none",
        ),
        ({"corruption": {"checksum_failures": 0}}, "none"),
        ({"corruption": {"checksum_failures": 1}}, "critical"),
        ({"corruption": {"checksum_failures": None}}, "none"),
        ({"corruption": {"amcheck": []}}, "none"),
        ({"corruption": {"amcheck": ["index jobs_pkey: item order invariant violated"]}}, "major"),
        (
            {"corruption": {"rows": [{"table": "jobs", "then": 9, "now": 8, "limit": "10 %", "exceeded": False}]}},
            "none",
        ),
        (
            {"corruption": {"rows": [{"table": "jobs", "then": 9, "now": 1, "limit": "10 %", "exceeded": True}]}},
            "major",
        ),
        # words
        ({"reported": {"symptom": "500 errors", "reason": "", "since": ""}}, "major"),
        ({"reported": {"symptom": "", "reason": "jobs are missing", "since": ""}}, "major"),
        ({"reported": {"symptom": "the logo is blue", "reason": "", "since": ""}}, "none"),
    ],
)
def test_one_host(changed: dict[str, Any], expected: str) -> None:
    assert severity(evidence(**changed)) == expected


@pytest.mark.parametrize(
    ("failing", "hosts", "limit", "expected"),
    [(1, 3, 2, "major"), (2, 3, 2, "critical"), (2, 3, 3, "major"), (3, 3, 3, "critical"), (1, 1, 2, "major")],
)
def test_hosts(failing: int, hosts: int, limit: int, expected: str) -> None:
    broken = [service("backend", **DOWN), service("frontend")]
    seen = [
        evidence(host=f"app{number}", **({"services": broken} if number < failing else {})) for number in range(hosts)
    ]
    assert severity(*seen, limits=replace(Thresholds(), critical_hosts=limit)) == expected


def test_sentences_name_the_host_only_where_there_are_several() -> None:
    broken = {"services": [service("backend", **DOWN), service("frontend")]}
    one = assess([evidence(**broken)], Thresholds())
    two = assess([evidence(**broken), evidence(host="app2")], Thresholds())
    assert [entry.told for entry in one] == ["backend is down: exited with code 1"]
    assert [entry.told for entry in two] == ["backend is down on app1: exited with code 1"]


def test_the_gravest_comes_first() -> None:
    found = assess(
        [evidence(services=[service("backend", restarts=3)], traffic=traffic(error_rate=0.5, p95=2.5))], Thresholds()
    )
    assert [entry.severity for entry in found] == ["critical", "major", "minor"]


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("critical_error_rate", 0.5, {"traffic": traffic(error_rate=0.4)}),
        ("major_latency", 3, {"traffic": traffic(p95=2.5)}),
        ("critical_components", 3, {"services": [service("a", **DOWN), service("b", **DOWN), service("c")]}),
        ("minor_restarts", 5, {"services": [service("backend", restarts=4)]}),
        ("minor_log_errors", 0, {"services": [service("backend", log_errors=400)]}),
        ("requests", 30, {"traffic": traffic(error_rate=1.0, requests=20)}),
    ],
)
def test_every_threshold_is_a_setting(name: str, value: float, changed: dict[str, Any]) -> None:
    seen = evidence(**changed)
    ranks = ["none", "minor", "major", "critical"]
    assert ranks.index(severity(seen, limits=thresholds_of({name: value}))) < ranks.index(severity(seen))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nonsense": 1}, "'nonsense' is no threshold"),
        ({"major_error_rate": "often"}, "threshold major_error_rate is 'often', which is no number"),
        ({"major_error_rate": -0.1}, "has to be 0 or more"),
        ({"major_error_rate": 0.5}, "critical_error_rate is below major_error_rate"),
        ({"critical_latency": 1}, "critical_latency is below major_latency"),
    ],
)
def test_thresholds_that_are_none(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        thresholds_of(given)


def test_thresholds_come_as_text_from_surveys() -> None:
    assert thresholds_of({"major_error_rate": "0.1", "critical_components": "3"}) == replace(
        Thresholds(), major_error_rate=0.1, critical_components=3
    )
