# shellcheck shell=bash
# The servers and tools that tests, demo and benches use. Sourced from the repository's root, after scripts/setup.
#
#   ensure_servers [--install] rabbitmq postgresql curl git groovy buildah debootstrap     any of these
#
# Returns 0 when each is there: named by its variable, or installed. What is missing is installed with --install, with CI=true
# or after a yes on a terminal; else one line says what is missing, and it returns 1. No service is started, and none is used:
# the programs run private servers of their own on loopback ports (tests/support/servers.py) and end them.

. scripts/lib/packages.sh

ensure_servers() {
    local name may_install=${CI:-} names=() missing=()
    [ "${1:-}" != --install ] || { may_install=true; shift; }
    for name in "$@"; do
        _is_there "$name" || { names+=("$name"); missing+=("$(_package_of "$name")"); }
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! has_apt; then
        _say "missing: ${names[*]}$(_variables_of "${names[@]}")"
        return 1
    fi
    if [ "$may_install" != true ] && ! _agrees "${missing[@]}"; then
        _say "missing: ${names[*]}; --install installs ${missing[*]}$(_variables_of "${names[@]}")"
        return 1
    fi
    _say "installing ${missing[*]}; no service is started"
    install_packages "${missing[@]}" || { _say "missing: ${names[*]}; ${missing[*]} could not be installed"; return 1; }
    for name in "${names[@]}"; do
        _is_there "$name" || { _say "missing: $name, although $(_package_of "$name") is installed"; return 1; }
    done
}

_say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# One place knows where the servers' programs stand: the Python that starts them.
_is_there() {
    case $1 in
    rabbitmq) [ -n "${BRIDGE_TEST_AMQP_URL:-}" ] || _finds rabbitmq ;;
    postgresql) [ -n "${BRIDGE_TEST_POSTGRES_URL:-}" ] || _finds postgres ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

_finds() { .venv/bin/python -c "import sys; from tests.support.$1_node import find_$1; sys.exit(not find_$1())"; }

_package_of() {
    case $1 in
    rabbitmq) echo rabbitmq-server ;;
    *) echo "$1" ;;
    esac
}

_variables_of() {
    case " $* " in
    *" rabbitmq "* | *" postgresql "*) echo "; or name servers in BRIDGE_TEST_AMQP_URL and BRIDGE_TEST_POSTGRES_URL" ;;
    esac
}

_agrees() {
    local answer
    [ -t 0 ] && [ -t 2 ] || return 1
    printf '%s: install %s with apt-get, without starting a service? [y/N] ' "$(basename "$0")" "$*" >&2
    read -r answer && [[ $answer == [yY]* ]]
}
