#!/usr/bin/env bash
# Make keys and passwords for a new deployment, in deploy/secrets/, which git does not take.
#
#   deploy/secrets.sh [HOST:PORT]    of Redis as the others reach it; compose.yaml's is redis:6379
#
# worker.env, gateway.env, flower.env and operator.env are the environment of each role, with a user
# of its own in Redis; users.acl is what Redis reads, passwords as SHA-256. What is there stays:
# keys are rotated, not made anew (SECURITY.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077

readonly FOLDER=${SECRETS_FOLDER:-$PWD/secrets}
redis=${1:-redis:6379}

if [[ ! $redis =~ ^[A-Za-z0-9._-]+:[0-9]+$ ]]; then
    printf 'usage: deploy/secrets.sh [HOST:PORT]\n' >&2
    exit 2
fi
if [[ -e $FOLDER ]]; then
    printf 'secrets: %s is there and stays as it is\n' "$FOLDER" >&2
    exit 0
fi
command -v openssl >/dev/null 2>&1 || {
    printf 'secrets: openssl is missing: install it\n' >&2
    exit 1
}

password() { openssl rand -hex 24; }

CHECKPOINT_ACL_WORKER=$(password)
CHECKPOINT_ACL_BACKEND=$(password)
CHECKPOINT_ACL_OPERATOR=$(password)
CHECKPOINT_ACL_FLOWER=$(password)
export CHECKPOINT_ACL_WORKER CHECKPOINT_ACL_BACKEND CHECKPOINT_ACL_OPERATOR CHECKPOINT_ACL_FLOWER
secret_key=$(openssl rand -base64 32)

# Made beside and moved into place: half of it would be worse than nothing.
fresh=$(mktemp -d "$FOLDER.XXXXXX")
trap 'rm -rf "$fresh"' EXIT

url() { printf 'CHECKPOINT_REDIS_URL=redis://checkpoint-%s:%s@%s/0\n' "$1" "$2" "$redis"; }

{
    url worker "$CHECKPOINT_ACL_WORKER"
    printf 'CHECKPOINT_SECRET_KEYS=%s\n' "$secret_key"
} >"$fresh/worker.env"
{
    url backend "$CHECKPOINT_ACL_BACKEND"
    printf 'CHECKPOINT_SECRET_KEYS=%s\n' "$secret_key"
    printf 'CHECKPOINT_API_KEYS=%s\n' "$(openssl rand -hex 32)"
} >"$fresh/gateway.env"
{
    url flower "$CHECKPOINT_ACL_FLOWER"
    printf 'FLOWER_BASIC_AUTH=operator:%s\n' "$(password)"
} >"$fresh/flower.env"
url operator "$CHECKPOINT_ACL_OPERATOR" >"$fresh/operator.env"

# Containers of other users read these two; the folder keeps the machine's own users out.
sh redis/acl.sh >"$fresh/users.acl"
password >"$fresh/grafana_password"
chmod 0644 "$fresh/users.acl" "$fresh/grafana_password"

mv "$fresh" "$FOLDER"
printf 'secrets: made %s; keep a copy where secrets are kept\n' "$FOLDER" >&2
