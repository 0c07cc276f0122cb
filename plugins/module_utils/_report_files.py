# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a run's report into its folder, in its three forms. Private to this collection."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.schedgen.rollback.plugins.module_utils import _report, _report_page
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, write_file


def write(store: Store, report: Mapping[str, Any]) -> str:
    """Write a report as JSON, Markdown and one HTML page; return the run's folder. Raises ``OSError``."""
    folder = store.run_path(report["run"])
    document = json.dumps(report, indent=1, ensure_ascii=False, default=str) + "\n"
    for name, content in (
        ("report.json", document),
        ("report.md", _report.markdown(report)),
        ("report.html", _report_page.page(report)),
    ):
        write_file(os.path.join(folder, name), content)
    return folder
