"""The local registry, and what can go wrong with one."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request

from .settings import REGISTRY, REGISTRY_HOME, REGISTRY_LOG, REGISTRY_PID
from .shell import LabError, running_pid, start_background, stop_pid, wait_until

DAEMON = "docker-registry"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

CONFIG = f"""\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {REGISTRY_HOME / "data"}}}
  delete: {{enabled: true}}
http: {{addr: "{REGISTRY}"}}
"""


def request(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Ask the registry; status 0 when it does not answer."""
    call = urllib.request.Request(f"http://{REGISTRY}/v2/{path}", method=method, data=body)
    call.add_header("Accept", MANIFEST)
    if body is not None:
        call.add_header("Content-Type", MANIFEST)
    # The registry is on this machine: a proxy of the environment has no business here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(call, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def answers() -> bool:
    """Whether a registry answers."""
    return request("GET", "")[0] == 200


def start() -> None:
    """Start the registry, unless it runs."""
    if running_pid(REGISTRY_PID, DAEMON) is None:
        if request("GET", "")[0] != 0:
            raise LabError(f"something else listens on {REGISTRY}: stop it, the demo's registry needs the port")
        REGISTRY_HOME.mkdir(parents=True, exist_ok=True)
        config = REGISTRY_HOME / "config.yml"
        config.write_text(CONFIG)
        start_background([DAEMON, "serve", config], log=REGISTRY_LOG, pid_file=REGISTRY_PID)
    wait_until(f"registry answers on {REGISTRY}, see {REGISTRY_LOG}", answers, timeout=15, every=0.05)


def stop() -> bool:
    """Stop the registry, if it runs."""
    return stop_pid(REGISTRY_PID, DAEMON)


def manifest(repository: str, tag: str) -> str | None:
    """The manifest that a tag points to."""
    status, body = request("GET", f"{repository}/manifests/{tag}")
    return body.decode() if status == 200 else None


def put_manifest(repository: str, tag: str, body: str) -> None:
    """Make a tag point to this manifest."""
    status, answer = request("PUT", f"{repository}/manifests/{tag}", body.encode())
    if status != 201:
        raise LabError(f"the registry refused {repository}:{tag}: {status} {answer.decode(errors='replace')}")


def delete_tag(repository: str, tag: str) -> None:
    """The tag alone: the registry's interface would delete the manifest, and with it every other tag of it."""
    folder = REGISTRY_HOME / "data/docker/registry/v2/repositories" / repository / "_manifests/tags" / tag
    if not folder.is_dir():
        raise LabError(f"the registry has no {repository}:{tag}")
    shutil.rmtree(folder)


def move_tag(repository: str, tag: str, source: str) -> None:
    """Make a tag point to the image of another tag."""
    body = manifest(repository, source)
    if body is None:
        raise LabError(f"the registry has no {repository}:{source}")
    put_manifest(repository, tag, body)


def image_id(manifest_body: str) -> str:
    """The image id in a manifest."""
    return str(json.loads(manifest_body)["config"]["digest"])
