"""The training loop: epochs of updates, each followed by an evaluation, until a limit is reached."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from maze_core.build import BuiltRun
from maze_core.errors import NonFiniteError, UserError
from maze_core.protocols import EpochReport, RunProgress, RunSummary
from maze_core.rl.episodes import EpisodeBatch
from maze_core.rl.kernels import Kernel
from maze_core.rl.policy import load_weights, weights_of
from maze_core.rl.saved import saved_count, saved_counts, saved_number
from maze_core.run_config import RunnerConfig
from maze_core.runs.checkpointer import Checkpointer
from maze_core.runs.evaluate import evaluate
from maze_core.runs.progress import Teller, phases, used_share
from maze_core.runs.run_directory import RunDirectory
from maze_core.runs.stop_request import StopRequest
from maze_core.runs.weights import BEST, FINAL
from maze_core.stats import EpisodeTotals, StageStatistics, trainer_histograms, trainer_statistics

Weights = dict[str, torch.Tensor]

MAX_UPDATES = 10**7
"""Most updates of an epoch that a checkpoint can have."""


class TrainingLoop:
    """A training run in progress; `run` may be called again to go on.

    Args:
        built: The live objects.
        config: When to stop, and how to evaluate.
        directory: Where results are saved.
        checkpointer: Where its state is saved.
    """

    def __init__(
        self, built: BuiltRun, config: RunnerConfig, directory: RunDirectory, checkpointer: Checkpointer
    ) -> None:
        self.built, self.config, self.directory, self._checkpointer = built, config, directory, checkpointer
        self.epoch = 0
        self.best_reward: float | None = None
        self.best_epoch: int | None = None
        self.stop_reason: str | None = None
        self._evaluated_epoch = self._waiting_since = -1
        self.train_s = self.evaluation_s = 0.0
        self._wall_s = self._started = 0.0
        self._before = {"train_s": 0.0, "evaluation_s": 0.0, "wall_s": 0.0}  # this process
        self._teller = Teller(built.callbacks.values())
        self._last_epoch, self._exactly = config.n_epochs, False
        self._metrics: list[dict[str, float]] = []
        self._broken = False
        self._best: Weights | None = None
        self._last: Weights | None = None
        self._newest_reward: float | None = None
        self.newest: dict[str, StageStatistics] = {}  # by stage
        self.absent_callbacks: dict[str, Any] = {}  # where those stood that an earlier part of the run had
        self._totals = {stage: EpisodeTotals() for stage in ("train", "eval", "final_eval")}

    def run(self, n_epochs: int | None = None, best: bool = True) -> RunSummary:
        """Trains until a limit is reached, and leaves the policy with its best weights, or its last ones.

        An epoch that a signal interrupts is not reported: the next call, or a resumed run, completes it.

        Args:
            n_epochs: Exactly so many epochs from now on, even if the env is solved or nothing improves;
                None trains up to the configured number.
            best: Which of the two.

        Raises:
            MazeError: If an env fails or numbers stop being finite; the best policy so far is saved.
        """
        last_epoch = self.config.n_epochs if n_epochs is None else self.epoch + n_epochs
        self._last_epoch, self._exactly = last_epoch, n_epochs is not None
        stop = StopRequest()
        self._started = time.perf_counter() - self._wall_s
        if self._last is not None:
            self.take_up()
        with stop.listening():
            while (reason := self.reason_to_stop(last_epoch, n_epochs is not None, stop)) is None:
                self._train_epoch(stop)
                if stop.signal is None:
                    self._end_epoch(last_epoch)
            summary = self._finish(reason, stop)
        if not best and self._last is not None:
            self._load(self._last)
        return summary

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """Around what leaves nothing consistent if it fails or is interrupted.

        Raises:
            UserError: If that happened before.
        """
        if self._broken:
            raise UserError(
                "this run failed or was interrupted, so it cannot go on in this process. Take it up at its last "
                f"checkpoint: RunContext.resume({str(self.directory.path)!r}), or maze resume."
            )
        self._broken = True
        yield
        self._broken = False

    def _train_epoch(self, stop: StopRequest) -> None:
        """Updates until the epoch is complete, or a signal arrives."""
        while not self._epoch_is_complete() and stop.signal is None:
            if self._teller.due():
                self._teller.tell(self._progress("training"))
            started = time.perf_counter()
            with self.unbroken():
                metrics = self.built.trainer.step()
            self._metrics.append({name: float(value) for name, value in metrics.items()})
            self.train_s += time.perf_counter() - started
            if self._checkpointer.after_update():
                self.save()

    def _epoch_is_complete(self) -> bool:
        n = len(self._metrics)
        return n >= self.built.trainer.epoch_length or (n > 0 and self._budget_is_spent())

    def _end_epoch(self, last_epoch: int | None) -> None:
        """Reports the epoch, after an evaluation if one is due."""
        _check_finite(self.built.kernel)
        trainer = self.built.trainer
        distributions = trainer_histograms(getattr(trainer, "histograms", {}))
        of_updates = trainer_statistics(self._metrics)
        stages = [self._totals["train"].reduce("train", trainer.episodes, of_updates, distributions)]
        trainer.episodes, self._metrics = [], []
        self.epoch += 1
        new_best = None
        due = self.epoch % self.config.evaluation.every_epochs == 0
        if due or self.epoch == last_epoch or self._budget_is_spent():
            stages.append(self._evaluate("eval", self.config.evaluation.n_episodes))
            new_best = self._keep_if_best(stages[-1])
        self._report(stages, new_best)

    def _evaluate(self, stage: str, n_episodes: int) -> StageStatistics:
        self._teller.tell(self._progress("evaluation" if stage == "eval" else "final evaluation"))
        started = time.perf_counter()
        statistics = evaluate(self.built.runner, self.built.streams, stage, n_episodes, self._totals[stage])
        self.evaluation_s += time.perf_counter() - started
        return statistics

    def _keep_if_best(self, evaluation: StageStatistics) -> float | None:
        reward = self._newest_reward = evaluation.mean_reward
        self._evaluated_epoch = self.epoch - 1
        if self.best_reward is not None and reward <= self.best_reward:
            return None
        self.best_reward, self.best_epoch = reward, self.epoch - 1
        self._waiting_since = self.best_epoch
        self._best = weights_of(self.built.policy, self.built.kernel.critic)
        self.directory.write_weights(BEST, self._best)
        return reward

    def _report(self, stages: list[StageStatistics], new_best: float | None) -> EpochReport:
        trainer, clock = self.built.trainer, self._clock()
        self.newest |= {stage.stage: stage for stage in stages}
        spent = phases(trainer, clock, self._before)
        report = EpochReport(self.epoch - 1, trainer.updates, trainer.env_steps, clock, stages, new_best, spent)
        self._teller.expect_news()
        for callback in self.built.callbacks.values():
            callback.on_epoch_end(report)
        return report

    def _clock(self) -> dict[str, float]:
        self._wall_s = time.perf_counter() - self._started
        return {"train_s": self.train_s, "evaluation_s": self.evaluation_s, "wall_s": self._wall_s}

    def _progress(self, doing: str) -> RunProgress:
        trainer, last, clock = self.built.trainer, self._last_epoch, self._clock()
        epochs = self.epoch + len(self._metrics) / trainer.epoch_length
        patience = None if self._exactly or self._best is None else self.config.patience
        return RunProgress(
            doing, self.epoch - (doing != "training"), trainer.updates, trainer.env_steps,
            used_share(epochs, last, trainer.env_steps, self.config.total_env_steps),
            clock, phases(trainer, clock, self._before), last, self.best_reward, self.best_epoch,
            None if patience is None else max(0, patience - (self._evaluated_epoch - self._waiting_since)),
            None if self._exactly else self.built.reward_threshold,
        )  # fmt: skip

    def _load(self, weights: Weights) -> None:
        load_weights(self.built.policy, self.built.kernel.critic, weights)

    def _budget_is_spent(self) -> bool:
        budget = self.config.total_env_steps
        return budget is not None and self.built.trainer.env_steps >= budget

    def reason_to_stop(
        self, last_epoch: int | None, exactly: bool = False, stop: StopRequest | None = None
    ) -> str | None:
        """Why training ends here, as a phrase; None while it goes on.

        Args:
            last_epoch: The epoch with which it ends, or None.
            exactly: Whether only that counts, and not what was learned.
            stop: Which signals arrived.
        """
        if stop is not None and stop.signal is not None:
            return f"interrupted by {signal.Signals(stop.signal).name}"
        if self.in_epoch:
            return None  # it is completed
        limit = self.limit_reached(last_epoch, exactly)
        return None if limit is None else limit[1]

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch began and is not complete."""
        return bool(self._metrics)

    def limit_reached(self, last_epoch: int | None, exactly: bool = False) -> tuple[str, str] | None:
        """The option with which training ends here, and why, as a phrase; None while it goes on."""
        reward, threshold = self._newest_reward, self.built.reward_threshold
        if reward is not None and threshold is not None and reward >= threshold and not exactly:
            return "runner.stop_at_reward", f"solved: mean evaluation return {reward:.1f} >= {threshold:g}"
        if last_epoch is not None and self.epoch >= last_epoch:
            return "runner.n_epochs", f"{self.epoch} epoch{'s' if self.epoch > 1 else ''} done"
        if self._budget_is_spent():
            return "runner.total_env_steps", f"{self.built.trainer.env_steps} env steps done"
        patience, waited = None if exactly else self.config.patience, self._evaluated_epoch - self._waiting_since
        if patience is not None and waited >= patience and self._best is not None:
            return "runner.patience", f"no better evaluation in {waited} epochs"
        return None

    def _finish(self, reason: str, stop: StopRequest) -> RunSummary:
        """Saves the last policy and state, and evaluates the best policy on episodes that did not select it."""
        policy = self.built.policy
        _check_finite(self.built.kernel)
        state = self.state_dict()
        self._last = state["weights"]
        self.directory.write_weights(FINAL, self._last)
        if self._best is None:
            self.directory.write_weights(BEST, self._last)
        self._load(self._best or self._last)
        self.directory.write_normalization(policy)
        final = None
        if stop.signal is None:
            final = self._report([self._evaluate("final_eval", self.config.evaluation.n_episodes)], None)
            self.stop_reason = reason
        summary = RunSummary(reason, final, self.best_reward, self.best_epoch, self.directory.path, stop.signal)
        if final is None:
            self._save({**state, **self._records()})  # what is told of an interruption is cut off when the run goes on
        for callback in self.built.callbacks.values():
            callback.on_run_end(summary)
        if final is not None:
            self._save({**state, **self._records()})
        return summary

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            NonFiniteError: If weights are not finite; the checkpoint before stays the newest.
            StorageError: If the disk does not take it.
        """
        _check_finite(self.built.kernel)
        self._save(self.state_dict())

    def _save(self, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint of this state."""
        trainer = self.built.trainer
        summary = {
            "epoch": self.epoch, "updates": trainer.updates, "env_steps": trainer.env_steps,
            "best_reward": self.best_reward, "stop_reason": self.stop_reason,
        }  # fmt: skip
        self._checkpointer.save(state, summary)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on, as tensors, arrays and JSON values."""
        trainer = self.built.trainer
        return {
            "weights": weights_of(self.built.policy, self.built.kernel.critic),
            "best": self._best,
            "trainer": trainer.state_dict(),
            "envs": self.built.workspace.state_dict(),
            "episodes": EpisodeBatch.joined(trainer.episodes).state_dict(),
            "metrics": _columns(self._metrics),
            **self._records(),
        }

    def _records(self) -> dict[str, Any]:
        """Counters, and where callbacks stand."""
        return {
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "totals": {stage: [totals.env_steps, totals.episodes] for stage, totals in self._totals.items()},
            "callbacks": self.absent_callbacks
            | {key: callback.state_dict() for key, callback in self.built.callbacks.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, but for callbacks; the policy gets its best weights.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: If it is not the state of such a run.
            NonFiniteError: If its weights are not finite.
        """
        trainer, self._last, self._best = self.built.trainer, dict(state["weights"]), state["best"]
        for weights in (self._best, self._last):
            if weights is not None:
                self._load(weights)
                _check_finite(self.built.kernel)
        trainer.load_state_dict(state["trainer"])
        _check_finite(self.built.kernel)
        trainer.episodes = [EpisodeBatch.from_state(state["episodes"])]
        self.built.workspace.load_state_dict(state["envs"])
        self._metrics = _rows(state["metrics"], trainer.epoch_length)
        for name, read in COUNTERS.items():
            setattr(self, name, read(state["counters"], name))
        self._before = {"train_s": self.train_s, "evaluation_s": self.evaluation_s, "wall_s": self._wall_s}
        if (self._best is None) != (self.best_reward is None) or (self._best is None) != (self.best_epoch is None):
            raise ValueError("it has the best weights, or their reward, but not both")
        for stage, totals in self._totals.items():
            totals.env_steps, totals.episodes = saved_counts(state["totals"], stage, 2).tolist()
        self._load(self._best or self._last)

    def take_up(self) -> None:
        """Goes on from the last weights, not from the best, which are written.

        What a killed run wrote after its last checkpoint is thereby replaced.
        """
        if self._best is not None:
            self.directory.write_weights(BEST, self._best)
        if self._last is not None:
            self._load(self._last)
        self._last, self.stop_reason = None, None


