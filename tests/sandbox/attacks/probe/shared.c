// What the kernel counts for the whole host, or not at all: using it up would hurt others.
#include "probe.h"

#include <arpa/inet.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/inotify.h>
#include <time.h>

// How many of something can be had; the file names of jails are limited, so processes share them.
static void hold(const char *what, long count) {
  printf("%s: %ld\n", what, count);
  if (getenv("HOLD")) {
    fflush(stdout);
    pause();
  }
}

PROBE(inotify) {
  long count = 0;
  while (count < 1000 && inotify_init1(0) >= 0) count++;
  hold("inotify", count);
}

PROBE(aio) {
  long count = 0;
  aio_context_t context;
  do {
    context = 0;
  } while (count < 1000 && syscall(SYS_io_setup, 1000, &context) == 0 && ++count);
  hold("aio", count);
}

PROBE(pending) {
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_BLOCK, &set, NULL);
  long count = 0;
  union sigval value = {0};
  while (count < 1000000 && sigqueue(getpid(), SIGRTMIN, value) == 0) count++;
  hold("pending", count);
}

PROBE(timers) {
  long count = 0;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
  timer_t timer;
  while (count < 1000000 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) count++;
  hold("timers", count);
}

PROBE(queues) {
  long count = 0;
  char name[32];
  do {
    snprintf(name, sizeof name, "/q%ld", count);
  } while (count < 1000 && mq_open(name, O_CREAT | O_RDWR, 0600, NULL) >= 0 && ++count);
  hold("queues", count);
}

// Bytes that lie in the buffers of sockets of the own loopback, unread.
PROBE(datagrams) {
  static char data[60000];
  int family = argc > 0 && strcmp(argv[0], "unix") == 0 ? AF_UNIX : AF_INET;
  long total = 0;
  for (int i = 0; i < 400; i++) {
    int pair[2];
    if (family == AF_UNIX) {
      if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0) break;
    } else {
      struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
      socklen_t size = sizeof address;
      pair[0] = socket(AF_INET, SOCK_DGRAM, 0);
      pair[1] = socket(AF_INET, SOCK_DGRAM, 0);
      int large = 1 << 30;
      setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
      bind(pair[1], (struct sockaddr *)&address, size);
      getsockname(pair[1], (struct sockaddr *)&address, &size);
      if (connect(pair[0], (struct sockaddr *)&address, size) < 0) break;
    }
    for (int n = 0; n < 40; n++)
      if (send(pair[0], data, sizeof data, MSG_DONTWAIT) < 0) break;
    // What does not fit is dropped without a word.
    unsigned held[9] = {0};
    socklen_t length = sizeof held;
    getsockopt(pair[1], SOL_SOCKET, SO_MEMINFO, held, &length);
    total += held[0];
  }
  hold("datagrams MiB", total / MIB);
}

PROBE(streams) {
  static char data[65536];
  long total = 0;
  for (int i = 0; i < 150; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0), from = socket(AF_INET, SOCK_STREAM, 0);
    bind(listening, (struct sockaddr *)&address, size);
    listen(listening, 1);
    getsockname(listening, (struct sockaddr *)&address, &size);
    if (connect(from, (struct sockaddr *)&address, size) < 0) break;
    for (long sent; (sent = send(from, data, sizeof data, MSG_DONTWAIT)) > 0;) total += sent;
  }
  hold("streams MiB", total / MIB);
}

// Memory of pipes, enlarged as far as allowed.
PROBE(pipes) {
  static char data[1 << 20];
  long total = 0;
  for (int i = 0; i < 400; i++) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) < 0) break;
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    long written = write(ends[1], data, sizeof data);
    if (written > 0) total += written;
  }
  hold("pipes MiB", total / MIB);
}

// Compiled filters take from a pool of the whole host, which the jails' own policies need too.
PROBE(filters) {
  static struct sock_filter code[4096];
  for (int i = 0; i < 4096; i++) code[i] = (struct sock_filter){BPF_ALU | BPF_XOR | BPF_K, 0, 0, 0x12345678};
  code[4095] = (struct sock_filter){BPF_RET | BPF_K, 0, 0, 0};
  struct sock_fprog program = {4096, code};
  long count = 0;
  for (int i = 0; i < 900; i++) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) break;
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0) count++;
  }
  hold("filters", count);
}

PROBE(hugepages) {
  for (int i = 0; i < 2; i++) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    void *page = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, flags, -1, 0);
    must_fail("mmap", page == MAP_FAILED ? -1 : 0);
  }
  must_fail("memfd", memfd_create("huge", MFD_HUGETLB));
}
