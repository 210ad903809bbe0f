"""``gpucnn new-op``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from gpucnn.cli.console import make_console
from gpucnn.testing.template import class_name, write_op


def new_op_command(arguments: argparse.Namespace) -> int:
    """Write the files of a new operation, and print what to do with them."""
    source, *others = write_op(arguments.name, Path(arguments.out))
    test = shlex.quote(str(others[-1]))
    operation = shlex.quote(f"{source}:{class_name(arguments.name)}")
    console = make_console()
    console.print(f"wrote {', '.join(map(str, [source, *others]))}", soft_wrap=True)
    console.print(f"check it with: gpucnn check {operation}", soft_wrap=True)
    console.print(f"test it with:  pytest {test}", soft_wrap=True)
    return 0
