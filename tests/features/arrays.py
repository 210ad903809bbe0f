"""Arrays on the device, and what programs compute with them next to their kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.programs import feature


@feature("`empty`, `zeros`, `ones`, `full` and their `_like`")
def creation(cp: Any) -> None:
    x = cp.full((2, 3), 4, dtype=cp.float32)
    assert (x.shape, x.dtype, x.nbytes) == ((2, 3), np.float32, 24)
    assert cp.empty_like(x).shape == cp.zeros_like(x).shape == (2, 3)
    assert cp.ones_like(x).get().sum() == 6
    assert cp.full_like(x, 2).get().sum() == 12
    assert (cp.zeros(2) + cp.ones(2)).get().tolist() == [1, 1]


@feature("`arange`, `linspace`, `eye`, `meshgrid`")
def sequences(cp: Any) -> None:
    assert cp.arange(3, dtype=cp.int32).get().tolist() == [0, 1, 2]
    assert cp.linspace(0, 1, 3).get().tolist() == [0, 0.5, 1]
    assert cp.eye(2).get().tolist() == [[1, 0], [0, 1]]
    assert cp.meshgrid(cp.arange(2), cp.arange(2))[0].shape == (2, 2)


@feature("`array`, `asarray`, `asnumpy`, `get`, `set`")
def copies(cp: Any) -> None:
    host = np.arange(4, dtype=np.float32)
    x, y = cp.array(host), cp.asarray(host)
    y.set(host + 1)
    assert (cp.asnumpy(x) == host).all()
    assert (y.get() == host + 1).all()
    assert cp.asarray(x) is x
    assert cp.array(x) is not x
    assert cp.ascontiguousarray(x.reshape(2, 2).T).flags.c_contiguous


@feature("views by slices, `reshape`, `ravel`, `T`, `view`")
def views(cp: Any) -> None:
    x = cp.arange(6, dtype=cp.float32).reshape(2, 3)
    x[0, 1:] = 9
    assert x.get().tolist() == [[0, 9, 9], [3, 4, 5]]
    assert x.ravel().data.ptr == x.data.ptr
    assert x.T.strides == (4, 12)
    assert x.view(cp.int32).dtype == np.int32
    assert x.transpose(1, 0).shape == x.swapaxes(0, 1).shape == (3, 2)
    assert cp.zeros((1, 3)).squeeze().shape == (3,)
    assert x.flatten().data.ptr != x.data.ptr


@feature("`astype`, `copy`, `fill`, `tolist`, `item`")
def conversions(cp: Any) -> None:
    x = cp.asarray(np.float32([1.5, 2.5]))
    y = x.astype(cp.int32)
    x.fill(7)
    assert (x.copy().tolist(), y.tolist(), y[:1].item()) == ([7, 7], [1, 2], 1)


@feature("arithmetic and comparisons")
def arithmetic(cp: Any) -> None:
    x = cp.arange(4, dtype=cp.float32)
    y = 2 * x + 1 - x / 2
    x += 1
    assert y.dtype == np.float32
    assert y.get().tolist() == [1, 2.5, 4, 5.5]
    assert bool((x > 0).all())
    assert x.get().tolist() == [1, 2, 3, 4]
    assert float((x * x).sum() ** 0.5) == np.sqrt(np.float32(30))


@feature("ufuncs and reductions")
def reductions(cp: Any) -> None:
    x = cp.arange(6, dtype=cp.float64).reshape(2, 3)
    assert x.sum(axis=0).get().tolist() == [3, 5, 7]
    assert (float(x.max()), float(cp.mean(x)), int(x.argmax())) == (5, 2.5, 5)
    assert cp.allclose(cp.sqrt(x) ** 2, x)
    assert cp.concatenate([x, x]).shape == (4, 3)
    assert cp.where(x > 2, x, 0).get().sum() == 12


@feature("`random`", emulated=True)
def random_arrays(cp: Any) -> None:
    cp.random.seed(1)
    x = cp.random.rand(100, dtype=cp.float32)
    assert x.dtype == np.float32
    assert 0 <= float(x.min()) < float(x.max()) < 1
    assert cp.random.randint(0, 5, size=(2, 3)).shape == (2, 3)
    assert cp.random.default_rng(2).standard_normal(4).shape == (4,)


@feature("`testing.assert_allclose` and its like")
def comparisons(cp: Any) -> None:
    x = cp.arange(1, 4)
    cp.testing.assert_array_equal(x, np.arange(1, 4))
    cp.testing.assert_allclose(x, x + 1e-9, rtol=1e-6)
    try:
        cp.testing.assert_allclose(x, x + 1)
    except AssertionError:
        return
    raise RuntimeError("a difference was not found")


@feature("memory pools and pointers")
def memory(cp: Any) -> None:
    pool = cp.cuda.MemoryPool()
    with cp.cuda.using_allocator(pool.malloc):
        x = cp.zeros(64, np.float32)
        assert pool.used_bytes() >= x.nbytes
    y = cp.ndarray((4,), np.float32, x.data + 16)
    y.fill(3)
    assert x.get()[:9].tolist() == [0] * 4 + [3] * 4 + [0]
    x.data.memset(0, x.nbytes)
    assert x.get().sum() == 0


@feature("`get_array_module`, `is_available`, device properties")
def device(cp: Any) -> None:
    assert cp.get_array_module(cp.zeros(1)) is cp
    assert cp.get_array_module(np.zeros(1)) is np
    assert cp.is_available()
    with cp.cuda.Device(0) as found:
        found.synchronize()
        assert found.attributes["WarpSize"] == 32
    assert cp.cuda.runtime.getDeviceProperties(0)["maxThreadsPerBlock"] == 1024
    assert int(cp.cuda.Device().compute_capability) >= 75
