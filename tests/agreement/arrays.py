"""Arrays: attributes, copies, assignments, views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from agreement.common import assign, attempt, floats, gives, plain


@gives((2, 3), (12, 4), "float32", 6, 2, 24, 4, True, False, 0, 2)
def arrays_have_attributes(xp: Any) -> Iterator[Any]:
    x = xp.zeros((2, 3), np.float32)
    yield from (x.shape, x.strides, str(x.dtype), x.size, x.ndim, x.nbytes, x.itemsize)
    yield from (x.flags.c_contiguous, x.flags.f_contiguous, x.device.id, len(x))


@gives("float64", "float64", "int64", "float32", "int8", "bool", (), (3,), (0, 2))
def arrays_are_made_of_numbers_and_sequences(xp: Any) -> Iterator[Any]:
    yield from (str(xp.empty(2).dtype), str(xp.zeros(2).dtype))
    yield str(xp.asarray([1, 2]).dtype)
    yield str(xp.asarray([1, 2], "float32").dtype)
    yield str(xp.asarray(np.ones(2, np.int8)).dtype)
    yield str(xp.asarray(True).dtype)
    yield from (xp.asarray(2.5).shape, xp.empty(3).shape, xp.empty([0, 2]).shape)


@gives([0, 0], [1, 1], True, False, [1, 2], "int32")
def uploading_copies_and_device_arrays_are_returned_as_they_are(xp: Any) -> Iterator[Any]:
    host = np.zeros(2)
    x = xp.asarray(host)
    host[...] = 1
    yield from (plain(x), plain(xp.asarray(host)), xp.asarray(x) is x)
    y = xp.asarray(floats(xp, 1, 2), np.int32)
    yield from (y is x, plain(y), str(y.dtype))


@gives((4, 8), True, (16, 8), [[0, 1], [2, 3]], True)
def uploading_keeps_the_order_of_columns(xp: Any) -> Iterator[Any]:
    host = np.asfortranarray(np.arange(4.0, dtype=np.float32).reshape(2, 2))
    x = xp.asarray(host)
    yield from (x.strides, x.flags.f_contiguous, xp.asarray(np.ones((2, 4))[:, ::2]).strides)
    yield from (plain(x), x.get().flags.c_contiguous)


@gives("ValueError", "ValueError", "TypeError", "ValueError", "MemoryError", "ValueError")
def what_no_array_can_be_made_of_is_refused(xp: Any) -> Iterator[Any]:
    yield attempt(xp.asarray, np.array([None]))
    yield attempt(xp.asarray, ["text"])
    yield attempt(xp.empty, 2, "nothing")
    yield attempt(xp.empty, (-1,))
    yield attempt(xp.empty, 1 << 50, np.uint8)
    yield attempt(xp.zeros, 2, "U3")


@gives([7, 7], [0, 0], [1, 1], "ValueError", "ValueError", "TypeError", "ValueError", [2, 2])
def filling(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2)
    for value in (7, 0, np.array(1)):
        x.fill(value)
        yield plain(x)
    yield attempt(x.fill, np.ones(2))
    yield attempt(x.fill, [1, 1])
    yield attempt(x.fill, 1j)
    yield attempt(x.fill, floats(xp, 3))
    x.fill(floats(xp, 2)[0])
    yield plain(x)


@gives([3, 4], "TypeError", "TypeError", "TypeError", "ValueError", "RuntimeError", [[5, 5]] * 2)
def setting_from_the_host(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2)
    x.set(np.array([3, 4], np.float32))
    yield plain(x)
    for wrong in (np.ones(2), [1, 2], floats(xp, 1, 2), np.ones(3, np.float32)):
        yield attempt(x.set, wrong)
    y = xp.zeros((2, 2), np.float32)
    yield attempt(y[:, 0].set, np.ones(2, np.float32))
    y.T.set(np.full((2, 2), 5, np.float32))
    yield plain(y)


@gives("float32", [1, 2], "ValueError", "ValueError", "float16", 8)
def byte_orders_and_sizes(xp: Any) -> Iterator[Any]:
    x = xp.asarray(np.array([1, 2], ">f4"))
    yield from (str(x.dtype), plain(x))
    yield attempt(xp.zeros, 2, ">f4")
    yield attempt(xp.asarray, np.ones(2, np.longdouble))
    yield str(xp.asarray(np.ones(2, np.float16)).dtype)
    yield xp.empty(2, "i4, f4").itemsize


@gives([[0, 1], [0, 1]], [[2, 2], [3, 3]], [[2, 9], [3, 9]], [[4, 9], [4, 9]], [1, 2], [3, 3])
def assigning(xp: Any) -> Iterator[Any]:
    x = xp.zeros((2, 2), np.float32)
    for key, value in (
        (..., floats(xp, 0, 1)),
        (..., floats(xp, 2, 3).reshape(2, 1)),
        ((slice(None), 1), 9),
        ((slice(None), 0), np.array(4)),
    ):
        x[key] = value
        yield plain(x)
    y = xp.zeros(2, np.int32)
    y[...] = floats(xp, 1.5, 2.5).reshape(1, 1, 2)
    yield plain(y)
    y[...] = 3.7
    yield plain(y)


@gives("ValueError", "ValueError", "ValueError", "ValueError", "IndexError", "IndexError", [1, 2])
def wrong_assignments_are_refused(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2)
    yield attempt(assign, x, ..., floats(xp, 1, 2, 3))
    yield attempt(assign, x, slice(0, 1), x)
    yield attempt(assign, x, ..., np.ones(2, np.float32))
    yield attempt(assign, x, slice(None), [1, 2])
    yield attempt(assign, x, 2, 1)
    yield attempt(assign, x, (0, 0), 1)
    yield plain(x)


@gives([[4, 6]], (32, 8), False, True, True, 40, [9, 8], (1, 3, 4), 9, (), "IndexError")
def views_share_memory(xp: Any) -> Iterator[Any]:
    x = xp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    yield plain(x[1:2, ::2])
    view = x[::2, ::2]
    yield from (view.strides, view.flags.c_contiguous, view.base is x, view[1:].base is x)
    yield view[1:, 1:].data.ptr - x.data.ptr
    x[2, 2:] = floats(xp, 9, 8)
    yield plain(x[2, 2:])
    yield x[None].shape
    yield float(view[1, 1])
    yield x[1, 2].shape
    yield attempt(lambda: x[3])


@gives([3, 2, 1], (-4,), [1, 3], [[1, 4], [2, 5], [3, 6]])
def reversed_and_transposed_views(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2, 3)
    yield from (plain(x[::-1]), x[::-1].strides, plain(x[::2]))
    yield plain(floats(xp, 1, 2, 3, 4, 5, 6).reshape(2, 3).T)


@gives([[1, 2], [3, 4]], [[1, 2], [3, 4]], True, [1, 3, 2, 4], False, "ValueError", "ValueError")
def reshaping(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2, 3, 4)
    y = x.reshape(2, -1)
    yield from (plain(y), plain(x.reshape((2, 2))), y.reshape(4).data.ptr == x.data.ptr)
    copy = y.T.reshape(4)  # no view has this order
    yield from (plain(copy), copy.data.ptr == x.data.ptr)
    yield attempt(x.reshape, 3)
    yield attempt(x.reshape, -1, -1)


@gives(2.5, 2.5, 2, True, False, "ValueError", "ValueError", "TypeError", "TypeError")
def single_numbers(xp: Any) -> Iterator[Any]:
    x = floats(xp, 2.5)
    yield from (x.item(), float(x[0]), int(x[0]), bool(x), bool(xp.zeros(())))
    yield attempt(floats(xp, 1, 2).item)
    yield attempt(lambda: bool(floats(xp, 0, 0)))
    yield attempt(lambda: len(x[0]))
    yield attempt(lambda: int(floats(xp, 1, 2)))


@gives([1, 2], True, [1, 2], [[1, 3], [2, 4]], True, [], (0, 3))
def copies(xp: Any) -> Iterator[Any]:
    x = floats(xp, 1, 2)
    y = x.copy()
    x.fill(0)
    yield from (plain(y), isinstance(xp.asnumpy(y), np.ndarray), xp.asnumpy(y).tolist())
    z = floats(xp, 1, 2, 3, 4).reshape(2, 2).T.copy()
    yield from (plain(z), z.flags.c_contiguous, plain(xp.zeros(0)), xp.zeros((0, 3)).get().shape)


@gives([1, 1], "TypeError", "TypeError", "TypeError", "TypeError")
def host_and_device_arrays_do_not_mix(xp: Any) -> Iterator[Any]:
    x, host = floats(xp, 1, 2), np.ones(2, np.float32)
    yield xp.asnumpy(host).tolist()
    yield attempt(np.asarray, x)
    yield attempt(lambda: host + x)
    yield attempt(lambda: x + host)
    yield attempt(hash, x)
