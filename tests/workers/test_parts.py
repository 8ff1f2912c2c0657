"""The parts that workers are made of, without workers."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from maze_core.rl.replay import EpisodeLog
from maze_core.workers.channel import Channel, closed_after
from maze_core.workers.process import ending
from maze_core.workers.shared import layout_of, new_memory, shared_arrays
from maze_core.workers.vector_env import merged


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    pair = tuple(map(Channel, socket.socketpair()))
    yield pair  # type: ignore[misc]
    for channel in pair:
        channel.close()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 3_000_000])
def test_messages_of_any_size_arrive(size: int, ends: tuple[Channel, Channel]) -> None:
    message = os.urandom(size)
    sender = threading.Thread(target=ends[0].send, args=(message, 10.0))
    sender.start()
    assert ends[1].receive(10.0) == (message, [])
    sender.join()


def test_open_files_come_along(ends: tuple[Channel, Channel]) -> None:
    arrays = [np.arange(3.0), np.zeros((2, 5), np.int8), np.ones((4, 0), bool)]
    memory = new_memory(layout_of(arrays))
    here = shared_arrays(memory, layout_of(arrays))
    ends[0].send(b"look", 1.0, [memory])
    message, files = ends[1].receive(1.0)
    there = shared_arrays(files[0], layout_of(arrays))
    closed_after([memory, *files])
    here[0][1], here[1][1, 4] = 7.5, 3
    assert message == b"look"
    assert (there[0].tolist(), int(there[1].sum()), there[2].shape) == ([0.0, 7.5, 0.0], 3, (4, 0))


def test_who_sends_a_part_and_stops_is_not_waited_for(ends: tuple[Channel, Channel]) -> None:
    ends[0]._socket.send(b"\0\0\0\0\0\0\0\5abc")
    with pytest.raises(TimeoutError):
        ends[1].receive(0.05)


@pytest.mark.parametrize("begun", [b"", b"\0\0", b"\0\0\0\0\0\0\0\5abc"])
def test_the_end_of_the_other_is_noticed(begun: bytes, ends: tuple[Channel, Channel]) -> None:
    ends[0]._socket.send(begun)
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive(1.0)


def test_who_takes_nothing_is_not_waited_for(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        ends[0].send(bytes(10**7), 0.05)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"), (3, "ended with exit code 3"), (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL (perhaps because memory ran out)"),
        (-34, "was killed by SIGRTMIN"), (-40, "was killed by signal 40"),
    ],
)  # fmt: skip
def test_an_exit_code_is_told_in_words(code: int, words: str) -> None:
    assert ending(code) == words


def test_infos_of_parts_become_those_of_all() -> None:
    first = {"a": np.array([1.0, 2.0]), "_a": np.array([True, True]), "told": np.array([None, "x"], object)}
    second = {"a": np.array([3]), "_a": np.array([True]), "deep": {"b": np.array([[1, 2]]), "_b": np.array([True])}}
    found = merged([(slice(0, 2), first), (slice(2, 3), second)], 4)
    assert found["a"].tolist() == [1.0, 2.0, 3, 0.0]  # of another type
    assert found["_a"].tolist() == [True, True, True, False]
    assert found["told"].tolist() == [None, "x", None, None]
    assert found["deep"]["b"].tolist() == [[0, 0], [0, 0], [1, 2], [0, 0]]
    assert found["deep"]["_b"].tolist() == [False, False, True, False]
    assert merged([], 4) == {}


def test_a_log_knows_what_is_under_way_and_forgets_the_rest() -> None:
    log = EpisodeLog(3, 100)
    log.begin(np.array([True, True, False]), np.array([7, 8, 9]))
    for step in range(5):
        log.add((np.full(3, step),), np.full(3, 0.5 * step))
    log.end(np.array([True, False, False]))
    log.begin(np.array([True, False, False]), np.array([5, 0, 0]))
    log.add((np.full(3, 5),), np.zeros(3))
    assert log.ages.tolist() == [1, 6, -1]
    assert log.seeds.tolist() == [5, 8, 0]
    (actions,), rewards = log.taken(slice(1, 3))
    assert actions.tolist() == [[step, step] for step in range(6)]
    assert [r.tolist() for r in rewards[:2]] == [[0.0, 0.0], [0.5, 0.5]]
    assert log.taken(slice(0, 1))[0][0].tolist() == [[5]]
    log.begin(np.array([False, True, False]), np.array([0, 1, 0]))
    assert len(log._actions) == 1  # the other steps belong to nobody


def test_a_log_gives_up_what_is_too_long() -> None:
    log = EpisodeLog(2, 3)
    log.begin(np.array([True, True]), np.array([1, 2]))
    forgotten = []
    for step in range(6):
        if step == 2:
            log.begin(np.array([False, True]), np.array([0, 3]))
        log.add(np.zeros(2), np.zeros(2))
        forgotten.append(log.forget_long())
    assert forgotten == [False, False, False, True, False, True]
    assert log.ages.tolist() == [-1, -1]
