"""A client: a line, its answer, and so on.

The fault: what was not answered within a second is sent again, although TCP still carries the first copy.
"""
import select
import socket
import sys

faulty = sys.argv[1] == "faulty"
server = socket.create_connection((sys.argv[2], int(sys.argv[3])))
while line := sys.stdin.buffer.readline():
    server.sendall(line)
    while not select.select([server], [], [], 1)[0]:
        if faulty:
            server.sendall(line)
    if not (answer := server.recv(4096)):
        sys.exit("the server has closed")
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
