"""Seed data, and pristine copies of it that a reset brings back."""

from __future__ import annotations

from subprocess import CompletedProcess

from . import project
from .engine import docker, lines
from .settings import DATABASE_CONTAINER, LABEL, PROJECT_NAME, SUPPORT_IMAGES, VOLUMES
from .shell import LabError, say, wait_until
from .versions import find

DOCUMENTS = 200
# In the volume itself: a copy that was cut short is not taken for one.
COMPLETE = ".pristine"

SEED = """
INSERT INTO jobs (key, title, customer, amount, status, document, created_at)
SELECT 'seed-' || n, 'Schedule ' || n, 'Customer ' || n % 997 || ' <customer-' || n % 997 || '@example.org>',
       100 + n * 37 % 90000, 'done', CASE WHEN n <= :documents THEN 'documents/seed-' || n || '.pdf' END,
       timestamptz '2026-01-01' + n * interval '1 minute'
  FROM generate_series(1, :rows) AS n;
INSERT INTO job_events (job_id, message, at)
SELECT id, message, created_at
  FROM jobs, (VALUES ('queued'), ('done')) AS events (message);
VACUUM ANALYZE;
CHECKPOINT;
"""

MAKE_DOCUMENTS = (
    "mkdir -p /data/documents && cd /data/documents"
    " && for n in $(seq $DOCUMENTS); do printf '%%PDF-1.4\\n%% seed %s\\n%%%%EOF\\n' $n > seed-$n.pdf; done"
)


def pristine_volumes(rows: int) -> dict[str, str]:
    """Project volume: its pristine copy."""
    return {name: f"schedgen-demo-pristine-{rows}-{key}" for key, name in VOLUMES.items()}


def existing_volumes(filter_: str = LABEL) -> set[str]:
    """The volumes with a label."""
    return set(lines("volume", "ls", "--quiet", "--filter", f"label={filter_}"))


def create_project_volume(key: str, name: str) -> None:
    """With the labels that Compose looks for."""
    labels = (f"com.docker.compose.project={PROJECT_NAME}", f"com.docker.compose.volume={key}")
    docker("volume", "create", *(f"--label={label}" for label in labels), name)


def copy(pairs: dict[str, str]) -> bool:
    """Make each volume what another one is, complete or not at all; False when a source is no complete copy."""
    mounts = []
    for number, (source, target) in enumerate(pairs.items()):
        mounts += ["-v", f"{source}:/from/{number}:ro", "-v", f"{target}:/to/{number}"]
    script = (
        f"for n in /from/*; do test -e $n/{COMPLETE} || exit 3; done; find /to -mindepth 2 -delete;"
        f" for n in /from/*; do cp -a $n/. /to/${{n#/from/}}/; rm /to/${{n#/from/}}/{COMPLETE}; done"
    )
    done = in_container(mounts, script, check=False)
    if done.returncode not in (0, 3):
        raise LabError(f"the seed data could not be copied: {done.stderr.strip()}")
    return done.returncode == 0


def in_container(words: list[str], script: str, *, check: bool = True) -> CompletedProcess[str]:
    """Run a script beside the volumes that the words mount: the lab need not be root for that."""
    return docker(
        *["run", "--rm", "--network", "none", *words, SUPPORT_IMAGES["python"], "sh", "-ec", script], check=check
    )


def ensure(rows: int) -> None:
    """Make the pristine copies, unless they are there."""
    if not set(pristine_volumes(rows).values()) <= existing_volumes():
        make(rows)


def restore(rows: int) -> None:
    """Fill the project's volumes from the pristine copies, which are made first if they are not there."""
    ensure(rows)
    if not fill(pristine_volumes(rows)):
        make(rows)
        fill(pristine_volumes(rows))


def fill(copies: dict[str, str]) -> bool:
    """Make each project volume what its copy is; False when one of them is no complete copy."""
    for key, name in VOLUMES.items():
        create_project_volume(key, name)
    return copy({source: name for name, source in copies.items()})


def keep(copies: dict[str, str]) -> None:
    """Copy each project volume, of an application that is stopped, to a volume of this name."""
    docker("volume", "rm", "--force", *copies.values())
    mounts = []
    for number, (name, kept) in enumerate(copies.items()):
        docker("volume", "create", f"--label={LABEL}", kept)
        mounts += ["-v", f"{name}:/from/{number}:ro", "-v", f"{kept}:/to/{number}"]
    script = f"for n in /from/*; do to=/to/${{n#/from/}}; cp -a $n/. $to/; touch $to/{COMPLETE}; done"
    in_container(mounts, script)


def make(rows: int) -> None:
    """Seed a new database with v1's own migrations, and keep a copy of its volumes."""
    say(f"Making seed data: {rows} jobs, {2 * rows} events")
    docker("volume", "rm", "--force", *VOLUMES.values())
    for key, name in VOLUMES.items():
        create_project_volume(key, name)
    project.restore(find("v1"))
    project.compose("up", "-d", "postgres")
    wait_until(
        "the database is healthy",
        lambda: any(item.service == "postgres" and item.ready for item in project.containers()),
        timeout=60,
    )
    project.compose("run", "--rm", "--no-deps", "-T", "backend", "npm", "run", "migration:run")
    psql(SEED, rows=str(rows), documents=str(DOCUMENTS))
    in_container(["-e", f"DOCUMENTS={DOCUMENTS}", "-v", f"{VOLUMES['minio_data']}:/data"], MAKE_DOCUMENTS)
    project.compose("down", "--remove-orphans")
    keep(pristine_volumes(rows))


def psql(script: str, *, database: str = "schedgen", **variables: str) -> str:
    """Run SQL as the application's user inside the database's container; rows come unaligned."""
    settings = [f"--set={key}={value}" for key, value in {"ON_ERROR_STOP": "1", **variables}.items()]
    command = ["exec", "-i", DATABASE_CONTAINER, "psql", "-qAtX", "-U", "schedgen", "-d", database, *settings]
    return docker(*command, text_input=script).stdout


def load_keys(database: str = "schedgen") -> set[str]:
    """The keys of the load client's jobs in a database."""
    return set(psql("SELECT key FROM jobs WHERE key LIKE 'load-%'", database=database).split())


def keys_anywhere() -> set[str]:
    """The keys of the load client's jobs in any database of the server; a closed one is opened to look."""
    listed = psql(
        "SELECT datallowconn, datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'",
        database="postgres",
    )
    found: set[str] = set()
    for is_open, name in (line.split("|", 1) for line in listed.splitlines()):
        if is_open == "f":
            psql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', database="postgres")
        try:
            if psql("SELECT to_regclass('jobs') IS NOT NULL", database=name).strip() == "t":
                found |= load_keys(name)
        finally:
            if is_open == "f":
                psql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', database="postgres")
    return found


def remove_strangers() -> None:
    """Remove volumes of the project that are not the project's: a test left them."""
    mine = existing_volumes(f"com.docker.compose.project={PROJECT_NAME}") - set(VOLUMES.values())
    if mine:
        docker("volume", "rm", "--force", *sorted(mine))


def forget() -> None:
    """Remove the pristine copies: they were made by other images, or with another password."""
    found = existing_volumes()
    if found:
        docker("volume", "rm", "--force", *sorted(found))


def remove_all() -> None:
    """Remove every volume of the demo."""
    forget()
    found = existing_volumes(f"com.docker.compose.project={PROJECT_NAME}")
    if found:
        docker("volume", "rm", "--force", *sorted(found))
