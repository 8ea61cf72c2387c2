/* What the kernel itself takes to tell of every process whether it did anything: one clock_gettime on each one's CPU clock.
 *
 * Reads lines of process ids, separated by spaces. For each line it looks once at all of them and writes how many nanoseconds
 * of CPU time that took, how many clocks it read, and how many processes were gone. Ends with standard input.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long own_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

static size_t parse(char *line, clockid_t *clocks) {
  size_t count = 0;
  for (char *end, *text = line;; text = end) {
    long pid = strtol(text, &end, 10);
    if (end == text) return count;
    clocks[count++] = (clockid_t)((~(unsigned)pid << 3) | 2); /* man 3 clock_getcpuclockid; the kernel's MAKE_PROCESS_CPUCLOCK */
  }
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    clockid_t *clocks = calloc(strlen(line) / 2 + 1, sizeof *clocks);
    if (!clocks) return 1;
    size_t count = parse(line, clocks), gone = 0;
    struct timespec time;
    long before = own_ns();
    for (size_t i = 0; i < count; i++) gone += clock_gettime(clocks[i], &time) != 0;
    long took = own_ns() - before;
    free(clocks);
    if (printf("%ld %zu %zu\n", took, count - gone, gone) < 0 || fflush(stdout) != 0) return 1;
  }
  return 0;
}
