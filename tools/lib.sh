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
# of their time, `bench` the other peers of tools/bench, `client` what client/python needs, and `page` what drives a browser. Each of these
# holds only what differs, and finds the rest in those named after it. Other pins are another folder.
parity_versions="newest 0.17 0.10 client page"
parity_layers() { # VERSION
  case "$1" in
    newest) echo newest ;;
    bench) echo bench newest ;;
    client) echo client newest ;;
    page) echo page newest ;;
    0.17) echo 0.17 newest ;;
    0.10) echo 0.10 0.17 newest ;;
  esac
}
parity_requirements() { # VERSION...
  local version
  for version in "$@"; do
    case "$version" in
      newest) echo tools/requirements-parity.txt ;;
      bench | client | page) echo "tools/requirements-$version.txt" ;;
      *) echo "tools/requirements-parity-peft-$version.txt" ;;
    esac
  done
}
parity_venv() { # [VERSION]
  local version=${1:-newest} name
  case "$version" in
    newest) name=parity ;;
    bench) name=bench ;;
    client) name=client ;;
    page) name=page ;;
    *) name=peft-$version ;;
  esac
  echo "$cache/venv-$name-$(cat $(parity_requirements $(parity_layers "$version")) | sha256sum | cut -c1-12)"
}
parity_ready() { # VERSION..., default: those of the parity tests
  local version
  for version in ${*:-$parity_versions}; do [ -f "$(parity_venv "$version")/.complete" ] || return 1; done
}

# Programs built for CUDA: those of tools/gpu_check --pack, which a machine with a GPU is given, else those built here.
packed=build/gpu
need_gpu() { nvidia-smi -L >/dev/null 2>&1 || die 2 "no GPU here: not run (nvidia-smi finds none; --device cpu tries the script without one)"; }

# find_packed PROGRAM: sets `programs` (the folder of it), `python`, `libraries` and `version` (of LibTorch: the one that tools/setup
# --torch cuda unpacked, where it is there, else that of the Python on PATH).
find_packed() {
  local libtorch=$cache/libtorch-2.11.0-cuda found
  programs=$PWD/$packed
  [ -x "$programs/$1" ] || programs=$PWD/build/cuda/bin
  [ -x "$programs/$1" ] || die 2 "not run: neither $packed/$1 nor build/cuda/bin/$1 is there; $script --pack builds them"
  python=$(parity_venv)/bin/python
  [ -x "$python" ] || python=$(command -v python3) || die 2 "not run: no python3"
  if [ -d "$libtorch/torch/lib" ]; then
    libraries=$libtorch/torch/lib
    version="2.11.0 of tools/setup"
  else
    found=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__) + "/lib"); print(torch.__version__)' 2>/dev/null) ||
      die 2 "not run: $libtorch is not there (tools/setup --torch cuda), and $python has no torch"
    libraries=${found%%$'\n'*}
    version=${found##*$'\n'}
    case "$version" in 2.11.*) ;; *) die 2 "not run: $python has torch $version; the programs are built for 2.11" ;; esac
  fi
  say "LibTorch $version, in $libraries"
  [ ! -d "$packed/lib" ] || libraries=$libraries:$PWD/$packed/lib
}
