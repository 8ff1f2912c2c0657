"""A run that was killed goes on as if nothing had happened; where that cannot be, it says so."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run_cli
from support.forks import Fault, ForkServer, fork_server
from support.resume import (
    CLOCK,
    SESSION_END,
    SHORT,
    SMALL,
    Recipe,
    account,
    cut_off,
    defaults_composed_once,
    differing,
    go_on,
    leftovers,
    result,
    rows,
    steps_of,
    store,
    tensorboard,
    tensorboard_reader,
)

from maze_core.api import RunContext
from maze_core.build import RunWorkspace
from maze_core.builtins.tensorboard_callback import TensorBoardCallback
from maze_core.errors import NothingUsableError, UserError
from maze_core.rl import Adam, Collector
from maze_core.rl.actors import NEW_STEP
from maze_core.rl.estimates import Estimates
from maze_core.rl.replay import ReplayedVectorEnv
from maze_core.runs import launch
from maze_core.runs.files import GrowingFile
from maze_core.runs.train import TrainingLoop
from maze_core.stats import EpisodeTotals

pytestmark = [pytest.mark.usefixtures("workdir"), pytest.mark.kill]

CUTTING = {
    "env": {"tutorial_cutting_2d_struct_masked": {"max_steps": 20}},
    "wrappers": ["tutorial_cutting_2d"],
    "model": "tutorial_cutting_2d_struct_masked",
}
SCALAR = {"env.kwargs.render_mode": "rgb_array"}
"""CartPole with an argument that its own vector form does not know: one env after the other."""
STRUCTURED = "support.structured_envs"


def gym(name: str) -> dict[str, Any]:
    return {"env": {"gym_env": {"name": name}}}


def normalized(statistics: str = "running", **options: Any) -> dict[str, Any]:
    return {"observation_normalization": {"statistics": statistics, **options}}


RECIPES = {
    "CartPole, its own vector form, ppo": Recipe("ppo"),
    "CartPole, a2c": Recipe("a2c"),
    "CartPole, es": Recipe("es"),
    "CartPole, one after the other": Recipe("ppo", SCALAR),
    "LunarLander": Recipe("ppo", groups=gym("LunarLander-v3")),
    "BipedalWalker, built anew for each episode": Recipe("a2c", groups=gym("BipedalWalker-v3")),
    "cutting, ppo": Recipe("ppo", groups=CUTTING),
    "cutting, a2c": Recipe("a2c", groups=CUTTING),
    "cutting, a value for each sub-step": Recipe("ppo", groups={**CUTTING, "critic": "per_sub_step"}),
    "env steps of every length": Recipe("a2c", groups={"env": "porters"}, plugins=[STRUCTURED]),
    "env steps of every length, several actors": Recipe("a2c", groups={"env": "mine"}, plugins=[STRUCTURED]),
    "stacked observations": Recipe("ppo", groups={"wrappers": ["observation_stacking"]}),
    "normalised returns": Recipe("ppo", groups={"wrappers": ["return_normalization"]}),
    "normalised returns, es": Recipe("es", groups={"wrappers": ["return_normalization"]}),
    "normalised observations": Recipe("ppo", groups={"wrappers": normalized()}),
    "normalised observations, es": Recipe("es", groups={"wrappers": normalized()}),
    "observations normalised by samples": Recipe("ppo", groups={"wrappers": normalized("sampled", n_samples=50)}),
    "both normalised": Recipe("a2c", groups={"wrappers": {**normalized(), "return_normalization": {}}}),
    "torch computes": Recipe("ppo", {"runner.kernel": "autograd"}),
    "a network with dropout and batch norm": Recipe("ppo", groups={"model": "dropout"}, plugins=[str(CLOCK)]),
    "schedules": Recipe("ppo", {"algorithm.lr_schedule": "linear", "algorithm.clip_range_schedule": "linear",
                                "algorithm.entropy_coef_schedule": "linear", "algorithm.entropy_coef": 0.1}),
    "events": Recipe("a2c", groups={**CUTTING, "wrappers": ["tutorial_cutting_2d", "monitoring"]}),
    "a budget of env steps": Recipe("a2c", {"runner.n_epochs": None, "runner.total_env_steps": 170,
                                            "runner.evaluation.every_epochs": 3}),
    "patience": Recipe("es", {"runner.patience": 1, "runner.n_epochs": 50, "algorithm.lr": 1e-6,
                              "algorithm.epoch_length": 1}),
}  # fmt: skip
MIDDLE = 1
"""The checkpoint in the middle of the first epoch; the next one is at its end, before its evaluation."""

END_OF_EPOCH = 2
"""The checkpoint between the last update of the first epoch and what is told of it."""

every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with defaults_composed_once():
        yield


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """The directory of a run of each recipe that was never interrupted."""
    made: dict[int, Path] = {}

    def reference(recipe: Recipe) -> Path:
        if id(recipe) not in made:
            made[id(recipe)] = recipe.train(tmp_path_factory.mktemp("reference") / "run")
        return made[id(recipe)]

    return reference


@pytest.fixture
def cartpole(references: Callable[[Recipe], Path]) -> Path:
    """A run of ppo on CartPole that was never interrupted."""
    return references(RECIPES["CartPole, its own vector form, ppo"])


def assert_goes_on_exactly(reference: Path, recipe: Recipe, after: int, copy: Path) -> None:
    cut_off(reference, copy, after)
    go_on(copy, recipe.plugins)
    assert account(copy).endswith(f"(checkpoint {after:06d}); exact.")
    assert differing(result(reference), result(copy)) == []
    assert leftovers(copy) == []


def number_after(directory: Path, updates: int) -> int:
    """The newest checkpoint with so many updates."""
    checkpoints = store(directory)
    return max(n for n in checkpoints.numbers() if checkpoints.manifest(n)["summary"]["updates"] == updates)


# Exact


@every_recipe
def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(
    recipe: Recipe, references: Callable[[Recipe], Path], workdir: Path
) -> None:
    assert_goes_on_exactly(references(recipe), recipe, MIDDLE, workdir / "elsewhere")


@pytest.mark.parametrize("name", ["CartPole, its own vector form, ppo", "CartPole, a2c", "CartPole, es"])
def test_it_may_be_cut_off_after_any_checkpoint(name: str, references: Callable[[Recipe], Path], workdir: Path) -> None:
    reference = references(RECIPES[name])
    *unfinished, finished = store(reference).numbers()
    assert (unfinished, finished) == ([0, 1, 2, 3, 4], 5)
    for after in unfinished:
        assert_goes_on_exactly(reference, RECIPES[name], after, workdir / str(after))


@pytest.mark.parametrize("after", [MIDDLE, END_OF_EPOCH, 3])
def test_tensorboard_has_every_step_once(after: int, references: Callable[[Recipe], Path], workdir: Path) -> None:
    """Scalars, histograms and figures, also for a TensorBoard that had read what was then done again."""
    copy = cut_off(references(RECIPES["cutting, ppo"]), workdir / "copy", after)
    watching = tensorboard_reader(copy).Reload()
    go_on(copy)
    for reader in (tensorboard_reader(copy), watching):
        found = steps_of(reader.Reload())
        assert (
            found["train_TrainerEvents/value/histogram"] == found["train_TrainerEvents/advantage/histogram"] == [1, 2]
        )
        assert found["eval_CuttingEvents/piece_share/histogram"] == [1, 2]
        assert found["eval_CuttingEvents/piece_share/figure"] == [1, 2]
        assert found["final_eval_CuttingEvents/piece_share/figure"] == [2]
        assert {tag: steps for tag, steps in found.items() if len(set(steps)) < len(steps)} == {}
        assert {tag: steps for tag, steps in found.items() if tag.startswith("eval_") and steps != [1, 2]} == {}


@pytest.mark.long
@every_recipe
def test_every_run_may_be_cut_off_after_any_checkpoint(
    recipe: Recipe, references: Callable[[Recipe], Path], workdir: Path
) -> None:
    for after in store(references(recipe)).numbers()[:-1]:
        assert_goes_on_exactly(references(recipe), recipe, after, workdir / str(after))


@every_recipe
def test_these_runs_are_cut_off_within_episodes(recipe: Recipe, references: Callable[[Recipe], Path]) -> None:
    """Otherwise nothing would be shown of envs."""
    if recipe.algorithm != "es":
        collector = store(references(recipe)).read(MIDDLE).state["state"]["trainer"]["collector"]
        assert max(collector["lengths"]) > 0


@pytest.mark.parametrize("name", ["env steps of every length", "env steps of every length, several actors"])
def test_some_of_these_runs_are_cut_off_within_env_steps(
    name: str, references: Callable[[Recipe], Path], workdir: Path
) -> None:
    recipe = RECIPES[name]
    copy = cut_off(references(recipe), workdir / "copy", MIDDLE)
    with RunContext.resume(copy, plugins=recipe.plugins, silent=True) as context:
        collector: Any = context.trainer.collector  # type: ignore[attr-defined]
        assert not collector._observation[NEW_STEP].all()


def test_a_run_that_goes_on_may_be_cut_off_again(cartpole: Path, workdir: Path) -> None:
    directory = cartpole
    for updates in (0, 1, 3):
        directory = cut_off(directory, workdir / str(updates), number_after(directory, updates))
        go_on(directory)
    assert differing(result(cartpole), result(directory)) == []
    told = [line for line in (directory / "log.txt").read_text().splitlines() if line.startswith("Resumed at")]
    assert [line.split(",")[0] for line in told] == [
        "Resumed at update 0",
        "Resumed at update 1",
        "Resumed at update 3",
    ]
    assert all(line.endswith("; exact.") for line in told)
    assert len((directory / "command.txt").read_text().splitlines()) == 4
    assert tensorboard(directory)[SESSION_END] == tensorboard(cartpole)[SESSION_END] == [0]


def test_checkpoints_change_nothing(cartpole: Path, workdir: Path) -> None:
    overrides = {"runner.checkpoint.every_updates": None, "runner.checkpoint.every_s": None}
    rare = Recipe("ppo", overrides).train(workdir / "rare")
    assert store(rare).numbers() == [0, 1]  # at the beginning and at the end
    assert differing(result(cartpole), result(rare)) == []


def test_given_statistics_are_in_the_checkpoint(workdir: Path) -> None:
    sampled = Recipe("ppo", {"runner.n_epochs": 1}, {"wrappers": normalized("sampled", n_samples=50)})
    file = shutil.move(sampled.train(workdir / "sampled") / "normalization.json", workdir / "given.json")
    recipe = Recipe("ppo", groups={"wrappers": normalized("given", file=str(file))})
    reference = recipe.train(workdir / "reference")
    Path(file).unlink()
    (workdir / "elsewhere").mkdir()
    assert_goes_on_exactly(reference, recipe, MIDDLE, workdir / "elsewhere" / "run")


def test_the_run_that_it_started_from_is_not_needed_any_more(cartpole: Path, workdir: Path) -> None:
    shutil.copytree(cartpole, workdir / "earlier")
    recipe = Recipe("ppo", {"input_dir": str(workdir / "earlier")})
    reference = recipe.train(workdir / "reference")
    shutil.rmtree(workdir / "earlier")
    assert_goes_on_exactly(reference, recipe, 0, workdir / "copy")


# That a difference would be seen


def forget_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Collector.load_state_dict

    def forgetful(self: Any, state: Any) -> None:
        load(self, {**state, "returns": [0.0] * len(state["returns"])})

    monkeypatch.setattr(Collector, "load_state_dict", forgetful)


def forget_used_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Collector.load_state_dict
    monkeypatch.setattr(Collector, "load_state_dict", lambda self, state: load(self, {**state, "actions": {}}))


def forget_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Adam.load_state_dict

    def forgetful(self: Any, state: Any) -> None:
        load(self, {**state, **{name: state[name] * 0 for name in self.moments}})

    monkeypatch.setattr(Adam, "load_state_dict", forgetful)


def forget_normalized_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunWorkspace, "load_state_dict", lambda self, state: None)


def repeat_one_action_less(monkeypatch: pytest.MonkeyPatch) -> None:
    repeat = ReplayedVectorEnv.set_state

    def shorter(self: Any, state: Any) -> Any:
        ages = np.maximum(np.array(state["ages"]) - 1, 0)
        actions = [leaf[-int(ages.max()) :] for leaf in state["actions"]]
        observation, same = repeat(self, {**state, "ages": ages.tolist(), "actions": actions})
        return observation, np.ones_like(same)

    monkeypatch.setattr(ReplayedVectorEnv, "set_state", shorter)


def go_on_from_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    take_up = TrainingLoop.take_up

    def forgetful(self: Any) -> None:
        self._last = None
        take_up(self)

    monkeypatch.setattr(TrainingLoop, "take_up", forgetful)


def forget_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    reduce = EpisodeTotals.reduce

    def forgetful(self: Any, *args: Any) -> Any:
        self.episodes = 0
        return reduce(self, *args)

    monkeypatch.setattr(EpisodeTotals, "reduce", forgetful)


def keep_later_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = GrowingFile._keep
    monkeypatch.setattr(GrowingFile, "_keep", lambda self, copy, size: keep(self, copy, 2**30))


def forget_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Estimates, "load_state_dict", lambda self, state: None)


def begin_another_event_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardCallback, "on_run_resume", lambda self, run, state: self.on_run_start(run))


@pytest.mark.parametrize(
    "fault, name, shows_in",
    [
        (forget_returns, "CartPole, its own vector form, ppo", "metrics.jsonl 0 train"),
        (forget_used_noise, "CartPole, its own vector form, ppo", "final_state_dict.pt"),
        (forget_the_optimizer, "CartPole, its own vector form, ppo", "final_state_dict.pt"),
        (forget_normalized_returns, "normalised returns", "checkpoint /envs/trained_in"),
        (forget_normalized_returns, "normalised returns, es", "checkpoint /envs/kept"),
        (repeat_one_action_less, "CartPole, one after the other", "final_state_dict.pt"),
        (go_on_from_the_best, "CartPole, its own vector form, ppo", "final_state_dict.pt"),
        (forget_totals, "CartPole, es", "metrics.jsonl 1 eval"),
        (keep_later_rows, "CartPole, es", "metrics.jsonl rows"),
        (keep_later_rows, "CartPole, es", "tensorboard eval_BaseEnvEvents/reward/mean"),
        (begin_another_event_file, "CartPole, es", "tensorboard _hparams_/session_start_info"),
        (forget_estimates, "CartPole, its own vector form, ppo", "tensorboard train_TrainerEvents/value/histogram"),
        (forget_estimates, "CartPole, a2c", "tensorboard train_TrainerEvents/advantage/histogram"),
    ],
)  # fmt: skip
def test_what_would_be_forgotten_shows(
    fault: Callable[[pytest.MonkeyPatch], None],
    name: str,
    shows_in: str,
    references: Callable[[Recipe], Path],
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = references(RECIPES[name])
    after = {go_on_from_the_best: 3, forget_estimates: END_OF_EPOCH}.get(fault, MIDDLE)
    copy = cut_off(reference, workdir / "copy", after)
    fault(monkeypatch)
    go_on(copy)
    monkeypatch.undo()
    assert any(key.startswith(shows_in) for key in differing(result(reference), result(copy)))


# Not exact, and said so


def goes_on_otherwise(recipe: Recipe, workdir: Path) -> str:
    """What is told of a run that cannot go on exactly; its other end is checked."""
    reference = recipe.train(workdir / "reference")
    copy = cut_off(reference, workdir / "copy", MIDDLE)
    assert go_on(copy, recipe.plugins).stop_reason == "2 epochs done"
    assert {row["epoch"] for row in rows(copy)} == {0, 1}
    steps = [step for step, _ in tensorboard(copy)["train_BaseEnvEvents/reward/mean"]]
    assert steps == [1, 2]
    assert differing(result(reference), result(copy)) != []
    return account(copy).partition("; ")[2]


def test_an_env_that_cannot_be_repeated_is_reported(workdir: Path) -> None:
    told = goes_on_otherwise(Recipe("ppo", groups={"env": "clock"}, plugins=[str(CLOCK)]), workdir)
    assert told == "NOT exact: 4 episodes under way cannot be repeated and are cut off."


def test_an_episode_that_is_too_long_to_be_repeated_is_reported(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe("ppo", {**SCALAR, "runner.checkpoint.max_replay_steps": 5})
    with caplog.at_level(logging.WARNING):
        told = goes_on_otherwise(recipe, workdir)
    assert told.startswith("NOT exact: 3 episodes under way")
    warned = [record.getMessage() for record in caplog.records if "longer than 5 steps" in record.getMessage()]
    assert len(warned) == 2  # once in each run
    assert "runner.checkpoint.max_replay_steps" in warned[0]


def test_an_episode_that_may_just_be_repeated_is(workdir: Path) -> None:
    recipe = Recipe("ppo", {**SCALAR, "runner.checkpoint.max_replay_steps": 32})
    assert_goes_on_exactly(recipe.train(workdir / "reference"), recipe, MIDDLE, workdir / "copy")


def test_envs_whose_episodes_are_never_to_be_repeated_are_reported(workdir: Path) -> None:
    told = goes_on_otherwise(Recipe("ppo", {**SCALAR, "runner.checkpoint.max_replay_steps": 0}), workdir)
    assert told.startswith("NOT exact: 4 episodes under way")


def test_another_machine_is_named(cartpole: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = launch.fingerprint  # type: ignore[attr-defined]
    elsewhere = {"torch": "9.9.0", "cpu capability": "NONE"}
    monkeypatch.setattr(launch, "fingerprint", lambda *args: {**here(*args), **elsewhere})
    copy = cut_off(cartpole, workdir / "copy", MIDDLE)
    go_on(copy)
    told = account(copy).partition("; ")[2]
    assert told.startswith("NOT exact: torch was ")
    assert " and is 9.9.0; cpu capability was " in told
    assert told.endswith(" and is NONE.")


# Longer than planned


def test_a_finished_run_says_so_and_stays_as_it_is(cartpole: Path, workdir: Path) -> None:
    copy = workdir / "copy"
    shutil.copytree(cartpole, copy)
    before = contents(copy)
    told = run_cli("resume", str(copy))
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith("This run is finished: 2 epochs done.\n")
    assert "runner.n_epochs" in told.stdout
    with pytest.raises(UserError, match="is finished: 2 epochs done"):
        go_on(copy)
    assert contents(copy) == before


def test_a_finished_run_may_become_a_longer_one(cartpole: Path, workdir: Path) -> None:
    """Only the final evaluation of the shorter one is left besides."""
    longer = Recipe("ppo", {"runner.n_epochs": 3}).train(workdir / "longer")
    copy = workdir / "copy"
    shutil.copytree(cartpole, copy)
    assert go_on(copy, runner__n_epochs=3).stop_reason == "3 epochs done"
    assert account(copy).endswith("; exact.")
    differences = [key for key in differing(result(longer), result(copy)) if "final_eval" not in key]
    assert sorted(differences) == ["checkpoint /trainer/horizon", "metrics.jsonl rows"]
    assert [row["epoch"] for row in rows(copy) if row["stage"] == "final_eval"] == [1, 2]


def test_a_longer_budget_leaves_schedules_as_they_were(references: Callable[[Recipe], Path], workdir: Path) -> None:
    recipe = RECIPES["schedules"]
    copy = cut_off(references(recipe), workdir / "copy", MIDDLE)
    go_on(copy, runner__n_epochs=3)
    assert "Schedules end after 4 updates, as when the run began, and keep their last value then." in (
        (copy / "log.txt").read_text()
    )
    lr = "TrainerEvents/lr/mean"
    planned, longer = ([row["values"].get(lr) for row in rows(run) if row["stage"] == "train"]
                       for run in (references(recipe), copy))  # fmt: skip
    assert longer[:2] == planned
    assert longer[2] == pytest.approx(3e-4 / 4)  # that of the fourth of four updates


# What may not change


@pytest.mark.parametrize(
    "override",
    ["algorithm.n_envs=16", "algorithm=a2c", "model=vector_obs", "model.hidden_sizes=[3]", "env=clock",
     "env.name=Acrobot-v1", "seed=4", "runner.kernel=autograd", "wrappers=time_limit", "critic=per_sub_step",
     "~wrappers"],
)  # fmt: skip
def test_what_would_be_another_run_is_refused_by_name(cartpole: Path, workdir: Path, override: str) -> None:
    copy = cut_off(cartpole, workdir / "copy", MIDDLE)
    before = contents(copy)
    refused = run_cli("resume", str(copy), "runner.n_epochs=4", override, "--plugin", str(CLOCK))
    assert refused.exit_code == 2
    assert f"a run that goes on cannot change {override}: it would be another run." in refused.stderr
    assert contents(copy) == before


def test_what_stays_the_same_may_be_named(cartpole: Path, workdir: Path) -> None:
    copy = cut_off(cartpole, workdir / "copy", MIDDLE)
    same = ("algorithm=ppo", "algorithm.n_envs=4", "seed=3", "env.name=CartPole-v1", "runner.n_epochs=2")
    went_on = run_cli("resume", str(copy), *same)
    assert went_on.exit_code == 0, went_on.stderr
    assert differing(result(cartpole), result(copy)) == []


def test_other_callbacks_may_go_on(cartpole: Path, workdir: Path) -> None:
    copy = cut_off(cartpole, workdir / "copy", MIDDLE)
    (events,) = copy.glob("events*")
    before = {path.name: path.read_bytes() for path in (events, copy / "log.txt")}
    assert run_cli("resume", str(copy), "callbacks=jsonl").exit_code == 0
    assert rows(copy) == rows(cartpole)
    assert {path.name: path.read_bytes() for path in (events, copy / "log.txt")} == before


def test_a_callback_that_was_left_out_comes_back_to_what_it_wrote(cartpole: Path, workdir: Path) -> None:
    copy = workdir / "copy"
    shutil.copytree(cartpole, copy)
    go_on(copy, callbacks=["console"], runner__n_epochs=3)
    go_on(copy, callbacks=["console", "jsonl"], runner__n_epochs=4)
    assert rows(copy)[: len(rows(cartpole))] == rows(cartpole)
    assert {row["epoch"] for row in rows(copy)[len(rows(cartpole)) :]} == {3}


def contents(directory: Path) -> dict[str, bytes]:
    """All files but the lock, which says who looked last."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


