# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receivers of messages on this machine: a web server that behaves well and badly, and a mail server."""

from __future__ import annotations

import contextlib
import email
import email.message
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


@dataclass
class Request:
    """One request that a web receiver got."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """Its body as data."""
        return json.loads(self.body)


@dataclass
class Web:
    """A web receiver: paths that begin with /ok take a message, /refuse answers 500, /hang and /drip never end."""

    url: str
    got: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def texts(self) -> list[str]:
        """The messages in Slack's form, in their order."""
        return [str(request.json["text"]) for request in self.got if request.path.startswith("/ok")]


@contextmanager
def web() -> Iterator[Web]:
    """Run a web receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            found.got.append(Request(self.command, self.path, dict(self.headers.items()), body))
            if self.path.startswith("/hang"):
                found.over.wait(60)
                return
            if self.path.startswith("/drip"):
                with contextlib.suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 ")
                    while not found.over.wait(0.5):
                        self.wfile.write(b".")
                return
            self.send_response(500 if self.path.startswith("/refuse") else 200)
            self.end_headers()
            self.wfile.write(b"ok")

        do_PUT = do_POST  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Web(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mail:
    """A mail receiver and what it got."""

    port: int
    got: list[email.message.EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def mail() -> Iterator[Mail]:
    """Run a mail server on a free port, which lets anybody in who has the password ``opensesame``."""
    found = Mail(free_port())

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            found.got.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            return "250 OK"

    def admit(_server: Any, _session: Any, _envelope: Any, _mechanism: str, auth: Any) -> AuthResult:
        if not isinstance(auth, LoginPassword):
            return AuthResult(success=False)
        found.logins.append((auth.login.decode(), auth.password.decode()))
        return AuthResult(success=auth.password == b"opensesame")

    controller = Controller(
        Handler(), hostname="127.0.0.1", port=found.port, authenticator=admit, auth_require_tls=False
    )
    controller.start()
    try:
        yield found
    finally:
        controller.stop()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
