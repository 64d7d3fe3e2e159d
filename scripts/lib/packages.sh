# shellcheck shell=bash
# Debian packages, for the scripts of this folder's parent. Sourced; needs bash.

has_apt() { command -v apt-get >/dev/null && command -v dpkg >/dev/null; }

# Run a command as root: as we are, else through sudo. Ends with 1 where there is neither.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# Install Debian packages without starting a service of theirs. Quiet; on failure apt's own words are shown.
install_packages() {
    local log status=0
    log=$(mktemp)
    as_root bash -s -- "$@" >"$log" 2>&1 <<'ROOT' || status=$?
set -eu
rule=/usr/sbin/policy-rc.d # 101: no service is started by an installation. A rule that is there already is kept.
if ! [ -e "$rule" ] && ! [ -L "$rule" ]; then
    trap 'rm -f "$rule"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$rule"
    chmod 755 "$rule"
fi
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null
apt-get -qq install -y --no-install-recommends "$@" </dev/null
ROOT
    [ "$status" = 0 ] || tail -n 15 "$log" >&2
    rm -f "$log"
    return "$status"
}
