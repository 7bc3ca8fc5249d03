#include "probe.h"

struct probe *probes;

void must_fail(const char *what, long result) {
  int error = errno;
  if (result < 0)
    printf("%s: %s\n", what, strerrorname_np(error));
  else
    printf("ESCAPE: %s gave %ld\n", what, result);
  fflush(stdout);
}

long number(const char *text) { return (long)strtoull(text, NULL, 0); }

// Any call with any arguments: numbers, or texts that begin with '@'.
PROBE(call) {
  long values[7] = {0};
  for (int i = 0; i < argc && i < 7; i++)
    values[i] = argv[i][0] == '@' ? (long)(argv[i] + 1) : number(argv[i]);
  errno = 0;
  pid_t self = getpid();
  long result = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
  if (getpid() != self) _exit(0);  // the child of a clone that worked
  must_fail("call", result);
}

// The answer to each number read from stdin, called without arguments.
PROBE(numbers) {
  unsigned long one;
  alarm(20);
  while (scanf("%lu", &one) == 1) {
    errno = 0;
    long result = syscall((long)one, -1, -1, -1, -1, -1, -1);
    printf("%lu %s\n", one, result < 0 ? strerrorname_np(errno) : "ok");
  }
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (struct probe *one = probes; one && argc > 1; one = one->next) {
    if (strcmp(one->name, argv[1]) == 0) {
      one->run(argc - 2, argv + 2);
      return 0;
    }
  }
  fprintf(stderr, "no such probe\n");
  return 99;
}
