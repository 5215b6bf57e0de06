"""Exceptions from outside are told apart from those of the code that they came through."""

import ctypes
import signal
import sys
import threading
import time

import pytest

from losses.interrupts import from_outside


class OverTimeError(Exception):
    pass


class Handler:
    def method(self, number, frame):
        raise OverTimeError

    def __call__(self, number, frame):
        raise TimeoutError


def plain(number, frame):
    raise ValueError("time is over")


def deeper(number, frame):
    plain(number, frame)


def any_arguments(*arguments):
    raise RuntimeError


def busy():
    end = time.monotonic() + 5
    while time.monotonic() < end:
        sum(range(100))


def caught(work):
    with pytest.raises(BaseException) as error:  # noqa: PT011 - of whatever type
        work()
    return error.value


@pytest.mark.parametrize(
    "handler", [plain, deeper, any_arguments, Handler().method, Handler(), signal.default_int_handler]
)
def test_what_the_handler_of_a_signal_raises_comes_from_outside(handler):
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        error = caught(busy)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert from_outside(error)


def test_what_a_trace_function_raises_comes_from_outside():
    def trace(frame, event, argument):
        if frame.f_code is busy.__code__:
            raise OverTimeError

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        error = caught(busy)
    finally:
        sys.settrace(before)
    assert from_outside(error)


def test_what_another_thread_raises_in_a_line_of_ours_comes_from_outside():
    ours = {"__name__": "losses.some_module"}
    exec("def busy(time):\n    end = time() + 5\n    while time() < end: pass", ours)
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    here = ctypes.c_ulong(threading.get_ident())
    threading.Timer(0.05, lambda: raise_in(here, ctypes.py_object(OverTimeError))).start()
    assert from_outside(caught(lambda: ours["busy"](time.monotonic)))


def test_it_is_known_through_what_was_raised_because_of_it():
    def converted():
        try:
            interrupted()
        except ValueError as error:
            raise RuntimeError("the file cannot be read") from error

    def while_handled():
        try:
            raise KeyError("of our own")
        except KeyError:
            interrupted()

    def interrupted():
        plain(14, sys._getframe())

    assert from_outside(caught(converted))
    assert from_outside(caught(while_handled))


def test_failures_of_code_that_is_called_are_its_own():
    def fails():
        raise OverTimeError

    def reads_nonsense():
        int("x")

    def handles(frame):
        raise ValueError("of a frame, but not of the caller's")

    for work in (fails, reads_nonsense, lambda: handles(None), lambda: handles((1, 2))):
        assert not from_outside(caught(work))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_comes_from_outside(kind):
    assert from_outside(kind())
