# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as one page that needs nothing else. Pure; private to this collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _checklist, _report, _report_facts

WIDTH, ROW, LEFT = 600, 22, 110

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fff; --line: #d5dbe3; --soft: #f4f6f9; --good: #1b7f4b;
  --bad: #b3261e; --wait: #8a5a00; --bar: #3d6fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --paper: #14181e; --line: #333c48; --soft: #1c222a;
  --good: #5cc98f; --bad: #ff8a80; --wait: #f0b95c; --bar: #7ea6e0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.2rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
.outcome { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; border: 2px solid; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; width: 1%; }
ul, ol { margin: .2rem 0; padding-left: 1.3rem; }
pre { background: var(--soft); padding: .7rem; white-space: pre-wrap; }
.check { list-style: none; padding-left: 0; } .check li { padding: .2rem 0 .2rem 1.7rem; position: relative; }
.check li::before { position: absolute; left: 0; }
.check .done::before { content: "\\2713"; color: var(--good); font-weight: 700; }
.check .open::before { content: "\\25CB"; color: var(--wait); font-weight: 700; }
.told { opacity: .85; }
td { overflow-wrap: anywhere; } .words th { white-space: normal; width: auto; }
.wide { overflow-x: auto; } .wide td { overflow-wrap: normal; } .wide td:nth-child(3) { white-space: nowrap; }
svg { display: block; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .bar { fill: var(--bar); } svg .failed { fill: var(--bad); }
svg line { stroke: var(--line); }
"""


def _tone(outcome: str) -> str:
    return {"success": "good", "nothing to do": "good"}.get(outcome, "bad")


def _rows(pairs: Iterable[tuple[str, Any]]) -> str:
    cells = (f"<tr><th scope=row>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in pairs)
    return f"<table>{''.join(cells)}</table>"


def _listed(sentences: Iterable[Any], tag: str = "ul") -> str:
    return f"<{tag}>{''.join(f'<li>{escape(str(told))}</li>' for told in sentences)}</{tag}>"


def _table(rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Return a table, '' without rows."""
    if not rows:
        return ""
    head = f"<tr>{''.join(f'<th scope=col>{escape(name)}</th>' for name in heads)}</tr>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table class=words>{head}{body}</table>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def spans(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, bool]]:
    """Return name, begin, length in seconds and failure of every step that took time."""
    begun: dict[str, float] = {}
    found = []
    for step in steps:
        name, status, after = str(step["step"]), str(step["status"]), float(step["after_s"])
        if status in ("started", "begun"):
            begun[name] = after
        elif status in ("done", "failed") and (name in begun or "seconds" in step):
            length = float(step.get("seconds", after - begun.get(name, after)))
            found.append((name, begun.pop(name, max(0.0, after - length)), length, status == "failed"))
    return found


def timeline(steps: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Return the steps as bars over time, '' where no step took any."""
    bars = [entry for entry in spans(steps) if entry[0] != "run"]
    if not bars or seconds <= 0:
        return ""
    scale = (WIDTH - LEFT - 70) / max(seconds, *(begin + length for _name, begin, length, _failed in bars))
    height = ROW * len(bars) + 24
    drawn = [f'<line x1="{LEFT}" y1="0" x2="{LEFT}" y2="{height - 20}"/>']
    for number, (name, begin, length, failed) in enumerate(bars):
        y, x, wide = number * ROW, LEFT + begin * scale, max(2.0, length * scale)
        kind = "failed" if failed else "bar"
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        drawn.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + 4}" width="{wide:.1f}" height="{ROW - 8}" rx="2"/>')
        drawn.append(f'<text x="{x + wide + 6:.1f}" y="{y + 15}">{escape(_report.duration(length))}</text>')
    drawn.append(f'<text x="{LEFT}" y="{height - 4}">0 s</text>')
    drawn.append(
        f'<text x="{WIDTH - 70}" y="{height - 4}" text-anchor="end">{escape(_report.duration(seconds))}</text>'
    )
    label = f"Timeline: {len(bars)} steps in {_report.duration(seconds)}"
    return (
        f'<div class=wide><svg role=img aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}">{"".join(drawn)}</svg></div>'
    )


def plot(series: Sequence[Mapping[str, Any]]) -> str:
    """Return the error rate of a monitoring window as a line, '' where nothing was measured."""
    values = [float(entry["error_rate"]) for entry in series if entry.get("error_rate") is not None]
    if len(values) < 2:
        return ""
    height, top = 120, max(0.05, *values)
    step = (WIDTH - LEFT) / (len(values) - 1)
    points = " ".join(
        f"{LEFT / 2 + number * step:.1f},{height - 20 - value / top * (height - 40):.1f}"
        for number, value in enumerate(values)
    )
    worst = f"{max(values) * 100:.1f} %"
    return (
        f'<div class=wide><svg role=img aria-label="Error rate, at most {worst}" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}"><line x1="{LEFT / 2}" y1="{height - 20}" x2="{WIDTH - LEFT / 2}"'
        f' y2="{height - 20}"/><polyline fill="none" stroke="currentColor" stroke-width="2" points="{points}"/>'
        f'<text x="{LEFT / 2}" y="14">error rate, at most {worst}</text></svg></div>'
    )


def _decision(report: Mapping[str, Any]) -> str:
    decision = report.get("decision") or {}
    if not decision:
        return ""
    parts = [_listed(f"{finding['severity']}: {finding['told']}" for finding in decision["findings"])]
    for title, sentences in (
        ("Because", decision["reasons"]),
        ("Not", [f"{option}: {why}" for option, why in decision["rejected"]]),
        ("For a person", decision["blockers"]),
        ("Not observed", decision["needs"]),
    ):
        if sentences:
            parts.append(f"<p>{escape(title)}:</p>{_listed(sentences)}")
    return _section(f"Decision: {decision['severity']}, {decision['type']}", "".join(parts))


def _checklists(report: Mapping[str, Any]) -> str:
    checked = _checklist.lines(report)
    parts = []
    for title in dict.fromkeys(line.title for line in checked):
        items = (
            f"<li class={'done' if line.done else 'open'}>{escape(line.text)}"
            f" <span class=told>\u2013 {escape(line.told)}</span></li>"
            for line in checked
            if line.title == title
        )
        parts.append(_section(title, f"<ul class=check>{''.join(items)}</ul>"))
    return "".join(parts)


def _verification(report: Mapping[str, Any]) -> str:
    verification = report.get("verification") or {}
    if not verification:
        return ""
    rows = "".join(
        f"<tr><td>{escape(str(probe['name']))}</td><td>{escape(str(probe['verdict']))}</td>"
        f"<td>{escape(str(probe['seconds']))} s</td><td>{escape(str(probe['message']))}</td></tr>"
        for probe in verification.get("probes", ())
    )
    body = _listed(verification.get("reasons", ())) if verification.get("reasons") else ""
    if rows:
        body += f"<div class=wide><table>{rows}</table></div>"
    return _section(f"Verification: {verification.get('verdict', 'inconclusive')}", body or "<p>No check was made.</p>")


def page(report: Mapping[str, Any]) -> str:
    """Return the whole page: no script, no font and no picture from elsewhere."""
    plan = report.get("plan") or {}
    facts: list[tuple[str, Any]] = [
        ("Run", report["run"]),
        ("Started by", report["owner"] or "unknown"),
        ("Reason", report["reason"] or "none given"),
        ("Started", report["started"]),
        ("Duration", _report.against_window(report["seconds"], report["window"])),
    ]
    if plan:
        facts.append(("From", f"{plan.get('running_label')} ({plan.get('running')})"))
        facts.append(("To", f"{plan.get('label')} ({plan.get('kind')} {plan.get('target')})"))
    facts += [(row["label"], row["value"]) for row in report.get("rows", ())]
    title = f"{_report.title(report)} of {report['application']}"
    failure = f"<pre>{escape(str(report['message']))}</pre>" if report.get("message") else ""
    watched = report.get("monitoring") or {}
    set_aside, limits = _report_facts.set_aside(report), _report_facts.limits(report)
    command = _report_facts.undo(report)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p><span class='outcome {_tone(report['outcome'])}'>{escape(report['outcome'])}</span></p>",
        _rows(facts),
        _section("What went wrong", failure),
        _section("Timeline", timeline(report["steps"], report["seconds"])),
        _decision(report),
        _section("Plan", _listed(plan["steps"], "ol") if plan.get("steps") else ""),
        _section("At stake", _listed(plan["stake"]) if plan.get("stake") else ""),
        _section("Warnings", _listed(plan["warnings"]) if plan.get("warnings") else ""),
        _verification(report),
        _section("Readiness", _table(_report_facts.readiness(report))),
        _section("Before and after", _table(_report_facts.before_after(report), ("", "before", "after"))),
        _section(f"Monitoring: {watched.get('verdict', '')}", plot(watched.get("series") or ())) if watched else "",
        _section("Set aside", _listed(set_aside) if set_aside else ""),
        _section("To undo it", f"<pre>{escape(command)}</pre>" if command else ""),
        _section("Limits that apply", _listed(limits) if limits else ""),
        _checklists(report),
    ]
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: {escape(report['outcome'])}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
