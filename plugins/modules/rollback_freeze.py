#!/usr/bin/python
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep deployments of an application out while it is rolled back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_freeze
short_description: Keep deployments of an application out, and let them in again
description:
  - While an application is frozen, C(pre-deploy-backup.yml) and C(hotfix-deploy.yml) refuse. Rollbacks go on.
  - A freeze is the file C(frozen) in the application's state folder, so a pipeline that uses neither playbook asks
    with one line, C(test ! -e /var/lib/schedgen-rollback/schedgen/frozen).
author:
  - schedgen.rollback contributors (@schedgen)
extends_documentation_fragment:
  - schedgen.rollback.application
  - schedgen.rollback.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  state:
    description:
      - V(frozen) keeps deployments out, V(free) lets them in. V(checked) changes nothing, and fails while they are kept
        out; it is for pipelines that ask.
    type: str
    choices: [frozen, free, checked]
    required: true
  by:
    description:
      - Who asks. V(rollback) lifts only a freeze that a rollback made.
    type: str
    choices: [operator, rollback]
    default: operator
  owner:
    description:
      - Who freezes it.
    type: str
    default: ''
  reason:
    description:
      - Why.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Keep deployments out
  schedgen.rollback.rollback_freeze:
    application: schedgen
    state: frozen
    owner: alex
    reason: v3 is being rolled back

- name: May this pipeline deploy?
  schedgen.rollback.rollback_freeze:
    application: schedgen
    state: checked
"""

RETURN = r"""
frozen:
  description: Whether deployments are kept out now.
  returned: always
  type: bool
freeze:
  description: Who keeps them out, why and since when.
  returned: when they are kept out
  type: dict
  sample:
    owner: alex
    reason: v3 is being rolled back
    since: '2026-11-22T13:15:00Z'
rollback_screen:
  description: What the operator's screen shows of this.
  returned: always
  type: dict
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.schedgen.rollback.plugins.module_utils import _arguments, _failure
from ansible_collections.schedgen.rollback.plugins.module_utils._store import Frozen, Store, StoreError


def apply(store: Store, parameters: Mapping[str, Any], *, pretend: bool) -> dict[str, Any]:
    """Freeze, thaw or ask. Raises Frozen when asked and frozen."""
    state, before = parameters["state"], store.frozen()
    if state == "checked" and before is not None:
        raise Frozen(store.application, before)
    # A rollback does not lift what a person put there.
    liftable = before is not None and (parameters["by"] == "operator" or before.by == "rollback")
    changed = {"frozen": before is None, "free": liftable, "checked": False}[state]
    if changed and not pretend:
        if state == "frozen":
            store.freeze(parameters["by"], parameters["owner"], parameters["reason"])
        else:
            store.thaw()
    after = store.frozen()
    frozen = (before is not None) is not changed
    told = "kept out" if frozen else "let in"
    result: dict[str, Any] = {
        "changed": changed,
        "frozen": frozen,
        "rollback_screen": {"headline": f"Deployments are {told}"} if changed or state == "checked" else {},
    }
    if after is not None:
        result["freeze"] = asdict(after)
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **_arguments.APPLICATION,
            "state": {"type": "str", "choices": ["frozen", "free", "checked"], "required": True},
            "by": {"type": "str", "choices": ["operator", "rollback"], "default": "operator"},
            "owner": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        store = Store(module.params["state_dir"], module.params["application"])
        result = apply(store, module.params, pretend=module.check_mode)
    except Frozen as error:
        module.fail_json(
            msg=_failure.explain(f"Refused: {error}.", "Nothing was touched.", error.next_step),
            freeze=asdict(error.freeze),
        )
    except (StoreError, OSError) as error:
        module.fail_json(
            msg=_failure.explain(f"{error}.", "Nothing that runs was touched.", "Mend the cause and run it again.")
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
