"""``gpucnn serve``: a page on which one draws, and which shows every layer of a network."""

from __future__ import annotations

import argparse
import sys
import traceback
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gpucnn.cli.output import printable
from gpucnn.cli.signals import StopRequest
from gpucnn.cli.sources import check_preparation, read_for_images
from gpucnn.config import import_extra
from gpucnn.errors import SettingError
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.files.pretrained import DEFAULT
from gpucnn.web.hosts import host_check, is_loopback, page_url
from gpucnn.web.served import Served

# The modules that the page needs, and the names of their libraries.
_LIBRARIES = {"starlette": "Starlette", "uvicorn": "uvicorn", "PIL": "Pillow", "scipy": "SciPy"}


def serve_command(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal ends it; return 128 + the signal's number."""
    for module, library in _LIBRARIES.items():
        import_extra(module, library, "gpucnn serve", "web")
    check_preparation(arguments.prepare)
    if not 0 <= arguments.port < 1 << 16:
        raise SettingError(f"--port must be 0 to 65535, got {arguments.port}")
    return _serve(_read_all(arguments.checkpoints, arguments), arguments)


def _serve(served: Sequence[Served], arguments: argparse.Namespace) -> int:
    from gpucnn.web import app, server
    from gpucnn.web.decoders import Decoders

    host, stop = arguments.host, StopRequest()
    decoders = Decoders([each.way for each in served])
    with server.listen(host, arguments.port) as listening, stop.handling(), decoders:
        page = app.make_app(
            served, host_check(host), decoders, partial(_print_defect, arguments.debug)
        )
        if not is_loopback(host):
            print(
                f"warning: anyone who can reach this computer at {host} can use the page",
                file=sys.stderr,
            )
        url = page_url(host, listening.getsockname()[1])
        print(f"{url} shows {_list(served)}; end with Ctrl-C", flush=True)
        if arguments.open:
            webbrowser.open(url)
        with stop.finishing_steps():
            server.run(page, listening, stop.requested)
    return stop.status


def _list(served: Sequence[Served]) -> str:
    return printable(", ".join(each.title for each in served))


def _read_all(names: Sequence[str], arguments: argparse.Namespace) -> list[Served]:
    """Return the networks of some checkpoints; without any the ready-trained one."""
    if not names:
        print(
            f"note: no network given, so the page has the ready-trained {DEFAULT}", file=sys.stderr
        )
        names = [DEFAULT]
    titles = [Path(name).name or name for name in names]
    alike = len(set(titles)) < len(titles)
    return [
        _read(str(number), name, name if alike else title, arguments)
        for number, (name, title) in enumerate(zip(names, titles, strict=True), 1)
    ]


def _read(id_: str, name: str, title: str, arguments: argparse.Namespace) -> Served:
    saved, model, how = read_for_images(name, arguments)
    return Served(id_, title, name, model, how, _accuracy(saved))


def _accuracy(saved: Checkpoint) -> float | None:
    """Return the accuracy on the test images, of the epoch whose weights were kept."""
    best, last = saved.metadata.get("best"), saved.metadata.get("last")
    figures = best["test"] if best else last
    return figures.get("test_accuracy") if figures else None


def _print_defect(debug: bool, error: BaseException) -> None:
    """Print an error that no request should cause."""
    if debug:
        traceback.print_exception(error)
    else:
        text = f"gpucnn: a request failed: {type(error).__name__}: {error}; --debug shows where"
        print(printable(text), file=sys.stderr)
