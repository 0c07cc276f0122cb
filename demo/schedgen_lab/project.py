"""The project folder: a git repository with a tag a version, and what a person does in it."""

from __future__ import annotations

import json
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .engine import client, docker, lines
from .settings import DEMO, FRONT_DOOR, PROJECT, PROJECT_NAME, SECRETS
from .shell import LabError, run, say, wait_until
from .versions import Version, compose_file, load as load_versions

FILES = (".gitignore", "proxy/nginx.conf", "pdf-worker/Dockerfile", "pdf-worker/worker.py", "pdf-worker/mailer.py")
# Fixed names and times: the same files make the same commits everywhere.
GIT = ("git", "-c", "user.name=schedgen", "-c", "user.email=schedgen@example.org", "-c", "commit.gpgsign=false")
GIT_TIME = "2026-01-01T00:00:{:02d}Z"


@dataclass(frozen=True)
class Container:
    """A container of the project, as far as the lab looks at it."""

    name: str
    service: str
    image: str
    state: str
    health: str
    restarts: int

    @property
    def ready(self) -> bool:
        """Whether it runs and, where it has a health check, is healthy."""
        return self.state == "running" and self.health in ("", "healthy")


def git(*words: str, env: Mapping[str, str] | None = None) -> str:
    """Run git in the project folder."""
    return run([*GIT, "-C", PROJECT, *words], env=env).stdout


def files(version: Version) -> dict[str, str]:
    """The files of a version, as they are in its commit."""
    texts = {name: (DEMO / "project" / name).read_text() for name in FILES}
    texts["compose.yaml"] = compose_file(version)
    texts["pdf-worker/release.json"] = json.dumps({"version": version.images}) + "\n"
    return texts


def ensure() -> bool:
    """Make the repository, unless it is there and complete, and the password, once; True when it was made."""
    versions = load_versions()
    if not SECRETS.exists():
        SECRETS.touch(mode=0o600)
        SECRETS.write_text(f"DATABASE_PASSWORD={secrets.token_urlsafe(24)}\n")
    complete = ready() and all(committed(version) for version in versions.values())
    if not complete:
        say(f"Making the project in {PROJECT}, a git tag for each of {len(versions)} versions")
        PROJECT.mkdir(parents=True, exist_ok=True)
        # The folder itself stays: a shell may stand in it.
        for path in PROJECT.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        git("init", "-q", "-b", "main")
        for number, version in enumerate(versions.values()):
            commit(version, GIT_TIME.format(number))
        git("checkout", "-q", "v1")
        write_env({})
    return not complete


def ready() -> bool:
    """Whether the repository is there and git can read it, all versions in it."""
    if not (PROJECT / ".git").exists():
        return False
    tags = run([*GIT, "-C", PROJECT, "tag", "--list"], check=False).stdout.split()
    return set(load_versions()) <= set(tags)


def committed(version: Version) -> bool:
    """Whether the tag of a version holds what the version is now."""
    for name, text in files(version).items():
        shown = run([*GIT, "-C", PROJECT, "show", f"{version.name}:{name}"], check=False)
        if shown.returncode != 0 or shown.stdout != text:
            return False
    return True


def commit(version: Version, time: str) -> None:
    """Make the commit and the tag of a version."""
    if version.base:
        git("checkout", "-q", "--detach", version.base)
    for name, text in files(version).items():
        path = PROJECT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("add", "--all")
    dates = {"GIT_AUTHOR_DATE": time, "GIT_COMMITTER_DATE": time}
    git("commit", "-q", "--allow-empty", "-m", f"Release {version.name}", env=dates)
    git("tag", version.name)


def restore(version: Version) -> None:
    """The folder as a fresh clone at this version, with its secrets."""
    shutil.rmtree(PROJECT / ".git/rebase-merge", ignore_errors=True)
    (PROJECT / ".git/index.lock").unlink(missing_ok=True)
    git("checkout", "-q", "--force", "--detach", version.name)
    git("clean", "-q", "-ffdx")
    write_env(version.env)


def write_env(changes: Mapping[str, str]) -> None:
    """.env with the secrets and these changes; other lines that a person put there are kept."""
    path = PROJECT / ".env"
    text = path.read_text() if path.exists() else SECRETS.read_text()
    kept = [line for line in text.splitlines() if line.partition("=")[0] not in changes]
    path.touch(mode=0o600)
    path.write_text("".join(f"{line}\n" for line in [*kept, *(f"{key}={value}" for key, value in changes.items())]))


def compose(*words: str, env: Mapping[str, str] | None = None) -> str:
    """Run docker compose in the project folder."""
    return run([client(), "compose", *words], cwd=PROJECT, env=env).stdout


def up(env: Mapping[str, str] | None = None) -> None:
    """Start what the project folder says."""
    compose("up", "-d", "--remove-orphans", "--quiet-pull", env=env)


def checkout(version: Version) -> None:
    """What a person does to get a version: refuses, as git does, where it would overwrite something."""
    git("checkout", "-q", "--detach", version.name)
    write_env(version.env)


def containers() -> list[Container]:
    """The containers of the project, stopped ones too."""
    ids = lines("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT_NAME}")
    # A container may go between the two calls: what is left is told.
    shown = docker("inspect", *ids, check=False).stdout if ids else "[]"
    return sorted(
        (
            Container(
                name=item["Name"].lstrip("/"),
                service=item["Config"]["Labels"].get("com.docker.compose.service", ""),
                image=item["Config"]["Image"],
                state=item["State"]["Status"],
                health=item["State"].get("Health", {}).get("Status", ""),
                restarts=item["RestartCount"],
            )
            for item in json.loads(shown or "[]")
        ),
        key=lambda container: container.name,
    )


def answer(path: str, url: str = FRONT_DOOR) -> tuple[int, str]:
    """Status and body of a request at the front door; status 0 when there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}{path}", timeout=5) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def as_expected(version: Version) -> bool:
    """Whether the application shows what this version shows once it is deployed."""
    found = containers()
    backends = [container for container in found if container.service == "backend"]
    if version.expect == "restarting":
        return any(container.restarts > 0 for container in backends)
    if version.expect == "unhealthy":
        return any(container.health == "unhealthy" for container in backends)
    return (
        bool(backends)
        and all(container.ready for container in found)
        and answer("/version") == (200, json.dumps({"version": version.images}, separators=(",", ":")))
    )


def wait(version: Version, timeout: float = 60) -> None:
    """Wait until the application shows what this version shows."""
    try:
        wait_until(f"{version.name} is {version.expect}", lambda: as_expected(version), timeout=timeout)
    except LabError as error:
        rows = [f"  {item.name}: {item.state} {item.health}, restarts {item.restarts}" for item in containers()]
        raise LabError("\n".join([str(error), *rows])) from error


def deployed() -> str:
    """The git description of the project folder."""
    if not Path(PROJECT / ".git").exists():
        return "no project"
    return git("describe", "--tags", "--always", "--dirty").strip()
