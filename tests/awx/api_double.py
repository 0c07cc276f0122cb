# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A double of the part of AWX's API that the collection awx.awx asks: it keeps objects in memory, and starts no job."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Thing = dict[str, Any]

PREFIX = "/api/v2/"
TYPES = {
    "organizations": "organization",
    "projects": "project",
    "inventories": "inventory",
    "credentials": "credential",
    "execution_environments": "execution_environment",
    "labels": "label",
    "teams": "team",
    "notification_templates": "notification_template",
    "job_templates": "job_template",
    "workflow_job_templates": "workflow_job_template",
    "workflow_job_template_nodes": "workflow_job_template_node",
    "workflow_approval_templates": "workflow_approval_template",
    "schedules": "schedule",
}
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "workflow_approval_templates")
ROLES = {
    "job_templates": ("admin", "execute", "read"),
    "workflow_job_templates": ("admin", "execute", "approval", "read"),
}
# What AWX fills in where a client says nothing.
DEFAULTS: dict[str, Thing] = {
    "inventories": {"kind": "", "host_filter": None, "variables": ""},
    "projects": {"scm_revision": "", "credential": None, "default_environment": None},
    "workflow_job_template_nodes": {"extra_data": {}, "unified_job_template": None},
}
QUESTION_TYPES = ("text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float")


class Refused(Exception):
    """What the API says no to."""


def check_survey(survey: Thing) -> None:
    """Refuse what AWX refuses in a survey."""
    if set(survey) != {"name", "description", "spec"} or not survey["spec"]:
        raise Refused("a survey has name, description and a spec that is not empty")
    variables = [question["variable"] for question in survey["spec"]]
    if len(variables) != len(set(variables)):
        raise Refused(f"a variable is asked for twice: {variables}")
    for question in survey["spec"]:
        if question["type"] not in QUESTION_TYPES:
            raise Refused(f"no type of a question: {question['type']}")
        if not isinstance(question["required"], bool) or not question["question_name"]:
            raise Refused(f"required and question_name: {question}")
        default = question.get("default")
        if question["type"].startswith("multi"):
            if not all(isinstance(choice, str) for choice in question["choices"]):
                raise Refused(f"choices are text: {question}")
            if default not in (None, "", *question["choices"]):
                raise Refused(f"the default is no choice: {question}")
        elif question["type"] == "integer":
            if not all(isinstance(question[name], int) for name in ("min", "max", "default")):
                raise Refused(f"numbers: {question}")
        elif not isinstance(default, str) or len(default) > question["max"]:
            raise Refused(f"the default is not text of that length: {question}")


class Double:
    """The objects, and what was asked."""

    def __init__(self) -> None:
        self.things: dict[str, list[Thing]] = {room: [] for room in TYPES}
        self.links: dict[str, list[int]] = {}
        self.surveys: dict[str, Thing] = {}
        self.asked: list[tuple[str, str]] = []
        self._last = 0

    def make(self, room: str, **fields: Any) -> Thing:
        """Create an object, as a POST does."""
        self._last += 1
        url = f"{PREFIX}{room}/{self._last}/"
        related = {name: f"{url}{name}/" for name in ("survey_spec", "update", "copy")}
        thing = {**DEFAULTS.get(room, {}), **fields, "id": self._last, "type": TYPES[room], "url": url}
        roles = {f"{name}_role": {"id": self._last * 10 + at} for at, name in enumerate(ROLES.get(room, ()))}
        thing.update(related=related, summary_fields={"object_roles": roles})
        if room == "projects":
            thing["summary_fields"]["current_update"] = {"id": 1}
        self.things[room].append(thing)
        return thing

    def named(self, room: str, name: str) -> Thing:
        """Return the object of that name."""
        (found,) = [thing for thing in self.things[room] if thing.get("name", thing.get("identifier")) == name]
        return found

    def linked(self, thing: Thing, name: str) -> list[int]:
        """Return the ids of what is associated."""
        return sorted(self.links.get(f"{thing['url']}{name}/", []))

    def survey(self, thing: Thing) -> Thing:
        """Return the survey of a template."""
        return self.surveys[thing["related"]["survey_spec"]]

    def _by_url(self, path: str) -> Thing:
        for things in self.things.values():
            for thing in things:
                if thing["url"] == path:
                    return thing
        raise LookupError(path)

    def _room(self, room: str) -> list[Thing]:
        if room == "unified_job_templates":
            return [thing for each in UNIFIED for thing in self.things[each]]
        return self.things[room]

    def get(self, path: str, query: dict[str, str]) -> Thing:
        """Answer a GET."""
        inner = path.removeprefix(PREFIX).strip("/")
        if inner in ("ping", "config"):
            return {"version": "24.6.1"}
        if inner.startswith("project_updates/"):
            return {"status": "successful"}
        if path in self.surveys or path.endswith("/survey_spec/"):
            return self.surveys.get(path, {})
        if inner in TYPES or inner == "unified_job_templates":
            found = [thing for thing in self._room(inner) if all(_fits(thing, *pair) for pair in query.items())]
        elif re.fullmatch(r"\w+/\d+", inner):
            return self._by_url(path)
        else:
            found = [{"id": number} for number in self.links.get(path, [])]
        return {"count": len(found), "next": None, "results": found}

    def post(self, path: str, body: Thing) -> tuple[int, Thing]:
        """Answer a POST."""
        inner = path.removeprefix(PREFIX).strip("/")
        if inner in TYPES:
            return 201, self.make(inner, **body)
        if path.endswith("/survey_spec/"):
            check_survey(body)
            self.surveys[path] = body
            return 200, {}
        if path.endswith("/create_approval_template/"):
            node = self._by_url(path.removesuffix("create_approval_template/"))
            known = {name: body[name] for name in ("name", "description", "timeout") if name in body}
            made = self.make("workflow_approval_templates", **known)
            node["unified_job_template"] = made["id"]
            node["related"]["unified_job_template"] = made["url"]
            return 201, made
        if inner.startswith("workflow_approval_templates/"):
            raise LookupError(path)
        ids = self.links.setdefault(path, [])
        if body.get("disassociate"):
            ids.remove(body["id"])
        elif body["id"] not in ids:
            ids.append(body["id"])
        return 204, {}

    def patch(self, path: str, body: Thing) -> Thing:
        """Answer a PATCH with what the object is now; what an approval does not have is passed over, as AWX does."""
        thing = self._by_url(path)
        if thing["type"] == "workflow_approval_template":
            body = {name: value for name, value in body.items() if name in thing}
        thing.update(body)
        return thing


def _fits(thing: Thing, key: str, value: str) -> bool:
    if key in ("page", "page_size", "order_by"):
        return True
    if key.startswith("or__"):
        raise Refused(f"a name that is a number is not looked up here: {value}")
    return str(thing.get(key, "")) == value


@contextmanager
def served() -> Iterator[tuple[Double, str]]:
    """Serve a new double; give it, and its address."""
    double = Double()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}")
            status, answer = 200, {}
            with lock:
                double.asked.append((self.command, address.path))
                try:
                    if self.headers.get("Authorization") != "Bearer of-the-double":
                        status = 401
                    elif self.command == "GET":
                        answer = double.get(address.path, dict(parse_qsl(address.query)))
                    elif self.command == "POST":
                        status, answer = double.post(address.path, body)
                    else:
                        answer = double.patch(address.path, body)
                except Refused as error:
                    status, answer = 400, {"error": str(error), "detail": str(error)}
                except (LookupError, ValueError) as error:
                    status, answer = 404, {"detail": repr(error)}
                data = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815  the names that http.server calls

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield double, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
