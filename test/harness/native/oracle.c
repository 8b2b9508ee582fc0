// The kernel as an oracle: one process, one network namespace at a time, driven over stdin and stdout.
//
// The namespace has no name. It lives exactly as long as this process keeps it, so that neither Ctrl-C nor a
// crash of the driver leaves anything behind: the driver's death closes stdin, and end of input ends us.
//
// A message is u32 length (of what follows), u8 operation or status, payload; numbers little-endian.
// Status 0: done; 1: failed, the payload is the reason.
//
//   N                                      enter a fresh namespace; TUN devices of the old one are closed; answers
//                                          f64 length of a jiffy, ms
//   T  name NUL                            open a TUN device; they are numbered from 0 in order of opening
//   W  (path NUL value NUL)*               write files (sysctls); answers one line for each that failed
//   X  u32 argc, argc * (arg NUL), stdin   run a program in the namespace; answers i32 exit status,
//                                          u32 length of stdout, stdout, stderr
//   G  u16 count, count * u16              listen to NFLOG groups
//   H                                      answers what the groups said since: (u32 length, struct nfgenmsg and
//                                          attributes)*
//   S  u32 count, count * step             take steps; answers count * result
//      step:   f64 pause ms, u16 device (0xffff: only pause), u16 zero, u32 length, frame
//      result: f64 jiffies in ms, f64 wall ms, u32 errno of the write and flags (STRADDLES, COLLECTED), frame list
//              from before the write, frame list from after it
//      frame list: u32 count, count * (u16 device, u16 zero, u32 length, frame)

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEVICES 32
#define MAX_FRAME 65600
#define MAX_MESSAGE (64u << 20)

static int tun[MAX_DEVICES];
static int tuns;

// -- the answer being written -----------------------------------------------------------------------------------

static uint8_t *out;
static size_t out_len, out_cap;

static void reserve(size_t more) {
  if (out_len + more <= out_cap) return;
  size_t cap = out_cap ? out_cap : 1 << 16;
  while (cap < out_len + more) cap *= 2;
  uint8_t *grown = realloc(out, cap);
  if (!grown) _exit(3);
  out = grown;
  out_cap = cap;
}

static void put(const void *data, size_t len) {
  reserve(len);
  memcpy(out + out_len, data, len);
  out_len += len;
}

static void put_u16(uint16_t v) { put(&v, sizeof v); }
static void put_u32(uint32_t v) { put(&v, sizeof v); }
static void put_f64(double v) { put(&v, sizeof v); }

static void begin(void) {
  out_len = 0;
  put_u32(0);
  uint8_t ok = 0;
  put(&ok, 1);
}

static void fail(const char *what) {
  int cause = errno;
  begin();
  out[4] = 1;
  char text[256];
  int n = snprintf(text, sizeof text, "%s: %s", what, strerror(cause));
  put(text, (size_t)n);
}

