# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have the playbooks of a run of the tests share what Ansible sends to hosts as modules, built once and not by each.

Ansible packs a module with all that it imports, and forgets the payload when the playbook ends: a seventh of what a
quick rollback costs the processors. Python imports this at its start where this folder is on PYTHONPATH;
ROLLBACK_TESTS_PAYLOADS names the folder in which payloads are kept. One is taken again where its module, and all that
this could import, are the very same files as when it was built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

BUILDER = "ansible.executor.module_common"


class Hook:
    """Finds Ansible's builder of payloads as everybody else does, and lets it share them when it was loaded."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Find the builder; nothing for whatever else is imported."""
        if name != BUILDER:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is not None and found.loader is not None:
            load = found.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                share(module, self.kept)

            found.loader.exec_module = exec_module  # type: ignore[method-assign]
        return found


def share(builder: Any, kept: Path) -> None:
    """Let the builder look for a payload among those that are kept, and keep what it had to build."""
    build = builder.modify_module

    def modify_module(*, module_path: str, **more: Any) -> Any:
        try:
            name = builder._get_ansible_module_fqn(module_path)
        except ValueError:
            return build(module_path=module_path, **more)
        folder = kept / known_by(Path(module_path))
        cache = Path(builder.C.DEFAULT_LOCAL_TMP, "ansiballz_cache")
        cache.mkdir(exist_ok=True)
        for payload in folder.glob("*"):
            with suppress(FileExistsError):
                (cache / payload.name).symlink_to(payload)
        try:
            return build(module_path=module_path, **more)
        finally:
            made = [path for path in cache.glob(f"{name}-*") if path.suffix != ".lock" and not path.is_symlink()]
            if made and not folder.exists():
                keep(made, folder)

    builder.modify_module = modify_module


def known_by(module: Path) -> str:
    """Identify a module's payload by the files that it could be built of."""
    seen = [module]
    for above in module.parents:
        if above.parent.parent.name == "ansible_collections":
            seen += sorted((above / "plugins" / "module_utils").rglob("*.py"))
    files = [(str(path), status.st_mtime_ns, status.st_size) for path in seen for status in [path.stat()]]
    return hashlib.sha256(repr((sys.version, files)).encode()).hexdigest()[:20]


def keep(payloads: list[Path], folder: Path) -> None:
    """Keep payloads; whoever looks sees all of them or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder.parent))
    for payload in payloads:
        (making / payload.name).write_bytes(payload.read_bytes())
    # Another playbook may have been faster.
    with suppress(OSError):
        making.rename(folder)


if "ROLLBACK_TESTS_PAYLOADS" in os.environ:
    sys.meta_path.insert(0, Hook(Path(os.environ["ROLLBACK_TESTS_PAYLOADS"])))
