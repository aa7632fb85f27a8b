"""An origin and a client that do one thing after the other, so that two runs are alike."""
import socket
import threading

# 1 KB each way: bytes for tcp_proxy, a request and an answer for HTTP.
_HEAD = b'GET / HTTP/1.1\r\nhost: origin.test\r\nx-fill: '
REQUEST = _HEAD + b'.' * (1024 - len(_HEAD) - 4) + b'\r\n\r\n'
_BODY = 960
ANSWER = (b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx: ' % _BODY).ljust(1024 - _BODY - 4, b'.') + b'\r\n\r\n' + b'a' * _BODY


def _message(stream, body):
    """Reads a head and as many bytes of body; false at the end of the stream."""
    text = b''
    while (end := text.find(b'\r\n\r\n')) < 0 or len(text) < end + 4 + body:
        if not (piece := stream.recv(65536)):
            return False
        text += piece
    return True


class Origin:
    """Answers each request on each connection, one thread each."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            stream, _ = self.listener.accept()
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=[stream], daemon=True).start()

    @staticmethod
    def _serve(stream):
        try:
            while _message(stream, 0):
                stream.sendall(ANSWER)
        except OSError:
            pass  # A proxy that was killed.
        stream.close()


class Client:
    """A connection through the proxy."""

    def __init__(self, port):
        self.stream = socket.create_connection(('127.0.0.1', port), timeout=60)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, times=1):
        for _ in range(times):
            self.stream.sendall(REQUEST)
            if not _message(self.stream, _BODY):
                raise RuntimeError('the proxy closed a connection that asked')

    def close(self):
        """Finishes, and waits for the proxy to finish, too."""
        self.stream.shutdown(socket.SHUT_WR)
        while self.stream.recv(65536):
            pass
        self.stream.close()


def connections(port, count):
    """As many connections, one after the other, with one request each."""
    for _ in range(count):
        client = Client(port)
        client.ask()
        client.close()


def run(port, requests, count):
    """Many requests on one connection, then as many connections."""
    client = Client(port)
    client.ask(requests)
    client.close()
    connections(port, count)
