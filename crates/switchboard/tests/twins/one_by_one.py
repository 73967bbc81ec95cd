"""An echo server.

The fault: clients are served one after another, and who says nothing holds up all others.
"""
import socket
import sys
import threading

faulty = sys.argv[1] == "faulty"


def attend(client):
    with client:
        try:
            while data := client.recv(4096):
                client.sendall(data)
        except OSError as error:
            print(f"a client is gone: {error}", file=sys.stderr)


listener = socket.create_server(("0.0.0.0", int(sys.argv[2])), backlog=128)
while True:
    client, _ = listener.accept()
    if faulty:
        attend(client)
    else:
        threading.Thread(target=attend, args=[client], daemon=True).start()
