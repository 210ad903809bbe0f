"""Types of the arrays that data sets are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
