# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of hosts on one machine: containers with sshd, with an engine of their own or sharing the lab's.

Each host has a Compose project with one service that carries code, at /srv/shop. It is healthy while the file
/srv/shop/flag/healthy is there, so that a test can make one host's release fail and no other's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedgen_lab import engine, images
from schedgen_lab.settings import SUPPORT_IMAGES

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "tests" / "images"
HOST_IMAGE = "rollback-test-host:trixie"
LABEL = "schedgen.rollback.tests=fleet"
VERSIONS = ("v1", "v2")
PROJECT = "/srv/shop"
# An engine inside a container needs nearly everything; what this machine lacks cannot be given.
ENGINE = [
    "--cap-add=ALL", "--security-opt=apparmor=unconfined",
    "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined",
]  # fmt: skip
COMPOSE = """services:
  web:
    image: fleet-web:${TAG}
    volumes: ["./flag:/flag:ro"]
    init: true
    stop_grace_period: 1s
    healthcheck:
      test: ["CMD", "test", "-e", "/flag/healthy"]
      interval: 1s
      retries: 2
"""
WEB = """FROM {base}
RUN echo {version} > /version
CMD ["sleep", "infinity"]
"""


def ensure_images() -> None:
    """Make the image of a host, and those of the application's versions."""
    images.ensure_bases(["python"])
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "Dockerfile").write_text(WEB.format(base=SUPPORT_IMAGES["python"], version=version))
            images.build(["--tag", f"fleet-web:{version}", folder])
    images.build(["--file", str(IMAGES / "host.Dockerfile"), "--tag", HOST_IMAGE, str(IMAGES)])


