"""A process that holds the jobs of one side and executes commands from its standard input.

    about            -> JSON: versions, threads
    load SPEC        -> the number of the new job (SPEC is JSON)
    check JOB FILE   -> ok; the job's results are in FILE (.npz)
    run JOB COUNT    -> seconds

Each side has processes of its own, so that variables of OpenBLAS and OpenMP, thread pools and
memory stay separate. They are long-lived, so that everything timed is warm.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

import numpy as np

from bench.sides import Job


def execute(side: Any, jobs: list[Job], command: str, *arguments: str) -> str:
    """Execute one command and return the reply."""
    if command == "about":
        return json.dumps(side.about())
    if command == "load":
        jobs.append(side.load(json.loads(arguments[0])))
        return str(len(jobs) - 1)
    job = jobs[int(arguments[0])]
    if command == "check":
        np.savez(arguments[1], **job.check())
        return "ok"
    return repr(job.run(int(arguments[1])))


def main() -> None:
    """Reply until the input ends; output of libraries goes to the standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side, jobs = import_module(f"bench.sides.{sys.argv[1]}"), list[Job]()
    for line in side.commands() if hasattr(side, "commands") else sys.stdin:
        command, _, rest = line.strip().partition(" ")
        arguments = [rest] if command == "load" else rest.split(" ", 1)
        try:
            reply = execute(side, jobs, command, *arguments)
        except Exception as error:
            reply = f"error {type(error).__name__}: {error}".replace("\n", " ")
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    main()
