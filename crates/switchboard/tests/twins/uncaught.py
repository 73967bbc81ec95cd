"""A client: a line, its answer, and so on.

The fault: that a connection can be reset was not thought of.
"""
import socket
import sys

faulty = sys.argv[1] == "faulty"


def talk():
    while line := sys.stdin.buffer.readline():
        server.sendall(line)
        if not (answer := server.recv(4096)):
            sys.exit("the server has closed")
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


server = socket.create_connection((sys.argv[2], int(sys.argv[3])))
try:
    talk()
except OSError as error:
    if faulty:
        raise
    sys.exit(f"the conversation is over: {error}")