Read = Callable[[Mapping[str, Any], str], Any]


def _or_none(read: Read) -> Read:
    """Reads a value that may be None."""
    return lambda state, name: None if state[name] is None else read(state, name)


def _text(state: Mapping[str, Any], name: str) -> str:
    if not isinstance(state[name], str):
        raise ValueError(f"{name} is no text")
    return str(state[name])


_epoch, _seconds = partial(saved_count, least=-1), partial(saved_number, least=0.0)
COUNTERS: dict[str, Read] = {
    "epoch": saved_count, "best_reward": _or_none(saved_number), "best_epoch": _or_none(saved_count),
    "stop_reason": _or_none(_text), "_evaluated_epoch": _epoch, "_waiting_since": _epoch,
    "_newest_reward": _or_none(saved_number), "train_s": _seconds, "evaluation_s": _seconds, "_wall_s": _seconds,
}  # fmt: skip
"""Attributes of a loop that are plain values, and how they are read."""


def _columns(metrics: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What updates measured, by name: in which of them, and what."""
    names = dict.fromkeys(name for update in metrics for name in update)
    rows = {name: [row for row, update in enumerate(metrics) if name in update] for name in names}
    values = {name: np.array([metrics[row][name] for row in rows[name]]) for name in names}
    return {"n": len(metrics), "rows": {name: np.array(rows[name]) for name in names}, "values": values}


def _rows(columns: Mapping[str, Any], most: int) -> list[dict[str, float]]:
    """What `_columns` described of at most so many updates; raises ValueError if there are more."""
    n = saved_count(columns, "n")
    if n > min(most, MAX_UPDATES):
        raise ValueError(f"{n} updates are more than an epoch has")
    metrics: list[dict[str, float]] = [{} for _ in range(n)]
    for name, values in columns["values"].items():
        rows = columns["rows"][name].tolist()
        if rows and min(rows) < 0:
            raise ValueError(f"{name} was measured in an update that there is not")
        for row, value in zip(rows, values.tolist(), strict=True):
            metrics[row][name] = float(value)
    return metrics


def _check_finite(kernel: Kernel) -> None:
    """Checks all weights, and that no statistic is NaN; bounds of what was never observed are infinite."""
    modules = {"": kernel.policy, **({} if kernel.critic is None else {"critic": kernel.critic})}
    for prefix, module in modules.items():
        bad = [name for name, value in module.named_parameters(prefix) if not torch.isfinite(value).all()]
        bad += [name for name, value in module.named_buffers(prefix) if torch.isnan(value).any()]
        if bad:
            raise NonFiniteError(f"the weights {bad[0]!r} are no longer finite. Try a smaller algorithm.lr.")
