"""The training loop: epochs of updates, each followed by an evaluation, until a limit is reached."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from maze_core.build import BuiltRun
from maze_core.errors import NonFiniteError
from maze_core.protocols import EpochReport, RunSummary
from maze_core.rl.kernels import Kernel
from maze_core.rl.policy import load_weights, weights_of
from maze_core.run_config import RunnerConfig
from maze_core.runs.evaluate import evaluate
from maze_core.runs.run_directory import BEST, FINAL, RunDirectory
from maze_core.stats import EpisodeTotals, StageStatistics, trainer_statistics

Weights = dict[str, torch.Tensor]


class StopRequest:
    """Remembers the signal that asked the run to end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over SIGINT and SIGTERM; a second one acts at once. Outside the main thread: nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def request(number: int, frame: FrameType | None) -> None:
            self.signal = number
            os.write(2, b"maze: ending after this update; the same again ends at once\n")
            for other, handler in before.items():
                signal.signal(other, handler)

        for number in numbers:
            signal.signal(number, request)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class TrainingLoop:
    """A training run in progress; `run` may be called again to go on.

    Args:
        built: The live objects.
        config: When to stop, and how to evaluate.
        directory: Where results are saved.
    """

    def __init__(self, built: BuiltRun, config: RunnerConfig, directory: RunDirectory) -> None:
        self.built, self.config, self.directory = built, config, directory
        self.epoch = 0
        self.best_reward: float | None = None
        self.best_epoch: int | None = None
        self._evaluated_epoch = self._waiting_since = -1
        self.train_s = self.evaluation_s = 0.0
        self._wall_s = self._started = 0.0
        self._best: Weights | None = None
        self._last: Weights | None = None
        self._solved_by: float | None = None
        self._totals = {stage: EpisodeTotals() for stage in ("train", "eval", "final_eval")}

    def run(self, n_epochs: int | None = None) -> RunSummary:
        """Trains until a limit is reached, and leaves the policy with its best weights.

        Args:
            n_epochs: Exactly so many epochs from now on, even if the env is solved or nothing improves;
                None trains up to the configured number.

        Raises:
            MazeError: If an env fails or numbers stop being finite; the best policy so far is saved.
        """
        last_epoch = self.config.n_epochs if n_epochs is None else self.epoch + n_epochs
        stop = StopRequest()
        self._started = time.perf_counter() - self._wall_s
        if self._last is not None:
            self._load(self._last)
        with stop.listening():
            while (reason := self._reason_to_stop(last_epoch, stop, n_epochs is not None)) is None:
                stages = [self._train_epoch(stop)]
                self.epoch += 1
                new_best = None
                if self._evaluation_is_due(last_epoch, stop):
                    stages.append(self._evaluate("eval", self.config.evaluation.n_episodes))
                    new_best = self._keep_if_best(stages[-1])
                self._report(stages, new_best)
            summary = self._finish(reason, stop)
        for callback in self.built.callbacks:
            callback.on_run_end(summary)
        return summary

    def _train_epoch(self, stop: StopRequest) -> StageStatistics:
        trainer, metrics, started = self.built.trainer, [], time.perf_counter()
        for _ in range(trainer.epoch_length):
            metrics.append(trainer.step())
            if stop.signal is not None or self._budget_is_spent():
                break
        self.train_s += time.perf_counter() - started
        _check_finite(self.built.kernel)
        episodes, trainer.episodes = trainer.episodes, []
        return self._totals["train"].reduce("train", episodes, trainer_statistics(metrics))

    def _evaluation_is_due(self, last_epoch: int | None, stop: StopRequest) -> bool:
        if stop.signal is not None:
            return False
        at_end = self.epoch == last_epoch or self._budget_is_spent()
        return at_end or self.epoch % self.config.evaluation.every_epochs == 0

    def _evaluate(self, stage: str, n_episodes: int) -> StageStatistics:
        started = time.perf_counter()
        statistics = evaluate(self.built.runner, self.built.streams, stage, n_episodes, self._totals[stage])
        self.evaluation_s += time.perf_counter() - started
        return statistics

    def _keep_if_best(self, evaluation: StageStatistics) -> float | None:
        reward = evaluation.mean_reward
        self._evaluated_epoch = self.epoch - 1
        threshold = self.built.reward_threshold
        self._solved_by = reward if threshold is not None and reward >= threshold else None
        if self.best_reward is not None and reward <= self.best_reward:
            return None
        self.best_reward, self.best_epoch = reward, self.epoch - 1
        self._waiting_since = self.best_epoch
        self._best = weights_of(self.built.policy, self.built.kernel.critic)
        self.directory.write_weights(BEST, self._best)
        return reward

    def _report(self, stages: list[StageStatistics], new_best: float | None) -> EpochReport:
        trainer = self.built.trainer
        self._wall_s = time.perf_counter() - self._started
        clock = {"train_s": self.train_s, "evaluation_s": self.evaluation_s, "wall_s": self._wall_s}
        report = EpochReport(self.epoch - 1, trainer.updates, trainer.env_steps, clock, stages, new_best)
        for callback in self.built.callbacks:
            callback.on_epoch_end(report)
        return report

    def _load(self, weights: Weights) -> None:
        load_weights(self.built.policy, self.built.kernel.critic, weights)

    def _budget_is_spent(self) -> bool:
        budget = self.config.total_env_steps
        return budget is not None and self.built.trainer.env_steps >= budget

    def _reason_to_stop(self, last_epoch: int | None, stop: StopRequest, exactly: bool) -> str | None:
        if stop.signal is not None:
            return f"interrupted by {signal.Signals(stop.signal).name}"
        if self._solved_by is not None and not exactly:
            return f"solved: mean evaluation return {self._solved_by:.1f} >= {self.built.reward_threshold:g}"
        if last_epoch is not None and self.epoch >= last_epoch:
            return f"{self.epoch} epoch{'s' if self.epoch > 1 else ''} done"
        if self._budget_is_spent():
            return f"{self.built.trainer.env_steps} env steps done"
        patience = None if exactly else self.config.patience
        if patience is not None and self._evaluated_epoch - self._waiting_since >= patience and self._best is not None:
            return f"no better evaluation in {self._evaluated_epoch - self._waiting_since} epochs"
        return None

    def _finish(self, reason: str, stop: StopRequest) -> RunSummary:
        """Saves the last policy, and evaluates the best one on episodes that did not select it."""
        policy = self.built.policy
        self._last = weights_of(policy, self.built.kernel.critic)
        self.directory.write_weights(FINAL, self._last)
        if self._best is None:
            self.directory.write_weights(BEST, self._last)
        self._load(self._best or self._last)
        self.directory.write_normalization(policy)
        final = None
        if stop.signal is None:
            final = self._report([self._evaluate("final_eval", self.config.evaluation.n_episodes)], None)
        return RunSummary(reason, final, self.best_reward, self.best_epoch, self.directory.path, stop.signal)


def _check_finite(kernel: Kernel) -> None:
    critic = () if kernel.critic is None else kernel.critic.named_parameters(prefix="critic")
    for name, value in (*kernel.policy.named_parameters(), *critic):
        if not torch.isfinite(value).all():
            raise NonFiniteError(f"the weights {name!r} are no longer finite. Try a smaller algorithm.lr.")
