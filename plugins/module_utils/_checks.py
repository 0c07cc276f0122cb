# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks: declared ones validated, undeclared ones derived. Pure; private to this collection."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Callable
from urllib.parse import parse_qsl, urlsplit

from ansible_collections.schedgen.rollback.plugins.module_utils._migration_tools import TOOLS as MIGRATION_TOOLS
from ansible_collections.schedgen.rollback.plugins.module_utils._redact import looks_secret, redact_url
from ansible_collections.schedgen.rollback.plugins.module_utils._words import number_text, short

DEFAULT_TIMEOUT = 5.0
DEFAULT_SETTLE = 10.0
DEFAULT_LOG_PATTERN = r"\b(ERROR|FATAL|CRITICAL|PANIC)\b|[Uu]nhandled"

#: Ports that never speak HTTP: a published one is only connected to.
NOT_HTTP_PORTS = frozenset(
    {
        21,
        22,
        25,
        53,
        110,
        143,
        389,
        465,
        587,
        993,
        995,
        1433,
        1521,
        1883,
        3306,
        3389,
        5432,
        5433,
        5671,
        5672,
        6379,
        6380,
        6432,
        9092,
        11211,
        27017,
    }
)
TLS_PORTS = frozenset({443, 8443, 9443})

_IMAGE_ID = re.compile(r"^(?:sha256:)?([0-9a-f]{64})$")
_HEALTHCHECK_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::(\d+))?(/[^\s'\"|;)&]*)?")


@dataclass(frozen=True)
class Check:
    """One validated check: what to look at and what to expect there."""

    name: str
    type: str
    critical: bool
    service: str
    depends_on: tuple[str, ...]
    timeout: float
    options: Mapping[str, Any] = field(default_factory=dict)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text that is not empty, not {value!r}")
    return value.strip()


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"must be true or false, not {value!r}")


def _number(value: Any) -> float:
    if not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"must be a number, not {value!r}")


def _seconds(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError(f"must be more than 0 seconds, not {value!r}")
    return number


def _amount(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError(f"must not be negative, not {value!r}")
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if number < 0 or number != int(number):
        raise ValueError(f"must be a whole number from 0, not {value!r}")
    return int(number)


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"must be a whole number, not {value!r}")
    return int(number)


def _port(value: Any) -> int:
    number = _count(value)
    if not 1 <= number <= 65535:
        raise ValueError(f"must be a port from 1 to 65535, not {value!r}")
    return number


def _pattern(value: Any) -> str:
    text = _text(value)
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def _choice(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return read


def _argv(value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, (list, tuple))
        or not value
        or not all(isinstance(word, (str, int, float)) for word in value)
    ):
        raise ValueError("must be a list of words, the program first (there is no shell)")
    return tuple(str(word) for word in value)


def _words(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"must be a list of names, not {value!r}")
    return tuple(word.strip() for word in words)


def _url(value: Any) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        host, _dummy = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"must be an address that starts with http:// or https://, not {redact_url(text)!r}")
    return text


def _path(value: Any) -> str:
    text = _text(value)
    if not text.startswith("/"):
        raise ValueError(f"must start with /, not {value!r}")
    return text


def _statuses(value: Any) -> tuple[str, ...]:
    """Statuses as exact numbers or classes: 200, [200, 204], "2xx"."""
    values = value if isinstance(value, (list, tuple)) else [value]
    found = tuple(str(item).lower() for item in values if not isinstance(item, bool))
    if not found or not all(re.fullmatch(r"[1-5](\d\d|xx)", item) for item in found):
        raise ValueError(f"must be a status such as 200, a class such as 2xx, or a list of them, not {value!r}")
    return found


def _header_map(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(item, (str, int, float)) for item in value.values()):
        raise ValueError("must be a mapping of header names to values")
    return {str(name): str(item) for name, item in value.items()}


def _pattern_map(value: Any) -> dict[str, str]:
    found = _header_map(value)
    for name, item in found.items():
        try:
            _pattern(item)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


_COMPARISONS = ("equals", "not_equals", "min", "max", "matches")


