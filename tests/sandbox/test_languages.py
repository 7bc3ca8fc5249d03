"""Honest programs in every language that Debian has a small toolchain for, under default limits.

They do what programs do: read and write a megabyte, use threads and child processes, files in
/tmp, the locale, the time zone, their user's name and their own loopback. What a policy denies by
mistake is found here, and what a toolchain needs is seen to fit into what a task is given.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from khala.config.table import BY_KEY
from khala.model.enforcement import Mode
from khala.model.outcome import Reason
from khala.model.spec import Stage, StageLimits
from sandbox import Sandbox, SandboxConfig
from tests.sandbox.harness import MODE, PACE, UID_BASE, Runner, find_nsjail

#: For a compilation of seconds, in the slowest of machines.
_SECONDS = 60 * min(PACE, 4)

#: Until a program that was started has begun.
_POLITE_S = 0.5 * min(PACE, 6)


def _default(key: str) -> int:
    value = BY_KEY[key].default
    assert isinstance(value, int)
    return value


def _limits(stage: Stage) -> StageLimits:
    """Khala's defaults; only the time is longer, because tests run on busy machines."""
    return StageLimits(
        wall_ms=_SECONDS * 1000,
        cpu_ms=_SECONDS * 1000,
        memory_bytes=_default(f"limits.{stage}_memory"),
        pids=_default("limits.pids"),
        output_bytes=_default("limits.output"),
        file_bytes=_default("limits.file_size"),
    )


@pytest.fixture(scope="module")
async def defaults(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    """A sandbox as an executor opens it."""
    config = SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-languages-{os.getpid()}-{secrets.token_hex(3)}",
        slots=1,
        uid_base=UID_BASE + 160,
        box_bytes=_default("limits.disk"),
        box_inodes=_default("limits.disk_files"),
        allow_degraded=MODE is Mode.DEGRADED,
    )
    sandbox = await Sandbox.open(config)
    yield Runner(sandbox, config, tmp_path_factory.mktemp("languages"), Path("/nonexistent"))
    await sandbox.close()


@dataclass(frozen=True, kw_only=True)
class Program:
    name: str
    run: str
    stdout: str
    files: dict[str, str] = field(default_factory=dict)
    compile: str = ""
    stdin: bytes | None = None