@dataclass
class Host:
    """One host of the fleet."""

    name: str
    container: str
    address: str = ""

    def run(self, script: str, *, check: bool = True) -> str:
        """Run a script on the host, past ssh."""
        done = engine.docker("exec", self.container, "sh", "-c", script, check=check)
        return done.stdout.strip()

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until a script ends well on the host."""
        end = time.monotonic() + seconds
        while engine.docker("exec", self.container, "sh", "-c", script, check=False).returncode:
            assert time.monotonic() < end, f"{self.name}: not in {seconds} s: {script}"
            time.sleep(0.2)

    @property
    def project(self) -> str:
        """The host's project name: hosts that share an engine have one each."""
        return f"shop-{self.name}"

    def compose(self, words: str) -> str:
        """Run Compose in the project's folder."""
        return self.run(f"cd {PROJECT} && docker compose {words} 2>&1")

    def deploy(self, version: str) -> None:
        """Deploy as a person does."""
        self.run(f"printf 'TAG={version}\\nCOMPOSE_PROJECT_NAME={self.project}\\n' > {PROJECT}/.env")
        self.compose("up --detach --wait")

    def version(self) -> str:
        """Return the version that runs, '' when nothing does."""
        return self.run(
            f"docker ps --filter label=com.docker.compose.project={self.project} --format '{{{{.Image}}}}'", check=False
        ).rpartition(":")[2]

    def healthy(self, yes: bool) -> None:
        """Let what runs, and what is started, be healthy or not."""
        self.run(f"mkdir -p {PROJECT}/flag && cd {PROJECT}/flag && {'touch' if yes else 'rm -f'} healthy")

    def state(self, pattern: str) -> list[Any]:
        """Return JSON files below the application's records, in the order of their names."""
        text = self.run(
            f"for f in $(ls -d /var/lib/schedgen-rollback/shop/{pattern} 2>/dev/null); do cat $f; echo; echo; done"
        )
        return [json.loads(part) for part in text.split("\n\n") if part.strip()]

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal of the newest run."""
        text = self.run("cat $(ls -d /var/lib/schedgen-rollback/shop/runs/*/journal.jsonl | tail -1)")
        return [json.loads(line) for line in text.splitlines() if line.strip()]


@dataclass
class Fleet:
    """Hosts, and the folder on the controller with their inventory and key."""

    folder: Path
    hosts: list[Host] = field(default_factory=list)

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def playbook(self, name: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook on the fleet, as an operator does."""
        command = ["ansible-playbook", str(ROOT / f"{name}.yml"), "-i", str(self.folder / "inventory.yml"), *options]
        if variables:
            command += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environment["COLUMNS"] = "80"
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, cwd=ROOT, check=False
        )

    def each(self, work: Callable[[Host], Any]) -> None:
        """Do something on every host, some at a time."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, self.hosts))

    def write_inventory(self) -> None:
        """Write what the controller knows of the fleet."""
        hosts = {
            host.name: {"ansible_host": host.address, "rollback_project_name": host.project} for host in self.hosts
        }
        ssh = [f"-o ControlPath={self.folder}/%C", "-o ControlMaster=auto", "-o ControlPersist=60"]
        ssh += ["-o StrictHostKeyChecking=no", "-o UserKnownHostsFile=/dev/null", "-o ConnectTimeout=5"]
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": " ".join(ssh),
            "ansible_python_interpreter": "/usr/bin/python3",
            "rollback_application": "shop",
            "rollback_project_src": PROJECT,
            "rollback_code_services": ["web"],
            "rollback_config_paths": [".env"],
            "rollback_database": "",
            "rollback_migration_tool": "none",
            "rollback_health_deadline": 20,
            "rollback_report_dir": str(self.folder / "reports"),
        }
        document = {"all": {"hosts": hosts, "vars": variables}}
        (self.folder / "inventory.yml").write_text(json.dumps(document, indent=1), encoding="utf-8")

    def start(self, count: int, *, own_engines: bool) -> None:
        """Start hosts, some at a time, and give them their project."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")], check=True)
        names = [f"host{number:02d}" for number in range(1, count + 1)]
        with ThreadPoolExecutor(4) as pool:
            self.hosts = list(pool.map(lambda name: self._start(name, own_engines=own_engines), names))
        self.write_inventory()

    def _start(self, name: str, *, own_engines: bool) -> Host:
        words: Sequence[str] = (
            [*ENGINE, "--volume", "/var/lib/docker"]
            if own_engines
            # The engine looks for what is mounted on this machine: the project has the same path on both.
            else ["--volume", "/var/run/docker.sock:/var/run/docker.sock"]
        )
        if not own_engines:
            place = self.folder / name
            place.mkdir()
            words = [*words, "--volume", f"{place}:{place}"]
        made = engine.docker(
            *[
                "run",
                "--detach",
                "--label",
                LABEL,
                "--hostname",
                name,
                "--name",
                f"rollback-fleet-{name}-{os.getpid()}",
            ],
            *words,
            HOST_IMAGE,
            *(["engine"] if own_engines else []),
        )
        host = Host(name, made.stdout.strip())
        key = (self.folder / "key.pub").read_text().strip()
        host.run(f"mkdir -p /root/.ssh && echo '{key}' > /root/.ssh/authorized_keys")
        if not own_engines:
            host.run(f"ln -s {self.folder / name} {PROJECT}")
        host.run(f"mkdir -p {PROJECT}")
        self.find(host)
        if own_engines:
            host.until("docker info")
            self.load(host)
        engine.docker("exec", "-i", host.container, "sh", "-c", f"cat > {PROJECT}/compose.yaml", text_input=COMPOSE)
        host.healthy(True)
        return host

    def find(self, host: Host) -> None:
        """Find a host's address: another one when it was started again."""
        look = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        host.address = engine.docker("inspect", "--format", look, host.container).stdout.strip()

    def load(self, host: Host) -> None:
        """Give a host with an engine of its own the application's images."""
        names = [f"fleet-web:{version}" for version in VERSIONS]
        with subprocess.Popen([engine.client(), "save", *names], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                [engine.client(), "exec", "-i", host.container, "docker", "load", "-q"],
                stdin=saved.stdout,
                check=True,
                capture_output=True,
            )

    def stop(self) -> None:
        """Remove every host and what it started."""
        projects = [f"label=com.docker.compose.project={host.project}" for host in self.hosts]
        engine.remove_containers([*projects, f"label={LABEL}"])
        for host in self.hosts:
            for network in engine.lines("network", "ls", "--quiet", "--filter", f"name={host.project}_default"):
                engine.docker("network", "rm", network, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
