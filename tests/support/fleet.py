# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of hosts on one machine: containers with sshd, with an engine of their own or sharing the lab's.

Each host has a Compose project with one service that carries code, at /srv/shop. It is healthy while the file
/srv/flag/healthy is there, and /srv/flag/bad-<version> is not, so that a test can make one host's release fail and no
other's. With a database, the first
host has its server and nothing else, and the service on the others writes its version into it all the time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
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
    image: fleet-web:${TAG:-v1}
    environment: {PGHOST: "${DATABASE_HOST:-}", PGUSER: shop, PGPASSWORD: of-a-test}
    volumes: ["${FLAG:-/srv/flag}:/flag:ro"]
    init: true
    stop_grace_period: 1s
    healthcheck:
      test: ["CMD-SHELL", "test -e /flag/healthy && test ! -e /flag/bad-$$VERSION"]
      interval: 5s
      retries: 1
      start_period: 30s
      start_interval: 500ms
"""
DATABASE_COMPOSE = f"""services:
  db:
    image: {SUPPORT_IMAGES["postgres"]}
    environment: ["POSTGRES_USER=shop", "POSTGRES_PASSWORD=of-a-test"]
    ports: ["5432:5432"]
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD", "pg_isready", "-q", "-h", "127.0.0.1", "-U", "shop"]
      interval: 10s
      start_period: 30s
      start_interval: 500ms
volumes:
  data:
"""


def ensure_images() -> None:
    """Make the image of a host, and those of the application's versions."""
    images.ensure_bases(["python", "postgres"])
    web = ["--file", str(IMAGES / "web.Dockerfile"), str(IMAGES)]
    for version in VERSIONS:
        images.build(["--build-arg", f"VERSION={version}", "--tag", f"fleet-web:{version}", *web])
    images.build(["--file", str(IMAGES / "host.Dockerfile"), "--tag", HOST_IMAGE, str(IMAGES)])


