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


def forms(report: Mapping[str, Any]) -> dict[str, str]:
    """Return a report for people as modules hand it over: ``report`` in Markdown, ``page`` as one HTML page."""
    return {"report": _report.markdown(report), "page": _report_page.page(report)}


def write(store: Store, report: Mapping[str, Any]) -> dict[str, str]:
    """Write a report as JSON and in the forms for people, which it returns. Raises ``OSError``."""
    folder, told = store.run_path(report["run"]), forms(report)
    document = json.dumps(report, indent=1, ensure_ascii=False, default=str) + "\n"
    for name, content in (("report.json", document), ("report.md", told["report"]), ("report.html", told["page"])):
        write_file(os.path.join(folder, name), content)
    return told
