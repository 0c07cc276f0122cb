#!/usr/bin/env python3
# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: installs, builds, starts, breaks and removes the reference application. Needs Python 3.11 and git alone."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from schedgen_lab import data, engine, images, kept, ledger, load, packages, project, registry, versions
from schedgen_lab.settings import (
    DEFAULT_ROWS,
    FRONT_DOOR,
    HOME,
    LOAD_LEDGER,
    MARKER,
    PROJECT_NAME,
    REGISTRY,
    SECRETS,
    STATE,
    VOLUMES,
)
from schedgen_lab.shell import LabError, say


def prepare(options: argparse.Namespace) -> None:
    """Install and build everything, and start nothing but engine and registry."""
    began = time.monotonic()
    prepared()
    data.ensure(options.rows)
    say(f"Engine, registry, images and seed data are there ({time.monotonic() - began:.0f} s)")


def prepared() -> bool:
    """Have engine, registry, images and project folder; True when something was made anew."""
    engine.ensure()
    claim_home()
    registry.start()
    return build()


def up(options: argparse.Namespace) -> None:
    """Install, build and start everything; what is there already is used."""
    began = time.monotonic()
    if prepared() or not running():
        put_back(versions.find("v1"), options.rows)
    say(f"schedgen {project.answer('/version')[1]} at {FRONT_DOOR} ({time.monotonic() - began:.0f} s)")


def claim_home() -> None:
    """Take the folder; refuse where the engine runs a project of that name that is not the demo's."""
    if MARKER.exists():
        return
    if engine.lines("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT_NAME}"):
        raise LabError(f"this engine has a Compose project {PROJECT_NAME} that is not the demo's: use another machine")
    try:
        HOME.mkdir(parents=True, exist_ok=True)
        MARKER.write_text("Made by demo/lab.py, removed by `lab.py down --everything`.\n")
    except PermissionError as error:
        message = f"{HOME} cannot be written: run as root, or set SCHEDGEN_DEMO_DIR to a folder of yours"
        raise LabError(message) from error


def build() -> bool:
    """Make images and project folder, unless they are there; True when something was made."""
    new_password = not SECRETS.exists()
    new_images = images.ensure()
    new_project = project.ensure()
    if new_images or new_password:
        data.forget()
    return new_images or new_project or new_password


def running() -> bool:
    """Whether an application runs that a second `up` must leave alone."""
    found = project.containers()
    return bool(found) and all(item.ready for item in found) and project.answer("/health")[0] == 200


def put_back(version: versions.Version, rows: int, state: str = "", *, wait: bool = True) -> None:
    """Everything as new, or as it was kept: containers, volumes, images, registry, project folder, records."""
    load.stop()
    engine.remove_containers(engine.project_filters(VOLUMES.values()))
    data.remove_strangers()
    images.restore(version, kept.images(state) if state else {})
    if not (state and data.fill(kept.volumes(state))):
        data.restore(rows)
    project.restore(version)
    if state:
        kept.restore_records(state)
    else:
        shutil.rmtree(STATE, ignore_errors=True)
        STATE.mkdir(mode=0o700)
    project.up()
    images.record_worker(version)
    if state and not kept.restore_images(state):
        raise NotKept(f"an image of the state {state} is gone, and building it gave another one")
    if wait:
        project.wait(version)


def reset(options: argparse.Namespace) -> None:
    """Everything back to a fresh, seeded version, or to a state that was kept."""
    began = time.monotonic()
    need_home()
    engine.ensure()
    registry.start()
    if not images.recorded() or not project.ready():
        build()
    version = versions.find(options.version)
    if options.kept and not kept.is_there(options.kept, options.key):
        raise NotKept(f"no state {options.kept} was kept with this key")
    put_back(version, options.rows, options.kept, wait=not options.no_wait)
    state = f"is {version.expect}" if not options.no_wait else "was started"
    say(f"{version.name} {state} ({time.monotonic() - began:.1f} s)")


