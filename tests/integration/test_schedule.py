# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules: what is written, that systemd and a shell understand it, and that the commands in it do their work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store
from schedgen_lab import engine
from schedgen_lab.settings import SUPPORT_IMAGES
from support import application, booted_host, interpreter, receivers

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "shop.one"
NAME = f"schedgen-rollback-{APPLICATION}"
UNITS = sorted(f"{NAME}-{job}.{kind}" for job in ("backup", "drill", "check") for kind in ("service", "timer"))
ALL: dict[str, Any] = {"rollback_schedule_check": "*:20"}


@dataclass(frozen=True)
class ControllerFolders:
    """Folders that stand for those of the controller, and an application that only has a name."""

    folder: Path

    @property
    def units(self) -> Path:
        return self.folder / "units"

    @property
    def cron(self) -> Path:
        return self.folder / "cron"

    @property
    def variables(self) -> Path:
        return self.folder / "variables of $shop, 100%.yml"

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "state"), APPLICATION)

    def files(self) -> dict[str, tuple[int, str]]:
        """Every file that was written: when, and what it says."""
        return {
            path.name: (path.stat().st_mtime_ns, path.read_text())
            for place in (self.units, self.cron)
            for path in sorted(place.iterdir())
        }

    def describe(self, **more: Any) -> None:
        """Write the variables file."""
        self.variables.write_text(
            json.dumps(
                {
                    "ansible_python_interpreter": interpreter.PYTHON,
                    "rollback_application": APPLICATION,
                    "rollback_state_dir": str(self.folder / "state"),
                    "rollback_project_src": str(self.folder / "none"),
                    "rollback_database": "",
                    **more,
                }
            )
        )

    def schedule(
        self, *options: str, playbook: str = str(ROOT / "schedule-backups.yml"), collections: str = "", **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run schedule-backups.yml as an operator does, on these folders."""
        places = {
            "rollback_schedule_unit_dir": str(self.units),
            "rollback_schedule_cron_dir": str(self.cron),
            "rollback_schedule_vars_file": str(self.variables),
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= (
            {"ANSIBLE_COLLECTIONS_PATH": collections} if collections else {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        )
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                playbook,
                *("-i", str(self.folder / "hosts.yml"), "-e", f"@{self.variables}"),
                *("-e", json.dumps({**places, **variables}), *options),
            ],
            env={**environment, "ANSIBLE_NOCOLOR": "1"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def crontab(self) -> list[str]:
        """Return the lines of cron's file that are no comments and no settings."""
        (path,) = self.cron.iterdir()
        return [line for line in path.read_text().splitlines() if re.match(r"[\d*]", line)]

    def command(self, job: str, way: str) -> list[str]:
        """Return the words of a scheduled command, read as systemd or as cron and the shell read them."""
        if way == "systemd":
            unit = (self.units / f"{NAME}-{job}.service").read_text()
            (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
            return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
        (line,) = [line for line in self.crontab() if line.endswith(f"-t {NAME}-{job}")]
        told = " ".join(line.split(" ")[6:]).replace(r"\%", "%")
        return shlex.split(told.partition(" 2>&1 | ")[0])


@pytest.fixture
def folders(tmp_path: Path) -> ControllerFolders:
    found = ControllerFolders(tmp_path)
    found.units.mkdir()
    found.cron.mkdir()
    found.describe()
    # The application's host is another one; nothing of it may be needed to schedule.
    (tmp_path / "hosts.yml").write_text("all: {hosts: {app: {ansible_connection: local}}}\n")
    return found


def as_scheduled(argv: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    """Run a command with what systemd and cron hand over: nearly nothing. There is no Docker to look at."""
    return subprocess.run(
        ["sh", "-c", shlex.join([*argv, *more])],
        env={"HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nonexistent/docker.sock"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_systemd_understands_what_is_written_and_a_second_run_changes_nothing(folders: ControllerFolders) -> None:
    checked = folders.schedule("--check", "--diff", **ALL, rollback_schedule_with="systemd")
    assert checked.returncode == 0, told(checked)
    assert "+OnCalendar=02:15" in checked.stdout
    assert folders.files() == {}

    done = folders.schedule(**ALL, rollback_schedule_with="systemd", rollback_schedule_random_delay=600)
    assert done.returncode == 0, told(done)
    before = folders.files()
    assert sorted(before) == UNITS
    paths = [str(folders.units / name) for name in UNITS]
    verified = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    for name, (_when, text) in before.items():
        if name.endswith(".timer"):
            assert "\nPersistent=true\nRandomizedDelaySec=600\n" in text
            at = re.findall(r"^OnCalendar=(.*)$", text, re.MULTILINE)
            subprocess.run(["systemd-analyze", "calendar", *at], check=True, capture_output=True)

    again = folders.schedule(**ALL, rollback_schedule_with="systemd", rollback_schedule_random_delay=600)
    assert (again.returncode, "changed" in again.stdout) == (0, False), told(again)
    assert folders.files() == before


def test_cron_and_back_again(folders: ControllerFolders) -> None:
    assert folders.schedule(**ALL, rollback_schedule_with="systemd").returncode == 0
    done = folders.schedule(**ALL, rollback_schedule_with="cron", rollback_schedule_user="deploy")
    assert done.returncode == 0, told(done)
    assert "is not made up for" in told(done)
    # Cron reads no file with a dot in its name.
    assert list(folders.files()) == ["schedgen-rollback-shop_one"]
    assert [line.split(" ")[:6] for line in folders.crontab()] == [
        ["15", "2", "*", "*", "*", "deploy"],
        ["30", "4", "*", "*", "7", "deploy"],
        ["20", "*", "*", "*", "*", "deploy"],
    ]
    before = folders.files()
    again = folders.schedule(**ALL, rollback_schedule_with="cron", rollback_schedule_user="deploy")
    assert (again.returncode, "changed" in again.stdout) == (0, False), told(again)
    assert folders.files() == before

    # What is no longer asked for goes, also the way of before.
    fewer = folders.schedule(rollback_schedule_with="systemd", rollback_schedule_drill="")
    assert fewer.returncode == 0, told(fewer)
    assert sorted(folders.files()) == [f"{NAME}-backup.service", f"{NAME}-backup.timer"]


@pytest.mark.parametrize("way", ["systemd", pytest.param("cron", marks=pytest.mark.thorough)])
def test_absent_removes_all_of_it_and_nothing_else(folders: ControllerFolders, way: str) -> None:
    other = folders.units / "schedgen-rollback-shop-backup.timer"
    other.write_text("of another application\n")
    assert folders.schedule(**ALL, rollback_schedule_with=way).returncode == 0
    before = folders.files()
    checked = folders.schedule("--check", rollback_schedule_state="absent")
    assert (checked.returncode, "would change" in checked.stdout) == (0, True), told(checked)
    assert folders.files() == before
    # Whoever removes it need not have the variables file any more.
    for changed in (True, False):
        gone = folders.schedule(rollback_schedule_state="absent", rollback_schedule_vars_file="")
        assert (gone.returncode, "changed" in gone.stdout) == (0, changed), told(gone)
        assert list(folders.files()) == [other.name]


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"rollback_schedule_backup": "daily"}, "'daily' is no time for a schedule"),
        ({"rollback_schedule_vars_file": ""}, "No variables file was named"),
        pytest.param(
            {"rollback_schedule_vars_file": "rollback.yml"},
            "rollback.yml is no absolute path",
            marks=pytest.mark.thorough,
        ),
        ({"rollback_schedule_vars_file": "/none/rollback.yml"}, "/none/rollback.yml is not there"),
        pytest.param(
            {"rollback_schedule_vault_password_file": "/none/vault"},
            "/none/vault is not there",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"rollback_schedule_unit_dir": "/none/units"}, "/none/units is not there", marks=pytest.mark.thorough
        ),
        pytest.param({"rollback_schedule_user": "root x"}, "root x is no name of a user", marks=pytest.mark.thorough),
        ({"rollback_schedule_inventory": ["a\nb"]}, "has a control character"),
    ],
)
def test_what_could_not_run_is_refused_before_anything_is_written(
    folders: ControllerFolders, variables: dict[str, Any], why: str
) -> None:
    done = folders.schedule(**{"rollback_schedule_with": "systemd", **variables})
    assert done.returncode == 2, told(done)
    assert why in told(done)
    assert "State: Nothing was changed" in told(done)
    assert folders.files() == {}


