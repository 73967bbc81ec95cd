/* An echo server with a process for each client.
   The fault: one wait for each SIGCHLD, although signals do not queue: children that end at the same time share one. */
#include "net.h"

static int faulty;

static void on_child(int number) {
    int kept = errno;
    (void)number;
    /* As long as a line in a log takes on a busy machine. */
    poll(NULL, 0, 50);
    if (faulty)
        wait(NULL);
    else
        while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    errno = kept;
}

int main(int argc, char **argv) {
    faulty = argc > 2 && strcmp(argv[1], "faulty") == 0;
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    int listener = serve(argv[2]);
    for (;;) {
        int s = accept(listener, NULL, NULL);
        if (s < 0) continue;
        if (fork() == 0) {
            close(listener);
            echo(s);
            _exit(0);
        }
        close(s);
    }
}
