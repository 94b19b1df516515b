#!/usr/bin/env bash
# Installs the programs that tests run against Mainstay: load balancers, Prometheus, a browser.
# Needs root and apt-get; without them it says what is missing, and tests that need it are skipped
# (with MAINSTAY_REQUIRE_POLLERS=1 they fail). Envoy comes with the development requirements.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/usr/local/sbin"

# program:package
readonly WANTED=(haproxy:haproxy nginx:nginx-light prometheus:prometheus chromium:chromium)

missing() {
  for each in "${WANTED[@]}"; do
    command -v "${each%%:*}" >/dev/null || printf '%s\n' "${each##*:}"
  done
}

mapfile -t packages < <(missing)
if ((${#packages[@]} == 0)); then
  exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "missing, and this is not root with apt-get: ${packages[*]}" >&2
  exit 1
fi

# Debian starts what it installs; nothing here may take a port that somebody else wants.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
# Something else may be installing, and a mirror may stumble.
readonly PATIENT=(-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
apt-get update -qq "${PATIENT[@]}"
DEBIAN_FRONTEND=noninteractive apt-get install "${PATIENT[@]}" -y -qq --no-install-recommends "${packages[@]}" >/dev/null

mapfile -t packages < <(missing)
if ((${#packages[@]} > 0)); then
  echo "apt-get installed no ${packages[*]}" >&2
  exit 1
fi