static void finish(void) {
  uint32_t len = (uint32_t)(out_len - 4);
  memcpy(out, &len, 4);
  for (size_t done = 0; done < out_len;) {
    ssize_t n = write(1, out + done, out_len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(0);
    done += (size_t)n;
  }
}

// -- the question being read ------------------------------------------------------------------------------------

struct reader {
  const uint8_t *at, *end;
};

static const void *need(struct reader *r, size_t len) {
  if ((size_t)(r->end - r->at) < len) _exit(4); // the driver speaks another language
  const void *p = r->at;
  r->at += len;
  return p;
}

static uint16_t get_u16(struct reader *r) {
  uint16_t v;
  memcpy(&v, need(r, sizeof v), sizeof v);
  return v;
}

static uint32_t get_u32(struct reader *r) {
  uint32_t v;
  memcpy(&v, need(r, sizeof v), sizeof v);
  return v;
}

static double get_f64(struct reader *r) {
  double v;
  memcpy(&v, need(r, sizeof v), sizeof v);
  return v;
}

static char *get_text(struct reader *r) {
  const uint8_t *nul = memchr(r->at, 0, (size_t)(r->end - r->at));
  if (!nul) _exit(4);
  return (char *)(uintptr_t)need(r, (size_t)(nul - r->at) + 1);
}

static void read_fully(void *to, size_t len) {
  for (size_t done = 0; done < len;) {
    ssize_t n = read(0, (uint8_t *)to + done, len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(0);
    done += (size_t)n;
  }
}

// -- operations -------------------------------------------------------------------------------------------------

static int nflog = -1;

/** Milliseconds of a jiffy. */
static double tick_ms(void) {
  struct timespec tick;
  clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
  return (double)tick.tv_nsec / 1e6;
}

static void new_namespace(void) {
  // Its socket would keep a scenario's namespace.
  if (nflog >= 0) close(nflog);
  nflog = -1;
  while (tuns > 0) close(tun[--tuns]);
  if (unshare(CLONE_NEWNET) < 0) return fail("unshare");
  begin();
  put_f64(tick_ms());
}

static void open_tun(struct reader *r) {
  const char *name = get_text(r);
  if (tuns == MAX_DEVICES) {
    errno = EMFILE;
    return fail(name);
  }
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    fail(name);
    close(fd);
    return;
  }
  tun[tuns++] = fd;
  begin();
}

static void write_files(struct reader *r) {
  begin();
  while (r->at < r->end) {
    const char *path = get_text(r), *value = get_text(r);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, value, strlen(value));
    if (n < 0) {
      char line[512];
      int len = snprintf(line, sizeof line, "%s = %s: %s\n", path, value, strerror(errno));
      put(line, (size_t)(len < (int)sizeof line ? len : (int)sizeof line - 1));
    }
    if (fd >= 0) close(fd);
  }
}

/** One attribute of a configuration message for a group. */
static int configure(uint16_t group, uint16_t attribute, const void *value, size_t len) {
  struct {
    struct nlmsghdr head;
    struct nfgenmsg of;
    struct nlattr attribute;
    uint8_t value[8];
  } message = {
      .head = {.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLA_HDRLEN + len),
               .nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
               .nlmsg_flags = NLM_F_REQUEST},
      .of = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(group)},
      .attribute = {.nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = attribute},
  };
  memcpy(message.value, value, len);
  return send(nflog, &message, message.head.nlmsg_len, 0) < 0;
}

static void listen_groups(struct reader *r) {
  int room = 64 << 20;
  struct sockaddr_nl own = {.nl_family = AF_NETLINK};
  if (nflog < 0) nflog = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
  if (nflog < 0 || setsockopt(nflog, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0 ||
      bind(nflog, (struct sockaddr *)&own, sizeof own) < 0)
    return fail("NFLOG");
  for (uint16_t left = get_u16(r); left > 0; left--) {
    uint16_t group = get_u16(r);
    struct nfulnl_msg_config_cmd command = {.command = NFULNL_CFG_CMD_BIND};
    struct nfulnl_msg_config_mode mode = {.copy_range = htonl(0xffff), .copy_mode = NFULNL_COPY_PACKET};
    // Every packet at once, so that the order among groups is kept.
    uint32_t threshold = htonl(1);
    if (configure(group, NFULA_CFG_CMD, &command, sizeof command) ||
        configure(group, NFULA_CFG_MODE, &mode, sizeof mode) ||
        configure(group, NFULA_CFG_QTHRESH, &threshold, sizeof threshold))
      return fail("NFLOG group");
  }
  begin();
}

static void harvest(void) {
  static uint8_t buffer[256 << 10];
  begin();
  for (;;) {
    ssize_t n = nflog < 0 ? -1 : recv(nflog, buffer, sizeof buffer, 0);
    if (n < 0 && nflog >= 0 && errno == EINTR) continue;
    if (n < 0 && nflog >= 0 && errno == ENOBUFS) return fail("NFLOG");
    if (n <= 0) break;
    size_t left = (size_t)n;
    for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)) continue;
      put_u32(m->nlmsg_len - NLMSG_HDRLEN);
      put(NLMSG_DATA(m), m->nlmsg_len - NLMSG_HDRLEN);
    }
  }
}

static void put_file(int fd, size_t len) {
  reserve(len);
  for (size_t done = 0; done < len;) {
    ssize_t n = pread(fd, out + out_len + done, len - done, (off_t)done);
    if (n <= 0) _exit(5);
    done += (size_t)n;
  }
  out_len += len;
}

