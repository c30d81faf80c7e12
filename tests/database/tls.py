"""TLS before a PostgreSQL that has none: tls.py SOCKET CERTIFICATE KEY prints its port, and ends with its stdin."""

import os
import socket
import ssl
import sys
import threading

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


def copy(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(client, context, server_socket):
    try:
        if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
            client.close()
            return
        client.sendall(b"S")
        client = context.wrap_socket(client, server_side=True)
    except OSError:
        client.close()
        return
    server = socket.socket(socket.AF_UNIX)
    server.connect(server_socket)
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    copy(client, server)


def main():
    server_socket, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def end_with_stdin():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_stdin, daemon=True).start()
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, context, server_socket), daemon=True).start()


main()
