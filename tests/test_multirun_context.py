"""Contexts in number: several runs as one, in threads, in processes, in a notebook; and one in parts."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
import yaml
from nbclient import NotebookClient
from support.envs import BanditEnv, CountdownEnv
from support.ids import shown
from support.projects import scripted
from support.workers import no_worker_is_left, trained  # noqa: F401  # a fixture
from torch import nn

from maze_core import Callback, RunContext, load_policy
from maze_core.api.multirun import SWEPT, expanded
from maze_core.builtins.config import LocalRunnerConfig, SharedCriticConfig
from maze_core.builtins.runners import LocalRunner
from maze_core.errors import EnvFaultError, UserError
from maze_core.rl import Critic

pytestmark = pytest.mark.usefixtures("workdir")

FEW: dict[str, Any] = {
    "runner.n_epochs": 1, "runner.n_workers": 0, "runner.evaluation.n_episodes": 2,
    "runner.stop_at_reward": float("inf"), "algorithm.epoch_length": 1,
}  # fmt: skip
ES = {"algorithm.n_rollouts_per_update": 4}


def make(**arguments: Any) -> RunContext:
    """Runs of one update."""
    overrides = {**FEW, **ES, **arguments.pop("overrides", {})}
    return RunContext(
        **{"env": CountdownEnv, "callbacks": [], "seed": 1, "silent": True, "overrides": overrides, **arguments}
    )


def several(**arguments: Any) -> Any:
    """Several contexts in one, whose type says that it is a single one."""
    return make(multirun=True, **arguments)


def jobs(overrides: Any = (), run_dir: Any = None, **arguments: Any) -> list[dict[str, Any]]:
    return expanded({"run_dir": run_dir, "overrides": overrides, **arguments})


def weights(policy: nn.Module) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in policy.state_dict().values()]).clone()


# Which runs there are


def test_there_is_a_run_for_each_combination_in_the_order_of_a_product() -> None:
    found = jobs(seed=[1, 2], algorithm=("es", "ppo"), overrides=["model.hidden_sizes=[3],[4]", "runner.n_epochs=1"])
    assert [(job["seed"], job["algorithm"], *job["overrides"]) for job in found] == [
        (seed, algorithm, f"model.hidden_sizes={sizes}", "runner.n_epochs=1")
        for seed in (1, 2)
        for algorithm in ("es", "ppo")
        for sizes in ("[3]", "[4]")
    ]


def test_options_of_lists_are_the_same_in_every_run() -> None:
    found = jobs(wrappers=["a", "b"], callbacks=["c", "d"], overrides="seed=1,2")
    assert [(job["wrappers"], job["callbacks"], job["overrides"]) for job in found] == [
        (["a", "b"], ["c", "d"], ["seed=1"]), (["a", "b"], ["c", "d"], ["seed=2"]),
    ]  # fmt: skip


@pytest.mark.parametrize("seeds", [[1, 2], (1, 2), range(1, 3), np.array([1, 2])], ids=repr)
def test_seeds_may_be_any_sequence(seeds: Any) -> None:
    assert [job["seed"] for job in jobs(seed=seeds)] == [1, 2]


@pytest.mark.parametrize("overrides", ["seed=range(0,3)", "seed=choice(0,1,2)", ["seed=0,1,2"]])
def test_overrides_name_values_as_on_the_command_line(overrides: Any) -> None:
    assert [job["overrides"] for job in jobs(overrides)] == [["seed=0"], ["seed=1"], ["seed=2"]]


@pytest.mark.parametrize("name", SWEPT)
@pytest.mark.parametrize("empty", [[], (), range(0), np.array([])], ids=repr)
def test_an_empty_list_is_refused(name: str, empty: Any) -> None:
    with pytest.raises(UserError, match=rf"^{name}=.* names no value, so that there is nothing to run\.$"):
        jobs(**{name: empty})


@pytest.mark.parametrize("run_dir", ["all", Path("all")])
def test_each_run_has_a_numbered_directory_below_the_one_that_is_named(run_dir: Any) -> None:
    assert [job["run_dir"] for job in jobs(seed=[1, 2], run_dir=run_dir)] == ["all/1", "all/2"]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"run_dir": "all"}, [{"run_dir": "all/1"}, {"run_dir": "all/2"}]),
        (["run_dir=all", "a=b"], [["a=b", "run_dir=all/1"], ["a=b", "run_dir=all/2"]]),
        ("run_dir='my runs'", [["run_dir='my runs/1'"], ["run_dir='my runs/2'"]]),
        (["run_dir=null"], [["run_dir=null"]] * 2),
    ],
    ids=shown,
)
def test_a_directory_that_overrides_name_is_numbered_too(overrides: Any, found: list[Any]) -> None:
    assert [job["overrides"] for job in jobs(overrides, seed=[1, 2])] == found


@pytest.mark.parametrize("seed", [1, [1]])
def test_the_directory_of_a_single_run_is_the_one_that_is_named(seed: Any) -> None:
    assert [job["run_dir"] for job in jobs(seed=seed, run_dir="all")] == ["all"]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(nn.Linear(2, 2))


NETWORK, RUNNER = network(), LocalRunner(LocalRunnerConfig())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": NETWORK}, "model=a torch.nn.modules.container.Sequential is one network, and 2 runs need one each"),
        ({"model": {"a": NETWORK}}, "model.a=a torch.nn.modules.container.Sequential is one network"),
        ({"model": [NETWORK, NETWORK], "seed": 1}, "model=a torch"),
        ({"critic": NETWORK}, "critic=a torch"),
        ({"critic": SharedCriticConfig(model=NETWORK)}, "critic.model=a torch"),
        ({"overrides": {"critic.model": NETWORK}}, "critic.model=a torch"),
        ({"runner": RUNNER}, "runner=a maze_core.builtins.runners.LocalRunner is one runner, and 2 runs need one each"),
    ],
    ids=shown,
)
def test_what_one_run_at_a_time_can_have_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        jobs(**{"seed": [1, 2], **arguments})
    assert words in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": [NETWORK, network()]}, {"seed": [1, 2], "model": lambda space, sizes: network()},
        {"seed": [1, 2], "runner": LocalRunner}, {"runner": [RUNNER, LocalRunner(LocalRunnerConfig())]},
        {"seed": [1, 2], "env": CountdownEnv, "callbacks": [Callback()]},
    ],
    ids=shown,
)  # fmt: skip
def test_what_several_runs_can_have_is_not(arguments: dict[str, Any]) -> None:
    assert len(jobs(**arguments)) == 2


def test_a_single_run_may_have_a_network() -> None:
    assert jobs(model=NETWORK, runner=RUNNER, seed=[1])[0]["model"] is NETWORK


# What several runs do


def test_methods_and_properties_give_a_list() -> None:
    with several(seed=[1, 2], overrides={"runner.patience": 3}) as runs:
        assert [summary.stop_reason for summary in runs.train()] == ["1 epoch done"] * 2
        assert [statistics["BaseEnvEvents/reward/episode_count"] for statistics in runs.evaluate(3)] == [3, 3]
        assert [len(result.episodes) for result in runs.rollout(2)] == [2, 2]
        assert [int(action) in (0, 1) for action in runs.compute_action([0, 5])] == [True, True]
        names = [name for name, value in vars(RunContext).items() if isinstance(value, property) and name[0] != "_"]
        assert {len(getattr(runs, name)) for name in names} == {2}
        assert [yaml.safe_load(config)["seed"] for config in runs.config] == [1, 2]
        assert len({str(directory) for directory in runs.run_dir}) == 2
        assert not torch.equal(*map(weights, runs.policy))


def test_each_run_is_the_one_that_it_would_be_alone() -> None:
    with several(seed=[1, 2]) as runs, make(seed=2) as alone:
        runs.train()
        alone.train()
        assert runs.evaluate(3)[1] == alone.evaluate(3)
        assert torch.equal(weights(runs.policy[1]), weights(alone.policy))


def test_a_single_combination_gives_a_list_too() -> None:
    with several(run_dir="run") as runs:
        (summary,) = runs.train()
        assert summary.directory == Path("run")
        assert runs.run_dir == [Path("run")]


def test_what_is_written_is_numbered_like_the_runs(workdir: Path) -> None:
    with several(seed=[1, 2], run_dir="all") as runs:
        runs.train()
        results = runs.rollout(1, run_dir="episodes")
        exports = runs.export("policy.safetensors")
    assert runs.run_dir == [Path("all/1"), Path("all/2")]
    assert [result.directory for result in results] == [Path("episodes/1"), Path("episodes/2")]
    assert exports == [Path("policy_1.safetensors"), Path("policy_2.safetensors")]
    assert all(load_policy(path).compute_action([0, 5]) in (0, 1) for path in exports)


def test_runs_start_from_an_earlier_one_that_run_dir_names(workdir: Path) -> None:
    with make(run_dir="first") as first:
        first.train()
        expected = weights(first.policy)
    with several(seed=[2, 3], run_dir="first") as runs:
        assert all(torch.equal(weights(policy), expected) for policy in runs.policy)
        runs.train()
        assert all(str(directory).startswith("outputs/") for directory in runs.run_dir)


class Boom(Callback):
    """Raises what no sentence says."""

    closed = 0

    def on_epoch_end(self, report: Any) -> None:
        raise ZeroDivisionError("boom")

    def close(self) -> None:
        self.closed += 1
        raise ZeroDivisionError("never closed")


def test_a_run_that_fails_does_not_keep_others_from_running() -> None:
    with several(env=[CountdownEnv, lambda: 1 / 0, lambda: BanditEnv([1.0])]) as runs:
        with pytest.raises(EnvFaultError, match="raised ZeroDivisionError in its constructor"):
            runs.train()
        assert [stats.get("final_eval") is not None for stats in runs.stats] == [True, False, True]
        assert [directory is not None for directory in runs.run_dir] == [True, False, True]


def test_all_runs_are_closed_and_whatever_one_raises_comes_at_the_end() -> None:
    boom = Boom()
    with pytest.raises(ZeroDivisionError, match="never closed"), several(seed=[1, 2], callbacks=boom) as runs:
        with pytest.raises(ZeroDivisionError, match="boom"):
            runs.train()
        assert boom.closed == 0
    assert boom.closed == 2
    with pytest.raises(UserError, match="this RunContext is closed"):
        runs.train()


def test_a_mistake_in_one_combination_shows_before_anything_runs(workdir: Path) -> None:
    with pytest.raises(UserError, match="no algorithm named 'pppo'"):
        several(algorithm=["es", "pppo"])
    assert list(workdir.iterdir()) == []


# One run in parts


def test_the_policy_has_the_best_weights_or_the_last_ones() -> None:
    with scripted([1.0, 7.0, 3.0], overrides={"runner.n_epochs": 3}) as context:
        context.train(best=False)
        assert context.compute_action([0, 0]).tolist() == [3.0]
        context.train()
        assert context.compute_action([0, 0]).tolist() == [7.0]


@pytest.mark.parametrize("best", [True, False])
def test_training_goes_on_from_the_last_weights_whichever_the_policy_has(best: bool) -> None:
    with make() as parts, make() as whole:
        for _ in range(3):
            parts.train(1, best=best)
        whole.train(3)
        for name in ("state_dict.pt", "final_state_dict.pt"):
            one, other = (torch.load(f"{context.run_dir}/{name}", weights_only=True) for context in (parts, whole))
            assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("n_epochs", [1, np.int64(1)])
def test_a_number_of_epochs_may_come_from_numpy(n_epochs: Any) -> None:
    with make() as context:
        assert context.train(n_epochs).stop_reason == "1 epoch done"
        assert context.evaluate(np.int32(2))["BaseEnvEvents/reward/episode_count"] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("n_epochs", [0, -1, 1.5, True, "3", np.float64(2)])
def test_what_is_no_number_of_epochs_is_refused(n_epochs: Any) -> None:
    with (
        make() as context,
        pytest.raises(UserError, match=r"^n_epochs=.* is not allowed: it must be a whole number >= 1"),
    ):
        context.train(n_epochs)


def test_statistics_are_the_newest_of_each_stage() -> None:
    with make() as context:
        assert context.stats == {}
        context.train(1)
        first = context.stats
        assert list(first) == ["train", "eval", "final_eval"]
        assert first["eval"]["BaseEnvEvents/reward/episode_count"] == 2
        first["eval"].clear()
        assert context.stats["eval"] != {}
        before = context.stats["train"]
        context.train(1)
        assert context.stats["train"] != before


def test_only_algorithms_that_learn_values_have_a_critic() -> None:
    sizes = {"algorithm.n_envs": 2, "algorithm.n_rollout_steps": 8, "algorithm.batch_size": 16}
    with make() as without, RunContext(algorithm="ppo", overrides={**FEW, **sizes}, env=CountdownEnv) as having:
        assert without.critic is None
        assert isinstance(having.critic, Critic)


# Several at the same time


def test_threads_train_at_the_same_time_as_they_would_alone() -> None:
    found: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        with make(seed=number % 2, env="gym_env") as context:
            context.train()
            found[number] = weights(context.policy)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (10, 11):
        work(number)
    assert all(torch.equal(found[number], found[10 + number % 2]) for number in range(4))


@pytest.mark.workers
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("no_worker_is_left")
def test_a_process_that_was_spawned_trains_the_same_weights_with_workers_of_its_own() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        spawned = pool.submit(trained, "ppo", n_workers=1, run_dir=Path("spawned")).result()
    assert spawned == trained("ppo", run_dir=Path("here"))


DEFINITIONS = """
import gymnasium
import numpy as np
from torch import nn
from maze_core import RunContext

