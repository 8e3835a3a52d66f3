#!/usr/bin/env bash
# Everything CI asks for, cheapest first; stops at the first thing that is not right.
# Nothing here needs the network once the environment is made. What checks `deploy/` and is no
# Python package is asked where it is installed: promtool, systemd-analyze.
# `--no-tests` leaves the tests, and with them the branches, to `make test`.
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

# As `step`, where the program is installed.
step_with() {
    if command -v "$1" >/dev/null 2>&1; then
        step "$@"
    else
        printf '== %s is not installed: skipped\n' "$1"
    fi
}

# systemd-analyze wants the programs a unit starts: those of this environment stand in for them.
units() {
    local copies status=0
    copies=$(mktemp -d)
    local unit
    for unit in deploy/systemd/*.service; do
        sed "s#/opt/checkpoint/\.venv#$PWD/.venv#" "$unit" >"$copies/${unit##*/}"
    done
    systemd-analyze verify --man=no "$copies"/*.service || status=1
    for unit in "$copies"/*.service; do
        # 20 of 100: exposed to what they must reach, and to little else.
        systemd-analyze security --no-pager --offline=true --threshold=20 "$unit" >"$copies/report" || {
            status=1
            tail -n 1 "$copies/report" >&2
        }
    done
    rm -r "$copies"
    return "$status"
}

# kustomization.yaml is no object of a cluster; a test compares what it lists with what is there.
manifests=()
for manifest in deploy/k8s/*.yaml; do
    [[ ${manifest##*/} == kustomization.yaml ]] || manifests+=("$manifest")
done

step .venv/bin/ruff format --check .
step .venv/bin/ruff check .
# A wheel where there is one (pyproject.toml), else what is installed.
PATH=$PATH:$PWD/.venv/bin step_with shellcheck .ci/run deploy/*.sh deploy/redis/*.sh
step .venv/bin/hadolint deploy/Dockerfile
step .venv/bin/python -m json.tool deploy/grafana/dashboards/checkpoint.json /dev/null
step .venv/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
step .venv/bin/kubernetes-validate --quiet --strict "${manifests[@]}"
step_with promtool check config deploy/prometheus/prometheus.yml
step_with promtool test rules deploy/prometheus/rules_test.yml
if command -v systemd-analyze >/dev/null 2>&1; then
    step units
else
    printf '== systemd-analyze is not installed: skipped\n'
fi
step .venv/bin/mypy
step .venv/bin/lint-imports --no-logo
if [[ $tests == yes ]]; then
    step make --no-print-directory test
fi
