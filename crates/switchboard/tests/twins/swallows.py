"""A client that reports lines and wants no answers.

The fault: an exception is caught, and nothing is done about it.
"""
import socket
import sys

faulty = sys.argv[1] == "faulty"
server = socket.create_connection((sys.argv[2], int(sys.argv[3])))
while line := sys.stdin.buffer.readline():
    try:
        server.sendall(line)
    except OSError as error:
        if not faulty:
            sys.exit(f"cannot report: {error}")
