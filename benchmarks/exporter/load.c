/* The processes on which exporters are measured: sleeping, busy, forking.
 *
 *   load NAME PROCESSES NAMES BYTES THREADS BUSY BUSY_US FORKS
 *
 * Starts PROCESSES sleeping processes under the names NAME-00, NAME-01, ... (NAMES of them; each process of NAME-00 has BYTES
 * resident), BUSY processes NAME-busy that compute for BUSY_US microseconds in every 100 ms and, if FORKS is not 0, one
 * NAME-fork that starts FORKS short-lived processes a second. Each has THREADS threads.
 *
 * Writes "ready" when all are there, and ends them at the end of standard input. Exit code 1, with the reason on standard
 * error, when one cannot be started or ends by itself. All of them end with the supervisor, whatever ended it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READY = 3, NAME_BYTES = 64, PERIOD_MS = 100, FORKED_LIVES_MS = 20 };

static const long SECOND_NS = 1000000000L;

struct plan {
  const char *name;
  long processes, names, bytes, threads, busy, busy_us, forks;
};

static long number(const char *text) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || *end || end == text || value < 0) {
    fprintf(stderr, "load: %s is no number\n", text);
    exit(2);
  }
  return value;
}

static long now_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static void sleep_until(long when_ns) {
  struct timespec when = {when_ns / SECOND_NS, when_ns % SECOND_NS};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {}
}

/* ---- one process of the load, after exec: NAME ROLE BYTES THREADS AMOUNT ---- */

static void broken(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static void *idle(void *nothing) {
  for (;;) pause();
  return nothing;
}

static void add_threads(long count) {
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
  for (long i = 0; i < count; i++) {
    pthread_t thread;
    if ((errno = pthread_create(&thread, &small, idle, NULL))) broken("cannot start a thread");
  }
}

static void hold(long bytes) {
  if (bytes == 0) return;
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) broken("no memory");
  memset(memory, 1, bytes);
}

static void compute(long busy_us) {
  for (long next = now_ns(CLOCK_MONOTONIC);; next += PERIOD_MS * 1000000L) {
    long enough = now_ns(CLOCK_PROCESS_CPUTIME_ID) + busy_us * 1000;
    while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < enough) {}
    sleep_until(next);
  }
}

static void fork_on(long per_second) {
  signal(SIGCHLD, SIG_IGN); /* nothing to reap */
  pid_t self = getpid();
  for (long next = now_ns(CLOCK_MONOTONIC);; next += SECOND_NS / per_second) {
    pid_t child = fork();
    if (child < 0) broken("cannot fork");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != self) _exit(0);
      usleep(FORKED_LIVES_MS * 1000);
      _exit(0);
    }
    sleep_until(next);
  }
}

static int process(char **argv) {
  prctl(PR_SET_NAME, argv[0]);
  hold(number(argv[2]));
  add_threads(number(argv[3]) - 1);
  if (write(READY, "r", 1) != 1) broken("cannot report");
  close(READY);
  long amount = number(argv[4]);
  switch (argv[1][0]) {
    case 'b': compute(amount); break;
    case 'f': fork_on(amount); break;
    default: idle(NULL);
  }
  return 0;
}

/* ---- the supervisor ---- */

static sigset_t usual_signals;

static void child_ended(int number) { (void)number; }

static pid_t start(int ready, const char *name, const char *role, long bytes, long threads, long amount) {
  pid_t self = getpid(), child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != self) _exit(1);
  sigprocmask(SIG_SETMASK, &usual_signals, NULL);
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(nothing, STDIN_FILENO);
  dup2(nothing, STDOUT_FILENO);
  dup2(ready, READY); /* a duplicate is kept over exec, what it is made of is not */
  char held[24], count[24], much[24];
  snprintf(held, sizeof held, "%ld", bytes);
  snprintf(count, sizeof count, "%ld", threads);
  snprintf(much, sizeof much, "%ld", amount);
  execl("/proc/self/exe", name, role, held, count, much, (char *)NULL);
  broken("cannot exec");
  return 0;
}

