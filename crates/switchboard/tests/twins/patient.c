/* A client that shows what the server says, whenever that is.
   The fault: nothing limits the wait for a server that is gone. */
#include "net.h"

int main(int argc, char **argv) {
    int faulty = argc > 3 && strcmp(argv[1], "faulty") == 0;
    int s = dial(argv[2], argv[3]), on = 1;
    char bytes[4096];
    if (!faulty) setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ssize_t n = read(0, bytes, sizeof bytes);
    if (n > 0 && send_all(s, bytes, n, MSG_NOSIGNAL) < 0) die("send");
    while ((n = recv(s, bytes, sizeof bytes, 0)) > 0)
        if (write(1, bytes, n) < 0) die("write");
    if (n < 0) die("recv");
    return 0;
}
