"""An HTTP/1.1 client that sends exactly what a test asks for: repeated headers, odd bodies, slow ones."""

import http.client
import json
import re
import socket
from dataclasses import dataclass, field


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes
    ended: bool = field(default=True)

    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The code of an RFC 9457 problem; checks its form."""
        assert self.headers.get("content-type", "").split(";")[0] == "application/problem+json", self
        document = self.json()
        assert document["status"] == self.status, document
        assert isinstance(document["title"], str) and document["title"], document
        assert isinstance(document["detail"], str), document
        prefix = "urn:hookferry:problem:"
        assert document["type"].startswith(prefix), document
        return document["type"][len(prefix) :]


class Client:
    """One keep-alive connection; opened anew when the server has closed it."""

    def __init__(self, port, timeout=30, tls=None):
        self.port = port
        self.tls = tls
        self.timeout = timeout
        self._connection = None

    def request(self, method, path, headers=(), body=b""):
        """Sends once; a connection that the server closed while idle is opened anew first."""
        if self._connection is not None and self._peer_has_closed():
            self.close()
        if self._connection is None:
            if self.tls is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            else:
                self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.timeout, context=self.tls)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connection
        try:
            names = {name.lower() for name, _ in headers}
            connection.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if "content-length" not in names and "transfer-encoding" not in names:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body if body else None)
            response = connection.getresponse()
            content = response.read()
        except Exception:
            self.close()
            raise
        if response.will_close:
            self.close()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def _peer_has_closed(self):
        sock = self._connection.sock
        if sock is None:
            return True
        sock.setblocking(False)
        try:
            # Below TLS, where there is any: a look takes nothing away there.
            return socket.socket.recv(sock, 1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(self.timeout)

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def raw(port, *parts, timeout=30, pause=None, half_close=False):
    """Sends bytes as they are, in parts, and reads one answer until the server closes or has answered.

    `pause` is called between the parts. An answer that never comes raises `TimeoutError`.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        try:
            for number, part in enumerate(parts):
                if number and pause:
                    pause(sock)
                sock.sendall(part)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server may answer and close before it has read everything.
        return read_answer(sock)


def read_answer(sock):
    """One answer; `ended` says whether the server closed the connection after it."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    content = response.read()
    return Reply(
        response.status, {k.lower(): v for k, v in response.getheaders()}, content, ended=response.will_close
    )


def until_closed(sock):
    """Everything that comes until the server closes."""
    got = b""
    try:
        while part := sock.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def answers(port, wire, timeout=4):
    """Statuses of all answers until the server closes, which it must: idle for 5 s any connection is closed, which is not meant."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.sendall(wire)
        got = until_closed(sock)
    # A body has no line end of its own: the next answer is anywhere in a line.
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


def head(method, path, headers):
    """The bytes of a request's head."""
    lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
