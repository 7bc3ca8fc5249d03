"""Files, devices, /proc and everything else that is reached by a path."""

from __future__ import annotations

from pathlib import Path

from khala.model.limits import MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import ANY, EXITED, Attack, cases, strike
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import BOX_BYTES, BOX_INODES, Runner

_DISK = (Reason.DISK,)
_FULL = (Reason.DISK, Reason.MEMORY)


def _gone(name: str, paths: str) -> Attack:
    """None of these may be read, written or listed."""
    command = (
        f"for p in {paths}; do"
        ' head -c 1 "$p" >/dev/null 2>&1 && [ ! -d "$p" ] && echo "ESCAPE: read $p";'
        ' ls "$p"/. >/dev/null 2>&1 && [ -n "$(ls -A "$p")" ] && echo "ESCAPE: list $p";'
        ' (echo 1 > "$p") 2>/dev/null && echo "ESCAPE: write $p"; done; echo tried'
    )
    return Attack(name=name, command=command, says="tried")


def _unwritable(name: str, paths: str) -> Attack:
    command = (
        f'for p in {paths}; do (echo 1 > "$p") 2>/dev/null && echo "ESCAPE: write $p";'
        ' (echo 1 >> "$p") 2>/dev/null && echo "ESCAPE: append $p"; done; echo tried'
    )
    return Attack(name=name, command=command, says="tried")


