"""Requests that a page of another site, or a program, could send: refused, with all headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Answer, ask
from images import seven
from serving import untrained
from starlette.types import ASGIApp

from gpucnn.web import api, guard
from gpucnn.web.app import make_app
from gpucnn.web.decoders import Decoders
from gpucnn.web.hosts import host_check
from gpucnn.web.uploads import MAX_BODY

EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def app(decoders: Decoders) -> ASGIApp:
    broken = untrained("nan")
    broken.model.layers["fc1"].parameters["weight"].data[...] = np.nan
    return make_app([untrained(), broken], host_check("127.0.0.1"), decoders)


def check_refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses
    assert list(answer.json) == ["error"]
    assert "\n" not in answer.json["error"]
    assert len(answer.json["error"]) < 200
    check_headers(answer)


def check_headers(answer: Answer) -> None:
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    for name, value in guard.HEADERS.items():
        assert answer.headers[name.lower()] == value
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_and_its_answers_have_the_headers(app: ASGIApp) -> None:
    for target in ("/", "/api/models", "/static/index.html"):
        answer = ask(app, target)
        assert answer.status == 200
        check_headers(answer)
    assert ask(app, "/").headers["content-type"] == "text/html; charset=utf-8"
    same = ask(app, "/", headers={"if-none-match": ask(app, "/").headers["etag"]})
    assert (same.status, same.body) == (304, b"")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.5:8000",
        "8.8.8.8",
        "[::2]",
        "localhost@evil.example",
        "",
        "localhost:80:80",
    ],
)
def test_names_that_another_site_points_here_are_refused(host: str, app: ASGIApp) -> None:
    for target, body in (("/", b""), ("/api/models", b""), ("/api/predict", seven())):
        check_refused(ask(app, target, body, headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:8000"])
def test_names_of_this_computer_are_answered_at_any_port(host: str, app: ASGIApp) -> None:
    assert ask(app, "/api/models", headers={"host": host}).status == 200


def test_two_hosts_are_refused(app: ASGIApp) -> None:
    hosts = [("host", "localhost:8000"), ("host", "evil.example")]
    check_refused(ask(app, "/api/models", headers=hosts), 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://localhost:9000"},
        {"origin": "https://localhost:8000"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_cannot_post(headers: dict[str, str], app: ASGIApp) -> None:
    for target in ("/api/predict", "/api/unit?model=1&layer=conv1"):
        check_refused(ask(app, target, seven(), headers=headers), 403)


def test_the_page_itself_can_post(app: ASGIApp) -> None:
    headers = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert ask(app, "/api/predict?model=1", seven(), headers=headers).status == 200


@pytest.mark.parametrize("length", ["3000000000", "-1", "1e3", "9" * 5000, "٣", "0x10", "1 "])
def test_a_declared_length_that_is_too_long_is_refused_unread(length: str, app: ASGIApp) -> None:
    read = []

    def parts() -> Iterator[bytes]:
        read.append(True)
        yield b"x"

    body = parts()
    check_refused(
        ask(app, "/api/predict", body, method="POST", headers={"content-length": length}), 413
    )
    assert not read


def test_a_body_without_end_is_read_up_to_the_limit(app: ASGIApp) -> None:
    read = []

    def parts() -> Iterator[bytes]:
        while True:
            read.append(65_536)
            yield bytes(65_536)

    check_refused(ask(app, "/api/predict", parts(), method="POST"), 413)
    assert sum(read) <= MAX_BODY + 2 * 65_536


def test_an_empty_body_is_refused(app: ASGIApp) -> None:
    check_refused(ask(app, "/api/predict", method="POST"), 422)


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "..\\app.py",
        "index.html/../../app.py",
        "index.html\x00.js",
        "C:/boot.ini",
        "",
        "static/index.html",
        "./index.html",
        "%00",
        "x" * 1000,
        ".",
        "..",
        "con",
    ],
)
def test_only_files_of_the_page_are_sent(name: str, app: ASGIApp) -> None:
    check_refused(ask(app, f"/static/{name}"), 404)


def test_a_link_that_appears_among_the_files_is_not_followed(
    app: ASGIApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpucnn.web import app as module

    (tmp_path / "index.html").write_text("<html>")
    monkeypatch.setattr(module, "STATIC", tmp_path)
    fresh = make_app([untrained()], host_check("localhost"), Decoders([]))
    (tmp_path / "later.js").symlink_to(__file__)
    check_refused(ask(fresh, "/static/later.js"), 404)
    assert ask(fresh, "/static/index.html").status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_other_methods_are_refused_everywhere(method: str, app: ASGIApp) -> None:
    for target in ("/", "/static/index.html", "/api/models", "/api/predict", "/api/unit"):
        check_refused(ask(app, target, seven(), method=method), 405)


def test_methods_are_not_confused(app: ASGIApp) -> None:
    override = {"x-http-method-override": "POST", "content-type": "image/png"}
    check_refused(ask(app, "/api/predict", seven(), method="GET", headers=override), 405)
    check_refused(ask(app, "/", seven(), method="POST"), 405)
    check_refused(ask(app, "/api/models", seven(), method="POST"), 405)


def test_long_addresses_are_refused(app: ASGIApp) -> None:
    check_refused(ask(app, "/api/models?" + "a=b&" * 1000), 414)
    check_refused(ask(app, "/static/" + "a" * 3000), 414)
    check_refused(ask(app, "/", headers={"cookie": "a" * 9000}), 431)
    check_refused(ask(app, "/", headers={f"x{number}": "" for number in range(3000)}), 431)


@pytest.mark.parametrize(
    "query",
    [
        "model=2",
        "model=",
        "model=1&model=../1",
        "model=%00",
        "model=" + "9" * 500,
        "model=1%0d%0aSet-Cookie:x",
        "model=<script>alert(1)</script>",
    ],
)
def test_unknown_models_are_refused(query: str, app: ASGIApp) -> None:
    answer = ask(app, f"/api/predict?{query}", seven())
    check_refused(answer, 404)
    assert answer.headers["content-type"] == "application/json"


def test_a_model_named_a_thousand_times_is_asked_once(app: ASGIApp) -> None:
    answer = ask(app, "/api/predict?" + "&".join(["model=1"] * 250), seven())
    assert len(answer.json["results"]) == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e3", "0x1", "٣", "9" * 400, "1.0", " 1"])
def test_a_unit_has_integers_as_its_position(value: str, app: ASGIApp) -> None:
    for name in ("channel", "row", "column"):
        target = f"/api/unit?model=1&layer=conv1&{name}={value}"
        check_refused(ask(app, target, seven()), 400)


@pytest.mark.parametrize(
    "query", ["layer=conv9", "layer=", "layer=__class__", "layer=conv1&row=28", "layer=../conv1"]
)
def test_units_that_are_not_there_are_refused(query: str, app: ASGIApp) -> None:
    check_refused(ask(app, f"/api/unit?model=1&{query}", seven()), 400)


def test_a_network_of_nan_is_reported_in_valid_json(app: ASGIApp) -> None:
    answer = ask(app, "/api/predict?model=nan&model=1", seven())

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    broken, sound = json.loads(answer.body, parse_constant=refuse)["results"]
    assert (broken["status"], broken["probabilities"]) == ("failed", [])
    assert "NaN" in broken["message"]
    assert sound["status"] == "digit"
    unit = ask(app, "/api/unit?model=nan&layer=fc1&channel=3", seven())
    assert json.loads(unit.body, parse_constant=refuse)["output"] is None


def test_more_requests_than_may_wait_are_asked_to_come_again(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_WAITING", 0)
    answer = ask(app, "/api/predict", seven())
    check_refused(answer, 503)
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert ask(app, "/api/predict", seven()).status == 200


def test_all_bodies_together_are_bounded(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_HELD", 1000)
    check_refused(ask(app, "/api/predict", seven()), 503)
    monkeypatch.setattr(api, "MAX_HELD", len(seven()))
    for _ in range(3):  # what was read is given back
        assert ask(app, "/api/predict", seven()).status == 200


def test_a_defect_is_reported_and_the_answer_does_not_show_it(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("secret")

    errors: list[BaseException] = []
    failing = make_app([untrained()], host_check("localhost"), decoders, errors.append)
    monkeypatch.setattr(api, "predict", fail)
    answer = ask(failing, "/api/predict", seven())
    check_refused(answer, 500)
    assert b"secret" not in answer.body
    assert [str(error) for error in errors] == ["secret"]
    assert ask(failing, "/api/models").status == 200


def test_a_drawing_whose_browser_is_gone_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = Decoders([])
    monkeypatch.setattr(decoders, "prepare", lambda *arguments: pytest.fail("it is computed"))
    app = make_app([untrained()], host_check("localhost"), decoders)
    messages = [{"type": "http.request", "body": seven(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/predict", "query_string": b""}
    headers = [(b"host", b"localhost")]
    asyncio.run(app({**scope, "headers": headers, "root_path": ""}, receive, send))
    assert sent[0]["status"] == 499
