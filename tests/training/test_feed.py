"""Images that a thread reads ahead of the steps that train on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError, ReadError
from gpucnn.training import feed as module
from gpucnn.training.feed import SLOTS, Feed

Bytes = NDArray[np.uint8]


class Images(LazyImages):
    """Images in memory that are taken as if they were in files; ``hook`` is called first."""

    def __init__(
        self, count: int, hook: Callable[[NDArray[np.int64]], object] = len, seed: int = 0
    ) -> None:
        super().__init__((count, 1, 2, 3))
        self.values = np.random.default_rng(seed).integers(0, 256, self.shape, np.uint8)
        self.hook, self.taken = hook, 0

    def chunks(self, size: int | None = None, start: int = 0) -> Iterator[Bytes]:
        yield self.values[start:]

    def take(self, indices: NDArray[np.int64], out: Bytes | None = None) -> Bytes:  # type: ignore[override]
        self.hook(indices)
        self.taken += len(indices)
        return np.take(self.values, indices, axis=0, out=out)


@pytest.fixture(autouse=True)
def small_slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A slot holds at most two batches, so that small epochs go round the ring several times."""
    monkeypatch.setattr(module, "MAX_BATCHES", 2)
    monkeypatch.setattr(module, "READ_AT_ONCE", 3)
    yield
    assert not readers()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "image reader"]


def positions(feed: Feed, batch: int) -> NDArray[np.int64]:
    """Where steps find the images of a batch."""
    start = batch * feed.batch_size
    return np.arange(start, min(start + feed.batch_size, feed.count)) % feed.size


@pytest.mark.parametrize(
    ("count", "batch_size", "first"),
    [(1, 1, 0), (7, 7, 0), (8, 1, 3), (23, 2, 0), (40, 4, 9), (41, 4, 5), (41, 4, 10), (50, 3, 1)],
)
def test_a_batch_is_in_the_ring_when_its_step_is_done(
    backend32: Backend, count: int, batch_size: int, first: int
) -> None:
    """Steps are launched as far ahead as images are there; nothing waits for them."""
    be, images = backend32, Images(count)
    feed = Feed(be, images, batch_size)
    scaling = be.asarray(np.ones(1)), be.asarray(np.zeros(1))
    places = [be.asarray(positions(feed, batch)) for batch in range(feed.batches)]
    order = np.random.default_rng(0).permutation(count)
    for chosen in (order, None, order[::-1]):
        feed.begin(chosen, first)
        done, steps = first, []
        while done < feed.batches:
            ready = min(feed.acquire(done), 1 + done % 2, feed.batches - done)
            for place in places[done : done + ready]:
                steps.append(be.gather_images(feed.images, place, *scaling))
            done += ready
            feed.release(done)
        if chosen is not None:
            feed.end()
        # Without ``end``, nothing else waits for the copies of the last slots.
        found = np.concatenate([be.to_numpy(step) for step in steps])
        feed.end()
        wanted = images.values if chosen is None else images.values[chosen]
        np.testing.assert_array_equal(found, wanted[first * batch_size :])


def test_only_the_images_of_a_part_are_read(backend32: Backend) -> None:
    images = Images(22)
    feed = Feed(backend32, images, 4, needed=lambda count: [(0, 1), (2, 2), (2, count)])
    order = np.random.default_rng(0).permutation(22)
    feed.begin(order, 1)
    for batch in range(1, feed.batches):
        feed.acquire(batch)
        rows = positions(feed, batch)
        found = backend32.to_numpy(feed.images)[rows]
        own = [row for row in range(len(rows)) if row != 1]
        np.testing.assert_array_equal(found[own], images.values[order[batch * 4 :][own]])
        feed.release(batch + 1)
    feed.end()
    assert images.taken == 3 * 4 + 1


