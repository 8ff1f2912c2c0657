"""Checks of a training algorithm."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from maze_core.api import RunContext
from maze_core.build import BuiltRun, build_run
from maze_core.config.arguments import Choice
from maze_core.rl.policy import weights_of
from maze_core.runs.checkpointer import CHECKPOINTS
from maze_core.runs.checkpoints import CheckpointStore
from maze_core.stats import trainer_histograms
from maze_core.testing import toys
from maze_core.testing.configurations import composed
from maze_core.testing.conformance import Conformance, other_randomness, slow
from maze_core.testing.plain import not_plain, plain_difference

SEED, N_UPDATES = 3, 3
N_JUDGED = 100
"""Episodes by which a trained policy and a random one are compared."""

DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError)
"""What `load_state_dict` may raise for a state that does not fit."""


class TrainerConformance(Conformance):
    """Checks of an algorithm: ``name = "my_algorithm"``; choose `overrides` so that an update is quick.

    It trains linear networks in a flat and a structured toy, or in `env`.

    Attributes:
        learns: Whether it is checked that it learns.
        learns_in: Env steps within which it must.
    """

    what = "algorithm"
    learns: bool = True
    learns_in: int = 30_000

    @property
    def envs(self) -> list[tuple[str, Choice]]:
        """The envs that it trains in, each with its name."""
        if self.env is not None:
            return [(self.env if isinstance(self.env, str) else next(iter(self.env)), self.env)]
        return self.once("envs", self._toys)

    def _toys(self) -> list[tuple[str, Choice]]:
        """The flat toy, and the structured one if it is taken."""
        try:
            self.built(toys.STRUCTURED).close()
        except AssertionError as error:
            self.note(f"it does not train in a structured env: {error}")
            return [(toys.FLAT, toys.FLAT)]
        return [(name, name) for name in (toys.FLAT, toys.STRUCTURED)]

    @property
    def fields(self) -> dict[str, Any]:
        """Values of the configuration: few updates in an epoch, and the overrides."""
        epoch = {"epoch_length": 2} if hasattr(self.spec.config(), "epoch_length") else {}
        fields = {f"algorithm.{key}": value for key, value in {**epoch, **self.overrides}.items()}
        return {"runner.n_workers": 0, **fields}

    def built(self, env: Choice) -> BuiltRun:
        """All live objects of a run, without a directory."""
        name, options = (env, {}) if isinstance(env, str) else next(iter(env.items()))
        choices = {"env": name, "model": toys.MODEL, "algorithm": self.name}
        values = {**self.fields, "seed": SEED, "callbacks": [], **{f"env.{key}": of for key, of in options.items()}}
        with self.telling():
            return build_run(self.registry, composed(self.registry, choices, values))

    def context(self, env: Choice, **options: Any) -> RunContext:
        """A run with small networks that prints and logs nothing."""
        limits = {"runner.evaluation.n_episodes": 2, "runner.stop_at_reward": math.inf}
        overrides = {**limits, **self.fields, **options.pop("overrides", {})}
        with self.telling():
            return RunContext(
                env=env, model=toys.MODEL, algorithm=self.name, runner="local", callbacks=[], seed=SEED, silent=True,
                overrides=overrides, plugins=[toys.PLUGIN, *self.plugins], local_plugins=self.local_plugins, **options,
            )  # fmt: skip

    def test_updates_give_finite_metrics_and_count(self) -> None:
        """Metrics are numbers, env steps and updates grow, and episodes are told of."""
        for name, env in self.envs:
            with contextlib.closing(self.built(env)) as run, self.telling(f"in env {name!r}"):
                trainer = run.trainer
                for number in range(1, N_UPDATES + 1):
                    before = trainer.env_steps
                    metrics = trainer.step()
                    bad = [metric for metric, value in metrics.items() if not _finite(value)]
                    self.expect(not bad, f"update {number} gave {', '.join(bad)} that is no finite number: {metrics}.")
                    self.expect(
                        trainer.env_steps > before,
                        f"in update {number} env_steps stayed {before}. Count env steps, all sub-steps as one.",
                    )
                    self.expect(trainer.updates == number, f"after {number} updates it says updates={trainer.updates}.")
                self._expect_histograms(trainer)
                self._expect_state(trainer)

    def _expect_histograms(self, trainer: Any) -> None:
        histograms = getattr(trainer, "histograms", {})
        try:
            trainer_histograms(histograms)
        except (TypeError, ValueError, AttributeError):
            self.fail(f"its histograms are {histograms!r}; they must be arrays of numbers by name.")

    def _expect_state(self, trainer: Any) -> None:
        problem = not_plain(trainer.state_dict())
        self.expect(problem is None, f"its state_dict {problem}.")
        try:
            trainer.load_state_dict({})
        except DAMAGED:
            return
        self.fail("load_state_dict({}) raised nothing. Raise ValueError for a state that does not fit.")

    @slow
    def test_the_same_run_gives_the_same_weights(self) -> None:
        """Bit for bit, whatever the state of global generators."""
        for name, env in self.envs:
            ends = []
            for number in (1, 2):
                with other_randomness(number), contextlib.closing(self.built(env)) as run, self.telling(name):
                    for _ in range(N_UPDATES):
                        run.trainer.step()
                    ends.append(weights_of(run.policy, run.kernel.critic))
            found = plain_difference(ends[0], ends[1])
            self.expect(
                found is None,
                f"in env {name!r} two runs with the same seed differ in {found} after {N_UPDATES} updates. Draw all "
                "that is random from job.streams.",
            )

    @slow
    def test_a_resumed_run_ends_like_an_uninterrupted_one(self) -> None:
        """Bit for bit, from a checkpoint in the middle."""
        for name, env in self.envs:
            with tempfile.TemporaryDirectory() as folder:
                directory = Path(folder) / "run"
                whole = self._trained(env, directory)
                shutil.rmtree(directory / CHECKPOINTS / f"{self._newest(directory):06d}")
                middle = self._cut_off(directory)
                with other_randomness(2), self.telling(f"in env {name!r}, resumed after update {middle}"):
                    context = RunContext.resume(
                        directory, plugins=[toys.PLUGIN, *self.plugins], local_plugins=self.local_plugins, silent=True
                    )
                    with context as run:
                        run.train(best=False)
                        resumed = _state(run)
            found = plain_difference(whole, resumed)
            self.expect(
                found is None,
                f"in env {name!r} a run that was resumed after update {middle} ended with another {found} than without "
                "interruption. Save in state_dict all that the next update depends on; take random numbers from "
                "job.streams, by name and a counter that is saved.",
            )

    def _trained(self, env: Choice, directory: Path) -> dict[str, Any]:
        checkpoints = {"runner.checkpoint.every_updates": 1, "runner.checkpoint.keep": 1000, "runner.n_epochs": 2}
        with self.telling(), self.context(env, run_dir=directory, overrides=checkpoints) as run:
            run.train(best=False)
            return _state(run)

    @staticmethod
    def _newest(directory: Path) -> int:
        return max(CheckpointStore(directory / CHECKPOINTS).numbers())

    @staticmethod
    def _cut_off(directory: Path) -> int:
        """Leaves a run as if it had been killed half-way; returns after which update."""
        store = CheckpointStore(directory / CHECKPOINTS)
        numbers = sorted(store.numbers())
        for number in numbers[len(numbers) // 2 + 1 :]:
            shutil.rmtree(directory / CHECKPOINTS / f"{number:06d}")
        return int(store.newest().summary["updates"])

    @slow
    def test_learns(self) -> None:
        """After some env steps it does better than chance."""
        if not self.learns:
            self.skip("learns = False")
        name, env = self.envs[0]
        limits = {"runner.total_env_steps": self.learns_in, "runner.n_epochs": None, "runner.patience": None,
                  "runner.evaluation.n_episodes": 20}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, self.telling(f"in env {name!r}"):  # noqa: SIM117
            with self.context(env, run_dir=Path(folder) / "run", overrides=limits) as run:
                chance = self._returns(run, "random")
                run.train()
                learned = self._returns(run, None)
        margin = 3 * math.sqrt((chance.var() + learned.var()) / N_JUDGED)
        self.expect(
            learned.mean() > chance.mean() + margin,
            f"after {self.learns_in} env steps in env {name!r} the mean return is {learned.mean():.3g}, and that of "
            f"random actions is {chance.mean():.3g}. Choose overrides with which it learns (or learns_in), or say "
            "learns = False.",
        )

    def _returns(self, run: RunContext, policy: str | None) -> Any:
        played = run.rollout(N_JUDGED, policy=policy, record=False)
        return np.array([episode["return"] for episode in played.episodes])


def _state(run: RunContext) -> dict[str, Any]:
    """All that a run has learned, what its next update depends on, and what is told of the newest one."""
    told = {name: np.array(values) for name, values in getattr(run.trainer, "histograms", {}).items()}
    return {"weights": weights_of(run.policy, run.critic), "state": run.trainer.state_dict(), "histograms": told}


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
