# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python that tests tell Ansible to use on this host, at a path without a space in it.

Ansible cannot run modules with an interpreter whose path has a space, as that of a clone's environment can have.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from contextlib import suppress
from pathlib import Path


def without_space(executable: str) -> str:
    """Return a path to a virtual environment's Python that has no space in it, by way of a link where it needs one."""
    path = Path(executable)
    if " " not in executable:
        return executable
    environment = path.parents[1]
    name = hashlib.sha256(bytes(environment)).hexdigest()[:12]
    link = Path(tempfile.gettempdir()) / f"rollback-tests-{name}"
    with suppress(FileExistsError):
        link.symlink_to(environment)
    return str(link / path.relative_to(environment))


PYTHON = without_space(sys.executable)
