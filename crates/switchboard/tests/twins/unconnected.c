/* A client: a line, its answer, and so on.
   The fault: nobody looks at what connect returned. */
#include "net.h"

int main(int argc, char **argv) {
    int faulty = argc > 3 && strcmp(argv[1], "faulty") == 0;
    struct sockaddr_in address = at(argv[2], argv[3]);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    char bytes[4096];
    ssize_t n;
    int connected = connect(s, (struct sockaddr *)&address, sizeof address);
    if (connected < 0 && !faulty) die("connect");
    while ((n = read(0, bytes, sizeof bytes)) > 0) {
        if (send_all(s, bytes, n, MSG_NOSIGNAL) < 0 && !faulty) die("send");
        n = recv(s, bytes, sizeof bytes, 0);
        if (n > 0 && write(1, bytes, n) < 0) die("write");
    }
    return 0;
}
