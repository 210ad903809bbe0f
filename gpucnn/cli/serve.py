"""``gpucnn serve``: a page on which one draws and sees what a network sees."""

from __future__ import annotations

import argparse
import ipaddress
import sys
import traceback
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gpucnn.cli.output import printable
from gpucnn.cli.signals import StopRequest
from gpucnn.cli.sources import find_preparation, read_model, scale_pixels
from gpucnn.config import import_extra
from gpucnn.data.dataset import PREPARATIONS
from gpucnn.errors import SettingError, unknown
from gpucnn.training.checkpoint import Checkpoint, load
from gpucnn.web.served import Served


def serve_command(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal ends it."""
    for module in ("starlette", "uvicorn"):
        import_extra(module, module.capitalize(), "gpucnn serve", "web")
    from gpucnn.web import app, server
    from gpucnn.web.decoders import Decoders

    if arguments.prepare not in ("auto", *PREPARATIONS):
        raise unknown("--prepare", arguments.prepare, ("auto", *PREPARATIONS))
    if not 0 <= arguments.port < 1 << 16:
        raise SettingError(f"--port must be from 0 to 65535, got {arguments.port}")
    if not arguments.checkpoints:
        raise SettingError(
            "name the folder of a run, for example: gpucnn serve runs/lenet5-mnist-1"
        )
    served = read_all(arguments.checkpoints, arguments)
    loopback = is_loopback(arguments.host)
    stop = StopRequest()
    decoders = Decoders([each.way for each in served])
    with server.listen(arguments.host, arguments.port) as listening, stop.handling(), decoders:
        url = f"http://{arguments.host}:{listening.getsockname()[1]}/"
        if not loopback:
            print(f"warning: everybody who reaches {arguments.host} can use it", file=sys.stderr)
        print(f"{url} (end with Ctrl-C)", flush=True)
        if arguments.open:
            webbrowser.open(url)
        report = partial(print_defect, arguments.debug)
        page = app.make_app(served, host_check(arguments.host, loopback), decoders, report)
        with stop.finishing_steps():
            server.run(page, listening, stop.requested)
    return stop.status


def read_all(names: Sequence[str], arguments: argparse.Namespace) -> list[Served]:
    """Return the networks of some checkpoints."""
    return [_read(str(number), name, arguments) for number, name in enumerate(names, 1)]


def _read(id_: str, name: str, arguments: argparse.Namespace) -> Served:
    saved = load(name)
    model = read_model(saved, arguments.backend, arguments.model, arguments.precision)
    scale_pixels(model, name)
    how = arguments.prepare
    if how == "auto":
        how = find_preparation(model, saved, name)
    path = Path(name)
    return Served(id_, path.name or name, str(path), model, how, _accuracy(saved))


def _accuracy(saved: Checkpoint) -> float | None:
    best, last = saved.metadata.get("best"), saved.metadata.get("last")
    figures = best["test"] if best else last
    return figures["test_accuracy"] if figures else None


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_check(host: str, loopback: bool) -> Callable[[str], bool]:
    """Return whether a name is the server's, as a function of the name."""
    names = {host.lower(), "localhost"}

    def is_host(name: str) -> bool:
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in names
        return address.is_loopback or not loopback

    return is_host


def print_defect(debug: bool, error: BaseException) -> None:
    """Print an error that no request should cause."""
    if debug:
        traceback.print_exception(error)
    else:
        text = f"gpucnn: a request failed: {type(error).__name__}: {error}"
        print(printable(text), file=sys.stderr)
