"""What the kit finds of algorithms, and that it finds nothing where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.conformance import failures

from maze_core import TrainerSpec, UserError
from maze_core.testing import TrainerConformance
from maze_core.testing.toy_search import SearchTrainer
from maze_core.testing.toys import SearchConfig


class NotFinite(SearchTrainer):
    """Has a metric that is no number."""

    def step(self) -> dict[str, float]:
        return {**super().step(), "loss": float("nan")}


class CountsNothing(SearchTrainer):
    """Does not count env steps."""

    def step(self) -> dict[str, float]:
        metrics = super().step()
        self.env_steps = 0
        return metrics


class OddHistograms(SearchTrainer):
    """Tells a word as a distribution."""

    histograms = {"value": "high"}


class ForgetsHistograms(SearchTrainer):
    """Tells of its newest update, and has forgotten it when the run goes on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.histograms: dict[str, Any] = {}

    def step(self) -> dict[str, float]:
        self.histograms = {"weight": np.full(3, self.updates - self.first_update)}
        return super().step()

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.first_update = self.updates

    first_update = 0


class OddState(SearchTrainer):
    """Has a state that cannot be saved."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "config": self.config}


class TakesAnything(SearchTrainer):
    """Takes every state."""

    def load_state_dict(self, state: Any) -> None:
        if state:
            super().load_state_dict(state)


class Careless(SearchTrainer):
    """Draws from the global generator."""

    def step(self) -> dict[str, float]:
        metrics = super().step()
        self.weights = self.weights + np.float32(0.1 * np.random.normal())
        return metrics


class OwnGenerator(SearchTrainer):
    """Has a generator whose state it does not save."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.generator = np.random.default_rng(0)

    def step(self) -> dict[str, float]:
        metrics = super().step()
        self.weights = self.weights + np.float32(0.1 * self.generator.normal())
        return metrics


class Idles(SearchTrainer):
    """Learns nothing."""

    def step(self) -> dict[str, float]:
        weights = self.weights
        metrics = super().step()
        self.weights = weights
        self.policy.load_state_dict({name: value * 0 for name, value in self.policy.state_dict().items()})
        return metrics


class OnlyFlat(SearchTrainer):
    """Refuses structured envs."""

    def __init__(self, config: Any, job: Any) -> None:
        if job.actors.structured:
            raise UserError("one actor only.")
        super().__init__(config, job)


def spec(build: Any) -> TrainerSpec:
    config = type("OwnConfig", (SearchConfig,), {"__doc__": "Options.", "__module__": __name__})
    return TrainerSpec(name="subject", summary="An algorithm.", config=config, build=build)


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (NotFinite, "test_updates_give_finite_metrics_and_count", "update 1 gave loss that is no finite number"),
        (CountsNothing, "test_updates_give_finite_metrics_and_count", "env_steps stayed 0"),
        (
            OddHistograms,
            "test_updates_give_finite_metrics_and_count",
            "its histograms are {'value': 'high'}; they must",
        ),
        (ForgetsHistograms, "test_a_resumed_run_ends_like_an_uninterrupted_one", "another histograms.weight"),
        (OddState, "test_updates_give_finite_metrics_and_count", "at 'config'; it must have tensors, arrays and JSON"),
        (TakesAnything, "test_updates_give_finite_metrics_and_count", "load_state_dict({}) raised nothing"),
        (Careless, "test_the_same_run_gives_the_same_weights", "two runs with the same seed differ in"),
        (
            OwnGenerator,
            "test_a_resumed_run_ends_like_an_uninterrupted_one",
            "resumed after update 2 ended with another",
        ),
        (Idles, "test_learns", "Choose overrides with which it learns"),
    ],
    ids=lambda value: None,
)
def test_of_an_algorithm_it_finds(build: Any, check: str, words: str) -> None:
    small = {"env": "toy_flat", "overrides": {"n_episodes": 4}, "learns_in": 1000}
    assert words in failures(TrainerConformance, spec(build), only=check, **small).get(check, "nothing")


def test_whether_it_learns_can_be_switched_off() -> None:
    assert failures(TrainerConformance, spec(Idles), only="test_learns", learns=False) == {}


def test_structured_envs_may_be_refused() -> None:
    noted: list[str] = []
    attributes = {"note": lambda self, text: noted.append(text)}
    check = "test_updates_give_finite_metrics_and_count"
    assert failures(TrainerConformance, spec(OnlyFlat), only=check, **attributes) == {}
    assert noted == ["it does not train in a structured env: algorithm 'subject': one actor only."]


class TestToySearch(TrainerConformance):
    name = "toy_search"
    overrides = {"n_episodes": 8}
    learns_in = 10_000

    @pytest.mark.learning
    def test_learns(self) -> None:
        super().test_learns()
