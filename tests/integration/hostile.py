"""Connections that hold as much of a server as it lets them, at the price of a socket each: HTTP/2 by hand, without a library's threads."""

import socket
import struct

HEADERS, DATA, SETTINGS = 1, 0, 4
END_HEADERS = 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    """A header as a literal, neither indexed nor Huffman coded; both parts are short."""
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def request(method, message):
    headers = b"".join(field(*header) for header in ((":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost"),
                                                     ("te", "trailers"), ("content-type", "application/grpc")))
    return headers, struct.pack(">BI", 0, len(message)) + message


class Connection:
    """Open, and of no use to anyone. What the server sends is never read."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def open_streams(self, count, method, message=None):
        """Calls of `method` that have sent one message, or none, and never end."""
        headers, data = request(method, message or b"")
        for number in range(count):
            stream = 2 * number + 1
            self.socket.sendall(frame(HEADERS, END_HEADERS, stream, headers) + (frame(DATA, 0, stream, data) if message is not None else b""))

    def close(self):
        self.socket.close()
