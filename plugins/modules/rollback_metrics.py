#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an application's metrics for the textfile collector of node_exporter."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_metrics
short_description: Write an application's metrics for Prometheus
description:
  - Reads restore points, runs, lock and freeze from the state folder, and writes
    C(schedgen_rollback_<application>.prom) for the textfile collector of node_exporter.
  - The file is complete or the one from before, and everybody may read it; it holds times, counts and sizes.
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  metrics_dir:
    description:
      - The folder that the collector reads (C(--collector.textfile.directory)). It has to be there.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Tell Prometheus how the application stands
  schedgen.rollback.rollback_metrics:
    application: schedgen
    metrics_dir: /var/lib/prometheus/node-exporter
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /var/lib/prometheus/node-exporter/schedgen_rollback_schedgen.prom
diff:
  description: The file before and after.
  returned: always
  type: dict
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments, _failure, _metrics, _status
from ansible_collections.schedgen.rollback.plugins.module_utils._failure import EXPECTED, next_step
from ansible_collections.schedgen.rollback.plugins.module_utils._manifest import moment
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Store, StoredPoint, StoreError, write_file


def newest_backup(points: Sequence[StoredPoint]) -> _metrics.Backup | None:
    """Return the newest restore point that can be read and is no safety point; ``points`` are oldest first."""
    for point in reversed(points):
        manifest = point.manifest
        if manifest is not None and manifest.purpose != "safety":
            size = sum(int(entry["size"]) for entry in manifest.checksums.values())
            return _metrics.Backup(moment(point.id).timestamp() + manifest.seconds, manifest.seconds, size)
    return None


def text_of(store: Store) -> str:
    """Read the state folder; return what the file is to say."""
    points, lock = store.points(), store.lock()
    return _metrics.render(
        _metrics.families(
            [_status.shown(point.summary(), point.events) for point in points],
            newest_backup(points),
            store.reports(len(store.runs())),
            locked=lock is not None and not store.expired(lock),
            frozen=store.frozen() is not None,
        ),
        {"application": store.application},
    )


def write(store: Store, folder: str, *, pretend: bool) -> dict[str, Any]:
    """Write the file and return the module's result. Raises StoreError where the folder is not there."""
    if not os.path.isdir(folder):
        raise StoreError(f"the folder for metrics, {folder}, is not there")
    path = os.path.join(folder, f"schedgen_rollback_{store.application}.prom")
    before, after = "", text_of(store)
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as stream:
        before = stream.read()
    if not pretend:
        # Also when it says the same: its time tells the collector how fresh it is.
        write_file(path, after, mode=0o644)
    return {
        "changed": before != after,
        "path": path,
        "diff": {"before": before, "after": after, "before_header": path, "after_header": path},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**_arguments.APPLICATION, "metrics_dir": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    try:
        store = Store(module.params["state_dir"], module.params["application"])
        result = write(store, module.params["metrics_dir"], pretend=module.check_mode)
    except EXPECTED as error:
        module.fail_json(
            msg=_failure.explain(
                f"The metrics could not be written: {error}.",
                "Nothing that runs was touched; a file from before is as it was.",
                next_step(error, "Make the folder that node_exporter reads, or leave rollback_metrics_dir empty."),
            )
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
