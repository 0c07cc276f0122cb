# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to people: whom to tell, what, and whether it arrived. Pure; private to this collection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.schedgen.rollback.plugins.module_utils._redact import redact
from ansible_collections.schedgen.rollback.plugins.module_utils._words import short

EVENTS = ("start", "success", "failure", "escalation")
#: What a target gets that names no events: an escalation is for those who are on a level of it.
USUAL_EVENTS = ("start", "success", "failure")
WORDS = {
    "start": "Rollback begins",
    "success": "Rollback succeeded",
    "failure": "Rollback FAILED",
    "escalation": "Help is needed",
}
#: What a body of the operator's own may ask for, in braces.
FIELDS = (
    "event", "application", "hosts", "title", "happened", "impact", "done", "needed", "report", "run", "owner",
    "reason", "text",
)  # fmt: skip
_PARTS = (
    ("happened", "What happened"),
    ("impact", "Impact"),
    ("done", "Done"),
    ("needed", "Needed"),
    ("reason", "Reason"),
    ("owner", "Started by"),
    ("report", "Report"),
)
_PLACEHOLDER = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")

_COMMON = {"name", "type", "events", "timeout", "body"}
_OPTIONS: Mapping[str, set[str]] = {
    "webhook": {"url", "method", "headers", "status", "validate_certs", "ca_path"},
    "email": {"to", "cc", "sender", "host", "port", "username", "password", "secure", "subject"},
    "command": {"argv", "chdir"},
}
_REQUIRED = {"webhook": "url", "email": "to", "command": "argv"}


@dataclass(frozen=True)
class Target:
    """One receiver; ``problem`` says why it cannot be one."""

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 5.0
    problem: str = ""


@dataclass(frozen=True)
class Delivery:
    """What became of one message; ``reason`` says why it was not sent, without a secret."""

    target: str
    type: str
    place: str
    sent: bool
    reason: str = ""


def choose(declared: Any, event: str, names: Sequence[str] | None = None, timeout: float = 5.0) -> tuple[Target, ...]:
    """The receivers of an event, or those that are named; a declaration with a mistake is kept, with its problem.

    A mistake must be told, and must not stop the rollback that the message is about. Raises ValueError for an unknown
    event alone.
    """
    if event not in EVENTS:
        raise ValueError(f"the event '{event}' is none of {', '.join(EVENTS)}")
    if not isinstance(declared, (list, tuple)):
        return (Target("rollback_notify", "?", problem="must be a list of targets"),)
    found = []
    for number, item in enumerate(declared, start=1):
        target, events = _read(item, number, timeout)
        wanted = target.name in names if names else event in events
        if wanted or (target.problem and not names):
            found.append(target)
    missing = [name for name in names or () if name not in {target.name for target in found}]
    return (*found, *(Target(name, "?", problem="no target of this name is declared") for name in missing))


def every(declared: Any, timeout: float = 5.0) -> tuple[Target, ...]:
    """All receivers, whatever events they want."""
    if not isinstance(declared, (list, tuple)):
        return choose(declared, "start")
    return tuple(_read(item, number, timeout)[0] for number, item in enumerate(declared, start=1))


def probe(target: Target) -> tuple[str, dict[str, Any]] | None:
    """The module that reaches for a receiver without sending, and its arguments; None for a command."""
    if target.type == "command":
        return None
    if target.type == "webhook":
        parts = urlsplit(str(target.options["url"]))
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    else:
        host, port = str(target.options.get("host") or "localhost"), int(target.options.get("port") or 25)
    seconds = max(1, round(target.timeout))
    return "ansible.builtin.wait_for", {
        "host": host,
        "port": port,
        "timeout": seconds,
        "connect_timeout": seconds,
        "sleep": 1,
        "msg": f"nothing answers at {host}:{port}",
    }


def answers(deliveries: Iterable[Delivery]) -> dict[str, Any]:
    """What the operator's screen shows of receivers that were reached for."""
    found = list(deliveries)
    if not found:
        return {}
    dead = [f"{item.target}: {item.reason}" for item in found if not item.sent]
    headline = f"{len(found) - len(dead)} of {len(found)} receivers answer"
    return {"headline": headline, "lines": dead, "rows": []}


