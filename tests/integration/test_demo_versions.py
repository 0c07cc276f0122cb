# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every version of the reference application shows its own fault and no other: the other tests stand on that."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest
from support import application

pytestmark = [pytest.mark.application, pytest.mark.usefixtures("application_up")]

FRONT_DOOR = "http://127.0.0.1:8080"
SUM_OF_SEED = "440165000"


@dataclass(frozen=True)
class Shown:
    """What is seen of a version: the statuses of two requests, applied migrations, what the database holds."""

    jobs: int
    health: int
    migrations: int
    amounts: str = SUM_OF_SEED


SHOWN = {
    "v1": Shown(200, 200, 3),
    "v1.1": Shown(200, 200, 3),
    "v2": Shown(200, 200, 7),
    "http-500": Shown(500, 200, 3),
    "crash": Shown(502, 502, 3),
    "never-healthy": Shown(200, 503, 3),
    "slow": Shown(200, 200, 3),
    "config-bad": Shown(502, 502, 3),
    "migration-fails": Shown(502, 502, 4),
    "migration-destructive": Shown(200, 200, 4),
    "migration-wrong-down": Shown(500, 200, 4),
    "corruption": Shown(200, 200, 3, amounts="22228580000"),
    "service-added": Shown(500, 200, 3),
    "service-removed": Shown(500, 200, 3),
}


def status(path: str) -> int:
    try:
        with urllib.request.urlopen(FRONT_DOOR + path, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sql(query: str) -> str:
    command = ["docker", "exec", "schedgen-postgres", "psql", "-qAtX", "-U", "schedgen", "-c", query]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def services() -> set[str]:
    command = ["docker", "ps", "--filter", "label=com.docker.compose.project=schedgen"]
    form = '{{.Label "com.docker.compose.service"}}'
    return set(subprocess.run([*command, "--format", form], capture_output=True, text=True, check=True).stdout.split())


def test_every_version_is_looked_at() -> None:
    assert set(SHOWN) == {item["name"] for item in json.loads(application.lab("versions", "--json").stdout)}


# The others are deployed by the scenarios, too, and found to be bad.
@pytest.mark.parametrize(
    "version",
    [
        name if name in ("v2", "migration-wrong-down") else pytest.param(name, marks=pytest.mark.thorough)
        for name in SHOWN
    ],
)
def test_a_version_shows_what_it_says(version: str) -> None:
    application.lab("reset", version)

    began = time.monotonic()
    jobs = status("/api/jobs?limit=1")
    seconds = time.monotonic() - began
    seen = Shown(
        jobs=jobs,
        health=status("/health"),
        migrations=int(sql("SELECT count(*) FROM migrations")),
        amounts=sql("SELECT sum(amount) FROM jobs"),
    )
    assert seen == SHOWN[version]
    if version == "slow":
        assert seconds > 2.4
    assert ("mailer" in services()) == (version == "service-added")
    assert ("object-store" in services()) == (version != "service-removed")


def test_a_failed_migration_leaves_a_column_behind() -> None:
    application.lab("reset", "migration-fails")

    assert sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'invoice_id'") == "1"
    assert "BillJobs" not in sql("SELECT string_agg(name, ' ') FROM migrations")
