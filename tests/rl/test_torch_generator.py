"""Torch's own generator belongs to one thread at a time."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from maze_core.isolation import isolated
from maze_core.rl.torch_generator import torch_generator


def drawn(seed: int) -> torch.Tensor:
    with torch_generator(seed):
        return torch.rand(3)


def test_it_is_seeded_and_restored_whatever_happens() -> None:
    before = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    with pytest.raises(ValueError, match="inside"), torch_generator():
        torch.rand(1)
        raise ValueError("inside")
    assert torch.equal(torch.get_rng_state(), before)


def test_who_has_it_may_ask_again() -> None:
    with torch_generator(1):
        first = torch.rand(1)
        with torch_generator(1):
            assert torch.equal(torch.rand(1), first)
        second = torch.rand(1)
    assert torch.equal(drawn(1)[:2], torch.cat([first, second]))


def test_threads_wait_for_each_other() -> None:
    before, alone, found = torch.get_rng_state(), [drawn(1), drawn(2)], list[torch.Tensor]()
    other = threading.Thread(target=lambda: found.append(drawn(2)))
    with torch_generator(1):
        other.start()
        other.join(0.1)
        assert other.is_alive()
        found.append(torch.rand(3))
    other.join()
    assert torch.equal(torch.stack(found), torch.stack(alone))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_as_before_when_many_had_it() -> None:
    """A thread that looked at it in the middle of another's turn would bring back what it found there."""
    before = torch.get_rng_state()

    def draw(seed: int | None) -> None:
        for _ in range(200):
            with torch_generator(seed):
                torch.rand(1)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in (None, 1, None, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plugin_that_is_loaded_meanwhile_is_not_blamed() -> None:
    """And what it did not do is not undone."""
    notes, alone, found = list[str](), drawn(1), list[torch.Tensor]()

    def load() -> None:
        with isolated("plugin", notes, 10.0):
            time.sleep(0.1)

    loading = threading.Thread(target=load)
    with torch_generator(1):
        loading.start()
        time.sleep(0.05)
        found.append(torch.rand(1))
        time.sleep(0.1)
        found.append(torch.rand(2))
    loading.join()
    assert notes == []
    assert torch.equal(torch.cat(found), alone)
