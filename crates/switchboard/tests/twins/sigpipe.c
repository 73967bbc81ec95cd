/* A client that goes on sending when the server has sent its end, as half-close allows.
   The fault: SIGPIPE is left to its default action, which kills who writes after the answer was a reset. */
#include "net.h"

int main(int argc, char **argv) {
    int faulty = argc > 3 && strcmp(argv[1], "faulty") == 0;
    int s = dial(argv[2], argv[3]);
    struct pollfd watched[2] = {{.fd = 0, .events = POLLIN}, {.fd = s, .events = POLLIN}};
    char bytes[4096];
    for (;;) {
        if (poll(watched, 2, -1) < 0) continue;
        if (watched[1].revents) {
            ssize_t n = recv(s, bytes, sizeof bytes, 0);
            if (n <= 0)
                watched[1].fd = -1;
            else if (write(1, bytes, n) < 0)
                die("write");
        }
        if (watched[0].revents) {
            ssize_t n = read(0, bytes, sizeof bytes);
            if (n <= 0) return 0;
            /* A reset is told once; whether it is over, the next send says. */
            if (send_all(s, bytes, n, faulty ? 0 : MSG_NOSIGNAL) < 0 && errno != ECONNRESET) die("send");
        }
    }
}
