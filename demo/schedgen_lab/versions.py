"""The versions of the application, as data: versions.json says in what each differs from its base."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .settings import DEMO
from .shell import LabError

CODE_SERVICES = ("backend", "frontend", "pdf-worker")


@dataclass(frozen=True)
class Version:
    """A version, with what it has from its base."""

    name: str
    summary: str
    base: str | None
    images: str
    """The tag of its images: the version's own name, unless only configuration differs."""
    migrations: tuple[str, ...]
    features: tuple[str, ...]
    faults: tuple[str, ...]
    services_added: tuple[str, ...]
    services_removed: tuple[str, ...]
    env: dict[str, str]
    """What a person would have put into .env for it."""
    expect: str
    """What its backend looks like once deployed: healthy, unhealthy or restarting."""

    @property
    def good(self) -> bool:
        """Whether it works as it should."""
        return self.summary.startswith("good")

    @property
    def release(self) -> dict[str, object]:
        """The release data in its images."""
        return {"version": self.name, "features": list(self.features), "faults": list(self.faults)}


def load() -> dict[str, Version]:
    """Every version, a base before those that stand on it."""
    versions: dict[str, Version] = {}
    for name, data in json.loads((DEMO / "versions.json").read_text()).items():
        base = versions[data["base"]] if "base" in data else None
        versions[name] = Version(
            name=name,
            summary=data["summary"],
            base=base.name if base else None,
            images=data.get("images", name),
            migrations=(base.migrations if base else ()) + tuple(data.get("migrations", ())),
            features=(base.features if base else ()) + tuple(data.get("features", ())),
            faults=tuple(data.get("faults", ())),
            services_added=tuple(data.get("services_added", ())),
            services_removed=tuple(data.get("services_removed", ())),
            env=dict(data.get("env", {})),
            expect=data.get("expect", "healthy"),
        )
    return versions


def find(name: str) -> Version:
    """A version by its name."""
    versions = load()
    if name not in versions:
        raise LabError(f"there is no version {name}; there are {', '.join(versions)}")
    return versions[name]


def compose_file(version: Version) -> str:
    """The compose file of a version: its tag as the default, services added and removed."""
    text = (DEMO / "project/compose.yaml").read_text()
    for service in version.services_removed:
        text, removed = re.subn(rf"(?ms)^  {re.escape(service)}:\n.*?^(?=  \S|\S)", "", text)
        if removed != 1:
            raise LabError(f"{version.name}: compose.yaml has no service {service} to remove")
    for service in version.services_added:
        block = (DEMO / f"project/extra/{service}.yaml").read_text()
        text = text.replace("\nvolumes:\n", f"\n{block}\nvolumes:\n")
    return text.replace("${TAG:-v1}", f"${{TAG:-{version.images}}}")
