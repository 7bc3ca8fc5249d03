# shellcheck shell=bash
# Hosts for the tests of faults: Docker's engine, and an image of a plain Debian (or Ubuntu) as this
# machine is, made by debootstrap because there may be no registry to ask. Sourced by build/test.
: "${root:?}"

hosts_packages=python3,libcurl4,iproute2,iptables,faketime,systemd-sysv,dbus,openssh-server
docker_pid=$root/dist/dockerd.pid

# Docker's engine answers, or says why not. One that is started here is stopped by `stop_docker`.
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
    exec setsid dockerd
  ) >"$root/dist/dockerd.log" 2>&1 </dev/null &
  local pid=$! tries
  for ((tries = 0; tries < 120; tries++)); do
    if docker info >/dev/null 2>&1; then
      printf '%s\n' "$pid" >"$docker_pid"
      return
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 5 "$root/dist/dockerd.log" >&2
  die "Docker's engine cannot be started on this machine, see dist/dockerd.log; the tests of hosts need it"
}

stop_docker() {
  [[ -f $docker_pid ]] || return 0
  local pid
  pid=$(<"$docker_pid")
  if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then kill "$pid"; fi
  rm -f -- "$docker_pid"
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
