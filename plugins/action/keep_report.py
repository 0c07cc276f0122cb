# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a copy of a run's report on the controller; that it cannot be kept stops nothing."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase

FORMS = {"md": "report", "html": "page"}
ARGUMENTS = {name: {"type": "str", "required": True} for name in ("folder", "name", *FORMS.values())}


class ActionModule(ActionBase):
    """Runs on the controller alone: a copy module for each file would cost an outage a second."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the files, and say where they are or why they are not."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        folder = os.path.expanduser(arguments["folder"])
        if self._task.check_mode:
            return {"changed": False, "path": "", "problem": "check mode", "rollback_screen": {}}
        path = ""
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            for ending, key in FORMS.items():
                path = os.path.join(folder, f"{os.path.basename(arguments['name'])}.{ending}")
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(arguments[key])
        except OSError as error:
            problem = f"no copy of the report was kept on the controller: {error}"
            return {
                "changed": False,
                "path": "",
                "problem": problem,
                "rollback_screen": {"lines": [f"Note: {problem}"]},
            }
        row = {"label": "Report here", "value": path}
        return {"changed": True, "path": path, "problem": "", "rollback_screen": {"rows": [row]}}