def expectation(value: Any) -> dict[str, Any]:
    """What one value must be: a plain value, or a mapping of equals, not_equals, min, max, matches."""
    if not isinstance(value, Mapping):
        if isinstance(value, (list, tuple)):
            raise ValueError(f"must be one value or a mapping of {', '.join(_COMPARISONS)}, not a list")
        return {"equals": value}
    if not value or any(key not in _COMPARISONS for key in value):
        raise ValueError(f"must be one value or a mapping of {', '.join(_COMPARISONS)}, not {dict(value)!r}")
    found: dict[str, Any] = dict(value)
    for key, read in (("min", _number), ("max", _number), ("matches", _pattern)):
        if key in found:
            try:
                found[key] = read(found[key])
            except ValueError as error:
                raise ValueError(f"{key} {error}") from None
    return found


def _expectations(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a mapping of paths such as info.database.status to values")
    found = {}
    for path, item in value.items():
        try:
            found[str(path)] = expectation(item)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return found


def _scalar(value: Any) -> Any:
    if isinstance(value, (Mapping, list, tuple)):
        raise ValueError(f"must be one value, not {value!r}")
    return value


def _image_id(value: Any) -> str:
    match = _IMAGE_ID.match(value.strip().lower()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"must be an image id (sha256: and 64 hexadecimal digits), not {value!r}")
    return "sha256:" + match.group(1)


def _since(value: Any) -> Any:
    """Seconds before now, a moment in time, or ``start``: since the container started."""
    if value == "start":
        return value
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        return parse_time(value)
    try:
        return _seconds(value)
    except ValueError:
        raise ValueError(
            f"must be seconds before now, a time such as 2026-11-22T13:15:00Z, or start, not {value!r}"
        ) from None


def parse_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; one without a zone is UTC; nanoseconds (Docker's) are cut."""
    clean = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())
    clean = re.sub(r"\.(\d{1,5})(?=\D|$)", lambda match: "." + match.group(1).ljust(6, "0"), clean)
    try:
        moment = datetime.fromisoformat(re.sub(r"Z$", "+00:00", clean))
    except ValueError:
        raise ValueError(f"is not a time such as 2026-11-22T13:15:00Z: {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


@dataclass(frozen=True)
class _Field:
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False


_VALUE_FIELDS = {
    "equals": _Field(_scalar),
    "not_equals": _Field(_scalar),
    "min": _Field(_number),
    "max": _Field(_number),
    "matches": _Field(_pattern),
}

#: Every type of check and its options; ``COMMON`` holds for all of them.
TYPES: Mapping[str, Mapping[str, _Field]] = {
    "container": {
        "replicas": _Field(_count),
        "min_uptime": _Field(_amount, 0.0),
        "max_restarts": _Field(_count),
        "settle": _Field(_amount, DEFAULT_SETTLE),
        "health": _Field(_choice("if_defined", "required", "ignored"), "if_defined"),
        "completed": _Field(_flag, False),
    },
    "http": {
        "url": _Field(_url),
        "port": _Field(_port),
        "path": _Field(_path, "/"),
        "scheme": _Field(_choice("http", "https"), "http"),
        "method": _Field(_choice("GET", "HEAD", "POST", "OPTIONS"), "GET"),
        "headers": _Field(_header_map, {}),
        "token_file": _Field(_text, ""),
        "status": _Field(_statuses, ("2xx",)),
        "body": _Field(_pattern, ""),
        "json": _Field(_expectations, {}),
        "expect_headers": _Field(_pattern_map, {}),
        "latency": _Field(_seconds),
        "follow_redirects": _Field(_flag, False),
        "validate_certs": _Field(_flag, True),
        "ca_file": _Field(_text, ""),
        "tls_days": _Field(_amount),
        "any_protocol": _Field(_flag, False),
    },
    "tcp": {"host": _Field(_text, ""), "port": _Field(_port, required=True)},
    "sql": {
        "query": _Field(_text, "SELECT 1"),
        "database": _Field(_text, ""),
        "latency": _Field(_seconds),
        **_VALUE_FIELDS,
    },
    "migrations": {
        "head": _Field(_text, required=True),
        "tool": _Field(_choice(*MIGRATION_TOOLS), "typeorm"),
        "table": _Field(_text, ""),
    },
    "image": {"id": _Field(_image_id, required=True), "replicas": _Field(_count)},
    "log": {
        "pattern": _Field(_pattern, DEFAULT_LOG_PATTERN),
        "ignore": _Field(_pattern, ""),
        "since": _Field(_since, 300.0),
        "limit": _Field(_count, 0),
    },
    "command": {
        "argv": _Field(_argv, required=True),
        "rc": _Field(_integer, 0),
        "stdout": _Field(_pattern, ""),
        "chdir": _Field(_text, ""),
        "inside": _Field(_flag, False),
    },
    "prometheus": {
        "url": _Field(_url, required=True),
        "query": _Field(_text, required=True),
        "headers": _Field(_header_map, {}),
        "token_file": _Field(_text, ""),
        "validate_certs": _Field(_flag, True),
        "ca_file": _Field(_text, ""),
        **_VALUE_FIELDS,
    },
}
COMMON: Mapping[str, _Field] = {
    "name": _Field(_text, ""),
    "type": _Field(_text, required=True),
    "critical": _Field(_flag, True),
    "service": _Field(_text, ""),
    "depends_on": _Field(_words, ()),
    "timeout": _Field(_seconds, DEFAULT_TIMEOUT),
}
_NEEDS_SERVICE = ("container", "image", "log")


def parse_checks(declared: Any) -> tuple[Check, ...]:
    """Validate declared checks; a ValueError names the check, the option and what was expected."""
    if not isinstance(declared, (list, tuple)):
        raise ValueError("health checks must be a list of mappings")
    checks: list[Check] = []
    taken: set[str] = set()
    for number, item in enumerate(declared, start=1):
        check = _parse_check(item, number)
        if not (isinstance(item, Mapping) and item.get("name")):
            check = replace(check, name=_free_name(check.name, taken))
        elif check.name in taken:
            raise ValueError(f"health check {number} ({check.name}): another check already has this name")
        taken.add(check.name)
        checks.append(check)
    return tuple(checks)


def _free_name(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


def _parse_check(item: Any, number: int) -> Check:
    label = f"health check {number}"
    if not isinstance(item, Mapping):
        raise ValueError(f"{label}: must be a mapping, not {item!r}")
    if isinstance(item.get("name"), str) and item["name"].strip():
        label += f" ({item['name'].strip()})"
    kind = str(item.get("type") or "")
    if kind not in TYPES:
        raise ValueError(f"{label}: type must be one of {', '.join(TYPES)}, not {item.get('type')!r}")
    fields = {**COMMON, **TYPES[kind]}
    values: dict[str, Any] = {name: known.default for name, known in fields.items()}
    given: set[str] = set()
    for name, value in item.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), list(fields), n=1)
            hint = f"did you mean {near[0]}?" if near else f"{kind} knows {', '.join(sorted(fields))}"
            raise ValueError(f"{label}: unknown option {name!r}; {hint}")
        # The value of an empty variable is as if it were not given; to be equal to nothing is a wish, though.
        if value in (None, "") and name not in ("equals", "not_equals"):
            continue
        try:
            values[name] = fields[name].read(value)
        except ValueError as error:
            raise ValueError(f"{label}: {name} {error}") from None
        given.add(str(name))
    for name, known in fields.items():
        if known.required and name not in given:
            raise ValueError(f"{label}: {name} is missing")
    _check_combination(label, kind, values, given)
    common = {name: values.pop(name) for name in COMMON}
    options = {name: value for name, value in values.items() if name not in _VALUE_FIELDS}
    if "equals" in TYPES[kind]:
        options["expected"] = {name: values[name] for name in _COMPARISONS if name in given}
    if not common["name"]:
        common["name"] = _default_name(kind, common["service"], options)
    return Check(options=options, **common)


def _check_combination(label: str, kind: str, values: Mapping[str, Any], given: set[str]) -> None:
    if kind in _NEEDS_SERVICE and not values["service"]:
        raise ValueError(f"{label}: service is missing")
    if kind == "http":
        if "url" not in given and not (values["service"] and "port" in given):
            raise ValueError(f"{label}: url is missing (or service and port, to ask each of its containers)")
        if "url" in given and given & {"port", "path", "scheme"}:
            raise ValueError(f"{label}: url stands alone; port, path and scheme go with service")
        scheme = urlsplit(values["url"]).scheme if "url" in given else values["scheme"]
        if "tls_days" in given and (scheme != "https" or not values["validate_certs"]):
            raise ValueError(f"{label}: tls_days needs https and validate_certs")
    if kind == "tcp" and not values["host"] and not values["service"]:
        raise ValueError(f"{label}: host is missing (or service, to connect to each of its containers)")
    if kind == "container" and values["completed"] and given & {"replicas", "min_uptime", "max_restarts"}:
        raise ValueError(
            f"{label}: completed is for a job that ends; replicas, min_uptime and max_restarts are for one that runs"
        )
    if kind == "command" and values["inside"] and not values["service"]:
        raise ValueError(f"{label}: service is missing: whose containers is it to be run inside?")
    if kind == "prometheus" and not given & set(_COMPARISONS):
        raise ValueError(f"{label}: one of {', '.join(_COMPARISONS)} is missing")


def _default_name(kind: str, service: str, options: Mapping[str, Any]) -> str:
    if kind == "container":
        return f"{service} {'has completed' if options['completed'] else 'runs'}"
    if kind == "image":
        return f"{service} image"
    if kind == "log":
        return f"{service} log"
    if kind == "http":
        if options["url"]:
            return f"{options['method']} {redact_url(options['url'])}"
        return f"{options['method']} {options['scheme']}://{service}:{options['port']}{options['path']}"
    if kind == "tcp":
        return f"port {options['host'] or service}:{options['port']}"
    if kind == "sql":
        return "database login" if options["query"] == "SELECT 1" else "query: " + short(options["query"], 60)
    if kind == "migrations":
        return "migration head"
    if kind == "command":
        return "command " + options["argv"][0].rsplit("/", 1)[-1]
    return "metric " + short(options["query"], 60)


def derive_checks(
    containers: Sequence[Mapping[str, Any]],
    database: Mapping[str, Any] | None = None,
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Sensible checks for a Compose project, in the declared form, from what its containers say.

    ``containers`` are mappings with service, depends_on {service: condition}, ports [{host_ip, host_port,
    container_port, protocol}], healthcheck [words] and number. Each service must run and pass its own health check, a
    service that others need completed must have completed, a service that others need must exist, a published port must
    answer, and the named database must let its user in.

    ``files`` is what the project's files say of each service, {depends_on, replicas}: of use where containers were
    started without their dependencies and so know none. A service that only the files know may be meant for another
    host, so that its absence is not critical.
    """
    known = files or {}
    needs: dict[str, dict[str, str]] = {}
    for item in containers:
        needs.setdefault(item["service"], {}).update(item.get("depends_on") or {})
    needed = {name for wanted in needs.values() for name in wanted}
    for service, wanted in needs.items():
        wanted.update((known.get(service) or {}).get("depends_on") or {})
    jobs = {
        name
        for wanted in needs.values()
        for name, condition in wanted.items()
        if condition == "service_completed_successfully"
    }
    missing = {name for name, entry in known.items() if entry.get("replicas", 1)} - set(needs) - needed
    checks: list[dict[str, Any]] = []
    for service in sorted({*needs, *needed, *(missing if containers else ())}):
        check: dict[str, Any] = {"type": "container", "service": service, "depends_on": sorted(needs.get(service, {}))}
        if service in jobs:
            check["completed"] = True
        if service in missing:
            check["critical"] = False
        checks.append(check)
    seen: set[tuple[str, int]] = set()
    for item in sorted(containers, key=lambda entry: (entry["service"], entry.get("number") or 0)):
        if item["service"] in jobs:
            continue
        for port in sorted(
            item.get("ports") or [], key=lambda entry: (int(entry["container_port"]), entry.get("host_ip") or "")
        ):
            check = _port_check(item, port)
            place = (check.get("host") or urlsplit(check.get("url", "")).hostname or "", int(port["host_port"]))
            if port.get("protocol", "tcp") == "tcp" and place not in seen:
                seen.add(place)
                checks.append({**check, "depends_on": sorted(needs[item["service"]])})
    if database and database.get("name"):
        service = database.get("service") or ""
        checks.append(
            {
                "type": "sql",
                "name": f"database {database['name']}",
                "service": service if not database.get("host") else "",
            }
        )
    return checks


def _port_check(container: Mapping[str, Any], port: Mapping[str, Any]) -> dict[str, Any]:
    address = port.get("host_ip") or ""
    address = "127.0.0.1" if address in ("", "0.0.0.0", "::") else address
    inner = int(port["container_port"])
    if inner in NOT_HTTP_PORTS:
        return {"type": "tcp", "service": container["service"], "host": address, "port": int(port["host_port"])}
    scheme = "https" if inner in TLS_PORTS else "http"
    host = f"[{address}]" if ":" in address else address
    check = {"type": "http", "service": container["service"]}
    path = _healthcheck_path(container.get("healthcheck") or (), inner)
    if path:
        check.update(status=["2xx", "3xx"])
    else:
        # Nobody said what this port answers: anything but a server's own fault will do, even another protocol.
        check.update(status=["2xx", "3xx", "4xx"], any_protocol=True)
    if scheme == "https":
        check["validate_certs"] = False
    return {**check, "url": f"{scheme}://{host}:{port['host_port']}{path or '/'}"}


def _healthcheck_path(words: Sequence[str], port: int) -> str:
    """The path that the container's own health check asks on this port, if it asks one."""
    for match in _HEALTHCHECK_URL.finditer(" ".join(words)):
        default = 443 if match.group(0).startswith("https") else 80
        if int(match.group(1) or default) == port and match.group(2):
            return match.group(2)
    return ""


def required_checks(
    services: Sequence[str] = (),
    images: Mapping[str, str] | None = None,
    replicas: Mapping[str, int] | None = None,
    min_uptime: float = 0.0,
    max_restarts: int | None = None,
) -> list[dict[str, Any]]:
    """Checks, in the declared form, for services that must run and for the images that they must run."""
    wanted = sorted({*services, *(replicas or {})})
    checks: list[dict[str, Any]] = []
    for service in wanted:
        check: dict[str, Any] = {"type": "container", "service": service, "min_uptime": min_uptime}
        if max_restarts is not None:
            check["max_restarts"] = max_restarts
        if replicas and service in replicas:
            check["replicas"] = replicas[service]
        checks.append(check)
    checks.extend(
        {"type": "image", "service": service, "id": image} for service, image in sorted((images or {}).items())
    )
    return checks


def merge_checks(*groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Checks of several origins in one list; for a service's containers the first that names it counts."""
    merged: list[dict[str, Any]] = []
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups:
        for item in group:
            key = (str(item.get("type")), str(item.get("service", "")))
            if key[0] == "container" and key in seen:
                # The later origin may still know what the first did not: the services that this one needs.
                if not seen[key].get("depends_on") and item.get("depends_on"):
                    seen[key]["depends_on"] = item["depends_on"]
                continue
            entry = dict(item)
            if key[0] == "container":
                seen[key] = entry
            merged.append(entry)
    return merged


def of_the_database(checks: Iterable[Check], service: str) -> tuple[Check, ...]:
    """Checks that ask the database, and name no service, speak about the service that runs it."""
    return tuple(
        replace(check, service=service) if check.type in ("sql", "migrations") and not check.service else check
        for check in checks
    )


def check_secrets(checks: Iterable[Check]) -> tuple[str, ...]:
    """The secret values that the checks themselves carry: logins in addresses, tokens in headers and queries."""
    found: set[str] = set()
    for check in checks:
        url = check.options.get("url") or ""
        if url:
            parts = urlsplit(url)
            found.add(parts.password or "")
            found.update(value for name, value in parse_qsl(parts.query) if looks_secret(name))
        for name, value in (check.options.get("headers") or {}).items():
            if looks_secret(name):
                found.add(value)
                found.add(value.split(" ", 1)[-1])
    return tuple(sorted((item for item in found if item), key=len, reverse=True))


@dataclass(frozen=True)
class Policy:
    """How long to look, and what is enough."""

    deadline: float = 120.0
    successes: int = 3
    interval: float = 1.0
    min_healthy: float = 0.0
    fail_fast: bool = False


def policy(
    deadline: Any = 120.0, successes: Any = 3, interval: Any = 1.0, min_healthy: Any = 0.0, fail_fast: Any = False
) -> Policy:
    """A validated policy."""
    values: dict[str, Any] = {}
    given = (
        ("deadline", _seconds, deadline),
        ("successes", _count, successes),
        ("interval", _amount, interval),
        ("min_healthy", _amount, min_healthy),
        ("fail_fast", _flag, fail_fast),
    )
    for name, read, value in given:
        try:
            values[name] = read(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    if values["successes"] < 1:
        raise ValueError("successes must be at least 1")
    shortest = max(values["min_healthy"], (values["successes"] - 1) * values["interval"])
    if shortest >= values["deadline"]:
        raise ValueError(
            f"deadline must be longer than {number_text(shortest)} s: {values['successes']} successes every "
            f"{number_text(values['interval'])} s and at least {number_text(values['min_healthy'])} s healthy "
            "do not fit into it"
        )
    return Policy(**values)
