"""Locks and processes that are forked."""

from __future__ import annotations

import os
import threading

import pytest

from maze_core.locks import ForkLock

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # it is what is tested


def code_of_a_child(lock: ForkLock, seconds: float = 10.0) -> int:
    """Whether a process that is forked now gets the lock: 0; else SIGALRM ends it."""
    child = os.fork()
    if child == 0:
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with lock, lock:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_threads_exclude_each_other_and_one_may_take_it_twice() -> None:
    lock, entered = ForkLock(), threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    other = threading.Thread(target=enter)
    with lock:
        with lock:
            other.start()
        assert not entered.wait(0.05)
    other.join()
    assert entered.is_set()


def test_a_child_finds_it_free_while_another_thread_has_it() -> None:
    lock, held, done = ForkLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        assert code_of_a_child(lock) == 0
    finally:
        done.set()
        holder.join()
    assert code_of_a_child(lock) == 0


def test_who_forks_keeps_it_in_the_child() -> None:
    lock = ForkLock()
    with lock:
        assert code_of_a_child(lock) == 0
    with lock:
        pass