static void run_program(struct reader *r) {
  uint32_t argc = get_u32(r);
  char *argv[256];
  if (argc == 0 || argc >= 256) _exit(4);
  for (uint32_t i = 0; i < argc; i++) argv[i] = get_text(r);
  argv[argc] = NULL;
  // Anonymous files instead of pipes: no deadlock, whatever the sizes.
  int in = memfd_create("in", MFD_CLOEXEC), o = memfd_create("out", MFD_CLOEXEC),
      e = memfd_create("err", MFD_CLOEXEC);
  size_t given = (size_t)(r->end - r->at);
  if (in < 0 || o < 0 || e < 0 || pwrite(in, r->at, given, 0) != (ssize_t)given) _exit(5);
  pid_t child = vfork();
  if (child == 0) {
    if (dup2(in, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0) _exit(126);
    execvp(argv[0], argv);
    _exit(127);
  }
  int status = -1;
  if (child > 0)
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  struct stat so, se;
  if (fstat(o, &so) < 0 || fstat(e, &se) < 0) _exit(5);
  begin();
  put_u32((uint32_t)(WIFEXITED(status) ? WEXITSTATUS(status) : -1));
  put_u32((uint32_t)so.st_size);
  put_file(o, (size_t)so.st_size);
  put_file(e, (size_t)se.st_size);
  close(in);
  close(o);
  close(e);
}

static void drain(void) {
  size_t at = out_len;
  uint32_t count = 0;
  put_u32(0);
  for (int i = 0; i < tuns; i++) {
    for (;;) {
      reserve(MAX_FRAME + 8);
      ssize_t n = read(tun[i], out + out_len + 8, MAX_FRAME);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      put_u16((uint16_t)i);
      put_u16(0);
      put_u32((uint32_t)n);
      out_len += (size_t)n;
      count++;
    }
  }
  memcpy(out + at, &count, 4);
}

static double clock_ms(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/**
 * Jiffies, in milliseconds: what netfilter measures time by. A socket that never sent tells how long ago it did not.
 * The coarse clock will not do: it and jiffies part by one for a while when a processor wakes up.
 */
static double jiffies_ms(void) {
  static int fd = -1;
  struct tcp_info info;
  socklen_t len = sizeof info;
  if (fd < 0) fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) _exit(3);
  return (double)info.tcpi_last_data_sent;
}

/** What the monotonic clock shows when jiffies are 0, for a tick is due every so many nanoseconds of it. */
static double zero_ms;

/** Watches a few ticks, for one may come late. */
static void watch_ticks(void) {
  zero_ms = 1e300;
  for (int n = 0; n < 4; n++) {
    double before = jiffies_ms(), now;
    while ((now = jiffies_ms()) == before) {
    }
    double zero = clock_ms(CLOCK_MONOTONIC) - now;
    if (zero < zero_ms) zero_ms = zero;
  }
}

/**
 * Waits for the next jiffy if it is near, or late: a step should fall into one jiffy that it reports.
 */
static void settle(void) {
  const double near_ms = 0.25;
  double length = tick_ms(), start = clock_ms(CLOCK_MONOTONIC), now = start;
  double coarse = clock_ms(CLOCK_MONOTONIC_COARSE);
  int waited = 0;
  while (now + near_ms - zero_ms >= jiffies_ms() + length && now - start < 2 * length) {
    now = clock_ms(CLOCK_MONOTONIC);
    waited = 1;
  }
  // Jiffies count first, then the clocks of seconds go on.
  while (waited && clock_ms(CLOCK_MONOTONIC_COARSE) == coarse && now - start < 2 * length)
    now = clock_ms(CLOCK_MONOTONIC);
}

/** Milliseconds since 1970. Seconds are counted at ticks: they may begin late (ktime_get_real_seconds). */
static double wall_ms(void) {
  double fine = clock_ms(CLOCK_REALTIME), coarse = clock_ms(CLOCK_REALTIME_COARSE);
  return (int64_t)(coarse / 1e3) < (int64_t)(fine / 1e3) ? coarse : fine;
}

/** Set in a step's cause: a jiffy ended meanwhile. */
#define STRADDLES 0x80000000U
/** Set in a step's cause: before it, whatever had expired was taken out of the table of connections. */
#define COLLECTED 0x40000000U

/**
 * Connections that are over stay in the kernel's table until its worker or some dump of it comes by, and NAT looks at
 * them: a dump (ctnetlink_dump_table), so that it is known when. Of a family that nobody has, so that it says nothing.
 */
static void collect(void) {
  static int fd = -1;
  static uint8_t buffer[64 << 10];
  struct {
    struct nlmsghdr head;
    struct nfgenmsg of;
  } dump = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)),
                     .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
            .of = {.nfgen_family = 99, .version = NFNETLINK_V0}};
  if (send(fd, &dump, dump.head.nlmsg_len, 0) < 0) {
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0 || send(fd, &dump, dump.head.nlmsg_len, 0) < 0) _exit(6);
  }
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < (ssize_t)sizeof(struct nlmsghdr)) _exit(6);
    uint16_t type = ((struct nlmsghdr *)(void *)buffer)->nlmsg_type;
    if (type == NLMSG_DONE || type == NLMSG_ERROR) return;
  }
}

