// Processes that multiply, hide, do not die, or turn on others.
#include "probe.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

PROBE(bomb) {
  const char *kind = argv[0];
  for (;;) {
    if (strcmp(kind, "vfork") == 0) {
      if (vfork() == 0) {
        char *again[] = {"probe", "bomb", "vfork", NULL};
        execv("/proc/self/exe", again);
        _exit(0);
      }
    } else if (strcmp(kind, "clone") == 0) {
      syscall(SYS_clone, SIGCHLD | CLONE_PARENT, 0, 0, 0, 0);
    } else if (strcmp(kind, "session") == 0) {
      if (fork() == 0) setsid();
    } else if (strcmp(kind, "zombie") == 0) {
      if (fork() == 0) _exit(0);
    } else {
      fork();
    }
  }
}

// Always a new process, the old one gone: a moving target.
PROBE(runner) {
  signal(SIGCHLD, SIG_IGN);
  for (;;)
    if (fork() != 0) _exit(0);
}

PROBE(again) {
  char *self[] = {"probe", "again", NULL};
  execv("/proc/self/exe", self);
}

static void deafen(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  for (int one = 1; one < 65; one++) signal(one, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, 0);
}

PROBE(deaf) {
  deafen();
  if (argc) {
    if (fork()) _exit(0);
    setsid();
    if (fork()) _exit(0);
  }
  for (;;) pause();
}

// A parent that waits for a child of vfork, which does not come back.
PROBE(hanging) {
  deafen();
  if (vfork() == 0)
    for (;;) pause();
}

PROBE(signals) {
  int numbers[] = {SIGKILL, SIGSTOP, SIGTERM, SIGINT, SIGSEGV, SIGRTMIN, SIGALRM, SIGCHLD};
  for (int i = 0; i < 8; i++) {
    kill(1, numbers[i]);
    kill(getppid(), i == 2 ? 0 : SIGCONT);
  }
  printf("parent %d group %d session %d\n", getppid() > 0, getpgrp() > 0, getsid(0) > 0);
}

// Every process there is, by number: those of the host would have been found.
PROBE(killall) {
  long found = 0;
  for (pid_t one = 2; one < 70000; one++)
    if (one != getpid() && one != getppid() && kill(one, 0) == 0) found++;
  printf("found %ld\n", found);
}

PROBE(priority) {
  struct sched_param param = {.sched_priority = 1};
  must_fail("fifo", sched_setscheduler(0, SCHED_FIFO, &param));
  must_fail("rr", sched_setscheduler(0, SCHED_RR, &param));
  must_fail("nice", setpriority(PRIO_PROCESS, 0, -5));
  must_fail("group", setpriority(PRIO_PGRP, 0, -5));
  must_fail("user", setpriority(PRIO_USER, 0, -5));
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {48, 6, 0, 0, 0, 1000000, 10000000, 10000000};
  must_fail("deadline", syscall(SYS_sched_setattr, 0, &attributes, 0));
  must_fail("ioprio", syscall(SYS_ioprio_set, 1, 0, (1 << 13) | 0));
}

PROBE(limits) {
  for (int one = 0; one < RLIM_NLIMITS; one++) {
    struct rlimit limit;
    getrlimit(one, &limit);
    if (limit.rlim_max == RLIM_INFINITY) continue;
    limit.rlim_max += 1;
    if (setrlimit(one, &limit) == 0) printf("ESCAPE: limit %d\n", one);
    if (prlimit(1, one, &limit, NULL) == 0) printf("ESCAPE: limit %d of the first\n", one);
  }
  printf("kept\n");
}

PROBE(storm) {
  // Expires as often as the kernel lets it.
  signal(SIGALRM, SIG_IGN);
  signal(SIGRTMIN, SIG_IGN);
  struct itimerspec often = {{0, 1}, {0, 1}};
  for (int i = 0; i < 500; i++) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) timer_settime(timer, 0, &often, NULL);
  }
  struct itimerval also = {{0, 1}, {0, 1}};
  setitimer(ITIMER_REAL, &also, NULL);
  for (;;) pause();
}

static int child(void *unused) { return 0; }

PROBE(parent) {
  static char stack[65536];
  // The first process of the jail must not get brothers beside nsjail.
  long made = clone(child, stack + sizeof stack, CLONE_PARENT | SIGCHLD, NULL);
  printf("brother %s\n", made > 0 ? "made" : strerrorname_np(errno));
}

PROBE(old_entry) {
  long result = number(argv[0]);
  __asm__ volatile("int $0x80" : "+a"(result) : "b"(0x10000000), "c"(0), "d"(0) : "memory");
  printf("ESCAPE: %ld\n", result);
}

// Into 32-bit code by a far return, and from there into the kernel.
PROBE(far_return) {
  unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  memcpy(code, "\xb8\x14\0\0\0\xcd\x80\xf4", 8);
  __asm__ volatile("pushq $0x23; pushq %0; lretq" ::"r"(code));
}

PROBE(descriptors) {
  long count = 0;
  while (dup(0) >= 0) count++;
  printf("descriptors %ld\n", count + 3);
}

PROBE(crash) {
  const char *kind = argv[0];
  if (strcmp(kind, "null") == 0) *(volatile int *)0 = 1;
  if (strcmp(kind, "divide") == 0) __asm__ volatile("xor %%ecx, %%ecx; divl %%ecx" ::: "eax", "ecx", "edx");
  if (strcmp(kind, "illegal") == 0) __asm__ volatile("ud2");
  if (strcmp(kind, "bus") == 0) {
    int fd = open("short", O_RDWR | O_CREAT, 0600);
    ((volatile char *)mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))[4096] = 1;
  }
  if (strcmp(kind, "privileged") == 0) __asm__ volatile("hlt");
  if (strcmp(kind, "port") == 0) __asm__ volatile("outb %%al, $0x80" ::"a"(0));
  if (strcmp(kind, "trap") == 0) __asm__ volatile("int3");
  if (strcmp(kind, "recursion") == 0) {
    struct rlimit small = {8 * MIB, 8 * MIB};
    setrlimit(RLIMIT_STACK, &small);
    char *again[] = {"probe", "crash", "deeper", NULL};
    execv("/proc/self/exe", again);
  }
  if (strcmp(kind, "deeper") == 0) {
    volatile char room[4096];
    room[0] = 1;
    char *same[] = {"deeper"};
    probe_crash.run(1, same);
    room[1] = room[0];
  }
}
