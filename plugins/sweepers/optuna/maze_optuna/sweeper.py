"""A sweeper that asks Optuna (Akiba et al. 2019, arXiv:1907.10902). The only home of optuna.

Trials are kept in Optuna's journal, a text file to which every call appends, so that a sweep that was killed goes on.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from maze_core import EndedTrial, Outcome, Parameter, Trial
from maze_optuna.config import OptunaConfig, Pruner, Sampler

JOURNAL, STUDY = "optuna.journal", "maze"
OUTCOMES = {
    TrialState.COMPLETE: Outcome.complete, TrialState.PRUNED: Outcome.pruned, TrialState.FAIL: Outcome.failed,
}  # fmt: skip
STATES = {outcome: state for state, outcome in OUTCOMES.items()}

MAX_SEED = 2**32


class OptunaSweeper:
    """Proposes values, and learns from what they bring.

    Args:
        config: Options.
        space: What varies, by key of the configuration.
        directory: Where its journal is.
        seed: Root of its randomness.
    """

    def __init__(self, config: OptunaConfig, space: Mapping[str, Parameter], directory: Path, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = dict(space)
        _drop_unfinished_line(directory / JOURNAL)
        journal = str(directory / JOURNAL)
        storage = JournalStorage(JournalFileBackend(journal, _NoLock(journal)))
        self._study = optuna.create_study(
            storage=storage, study_name=STUDY, load_if_exists=True, direction=config.goal.value, pruner=_pruner(config)
        )
        # A sampler's state is not stored: another process must not propose what was proposed already.
        self._study.sampler = _sampler(config, (seed + len(self._study.trials)) % MAX_SEED)
        for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if set(one.params) != set(space):  # it was being proposed when its process was killed
                self._study.tell(one.number, state=TrialState.FAIL)

    def ended(self) -> list[EndedTrial]:
        """All trials that ended, by number."""
        frozen = self._study.get_trials(deepcopy=False, states=tuple(OUTCOMES))
        return [EndedTrial(self._trial(one), OUTCOMES[one.state], one.value) for one in frozen]

    def unfinished(self) -> list[Trial]:
        """Trials that were proposed and did not end."""
        return [self._trial(one) for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]

    def ask(self) -> Trial:
        """Proposes another one."""
        trial = self._study.ask({key: distribution(parameter) for key, parameter in self._space.items()})
        return self._trial(self._frozen(trial.number + 1))

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Keeps an evaluation of a running trial, and asks the pruner."""
        own = optuna.trial.Trial(self._study, self._frozen(trial.number)._trial_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an epoch that was told before the sweep was killed is told again
            own.report(value, epoch)
        return own.should_prune()

    def tell(self, trial: Trial, outcome: Outcome, value: float | None) -> None:
        """Keeps how a trial ended."""
        self._study.tell(trial.number - 1, value, STATES[outcome])

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number - 1]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        values = {key: frozen.params[key] for key in self._space if key in frozen.params}
        chosen = {key for key, parameter in self._space.items() if parameter.choices is not None}
        return Trial(frozen.number + 1, {k: json.loads(v) if k in chosen else v for k, v in values.items()})


class _NoLock(JournalFileOpenLock):
    """The directory of a sweep is one process's own; a lock of Optuna's would outlive it when it is killed."""

    def acquire(self) -> bool:
        """It is free."""
        return True

    def release(self) -> None:
        """It stays free."""


def _drop_unfinished_line(journal: Path) -> None:
    """Takes away what was written of a line when its process was killed: the next one would be joined to it."""
    if journal.exists():
        with journal.open("r+b") as file:
            content = file.read()
            if not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)


def distribution(parameter: Parameter) -> BaseDistribution:
    """What Optuna draws from; choices are texts, because its journal holds no lists."""
    if parameter.choices is not None:
        return CategoricalDistribution([json.dumps(choice) for choice in parameter.choices])
    if parameter.integer:
        step = 1 if parameter.step is None else int(parameter.step)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _sampler(config: OptunaConfig, seed: int) -> optuna.samplers.BaseSampler:
    if config.sampler is Sampler.random:
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=config.n_startup_trials, multivariate=True, constant_liar=True
        )


def _pruner(config: OptunaConfig) -> optuna.pruners.BasePruner:
    if config.pruner is Pruner.none:
        return optuna.pruners.NopPruner()
    if config.pruner is Pruner.successive_halving:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(config.n_warmup_epochs, 1))
    return optuna.pruners.MedianPruner(config.n_startup_trials, config.n_warmup_epochs)
