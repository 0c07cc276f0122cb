# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secrets out of what people and files get to see. Pure; private to this collection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

MASK = "********"

_SECRET_NAME = re.compile(
    r"pass(word|wd)?|secret|token|api[-_]?key|authorization|cookie|credential|signature|^sig$|^key$", re.I
)
_SECRET_TEXT = re.compile(
    r"(?i)\b((?:\w*(?:password|passwd|secret|token|api[-_]?key))[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
)
_BEARER = re.compile(r"(?i)\b((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@]*:[^/\s@]*@", re.I)


def looks_secret(name: str) -> bool:
    """Whether a name (of a header, a query parameter, a key) promises a secret value."""
    return bool(_SECRET_NAME.search(name))


def redact_url(url: str) -> str:
    """An address without its login and without query values that look secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rsplit("@", 1)[-1]
        query = parts.query
        if query:
            pairs = parse_qsl(query, keep_blank_values=True)
            if any(looks_secret(name) for name, _dummy in pairs):
                query = urlencode([(name, MASK if looks_secret(name) else value) for name, value in pairs], safe="*")
        return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))
    except ValueError:
        return MASK


def redact(value: Any, secrets: Sequence[str] = ()) -> Any:
    """A value without secrets, whatever its shape."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(item, str) and looks_secret(str(key)) else redact(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact(item, secrets) for item in value]
    if not isinstance(value, str):
        return value
    text = value
    for secret in secrets:
        # A secret of three letters would mask half of every sentence, and is guessed in a moment anyway.
        if len(secret) > 3:
            text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\g<1>{MASK}@", text)
    text = _BEARER.sub(rf"\g<1>{MASK}", text)
    return _SECRET_TEXT.sub(rf"\g<1>{MASK}", text)


def redact_declared(declared: Any) -> Any:
    """Declared checks as they may be shown: header values that look secret and logins in addresses are masked."""
    if isinstance(declared, Mapping):
        shown = {}
        for key, item in declared.items():
            if isinstance(item, str) and (looks_secret(str(key)) and not str(key).endswith("_file")):
                shown[key] = MASK
            elif key == "url" and isinstance(item, str):
                shown[key] = redact_url(item)
            else:
                shown[key] = redact_declared(item)
        return shown
    if isinstance(declared, (list, tuple)):
        return [redact_declared(item) for item in declared]
    return redact(declared)


def log_without(log: Any, *names: str) -> Callable[..., None]:
    """Return a module's way to write to the host's log, made to leave out some options.

    Ansible writes the options of every module there; checks can hold logins and tokens, in values that nothing marks.
    """

    def write(module: Any, msg: str, log_args: dict[str, Any] | None = None) -> None:
        hidden = [name for name in names if log_args and name in log_args]
        if log_args and hidden:
            log_args = {**log_args, **dict.fromkeys(hidden, "(not logged)")}
            msg = "Invoked with " + " ".join(f"{name}={value}" for name, value in log_args.items())
        log(module, msg, log_args)

    return write
