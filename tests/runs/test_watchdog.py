"""An env that does not return is told of, once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from support.envs import CountdownEnv

from maze_core.rl import InProcessVectorEnv
from maze_core.runs.watchdog import watching


class Slow(CountdownEnv):
    """Waits in its steps until it is let go."""

    go = threading.Event()

    def step(self, action: Any) -> Any:
        self.go.wait(5)
        return super().step(action)


def test_an_env_that_hangs_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    env = InProcessVectorEnv(Slow, 2)
    env.reset(seed=[3, 4])
    Slow.go.clear()
    with watching(lambda: [env], 0.05):
        threading.Timer(0.4, Slow.go.set).start()
        env.step(env.action_space.sample())
    told = [record.message for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith("env 0 of 2 has not returned for 0.05 s (episode seed 3)")


def test_an_env_that_returns_in_time_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    env = InProcessVectorEnv(CountdownEnv, 2)
    env.reset(seed=[3, 4])
    with watching(lambda: [env], 0.05):
        time.sleep(0.2)
    assert caplog.records == []


def test_without_a_timeout_nothing_is_watched() -> None:
    before = threading.active_count()
    with watching(list, None):
        assert threading.active_count() == before