def _read(item: Any, number: int, timeout: float) -> tuple[Target, tuple[str, ...]]:
    if not isinstance(item, Mapping):
        return Target(f"target {number}", "?", problem="must be a mapping"), EVENTS
    kind = str(item.get("type") or "")
    name = str(item.get("name") or f"{kind or 'target'} {number}")
    given = item.get("events")
    events = tuple(USUAL_EVENTS) if given is None else tuple(given) if isinstance(given, (list, tuple)) else (given,)
    problem = ""
    if kind not in _OPTIONS:
        problem = f"type must be one of {', '.join(_OPTIONS)}"
    elif set(events) - set(EVENTS):
        problem = f"events must be of {', '.join(EVENTS)}"
        events = EVENTS
    elif set(item) - _COMMON - _OPTIONS[kind]:
        unknown = ", ".join(sorted(map(str, set(item) - _COMMON - _OPTIONS[kind])))
        problem = f"unknown option {unknown}; {kind} knows {', '.join(sorted(_COMMON | _OPTIONS[kind]))}"
    elif not item.get(_REQUIRED[kind]):
        problem = f"{_REQUIRED[kind]} is missing"
    elif kind == "webhook" and urlsplit(str(item["url"])).scheme not in ("http", "https"):
        problem = "url must start with http:// or https://"
    elif kind == "command" and not isinstance(item["argv"], (list, tuple)):
        problem = "argv must be a list of words, the program first (there is no shell)"
    try:
        seconds = float(item.get("timeout") or timeout)
    except (TypeError, ValueError):
        seconds, problem = timeout, problem or "timeout must be a number of seconds"
    options = {key: value for key, value in item.items() if key not in ("name", "type", "events", "timeout")}
    return Target(name, kind or "?", options, seconds, problem), events


def message(event: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a message, with its title and its whole text; what was not given is empty."""
    fields = {name: str(given.get(name) or "").strip() for name in FIELDS}
    fields["event"] = event
    hosts = given.get("hosts") or []
    fields["hosts"] = hosts if isinstance(hosts, str) else ", ".join(str(host) for host in hosts)
    if not fields["title"]:
        fields["title"] = WORDS[event]
    head = f"[{fields['application']}] {fields['title']}" + (f" on {fields['hosts']}" if fields["hosts"] else "")
    parts = [f"{label}: {fields[name]}" for name, label in _PARTS if fields[name]]
    fields["text"] = "\n".join([head, *parts])
    return fields


def subject(fields: Mapping[str, str]) -> str:
    """The line that an e-mail is headed with."""
    return short(fields["text"].split("\n", 1)[0], 120)


def body(target: Target, fields: Mapping[str, str]) -> Any:
    """What is sent: the target's own body with its ``{words}`` filled in, else Slack's form, else the text."""
    own = target.options.get("body")
    if own in (None, ""):
        return {"text": fields["text"]} if target.type == "webhook" else fields["text"] + "\n"
    return fill(own, fields)


def fill(template: Any, fields: Mapping[str, str]) -> Any:
    """A template of any shape with ``{text}`` and its like replaced; other braces stay as they are."""
    if isinstance(template, Mapping):
        return {key: fill(value, fields) for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(value, fields) for value in template]
    if isinstance(template, str):
        return _PLACEHOLDER.sub(lambda match: fields[match.group(1)], template)
    return template


def call(target: Target, fields: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The module that sends to this target, and its arguments."""
    options, content = target.options, body(target, fields)
    if target.type == "webhook":
        arguments = {
            "url": options["url"],
            "method": options.get("method") or "POST",
            "body": content,
            # A body that is text is the operator's own, in whatever form it is.
            "body_format": "raw" if isinstance(content, str) else "json",
            "headers": {str(key): str(value) for key, value in (options.get("headers") or {}).items()},
            "status_code": options.get("status") or [200, 201, 202, 203, 204],
            "validate_certs": options.get("validate_certs", True),
            "timeout": max(1, round(target.timeout)),
            "follow_redirects": "none",
            "use_proxy": True,
        }
        if options.get("ca_path"):
            arguments["ca_path"] = options["ca_path"]
        return "ansible.builtin.uri", arguments
    if target.type == "email":
        arguments = {
            key: options[key]
            for key in ("to", "cc", "sender", "host", "port", "username", "password", "secure")
            if options.get(key) not in (None, "")
        }
        return "community.general.mail", {
            **arguments,
            "subject": fill(options.get("subject") or subject(fields), fields),
            "body": content if isinstance(content, str) else str(content),
            "timeout": max(1, round(target.timeout)),
        }
    arguments = {
        "argv": [str(word) for word in options["argv"]],
        "stdin": content if isinstance(content, str) else str(content),
        "stdin_add_newline": False,
    }
    if options.get("chdir"):
        arguments["chdir"] = options["chdir"]
    return "ansible.builtin.command", arguments


def place(target: Target) -> str:
    """Where a message goes, as far as that may be shown: the path of a webhook is its password."""
    if target.type == "webhook":
        parts = urlsplit(str(target.options.get("url") or ""))
        return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}" if parts.netloc else ""
    if target.type == "email":
        to = target.options.get("to") or ""
        return ", ".join(map(str, to)) if isinstance(to, (list, tuple)) else str(to)
    argv = target.options.get("argv")
    return str(argv[0]).rsplit("/", 1)[-1] if isinstance(argv, (list, tuple)) and argv else ""