# Processes


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with fork_server(tmp_path_factory.mktemp("forks")) as server:
        yield server


@pytest.fixture(scope="module")
def forked(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes out where nothing happens."""
    directory = tmp_path_factory.mktemp("forked") / "run"
    assert forks.run(*COMMAND, f"run_dir={directory}").code == 0
    return result(directory)


COMMAND = ["train", "algorithm=ppo", *(f"{key}={value}" for key, value in {**SHORT, **SMALL["ppo"]}.items())]
SECOND = ("os.rename", ".tmp-000002")
"""When the second update is done and the checkpoint after it gets its name."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_a_run_so_that_it_can_go_on(
    number: signal.Signals, forks: ForkServer, forked: dict[str, Any], workdir: Path
) -> None:
    ended = forks.run(*COMMAND, "run_dir=run", fault=Fault(*SECOND, signals=(number,)))
    assert ended.code == 128 + number
    assert ended.stderr.splitlines() == ["maze: ending after this update; the same again ends at once"]
    (line,) = [line for line in ended.stdout.splitlines() if "maze resume" in line]
    assert f"Run ended: interrupted by {number.name}." in ended.stdout
    command = shlex.split(line.partition(":")[2])
    assert command[:2] == ["maze", "resume"]
    assert forks.run(*command[1:]).code == 0
    assert account(workdir / "run").startswith("Resumed at update 2,")
    assert account(workdir / "run").endswith("; exact.")
    assert differing(forked, result(workdir / "run")) == []


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_the_second_signal_ends_it_at_once(
    number: signal.Signals, code: int, forks: ForkServer, forked: dict[str, Any], workdir: Path
) -> None:
    ended = forks.run(*COMMAND, "run_dir=run", fault=Fault(*SECOND, signals=(number, number)))
    assert ended.code == code
    assert "Traceback" not in ended.stderr
    assert store(workdir / "run").numbers() == [0, 1]
    go_on(workdir / "run")
    assert differing(forked, result(workdir / "run")) == []


