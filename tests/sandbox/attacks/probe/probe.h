// One program with many attacks: `probe NAME ARGUMENT...`. Compiled once, on the host.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024UL * 1024)

struct probe {
  const char *name;
  void (*run)(int argc, char **argv);
  struct probe *next;
};
extern struct probe *probes;

#define PROBE(NAME)                                                        \
  static void NAME(int argc, char **argv);                                 \
  static struct probe probe_##NAME = {#NAME, NAME, 0};                     \
  __attribute__((constructor)) static void register_##NAME(void) {         \
    probe_##NAME.next = probes;                                            \
    probes = &probe_##NAME;                                                \
  }                                                                        \
  static void NAME(int argc, char **argv)

// Says how a call ended that must not succeed.
void must_fail(const char *what, long result);
long number(const char *text);
