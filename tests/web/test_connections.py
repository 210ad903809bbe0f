"""Attacks over sockets: slow and endless clients, many at once, and what is not HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from images import seven
from serving import connect, serving, untrained

from gpucnn.web import connections


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving([untrained()]) as address:
        assert predict(address)[0] == 200
        yield address


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server wait for less than a second."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.6)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.6)


@pytest.fixture(autouse=True)
def _still_answers(url: str) -> Iterator[None]:
    yield
    assert predict(url)[0] == 200


def predict(url: str) -> tuple[int, Any]:
    connection = connect(url)
    try:
        connection.request("POST", "/api/predict", seven())
        answer = connection.getresponse()
        return answer.status, (answer.read(), answer.headers)[1]
    finally:
        connection.close()


def open_socket(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def exchange(url: str, request: bytes) -> bytes:
    """Send a request; return all that comes until the server closes."""
    with open_socket(url) as connection:
        connection.sendall(request)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionError:
        pass
    return found


def send_again_and_again(connection: socket.socket, data: bytes) -> None:
    for _ in range(10_000):
        connection.sendall(data)


def head(method: str = "POST", target: str = "/api/predict", *lines: str) -> bytes:
    rows = [f"{method} {target} HTTP/1.1", "host: localhost", *lines]
    return ("\r\n".join(rows) + "\r\n\r\n").encode()


@pytest.mark.usefixtures("impatient")
def test_a_client_that_sends_nothing_is_cut_off(url: str) -> None:
    assert exchange(url, b"") == b""


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: "])
@pytest.mark.usefixtures("impatient")
def test_headers_that_do_not_end_are_cut_off(start: bytes, url: str) -> None:
    assert exchange(url, start).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("impatient")
def test_headers_that_arrive_byte_by_byte_are_cut_off(url: str) -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            while not ended.wait(0.05):
                connection.send(b"x")
        except OSError:
            pass

    with open_socket(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
        thread = threading.Thread(target=drip, args=(connection,))
        thread.start()
        answer = read_all(connection)
        ended.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("impatient")
def test_a_body_that_does_not_come_is_cut_off(url: str) -> None:
    assert exchange(url, head("POST", "/api/predict", "content-length: 1000") + b"x" * 10) == b""


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_is_not_read_is_cut_off(url: str) -> None:
    with open_socket(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        request = head("GET", "/static/app.js") * 2000
        with pytest.raises(ConnectionError):
            send_again_and_again(connection, request)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"GET /\r\n\r\n",
        head("GET", "/", "connection: close", "x: " + "y" * 100_000),
        head("GET", "/", "connection: close", *[f"x{number}: y" for number in range(5000)]),
        head("GET", "/" + "a" * 100_000, "connection: close"),
        head("GET", "/", "host: evil.example"),
        head("GET", "/", "bad header"),
        head("POST", "/api/predict", "content-length: 5", "content-length: 6") + b"xxxxx",
        head("POST", "/api/predict", "content-length: -5") + b"xxxxx",
        head("POST", "/api/predict", "transfer-encoding: gzip") + b"xxxxx",
    ],
)
def test_what_is_not_http_is_refused(request_: bytes, url: str) -> None:
    answer = exchange(url, request_)
    statuses = [f"HTTP/1.1 {status} ".encode() for status in (400, 414, 431, 501)]
    assert answer.startswith(tuple(statuses)) or not answer


def test_bodies_in_chunks_are_refused_unread(url: str) -> None:
    chunked = head("POST", "/api/predict", "transfer-encoding: chunked")
    flood = b"1\r\nx\r\n" * 100_000
    for part in (
        b"",
        flood,
        b"5\r\nxxxxx\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFFFFFFFFFF\r\n",
        b"zz\r\n",
    ):
        answer = exchange(url, chunked + part)
        assert answer.startswith(b"HTTP/1.1 400 ") or not answer
    both = head("POST", "/api/predict", "transfer-encoding: chunked", "content-length: 5")
    smuggled = exchange(url, both + b"0\r\n\r\n" + head("GET", "/api/models"))
    assert smuggled.count(b"content-type: ") == 1


def test_a_body_that_is_too_long_is_answered_and_then_cut_off(url: str) -> None:
    request = head("POST", "/api/predict", "content-length: 3000000")
    with open_socket(url) as connection:
        connection.sendall(request + bytes(3_000_000))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
    chunked = head("POST", "/api/predict", "transfer-encoding: chunked")
    with open_socket(url) as connection:
        connection.sendall(chunked)
        with pytest.raises(ConnectionError):
            send_again_and_again(connection, b"10000\r\n" + bytes(65_536) + b"\r\n")


def test_a_page_cannot_become_a_websocket(url: str) -> None:
    upgrade = ("upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: x")
    answer = exchange(url, head("GET", "/api/models", "connection: upgrade, close", *upgrade))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"upgrade" not in answer.partition(b"\r\n\r\n")[0].lower()


def test_paths_out_of_the_folder_have_no_file(url: str) -> None:
    for name in ("../app.py", "%2e%2e/app.py", "..%2f..%2f__init__.py", "%00", "//etc/passwd"):
        answer = exchange(url, head("GET", f"/static/{name}", "connection: close"))
        assert answer.startswith(b"HTTP/1.1 404 ")


def test_a_hundred_clients_at_once_are_answered_or_asked_to_come_again(url: str) -> None:
    answers: list[tuple[int, Any]] = []
    gate = threading.Barrier(100)

    def ask_at_once() -> None:
        gate.wait()
        answers.append(predict(url))

    threads = [threading.Thread(target=ask_at_once) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _ in answers]
    assert len(statuses) == 100
    assert statuses.count(200) >= 2
    assert set(statuses) <= {200, 503}
    assert all(headers["Retry-After"] == "1" for status, headers in answers if status == 503)


@pytest.mark.usefixtures("impatient")
def test_more_connections_than_the_limit_are_refused(url: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(open_socket(url)) for _ in range(300)]
        answers = [read_all(connection) for connection in held]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    assert refused
    assert all(b"retry-after: 1\r\n" in answer for answer in refused)
    assert len(refused) <= 300 - connections.MAX_CONNECTIONS


def test_answers_are_sent_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option, an answer in two parts waits 40 ms for the client to acknowledge one."""
    options = []
    made = connections.Connection.connection_made

    def note(self: Any, transport: Any) -> None:
        made(self, transport)
        sock = transport.get_extra_info("socket")
        options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connections.Connection, "connection_made", note)
    predict(url)
    assert options
    assert all(options)
