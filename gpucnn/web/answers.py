"""What a network answers for an image, as plain data for the page."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.data.images.preparing import Prepared
from gpucnn.errors import DivergedError
from gpucnn.training.results.prediction import classify
from gpucnn.web.served import Served

SHOWN_VALUES = 65_536
"""Values of a layer's outputs that an answer has at most."""


def predict(served: Served, prepared: Prepared) -> dict[str, Any]:
    """Return an entry of the results of ``/api/predict``."""
    start = time.perf_counter()
    pixels = prepared.pixels
    answer: dict[str, Any] = {
        "model": served.id,
        "status": prepared.status,
        "message": prepared.reason,
        "input": pixels if pixels is None else {"shape": pixels.shape, "data": _encode(pixels)},
        "probabilities": [],
        "label": None,
        "numbers": [],
        "layers": [],
    }
    if pixels is not None:
        with served.computing(), np.errstate(all="ignore"):
            outputs = served.feature_maps(pixels[None])
            answer["layers"] = [_show(name, output[0]) for name, output in outputs.items()]
            try:
                (found,) = classify(served.model, [prepared])
            except DivergedError as error:
                answer |= {"status": "failed", "message": str(error)}
            else:
                if found.numbers is not None:
                    answer["numbers"] = list(found.numbers.values())
                else:
                    assert found.probabilities is not None
                    answer |= {"probabilities": found.probabilities.tolist(), "label": found.label}
    return {**answer, "milliseconds": 1000 * (time.perf_counter() - start)}


def _show(name: str, output: NDArray[Any]) -> dict[str, Any]:
    """Return an entry of ``layers``: the outputs of a layer, without the batch."""
    volume = _as_volume(output)
    step = max(1, math.ceil(math.sqrt(volume[0].size / SHOWN_VALUES)))
    volume = volume[:, ::step, ::step]
    volume = volume[: max(1, SHOWN_VALUES // volume[0].size)].astype(np.float64)
    finite = volume[np.isfinite(volume)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scaled = np.nan_to_num((volume - low) * (255 / (high - low) if high > low else 0.0), nan=0)
    return {
        "name": name,
        "shape": list(output.shape),
        "shown": list(volume.shape),
        "step": step,
        "low": low,
        "high": high,
        "data": _encode(np.rint(scaled.clip(0, 255)).astype(np.uint8)),
    }


def _as_volume(output: NDArray[Any]) -> NDArray[Any]:
    """Return outputs of any shape as (C, H, W): a vector is (C, 1, 1), a sequence one map."""
    if output.ndim == 2:
        return output[None]
    return output.reshape(*output.shape[:2], -1) if output.ndim > 1 else output[:, None, None]


def _encode(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
