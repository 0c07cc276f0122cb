# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Prometheus and a node_exporter of Debian's, unpacked into a folder and run on free ports of the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("prometheus", "prometheus-node-exporter")
CONFIGURATION = """\
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


def unpack(folder: Path) -> Path:
    """Fetch the packages without installing them; return the folder of their commands. Fails where that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    fetched = _run(["apt-get", "download", *PACKAGES], folder)
    if fetched.returncode:
        _run(["apt-get", "update"], folder)
        fetched = _run(["apt-get", "download", *PACKAGES], folder)
    assert fetched.returncode == 0, f"Debian's {' and '.join(PACKAGES)} cannot be had:\n{fetched.stderr}"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
    return folder / "root" / "usr" / "bin"


def _run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def until(ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Ask until there is an answer that counts."""
    end, trouble = time.monotonic() + seconds, "no answer that counts"
    while time.monotonic() < end:
        try:
            if answer := ask():
                return answer
        except (OSError, urllib.error.URLError) as error:
            trouble = str(error)
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s: {trouble}")


class Prometheus:
    """What a test asks a server that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series that an expression comes to."""
        answer = json.loads(fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        assert answer["status"] == "success", answer
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def value(self, expression: str) -> float:
        """Return the one value of an expression, as soon as there is one."""
        found = until(lambda: self.query(expression), expression)
        assert len(found) == 1, found
        return float(found[0][1])


@contextmanager
def running(commands: Path, metrics: Path, folder: Path) -> Iterator[Prometheus]:
    """Run node_exporter on the textfiles of a folder, and a Prometheus that scrapes it each second."""
    exporter, server = free_port(), free_port()
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION.replace("PORT", str(exporter)))
    argvs = (
        [
            "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={metrics}",
            f"--web.listen-address=127.0.0.1:{exporter}",
        ],
        [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{server}",
        ],
    )
    started = []
    try:
        for argv in argvs:
            with open(folder / f"{argv[0]}.log", "w") as log:
                started.append(
                    subprocess.Popen(
                        [str(commands / argv[0]), *argv[1:]],
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, "GOMAXPROCS": "1"},
                    )
                )
        url = f"http://127.0.0.1:{server}"
        until(lambda: fetch(f"{url}/-/ready"), f"Prometheus, see {folder}")
        yield Prometheus(url)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)
