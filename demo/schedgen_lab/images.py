"""The images: base images from Debian packages, and one backend and one frontend image a version in the registry.

The image of a version is a common image and a tiny layer of release data, so that a version costs about a second.
What was pushed is recorded, so that a registry or an engine that a test has spoiled can be put right again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from . import packages, project, registry
from .engine import client, docker, lines
from .settings import (
    BASE_IMAGE,
    BUILD,
    DEMO,
    IMAGES_RECORD,
    LABEL,
    NODE_IMAGES,
    PROJECT,
    REGISTRY,
    SUITE,
    SUPPORT_IMAGES,
    WORKERS_RECORD,
)
from .shell import LabError, run, say
from .versions import Version, load as load_versions

RELEASED = ("backend", "frontend")
WORKER = "schedgen-pdf-worker"
CA_FILES = (os.environ.get("SSL_CERT_FILE", ""), "/etc/ssl/certs/ca-certificates.crt")
NOT_NEEDED = ("doc", "man", "locale", "info")


@dataclass(frozen=True)
class Released:
    """An image as it was pushed."""

    service: str
    version: str
    image_id: str
    manifest: str

    @property
    def repository(self) -> str:
        """Its name in the registry."""
        return f"schedgen/{self.service}"

    @property
    def reference(self) -> str:
        """What the compose file calls it."""
        return f"{REGISTRY}/{self.repository}:{self.version}"


def released_versions() -> list[Version]:
    """The versions that have images of their own."""
    return [version for version in load_versions().values() if version.images == version.name]


def ensure() -> bool:
    """Build and push what is not there; True when the versions were built anew."""
    ensure_bases([*SUPPORT_IMAGES, *NODE_IMAGES])
    if recorded() and all(registry.manifest(item.repository, item.version) for item in recorded()):
        return False
    release_all()
    return True


def ensure_bases(names: list[str]) -> None:
    """Build the base images that are not there."""
    present = set(lines("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=schedgen-demo-*"))
    images = {**SUPPORT_IMAGES, **NODE_IMAGES}
    missing = [name for name in names if images[name] not in present]
    if not missing:
        return
    if BASE_IMAGE not in present:
        say(f"Making the base image from Debian packages ({packages.mirror()}, {SUITE})")
        make_base()
    for name in missing:
        say(f"Building image {images[name]}")
        target = "node-runtime" if name == "node" else name
        build(["--target", target, "--tag", images[name], str(DEMO / "images")])


def make_base() -> None:
    """A minimal Debian as an image; the import sets no entrypoint."""
    mirror = packages.mirror()
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,curl"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in NOT_NEEDED]
    # An image that was cut short is thrown away: dpkg need not wait for the disk at every file.
    command += ["--dpkgopt=force-unsafe-io"]
    command += [f"--aptopt={option}" for option in packages.apt_options()]
    if mirror.startswith("https:"):
        # In a build, apt trusts whom this machine trusts.
        setting = 'Acquire::https::CAInfo "/run/secrets/ca";'
        command += [f"--customize-hook=echo '{setting}' > \"$1/etc/apt/apt.conf.d/90ca\""]
    command += [SUITE, "-", mirror]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as debian:
        imported = subprocess.run(
            # Every image of the demo stands on this one, and inherits the label.
            [client(), "import", "--change", f"LABEL {LABEL}", "-", BASE_IMAGE],
            stdin=debian.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if debian.returncode != 0 or imported.returncode != 0:
        docker("rmi", "-f", BASE_IMAGE, check=False)
        raise LabError(f"mmdebstrap or docker import failed: {imported.stderr.strip()}")


def ca_secret() -> str | None:
    """The certificates that this machine trusts, for builds behind a proxy that signs TLS anew."""
    found = next((path for path in CA_FILES if path and Path(path).is_file()), None)
    return f"id=ca,src={found}" if found else None


def build(words: list[str]) -> None:
    """Build an image, with this machine's network and certificates."""
    secret = ca_secret()
    docker(
        *["buildx", "--builder", "default", "build", "--quiet", "--network", "host"],
        *(["--secret", secret] if secret else []),
        *words,
    )


def release_all() -> None:
    """Build, push and record the images of every version, in one go."""
    versions = released_versions()
    say(f"Building backend and frontend of {len(versions)} versions")
    BUILD.mkdir(parents=True, exist_ok=True)
    bake = BUILD / "bake.json"
    bake.write_text(json.dumps(bake_file(versions), indent=2))
    docker("buildx", "--builder", "default", "bake", "--progress", "quiet", "--file", str(bake), "versions")
    say(f"Pushing them to {REGISTRY}")
    wanted = [(service, version.name) for version in versions for service in RELEASED]
    # The first push of a service carries the common layers: the others then find them there.
    first = [released(service, versions[0].name) for service in RELEASED]
    with ThreadPoolExecutor(4) as pool:
        rest = list(pool.map(lambda item: released(*item), wanted[len(RELEASED) :]))
    IMAGES_RECORD.write_text(
        json.dumps({"key": content_key(), "images": [asdict(item) for item in first + rest]}, indent=1)
    )


def released(service: str, version: str) -> Released:
    """Push an image."""
    docker("push", "--quiet", f"{REGISTRY}/schedgen/{service}:{version}")
    body = registry.manifest(f"schedgen/{service}", version)
    if body is None:
        raise LabError(f"schedgen/{service}:{version} was pushed, and the registry does not have it")
    return Released(service, version, registry.image_id(body), body)