def test_rings_share_no_memory_with_work_before_and_after_them(backend32: Backend) -> None:
    """Memory that was released, of the device and of the host, serves the next ring at once."""
    be, outputs, wanted = backend32, [], []
    scaling = be.asarray(np.ones(1)), be.asarray(np.zeros(1))
    places = be.asarray(np.arange(2))
    for seed in range(4):
        images = Images(24, seed=seed)
        feed = Feed(be, images, 2)
        feed.begin()
        feed.acquire(0)
        outputs.append(be.gather_images(feed.images, places, *scaling))
        wanted.append(images.values[:2])
        feed.end()
        del feed
    for output, expected in zip(outputs, wanted, strict=True):
        np.testing.assert_array_equal(be.to_numpy(output), expected)


def test_reading_is_never_ahead_by_more_than_the_slots(
    backend32: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []
    ahead: list[int] = []
    images = Images(60, lambda indices: ahead.append(int(indices[0]) // 4 - len(released)))
    feed = Feed(backend32, images, 2)
    monkeypatch.setattr(feed.ring, "release", released.append)
    feed.begin()
    for batch in range(feed.batches):
        feed.acquire(batch)
        feed.release(batch + 1)
    feed.end()
    assert images.taken == 60
    assert released == [part % SLOTS for part in range(15)]
    assert max(ahead) < SLOTS


@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "a.npy"), DataError("a.npy")])
def test_an_error_is_raised_where_its_images_are_needed(
    backend32: Backend, error: Exception
) -> None:
    def fail(indices: NDArray[np.int64]) -> None:
        if 13 in indices:
            raise error

    feed = Feed(backend32, Images(40, fail), 2)
    feed.begin()
    for batch in range(6):
        feed.acquire(batch)
        feed.release(batch + 1)
    for _ in range(2):
        with pytest.raises(ReadError, match=r"a\.npy") as raised:
            feed.acquire(6)
    assert raised.value.status == 1
    feed.end()
    feed.begin(first=7)  # the images before are not read
    feed.acquire(7)
    feed.end()


def test_a_reader_ends_while_it_waits_and_while_it_reads(backend32: Backend) -> None:
    begun = threading.Event()

    def wait(indices: NDArray[np.int64]) -> None:
        if indices.max() >= 8:
            begun.set()
            assert feed._epoch is not None
            assert feed._epoch.ending.wait(60)  # until the thread is asked to end

    images = Images(400, wait)
    feed = Feed(backend32, images, 2)
    feed.begin()
    assert begun.wait(60)  # in a read, the last slot being filled
    feed.end()
    assert images.taken <= 11
    images.hook = len
    feed.begin()
    feed.acquire(0)
    feed.end()  # all slots are full
    feed.end()


def test_a_read_that_hangs_does_not_keep_a_run_from_ending(
    backend32: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.01)
    begun, may_go_on = threading.Event(), threading.Event()

    def hang(_: NDArray[np.int64]) -> None:
        begun.set()
        assert may_go_on.wait(60)

    feed = Feed(backend32, Images(40, hang), 2)
    feed.begin()
    assert begun.wait(60)
    (thread,) = readers()
    assert thread.daemon  # the interpreter does not wait for it
    feed.end()
    may_go_on.set()
    thread.join(60)


def test_without_threads_the_error_says_so(
    backend32: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    feed = Feed(backend32, Images(4), 2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ReadError, match="cannot start a thread that reads images: can't start new"):
        feed.begin()
    feed.end()


def test_slots_are_of_many_small_batches_or_of_one_large_one(
    backend32: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BATCHES", 32)
    monkeypatch.setattr(module, "MIN_SLOT", 60)
    monkeypatch.setattr(module, "MAX_SLOT", 120)
    found = {
        (size, launch): Feed(backend32, Images(1000), size, launch).per_slot
        for size, launch in [(1, 1), (1, 32), (2, 1), (5, 1), (5, 32), (20, 1), (21, 32), (600, 1)]
    }
    assert found == {
        (1, 1): 10, (1, 32): 20, (2, 1): 5, (5, 1): 2, (5, 32): 4, (20, 1): 1, (21, 32): 1,
        (600, 1): 1,
    }  # fmt: skip