/* Whether to go on: standard input is open, and no child has ended. Waits for news of `ready` or those for up to `wait`. */
static int well(int ready, const struct timespec *wait, int *news) {
  struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {ready, POLLIN, 0}};
  int count = ppoll(fds, 2, wait, &usual_signals);
  if (news) *news = count > 0 && fds[1].revents;
  if (count > 0 && fds[0].revents) return 0;
  siginfo_t ended = {.si_pid = 0};
  if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) { /* kept: its pid stays ours */
    fprintf(stderr, "load: a process of the load ended by itself\n");
    return 0;
  }
  return 1;
}

static long everything(const struct plan *plan) { return plan->processes + plan->busy + (plan->forks ? 1 : 0); }

static pid_t start_nth(const struct plan *plan, int ready, long i) {
  char name[NAME_BYTES];
  if (i < plan->processes) {
    long nth = i % plan->names;
    snprintf(name, sizeof name, "%s-%02u", plan->name, (unsigned)nth);
    return start(ready, name, "sleep", nth ? 0 : plan->bytes, plan->threads, 0);
  }
  int busy = i < plan->processes + plan->busy;
  snprintf(name, sizeof name, "%s-%s", plan->name, busy ? "busy" : "fork");
  return start(ready, name, busy ? "busy" : "fork", 0, plan->threads, busy ? plan->busy_us : plan->forks);
}

/* Returns when there is a reason to end. */
static void run(const struct plan *plan, pid_t *children, long *started) {
  const struct timespec none = {0, 0};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) broken("no pipe");
  int out = fcntl(ends[1], F_DUPFD_CLOEXEC, READY + 1); /* not READY itself: duplicating that to itself would keep its flag */
  close(ends[1]);
  int ready = fcntl(ends[0], F_DUPFD_CLOEXEC, READY + 1);
  close(ends[0]);
  for (; *started < everything(plan); ++*started) {
    if (!well(-1, &none, NULL)) return;
    pid_t child = start_nth(plan, out, *started);
    if (child < 0) {
      fprintf(stderr, "load: cannot start process %ld of %ld: %s\n", *started + 1, everything(plan), strerror(errno));
      return;
    }
    children[*started] = child;
  }
  char bytes[4096];
  for (long reports = 0; reports < everything(plan);) {
    int news;
    if (!well(ready, NULL, &news)) return;
    if (news) reports += read(ready, bytes, sizeof bytes);
  }
  if (puts("ready") < 0 || fflush(stdout) != 0) return;
  while (well(-1, NULL, NULL)) {}
}

int main(int argc, char **argv) {
  if (argc == 5) return process(argv);
  if (argc != 9) {
    fprintf(stderr, "usage: load NAME PROCESSES NAMES BYTES THREADS BUSY BUSY_US FORKS\n");
    return 2;
  }
  struct plan plan = {argv[1], number(argv[2]), number(argv[3]), number(argv[4]),
                      number(argv[5]), number(argv[6]), number(argv[7]), number(argv[8])};
  int adjust = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (adjust >= 0) { /* should memory run out, it is the load that goes */
    if (write(adjust, "1000", 4) != 4) perror("load: oom_score_adj");
    close(adjust);
  }
  prctl(PR_SET_CHILD_SUBREAPER, 1); /* the short-lived ones are waited for here, too, when who started them is gone */
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  sigprocmask(SIG_BLOCK, &blocked, &usual_signals);
  signal(SIGCHLD, child_ended);
  pid_t *children = calloc(everything(&plan) + 1, sizeof *children);
  long started = 0;
  if (children) run(&plan, children, &started);
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  int asked_to = poll(&input, 1, 0) > 0;
  for (long i = 0; i < started; i++) kill(children[i], SIGKILL); /* none was waited for: all are ours */
  while (wait(NULL) > 0 || errno == EINTR) {}
  return asked_to ? 0 : 1;
}
