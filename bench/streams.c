// streams - holds many CONNECT streams on a few HTTP/2 connections, so that a proxy can be shown with more internal
// connections than the machine has descriptors. Own work, C11 + Linux only.
//   streams PORT CONNECTIONS      stdin: "open N" | "check" | "quit"; one line of JSON answers each
// Every stream is a tunnel to something that echoes: "open" makes tunnels and sends one message through each, "check" sends
// one message through every tunnel that is open. A message names its stream and its turn; what comes back must be equal.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 16
#define IN_FLIGHT 64
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { F_ACK = 1, F_END_STREAM = 1, F_END_HEADERS = 4 };

struct stream { uint32_t id; int answered; unsigned turn, got; unsigned char message[MESSAGE]; };
struct conn {
  int fd; uint32_t next_id; int64_t window;
  unsigned char *in; size_t in_len, in_cap;
  unsigned char *out; size_t out_len, out_off, out_cap;
  struct stream **streams; size_t stream_count; int dead;
};
static struct conn *conns; static int conn_count; static int ep;
static uint64_t errors, finished; static unsigned in_flight;

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void die(const char *what) { fprintf(stderr, "streams: %s: %s\n", what, strerror(errno)); exit(2); }
static double cpu_self(void) { struct rusage r; getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6; }

