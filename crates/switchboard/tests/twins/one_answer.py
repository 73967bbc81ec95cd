"""A client: a line, its answer, and so on.

The fault: one recv is taken for one answer, whatever was in it.
"""
import socket
import sys

faulty = sys.argv[1] == "faulty"
server = socket.create_connection((sys.argv[2], int(sys.argv[3])))
received = b""
while line := sys.stdin.buffer.readline():
    server.sendall(line)
    if faulty:
        answer = server.recv(4096)
    else:
        while b"\n" not in received:
            piece = server.recv(4096)
            if not piece:
                sys.exit("the server has closed")
            received += piece
        answer, _, received = received.partition(b"\n")
        answer += b"\n"
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
server.close()