_SUM = b"1 2 3 4\n"
_CPP_ALL = """
#include <bits/stdc++.h>
using namespace std;
int main() {
  string all((istreambuf_iterator<char>(cin)), {}), word;
  regex number("[0-9]+");
  long sum = 0;
  for (sregex_iterator it(all.begin(), all.end(), number), end; it != end; ++it) sum += stol(it->str());
  vector<future<long>> parts;
  for (int i = 0; i < 8; i++) parts.push_back(async(launch::async, [=] { return sum * i; }));
  long total = 0;
  for (auto &part : parts) total += part.get();
  cout << sum << ' ' << total << '\\n';
}
"""
_C_SYSTEM = """
#define _GNU_SOURCE
#include <locale.h>
#include <pwd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static volatile sig_atomic_t rang;
static void ring(int number) { rang = number; }
static void *square(void *n) { return (void *)((long)n * (long)n); }
int main(void) {
  char host[64], path[] = "/tmp/xXXXXXX", text[64];
  printf("%s %s\\n", getpwuid(getuid())->pw_name, setlocale(LC_ALL, "") ? "locale" : "none");
  gethostname(host, sizeof host);
  time_t now = 0;
  strftime(text, sizeof text, "%Y", gmtime(&now));
  printf("%s %s %s\\n", host, text, localtime(&now) ? "local" : "none");
  int fd = mkstemp(path);
  ftruncate(fd, 1 << 20);
  char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fork() == 0) { strcpy(map + 5000, "shared"); _exit(7); }
  int status;
  wait(&status);
  printf("%s %d\\n", map + 5000, WEXITSTATUS(status));
  pthread_t threads[8];
  long total = 0;
  for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, square, (void *)i);
  for (int i = 0; i < 8; i++) { void *one; pthread_join(threads[i], &one); total += (long)one; }
  signal(SIGALRM, ring);
  ualarm(1000, 0);
  while (!rang) pause();
  printf("%ld alarm\\n", total);
  FILE *pipe = popen("sort | uniq -c | tr -d ' '", "w");
  fputs("a\\nb\\na\\n", pipe);
  fflush(stdout);
  return pclose(pipe);
}
"""
_PYTHON = """
import concurrent.futures as f, decimal, locale, multiprocessing as m, os, queue, shutil, socket, sqlite3, subprocess
import sys, tempfile, threading, time, zoneinfo, asyncio
if __name__ == "__main__":
    with f.ProcessPoolExecutor(3) as p: print(sum(p.map(abs, range(-10, 0))))
    with f.ThreadPoolExecutor(8) as p: print(sum(p.map(abs, range(-10, 0))))
    with m.Manager() as manager: print(manager.list([1, 2])[1])
    q = m.Queue(); w = m.Process(target=q.put, args=("queued",)); w.start(); print(q.get()); w.join()
    memory = m.shared_memory.SharedMemory(create=True, size=99) if hasattr(m, "shared_memory") else None
    if memory: memory.close(); memory.unlink()
    with tempfile.TemporaryDirectory() as d:
        c = sqlite3.connect(d + "/x.db"); c.execute("pragma journal_mode = wal"); c.execute("create table t (x)")
        c.execute("insert into t values (7)"); c.commit(); print(c.execute("select x from t").fetchone()[0])
    print(subprocess.run(["sort"], input="b\\na\\n", text=True, capture_output=True).stdout.split())
    async def serve():
        server = await asyncio.start_server(lambda r, w: w.close(), "localhost", 0)
        r, w = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        await r.read(); w.close(); server.close(); proc = await asyncio.create_subprocess_exec("true"); return await proc.wait()
    print(asyncio.run(serve()), socket.gethostbyname("localhost"), os.path.expanduser("~"), locale.getlocale()[1])
    print(zoneinfo.ZoneInfo("Europe/Paris").key if os.path.isdir("/usr/share/zoneinfo/Europe") else "Europe/Paris")
"""
_GO = """
package main
import ("bufio"; "fmt"; "net"; "os"; "os/exec"; "sync"; "time")
func main() {
  in := bufio.NewReader(os.Stdin); sum, n := 0, 0
  for { if _, err := fmt.Fscan(in, &n); err != nil { break }; sum += n }
  var group sync.WaitGroup; var lock sync.Mutex; total := 0
  for i := 0; i < 1000; i++ { group.Add(1); go func(i int) { defer group.Done(); lock.Lock(); total += i; lock.Unlock() }(i) }
  group.Wait()
  l, err := net.Listen("tcp", "localhost:0"); if err != nil { panic(err) }
  go func() { c, _ := l.Accept(); c.Write([]byte("x")); c.Close() }()
  c, err := net.Dial("tcp", l.Addr().String()); if err != nil { panic(err) }
  b := make([]byte, 9); got, _ := c.Read(b)
  out, _ := exec.Command("echo", "child").Output(); time.Sleep(time.Millisecond)
  fmt.Print(sum, total, got, " ", string(out))
}
"""
_RUST = """
use std::{io::Read, process::Command, sync::mpsc, thread};
fn main() {
    let mut text = String::new(); std::io::stdin().read_to_string(&mut text).unwrap();
    let sum: i64 = text.split_whitespace().map(|n| n.parse::<i64>().unwrap()).sum();
    let (tx, rx) = mpsc::channel();
    let all: Vec<_> = (0..8).map(|i| { let tx = tx.clone(); thread::spawn(move || tx.send(i).unwrap()) }).collect();
    for one in all { one.join().unwrap(); }
    drop(tx);
    let out = Command::new("echo").arg("child").output().unwrap();
    println!("{} {} {}", sum, rx.iter().sum::<i64>(), String::from_utf8(out.stdout).unwrap().trim());
}
"""
_JAVA = """
import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.util.stream.*;
public class Main {
  record Pair(int a, int b) {}
  public static void main(String[] args) throws Exception {
    long sum = new Scanner(System.in).tokens().mapToLong(Long::parseLong).sum();
    var pool = Executors.newFixedThreadPool(4);
    var parts = IntStream.range(0, 8).mapToObj(i -> pool.submit(() -> i * i)).toList();
    int total = 0; for (var part : parts) total += part.get();
    pool.shutdown();
    Path file = Files.createTempFile("x", ".txt"); Files.writeString(file, "temp");
    var process = new ProcessBuilder("echo", "child").start();
    System.out.println(sum + " " + total + " " + Files.readString(file) + " " + new String(process.getInputStream().readAllBytes()).trim()
        + " " + IntStream.range(0, 1000).parallel().sum() + " " + new Pair(1, 2));
  }
}
"""
_NODE = """
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const fs = require("fs"), http = require("http"), os = require("os"), child = require("child_process"), crypto = require("crypto");
if (!isMainThread) parentPort.postMessage(workerData * 2);
else {
  const sum = fs.readFileSync("/dev/stdin", "utf8").trim().split(" ").map(Number).reduce((a, b) => a + b);
  new Worker(__filename, { workerData: sum }).on("message", async (doubled) => {
    const made = crypto.scryptSync("a", "b", 16).length;
    const out = child.execSync("echo child").toString().trim();
    fs.writeFileSync(os.tmpdir() + "/x", "temp"); await fs.promises.readFile("/tmp/x");
    const server = http.createServer((q, r) => r.end("served")).listen(0, "127.0.0.1", () =>
      http.get({ port: server.address().port, host: "127.0.0.1" }, (r) => r.on("data", (d) => {
        console.log(sum, doubled, made, out, d.toString(), Object.keys(os.networkInterfaces()).join()); process.exit(0); })));
  });
}
"""
_MAKE = {
    "Makefile": "CFLAGS = -O1\nmain: main.o part.o\n\t$(CC) -o $@ $^\ntest: main\n\t./main\n",
    "main.c": '#include <stdio.h>\nint part(int);\nint main(void) { printf("%d\\n", part(20)); }\n',
    "part.c": "int part(int n) { return 2 * n + 2; }\n",
}
_ASAN = '#include <stdlib.h>\n#include <stdio.h>\nint main(int c, char **v) { int *p = malloc(8 * 4); p[c + 6] = 3; printf("%d\\n", p[7]); p = 0; return 0; }\n'
_LINES = b"".join(b"%d\n" % (n * 7919 % 200_003) for n in range(200_000))

