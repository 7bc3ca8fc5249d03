// Files, devices, and the outputs as descriptors.
#include "probe.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>

PROBE(devices) {
  struct { const char *name; mode_t mode; int major, minor; } all[] = {
      {"mem", S_IFCHR, 1, 1}, {"null", S_IFCHR, 1, 3}, {"kmsg", S_IFCHR, 1, 11}, {"tty", S_IFCHR, 5, 0},
      {"fuse", S_IFCHR, 10, 229}, {"kvm", S_IFCHR, 10, 232}, {"loop-control", S_IFCHR, 10, 237},
      {"tun", S_IFCHR, 10, 200}, {"vsock", S_IFCHR, 10, 121}, {"loop0", S_IFBLK, 7, 0},
      {"sda", S_IFBLK, 8, 0}, {"vda", S_IFBLK, 254, 0}, {"whiteout", S_IFCHR, 0, 0}};
  const char *folders[] = {".", "/tmp", "/dev/shm"};
  for (int i = 0; i < 13; i++)
    for (int f = 0; f < 3; f++) {
      char path[64];
      snprintf(path, sizeof path, "%s/%s", folders[f], all[i].name);
      int made = mknod(path, all[i].mode | 0666, makedev(all[i].major, all[i].minor));
      // A whiteout is a device that opens nothing.
      if (made == 0 && open(path, O_RDWR) >= 0) printf("ESCAPE: %s\n", path);
      if (made == 0) unlink(path);
    }
  printf("tried\n");
}

PROBE(deep) {
  char name[256] = {0};
  memset(name, 'd', 255);
  long depth = 0;
  while (mkdir(name, 0700) == 0 && chdir(name) == 0) depth++;
  printf("depth %d\n", depth > 100);
}

PROBE(sparse) {
  int fd = open(argv[0], O_RDWR | O_CREAT, 0600);
  signal(SIGXFSZ, SIG_IGN);
  must_fail("truncate", ftruncate(fd, 1L << 40));
  must_fail("fallocate", fallocate(fd, 0, 0, 1L << 34));
  must_fail("keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1L << 34));
  must_fail("write far out", pwrite(fd, "x", 1, 1L << 40));
}

PROBE(attributes) {
  int fd = open("a", O_RDWR | O_CREAT, 0600);
  static char value[60000];
  must_fail("trusted", setxattr("a", "trusted.x", "x", 1, 0));
  must_fail("security", setxattr("a", "security.capability", "x", 1, 0));
  long flags = FS_IMMUTABLE_FL;
  must_fail("immutable", ioctl(fd, FS_IOC_SETFLAGS, &flags));
  flags = FS_APPEND_FL;
  must_fail("append", ioctl(fd, FS_IOC_SETFLAGS, &flags));
  must_fail("freeze", ioctl(fd, FIFREEZE, 0));
  must_fail("trim", ioctl(fd, FITRIM, 0));
  long count = 0;
  char name[64];
  for (; count < 20000; count++) {
    snprintf(name, sizeof name, "user.%ld", count);
    if (setxattr("a", name, value, sizeof value, 0) < 0) break;
  }
  printf("attributes bounded %d\n", count < 20000);
}

// The stdin of a task is a file of the service.
PROBE(stdin_file) {
  must_fail("write", write(0, "x", 1));
  must_fail("truncate", ftruncate(0, 0));
  must_fail("chmod", fchmod(0, 0666));
  must_fail("chown", fchown(0, 1000, 1000));
  must_fail("times", futimens(0, NULL));
  must_fail("attribute", fsetxattr(0, "user.x", "x", 1, 0));
  must_fail("open again", open("/proc/self/fd/0", O_RDWR));
  must_fail("open to append", open("/dev/stdin", O_WRONLY | O_APPEND));
  must_fail("link", linkat(AT_FDCWD, "/proc/self/fd/0", AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
  must_fail("link by descriptor", linkat(0, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
  must_fail("folder above", openat(0, "..", O_RDONLY));
  must_fail("lease", fcntl(0, F_SETLEASE, F_WRLCK));
  must_fail("seals", fcntl(0, F_ADD_SEALS, 15));
  must_fail("allocate", fallocate(0, 0, 0, 1 << 20));
  must_fail("map for writing", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0) == MAP_FAILED ? -1 : 0);
}

PROBE(stdout_pipe) {
  fcntl(1, F_SETPIPE_SZ, 1 << 20);
  fcntl(1, F_SETPIPE_SZ, 4096);
  fcntl(1, F_SETOWN, 1);
  fcntl(1, F_SETSIG, SIGKILL);
  fcntl(1, F_SETFL, O_NONBLOCK | O_DIRECT | O_ASYNC | O_APPEND);
  fchmod(1, 0);
  fchown(1, 0, 0);
  flock(1, LOCK_EX);
  for (int i = 0; i < 2000; i++)
    while (write(1, "x", 1) < 0) usleep(100);
}

// Takes away what it wrote before the service reads it, or shares pages and changes them later.
PROBE(stdout_games) {
  int again = open("/proc/self/fd/1", O_RDONLY | O_NONBLOCK);
  char *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(page, 'a', 65536);
  struct iovec vector = {page, 4096};
  for (int i = 0; i < 200; i++) {
    vmsplice(1, &vector, 1, 1);
    tee(again, 1, 4096, 2);
    read(again, page + 8192, 4096);
    memset(page, 'b', 4096);
  }
}

PROBE(unix_socket) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[0], sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  printf("socket %d\n", bind(fd, (struct sockaddr *)&address, sizeof address));
  listen(fd, 1);
}
