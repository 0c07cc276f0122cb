# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which tests a change can touch, on a small repository."""

from __future__ import annotations

import changed
import jobs
import pytest
from jobs import Job

OURS = "from ansible_collections.schedgen.rollback.plugins"
FILES = {
    "plugins/module_utils/_core.py": "",
    "plugins/module_utils/_store.py": f"{OURS}.module_utils import (\n    _core,\n)\n",
    "plugins/module_utils/_apart.py": "",
    "plugins/modules/restore_point.py": f"{OURS}.module_utils._store import Store\n",
    "plugins/modules/apart_info.py": f"{OURS}.module_utils._apart import look\n",
    "plugins/filter/lines.py": f"{OURS}.module_utils import _apart\n",
    "plugins/callback/rollback_timeline.py": "",
    "roles/backup/tasks/main.yml": "- name: Back up\n  schedgen.rollback.restore_point:\n",
    "roles/backup/defaults/main.yml": "backup_keep: 3\n",
    "roles/schedule/tasks/main.yml": "- x: '{{ y | schedgen.rollback.lines }}'\n",
    "playbooks/pre_deploy_backup.yml": "- import_tasks: tasks/back_up.yml\n",
    "playbooks/tasks/back_up.yml": "- import_role:\n    name: schedgen.rollback.backup\n",
    "playbooks/status.yml": "- import_role: {name: schedgen.rollback.schedule}\n",
    "tests/support/server.py": "NAME = 'status'\n",
    "tests/integration/test_backup.py": "application.playbook('pre-deploy-backup')\n",
    "tests/integration/test_status.py": "from support import server\napplication.playbook('status')\n",
    "tests/integration/test_apart.py": "application.module('apart_info')\nfound['status']\n",
    "tests/integration/test_page.py": "PAGE = ROOT / 'docs' / 'page.md'\n",
    "tests/integration/test_all.py": "for path in (ROOT / 'playbooks').glob('*.yml'): ...\n",
    "molecule/failures/converge.yml": "command: [ansible-playbook, pre-deploy-backup.yml]\n",
    "molecule/shared/create.yml": "",
    "docs/page.md": "",
    "README.md": "",
}
JOBS = {
    "mypy": Job("lint", "lint/mypy", ()),
    "sanity": Job("sanity", "sanity", ()),
    **{
        name: Job("integration", f"tests/integration/test_{name}.py", (), True)
        for name in ("backup", "status", "apart", "page", "all")
    },
    "failures": Job("molecule", "molecule/failures", (), True, True),
}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("plugins/module_utils/_core.py", "mypy sanity backup all failures"),
        ("plugins/module_utils/_apart.py", "mypy sanity apart status all"),
        ("plugins/callback/rollback_timeline.py", "mypy sanity backup status all failures"),
        ("roles/backup/defaults/main.yml", "sanity backup all failures"),
        ("roles/schedule/tasks/main.yml", "sanity status all"),
        ("playbooks/tasks/back_up.yml", "sanity backup all failures"),
        ("tests/support/server.py", "mypy status"),
        ("tests/integration/test_page.py", "mypy page"),
        ("docs/page.md", "page"),
        ("README.md", "sanity"),
        ("molecule/shared/create.yml", "failures"),
        ("demo/lab.py", "mypy backup status apart page all failures"),
        ("ansible.cfg", "mypy sanity backup status apart page all failures"),
        # Nobody knows any more what used a file that is gone.
        ("plugins/module_utils/_gone.py", "mypy sanity backup status apart page all failures"),
        ("tests/support/gone.py", "mypy"),
    ],
)
def test_a_change_touches_what_uses_the_file(path: str, names: str) -> None:
    uses = changed.Uses(FILES)
    assert [name for name, job in JOBS.items() if changed.touched(job, [path], uses)] == sorted(
        names.split(), key=list(JOBS).index
    )


def test_without_a_change_nothing_is_touched() -> None:
    assert [name for name, job in JOBS.items() if changed.touched(job, [], changed.Uses(FILES))] == []


def test_all_that_reads_the_source_is_told_apart_by_its_files() -> None:
    every = {job.name for stage in ("lint", "units", "sanity") for job in jobs.jobs_of(stage)}
    assert set(changed.READ_BY) == every


def test_this_repository_has_no_file_that_everything_uses() -> None:
    uses = changed.Uses(changed.repository())
    found = [job for job in jobs.jobs_of("integration") if changed.touched(job, ["tests/support/fleet.py"], uses)]
    assert "tests/integration/test_fleet.py" in [job.name for job in found]
    assert len(found) < 5


def test_a_commit_that_git_does_not_know_is_said() -> None:
    with pytest.raises(ValueError, match="git knows no nonsense"):
        changed.chosen("nonsense")