def keep(options: argparse.Namespace) -> None:
    """Keep what the application is now, to begin with it again."""
    began = time.monotonic()
    need_home()
    kept.keep(options.name, options.key)
    say(f"Kept as {options.name} ({time.monotonic() - began:.1f} s); the application is stopped")


def deploy(options: argparse.Namespace) -> None:
    """What a person does: check the version out, `docker compose up -d`."""
    began = time.monotonic()
    need_home()
    version = versions.find(options.version)
    if options.tag_only:
        project.up({"TAG": version.images, **options.env})
    else:
        project.checkout(version)
        project.up(options.env)
    if not options.no_wait:
        project.wait(version)
        say(f"{version.name} is {version.expect} ({time.monotonic() - began:.1f} s)")


def show_versions(options: argparse.Namespace) -> None:
    """Print what versions there are."""
    found = versions.load()
    if options.json:
        print(json.dumps([dataclasses.asdict(item) | {"good": item.good} for item in found.values()], indent=2))
    else:
        for item in found.values():
            print(f"{item.name:22} {item.summary}")


def status(_options: argparse.Namespace) -> None:
    """Print what runs."""
    need_home()
    alive = engine.answers()
    print(f"home      {HOME}")
    owner = "the demo's own" if engine.is_own() else "not the demo's"
    print(f"engine    {owner}, {'answers' if alive else 'no answer'}")
    print(f"registry  {REGISTRY}, {'answers' if registry.answers() else 'no answer'}")
    print(f"project   {project.deployed()}")
    for path in ("/health", "/version", "/api/jobs?limit=1"):
        code, body = project.answer(path)
        print(f"{path:18} {code or 'no answer'} {body[:58]}")
    for item in project.containers() if alive else ():
        print(f"{item.name:24} {item.state:10} {item.health:10} {item.image.removeprefix(REGISTRY + '/')}")


def load_start(options: argparse.Namespace) -> None:
    """Start the load client in the background."""
    need_home()
    load.start(options.url, options.rate, options.ledger.resolve())


def load_stop(_options: argparse.Namespace) -> None:
    """Stop the load client."""
    if not load.stop():
        say("no load client runs")


def load_run(options: argparse.Namespace) -> None:
    """The client itself, in the foreground."""
    asyncio.run(load.drive(options.url, options.rate, options.ledger))


def show_ledger(options: argparse.Namespace) -> None:
    """Print what a ledger says, as JSON."""
    entries = ledger.read(options.file)
    summary = ledger.summarise(entries)
    if options.check_database:
        summary["missing"] = ledger.missing_writes(entries, data.load_keys(options.database))
        summary["lost"] = ledger.missing_writes(entries, data.keys_anywhere()) if summary["missing"] else []
    print(json.dumps(summary))


def registry_command(options: argparse.Namespace) -> None:
    """Start or stop the registry, or spoil its tags."""
    need_home()
    repository = f"schedgen/{options.service}"
    actions: dict[str, Callable[[], object]] = {
        "start": registry.start,
        "stop": registry.stop,
        "delete-tag": lambda: registry.delete_tag(repository, options.tag),
        "move-tag": lambda: registry.move_tag(repository, options.tag, options.to),
    }
    actions[options.action]()


def down(options: argparse.Namespace) -> None:
    """Stop the application, or remove every trace of the demo."""
    load.stop()
    engine.revive()
    if engine.answers():
        engine.remove_containers(engine.project_filters(VOLUMES.values()))
        networks = engine.lines("network", "ls", "-q", "--filter", f"label=com.docker.compose.project={PROJECT_NAME}")
        if networks:
            engine.docker("network", "rm", *networks)
        if options.everything:
            data.remove_all()
            images.remove_all()
            say("Containers, volumes, networks and images of the demo are removed.")
    registry.stop()
    if options.engine:
        engine.stop()
    if not options.everything:
        say(f"Stopped. {HOME}, images and seed data stay; `lab.py down --everything` removes them.")
        return
    if engine.stop():
        say("The demo's own Docker engine is stopped.")
    if packages.remove_source():
        say(f"{packages.SOURCES} is removed.")
    if MARKER.exists():
        shutil.rmtree(HOME)
        say(f"{HOME} is removed.")
    say("What stays: Debian packages that were installed, and firewall chains of the engine until the next boot.")


