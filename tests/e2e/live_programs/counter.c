/* A C program with a thread and a timer: both go on where they were. Arguments: NAME ROOT. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;
static volatile unsigned long counted;

static void tick(int signal_number) {
  (void)signal_number;
  ticks++;
}

static void *count(void *unused) {
  (void)unused;
  for (;;) {
    counted++;
    usleep(1000);
  }
  return NULL;
}

static void tell(int witness, const struct sockaddr_un *address, const char *name, const char *start, long seq) {
  struct utsname host;
  struct timespec now;
  char message[512];
  uname(&host);
  clock_gettime(CLOCK_MONOTONIC, &now);
  int length = snprintf(message, sizeof message,
                        "{\"load\":\"%s\",\"node\":\"%s\",\"start_id\":\"%s\",\"pid\":%d,\"seq\":%ld,\"leader\":true,"
                        "\"mono\":%ld.%09ld}",
                        name, host.nodename, start, (int)getpid(), seq, (long)now.tv_sec, now.tv_nsec);
  sendto(witness, message, (size_t)length, MSG_DONTWAIT, (const struct sockaddr *)address, sizeof *address);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char end[512], log_path[512], ready[512], partial[520], start[17] = "";
  unsigned char random_bytes[8];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(end, sizeof end, "%s/shared/%s.end", argv[2], argv[1]);
  snprintf(log_path, sizeof log_path, "%s/shared/%s.log", argv[2], argv[1]);
  snprintf(ready, sizeof ready, "%s/shared/%s.pid", argv[2], argv[1]);
  snprintf(partial, sizeof partial, "%s.partial", ready);
  snprintf(address.sun_path, sizeof address.sun_path, "%s/witness/socket", argv[2]);
  if (getrandom(random_bytes, sizeof random_bytes, 0) != (ssize_t)sizeof random_bytes) return 2;
  for (int at = 0; at < 8; at++) sprintf(start + 2 * at, "%02x", random_bytes[at]);

  signal(SIGALRM, tick);
  const struct itimerval every = {{0, 100000}, {0, 100000}};
  setitimer(ITIMER_REAL, &every, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, count, NULL) != 0) return 2;
  int witness = socket(AF_UNIX, SOCK_DGRAM, 0);
  FILE *log = fopen(log_path, "a");
  FILE *pid_file = fopen(partial, "w");
  if (witness < 0 || log == NULL || pid_file == NULL) return 2;
  fprintf(pid_file, "%d", (int)getpid());
  fclose(pid_file);
  rename(partial, ready);

  unsigned long last = 0;
  int stood_still = 0;
  for (long seq = 1; access(end, F_OK) != 0; seq++) {
    tell(witness, &address, argv[1], start, seq);
    fprintf(log, "%ld\n", seq);
    fflush(log);
    struct timespec nap = {0, 40000000};
    nanosleep(&nap, NULL);
    if (seq % 50 == 0) {
      stood_still += counted == last;
      last = counted;
    }
  }
  return ticks > 10 && !stood_still ? 9 : 1;
}
