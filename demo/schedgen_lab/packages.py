"""What the lab needs from Debian, and where this machine gets Debian from."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .settings import SUITE
from .shell import LabError, run, say

SOURCES = Path("/etc/apt/sources.list.d/schedgen-demo.sources")
PREFERENCES = Path("/etc/apt/preferences.d/schedgen-demo")
NO_START = Path("/usr/sbin/policy-rc.d")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

TOOLS = {"docker-registry": "docker-registry", "mmdebstrap": "mmdebstrap", "zstd": "zstd"}
CLIENT = ("docker-cli", "docker-compose", "docker-buildx")
ENGINE = ("docker.io",)
# The engine's helpers come from the machine's own release: those of a newer one want a newer libc.
ENGINE_HELPERS = ("runc", "iptables")


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    for path in [*sorted(Path("/etc/apt").glob("sources.list.d/*.sources")), Path("/etc/apt/sources.list")]:
        for line in path.read_text().splitlines() if path.exists() else ():
            found = re.match(r"(?:URIs:|deb\s+(?:\[.*?\]\s+)?)\s*(\S+/debian)/?(?:\s|$)", line)
            if found:
                return found.group(1)
    raise LabError("the apt sources of this machine name no mirror of Debian (…/debian)")


def apt_options() -> list[str]:
    """Options for another apt: the proxy settings of this machine's own, and to try again what cannot be fetched."""
    dump = run(["apt-config", "dump"]).stdout
    proxies = [line for line in dump.splitlines() if re.match(r"Acquire::https?::Proxy \"", line)]
    return [*proxies, 'Acquire::Retries "3"']


def release() -> dict[str, str]:
    """What /etc/os-release says."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def ensure(*, engine: bool, client: bool) -> None:
    """Install what is missing: the tools always, the Docker client or the engine when asked for."""
    own = [package for command, package in TOOLS.items() if not shutil.which(command)]
    suite = [*(CLIENT if client else ()), *(ENGINE if engine else ())]
    helpers = list(ENGINE_HELPERS) if engine else []
    wanted = own + suite + helpers
    if not wanted:
        return
    system = release()
    if system.get("ID") != "debian" or system.get("VERSION_CODENAME") not in ("bookworm", SUITE):
        raise LabError(f"this is not Debian 12 or 13: install these yourself: {' '.join(wanted)}")
    if os.geteuid() != 0:
        raise LabError(f"run this as root, or have root install these: {' '.join(wanted)}")
    say(f"Installing from Debian: {' '.join(wanted)}")
    older = system["VERSION_CODENAME"] != SUITE
    if suite and older:
        add_source()
    apt("update")
    if own + helpers:
        apt("install", "-y", "--no-install-recommends", *own, *helpers)
    if suite:
        apt("install", "-y", "--no-install-recommends", *(f"{name}/{SUITE}" if older else name for name in suite))


def add_source() -> None:
    """Make the newer Debian's packages reachable, at a priority at which nothing is taken from it unasked."""
    say(f"Adding {SOURCES} ({SUITE} at low priority; `lab.py down --everything` removes it)")
    SOURCES.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n")
    PREFERENCES.write_text(f"Package: *\nPin: release n={SUITE}\nPin-Priority: 50\n")


def remove_source() -> bool:
    """Remove the package source, if the lab added it."""
    found = SOURCES.exists()
    SOURCES.unlink(missing_ok=True)
    PREFERENCES.unlink(missing_ok=True)
    return found


def apt(*words: str) -> None:
    """Run apt-get, and keep the packages' services from being started: the lab starts what it needs itself."""
    hold = not NO_START.exists()
    if hold:
        NO_START.write_text("#!/bin/sh\nexit 101\n")
        NO_START.chmod(0o755)
    try:
        run(["apt-get", "-q", *words], env={"DEBIAN_FRONTEND": "noninteractive"})
    finally:
        if hold:
            NO_START.unlink(missing_ok=True)
