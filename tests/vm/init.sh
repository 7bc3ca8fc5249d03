#!/bin/sh
# Process 1 of the test machine; `machine.py` names in the environment:
#   repository   Khala's checkout           share   the one folder of the host that is writable here
#   python_home  where Python is installed  place   root, service or delegated
# It lays private folders over those that tests write to, makes the cgroups that `place` stands for,
# runs pytest in them as that user, and switches the machine off however that ends.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

off() {
  echo o >/proc/sysrq-trigger
  # The end of process 1 would be a kernel panic.
  sleep 60
}
trap off EXIT
set -eu

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null || true # the kernel may have done so
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp /var/tmp /opt; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
mount -t tmpfs -o mode=755 tmpfs /run
# As systemd mounts it.
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
ip link set lo up
hostname machine

# Users without privileges must reach Python and the checkout, even if the host keeps them below
# a closed /root.
case $python_home in
  /usr | /usr/*) ;;
  *)
    top=${python_home#/}
    mount -t tmpfs -o mode=755 tmpfs "/${top%%/*}"
    mkdir -p "$python_home"
    mount -t hostfs -o "$python_home" -r hostfs "$python_home"
    ;;
esac
mkdir -p /run/repository /run/share
mount -t hostfs -o "$repository" -r hostfs /run/repository
mount -t hostfs -o "$share" hostfs /run/share

group=/sys/fs/cgroup
user=0
case $place in
  root) ;;
  service | delegated)
    # What systemd does for a service with Delegate=yes, and with User= for `delegated`.
    for name in system.slice khala.service; do
      echo '+cpu +memory +pids' >"$group/cgroup.subtree_control"
      group=$group/$name
      mkdir "$group"
    done
    /run/repository/.venv/bin/python -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.delegate", b"1")' "$group"
    if [ "$place" = delegated ]; then
      user=1000
      chown "$user:$user" "$group"
      for file in $(cat /sys/kernel/cgroup/delegate); do
        # The kernel's list has the files of controllers that are not enabled here, too.
        if [ -e "$group/$file" ]; then chown "$user:$user" "$group/$file"; fi
      done
    fi
    ;;
  *)
    echo "there is no place $place"
    exit 1
    ;;
esac

mkdir -m 700 /run/home
chown "$user:$user" /run/home
export HOME=/run/home PYTHONDONTWRITEBYTECODE=1 KHALA_SANDBOX_MODE=cgroup_v2 KHALA_TEST_PACE=15
cd /run/repository
status=0
(
  echo 0 >"$group/cgroup.procs"
  # A service has processes of its own beside the one that runs jails.
  if [ "$place" != root ]; then sleep infinity & fi
  exec setpriv --reuid="$user" --regid="$user" --clear-groups \
    .venv/bin/python -m pytest -p tests.vm.report -p no:cacheprovider -o timeout=300 \
    @/run/share/tests
) >/run/share/pytest.log 2>&1 || status=$?
echo "pytest ended with $status"
