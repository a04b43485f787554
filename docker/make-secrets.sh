#!/bin/sh
# Make the secrets that compose.yml hands to the containers, once; existing ones are kept.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }
keep() {
  [ -e "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"
  # Readable inside, by another user; the folder keeps others out here.
  chmod 0444 "secrets/$1"
}
keep master_key "$(random)"
keep django_secret_key "$(random)"
keep postgres_password "$(random | tr -d '=')"
keep database_url "postgresql://mobius:$(cat secrets/postgres_password)@postgres:5432/mobius"
echo "docker/secrets is ready. Keep a copy of master_key elsewhere: without it no stored key opens."
