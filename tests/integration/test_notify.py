# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to real receivers on this machine: they arrive, and a receiver that is dead or slow stops nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import interpreter, receivers

ROOT = Path(__file__).resolve().parents[2]
ROLE = """
- name: Tell
  hosts: all
  gather_facts: false
  tasks:
    - name: Tell
      ansible.builtin.import_role:
        name: schedgen.rollback.{role}
        rolespec_validate: false
      vars: {variables}
    - name: Go on
      ansible.builtin.debug:
        msg: the rollback goes on
"""


@dataclass(frozen=True)
class Ran:
    rc: int
    screen: str
    seconds: float

    @property
    def text(self) -> str:
        """The screen with its line breaks folded."""
        return " ".join(self.screen.split())


def ansible(path: Path, *options: str, **variables: Any) -> Ran:
    given = {"ansible_python_interpreter": interpreter.PYTHON, "rollback_application": "shop", **variables}
    started = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), str(path), "-i", "app1,", "-c", "local", *options,
         "--extra-vars", json.dumps(given)],
        capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=120,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    return Ran(done.returncode, done.stdout + done.stderr, time.monotonic() - started)


def role(folder: Path, name: str, *options: str, **variables: Any) -> Ran:
    """Run one role with its own variables, those of the collection beside them."""
    own = {key: value for key, value in variables.items() if key.startswith(f"{name}_")}
    path = folder / "play.yml"
    path.write_text(ROLE.format(role=name, variables=json.dumps(own)))
    return ansible(path, *options, **{key: value for key, value in variables.items() if key not in own})


def watch(state: Path, *options: str, **variables: Any) -> Ran:
    """Run monitor.yml on a machine that has no application of this name: there is nothing to observe."""
    return ansible(
        ROOT / "monitor.yml",
        *options,
        **{
            "rollback_state_dir": str(state),
            "rollback_database": "",
            "rollback_code_services": [],
            "rollback_monitor_window": 1,
            "rollback_monitor_interval": 1,
            **variables,
        },
    )


@pytest.fixture
def web() -> Iterator[receivers.Web]:
    with receivers.web() as found:
        yield found


@pytest.fixture
def mail() -> Iterator[receivers.Mail]:
    with receivers.mail() as found:
        yield found


def test_every_type_of_receiver_gets_the_message(tmp_path: Path, web: receivers.Web, mail: receivers.Mail) -> None:
    note = tmp_path / "note"
    done = role(
        tmp_path,
        "notify",
        notify_event="failure",
        notify_happened='backend says "no"',
        notify_impact="users wait",
        notify_done="nothing was touched",
        notify_needed="somebody",
        notify_report="app1:/report.md",
        rollback_reason="v3 answers 500",
        rollback_notify=[
            {"name": "team", "type": "webhook", "url": f"{web.url}/ok/services/swordfish"},
            {
                "name": "lead",
                "type": "email",
                "host": "127.0.0.1",
                "port": mail.port,
                "secure": "never",
                "username": "robot",
                "password": "opensesame",
                "sender": "robot@example.org",
                "to": ["lead@example.org", "deputy@example.org"],
            },
            {"name": "note", "type": "command", "argv": ["/bin/sh", "-c", f"cat >> {note}"]},
            {"name": "later", "type": "webhook", "url": f"{web.url}/ok/later", "events": ["success"]},
        ],
    )
    assert done.rc == 0, done.screen
    text = (
        "[shop] Rollback FAILED on app1\n"
        'What happened: backend says "no"\n'
        "Impact: users wait\n"
        "Done: nothing was touched\n"
        "Needed: somebody\n"
        "Reason: v3 answers 500\n"
        "Report: app1:/report.md"
    )
    (request,) = web.got
    assert (request.method, request.path, request.json) == ("POST", "/ok/services/swordfish", {"text": text})
    assert request.headers["Content-Type"] == "application/json"
    (letter,) = mail.got
    assert letter["Subject"] == "[shop] Rollback FAILED on app1"
    assert letter["To"] == "lead@example.org, deputy@example.org"
    body = letter.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n").strip() == text
    assert mail.logins == [("robot", "opensesame")]
    assert note.read_text() == text + "\n"
    assert "told of the failure: team, lead, note" in done.text
    assert "Told (failure) team, lead, note" in done.text


