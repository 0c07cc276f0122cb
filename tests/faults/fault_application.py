# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference application as a target: a whole playbook, release and database, under load at the front door."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fault_table import Fault
from fault_targets import Target
from support import application, postgres

# Migrations of the release to leave that add a column, the older first.
ADDED = {"AddJobPriority1761000000001": "priority", "SplitCustomer1761000000003": "customer_email"}
# In one statement: a tool that outlived its run may still be at work. The address that v2 splits off is put together
# again, so that the rows are the same in both.
CONTENT = """
SELECT (SELECT array_agg(name ORDER BY id) FROM migrations),
  (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
    WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped),
  (SELECT count(*) || ' ' || md5(string_agg(concat_ws('|', key, title, amount, status,
      concat(customer, ' <' || (to_jsonb(j) ->> 'customer_email') || '>')), E'\\n' ORDER BY key))
    FROM jobs j WHERE key NOT LIKE 'load-%'),
  (SELECT count(*) FROM job_events e WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = e.job_id))
"""


class Load:
    """The lab's client at the front door. Its ledger knows what was acknowledged."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger

    @property
    def acknowledged(self) -> list[str]:
        """Return the keys of the writes that were answered well."""
        lines = self.ledger.read_text().splitlines(keepends=True) if self.ledger.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry["key"] for entry in entries if entry["kind"] == "write" and 200 <= entry["status"] < 400]

    def until(self, more: int, seconds: float = 60) -> None:
        """Wait until ``more`` further writes were acknowledged."""
        wanted = len(self.acknowledged) + more
        application.wait_until(lambda: len(self.acknowledged) >= wanted, f"{more} writes are acknowledged", seconds)

    def __enter__(self) -> Load:
        application.lab("load", "start", "--rate", "20", "--ledger", str(self.ledger))
        self.until(3)
        return self

    def __exit__(self, *_error: object) -> None:
        application.lab("load", "stop")


class Application(Target):
    """The reference application on v2, whose migrations came after the restore point of v1."""

    application = live = "schedgen"
    place = "application"
    # A revert that failed leaves its copy in the live one's place.
    copies = True
    patience = 300.0

    def prepare(self) -> None:
        self.home.mkdir(parents=True)
        application.lab("up")
        self.state_dir = application.STATE.parent

    def close(self) -> None:
        """Leave the application as new."""
        application.lab("reset", "v1")

    def fresh(self, fault: Fault) -> dict[str, Any]:
        """Begin anew with v2, deployed after a restore point of v1; return the playbook's variables."""
        application.begin()
        secret = (application.HOME / "secrets.env").read_text().strip().partition("=")[2]
        self.server = postgres.Server(
            "schedgen-postgres", self.application, database=self.live, user="schedgen", password=secret
        ).wait()
        self.wanted, self.images_wanted = self.content(self.live), self.code()
        application.lab("deploy", "v2")
        self.remember()
        self.images_before = self.code()
        self.runs = {path.name for path in (self.state / "runs").glob("*")}
        self.number += 1
        self.next_arguments = {"rollback_lock_takeover": True}
        return {
            "rollback_confirm": True,
            "rollback_database_how": fault.operation.rpartition(" ")[2],
            "rollback_health_deadline": 60,
        }

    def command(self, arguments: dict[str, Any], *, detached: bool) -> list[str]:
        del detached
        return application.playbook_command("database-rollback", arguments)

    def begin_run(self) -> str:
        # The playbook begins its own.
        return ""

    def end_run(self, run: str) -> None:
        del run

    def journal(self, run: str) -> list[dict[str, Any]]:
        del run
        begun = sorted(path.name for path in (self.state / "runs").glob("*") if path.name not in self.runs)
        return application.journal(begun[0]) if begun else []

    def writer(self) -> Any:
        return Load(self.home / f"ledger{self.number}.jsonl")

    def lost(self, writer: Any) -> int:
        return len(application.judged(writer.ledger)["lost"])

    def settle(self) -> None:
        """Nothing of this server's settings is changed."""

    def code(self) -> dict[str, list[str]]:
        """Return the images of the containers with code that run."""
        found = application.running_images()
        return {name: found[name] for name in application.CODE_SERVICES if name in found}

    def content(self, name: str) -> Any:
        with self.inside(name) as cursor:
            cursor.execute(CONTENT)
            history, columns, rows, orphans = cursor.fetchone()
        return history, [column for column in columns if column in ADDED.values()], rows, orphans

    def expected(self) -> tuple[Any, ...]:
        """The old and the new content; one between two steps back only where a copy stands and no code runs."""
        if self.code() or not any('"note": "reverting"' in comment for _name, _open, comment in self.others()):
            return self.before, self.wanted
        history, _columns, *rest = self.before
        between = [history[:count] for count in range(len(self.wanted[0]), len(history) + 1)]
        return (*((part, sorted(column for name, column in ADDED.items() if name in part), *rest) for part in between),)

    def asked(self, fault: Fault) -> bool:
        del fault
        well = all(
            (container["State"].get("Health") or {}).get("Status", "healthy") == "healthy"
            for container in application.containers()
            if application.service_of(container) in application.CODE_SERVICES
        )
        return bool(well and self.code() == self.images_wanted and self.content(self.live) == self.wanted)

    def broken(self, message: str) -> list[str]:
        """Name the containers that run on a database which is not their release's."""
        del message
        right = self.images_wanted if self.content(self.live)[0] == self.wanted[0] else self.images_before
        return [
            f"{service} runs another release than the database's"
            for service, images in self.code().items()
            if not set(images) <= set(right[service])
        ]


class Everything(Application):
    """The same, with files of the object store that were damaged: all of it goes back to one restore point."""

    def fresh(self, fault: Fault) -> dict[str, Any]:
        arguments = super().fresh(fault)
        self.objects_wanted = self.objects()
        for path in sorted(self.volume().rglob("seed-*"))[:5]:
            path.write_text("overwritten")
        self.objects_before = self.objects()
        del arguments["rollback_database_how"]
        return arguments

    def command(self, arguments: dict[str, Any], *, detached: bool) -> list[str]:
        del detached
        return application.playbook_command("full-rollback", arguments)

    def volume(self) -> Path:
        """Return the folder of the object store's live content."""
        look = ("volume", "inspect", "--format", "{{.Mountpoint}}", "schedgen_minio_data")
        return Path(application.docker(*look).strip())

    def objects(self) -> dict[str, str]:
        """Return every file of the object store that was seeded, by a hash of its content."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.volume().rglob("seed-*")}

    def asked(self, fault: Fault) -> bool:
        return super().asked(fault) and self.objects() == self.objects_wanted

    def broken(self, message: str) -> list[str]:
        """Name as well what the object store holds when it is neither the old nor the new, or not the database's."""
        found, wrong = self.objects(), super().broken(message)
        if found not in (self.objects_before, self.objects_wanted):
            return [*wrong, "the object store is between two contents"]
        right = self.objects_wanted if self.content(self.live)[0] == self.wanted[0] else self.objects_before
        return [*wrong, "the object store is not that of the database"] if self.code() and found != right else wrong
