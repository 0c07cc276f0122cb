# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks of a run of the tests share module payloads: those that Ansible built, and only of the very same files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = Path("ansible_collections", "schedgen", "rollback")
# Build a module's payload as a playbook does; say where Ansible would look for it next.
BUILD = """
import sys
from ansible import constants
from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
init_plugin_loader([sys.argv[1]])
built = module_common.modify_module(
    module_name="schedgen.rollback.volume_restore", module_args={}, module_path=sys.argv[2],
    templar=Templar(loader=DataLoader()), task_vars={"ansible_python_interpreter": sys.executable},
    module_compression="ZIP_DEFLATED",
)
from pathlib import Path
for path in Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").glob("*-none"):
    print("shared" if path.is_symlink() else "built", len(built.b_module_data) > 10000, path.name)
"""


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """A folder with a copy of the collection."""
    for room in ("meta", "plugins"):
        shutil.copytree(ROOT / room, tmp_path / COLLECTION / room)
    return tmp_path


def build(collections: Path, kept: Path) -> tuple[str, ...]:
    module = collections / COLLECTION / "plugins" / "modules" / "volume_restore.py"
    hooked = {"PYTHONPATH": str(ROOT / "tests" / "tools" / "payloads"), "ROLLBACK_TESTS_PAYLOADS": str(kept)}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(collections), str(module)],
        env={**os.environ, **hooked}, cwd=collections, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(done.stdout.split())


def test_a_payload_is_shared_until_a_file_changes_that_it_could_be_built_of(collections: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    name = "ansible_collections.schedgen.rollback.plugins.modules.volume_restore-ZIP_DEFLATED-none"
    assert build(collections, kept) == ("built", "True", name)
    assert [path.name for path in kept.glob("*/*")] == [name]
    assert build(collections, kept) == ("shared", "True", name)
    utility = collections / COLLECTION / "plugins" / "module_utils" / "_store.py"
    utility.write_text(utility.read_text() + "# changed\n")
    assert build(collections, kept) == ("built", "True", name)
    assert len(list(kept.iterdir())) == 2