def test_a_body_of_ones_own(tmp_path: Path, web: receivers.Web) -> None:
    done = role(
        tmp_path,
        "notify",
        notify_happened="the code goes back",
        rollback_notify=[
            {
                "type": "webhook",
                "method": "PUT",
                "url": f"{web.url}/ok",
                "headers": {"X-Key": "swordfish"},
                "body": {"summary": "{title}", "details": {"app": "{application}", "what": ["{happened}"]}},
            },
            {"type": "webhook", "url": f"{web.url}/text", "body": "{application} {event}"},
        ],
    )
    assert done.rc == 0, done.screen
    first, second = web.got
    assert (first.method, first.headers["X-Key"]) == ("PUT", "swordfish")
    assert first.json == {
        "summary": "Rollback begins",
        "details": {"app": "shop", "what": ["the code goes back"]},
    }
    assert second.body == "shop start"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/refuse", "it answered 500"),
        ("/hang", "no answer within 1 s"),
        # A byte now and then passes every timeout on a read.
        ("/drip", "no answer within 1 s"),
    ],
)
def test_a_receiver_that_behaves_badly_stops_nothing(
    tmp_path: Path, web: receivers.Web, path: str, reason: str
) -> None:
    done = role(
        tmp_path,
        "notify",
        notify_timeout=1,
        rollback_notify=[
            {"name": "bad", "type": "webhook", "url": f"{web.url}{path}/swordfish"},
            {"name": "good", "type": "webhook", "url": f"{web.url}/ok"},
        ],
    )
    assert done.rc == 0, done.screen
    assert "the rollback goes on" in done.text
    assert f"good; NOT told: bad ({reason})" in done.text
    assert len(web.texts()) == 1


def test_dead_receivers_stop_nothing(tmp_path: Path) -> None:
    port = receivers.free_port()
    done = role(
        tmp_path,
        "notify",
        notify_timeout=1,
        rollback_notify=[
            {"name": "hook", "type": "webhook", "url": f"http://127.0.0.1:{port}/swordfish"},
            {"name": "mail", "type": "email", "host": "127.0.0.1", "port": port, "to": "a@example.org"},
            {"name": "gone", "type": "command", "argv": ["/nonexistent/pager"]},
            {"name": "fails", "type": "command", "argv": ["/bin/sh", "-c", "echo no route >&2; exit 3"]},
            {"name": "sleeps", "type": "command", "argv": ["sleep", "600"]},
            {"name": "typo", "type": "webhook", "ulr": "http://127.0.0.1/"},
        ],
    )
    assert done.rc == 0, done.screen
    assert "the rollback goes on" in done.text
    assert "nobody could be told of the start" in done.text
    for told in (
        f"not told: hook, http://127.0.0.1:{port}: Connection refused",
        "not told: mail, a@example.org: ",
        "not told: gone, pager: ",
        "not told: fails, sh: it ended with code 3: no route",
        "not told: sleeps, sleep: no answer within 1 s",
        "not told: typo: unknown option ulr",
    ):
        assert told in done.text
    assert done.seconds < 300, "nobody waits for what sleeps"
    sleeping = subprocess.run(["pgrep", "-fx", "sleep 600"], capture_output=True, text=True, check=False)
    assert sleeping.stdout == "", "what was given up does not go on"


@pytest.mark.parametrize("declared", ["http://127.0.0.1/", [{"type": "webhook", "url": "{{ nobody_set_this }}"}]])
def test_a_wrong_declaration_stops_nothing(tmp_path: Path, declared: Any) -> None:
    done = role(tmp_path, "notify", rollback_notify=declared)
    assert done.rc == 0, done.screen
    assert "the rollback goes on" in done.text
    assert "list of targets" in done.text or "nobody_set_this" in done.text


