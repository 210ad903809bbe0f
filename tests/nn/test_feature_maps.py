"""Feature maps: the outputs of all layers, against plain NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from small import blobs, small_model

from gpucnn import models
from gpucnn.backends import Backend
from gpucnn.errors import DataError, SettingError
from gpucnn.nn import layers
from gpucnn.nn.sequential import Sequential

IMAGES = blobs(5, channels=2).images
NORMALIZATION = ((0.3, 0.6), (0.2, 0.5))


def expected(state: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The layers of ``small_model(channels=2)`` in plain NumPy."""
    mean, std = (np.reshape(values, (1, 2, 1, 1)) for values in NORMALIZATION)
    x = np.pad((IMAGES / 255 - mean) / std, ((0, 0), (0, 0), (1, 1), (1, 1)))
    weight, bias = state["conv.weight"], state["conv.bias"].reshape(1, -1, 1, 1)
    conv = np.einsum("ncpqrs,kcrs->nkpq", sliding_window_view(x, (3, 3), (2, 3)), weight) + bias
    relu = np.maximum(conv, 0)
    pool = relu.reshape(5, 3, 4, 2, 4, 2).max((3, 5))
    flat = pool.reshape(5, 48)
    fc = flat @ state["fc.weight"].T + state["fc.bias"]
    return {"conv": conv, "relu": relu, "pool": pool, "flatten": flat, "dropout": flat, "fc": fc}


def test_every_layer_has_its_output(backend: Backend) -> None:
    model = small_model(channels=2).to(backend)
    model.normalization = NORMALIZATION
    wanted = expected({name: values.astype(float) for name, values in model.state_dict().items()})
    for batch_size in (64, 2):
        found = model.feature_maps(IMAGES, batch_size=batch_size)
        assert list(found) == list(wanted)
        for name, outputs in found.items():
            assert type(outputs) is np.ndarray
            assert outputs.dtype == backend.dtype
            tolerance = 1e-5 if backend.dtype == np.float32 else 1e-12
            np.testing.assert_allclose(outputs, wanted[name], tolerance, tolerance, err_msg=name)


def test_layers_that_are_computed_as_one_operation_keep_their_names() -> None:
    model = models.lenet5()
    model.normalization = ((0.1,), (0.3,))
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    maps = model.feature_maps(images)
    assert len(model.chain.plan(model.backend, (3, *model.input_shape))) < len(maps)
    assert list(maps) == list(model.layers)
    shapes = [outputs.shape for outputs in maps.values()]
    assert shapes == [(3, *row.output_shape) for row in model.summary().rows]
    scores = maps["fc3"] - maps["fc3"].max(1, keepdims=True)
    softmax = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(images), softmax, 1e-5)


def test_outputs_are_copies() -> None:
    class InPlace(layers.ReLU):
        def forward(self, be: Any, x: Any, training: Any = None) -> Any:
            x *= 2
            return x, None

    model = Sequential([layers.ReLU(), InPlace()], (1, 8, 8))
    model.normalization = ((0.0,), (1.0,))
    first, second = model.feature_maps(IMAGES[:, 0]).values()
    np.testing.assert_array_equal(2 * first, second)


def test_what_is_refused() -> None:
    model = small_model(channels=2)
    with pytest.raises(SettingError, match="the model has no normalization"):
        model.feature_maps(IMAGES)
    model.normalization = NORMALIZATION
    with pytest.raises(DataError, match="images must be uint8"):
        model.feature_maps(IMAGES / 255)
    with pytest.raises(DataError, match=r"images must have shape \(N, 2, 8, 8\)"):
        model.feature_maps(IMAGES[:, :1])
    with pytest.raises(SettingError, match="batch_size must be an integer >= 1"):
        model.feature_maps(IMAGES, batch_size=0)

    class Residual(Sequential):
        def forward(self, x: Any, training: bool = False) -> Any:
            outputs, saved = super().forward(x, training)
            return outputs + x, saved

    other = Residual([layers.ReLU()], (2, 8, 8))
    with pytest.raises(SettingError, match=r"the model \(Residual\) has a forward or backward of"):
        other.feature_maps(IMAGES)
