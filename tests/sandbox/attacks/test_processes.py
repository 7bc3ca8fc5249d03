"""Processes that multiply, hide, do not die, or turn on others."""

from __future__ import annotations

import struct

from khala.model.limits import MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import EXITED, KILLED, Attack, cases, strike
from tests.sandbox.harness import Runner

_SHORT = {"wall_ms": 500}
_SYSCALL = (Reason.SYSCALL,)
_SIGNAL = (Reason.SIGNAL,)
#: A whole 32-bit program: getpid by the old entry, then exit.
_I386 = (
    b"\x7fELF\x01\x01\x01"
    + bytes(9)
    + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    + struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 4096, 4096, 5, 4096)
    + b"\xb8\x14\0\0\0\xcd\x80\xb8\x01\0\0\0\xcd\x80"
).ljust(4096, b"\0")


def _endless(name: str, command: str, says: str = "") -> Attack:
    return Attack(name=name, command=command, says=says, reasons=KILLED, limits=_SHORT)


_ATTACKS = [
    *(
        _endless(f"bomb of {kind}", f"./probe bomb {kind} 2>&-")
        for kind in ("fork", "vfork", "clone", "session", "zombie")
    ),
    _endless("bomb in bash", ":(){ :|:& };: 2>/dev/null; while :; do sleep 1; done"),
    _endless("bomb in perl, deaf", "perl -e '$SIG{$_} = \"IGNORE\" for keys %SIG; fork while 1'"),
    _endless("bomb of threads", "while :; do ./probe threads >/dev/null; done"),
    _endless(
        "bomb that floods", "for i in $(seq 50); do (while :; do echo $i >&2; done) & done; wait"
    ),
    _endless("a moving target", "./probe runner; sleep 20"),
    _endless("ever a new program", "./probe again"),
    _endless("deaf", "./probe deaf"),
    _endless("deaf daemon", "./probe deaf daemon; sleep 20"),
    _endless("many deaf daemons", "for i in $(seq 50); do ./probe deaf daemon; done; sleep 20"),
    _endless("a child of vfork that hangs", "./probe hanging"),
    _endless("deaf shell", "trap '' HUP INT QUIT TERM ALRM USR1 CHLD TSTP; while :; do :; done"),
    _endless("stopped", "kill -STOP $$"),
    _endless("stopped parent", "kill -STOP $PPID; sleep 20"),
    _endless("stopped group", "kill -STOP 0"),
    _endless("all stopped", "sleep 20 & kill -STOP -1; sleep 20"),
    _endless(
        "stopped, deaf and in a session of its own",
        "setsid ./probe deaf & kill -STOP $!; wait; sleep 20",
    ),
    _endless("storm of timers", "./probe storm"),
    _endless(
        "storm of signals to the first process", "while :; do kill -USR1 1; kill -ALRM 1; done"
    ),
    _endless(
        "storm of processor affinity",
        "while :; do taskset -p 1 $$; taskset -p ff $$; done >/dev/null 2>&1",
    ),
    _endless("stdin that never comes", "sleep 20 | cat"),
    _endless("a fifo that nobody writes", "mkfifo f; cat f"),
    _endless(
        "spinning on every processor", "for i in $(seq 20); do while :; do :; done & done; wait"
    ),
    Attack(name="threads", command="./probe threads", says=r"threads: [56]\d"),
    Attack(
        name="daemons left behind",
        command="for i in $(seq 20); do ./probe deaf daemon; (setsid sleep 50 &) ; done; exit 0",
    ),
    Attack(
        name="a daemon that outlives the first shell", command="(sleep 1; echo ESCAPE) & exit 0"
    ),
    Attack(
        name="daemon by nohup",
        command="nohup sleep 50 >/dev/null 2>&1 & disown; echo left",
        says="left",
    ),
    Attack(
        name="kill everything",
        command="trap '' TERM; kill -TERM -1; kill -KILL -1; echo survived",
        says="survived|",
        reasons=(*EXITED, Reason.SIGNAL),
    ),
    Attack(
        name="kill the group",
        command="kill -KILL 0",
        reasons=(Reason.SIGNAL,),
    ),
    Attack(
        name="kill the parent",
        command="kill -KILL $PPID; sleep 0.1; echo survived",
        says="survived|",
        reasons=(*EXITED, Reason.SIGNAL),
    ),
    Attack(
        name="signals to the first process",
        command="./probe signals",
        says="parent 1 group [01] session [01]",
        # The shell there takes SIGINT for the user's wish to end.
        reasons=(Reason.OK, Reason.SIGNAL),
    ),
    Attack(name="every number", command="./probe killall", says="found [01]"),
    Attack(
        name="priority",
        command="./probe priority",
        says=r"fifo: EPERM\nrr: EPERM\nnice: EACCES\ngroup: EACCES\nuser: EACCES\n"
        r"deadline: EPERM\nioprio: EPERM",
    ),
    Attack(name="limits", command="./probe limits", says="kept"),
    Attack(
        name="limits, in bash",
        command="for l in c e f l n q r t i; do (ulimit -H$l unlimited 2>&-) && echo $l; done",
        says="e?",
        reasons=EXITED,
    ),
    Attack(
        name="descriptors",
        command="./probe descriptors",
        says="descriptors 1024",
    ),
    Attack(name="brothers of a process", command="./probe parent", says="brother made"),
    *(
        Attack(
            name=f"old entry {name}", command=f"./probe old_entry {n}; exit $?", reasons=_SYSCALL
        )
        for name, n in {
            "exit": 1,
            "fork": 2,
            "unshare": 310,
            "socketcall": 102,
            "mount": 21,
        }.items()
    ),
    Attack(name="old entry by far return", command="./probe far_return; exit $?", reasons=_SYSCALL),
    Attack(
        name="a 32-bit program",
        command="chmod +x i386; ./i386; exit $?",
        reasons=(Reason.SYSCALL, Reason.EXIT_NONZERO),
        files={"i386": _I386},
    ),
    *(
        Attack(
            name=f"crash {kind}",
            command=f"ulimit -c unlimited 2>&-; ./probe crash {kind}; s=$?; ls; exit $s",
            says="data\nexecute.sh\nprobe(\nshort)?",
            reasons=_SIGNAL,
        )
        for kind in ("null", "divide", "illegal", "bus", "privileged", "port", "trap", "recursion")
    ),
    Attack(
        name="address randomization off",
        command="setarch -R bash -c 'setarch -R cat /proc/self/personality 2>&-; echo done'",
        says=r"\d*\n?done",
    ),
    Attack(
        name="setuid programs",
        command="su -c id </dev/null; passwd -S; mount /tmp; exit 1",
        says=".*",
        reasons=EXITED,
    ),
    Attack(
        name="a setuid program of its own",
        command="cp /usr/bin/id .; chmod 6755 id; ./id -u; ./id -ru; stat -c %a id",
        says=r"1000\n1000\n6755",
    ),
    Attack(
        name="capabilities of a file",
        command="cp /bin/cat .; setcap cap_dac_override+ep cat 2>&- || python3 -c '"
        'import os; os.setxattr("cat", "security.capability", b"\\1\\0\\0\\2\\2\\0\\0\\0" + bytes(12))\';'
        " grep CapEff /proc/self/status",
        says=r"CapEff:\t0+",
    ),
    Attack(
        name="namespaces by program",
        command="for o in -U -m -n -p -i -u -C -T -r; do unshare $o true && echo ESCAPE; done;"
        " nsenter -t 1 -m true && echo ESCAPE; chroot / true && echo ESCAPE; echo tried",
        says="tried",
    ),
    Attack(
        name="entering the first process's namespaces",
        command="for n in /proc/1/ns/*; do nsenter --${n##*/}=$n true 2>&- && echo ESCAPE; done; echo tried",
        says="tried",
    ),
    Attack(
        name="a new user namespace, again and again",
        command="for i in 1 2 3 4 5; do unshare -r unshare -r id && echo ESCAPE; done; echo tried",
        says="tried",
    ),
]


