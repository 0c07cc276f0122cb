# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that describe the application's Compose project, its database and the run."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the options that say what belongs to the application."""

    DOCUMENTATION = r"""
options:
  project_src:
    description:
      - The project's folder on the host, where its compose files are.
    type: path
  project_name:
    description:
      - Name of the Compose project. The application's name when it is not given.
    type: str
  compose_files:
    description:
      - The compose files, relative to O(project_src) or absolute.
      - When empty, those that the running containers were started with, else those that Compose finds by itself.
    type: list
    elements: str
    default: []
  env_files:
    description:
      - The files that Compose takes variables from. When empty, as for O(compose_files).
    type: list
    elements: str
    default: []
  profiles:
    description:
      - Compose profiles that are active.
    type: list
    elements: str
    default: []
  code_services:
    description:
      - Services that carry the application's code. Only these are replaced by a quick rollback.
    type: list
    elements: str
    default: []
  config_paths:
    description:
      - More files or folders that belong to a release, relative to O(project_src) or absolute.
    type: list
    elements: str
    default: []
"""

    DATABASE = r"""
options:
  database:
    description:
      - Name of the application's PostgreSQL database. Empty when it has none.
    type: str
    default: ''
  database_service:
    description:
      - The Compose service that runs the database's server.
    type: str
    default: postgres
  database_user:
    description:
      - The role that owns the database's content. The database's name when it is not given.
    type: str
    default: ''
  database_host:
    description:
      - Address of a server outside Docker. Empty when the server runs in O(database_service).
    type: str
    default: ''
  database_port:
    description:
      - Port of the server.
    type: int
    default: 5432
  database_password_file:
    description:
      - File on the host that holds the password. When not given, the environment of the database's container has it.
    type: path
  migration_tool:
    description:
      - The tool that keeps the migration history. V(command) stands for commands of your own.
    type: str
    default: none
    choices: [none, typeorm, alembic, django, knex, prisma, command]
  migration_table:
    description:
      - The tool's bookkeeping table. The tool's own default when empty.
      - With V(command) the table and its columns, written as table(name) or table(name, order).
    type: str
    default: ''
"""

    MIGRATION = r"""
options:
  migration_service:
    description:
      - The service whose image has the migrations. The first of O(code_services) when empty.
      - Its container need not run. The tool runs in a container of its own with the same environment and files.
    type: str
    default: ''
  migration_image:
    description:
      - Another image to run the tool from.
    type: str
    default: ''
  migration_source:
    description:
      - The data source, knexfile, C(alembic.ini) or C(manage.py) inside the image. It is looked for when empty.
    type: str
    default: ''
  migration_program:
    description:
      - The tool's program with what every call needs, instead of what is found in the image.
    type: list
    elements: str
    default: []
  migration_revert_command:
    description:
      - A command of your own that takes back one migration.
      - C({migration}) stands for its name, and C({target}) for the one that is the newest afterwards.
    type: list
    elements: str
    default: []
  migration_list_command:
    description:
      - A command of your own that starts the tool and changes nothing.
    type: list
    elements: str
    default: []
"""

    ADMIN = r"""
options:
  admin_user:
    description:
      - The role that makes and renames databases. It is a superuser, or it owns the database, has C(CREATEDB) and is a
        member of C(pg_signal_backend).
      - The superuser that the server's container was made with when it is not given, outside Docker O(database_user).
    type: str
    default: ''
  admin_password_file:
    description:
      - File on the host that holds the password of O(admin_user). When not given, that of O(database_user) is used.
    type: path
"""

    POOLER = r"""
options:
  pooler:
    description:
      - The administration console of a pgbouncer that is paused while the swap is done, so that no client sees an
        error.
    type: dict
    suboptions:
      host:
        description: Address of the console.
        type: str
        required: true
      port:
        description: Port of the console.
        type: int
        default: 6432
      user:
        description: A user of C(admin_users).
        type: str
        required: true
      password_file:
        description: File on the host that holds the user's password.
        type: path
      database:
        description: The database's name in pgbouncer. The database's own name when it is not given.
        type: str
        default: ''
      timeout:
        description: Seconds in which every open transaction has to end.
        type: float
        default: 10
"""

    RUN = r"""
options:
  run:
    description:
      - The run that this belongs to, from M(schedgen.rollback.rollback_run). It has to hold the application's lock.
      - Without it the lock is taken for this call alone.
    type: str
    default: ''
"""

    STEPS = r"""
options:
  lock_timeout:
    description:
      - Seconds that a migration waits for a lock, on its way there or back.
    type: float
    default: 5
  step_timeout:
    description:
      - Seconds that one step back, or all migrations that are applied, may take. The tool is stopped then, and its
        database session ended.
    type: float
    default: 120
"""

    REHEARSAL = r"""
options:
  rehearsal_data_limit:
    description:
      - A database of up to this many bytes is rehearsed with its rows, a larger one with its schema alone.
    type: int
    default: 20000000
"""

    APPLY = r"""
options:
  migration_apply_command:
    description:
      - A command of your own that applies the pending migrations, in place of the tool's.
    type: list
    elements: str
    default: []
"""

    VALUES = r"""
options:
  environment:
    description:
      - Other values of variables in the project's env files, with images, or alone. A variable is changed in the file
        that assigns it, and added to the project's own env file where none does.
      - Every service that carries code and reads one of them is replaced. No value is shown, except a
        database host that could not be tried.
      - A JSON object as text. Ansible hides it as a whole then, and not each of its values wherever that occurs.
    type: str
    default: ''
"""

    PULL = r"""
options:
  pull_timeout:
    description:
      - Seconds that fetching one image may take.
    type: float
    default: 300
"""
