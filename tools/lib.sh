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

# The Python environment of the parity tests; another set of pins is another folder.
parity_venv() { echo "$cache/venv-parity-$(sha256sum tools/requirements-parity.txt | cut -c1-12)"; }
