#!/usr/bin/env bash
# Makes the secrets of a new installation, each in a file of its own, for compose.yaml:
#
#   bash deploy/make-secrets.sh [FOLDER]        default: deploy/secrets
#
# What is there already is kept: a second run repairs nothing and changes nothing.
set -euo pipefail

folder=${1:-"$(dirname "${BASH_SOURCE[0]}")/secrets"}

# keep NAME COMMAND…: writes there what the command prints, unless the file exists.
#
# The folder is its owner's alone; the files are not, because a container reads its copy under a
# user id that means nothing on this machine.
keep() {
    if [ -e "$folder/$1" ]; then return; fi
    "${@:2}" | install -m 0444 /dev/stdin "$folder/$1"
}

# The prefix lets secret scanners recognise a key that leaked.
root_key() { printf 'gk_root_%s\n' "$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')"; }

# Hexadecimal needs no escaping in a URL. Without a line end: an image might take it as part of it.
password() { openssl rand -hex 24 | tr -d '\n'; }

install -d -m 0700 "$folder"

keep master_key openssl rand -base64 32
keep admin_key root_key
keep postgres_password password
keep redis_password password
keep database_url printf 'postgres://guichet:%s@postgres/guichet\n' "$(<"$folder/postgres_password")"
keep redis_url printf 'redis://:%s@redis/\n' "$(<"$folder/redis_password")"
keep redis_conf printf 'requirepass %s\n' "$(<"$folder/redis_password")"

printf 'secrets are in %s; keep a copy of master_key somewhere else\n' "$folder"
