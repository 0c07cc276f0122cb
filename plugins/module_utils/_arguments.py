# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that several modules share; the documentation fragments say the same. Pure; private to this collection."""

from __future__ import annotations

from typing import Any

APPLICATION: dict[str, Any] = {
    "application": {"type": "str", "required": True},
    "state_dir": {"type": "path", "default": "/var/lib/schedgen-rollback"},
}

PROJECT: dict[str, Any] = {
    "project_src": {"type": "path"},
    "project_name": {"type": "str"},
    "compose_files": {"type": "list", "elements": "str", "default": []},
    "env_files": {"type": "list", "elements": "str", "default": []},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "code_services": {"type": "list", "elements": "str", "default": []},
    "config_paths": {"type": "list", "elements": "str", "default": []},
}

DATABASE: dict[str, Any] = {
    "database": {"type": "str", "default": ""},
    "database_service": {"type": "str", "default": "postgres"},
    "database_user": {"type": "str", "default": ""},
    "database_host": {"type": "str", "default": ""},
    "database_port": {"type": "int", "default": 5432},
    "database_password_file": {"type": "path", "no_log": False},
    "migration_tool": {
        "type": "str",
        "default": "none",
        "choices": ["none", "typeorm", "alembic", "django", "knex", "prisma", "command"],
    },
    "migration_table": {"type": "str", "default": ""},
}

MIGRATION: dict[str, Any] = {
    "migration_service": {"type": "str", "default": ""},
    "migration_image": {"type": "str", "default": ""},
    "migration_source": {"type": "str", "default": ""},
    "migration_program": {"type": "list", "elements": "str", "default": []},
    "migration_revert_command": {"type": "list", "elements": "str", "default": []},
    "migration_list_command": {"type": "list", "elements": "str", "default": []},
}

ADMIN: dict[str, Any] = {
    "admin_user": {"type": "str", "default": ""},
    "admin_password_file": {"type": "path", "no_log": False},
}

POOLER: dict[str, Any] = {
    "pooler": {
        "type": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 6432},
            "user": {"type": "str", "required": True},
            "password_file": {"type": "path", "no_log": False},
            "database": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 10},
        },
    },
}

RUN: dict[str, Any] = {"run": {"type": "str", "default": ""}}

STEPS: dict[str, Any] = {
    "lock_timeout": {"type": "float", "default": 5},
    "step_timeout": {"type": "float", "default": 120},
}

REHEARSAL: dict[str, Any] = {"rehearsal_data_limit": {"type": "int", "default": 20000000}}

APPLY: dict[str, Any] = {"migration_apply_command": {"type": "list", "elements": "str", "default": []}}

VALUES: dict[str, Any] = {"environment": {"type": "str", "default": "", "no_log": True}}

PULL: dict[str, Any] = {"pull_timeout": {"type": "float", "default": 300}}
