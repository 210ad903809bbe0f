"""A process of one side: import, read MNIST, train an epoch, evaluate, print JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module

if __name__ == "__main__":
    side = import_module(f"bench.sides.{sys.argv[1]}")
    print(json.dumps(side.whole(json.loads(sys.argv[2]))))
