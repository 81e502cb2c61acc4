# What the scripts of tools/ share: where the cache is, how they speak, how they take time. Sourced from the checkout's root.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/graft
script=$(basename "$0")

say() { echo "[$script] $*"; }

# die STATUS MESSAGE
die() {
  local status=$1
  shift
  echo "[$script] $*" >&2
  exit "$status"
}

# The comment at the top of a script is its help text.
usage_of() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$1"; }

# phase NAME … phase_done: says what begins and how long it took.
phase() {
  phase_name=$1
  phase_began=$SECONDS
  say "$phase_name …"
}
phase_done() { say "$phase_name: $((SECONDS - phase_began)) s"; }

# The Python environments of the parity tests, by their PEFT: `newest` (the default) runs them, the older ones have the transformers
# of their time. Each of these holds only what differs, and finds the rest in those named after it. Other pins are another folder.
parity_versions="newest 0.17 0.10"
parity_layers() { # VERSION
  case "$1" in
    newest) echo newest ;;
    0.17) echo 0.17 newest ;;
    0.10) echo 0.10 0.17 newest ;;
  esac
}
parity_requirements() { # VERSION...
  local version
  for version in "$@"; do [ "$version" = newest ] && echo tools/requirements-parity.txt || echo "tools/requirements-parity-peft-$version.txt"; done
}
parity_venv() { # [VERSION]
  local version=${1:-newest} name=parity
  [ "$version" = newest ] || name=peft-$version
  echo "$cache/venv-$name-$(cat $(parity_requirements $(parity_layers "$version")) | sha256sum | cut -c1-12)"
}
parity_ready() {
  local version
  for version in $parity_versions; do [ -f "$(parity_venv "$version")/.complete" ] || return 1; done
}