def test_nothing_configured_costs_no_task(tmp_path: Path) -> None:
    done = role(tmp_path, "notify", "-v")
    assert done.rc == 0, done.screen
    assert "skipping: [app1]" in done.text
    assert "told of" not in done.text


def test_check_mode_sends_nothing(tmp_path: Path, web: receivers.Web) -> None:
    targets = [{"name": "team", "type": "webhook", "url": f"{web.url}/ok", "events": ["start", "escalation"]}]
    done = role(tmp_path, "notify", "--check", rollback_notify=targets)
    assert done.rc == 0, done.screen
    assert "would tell of the start: team" in done.text
    again = role(
        tmp_path, "escalate", "--check", rollback_notify=targets, rollback_state_dir=str(tmp_path / "state"),
        rollback_contacts=[{"role": "on-call", "targets": ["team"], "wait": 600}, {"role": "devops-team"}],
    )  # fmt: skip
    assert again.rc == 0, again.screen
    assert again.seconds < 300
    assert web.got == []


def test_no_secret_is_shown(tmp_path: Path, web: receivers.Web, mail: receivers.Mail) -> None:
    port = receivers.free_port()
    done = role(
        tmp_path,
        "notify",
        "-vvv",
        "--diff",
        notify_timeout=2,
        rollback_notify=[
            {"type": "webhook", "url": f"{web.url}/ok/swordfish1", "headers": {"Authorization": "Bearer swordfish2"}},
            {"type": "webhook", "url": f"{web.url}/refuse/swordfish3"},
            {"type": "webhook", "url": f"http://u:swordfish4@127.0.0.1:{port}/x?token=swordfish5"},
            {"type": "email", "host": "127.0.0.1", "port": mail.port, "secure": "never", "to": "a@example.org",
             "username": "robot", "password": "swordfish6"},
            {"type": "command", "argv": ["/bin/sh", "-c", "echo bad key swordfish7 >&2; exit 1"]},
        ],
    )  # fmt: skip
    assert done.rc == 0, done.screen
    assert len(web.got) == 2
    assert mail.logins[-1] == ("robot", "swordfish6")
    assert "it answered 500" in done.text
    assert re.findall(r"swordfish\d", done.screen) == []


# --- escalation


def test_with_nothing_configured_it_says_who_is_called(tmp_path: Path) -> None:
    done = role(tmp_path, "escalate", rollback_state_dir=str(tmp_path / "state"))
    assert done.rc == 0, done.screen
    for title in ("Technical Lead", "DevOps Team", "On-Call Engineer"):
        assert f"{title}: no contact is configured (rollback_contacts)" in done.text
    assert not (tmp_path / "state").exists()


CONTACTS: list[dict[str, Any]] = [
    {"role": "on-call", "name": "Kim", "contact": "+1 555 0100", "targets": ["first"], "wait": 2},
    {"role": "devops-team", "targets": ["second"], "wait": 60},
    {"role": "technical-lead", "name": "Sam", "targets": ["third"]},
]


def hooks(web: receivers.Web) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "webhook", "url": f"{web.url}/ok/{name}", "events": []}
        for name in ("first", "second", "third")
    ]


def test_levels_are_called_until_somebody_acknowledges(tmp_path: Path, web: receivers.Web) -> None:
    state = tmp_path / "state"
    (state / "shop").mkdir(parents=True)
    # An acknowledgement of an earlier escalation says nothing about this one.
    (state / "shop" / "acknowledged").write_text("acknowledged by Old at 2020-01-01T00:00:00Z\n")
    results: list[Ran] = []

    def escalate() -> None:
        results.append(
            role(
                tmp_path,
                "escalate",
                escalate_happened="it is broken",
                escalate_needed="Find the cause.",
                rollback_state_dir=str(state),
                rollback_notify=hooks(web),
                rollback_contacts=CONTACTS,
            )
        )

    calling = threading.Thread(target=escalate)
    calling.start()
    end = time.monotonic() + 60
    while len(web.got) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert [request.path for request in web.got] == ["/ok/first", "/ok/second"]
    text = web.texts()[1]
    assert "Help is needed (DevOps Team)" in text
    assert "What happened: it is broken" in text
    assert "-e rollback_acknowledged_by=YOUR_NAME" in text
    answered = ansible(
        ROOT / "acknowledge.yml", rollback_state_dir=str(state), rollback_acknowledged_by="Robin Doe"
    )  # fmt: skip
    assert answered.rc == 0, answered.screen
    calling.join(60)
    (done,) = results
    assert done.rc == 0, done.screen
    assert "acknowledged by Robin Doe" in done.text
    assert [request.path for request in web.got] == ["/ok/first", "/ok/second"]
    assert (state / "shop" / "acknowledged").stat().st_mode & 0o777 == 0o600


