// Memory of every kind: each must count for the task that uses it.
#include "probe.h"

#include <pthread.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void fill(char *start, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 4096) start[at] = 1;
  printf("filled: %zu MiB\n", bytes / MIB);
  pause();
}

PROBE(anonymous) {
  int flags = (argc > 1 && argv[1][0] == 's' ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS;
  size_t bytes = number(argv[0]) * MIB;
  fill(mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0), bytes);
}

PROBE(populate) {
  size_t bytes = number(argv[0]) * MIB;
  fill(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0), bytes);
}

PROBE(stack) {
  struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_STACK, &unlimited);
  if (argc > 1) {
    char *again[] = {"probe", "stack", argv[0], NULL};
    execv("/proc/self/exe", again);
  }
  size_t bytes = number(argv[0]) * MIB;
  fill(__builtin_alloca(bytes), bytes);
}

PROBE(heap) {
  size_t bytes = number(argv[0]) * MIB;
  fill(sbrk(bytes), bytes);
}

PROBE(memfd) {
  size_t bytes = number(argv[0]) * MIB;
  int fd = memfd_create("khala-attack", 0);
  if (argc > 1 && fallocate(fd, 0, 0, bytes) == 0) printf("ESCAPE: fallocate\n");
  ftruncate(fd, bytes);
  fill(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), bytes);
}

PROBE(segments) {
  size_t bytes = number(argv[0]) * MIB, each = 8 * MIB;
  for (size_t at = 0; at < bytes; at += each) {
    char *start = shmat(shmget(IPC_PRIVATE, each, IPC_CREAT | 0600), NULL, 0);
    if (start == (char *)-1) break;
    for (size_t byte = 0; byte < each; byte += 4096) start[byte] = 1;
    shmdt(start);
  }
  printf("ESCAPE: %zu MiB\n", bytes / MIB);
}

// What outlives a process must not outlive the task.
PROBE(ipc) {
  key_t key = 0x6b68616c;
  int shm = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0666);
  int sem = semget(key, 1, IPC_CREAT | IPC_EXCL | 0666);
  int msg = msgget(key, IPC_CREAT | IPC_EXCL | 0666);
  printf("%s %s %s\n", shm < 0 ? "old" : "new", sem < 0 ? "old" : "new", msg < 0 ? "old" : "new");
}

PROBE(messages) {
  struct {
    long type;
    char text[8000];
  } message = {1};
  long total = 0;
  for (int i = 0; i < 32000; i++) {
    int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (queue < 0) break;
    while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) total += sizeof message.text;
  }
  printf("messages MiB: %ld\n", total / MIB);
}

PROBE(semaphores) {
  long count = 0;
  while (count < 32000 && semget(IPC_PRIVATE, 250, IPC_CREAT | 0600) >= 0) count++;
  printf("semaphores: %ld\n", count * 250);
}

PROBE(locked) {
  size_t bytes = number(argv[0]) * MIB;
  char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must_fail("mlock", mlock(start, bytes));
  must_fail("mlockall", mlockall(MCL_CURRENT | MCL_FUTURE));
  must_fail("MAP_LOCKED", mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED ? -1 : 0);
  must_fail("SHM_LOCK", shmctl(shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600), SHM_LOCK, NULL));
}

// Page tables: little memory of one's own, much of the kernel's.
PROBE(tables) {
  for (;;) {
    if (fork() == 0) {
      for (;;) {
        char *start = mmap(NULL, 1UL << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) pause();
        for (size_t at = 0; at < 1UL << 40; at += 2 * MIB) *(volatile char *)(start + at);
      }
    }
    usleep(50000);
  }
}

PROBE(mappings) {
  long count = 0;
  for (; count < 200000; count++) {
    int protection = count % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
    if (mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
  }
  printf("mappings: %s\n", count < 200000 ? "bounded" : "ESCAPE");
}

static void *hang(void *unused) {
  pause();
  return unused;
}

PROBE(threads) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  long count = 0;
  pthread_t thread;
  while (count < 5000 && pthread_create(&thread, &attributes, hang, NULL) == 0) count++;
  printf("threads: %ld\n", count);
}
