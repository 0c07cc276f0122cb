# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python that tests name to Ansible is their own environment's, at a path without a space."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import interpreter


def test_an_environment_in_a_folder_with_a_space_is_reached_without_it(tmp_path: Path) -> None:
    environment = tmp_path / "a clone" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    found = interpreter.without_space(str(environment / "bin" / "python"))
    try:
        assert " " not in found
        assert interpreter.without_space(str(environment / "bin" / "python")) == found
        told = subprocess.run(
            [found, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True
        )
        assert Path(told.stdout.strip()).resolve() == environment
    finally:
        Path(found).parents[1].unlink()


def test_a_path_without_a_space_is_left_as_it_is() -> None:
    assert interpreter.without_space("/clone/.venv/bin/python") == "/clone/.venv/bin/python"
