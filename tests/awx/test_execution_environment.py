# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""execution-environment.yml is one that ansible-builder takes, and what it names can be installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context that ansible-builder makes."""
    folder = tmp_path_factory.mktemp("context")
    made = subprocess.run(
        [
            str(BIN / "ansible-builder"),
            "create",
            "-f",
            str(ROOT / "execution-environment.yml"),
            "-c",
            str(folder),
            "--output-filename",
            "Containerfile",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_context_holds_what_the_modules_need(context: Path) -> None:
    build = context / "_build"
    assert (build / "requirements.txt").read_text() == (ROOT / "requirements.txt").read_text()
    assert (build / "bindep.txt").read_text() == (ROOT / "bindep.txt").read_text()
    galaxy = yaml.safe_load((build / "requirements.yml").read_text())
    assert galaxy == yaml.safe_load((ROOT / "collections" / "requirements.yml").read_text())
    told = (context / "Containerfile").read_text()
    assert "ansible-core>=2.17,<2.20" in told
    assert "ansible-runner>=2.4" in told
    assert "COPY --from=galaxy" in told


def test_what_it_names_is_satisfied_by_the_pinned_tools() -> None:
    described = yaml.safe_load((ROOT / "execution-environment.yml").read_text())["dependencies"]
    lines = [described["ansible_core"]["package_pip"], described["ansible_runner"]["package_pip"]]
    lines += (ROOT / "requirements.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert len(requirements) == 5
    for requirement in requirements:
        assert requirement.specifier.contains(version(requirement.name)), requirement
