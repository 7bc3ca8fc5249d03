# shellcheck shell=bash
# Hosts for the tests of faults: Docker's engine, and an image of a plain Debian (or Ubuntu) as this
# machine is, made by debootstrap because there may be no registry to ask. Sourced by build/test.
: "${root:?}"

hosts_packages=python3,libcurl4,iproute2,iptables,faketime,systemd-sysv,dbus,openssh-server
# On every container and network of the tests.
hosts_label=khala.tests

# Docker's engine answers, or says why not. One that is started here is stopped by `stop_docker`;
# the caller names a file for its number in `docker_pid`.
start_docker() {
  docker info >/dev/null 2>&1 && return
  ((EUID == 0)) || die "the tests of hosts need Docker's engine, and it does not answer: start it, or run this as root"
  command -v dockerd >/dev/null || die "Docker's engine does not answer, and there is no dockerd to start: apt-get install docker.io"
  say "starting Docker's engine"
  (
    # What a caller holds open is not the engine's to keep: a lock would outlive whoever took it.
    for fd in "/proc/$BASHPID/fd/"*; do
      ((${fd##*/} > 2)) && eval "exec ${fd##*/}>&-"
    done
    # Every network of the tests is one of their own.
    exec setsid dockerd --bridge=none
  ) >"$root/dist/dockerd.log" 2>&1 </dev/null &
  local pid=$! tries
  printf '%s\n' "$pid" >"${docker_pid:?}"
  for ((tries = 0; tries < 120; tries++)); do
    if docker info >/dev/null 2>&1; then
      sweep_hosts
      return
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 5 "$root/dist/dockerd.log" >&2
  die "Docker's engine cannot be started on this machine, see dist/dockerd.log; the tests of hosts need it"
}

# Takes away what a killed run has left.
sweep_hosts() {
  local left
  left=$(docker ps --all --quiet --filter "label=$hosts_label")
  # shellcheck disable=SC2086
  if [[ -n $left ]]; then docker rm --force --volumes $left >/dev/null; fi
  docker network prune --force --filter "label=$hosts_label" >/dev/null
}

# The engine that this run has started, if it has; whoever started another needs it.
stop_docker() {
  [[ -f ${docker_pid:?} ]] || return 0
  local pid tries
  pid=$(<"$docker_pid")
  rm -f -- "$docker_pid"
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] || return 0
  sweep_hosts || true
  kill "$pid" || true
  for ((tries = 0; tries < 120; tries++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.5
  done
  printf 'dockerd %d does not stop\n' "$pid" >&2
}

# Prints the tag of the image that belongs to this machine and these packages.
hosts_image() {
  # shellcheck source=/dev/null
  printf 'khala-host:%s-%s\n' "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" \
    "$(printf '%s' "$hosts_packages" | digest | head -c 12)"
}

make_hosts() {
  local image suite mirror rootfs
  start_docker
  image=$(hosts_image)
  docker image inspect "$image" >/dev/null 2>&1 && return
  suite=${image#*:} suite=${suite%-*}
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    grep -m 1 "^$suite " | cut -d ' ' -f 2)
  [[ -n $mirror ]] || die "no package source of $suite is known to apt"
  rootfs=$(mktemp -d /var/tmp/khala-hosts.XXXXXX)
  say "making the image of a host: $suite from $mirror (some minutes, once)"
  debootstrap --variant=minbase --include="$hosts_packages" --components=main,universe \
    "$suite" "$rootfs" "$mirror" >"$root/dist/hosts.log" 2>&1 || {
    tail -n 5 "$root/dist/hosts.log" >&2
    rm -rf -- "$rootfs"
    die "debootstrap failed, see dist/hosts.log"
  }
  tar -C "$rootfs" -c --exclude='./var/cache/apt/*' --exclude='./usr/share/doc/*' . |
    docker import - "$image" >/dev/null
  rm -rf -- "$rootfs"
}
