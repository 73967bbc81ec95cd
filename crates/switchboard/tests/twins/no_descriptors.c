/* An echo server with one loop for all.
   The fault: when descriptors run out, accept fails and is called again at once, since the client still waits. */
#include "net.h"

#define MOST 256

int main(int argc, char **argv) {
    int faulty = argc > 2 && strcmp(argv[1], "faulty") == 0;
    struct pollfd watched[MOST] = {{.fd = serve(argv[2]), .events = POLLIN}};
    nfds_t count = 1;
    char bytes[4096];
    for (;;) {
        if (poll(watched, count, -1) < 0) continue;
        for (nfds_t i = count - 1; i > 0; i--) {
            if (!watched[i].revents) continue;
            ssize_t n = recv(watched[i].fd, bytes, sizeof bytes, 0);
            if (n > 0 && send_all(watched[i].fd, bytes, n, MSG_NOSIGNAL) == 0) continue;
            close(watched[i].fd);
            watched[i] = watched[--count];
            /* There is a descriptor again. */
            watched[0].events = POLLIN;
        }
        if (watched[0].revents && watched[0].events) {
            int s = accept(watched[0].fd, NULL, NULL);
            if (s >= 0 && count < MOST)
                watched[count++] = (struct pollfd){.fd = s, .events = POLLIN};
            else if (errno == EMFILE && !faulty)
                watched[0].events = 0;
        }
    }
}
