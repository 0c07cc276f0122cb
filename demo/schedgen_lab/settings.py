"""Where everything is, and what it is called."""

from __future__ import annotations

import os
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("SCHEDGEN_DEMO_DIR") or "/opt/schedgen-demo")
# Only a folder with this file is ever removed.
MARKER = HOME / ".schedgen-demo"

PROJECT = HOME / "project"
STATE = HOME / "state"
BUILD = HOME / "build"
IMAGES_RECORD = HOME / "images.json"
WORKERS_RECORD = HOME / "workers.json"
SECRETS = HOME / "secrets.env"

ENGINE_ROOT = HOME / "engine"
ENGINE_RUN = Path("/run/schedgen-demo")
ENGINE_PID = HOME / "engine.pid"
ENGINE_LOG = HOME / "engine.log"

REGISTRY = "127.0.0.1:5000"
REGISTRY_HOME = HOME / "registry"
REGISTRY_PID = HOME / "registry.pid"
REGISTRY_LOG = HOME / "registry.log"

LOAD_PID = HOME / "load.pid"
LOAD_LOG = HOME / "load.log"
LOAD_LEDGER = HOME / "load.ledger"

FRONT_DOOR = "http://127.0.0.1:8080"
PROJECT_NAME = "schedgen"
DATABASE_CONTAINER = "schedgen-postgres"
VOLUMES = {"postgres_data": "schedgen_postgres_data", "minio_data": "schedgen_minio_data"}

LABEL = "schedgen.demo=true"
SUITE = "trixie"
BASE_IMAGE = f"schedgen-demo-base:{SUITE}"
# Images of the application that are no release: name of the image, target in images/Dockerfile.
SUPPORT_IMAGES = {name: f"schedgen-demo-{name}:{SUITE}" for name in ("postgres", "redis", "nginx", "python")}
NODE_IMAGES = {name: f"schedgen-demo-{name}:{SUITE}" for name in ("node", "node-build")}

DEFAULT_ROWS = 10_000