def test_an_ignored_signal_stays_ignored(forks: ForkServer, forked: dict[str, Any], workdir: Path) -> None:
    """As under nohup."""
    ended = forks.run(*COMMAND, "run_dir=run", fault=Fault(*SECOND, signals=(signal.SIGHUP,)), ignored=[signal.SIGHUP])
    assert (ended.code, ended.stderr) == (0, "")
    assert differing(forked, result(workdir / "run")) == []


def test_a_run_that_is_running_is_not_resumed_until_it_was_killed(
    forks: ForkServer, forked: dict[str, Any], workdir: Path
) -> None:
    running = forks.start(*COMMAND, "run_dir=run", fault=Fault(*SECOND, signals=(signal.SIGSTOP,)))
    assert running.wait().code == -signal.SIGSTOP
    before = contents(workdir / "run")
    refused = run_cli("resume", "run")
    assert refused.exit_code == 2
    assert f"run is in use by process {running.pid} on {socket.gethostname()} (since " in refused.stderr
    assert contents(workdir / "run") == before
    assert running.kill().code == -signal.SIGKILL
    assert json.loads((workdir / "run" / "run.lock").read_text())["pid"] == running.pid
    assert run_cli("resume", "run").exit_code == 0
    assert differing(forked, result(workdir / "run")) == []


def test_a_run_that_was_killed_before_its_first_checkpoint_is_refused(forks: ForkServer, workdir: Path) -> None:
    assert forks.run(*COMMAND, "run_dir=run", fault=Fault("os.mkdir", ".tmp-000000")).code == -signal.SIGKILL
    refused = run_cli("resume", "run")
    assert (refused.exit_code, refused.stdout) == (NothingUsableError.exit_code, "")
    assert refused.stderr.startswith("maze: run ended before its first checkpoint, as far as can be seen: ")