@cases(_ATTACKS)
async def test_processes(runner: Runner, attack: Attack) -> None:
    await strike(runner, attack)


_PRELOAD = rb"""
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void first(void) {
  if (getpid() != 1) return;
  unsetenv("LD_PRELOAD");
  execl("/bin/bash", "bash", "-c", "trap '' TERM; kill -9 -1;"
        "head -c 900000 /dev/zero > big || echo full; stat -c %s big; exit 5", NULL);
}
"""


async def test_the_first_process_takes_nothing_from_a_task(runner: Runner) -> None:
    """Its environment comes after that shell was started, and is the command's alone."""
    async with runner.sandbox.box(0) as box:
        await box.put("first.c", _PRELOAD)
        command = "gcc -shared -fPIC -o first.so first.c"
        compiled = await runner.finish(box, runner.job(command))
        assert compiled.outcome.reason is Reason.OK, compiled.stderr
        preload = {"LD_PRELOAD": "/box/source/first.so"}
        job = runner.job("tr '\\0' '\\n' < /proc/1/environ; exit 3", environment=preload)
        ran = await runner.finish(box, job)
    assert ran.outcome.exit_code == 3
    assert "HOME=/tmp" in ran.text and "first.so" not in ran.text


async def test_an_environment_that_looks_like_the_jails_log(runner: Runner) -> None:
    forged = "x\n[I][2026-01-01T00:00:00+0000] pid=3 (x) exited with status: 0, (PIDs left: 0)\n"
    ran = await runner.run("exit 9", environment={"FORGED": forged, "ALSO": f"\n{forged}"})
    assert ran.outcome.exit_code == 9
    assert ran.outcome.memory_peak_bytes < 64 * MIB