@pytest.mark.parametrize("way", [pytest.param("systemd", marks=pytest.mark.thorough), "cron"])
def test_a_scheduled_backup_that_fails_is_told_and_recorded(folders: ControllerFolders, way: str) -> None:
    with receivers.web() as web:
        folders.describe(rollback_notify=[{"name": "team", "type": "webhook", "url": f"{web.url}/ok"}])
        assert folders.schedule(**ALL, rollback_schedule_with=way).returncode == 0
        # No secret, and no address of a receiver, is in what anybody can read.
        assert web.url not in str(folders.files())
        listed = as_scheduled(folders.command("backup", way), "--list-tasks")
        assert "playbook: " + str(ROOT / "pre-deploy-backup.yml") in listed.stdout, told(listed)

        done = as_scheduled(folders.command("backup", way))
        assert done.returncode == 2, told(done)
        (text,) = web.texts()
        assert "Backup FAILED" in text
        assert "there is no new restore point" in text
    (report,) = folders.store.reports(2)
    assert (report["type"], report["outcome"], report["owner"]) == ("backup", "failed", "schedule")
    assert "team" in json.dumps(report["notifications"])
    assert folders.store.lock() is None


@pytest.mark.parametrize("job", ["drill", "check"])
def test_the_other_scheduled_runs_tell_when_they_fail(folders: ControllerFolders, job: str) -> None:
    with receivers.web() as web:
        folders.describe(
            rollback_notify=[{"name": "team", "type": "webhook", "url": f"{web.url}/ok"}], rollback_status_max_age=26
        )
        assert folders.schedule(**ALL, rollback_schedule_with="systemd").returncode == 0
        argv = folders.command(job, "systemd")
        assert (argv[0] == "/usr/bin/flock") is (job == "drill"), "who only looks waits for nobody"
        done = as_scheduled(argv)
        assert done.returncode == 2, told(done)
        (text,) = web.texts()
    assert ("Restore drill FAILED" if job == "drill" else "Check of the backups FAILED") in text
    if job == "check":
        assert "there is no usable restore point" in text
        assert "pre-deploy-backup.yml" in text


