"""Work in threads: results in order, errors, interruption, and a system without threads."""

import threading
import time

import pytest

from gpucnn.data.folders.parallel import map_files


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_results_are_in_the_order_of_the_items(threads):
    items = list(range(100))
    calls = []
    assert map_files(lambda n: n * n, items, lambda *call: calls.append(call), threads) == [
        n * n for n in items
    ]
    assert calls[-1] == (100, 100)
    assert calls == sorted(calls)
    assert map_files(len, []) == []


def test_an_error_is_raised_in_the_calling_thread():
    def fail(item):
        if item == 30:
            raise OSError("thirty")
        return item

    with pytest.raises(OSError, match="thirty"):
        map_files(fail, range(100), threads=3)


def test_an_exception_does_not_wait_for_a_thread_that_hangs():
    """As a signal's handler raises it; the thread is a daemon, so that the process can end."""
    release, began = threading.Event(), threading.Event()
    threads = []

    def hang(item):
        threads.append(threading.current_thread())
        began.set()
        release.wait(60)

    def interrupt(done, total):
        assert began.wait(60)
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        map_files(hang, range(100), interrupt, threads=1)
    assert time.monotonic() - start < 30
    assert threads[0].daemon
    assert threads[0].is_alive()
    release.set()
    threads[0].join(60)
    assert len(threads) == 1, "the thread went on with the next item"


@pytest.mark.parametrize("allowed", [0, 2])
def test_fewer_threads_where_the_system_has_no_more(monkeypatch, allowed):
    start, started = threading.Thread.start, []

    def limited(thread):
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert map_files(abs, range(-50, 0), threads=8) == list(range(50, 0, -1))
    assert len(started) == allowed