def secrets(target: Target) -> tuple[str, ...]:
    """What must not be read in any result: the webhook's address beyond its host, logins, headers."""
    found: set[str] = set()
    url = str(target.options.get("url") or "")
    if url:
        parts = urlsplit(url)
        rest = url.split(parts.netloc, 1)[-1] if parts.netloc else url
        found |= {url, rest, parts.path, parts.query, parts.username or "", parts.password or ""}
        found |= {piece for piece in re.split(r"[/?&=]", rest) if len(piece) > 7}
    headers = target.options.get("headers")
    for value in headers.values() if isinstance(headers, Mapping) else ():
        found |= {str(value), str(value).split(" ", 1)[-1]}
    found.add(str(target.options.get("password") or ""))
    # The program is told; its arguments may hold a token.
    argv = target.options.get("argv")
    for word in argv[1:] if isinstance(argv, (list, tuple)) else ():
        found |= {piece for piece in (str(word), *re.split(r"[\s=:,;&?'\"]", str(word))) if len(piece) > 7}
    return tuple(sorted((item for item in found if len(item) > 3), key=len, reverse=True))


def delivery(target: Target, result: Mapping[str, Any]) -> Delivery:
    """What a module's result says about one message."""
    if not result.get("failed") and not result.get("unreachable"):
        return Delivery(target.name, target.type, place(target), True)
    return Delivery(target.name, target.type, place(target), False, _clean(_reason(target, result), target))


def not_sent(target: Target, reason: str) -> Delivery:
    """What is told of a message that could not even be tried, or that took too long."""
    return Delivery(target.name, target.type, place(target), False, _clean(reason, target))


def _clean(reason: str, target: Target) -> str:
    return short(str(redact(reason, secrets(target))), 160)


def _reason(target: Target, result: Mapping[str, Any]) -> str:
    text = str(result.get("msg") or "")
    if target.type == "webhook":
        status = result.get("status")
        if isinstance(status, int) and status > 0:
            return f"it answered {status}"
        said = re.search(r"Request failed: (?:<url\w+ error )?(?:\[Errno -?\d+\] )?(.+?)>?\s*$", text)
        text = said.group(1) if said else re.sub(r"^Status code was .*?: ", "", text)
    if target.type == "email":
        text = re.sub(r"\s+", " ", text)
    if target.type == "command" and isinstance(result.get("rc"), int) and result.get("rc"):
        if result["rc"] == 124:
            return too_late(target)
        last = [line for line in str(result.get("stderr") or "").splitlines() if line.strip()][-1:]
        return f"it ended with code {result['rc']}" + (f": {last[0].strip()}" if last else "")
    if "timed out" in text or "timeout" in text.lower():
        return too_late(target)
    return text or "no reason was given"