def test_who_looks_at_the_status_calls_nobody(folders: ControllerFolders) -> None:
    with receivers.web() as web:
        folders.describe(
            rollback_notify=[{"name": "team", "type": "webhook", "url": f"{web.url}/ok"}], rollback_status_max_age=26
        )
        done = folders.schedule(playbook=str(ROOT / "status.yml"))
        assert done.returncode == 2, told(done)
        assert "there is no usable restore point" in told(done)
        assert web.got == []


def test_scheduled_runs_wait_for_each_other(folders: ControllerFolders) -> None:
    assert folders.schedule(rollback_schedule_with="systemd").returncode == 0
    backup, drill = (folders.command(job, "systemd") for job in ("backup", "drill"))
    assert backup[:2] == drill[:2]
    with subprocess.Popen([*backup[:2], "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdin is not None
        assert held.stdout is not None
        held.stdin.write("begun\n")
        held.stdin.flush()
        assert held.stdout.readline() == "begun\n"
        refused = subprocess.run([drill[0], "--nonblock", drill[1], "true"])
        assert refused.returncode == 1
        held.stdin.close()
    assert subprocess.run([drill[0], "--nonblock", drill[1], "true"]).returncode == 0


def test_an_installed_collection_is_called_by_its_name(folders: ControllerFolders) -> None:
    installed = folders.folder / "collections of all" / "ansible_collections" / "schedgen" / "rollback"
    for part in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(ROOT / part, installed / part)
    shutil.copy(ROOT / "galaxy.yml", installed)
    done = folders.schedule(
        playbook="schedgen.rollback.schedule_backups",
        collections=str(installed.parents[2]),
        rollback_schedule_with="cron",
        **ALL,
    )
    assert done.returncode == 0, told(done)
    argv = folders.command("check", "cron")
    assert "schedgen.rollback.status" in argv
    listed = as_scheduled(argv, "--list-tasks")
    assert listed.returncode == 0, told(listed)
    assert "See how the application stands" in listed.stdout


@pytest.fixture
def controller(folders: ControllerFolders) -> Iterator[booted_host.Controller]:
    """A machine that was booted by systemd, and an application that really runs."""
    project = folders.folder / "project"
    project.mkdir()
    (project / "compose.yml").write_text(
        json.dumps(
            {"services": {"web": {"image": SUPPORT_IMAGES["python"], "command": "sleep infinity", "init": True}}}
        )
    )
    compose = ["compose", "--file", str(project / "compose.yml"), "--project-name", "schedule-tests"]
    folders.describe(
        rollback_project_src=str(project),
        rollback_project_name="schedule-tests",
        rollback_code_services=["web"],
        rollback_backup_images="never",
    )
    with booted_host.booted("rollback-schedule-tests", folders.folder) as booted:
        engine.docker(*compose, "up", "--detach")
        try:
            yield booted
        finally:
            engine.docker("compose", "--project-name", "schedule-tests", "down", "--timeout", "1")


def test_systemd_runs_what_is_due_and_makes_up_for_what_was_missed(
    folders: ControllerFolders, controller: booted_host.Controller
) -> None:
    service, timer = f"{NAME}-backup.service", f"{NAME}-backup.timer"
    settings = json.dumps({"rollback_schedule_vars_file": str(folders.variables), **ALL})
    done = controller.playbook(
        "schedule-backups", "-i", str(folders.folder / "hosts.yml"), "-e", f"@{folders.variables}", "-e", settings
    )
    assert done.returncode == 0, told(done)
    for job, hour in (("backup", "02:15:00"), ("drill", "04:30:00"), ("check", ":20:00")):
        assert controller.run("systemctl", "is-enabled", f"{NAME}-{job}.timer").stdout == "enabled\n"
        assert hour in controller.shows(f"{NAME}-{job}.timer", "NextElapseUSecRealtime")
    assert folders.store.points() == []

    # Its time came while the machine was down.
    stamp = f"/var/lib/systemd/timers/stamp-{timer}"
    controller.run("touch", "--date=2 days ago", stamp)
    controller.reboot()
    controller.until_other(service, "ExecMainExitTimestampMonotonic", "", "0")
    (point,) = folders.store.points()
    assert point.manifest is not None
    assert (controller.shows(service, "Result"), point.manifest.purpose) == ("success", "scheduled")

    (folders.folder / "project").rename(folders.folder / "moved")
    assert controller.run("systemctl", "start", service, check=False).returncode == 1
    assert controller.shows(service, "Result") == "exit-code"
    said = controller.run("journalctl", f"--unit={service}", "--no-pager", "--output=cat").stdout
    assert "What happened: " in said
    assert len(folders.store.points()) == 1


@pytest.mark.thorough
def test_cron_runs_what_is_due_and_its_output_is_in_the_log(
    folders: ControllerFolders, controller: booted_host.Controller
) -> None:
    booted_host.start_cron(controller, folders.folder)
    now = datetime.strptime(controller.run("date", "+%H:%M:%S").stdout.strip(), "%H:%M:%S")
    # Cron reads its files once a minute: the next but one minute is sure to be seen.
    due = now + timedelta(minutes=2)
    settings = {
        "rollback_schedule_with": "cron",
        "rollback_schedule_vars_file": str(folders.variables),
        "rollback_schedule_backup": due.strftime("%H:%M"),
        "rollback_schedule_drill": "",
    }
    done = controller.playbook(
        "schedule-backups",
        "-i",
        str(folders.folder / "hosts.yml"),
        "-e",
        f"@{folders.variables}",
        "-e",
        json.dumps(settings),
    )
    assert done.returncode == 0, told(done)

    def logged() -> str:
        return controller.run("journalctl", f"--identifier={NAME}-backup", "--no-pager", "--output=cat").stdout

    application.wait_until(lambda: "exit code" in logged(), "cron ran the backup", 200)
    assert "DONE: pre-deploy-backup.yml finished" in logged()
    (point,) = folders.store.points()
    assert point.manifest is not None
    assert point.manifest.purpose == "scheduled"
