#!/usr/bin/env bash
# Everything CI asks for, cheapest first; stops at the first thing that is not right.
# `--no-tests` leaves the tests to `make test`; those that measure coverage run all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=yes
case ${1:-} in
'') ;;
--no-tests) tests=no ;;
*)
    printf 'usage: deploy/check.sh [--no-tests]\n' >&2
    exit 2
    ;;
esac

make --no-print-directory .venv/.installed

step() {
    printf '== %s\n' "$*"
    "$@" || {
        printf 'check: failed at: %s\n' "$*" >&2
        exit 1
    }
}

scripts=(.ci/run deploy/*.sh)

step .venv/bin/ruff format --check .
step .venv/bin/ruff check .
step .venv/bin/mypy --strict worker tasks providers
step .venv/bin/lint-imports --no-logo
if command -v shellcheck >/dev/null 2>&1; then
    step shellcheck "${scripts[@]}"
else
    printf '== shellcheck is not installed: syntax only\n'
    for script in "${scripts[@]}"; do
        step bash -n "$script"
    done
fi
step make --no-print-directory coverage
if [[ $tests == yes ]]; then
    step make --no-print-directory test
fi