static void put(struct conn *c, const void *p, size_t n) {
  if (c->out_off == c->out_len) c->out_off = c->out_len = 0;
  if (c->out_len + n > c->out_cap) { c->out_cap = (c->out_len + n) * 2 + 4096; c->out = realloc(c->out, c->out_cap); if (!c->out) die("memory"); }
  memcpy(c->out + c->out_len, p, n); c->out_len += n;
}
static void frame(struct conn *c, int type, int flags, uint32_t id, const void *p, size_t n) {
  unsigned char h[9] = {n >> 16, n >> 8, n, type, flags, id >> 24, id >> 16, id >> 8, id};
  put(c, h, 9); if (n) put(c, p, n);
}
static void flush(struct conn *c) {
  while (c->out_off < c->out_len) {
    ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
    if (n < 0) { if (errno != EAGAIN) { c->dead = 1; errors++; } break; }
    c->out_off += n;
  }
  struct epoll_event e = {.events = EPOLLIN | (c->out_off < c->out_len && !c->dead ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}
static void send_message(struct conn *c, struct stream *s) {
  memset(s->message, 0, MESSAGE); s->turn++; s->got = 0;
  snprintf((char *)s->message, MESSAGE, "%08x%06x", s->id, s->turn & 0xffffff);
  c->window -= MESSAGE; frame(c, DATA, 0, s->id, s->message, MESSAGE);
}
static void open_stream(struct conn *c) {
  static const unsigned char head[] = "\x02\x07" "CONNECT" "\x01\x0e" "bench.local:80"; // RFC 7541, literals with indexed names
  struct stream *s = calloc(1, sizeof *s); if (!s) die("memory");
  s->id = c->next_id; c->next_id += 2;
  c->streams = realloc(c->streams, (c->stream_count + 1) * sizeof *c->streams); c->streams[c->stream_count++] = s;
  frame(c, HEADERS, F_END_HEADERS, s->id, head, sizeof head - 1);
}
static void connect_all(int port) {
  for (int i = 0; i < conn_count; i++) {
    struct conn *c = &conns[i]; int one = 1; struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); if (c->fd < 0 || connect(c->fd, (void *)&a, sizeof a)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, 4);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c}; if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e)) die("epoll");
    c->next_id = 1; c->window = 65535; c->in_cap = 1 << 18; c->in = malloc(c->in_cap);
    put(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(c, SETTINGS, 0, 0, "\x00\x04\x7f\xff\xff\xff", 6);             // what streams may send to us: no limit that matters
    frame(c, WINDOW_UPDATE, 0, 0, "\x7f\xfe\xff\xff", 4);
    flush(c);
  }
}
static struct stream *find(struct conn *c, uint32_t id) { size_t i = (id - 1) / 2; return i < c->stream_count ? c->streams[i] : NULL; }
static void fail(struct conn *c, uint32_t id, const char *why) {
  if (errors++ < 3) fprintf(stderr, "streams: stream %u of %zu: %s\n", id, c->stream_count, why);
  if (in_flight) in_flight--;
}
static void one_frame(struct conn *c, int type, int flags, uint32_t id, unsigned char *p, size_t n) {
  struct stream *s = id ? find(c, id) : NULL;
  if (type == HEADERS && s && !s->answered) {
    if (n < 1 || p[0] != 0x88 || (flags & F_END_STREAM)) { fail(c, id, "not a 200 that stays open"); return; } // 0x88: ":status: 200"
    s->answered = 1; send_message(c, s);
  } else if (type == DATA && s) {
    if (s->got + n > MESSAGE || memcmp(p, s->message + s->got, n) || (flags & F_END_STREAM)) { fail(c, id, "other bytes than were sent"); return; }
    s->got += n; if (s->got == MESSAGE && n) { finished++; in_flight--; }
  } else if (type == RST_STREAM && s) fail(c, id, "reset");
  else if (type == GOAWAY) { c->dead = 1; errors++; fprintf(stderr, "streams: GOAWAY\n"); }
  else if (type == SETTINGS && !(flags & F_ACK)) frame(c, SETTINGS, F_ACK, 0, NULL, 0);
  else if (type == PING && !(flags & F_ACK)) frame(c, PING, F_ACK, 0, p, n);
  else if (type == WINDOW_UPDATE && id == 0 && n == 4) c->window += (uint32_t)(p[0] & 0x7f) << 24 | p[1] << 16 | p[2] << 8 | p[3];
}
static void readable(struct conn *c) {
  ssize_t r = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
  if (r == 0 || (r < 0 && errno != EAGAIN)) { c->dead = 1; errors++; epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL); return; }
  if (r < 0) return;
  c->in_len += r; size_t at = 0;
  while (c->in_len - at >= 9) {
    unsigned char *h = c->in + at; size_t n = h[0] << 16 | h[1] << 8 | h[2];
    if (c->in_len - at < 9 + n) break;
    one_frame(c, h[3], h[4], (uint32_t)(h[5] & 0x7f) << 24 | h[6] << 16 | h[7] << 8 | h[8], h + 9, n); at += 9 + n;
  }
  memmove(c->in, c->in + at, c->in_len - at); c->in_len -= at;
}
/* One message through each of COUNT tunnels from FIRST on, opening them if NEW. Tunnel k is on connection k mod CONNECTIONS. */
static void turn(size_t first, size_t count, int new) {
  uint64_t t0 = now_ns(), hard = t0 + 120000000000ull; size_t next = 0; errors = finished = 0; in_flight = 0;
  double c0 = cpu_self();
  while (finished + errors < count && now_ns() < hard) {
    while (next < count && in_flight < IN_FLIGHT) {
      struct conn *c = &conns[(first + next) % conn_count];
      if (c->dead || c->window < MESSAGE * IN_FLIGHT) break;
      if (new) open_stream(c); else send_message(c, c->streams[(first + next) / conn_count]);
      in_flight++; next++;
    }
    int dead = 0; for (int i = 0; i < conn_count; i++) { dead += conns[i].dead; if (!conns[i].dead && conns[i].out_off < conns[i].out_len) flush(&conns[i]); }
    if (dead == conn_count) break;
    struct epoll_event ev[64]; int n = epoll_wait(ep, ev, 64, 500);
    for (int i = 0; i < n; i++) if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(ev[i].data.ptr);
  }
  printf("{\"ok\":%llu,\"open\":%zu,\"secs\":%.4f,\"errors\":%llu,\"cpu\":%.4f}\n", (unsigned long long)finished, new ? first + count : count,
         (now_ns() - t0) / 1e9, (unsigned long long)(errors + (finished + errors < count)), cpu_self() - c0);
  fflush(stdout);
}
int main(int argc, char **argv) {
  if (argc != 3 || (conn_count = atoi(argv[2])) < 1) { fprintf(stderr, "usage: streams PORT CONNECTIONS\n"); return 2; }
  ep = epoll_create1(EPOLL_CLOEXEC); conns = calloc(conn_count, sizeof *conns);
  connect_all(atoi(argv[1]));
  char line[64]; size_t have = 0;
  while (fgets(line, sizeof line, stdin)) {
    if (!strncmp(line, "open ", 5)) { size_t goal = strtoul(line + 5, 0, 10); turn(have, goal - have, 1); have = goal; }
    else if (!strncmp(line, "check", 5)) turn(0, have, 0);
    else break;
  }
  return 0;
}