def too_late(target: Target) -> str:
    """Why a message counts as not sent when its receiver does not end."""
    return f"no answer within {target.timeout:g} s"


def told(event: str, deliveries: Iterable[Delivery], *, check: bool = False) -> dict[str, Any]:
    """What the operator's screen shows, and the report's rows."""
    found = list(deliveries)
    if not found:
        return {}
    good = [item.target for item in found if item.sent]
    bad = [f"{item.target} ({item.reason})" for item in found if not item.sent]
    if check:
        names = ", ".join(item.target for item in found)
        return {"headline": f"would tell of the {event}: {names}", "lines": [], "rows": []}
    value = "; ".join(part for part in (", ".join(good), f"NOT told: {', '.join(bad)}" if bad else "") if part)
    headline = f"told of the {event}: {', '.join(good)}" if good else f"nobody could be told of the {event}"
    lines = [
        f"not told: {item.target}{', ' if item.place else ''}{item.place}: {item.reason}"
        for item in found
        if not item.sent
    ]
    return {"headline": headline, "lines": lines, "rows": [{"label": f"Told ({event})", "value": value}]}


# ---------------------------------------------------------------------------------------------------------------------
# Escalation
# ---------------------------------------------------------------------------------------------------------------------

#: Who is called when nobody said whom, as the operators' guide has it.
ROLES = {
    "technical-lead": "Technical Lead",
    "devops-team": "DevOps Team",
    "on-call": "On-Call Engineer",
}


def levels(contacts: Any, targets: Any, wait: float) -> tuple[list[dict[str, Any]], list[str]]:
    """The levels of an escalation, first one first, and what is wrong with their declaration.

    Without contacts the targets that want escalations are one level.
    """
    wrong: list[str] = []
    found: list[dict[str, Any]] = []
    if not isinstance(contacts, (list, tuple)):
        contacts, wrong = [], ["rollback_contacts must be a list of levels"]
    for number, item in enumerate(contacts, start=1):
        if not isinstance(item, Mapping):
            wrong.append(f"level {number} of rollback_contacts must be a mapping")
            continue
        unknown = sorted(map(str, set(item) - {"role", "name", "contact", "targets", "wait"}))
        if unknown:
            wrong.append(f"level {number} of rollback_contacts: unknown option {', '.join(unknown)}")
        names = item.get("targets") or []
        try:
            seconds = float(wait if item.get("wait") is None else item["wait"])
        except (TypeError, ValueError):
            seconds = wait
            wrong.append(f"level {number} of rollback_contacts: wait must be a number of seconds")
        role = str(item.get("role") or "")
        found.append(
            {
                "who": who(item),
                "role": ROLES.get(role, role) or f"Level {number}",
                "targets": [names] if isinstance(names, str) else [str(name) for name in names],
                "wait": max(0.0, seconds),
            }
        )
    if not found:
        chosen = choose(targets, "escalation") if targets else ()
        names = [target.name for target in chosen if not target.problem]
        if names:
            found = [{"who": "", "role": "Targets of escalations", "targets": names, "wait": 0.0}]
    return found, wrong


def who(contact: Mapping[str, Any]) -> str:
    """A contact as it is read out."""
    name, how = str(contact.get("name") or ""), str(contact.get("contact") or "")
    return f"{name} ({how})" if name and how else name or how


def call_list(contacts: Any) -> list[dict[str, str]]:
    """Rows that say who is to be called; without contacts, whom the guide names."""
    found, _wrong = levels(contacts, (), 0.0)
    if found:
        return [{"label": level["role"], "value": level["who"] or "no name or number is given"} for level in found]
    return [{"label": title, "value": "no contact is configured (rollback_contacts)"} for title in ROLES.values()]