_ATTACKS = [
    Attack(name="bytes in the box", command="cat /dev/zero > f", reasons=_DISK),
    Attack(name="bytes in tmp", command="cat /dev/zero > /tmp/f", reasons=_DISK),
    Attack(
        name="bytes in many files",
        command="for i in $(seq 99); do head -c 1M /dev/zero > $i || exit 1; done",
        reasons=_DISK,
    ),
    Attack(name="files", command="seq 2000 | xargs touch", reasons=_DISK),
    Attack(name="folders", command="seq 2000 | xargs mkdir", reasons=_DISK),
    Attack(
        name="symlinks",
        command="python3 -c 'import os; [os.symlink(\"x\", str(i)) for i in range(1100)]' ",
        reasons=_DISK,
    ),
    Attack(
        name="hard links",
        command="touch a; python3 -c 'import os; [os.link(\"a\", str(i)) for i in range(1100)]' ",
        reasons=(*_DISK, *EXITED),
    ),
    Attack(name="fifos", command="seq 2000 | xargs mkfifo", reasons=_DISK),
    Attack(
        name="everything at once",
        command="for d in . /tmp /dev/shm; do (cat /dev/zero > $d/f; cd $d; seq 2000 | xargs touch) 2>&-; done; exit 1",
        reasons=_FULL,
    ),
    Attack(name="deep folders", command="./probe deep", says="depth 1"),
    Attack(
        name="deep folders, removed",
        command="./probe deep; rm -rf d*; ls",
        says="depth 1\nexecute.sh\nprobe",
    ),
    Attack(
        name="names of all lengths",
        command="python3 -c '[open(\"n\" * i, \"w\") for i in range(1, 256)]'; touch $(head -c 256 /dev/zero | tr '\\0' n) 2>&- || echo bounded",
        says="bounded",
    ),
    Attack(
        name="odd names",
        command="touch -- -rf '*' $'a\\nb' $'\\001' $'\\377\\376' ' ' '..x' '~' '$(id)' ';' && ls | wc -l",
        says=r"1\d",
    ),
    Attack(name="sparse in the box", command="./probe sparse f", says="(.*: (EFBIG|ENOSPC)\n?)+"),
    Attack(name="sparse in tmp", command="./probe sparse /tmp/f", says="(.*: (EFBIG|ENOSPC)\n?)+"),
    Attack(
        name="sparse in shared memory",
        command="./probe sparse /dev/shm/f",
        says="(.*: (EFBIG|ENOSPC)\n?)+",
    ),
    Attack(
        name="attributes of files",
        command="./probe attributes",
        says="trusted: EPERM\nsecurity: E.*immutable: E.*append: E.*freeze: E.*trim: E.*attributes bounded 1",
        reasons=(Reason.OK, Reason.MEMORY),
    ),
    Attack(name="devices made", command="./probe devices", says="tried"),
    _gone(
        "devices of the host",
        "/dev/mem /dev/kmem /dev/port /dev/kmsg /dev/tty /dev/tty0 /dev/console /dev/ptmx /dev/pts/0 /dev/vda /dev/sda /dev/loop0 /dev/loop-control /dev/fuse /dev/kvm /dev/vsock /dev/net/tun /dev/userfaultfd /dev/cpu/0/msr /dev/dri/card0 /dev/hwrng /dev/zram0 /dev/mapper/control /dev/mqueue /dev/hugepages",
    ),
    _gone(
        "places of the host",
        "/root /home /var /var/log /var/lib/dpkg /run /run/docker.sock /var/run/docker.sock /sys /sys/fs/cgroup /sys/kernel /boot /srv /mnt /media /lost+found /work /data /.dockerenv /etc/shadow /etc/ssh /etc/sudoers /etc/machine-id /etc/hostname",
    ),
    _gone(
        "the kernel by proc",
        "/proc/kcore /proc/kmsg /proc/kpagecount /proc/kpageflags /proc/kpagecgroup /proc/sysrq-trigger /proc/vmallocinfo /proc/slabinfo /proc/timer_list /proc/sched_debug /proc/iomem.x /proc/sys/kernel/cap_last_cap.x",
    ),
    _unwritable(
        "settings by proc",
        "/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/kernel/shmmax /proc/sys/kernel/msgmax /proc/sys/kernel/sem /proc/sys/kernel/ns_last_pid /proc/sys/fs/binfmt_misc/register /proc/sys/fs/mqueue/queues_max /proc/sys/fs/suid_dumpable /proc/sys/fs/file-max /proc/sys/vm/drop_caches /proc/sys/vm/overcommit_memory /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ping_group_range /proc/sys/net/core/somaxconn /proc/sys/user/max_user_namespaces /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/acpi/wakeup /proc/scsi/scsi /proc/mtrr",
    ),
    _unwritable(
        "processes by proc",
        "/proc/1/mem /proc/self/mem /proc/1/oom_score_adj /proc/self/oom_score_adj /proc/self/oom_adj /proc/1/uid_map /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/loginuid /proc/self/attr/current /proc/self/attr/exec /proc/self/timerslack_ns /proc/self/coredump_filter /proc/self/clear_refs /proc/self/sched /proc/self/autogroup /proc/self/make-it-fail /proc/self/timens_offsets /proc/self/comm /proc/1/comm /proc/self/projid_map",
    ),
    _unwritable(
        "the system",
        "/usr/x /usr/bin/x /usr/bin/bash /bin/sh /lib/x /etc/passwd /etc/group /etc/hosts /etc/resolv.conf /etc/ld.so.cache /etc/ld.so.preload /etc/nsswitch.conf /etc/x /x /dev/x /box/x /usr/local/bin/x /etc/alternatives/cc /etc/ssl/certs/x /tmp/../x",
    ),
    Attack(
        name="other processes by proc",
        command="ls -d /proc/[0-9]* | wc -l; for p in /proc/[0-9]*; do readlink $p/exe; done | sort -u",
        says=r"\d{1,2}\n(/usr/bin/\w+\n?)+",
    ),
    Attack(
        name="the root of the first process",
        command="ls /proc/1/root/ /proc/1/cwd/ /proc/1/root/root /proc/1/root/../../../var 2>&1 | grep -E 'root$|home|cannot' | sort",
        says=".*cannot.*cannot.*",
    ),
    Attack(
        name="descriptors of the first process",
        command="for f in /proc/1/fd/*; do readlink $f; done | sed 's/:.*//' | sort -u",
        says="/dev/null\npipe",
    ),
    Attack(
        name="out by dots and descriptors",
        command="cd /; ls ../../../../root; exec 5</proc/self/root; ls /proc/self/fd/5/../../root; ls /proc/self/cwd/../../../root; exit 0",
        says="",
    ),
    Attack(
        name="the folder it started in",
        command="ls -l /proc/self/cwd /proc/1/cwd | sed 's/.*-> //'; pwd",
        says="/box/source\n/box/source\n/box/source",
    ),
    Attack(
        name="mounts name no place of the host's",
        command="cut -d' ' -f4,5 /proc/self/mountinfo; ls -l /proc/self/fd /proc/1/fd",
        says="(?!.*(/work|/var|/home|/root|/run|khala-attack|pytest)).*",
    ),
    Attack(
        name="cgroups name nothing",
        command="cat /proc/self/cgroup /proc/1/cgroup",
        says=r"(\d+:[\w=,]*:/\n?)+",
    ),
    Attack(
        name="read-only, remounted by program",
        command="mount -o remount,rw / ; mount -o remount,rw,bind /usr; mount -t tmpfs x /usr; umount -l /proc; touch /x /usr/x",
        says="",
        reasons=EXITED,
    ),
    Attack(
        name="programs in the devices' folder",
        command="cp /bin/true /dev/x; chmod 777 /dev/null; chown 1000 /dev/zero; touch /dev/null; rm -f /dev/full; mv /dev/random /dev/x; ln -s / /dev/y; ls /dev | tr '\\n' ' '",
        says="fd full null random shm stderr stdin stdout urandom zero ",
    ),
    Attack(
        name="chmod of the system",
        command="chmod 777 /usr/bin /usr/bin/bash /etc /; chmod -R 777 /etc 2>&-; chown -R task /etc 2>&-; stat -c %a /usr/bin/bash",
        says="755",
    ),
    Attack(
        name="links out of the box",
        command="ln /usr/bin/bash b; ln /etc/passwd p; ln -s /etc/shadow s; cat s; ls -L",
        says="(?!.*root:).*",
        reasons=EXITED,
    ),
    Attack(
        name="renames across",
        command="mv /etc/passwd .; mv /usr/bin/true /tmp/; mv execute.sh /etc/; ls",
        says=".*execute.sh.*",
        reasons=ANY,
    ),
    Attack(
        name="a socket in the box",
        command="./probe unix_socket s; ./probe unix_socket /tmp/s; ./probe unix_socket /dev/shm/s",
        says="(socket 0\n?){3}",
    ),
    Attack(
        name="the work folder itself",
        command="chmod 0 .; rmdir /box/source; mv /box/source /box/x; rm -rf /box; chmod 700 .; ls",
        says="",
        reasons=ANY,
    ),
    Attack(
        name="quota of a user",
        command="head -c 20M /dev/zero > a; cp a b; cp a c; exit 1",
        reasons=_DISK,
    ),
    Attack(
        name="a hole in a file is no room",
        command=f"truncate -s {100 * MIB} f; cp --sparse=never f g",
        reasons=(Reason.DISK,),
    ),
]


@cases(_ATTACKS)
async def test_files(runner: Runner, attack: Attack) -> None:
    await strike(runner, attack)


async def test_stdin_is_a_file_of_the_service(runner: Runner, tmp_path: Path) -> None:
    async with runner.sandbox.box(0) as box:
        await box.put("probe", PROBE.path())
        job = runner.job("chmod +x probe; ./probe stdin_file; cat", stdin=b"given")
        ran = await runner.finish(box, job)
    assert "ESCAPE" not in ran.text and ran.text.endswith("given")
    assert ran.text.count(": E") == 15
    assert job.stdin is not None and Path(job.stdin).read_bytes() == b"given"


async def test_a_full_box_is_empty_for_the_next(runner: Runner) -> None:
    fill = "seq 2000 | xargs touch; head -c 99M /dev/zero > f; exit 0"
    for _ in range(2):
        await runner.run(fill)
        ran = await runner.run("df --output=used,iused /box/source | tail -1")
        used, files = map(int, ran.text.split())
        assert used * 1024 < BOX_BYTES // 100 and files < BOX_INODES // 100
