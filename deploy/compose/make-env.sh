#!/bin/sh
# Writes the passwords and keys that docker-compose.yml asks for into .env, or into the file that is
# named, readable by its owner alone. What is there is kept; what is missing is added.
set -eu
cd "$(dirname "$0")/../.."
file=${1:-.env}

umask 077
touch "$file"
for name in MAINSTAY_SERVICE_KEY POSTGRES_PASSWORD POSTGRES_OWNER_PASSWORD POSTGRES_APP_PASSWORD \
  REDIS_PASSWORD GRAFANA_PASSWORD; do
  if ! grep -q "^$name=" "$file"; then
    # 192 bits in letters and digits: nothing that a URL or a shell would read otherwise.
    echo "$name=$(od -An -vtx1 -N24 /dev/urandom | tr -d ' \n')" >> "$file"
    echo "$name written to $file"
  fi
done
