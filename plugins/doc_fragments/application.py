# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that every module of this collection takes."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the options that say which application, and where its records are."""

    DOCUMENTATION = r"""
options:
  application:
    description:
      - Name of the application, which is one Compose project on its hosts.
      - Its restore points, runs and lock are kept under this name.
    type: str
    required: true
  state_dir:
    description:
      - Folder on the host that holds the records of all applications.
      - It belongs to root alone.
    type: path
    default: /var/lib/schedgen-rollback
"""

    # For modules that talk to a Docker Engine and to a PostgreSQL server.
    LIBRARIES = r"""
options: {}
requirements:
  - "Python library C(docker) on the host, for modules that talk to Docker Engine"
  - "Python library C(psycopg2) on the host, for modules that talk to PostgreSQL"
  - "Python library C(requests) on the host, for modules that send HTTP probes"
notes:
  - The playbook C(schedgen.rollback.prepare_hosts) installs the libraries that are missing on a host.
"""
