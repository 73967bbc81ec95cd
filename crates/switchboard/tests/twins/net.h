/* What the C twins share, and what none of them has its fault in. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in at(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* A connected socket; who cannot connect says so and ends. */
static inline int dial(const char *host, const char *port) {
    struct sockaddr_in address = at(host, port);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    return s;
}

/* A listening socket on every address. */
static inline int serve(const char *port) {
    struct sockaddr_in address = at("0.0.0.0", port);
    int s = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(s, 128) < 0) die("listen");
    return s;
}

/* All of it, or -1. */
static inline int send_all(int s, const char *from, size_t size, int flags) {
    while (size > 0) {
        ssize_t n = send(s, from, size, flags);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        from += n;
        size -= n;
    }
    return 0;
}

/* Echo until the end of input or an error. */
static inline void echo(int s) {
    char bytes[4096];
    ssize_t n;
    while ((n = recv(s, bytes, sizeof bytes, 0)) > 0)
        if (send_all(s, bytes, n, MSG_NOSIGNAL) < 0) return;
}