_PROGRAMS = [
    Program(name="C, all of the system", files={"m.c": _C_SYSTEM}, compile="gcc -O2 -Wall -pthread -o m m.c", run="./m", stdout="task locale\nkhala 1970 local\nshared 7\n140 alarm\n2a\n1b\n"),
    Program(name="C++, all headers", files={"m.cpp": _CPP_ALL}, compile="g++ -std=c++20 -O1 -pthread -o m m.cpp", run="./m", stdin=_SUM, stdout="10 280\n"),
    Program(name="C++, static", files={"m.cpp": _CPP_ALL.replace("bits/stdc++.h", "iostream").split("string all")[0] + 'int n, s = 0; while (cin >> n) s += n; cout << s << endl; }'}, compile="g++ -O2 -static -o m m.cpp", run="./m", stdin=_SUM, stdout="10\n"),
    Program(name="C, address sanitizer", files={"m.c": _ASAN}, compile="gcc -g -fsanitize=address,undefined -o m m.c", run="./m", stdout="3\n"),
    Program(name="C, address sanitizer finds", files={"m.c": _ASAN}, compile="gcc -g -fsanitize=address -o m m.c", run="./m 1 2 2>&1 | grep -o 'heap-buffer-overflow' | head -1", stdout="heap-buffer-overflow\n"),
    Program(name="C, undefined behaviour found", files={"m.c": "int main(int c, char **v) { return 0 & (c << 40); }"}, compile="gcc -fsanitize=undefined -w -o m m.c", run="./m 2>&1 | grep -c 'shift exponent'", stdout="1\n"),
    Program(name="C, thread sanitizer", files={"m.c": _C_SYSTEM}, compile="gcc -fsanitize=thread -g -o m m.c || gcc -o m m.c -pthread", run="./m 2>&1 | tail -1", stdout="1b\n"),
    Program(name="make", files=_MAKE, compile="make -j4", run="make -s test", stdout="42\n"),
    Program(name="Python", files={"m.py": _PYTHON}, run="python3 m.py", stdout="55\n55\n2\nqueued\n7\n['a', 'b']\n0 127.0.0.1 /tmp UTF-8\nEurope/Paris\n"),
    Program(name="Perl", files={"m.pl": "use strict; use POSIX; use File::Temp; use Socket; my $s = 0; $s += $_ for split ' ', <STDIN>; my $p = fork // die; exit 3 if !$p; waitpid $p, 0; my $f = File::Temp->new; print $s, ' ', $? >> 8, ' ', (getpwuid $<)[0], ' ', `echo child`;"}, run="perl m.pl", stdin=_SUM, stdout="10 3 task child\n"),
    Program(name="bash", run="declare -A a; while read -r x y; do a[$x]=$y; done < <(printf 'a 1\\nb 2\\n'); coproc cat; echo co >&${COPROC[1]}; read -r line <&${COPROC[0]}; mkfifo p; (echo fifo > p &); read -r f < p; trap 'echo bye' EXIT; cat <<< \"${a[b]} $line $f $(( 6 * 7 ))\"", stdout="2 co fifo 42\nbye\n"),
    Program(name="awk and sed", run="awk '{ for (i = 1; i <= NF; i++) s += $i } END { print s | \"cat\" }' | sed 's/1/one/'", stdin=_SUM, stdout="one0\n"),
    Program(name="node", files={"m.js": _NODE}, run="node m.js", stdin=_SUM, stdout="10 20 16 child served lo\n"),
    Program(name="Java", files={"Main.java": _JAVA}, compile="javac Main.java", run="java Main", stdin=_SUM, stdout="10 140 temp child 499500 Pair[a=1, b=2]\n"),
    Program(name="Java, from source", files={"Main.java": _JAVA}, run="java Main.java", stdin=_SUM, stdout="10 140 temp child 499500 Pair[a=1, b=2]\n"),
    Program(name="Go", files={"m.go": _GO}, compile="go build -o m m.go", run="./m", stdin=_SUM, stdout="10 499500 1 child\n"),
    Program(name="Rust", files={"m.rs": _RUST}, compile="rustc -O -o m m.rs", run="./m", stdin=_SUM, stdout="10 28 child\n"),
    Program(name="Ruby", files={"m.rb": "require 'tempfile'; require 'socket'; s = STDIN.read.split.map(&:to_i).sum; t = (0...8).map { |i| Thread.new { i * i } }.sum(&:value); p_ = fork { exit 3 }; Process.wait p_; Tempfile.create { |f| f.write 'x' }; l = TCPServer.new('127.0.0.1', 0); Thread.new { l.accept.close }; TCPSocket.new('127.0.0.1', l.addr[1]).read; puts \"#{s} #{t} #{$?.exitstatus} #{`echo child`}\""}, run="ruby m.rb", stdin=_SUM, stdout="10 140 3 child\n"),
    Program(name="PHP", files={"m.php": "<?php $s = array_sum(explode(' ', trim(stream_get_contents(STDIN)))); $f = tempnam(sys_get_temp_dir(), 'x'); file_put_contents($f, 'temp'); echo $s, ' ', file_get_contents($f), ' ', shell_exec('echo child');"}, run="php m.php", stdin=_SUM, stdout="10 temp child\n"),
    Program(name="Lua", files={"m.lua": "local s = 0; for n in io.read('a'):gmatch('%d+') do s = s + n end; local f = io.tmpfile(); f:write('x'); print(s, io.popen('echo child'):read('l'))"}, run="lua5.4 m.lua", stdin=_SUM, stdout="10\tchild\n"),
    Program(name="Fortran", files={"m.f90": "program m\n integer :: n(4)\n read *, n\n print '(i0)', sum(n)\nend program\n"}, compile="gfortran -O2 -fopenmp -o m m.f90", run="./m", stdin=_SUM, stdout="10\n"),
    Program(name="Pascal", files={"m.pas": "var n, s: longint; begin s := 0; while not eof do begin read(n); s := s + n; if eoln then readln end; writeln(s) end."}, compile="fpc -O2 m.pas", run="./m", stdin=_SUM, stdout="10\n"),
    Program(name="a megabyte of output", run="head -c 1048576 /dev/zero | tr '\\0' x", stdout="x" * 1048576),
    Program(name="sixteen megabytes of input", run="cat | tee /dev/null | wc -c; cat /dev/stdin | wc -c", stdin=bytes(16 << 20), stdout="16777216\n16777216\n"),
    Program(name="sorting with files", run="TMPDIR=/tmp sort -n -S 256K --parallel=4 | tail -1", stdin=_LINES, stdout="200002\n"),
    Program(name="line by line", run="python3 -c 'import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)'", stdin=b"abc\ndef\n", stdout="cba\nfed\n"),
    Program(name="polite ending", run=f"timeout -s TERM {_POLITE_S} bash -c 'trap \"echo bye; exit 0\" TERM; while :; do sleep 0.01; done'; echo $?", stdout="bye\n124\n"),
    Program(name="archives", run="mkdir d; echo x > d/a; tar czf - d | tar tzf - | sort; gzip < d/a | zcat; xz < d/a | xzcat", stdout="d/\nd/a\nx\nx\n"),
    Program(name="a server of its own", run="python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1 & until exec 3<>/dev/tcp/127.0.0.1/8000; do sleep 0.05; done 2>/dev/null; printf 'GET /data/ HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3", stdout="HTTP/1.0 200 OK\r\n"),
    Program(name="watching a file that grows", run=": > f; (for i in 1 2 3; do echo $i; sleep 0.1; done >> f &) ; timeout 60 tail -n +1 -s 0.05 -f f 2>/dev/null | head -3", stdout="1\n2\n3\n"),
]  # fmt: skip


@pytest.mark.parametrize("program", [pytest.param(one, id=one.name) for one in _PROGRAMS])
async def test_honest_programs(defaults: Runner, program: Program) -> None:
    async with defaults.sandbox.box(0) as box:
        for name, content in program.files.items():
            await box.put(name, content.encode())
        if program.compile:
            job = defaults.job(program.compile, stage=Stage.COMPILE)
            job = msgspec.structs.replace(job, limits=_limits(Stage.COMPILE))
            ran = await defaults.finish(box, job)
            assert ran.outcome.reason is Reason.OK, (ran.outcome, ran.stdout, ran.stderr)
        job = defaults.job(program.run, stdin=program.stdin)
        job = msgspec.structs.replace(job, limits=_limits(Stage.EXECUTE))
        ran = await defaults.finish(box, job)
    assert ran.outcome.reason is Reason.OK, (ran.outcome, ran.stdout[-900:], ran.stderr[-900:])
    assert ran.text == program.stdout, ran.stderr