def bake_file(versions: list[Version]) -> dict[str, object]:
    """What `docker buildx bake` builds: the common images, and on them each version."""
    secret = ca_secret()
    common = {"network": "host", "secret": [secret] if secret else [], "output": ["type=docker"]}
    targets: dict[str, object] = {
        name: {**common, "context": str(DEMO / service), "target": target, "tags": [f"schedgen-demo-{name}:{SUITE}"]}
        for name, service, target in (
            ("backend-build", "backend", "build"),
            ("backend-runtime", "backend", "runtime"),
            ("frontend-runtime", "frontend", "runtime"),
        )
    }
    names = []
    for version in versions:
        context = BUILD / version.name
        context.mkdir(exist_ok=True)
        (context / "release.json").write_text(json.dumps(version.release) + "\n")
        migrations = " ".join(f"/migrations/{name}.js" for name in version.migrations)
        dockerfiles = {
            "backend": f"FROM runtime\nCOPY --from=build {migrations} dist/migrations/\nCOPY release.json ./\n",
            "frontend": "FROM runtime\nCOPY release.json /srv/\n",
        }
        for service, dockerfile in dockerfiles.items():
            name = f"{service}-{version.name}".replace(".", "_")
            names.append(name)
            contexts = {"runtime": f"target:{service}-runtime"}
            if service == "backend":
                contexts["build"] = "target:backend-build"
            targets[name] = {
                "context": str(context),
                "contexts": contexts,
                "dockerfile-inline": dockerfile,
                "labels": {"org.opencontainers.image.version": version.name},
                "tags": [f"{REGISTRY}/schedgen/{service}:{version.name}"],
                "output": ["type=docker"],
            }
    return {"group": {"versions": {"targets": names}}, "target": targets}


def content_key() -> str:
    """Changes with whatever the images are made of."""
    digest = hashlib.sha256()
    for folder in ("images", "backend", "frontend"):
        for path in sorted((DEMO / folder).rglob("*")):
            if path.is_file() and not {"node_modules", "dist"} & set(path.parts):
                digest.update(str(path.relative_to(DEMO)).encode() + b"\0" + path.read_bytes())
    digest.update((DEMO / "versions.json").read_bytes())
    return digest.hexdigest()


def recorded() -> list[Released]:
    """The images of the versions as they were pushed; none when they were made of something else."""
    if not IMAGES_RECORD.exists():
        return []
    record = json.loads(IMAGES_RECORD.read_text())
    return [Released(**item) for item in record["images"]] if record["key"] == content_key() else []


def restore(version: Version, named: dict[str, str]) -> None:
    """Put registry and local images right: tags point where they pointed, those of this version are here.

    ``named`` are the names that the collection's own records need, and what each means: others of its names go.
    """
    ensure_bases(list(SUPPORT_IMAGES))
    for item in recorded():
        if registry.manifest(item.repository, item.version) != item.manifest:
            registry.put_manifest(item.repository, item.version, item.manifest)
    form = "{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}"
    rows = [row.split() for row in lines("images", "--all", "--digests", "--no-trunc", "--format", form)]
    tagged = {reference: (image, digest) for reference, image, digest in rows}
    for item in recorded():
        image, digest = tagged.get(item.reference, ("", ""))
        right = image == item.image_id
        if item.version == version.images:
            if not right or digest == "<none>":
                docker("pull", "--quiet", item.reference)
        elif not right and any(item.image_id == row[1] for row in rows):
            docker("tag", item.image_id, item.reference)
        elif image and not right:
            docker("rmi", "--force", item.reference)
    # The worker's image is in no registry: one that is not what was built from this version's files is built anew.
    workers = {reference: image for reference, (image, _digest) in tagged.items() if reference.startswith(f"{WORKER}:")}
    built = workers_built()
    wrong = [
        reference
        for reference, image in workers.items()
        if built.get(reference) != {"files": worker_files(reference.rpartition(":")[2]), "image": image}
    ]
    wrong += [
        reference
        for reference, (image, _digest) in tagged.items()
        if reference.startswith("schedgen-rollback") and named.get(reference) != image
    ]
    if wrong:
        docker("rmi", "--force", *wrong)


def workers_built() -> dict[str, dict[str, str]]:
    """By name of a worker's image: the image that was built from a version's files, and which files these were."""
    found: dict[str, dict[str, str]] = json.loads(WORKERS_RECORD.read_text()) if WORKERS_RECORD.exists() else {}
    return found


def worker_files(version: str) -> str:
    """Identify the files that a version's worker is built from; empty where there is no such version."""
    return run(
        [*project.GIT, "-C", PROJECT, "rev-parse", "--verify", f"{version}:pdf-worker"], check=False
    ).stdout.strip()


def record_worker(version: Version) -> None:
    """Remember the worker's image of a version that was just started from its own files."""
    reference = f"{WORKER}:{version.images}"
    image = docker("image", "inspect", "--format", "{{.Id}}", reference).stdout.strip()
    known = {"files": worker_files(version.images), "image": image}
    built = workers_built()
    if built.get(reference) != known:
        WORKERS_RECORD.write_text(json.dumps({**built, reference: known}, indent=1))


def remove_all() -> None:
    """Remove every image that bears a name of the demo's, or stands on its base image."""
    mine = ("schedgen-demo-", f"{WORKER}:", f"{REGISTRY}/schedgen/", "schedgen-rollback")
    listed = {*lines("images", "--format", "{{.Repository}}:{{.Tag}}")}
    listed |= {
        reference.replace(":<none>@", "@")
        for reference in lines("images", "--digests", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}")
        if ":<none>@sha256" in reference
    }
    found = sorted(reference for reference in listed if reference.startswith(mine) and ":<none>" not in reference)
    if found:
        docker("rmi", "--force", *found)
    nameless = lines("images", "--quiet", "--filter", f"label={LABEL}")
    if nameless:
        docker("rmi", "--force", *nameless)