class Walk(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.normal(size=1).astype(np.float32), 0
        return self.x, {}

    def step(self, action):
        self.x, self.steps = self.x + np.float32(0.5 * action - 0.25), self.steps + 1
        return self.x, -abs(float(self.x[0])), False, self.steps == 9, {}

class Network(nn.Module):
    def __init__(self, observation_space, output_sizes):
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, observation):
        return {"action": self.layer(observation["observation"])}

def make(**arguments):
    overrides = {"runner.n_epochs": 2, "algorithm.n_rollouts_per_update": 4, "runner.evaluation.n_episodes": 2,
                 **arguments.pop("overrides", {})}
    return RunContext(env=Walk, model=Network, overrides=overrides, seed=1, **arguments)
"""
TRAIN = 'rc = make(overrides={"runner.n_workers": 1})\nrc.train()'
USE = """
with make(silent=True, run_dir="second") as other:
    other.train()
    same = all(bool((one == two).all()) for one, two in zip(rc.policy.parameters(), other.policy.parameters()))
rc.close()
print(same, [round(float(value), 6) for value in next(other._built.policy.parameters()).detach().ravel()])
"""


@pytest.mark.workers
@pytest.mark.timeout(240)
def test_a_notebook_trains_what_a_program_trains_also_with_workers(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [nbformat.v4.new_code_cell(text) for text in (DEFINITIONS, TRAIN, USE)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(workdir)}}).execute()
    shown = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert "Iteration 1" in shown[1]
    program: dict[str, Any] = {"__name__": "program"}
    exec(DEFINITIONS, program)  # the notebook's first cell
    with program["make"](silent=True, overrides={"runner.n_workers": 0}) as context:
        context.train()
        (weight, *_) = context.policy.parameters()
        assert shown[2] == f"True {[round(float(value), 6) for value in weight.detach().ravel()]}\n"
