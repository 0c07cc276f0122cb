# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Prometheus reads what a run has written, by a real node_exporter."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import (
    Manifest,
    Release,
    ServiceRelease,
    moment,
    to_json,
)
from ansible_collections.schedgen.rollback.plugins.module_utils._metrics import PREFIX
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store
from support import interpreter, monitoring

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "shop"


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return monitoring.unpack(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "state"), APPLICATION)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    folder = tmp_path / "textfiles"
    folder.mkdir()
    return folder


@pytest.fixture
def prometheus(commands: Path, metrics: Path, tmp_path: Path) -> Iterator[monitoring.Prometheus]:
    with monitoring.running(commands, metrics, tmp_path) as found:
        yield found


def take(store: Store, purpose: str, verdict: str = "healthy", seconds: float = 1.5) -> str:
    """A restore point as the module leaves it."""
    point_id, folder = store.begin_point()
    release = Release({"web": ServiceRelease("sha256:aa", "shop/web:v1", config_hash="h", code=True)})
    manifest = Manifest(
        id=point_id,
        application=APPLICATION,
        created="",
        purpose=purpose,
        release=release,
        health={"verdict": verdict},
        seconds=seconds,
        checksums={"database/toc.dat": {"sha256": "0", "size": 3000}, "files/.env": {"sha256": "0", "size": 96}},
    )
    store.complete_point(point_id, folder, to_json(manifest))
    return point_id


def play(
    folder: Path, tasks: list[dict[str, Any]], *options: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run roles of the collection on this machine, as a playbook does."""
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{"name": "Try", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    return ansible(playbook, *options, **variables)


def ansible(playbook: Path, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(playbook),
            *options,
            "-e",
            json.dumps(
                {"ansible_python_interpreter": interpreter.PYTHON, "rollback_application": APPLICATION, **variables}
            ),
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def run_of(kind: str, outcome: str) -> list[dict[str, Any]]:
    """The tasks of a run that does nothing between its begin and its report."""
    return [
        {
            "name": "Begin",
            "ansible.builtin.import_role": {"name": "schedgen.rollback.preflight"},
            "vars": {"preflight_type": kind, "preflight_choose": False},
        },
        {
            "name": "End",
            "ansible.builtin.import_role": {"name": "schedgen.rollback.report"},
            "vars": {"report_run": "{{ preflight_begun.run }}", "report_outcome": outcome},
        },
    ]


def test_prometheus_has_what_a_run_wrote(
    store: Store, metrics: Path, prometheus: monitoring.Prometheus, commands: Path, tmp_path: Path
) -> None:
    proven = take(store, "deploy")
    store.append_event(proven, "proven")
    newest = take(store, "scheduled", seconds=2.25)
    take(store, "manual", verdict="unhealthy")
    take(store, "safety")
    places = {"rollback_state_dir": str(tmp_path / "state"), "rollback_metrics_dir": str(metrics)}
    for kind, outcome in (("quick", "failed"), ("quick", "success")):
        done = play(tmp_path, run_of(kind, outcome), **places)
        assert done.returncode == 0, done.stdout + done.stderr

    (written,) = metrics.iterdir()
    assert written.name == f"schedgen_rollback_{APPLICATION}.prom"
    assert stat.S_IMODE(written.stat().st_mode) == 0o644, "node_exporter is not root"
    checked = subprocess.run(
        [str(commands / "promtool"), "check", "metrics"], input=written.read_text(), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    def value(name: str, labels: str = "") -> float:
        return prometheus.value(f'{PREFIX}{name}{{application="{APPLICATION}"{labels}}}')

    assert value("restore_point_usable_timestamp_seconds") == pytest.approx(moment(newest).timestamp())
    assert value("restore_point_proven_timestamp_seconds") == pytest.approx(moment(proven).timestamp())
    # The newest backup is the one of the unhealthy application: it is there, and no rollback would go to it.
    assert value("backup_last_duration_seconds") == 1.5
    assert value("backup_last_size_bytes") == 3096
    assert value("backup_last_success_timestamp_seconds") > value("restore_point_usable_timestamp_seconds")
    assert {series["state"]: count for series, count in prometheus.query(f"{PREFIX}restore_points") if count} == {
        "usable": 2,
        "unhealthy": 1,
        "safety": 1,
    }
    assert value("runs_total", ',type="quick",outcome="failed"') == 1
    assert value("runs_total", ',type="quick",outcome="success"') == 1
    for report in store.reports(2):
        labels = f',type="quick",outcome="{report["outcome"]}"'
        assert value("run_last_duration_seconds", labels) == report["seconds"]
        ended = datetime.fromisoformat(report["finished"]).timestamp()
        assert value("run_last_end_timestamp_seconds", labels) == pytest.approx(ended)
    assert (value("lock_held"), value("deployments_frozen")) == (0, 0)
    # Alerts as docs/schedules.md has them; that the first failure ever is seen is not so of a counter's increase.
    assert len(prometheus.query(f'time() - {PREFIX}run_last_end_timestamp_seconds{{outcome="failed"}} < 3600')) == 1
    assert not prometheus.query(f"time() - {PREFIX}restore_point_usable_timestamp_seconds > 26 * 3600")
    assert prometheus.query(f"time() - {PREFIX}restore_point_usable_timestamp_seconds > -1")


def test_the_status_writes_lock_and_freeze_and_fails_past_a_limit(
    store: Store, metrics: Path, prometheus: monitoring.Prometheus, tmp_path: Path
) -> None:
    store.acquire("20261125T110000.000Z-quick", "kim", "v3 answers 500", lease=3600)
    store.freeze("operator", "kim", "a rollback")
    places = {
        "rollback_state_dir": str(tmp_path / "state"),
        "rollback_metrics_dir": str(metrics),
        "rollback_database": "",
        "rollback_status_max_age": 24,
    }
    done = ansible(ROOT / "status.yml", **places)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "there is no usable restore point" in " ".join(done.stdout.split())
    for name, expected in (
        ("lock_held", 1),
        ("deployments_frozen", 1),
        ("backup_last_success_timestamp_seconds", 0),
        ("restore_point_proven_timestamp_seconds", 0),
    ):
        assert prometheus.value(f"{PREFIX}{name}") == expected
    # That nothing was ever backed up has to raise the alarm too.
    assert prometheus.query(f"time() - {PREFIX}backup_last_success_timestamp_seconds > 26 * 3600")


def test_a_folder_that_is_not_there_spoils_no_run(store: Store, tmp_path: Path) -> None:
    places = {"rollback_state_dir": str(tmp_path / "state"), "rollback_metrics_dir": str(tmp_path / "none")}
    done = play(tmp_path, run_of("quick", "success"), **places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The metrics could not be written: the folder for metrics" in " ".join(done.stdout.split())
    assert [report["outcome"] for report in store.reports(2)] == ["success"]


def test_check_mode_writes_nothing(metrics: Path, tmp_path: Path) -> None:
    places = {"rollback_state_dir": str(tmp_path / "state"), "rollback_metrics_dir": str(metrics)}
    done = ansible(ROOT / "status.yml", "--check", "--diff", **places, rollback_database="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(metrics.iterdir()) == []
    assert "+# HELP schedgen_rollback_backup_last_success_timestamp_seconds" in done.stdout


def test_the_alerts_of_the_documentation_are_rules(commands: Path, tmp_path: Path) -> None:
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", (ROOT / "docs" / "schedules.md").read_text(), re.DOTALL)
    (tmp_path / "rules.yml").write_text(rules)
    checked = subprocess.run(
        [str(commands / "promtool"), "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS: 3 rules found" in checked.stdout