@dataclass
class Host:
    """One host of the fleet."""

    name: str
    container: str
    address: str
    # Address of the database's host, '' where there is none.
    database: str = ""
    project_folder: str = PROJECT
    flag_folder: str = "/srv/flag"
    # What the inventory says of it besides.
    variables: dict[str, Any] = field(default_factory=dict)

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

    def write(self, path: str, text: str) -> None:
        """Write a file on the host."""
        engine.docker("exec", "-i", self.container, "sh", "-c", f"cat > {path}", text_input=text)

    def sql(self, statement: str, database: str = "shop") -> str:
        """Run a statement in the database of this host, and return what it answers."""
        self.write("/tmp/statement.sql", statement)
        return self.compose(f"exec -T db psql -U shop -qtA -d {database} < /tmp/statement.sql")

    def compose(self, words: str) -> str:
        """Run Compose in the project's folder."""
        return self.run(f"cd {self.project_folder} && docker compose {words} 2>&1")

    def deploy(self, version: str) -> None:
        """Deploy as a person does."""
        values = {"TAG": version, "COMPOSE_PROJECT_NAME": self.project, "FLAG": self.flag_folder}
        values["DATABASE_HOST"] = self.database
        self.write(f"{self.project_folder}/.env", "".join(f"{name}={value}\n" for name, value in values.items()))
        self.compose("up --detach --wait")

    def version(self) -> str:
        """Return the version that runs, '' when nothing does."""
        return self.run(
            f"docker ps --filter label=com.docker.compose.project={self.project} --format '{{{{.Image}}}}'", check=False
        ).rpartition(":")[2]

    def healthy(self, yes: bool) -> None:
        """Let what runs, and what is started, be healthy or not."""
        self.run(f"mkdir -p {self.flag_folder} && cd {self.flag_folder} && {'touch' if yes else 'rm -f'} healthy")

    def sick_with(self, *versions: str) -> None:
        """Let no other versions than these be sick here."""
        self.run(
            f"cd {self.flag_folder} && rm -f bad-* && touch healthy {' '.join(f'bad-{name}' for name in versions)}"
        )

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
    # States that were kept.
    kept: set[str] = field(default_factory=set)

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    @contextlib.contextmanager
    def playing(self, name: str, *options: str, **variables: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a playbook on the fleet, as an operator does; it is killed at the end."""
        command = ["ansible-playbook", str(ROOT / f"{name}.yml"), "-i", str(self.folder / "inventory.yml"), *options]
        if variables:
            command += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environment["COLUMNS"] = "80"
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        ) as running:
            try:
                yield running
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)

    def playbook(self, name: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook on the fleet to its end."""
        with self.playing(name, *options, **variables) as running:
            screen, _nothing = running.communicate()
        return subprocess.CompletedProcess(name, running.returncode, screen)

    def each(self, work: Callable[[Host], Any], hosts: Sequence[Host] | None = None) -> None:
        """Do something on every host, or on some, a few at a time."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, self.hosts if hosts is None else hosts))

    def write_inventory(self) -> None:
        """Write what the controller knows of the fleet."""
        hosts: dict[str, dict[str, Any]] = {
            host.name: {
                "ansible_host": host.address,
                "rollback_project_name": host.project,
                "rollback_project_src": host.project_folder,
            }
            for host in self.hosts
        }
        ssh = [f"-o ControlPath={self.folder}/%C", "-o ControlMaster=auto", "-o ControlPersist=60"]
        ssh += ["-o StrictHostKeyChecking=no", "-o UserKnownHostsFile=/dev/null", "-o ConnectTimeout=5"]
        ssh += ["-o ServerAliveInterval=3", "-o ServerAliveCountMax=3"]
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": " ".join(ssh),
            "ansible_python_interpreter": "/usr/bin/python3",
            "rollback_application": "shop",
            "rollback_code_services": ["web"],
            "rollback_config_paths": [".env"],
            "rollback_database": "",
            "rollback_migration_tool": "none",
            "rollback_health_deadline": 120,
            "rollback_report_dir": str(self.folder / "reports"),
        }
        document: dict[str, Any] = {"all": {"hosts": hosts, "vars": variables}}
        if self.hosts[-1].database:
            first = self.hosts[0].name
            hosts[first] |= {
                "rollback_code_services": [],
                "rollback_database": "shop",
                "rollback_database_service": "db",
            }
            document["all"]["children"] = {"rollback_database": {"hosts": {first: {}}}}
        for host in self.hosts:
            hosts[host.name] |= host.variables
        (self.folder / "inventory.yml").write_text(json.dumps(document, indent=1), encoding="utf-8")

    def start(self, count: int, *, own_engines: bool) -> None:
        """Start hosts, some at a time, and give them their project."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")], check=True)
        first = self.make_network().network_address + 10
        self.hosts = [
            Host(name, f"rollback-fleet-{name}-{os.getpid()}", str(first + number))
            for number, name in enumerate(f"host{number:02d}" for number in range(1, count + 1))
        ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda host: self._start(host, own_engines=own_engines), self.hosts))
        self.write_inventory()

    def _start(self, host: Host, *, own_engines: bool) -> None:
        if own_engines:
            words: Sequence[str] = [*ENGINE, "--volume", "/var/lib/docker", HOST_IMAGE, "engine"]
        else:
            # The engine looks on this machine for what is mounted: such a host's folders have the same path on both.
            place = self.folder / host.name
            place.mkdir()
            host.project_folder, host.flag_folder = f"{place}/shop", f"{place}/flag"
            socket = "/var/run/docker.sock"
            words = ["--volume", f"{socket}:{socket}", "--volume", f"{place}:{place}", HOST_IMAGE]
        # Addresses stay when a host is restarted, and /run is empty then, as on any host.
        place_in = ["--network", self.network, "--ip", host.address, "--tmpfs", "/run:exec"]
        names = ["--label", LABEL, "--hostname", host.name, "--name", host.container]
        engine.docker("run", "--detach", *names, *place_in, *words)
        key = (self.folder / "key.pub").read_text().strip()
        host.run(f"mkdir -p /root/.ssh && echo '{key}' > /root/.ssh/authorized_keys")
        host.run(f"mkdir -p {host.project_folder}")
        if own_engines:
            host.until("docker info")
            self.load(host, *(f"fleet-web:{version}" for version in VERSIONS))
        host.write(f"{host.project_folder}/compose.yaml", COMPOSE if own_engines else self._shared_compose())
        host.healthy(True)

    def _shared_compose(self) -> str:
        """Return the compose file of hosts that share an engine.

        It has addresses for some thirty networks: they share one. And fifty hosts' checks would be its whole work.
        """
        network = f"networks:\n  default:\n    name: {self.network}\n    external: true\n"
        return COMPOSE.replace("interval: 5s", "interval: 60s") + network

    @property
    def network(self) -> str:
        """The name of the fleet's own network."""
        return f"rollback-fleet-{os.getpid()}"

    def make_network(self) -> ipaddress.IPv4Network:
        """Make the fleet's network where the engine finds room for one, and return its addresses."""
        look = "{{(index .IPAM.Config 0).Subnet}}"
        engine.docker("network", "create", self.network)
        subnet = engine.docker("network", "inspect", "--format", look, self.network).stdout.strip()
        engine.docker("network", "rm", self.network)
        # Only in a network with a subnet that was asked for, containers may ask for an address.
        engine.docker("network", "create", "--subnet", subnet, self.network)
        return ipaddress.IPv4Network(subnet)

    def cut_power(self, host: Host) -> None:
        """Kill a host, and start it again."""
        engine.docker("kill", host.container)
        engine.docker("start", host.container)
        host.until("docker info")

    def start_database(self) -> None:
        """Have a new, empty database on the first host, in place of what ran there, and the others write into it."""
        first, *others = self.hosts
        if not others[0].database:
            first.compose("down --timeout 1")
            self.load(first, SUPPORT_IMAGES["postgres"])
            first.write(f"{PROJECT}/compose.yaml", DATABASE_COMPOSE)
            first.write(f"{PROJECT}/.env", f"COMPOSE_PROJECT_NAME={first.project}\n")
        # What an earlier test left running would write into the new database.
        for host in others:
            host.compose("down --timeout 1")
        first.compose("down --volumes --timeout 5")
        first.compose("up --detach --wait")
        first.sql("CREATE TABLE visits (version text)")
        for host in others:
            host.database = first.address
        self.write_inventory()

    def keep(self, name: str) -> None:
        """Keep the records of all hosts, and the database where there is one, for :meth:`begin_with`."""
        self.each(lambda host: host.run(f"tar -C /var/lib -cf /srv/{name}.tar schedgen-rollback"))
        if self.hosts[-1].database:
            first = self.hosts[0]
            first.compose("stop --timeout 5")
            first.run(f"rm -rf /srv/{name}.data && cp -a {self._data} /srv/{name}.data")
            first.compose("up --detach --wait")
        self.kept.add(name)

    def begin_with(self, name: str) -> None:
        """Give all hosts the records back that were kept, and the database its data; of the rest nothing runs then."""
        first, *others = self.hosts
        if self.hosts[-1].database:
            self.each(lambda host: host.compose("down --timeout 1"), others)
            first.compose("stop --timeout 5")
            first.run(f"rm -rf {self._data} && cp -a /srv/{name}.data {self._data}")
            first.compose("up --detach --wait")
        self.each(lambda host: host.run(f"rm -rf /var/lib/schedgen-rollback && tar -C /var/lib -xf /srv/{name}.tar"))
        self.each(lambda host: host.sick_with())

    @property
    def _data(self) -> str:
        return f"/var/lib/docker/volumes/{self.hosts[0].project}_data/_data"

    def load(self, host: Host, *names: str) -> None:
        """Give images to a host with an engine of its own."""
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
        engine.docker("network", "rm", self.network, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
