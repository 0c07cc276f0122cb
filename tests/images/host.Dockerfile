# A host of the fleet: sshd, Docker's client with Compose, the libraries of the modules, and an engine of its own where
# that is wanted.
FROM schedgen-demo-python:trixie
RUN --mount=type=cache,target=/var/lib/apt/lists,sharing=locked --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update -q && apt-get install -y -q --no-install-recommends \
        openssh-server docker.io docker-cli docker-compose iptables procps zstd git \
        python3-docker python3-psycopg2 python3-requests \
 && rm -f /etc/ssh/ssh_host_* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && mkdir -p /run/sshd
COPY --chmod=755 host-entrypoint.sh /usr/local/bin/host-entrypoint
ENTRYPOINT ["host-entrypoint"]