def test_a_dead_first_level_does_not_keep_the_second_one_out(tmp_path: Path, web: receivers.Web) -> None:
    targets = hooks(web)
    targets[0]["url"] = f"http://127.0.0.1:{receivers.free_port()}/"
    done = role(
        tmp_path,
        "escalate",
        escalate_timeout=1,
        rollback_state_dir=str(tmp_path / "state"),
        rollback_notify=targets,
        rollback_contacts=[{**CONTACTS[0], "wait": 0}, {**CONTACTS[1], "wait": 0}],
    )
    assert done.rc == 0, done.screen
    assert [request.path for request in web.got] == ["/ok/second"]
    assert "not told: first" in done.text
    assert "told: second; nobody has acknowledged it yet" in done.text


# --- monitor.yml, where there is nothing to observe


def test_no_data_is_inconclusive_and_calls_for_help(tmp_path: Path, web: receivers.Web) -> None:
    state = tmp_path / "state"
    done = watch(
        state,
        rollback_notify=[
            {"name": "team", "type": "webhook", "url": f"{web.url}/ok/team"},
            {"name": "dead", "type": "webhook", "url": f"http://127.0.0.1:{receivers.free_port()}/"},
            {"name": "pager", "type": "webhook", "url": f"{web.url}/ok/pager", "events": ["escalation"]},
        ],
        rollback_notify_timeout=1,
    )
    assert done.rc == 2, done.screen
    assert "shop is inconclusive: " in done.text
    assert [request.path for request in web.got] == ["/ok/team", "/ok/pager"]
    assert "[shop] Monitoring FAILED on app1" in web.texts()[0]
    assert "Impact: Unknown: the application could not be observed." in web.texts()[0]
    (report,) = (json.loads(path.read_text()) for path in state.glob("shop/runs/*/report.json"))
    assert (report["type"], report["outcome"]) == ("monitor", "failed")
    assert "shop is inconclusive" in report["message"]
    rows = {row["label"]: row["value"] for row in report["rows"]}
    assert rows["Told (failure)"].startswith("team; NOT told: dead (")
    rounds = [step for step in report["steps"] if step["step"] == "monitor"]
    assert [step["verdict"] for step in rounds] == ["inconclusive", "inconclusive"]
    assert report["run"] in web.texts()[0]
    assert not (state / "shop" / "lock").exists()


def test_check_mode_looks_once_and_writes_nothing(tmp_path: Path) -> None:
    done = watch(tmp_path / "state", "--check", rollback_monitor_window=600, rollback_monitor_interval=10)
    assert done.rc == 2, done.screen
    assert "inconclusive" in done.text
    assert done.seconds < 300
    assert not (tmp_path / "state").exists()


def test_the_receivers_of_a_variables_file_are_read(tmp_path: Path, web: receivers.Web) -> None:
    variables = tmp_path / "shop.yml"
    variables.write_text(yaml.safe_dump({"rollback_notify": [{"type": "webhook", "url": f"{web.url}/ok"}]}))
    done = role(tmp_path, "notify", "-e", f"@{variables}", notify_event="success")
    assert done.rc == 0, done.screen
    assert web.texts() == ["[shop] Rollback succeeded on app1"]