static void take_steps(struct reader *r) {
  const double collect_every_ms = 250;
  static double collected;
  uint32_t count = get_u32(r);
  begin();
  for (uint32_t i = 0; i < count; i++) {
    double pause = get_f64(r);
    uint16_t device = get_u16(r);
    get_u16(r);
    uint32_t len = get_u32(r);
    const void *frame = need(r, len);
    if (pause > 0) {
      double until = clock_ms(CLOCK_MONOTONIC) + pause;
      struct timespec t = {.tv_sec = (time_t)(until / 1e3)};
      t.tv_nsec = (long)((until - (double)t.tv_sec * 1e3) * 1e6);
      while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
      }
    }
    uint32_t cause = 0;
    settle();
    if (clock_ms(CLOCK_MONOTONIC) - collected >= collect_every_ms) {
      cause = COLLECTED;
      collect();
      settle();
      collected = clock_ms(CLOCK_MONOTONIC);
    }
    double jiffy = jiffies_ms();
    put_f64(jiffy);
    put_f64(wall_ms());
    size_t at = out_len;
    put_u32(0);
    drain();
    if (device < tuns) {
      // Forwarding and local answers happen inside this write; nothing needs to be waited for.
      ssize_t n = write(tun[device], frame, len);
      cause |= n < 0 ? (uint32_t)errno : 0;
      if (jiffies_ms() != jiffy) cause |= STRADDLES;
    }
    memcpy(out + at, &cause, 4);
    drain();
  }
}

/** Lists of connections (nf_conncount.c) look at which processor an entry was made: all of them on one. */
static void stay_on_one_processor(void) {
  cpu_set_t all, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all) < 0) return;
  int skip = getpid() % CPU_COUNT(&all);
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &all) && skip-- == 0) CPU_SET(i, &one);
  sched_setaffinity(0, sizeof one, &one);
}

/** A busy machine must not come between the look at the clock and the frame. The tools run as everybody else. */
static void go_first(void) {
  struct sched_param least = {.sched_priority = sched_get_priority_min(SCHED_RR)};
  sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &least);
}

int main(void) {
  stay_on_one_processor();
  go_first();
  uint8_t *message = NULL;
  size_t cap = 0;
  // Their sockets would keep a scenario's namespace.
  jiffies_ms();
  watch_ticks();
  collect();
  for (;;) {
    uint32_t len;
    read_fully(&len, sizeof len);
    if (len == 0 || len > MAX_MESSAGE) return 4;
    if (len > cap) {
      free(message);
      message = malloc(len);
      if (!message) return 3;
      cap = len;
    }
    read_fully(message, len);
    struct reader r = {message + 1, message + len};
    switch (message[0]) {
    case 'N': new_namespace(); break;
    case 'T': open_tun(&r); break;
    case 'W': write_files(&r); break;
    case 'X': run_program(&r); break;
    case 'G': listen_groups(&r); break;
    case 'H': harvest(); break;
    case 'S': take_steps(&r); break;
    default: errno = ENOSYS; fail("operation");
    }
    finish();
  }
}
