"""Operations of a user's own: a CUDA C file, NumPy functions, and the layer that uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.custom import CustomKernels
from gpucnn.errors import SettingError
from gpucnn.nn.layers import hooks
from gpucnn.nn.layers.base import Layer, Shape, TrainingPass
from gpucnn.nn.layers.state import Parameter


def cdiv(a: int, b: int) -> int:
    """Return a / b rounded up: the number of blocks of ``b`` threads that ``a`` elements need.

    >>> cdiv(1000, 256)
    4
    """
    return -(-a // b)


class CustomOp(Layer, register=False):
    """Base of layers whose operation is defined by the user, kernels and NumPy functions.

    A subclass is a dataclass whose fields are its arguments. It sets ``source`` and defines these
    methods; each takes those of the named arguments that it needs, in any order:

    - ``forward_numpy(self, input)`` returns the output, and
      ``backward_numpy(self, grad, input, output)`` the gradient of the input. Arrays are
      numpy.ndarrays, C-contiguous, (N, ...); results are converted to the backend's dtype.
    - ``forward_cuda(self, kernels, input, output)`` launches kernels that write ``output``, and
      ``backward_cuda(self, kernels, grad, input, output, input_grad)`` those that write
      ``input_grad``. ``kernels.name[grid, block](arguments)`` is CUDA's
      ``name<<<grid, block>>>(arguments)``; ``kernels.empty(shape)`` and ``kernels.zeros(shape)``
      are arrays for results between kernels. All arrays are C-contiguous, of the backend's dtype,
      which is ``real`` in the source: float or double.
    - ``forward_naive`` and ``backward_naive``, optional: plain loops, with the arguments and
      results of the NumPy functions, for ``gpucnn check``.
    - ``output_shape(self, shape)`` if it differs from that of the input, without the batch.
      It raises ShapeError for inputs that the operation does not take.
    - ``examples()``, a static method: what ``gpucnn check FILE.py:CLASS`` runs, if the class has
      arguments without defaults.

    An operation with weights calls ``self.register_parameter("weight", nn.Parameter(...))`` in
    ``__post_init__``. The methods take it as ``weight``; ``backward_numpy`` returns the gradients
    of the input and of each parameter, and ``backward_cuda`` writes ``weight_grad``.

    A backward that takes ``saved`` gets what its forward saved: ``forward_numpy`` then returns
    (output, saved), and ``forward_cuda`` returns saved.

    Training steps are captured as CUDA graphs, so ``forward_cuda`` and ``backward_cuda`` must do
    the same in each step of the same batch size: no random numbers or decisions of the host.

    >>> from dataclasses import dataclass
    >>> from gpucnn import nn
    >>> @dataclass(eq=False, repr=False)
    ... class Square(nn.CustomOp):
    ...     source = '''
    ...     extern "C" __global__ void square(const real* x, real* y, int n) {
    ...         const int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...         if (i < n) y[i] = x[i] * x[i];
    ...     }
    ...     extern "C" __global__ void square_backward(const real* dy, const real* x, real* dx,
    ...                                                int n) {
    ...         const int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...         if (i < n) dx[i] = 2 * x[i] * dy[i];
    ...     }'''
    ...
    ...     def forward_numpy(self, input):
    ...         return input * input
    ...
    ...     def backward_numpy(self, grad, input):
    ...         return 2 * input * grad
    ...
    ...     def forward_cuda(self, kernels, input, output):
    ...         n = input.size
    ...         kernels.square[nn.cdiv(n, 256), 256](input, output, n)
    ...
    ...     def backward_cuda(self, kernels, grad, input, input_grad):
    ...         n = input.size
    ...         kernels.square_backward[nn.cdiv(n, 256), 256](grad, input, input_grad, n)

    >>> model = nn.Sequential([Square()], (1, 1, 2))
    >>> model(numpy.float32([[[[3, -4]]]])).tolist()
    [[[[9.0, 16.0]]]]
    """

    source: ClassVar[str]
    """A file of CUDA C, next to the Python file of the class; or CUDA C, of several lines."""

    special_values: ClassVar[bool] = True
    """Whether ``gpucnn check`` compares results for inputs with NaN and infinities."""

    _folder: ClassVar[Path] = Path()
    """The folder of ``source``."""

    def __init_subclass__(cls, register: bool = True) -> None:
        super().__init_subclass__(register)
        if "source" in vars(cls):
            file = getattr(sys.modules.get(cls.__module__), "__file__", None)  # None in a notebook
            cls._folder = Path(file).resolve().parent if file else Path.cwd()

    def register_parameter(self, name: str, parameter: Parameter) -> None:
        """Add a parameter that training changes, under a name that the methods take."""
        if not name.isidentifier() or name in hooks.RESERVED or name.endswith("_grad"):
            raise SettingError(
                f"{type(self).__name__}: a parameter cannot be called {name!r}: expected a name "
                f"such as weight, none of {', '.join(sorted(hooks.RESERVED))}"
            )
        if not isinstance(parameter, Parameter):
            raise SettingError(
                f"{type(self).__name__}: {name} must be a gpucnn.nn.Parameter, got {parameter!r}"
            )
        self.__dict__["_parameters"] = {**self._parameters, name: parameter}

    @staticmethod
    def examples() -> Iterable[tuple[CustomOp, Shape]] | None:
        """Return what ``gpucnn check`` runs: pairs of an operation and the shape of an input.

        Shapes leave out the batch. By default, for None, it is the operation without arguments,
        with inputs of many shapes, those that ``output_shape`` accepts.
        """
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the compiled kernels out of copies and pickles."""
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        shape = (x.shape[0], *self.output_shape(tuple(x.shape[1:])))
        loaded = self._load(be)
        if loaded is None:
            x = np.ascontiguousarray(x)
            known = {"input": x, **self._weights()}
            output, saved = hooks.run_forward(self, "numpy", known, be.dtype, shape)
        else:
            output = be.empty(shape)
            known, results = {"input": x, **self._weights()}, {"output": output}
            saved = loaded.launch(self, "forward_cuda", be, known, results)
        if training is None:
            return output, None
        backward = "backward_numpy" if loaded is None else "backward_cuda"
        # A first layer without parameters needs no backward.
        names = hooks.taken(self, backward) if hasattr(self, backward) else ()
        known = {"input": x, "output": output, "saved": saved}
        return output, (x.shape, {name: known[name] for name in known if name in names})

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        if not (input_grad or self.parameters):
            return None
        shape, known = saved
        loaded = self._load(be)
        if loaded is None:
            known = {"grad": np.ascontiguousarray(grad), **known, **self._weights()}
            grads = hooks.run_backward(self, "numpy", known, be.dtype, shape)
            for name, parameter in self.parameters.items():
                parameter.grad[...] = grads[f"{name}_grad"]
            return grads["input_grad"]
        results = {f"{name}_grad": parameter.grad for name, parameter in self.parameters.items()}
        results["input_grad"] = result = be.empty(shape)
        loaded.launch(
            self, "backward_cuda", be, {"grad": grad, **known, **self._weights()}, results
        )
        return result

    def _weights(self) -> dict[str, Array]:
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def _load(self, be: Backend) -> _Loaded | None:
        """Return the kernels on a backend, None if it computes with NumPy."""
        known: WeakKeyDictionary[Backend, _Loaded] = self.__dict__.setdefault(
            "_loaded", WeakKeyDictionary()
        )
        found = known.get(be)
        if found is None and be.launches_kernels:
            found = known[be] = _Loaded(be.load_kernels(hooks.read_source(self, self._folder)))
        return found


class _Loaded:
    """The kernels of an operation on a backend, and the methods whose results were verified.

    The first call of each is, on the batch that is there: a kernel that writes nothing is reported
    before a run has trained on what was in memory.
    """

    def __init__(self, kernels: CustomKernels) -> None:
        self.kernels = kernels
        self.verified: set[str] = set()

    def launch(
        self,
        op: CustomOp,
        hook: str,
        be: Backend,
        known: Mapping[str, Any],
        results: Mapping[str, Array],
    ) -> Any:
        verify = hook not in self.verified
        returned = hooks.launch(op, hook, be, self.kernels, known, results, verify)
        self.verified.add(hook)
        return returned


def can_be_captured(layer: Layer) -> bool:
    """Return whether a layer of a user only launches kernels, so that its steps can be replayed."""
    own = (getattr(type(layer), name) for name in ("forward", "backward"))
    return isinstance(layer, CustomOp) and list(own) == [CustomOp.forward, CustomOp.backward]
