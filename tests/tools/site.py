#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the documentation as a site: the pages of docs/, and the reference of every module, role and plugin.

    site.py [FOLDER]        into build/site, or into FOLDER; a warning is a failure

Nothing is fetched. The pages keep their places, so that a link between two of them leads to the same page on the site.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "schedgen.rollback"
# What is read outside docs/: links lead there.
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.rst", "LICENSE")


def lay_out(source: Path) -> None:
    """Put the pages, and what the configuration needs, into one folder."""
    shutil.copytree(ROOT / "docs" / "docsite" / "site", source, dirs_exist_ok=True)
    (source / "docs").mkdir()
    for page in sorted((ROOT / "docs").glob("*.md")):
        shutil.copy(page, source / "docs")
    for page in sorted((ROOT / "roles").glob("*/README.md")):
        folder = source / page.parent.relative_to(ROOT)
        folder.mkdir(parents=True)
        shutil.copy(page, folder)
    for name in TOP:
        shutil.copy(ROOT / name, source)


def write_reference(folder: Path) -> None:
    """Write the pages of the modules, roles and plugins; end here when the documentation of one is wrong."""
    # antsibull-docs takes no folder that somebody else may write to.
    folder.mkdir(mode=0o755)
    words = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--no-add-antsibull-docs-version"]
    argv = ["antsibull-docs", "collection", *words, f"--dest-dir={folder}", COLLECTION]
    if subprocess.run(argv, cwd=ROOT).returncode:
        sys.exit("site: nothing was written")


def main() -> int:
    """Return the exit code of Sphinx."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").absolute()
    if target.exists() and any(target.iterdir()) and not (target / ".buildinfo").exists():
        sys.exit(f"site: {target} is no site and not empty: nothing was written")
    with tempfile.TemporaryDirectory(prefix="rollback-site-") as temporary:
        source = Path(temporary, "source")
        lay_out(source)
        write_reference(source / "reference")
        shutil.rmtree(target, ignore_errors=True)
        words = ["-W", "--keep-going", "-q", "-E", "-d", str(Path(temporary, "doctrees")), "-b", "html"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-m", "sphinx", *words, str(source), str(target)], env=environment)
    if not done.returncode:
        print(f"site: {target / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
