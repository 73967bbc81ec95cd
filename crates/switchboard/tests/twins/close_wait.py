"""An echo server with a thread for each client.

The fault: a list of clients that nobody is taken from, and with it their sockets stay open.
"""
import socket
import sys
import threading

faulty = sys.argv[1] == "faulty"
clients = []


def attend(client):
    try:
        while data := client.recv(4096):
            client.sendall(data)
    except OSError as error:
        print(f"a client is gone: {error}", file=sys.stderr)
    if not faulty:
        clients.remove(client)
        client.close()


listener = socket.create_server(("0.0.0.0", int(sys.argv[2])), backlog=128)
while True:
    client, _ = listener.accept()
    clients.append(client)
    threading.Thread(target=attend, args=[client], daemon=True).start()