class NotKept(LabError):
    """A state that somebody wants to begin with is not there."""


def need_home() -> None:
    """Refuse where `up` was never run."""
    if not MARKER.exists():
        raise LabError("there is no lab yet: `lab.py up` makes it")


def key_value(text: str) -> tuple[str, str]:
    """KEY=VALUE of the command line."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("must be KEY=VALUE")
    return key, value


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(action_=action)
        return made

    def rows(to: argparse.ArgumentParser) -> None:
        to.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="jobs in the seed data (default: %(default)s)")

    rows(command("up", up, "install, build and start everything; again does no harm"))
    rows(command("prepare", prepare, "the same, but for the application, which is not started"))
    made = command("deploy", deploy, "git checkout VERSION and docker compose up -d, as a person does")
    made.add_argument("version")
    made.add_argument("--no-wait", action="store_true", help="do not wait for what the version shows")
    made.add_argument("--tag-only", action="store_true", help="TAG=VERSION docker compose up -d, without a checkout")
    made.add_argument("--env", type=key_value, action="append", default=[], metavar="K=V", help="for docker compose")
    made = command("reset", reset, "everything back to a fresh, seeded version")
    made.add_argument("version", nargs="?", default="v1")
    made.add_argument("--kept", default="", metavar="NAME", help="begin with what was kept; exit code 3 if it was not")
    made.add_argument("--key", default="", help="the key with which it was kept")
    made.add_argument("--no-wait", action="store_true", help="do not wait for what the version shows")
    rows(made)
    made = command("keep", keep, "keep volumes, restore points and images as they are now; stops the application")
    made.add_argument("name")
    made.add_argument("--key", default="", help="what has to be the same for it to be used again")
    command("versions", show_versions, "what versions there are").add_argument("--json", action="store_true")
    command("status", status, "what runs now")

    made = command("load", load_start, "a client that sends at a fixed rate and keeps a ledger")
    actions = made.add_subparsers(required=True, metavar="start|stop|run")
    for name, action in (("start", load_start), ("run", load_run)):
        run = actions.add_parser(name)
        run.set_defaults(action_=action)
        run.add_argument("--rate", type=float, default=200.0, help="requests a second (default: %(default)s)")
        run.add_argument("--ledger", type=Path, default=LOAD_LEDGER)
        run.add_argument("--url", default=FRONT_DOOR)
    actions.add_parser("stop").set_defaults(action_=load_stop)

    made = command("ledger", show_ledger, "what a ledger says, as JSON")
    made.add_argument("file", type=Path, nargs="?", default=LOAD_LEDGER)
    made.add_argument(
        "--check-database",
        action="store_true",
        help="name acknowledged writes that are missing in the database, and those that are in none",
    )
    made.add_argument("--database", default="schedgen", help="database to look in (default: %(default)s)")

    made = command("registry", registry_command, "start or stop the registry, or spoil its tags")
    made.add_argument("action", choices=("start", "stop", "delete-tag", "move-tag"))
    made.add_argument("--service", choices=images.RELEASED, default="backend")
    made.add_argument("--tag", default="v1")
    made.add_argument("--to", default="v2", help="the tag whose image the moved tag gets")

    made = command("down", down, "stop the application")
    made.add_argument("--engine", action="store_true", help="stop the demo's own engine as well")
    made.add_argument("--everything", action="store_true", help="remove every trace, the home folder too")
    options = parser.parse_args(arguments)
    if hasattr(options, "env"):
        options.env = dict(options.env)
    return options


def main() -> int:
    """Run a command; what cannot be done is told in a line."""
    options = parse(sys.argv[1:])
    try:
        options.action_(options)
    except (LabError, OSError) as error:
        say(f"lab.py: {error}")
        return 3 if isinstance(error, NotKept) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
