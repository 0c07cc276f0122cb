#!/bin/sh
# Starts PostgreSQL as the well-known images do: POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD make the first cluster.
set -eu

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres: "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user="${POSTGRES_USER:-postgres}"
    : "${POSTGRES_PASSWORD:?must be set to make a new database cluster}"
    printf '%s\n' "$POSTGRES_PASSWORD" | initdb --pgdata "$PGDATA" --username "$user" --pwfile /dev/stdin \
        --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    # Nobody reaches the server over the network before the database is there.
    pg_ctl --pgdata "$PGDATA" --options "-c listen_addresses=''" --wait --silent start
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        createdb --username "$user" --no-password --maintenance-db postgres "${POSTGRES_DB:-$user}"
    fi
    pg_ctl --pgdata "$PGDATA" --mode fast --wait --silent stop
fi

exec "$@"
