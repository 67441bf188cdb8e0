"""Work divided among threads."""

import threading

import keras
import numpy as np
import pytest

import keras_htaf
from keras_htaf import packed
from keras_htaf_packed import threads


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(threads, "_number", None)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("tasks", [1, 2, 5, 100])
def test_each_task_is_done_once(number, tasks):
    packed.set_num_threads(number)
    done = []
    threads.divide(tasks, 1.0, lambda first, last: done.extend(range(first, last)))
    assert sorted(done) == list(range(tasks))


def test_small_work_wakes_nobody():
    packed.set_num_threads(4)
    parts = []
    threads.divide(100, 1e-7, lambda *part: parts.append((threading.current_thread(), *part)))
    assert parts == [(threading.current_thread(), 0, 100)]


def test_large_work_does():
    packed.set_num_threads(2)
    together = threading.Barrier(2, timeout=60)
    threads.divide(2, 1.0, lambda first, last: together.wait())


def test_nobody_waits_for_the_work_of_others():
    """With one thread beside the caller's, which others keep, a caller does its work alone."""
    packed.set_num_threads(2)
    held, release = threading.Barrier(3, timeout=60), threading.Event()

    def hold(first, last):
        held.wait()
        release.wait(60)

    others = [threading.Thread(target=threads.divide, args=(2, 1.0, hold)) for _ in range(1)]
    for other in others:
        other.start()
    held.wait()
    done = []
    threads.divide(4, 1.0, lambda first, last: done.extend(range(first, last)))
    assert sorted(done) == [0, 1, 2, 3]
    release.set()
    for other in others:
        other.join(60)


@pytest.mark.parametrize("failing", range(4))
def test_errors_are_raised_where_the_work_was_asked_for(failing):
    def part(first, last):
        if first <= failing < last:
            raise ZeroDivisionError

    packed.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        threads.divide(4, 1.0, part)


def test_number_of_threads():
    packed.set_num_threads(3)
    assert packed.get_num_threads() == 3
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="Expected a positive integer"):
            packed.set_num_threads(wrong)


def test_blas_gets_its_threads_back_when_the_last_caller_leaves():
    controller = threads._blas()

    def numbers():
        return [library["num_threads"] for library in controller.info()]

    before = numbers()
    first, second = threads.blas_on_one_thread(), threads.blas_on_one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(numbers()) <= {1}
    second.__exit__(None, None, None)
    assert numbers() == before


def test_a_model_gives_the_same_on_any_number_of_threads_and_to_several_callers():
    keras.utils.set_random_seed(0)
    model = keras_htaf.models.binary_vgg((16, 16, 3), 10, filters=(16, 32))
    model = packed.pack(keras_htaf.harden(model))
    x = np.random.default_rng(0).normal(size=(96, 16, 16, 3)).astype("float32")
    packed.set_num_threads(1)
    expected = model.predict(x, batch_size=96)
    packed.set_num_threads(3)
    found = [None] * 4

    def call(i):
        found[i] = model.predict(x, batch_size=96)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for each in found:
        np.testing.assert_allclose(each, expected, atol=1e-5)
