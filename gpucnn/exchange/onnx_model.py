"""Networks as ONNX models."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError
from gpucnn.exchange.onnx_graph import Graph
from gpucnn.exchange.onnx_layers import add_layer
from gpucnn.exchange.weights import finite_state
from gpucnn.files import write_atomically
from gpucnn.nn.layers.structure import output_shapes
from gpucnn.nn.preprocessing import scale_and_shift
from gpucnn.nn.sequential import Sequential, custom_class
from gpucnn.nn.targets import Targets
from gpucnn.version import __version__

OPSET = 13
"""The version of ONNX's operators.

It is the oldest in which Softmax has the meaning of PyTorch's, so that every runtime since ONNX 1.8
(2020) runs the files; no later operator is needed.
"""

IR_VERSION = 7
"""The version of the file format that came with opset 13: older runtimes refuse later ones."""

MAX_BYTES = (1 << 31) - (1 << 20)
"""Of all weights: Protocol Buffers hold less than 2 GiB."""


def export_onnx(model: Sequential, path: str | os.PathLike[str], *, raw: bool = False) -> None:
    """Write a network as an ONNX file, for ONNX Runtime and whatever else runs such files.

    The graph takes ``images``, uint8 (N, C, H, W) as ``predict`` does, normalises them itself and
    returns ``probabilities`` (N, classes), of a network without probabilities ``scores``, and of
    one for regression ``predictions`` (N, K) in the units of the targets. N is any number.
    Computations are in float32, also those of a float64 network. Dropout, which changes nothing but
    training, is left out. The metadata of the model have, as JSON, the classes under "classes", the
    normalisation under "normalization", and of a regression the targets under "targets".

    Args:
        model: a network of gpucnn's own layers.
        path: the file, usually ``*.onnx``; an existing file is replaced.
        raw: whether the graph is the network alone, from ``input``, float32 (N, C, H, W) and
            normalised, to ``scores``, the outputs of the last layer.

    Raises:
        SettingError: onnx is not installed; a custom layer or a model with a ``forward`` of its
            own; the model has no normalization and ``raw`` is not set; more than 2 GiB of weights.
        DivergedError: the weights contain NaN or infinity.
        OSError: the file cannot be written.

    Example:
        >>> import gpucnn
        >>> gpucnn.exchange.export_onnx(gpucnn.load_model("lenet5"), "digits.onnx")
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession("digits.onnx")
        >>> image = gpucnn.data.mnist().test.images[:1]
        >>> (probabilities,) = session.run(["probabilities"], {"images": image})
        >>> int(probabilities.argmax())
        7
    """
    write_atomically(path, onnx_model(model, raw=raw).SerializeToString())


def onnx_model(model: Sequential, *, raw: bool = False) -> Any:
    """Return a network as an ``onnx.ModelProto``, checked by ``onnx.checker``; see export_onnx."""
    if (custom := custom_class(model)) is not None:
        raise SettingError(
            f"the model ({custom}) has a forward or backward of its own, which ONNX cannot hold: "
            "export its weights as .safetensors or .npz"
        )
    weights = _float32(model)
    source = "input" if raw else "images"
    result = "scores" if raw else result_name(model)
    graph = Graph(source, result)
    value = source if raw else _add_normalization(graph, model, source)
    shapes = [model.input_shape, *output_shapes(model.layers, model.input_shape)]
    for (name, layer), shape in zip(model.layers.items(), shapes, strict=False):
        value = add_layer(graph, name, layer, value, shape, weights)
    if not raw and model.has_probabilities and not model.ends_in_probabilities():
        attributes = {"axis": 1} if model.output == "softmax" else {}
        value = graph.add(model.output.capitalize(), value, name=result, **attributes)
    if not raw and model.targets is not None:
        value = _add_units(graph, model.targets, value)
    graph.rename(value, result)
    return _checked(model, graph, source, result)


def result_name(model: Sequential) -> str:
    """Return what the outputs of a complete graph are called."""
    if model.targets is not None:
        return "predictions"
    return "probabilities" if model.has_probabilities else "scores"


def _add_units(graph: Graph, targets: Targets, value: str) -> str:
    """Add what turns standardised outputs into the units of the targets."""
    std, mean = (np.array(values, np.float32) for values in (targets.std, targets.mean))
    scaled = graph.add("Mul", value, graph.constant("std", std), name="deviations")
    return graph.add("Add", scaled, graph.constant("mean", mean), name="predictions")


def _float32(model: Sequential) -> dict[str, NDArray[np.float32]]:
    state = finite_state(model)
    if 4 * model.size > MAX_BYTES:
        raise SettingError(
            f"the model has {model.size:,} parameters, but an ONNX file holds less than 2 GiB: "
            "export its weights as .safetensors"
        )
    with np.errstate(over="ignore"):
        weights = {name: np.asarray(array, np.float32) for name, array in state.items()}
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise SettingError(
                f"{name} has values beyond the range of float32, in which ONNX files compute: "
                "export the weights as .safetensors or .npz"
            )
    return weights


def _add_normalization(graph: Graph, model: Sequential, source: str) -> str:
    """Add what turns uint8 pixels into the input of the first layer."""
    channels = model.input_shape[0]
    scale, shift = (
        values.astype(np.float32).reshape(1, channels, 1, 1)
        for values in scale_and_shift(model.normalization, channels)
    )
    pixels = graph.add("Cast", source, name="pixels", to=graph.onnx.TensorProto.FLOAT)
    scaled = graph.add("Mul", pixels, graph.constant("scale", scale), name="scaled")
    return graph.add("Add", scaled, graph.constant("shift", shift), name="normalized")


def _checked(model: Sequential, graph: Graph, source: str, result: str) -> Any:
    """Return the complete model, with the shapes of all values; ONNX's checker accepts it."""
    onnx, helper = graph.onnx, graph.onnx.helper
    kind = onnx.TensorProto.UINT8 if source == "images" else onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(source, kind, ["N", *model.input_shape])]
    output_kind = onnx.TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(result, output_kind, ["N", *model.output_shape])]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "network", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gpucnn",
        producer_version=__version__,
    )
    helper.set_model_props(proto, _metadata(model))
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _metadata(model: Sequential) -> dict[str, str]:
    metadata = {}
    if model.classes is not None:
        classes = json.dumps(model.classes, ensure_ascii=False)
        # Lone surrogates, as in names of folders that are not UTF-8, become JSON's own escapes.
        metadata["classes"] = classes.encode(errors="backslashreplace").decode()
    if model.targets is not None:
        targets = json.dumps(model.targets.describe(), ensure_ascii=False)
        metadata["targets"] = targets.encode(errors="backslashreplace").decode()
    if model.normalization is not None:
        mean, std = model.normalization
        metadata["normalization"] = json.dumps({"mean": mean, "std": std})
    return metadata
