"""Types of the arrays that data sets are made of, and of reports on their reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

OnProgress = Callable[[str, int, int], object]
"""Called with what was done ("examined", "read", "packed", "verified"), to how many images (or
bytes, if "verified"), and their total."""
