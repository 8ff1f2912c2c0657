"""Training from Python: the same as on the command line, as often as one likes in one process."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import initialize_config_dir
from support.cli import run_cli
from support.projects import SCRIPTED, copy_scripted, scripted, write, write_env, write_project

from maze_core import RunContext
from maze_core.errors import ConfigError, EnvFaultError, NothingUsableError, UserError

pytestmark = pytest.mark.usefixtures("workdir")


def make(**arguments: Any) -> RunContext:
    """A run that takes some milliseconds."""
    overrides = {"algorithm.n_rollouts_per_update": 4, "runner.n_epochs": 1, "runner.stop_at_reward": float("inf")}
    overrides |= arguments.pop("overrides", {})
    return RunContext(**{"callbacks": [], "seed": 1, "overrides": overrides, **arguments})


def settings(context: RunContext) -> dict[str, Any]:
    record: dict[str, Any] = yaml.safe_load(context.config)
    return record


def weights(context: RunContext) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in context.policy.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# How a run is described


def test_components_are_chosen_by_name() -> None:
    record = settings(RunContext(env="gym_env", model="vector_obs", wrappers="reward_scaling", runner="dev"))
    assert record["components"]["model"] == "vector_obs"
    assert record["wrappers"] == {"reward_scaling": {"scale": 1.0}}
    assert record["runner"]["raw_errors"] is True


def test_a_mapping_brings_the_fields_that_differ() -> None:
    record = settings(
        RunContext(
            env={"gym_env": {"name": "Pendulum-v1", "kwargs": {"g": 9.0}}},
            model={"flatten_concat": {"hidden_sizes": [3, 4]}},
            wrappers={"reward_scaling": {"scale": 2}},
            algorithm={"es": {"lr": 0.5}},
        )
    )
    assert record["env"] == {"name": "Pendulum-v1", "kwargs": {"g": 9.0}, "rebuild_each_episode": None}
    assert record["model"]["hidden_sizes"] == [3, 4]
    assert record["wrappers"] == {"reward_scaling": {"scale": 2.0}}
    assert record["algorithm"]["lr"] == 0.5


def test_several_options_are_a_list() -> None:
    record = settings(RunContext(callbacks=["jsonl", "console"], wrappers=["reward_scaling", "reward_scaling"]))
    assert list(record["callbacks"]) == ["jsonl", "console"]
    assert list(record["wrappers"]) == ["reward_scaling", "reward_scaling_2"]


@pytest.mark.parametrize("overrides", [{"algorithm.lr": 0.5, "seed": 3}, ["algorithm.lr=0.5", "seed=3"]])
def test_overrides_are_a_mapping_or_as_on_the_command_line(overrides: Any) -> None:
    record = settings(RunContext(overrides=overrides))
    assert (record["algorithm"]["lr"], record["seed"]) == (0.5, 3)


def test_text_of_a_mapping_is_text() -> None:
    record = settings(RunContext(overrides={"env.kwargs.a": "1", "env.kwargs.b": "x,y", "env.kwargs.c": "it's"}))
    assert record["env"]["kwargs"] == {"a": "1", "b": "x,y", "c": "it's"}


def test_experiment_configuration_and_directory(workdir: Path) -> None:
    write(workdir / "mine" / "my_run.yaml", "defaults: [conf_train, _self_]\nalgorithm: {lr: 0.5}\n")
    write(workdir / "mine" / "experiment" / "try.yaml", "# @package _global_\nmodel: {hidden_sizes: [5]}\n")
    record = settings(RunContext(experiment="try", config_name="my_run", config_dir="mine"))
    assert (record["algorithm"]["lr"], record["model"]["hidden_sizes"]) == (0.5, [5])


def test_paths_may_be_path_objects(workdir: Path) -> None:
    with make(run_dir=workdir / "a run") as context:
        context.train()
    assert context.run_dir == workdir / "a run"


def test_a_seed_is_drawn_and_recorded() -> None:
    seeds = [settings(RunContext())["seed"] for _ in range(2)]
    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]


def test_a_local_project_and_named_plugins_are_loaded(workdir: Path) -> None:
    write_project(workdir, "here")
    write_project(workdir / "other", "yonder")
    assert settings(RunContext(env="here"))["components"]["env"] == "here"
    assert settings(RunContext(env="yonder", plugins=["other"]))["components"]["env"] == "yonder"
    with pytest.raises(UserError, match="no env named 'here'"):
        RunContext(env="here", local_plugins=False)


# What is refused


def test_contradictions_name_both_sides() -> None:
    with pytest.raises(UserError, match=r"seed is given twice: seed=1 as an argument, and seed=2 in overrides"):
        RunContext(seed=1, overrides={"seed": 2})
    with pytest.raises(UserError, match=r"algorithm.lr is given twice"):
        RunContext(algorithm={"es": {"lr": 0.1}}, overrides={"algorithm.lr": 0.2})
    with pytest.raises(UserError, match=r"model is given twice"):
        RunContext(model="vector_obs", overrides=["model=flatten_concat"])


def test_a_contradiction_in_a_list_group_is_refused() -> None:
    with pytest.raises(UserError, match="wrappers is given twice"):
        RunContext(wrappers=["reward_scaling"], overrides=["wrappers=[]"])


def test_saying_the_same_twice_is_no_contradiction() -> None:
    assert settings(RunContext(seed=1, env="gym_env", overrides=["seed=1", "env=gym_env"]))["seed"] == 1


def test_two_options_for_a_group_that_takes_one_are_refused() -> None:
    with pytest.raises(UserError, match="takes the name of one model"):
        RunContext(model=["vector_obs", "flatten_concat"])


def test_bad_values_have_their_full_key() -> None:
    with pytest.raises(ConfigError, match=r"^algorithm\.lr=-1\.0 is not allowed"):
        RunContext(algorithm={"es": {"lr": -1}})
    with pytest.raises(ConfigError, match="algorithm has no 'lrr'"):
        RunContext(algorithm={"es": {"lrr": 1}})


def test_nothing_is_built_or_written_before_it_is_needed(workdir: Path) -> None:
    context = RunContext(overrides={"env.name": "Ant-v5"}, run_dir="run")
    assert context.run_dir is None
    assert list(workdir.iterdir()) == []


def test_an_input_dir_without_weights_is_refused_before_a_directory_is_made(workdir: Path) -> None:
    with pytest.raises(NothingUsableError), make(input_dir=workdir) as context:
        context.train()
    assert list(workdir.iterdir()) == []


# Training


def test_training_in_parts_equals_training_at_once_bit_for_bit() -> None:
    with make() as parts, make() as whole:
        parts.train(n_epochs=1)
        parts.train(n_epochs=2)
        whole.train(n_epochs=3)
        assert same(weights(parts), weights(whole))
        for name in ("state_dict.pt", "final_state_dict.pt"):
            one, other = (torch.load(Path(str(c.run_dir), name), weights_only=True) for c in (parts, whole))
            assert same(one, other)


def test_what_happens_between_two_parts_does_not_matter() -> None:
    with make() as disturbed, make() as whole:
        disturbed.train(n_epochs=1)
        disturbed.evaluate(3)
        disturbed.compute_action(np.zeros(4, np.float32))
        disturbed.train(n_epochs=1)
        whole.train(n_epochs=2)
        assert same(weights(disturbed), weights(whole))


def test_a_second_training_writes_into_the_same_run() -> None:
    with make(callbacks=["jsonl"]) as context:
        first = context.train(n_epochs=1).directory
        second = context.train(n_epochs=1).directory
    assert first == second
    rows = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["stage"]) for row in rows] == [
        (0, "train"), (0, "eval"), (0, "final_eval"), (1, "train"), (1, "eval"), (1, "final_eval"),
    ]  # fmt: skip


def test_training_to_the_configured_epochs_twice_does_nothing_more() -> None:
    with make() as context:
        context.train()
        updates = context.trainer.updates
        assert context.train().stop_reason == "1 epoch done"
        assert context.trainer.updates == updates


def test_two_runs_in_one_process_do_not_disturb_each_other() -> None:
    with make() as one, make(seed=2) as between, make() as other:
        one.train(n_epochs=1)
        between.train(n_epochs=2)
        other.train(n_epochs=2)
        one.train(n_epochs=1)
        assert same(weights(one), weights(other))
        assert one.run_dir != other.run_dir


def test_the_command_line_and_python_give_the_same_weights() -> None:
    assert (
        run_cli("train", "seed=1", "algorithm.n_rollouts_per_update=4", "runner.n_epochs=2", "run_dir=cli").exit_code
        == 0
    )
    with make(overrides={"runner.n_epochs": 2}) as context:
        context.train()
        assert same(weights(context), torch.load("cli/state_dict.pt", weights_only=True))


def test_a_recorded_command_repeats_a_run_from_python(workdir: Path) -> None:
    import shlex

    with make(model={"flatten_concat": {"hidden_sizes": [5]}}, callbacks=["jsonl"], run_dir="first") as context:
        context.train()
        words = shlex.split(Path("first/command.txt").read_text())
        again = [word.replace("run_dir=first", "run_dir=second") for word in words]
        assert run_cli(*again[1:]).exit_code == 0
        assert same(weights(context), torch.load("second/state_dict.pt", weights_only=True))


def test_a_thread_may_train() -> None:
    results = []

    def work() -> None:
        with make() as context:
            context.train()
            results.append(weights(context))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with make() as context:
        context.train()
        assert same(results[0], weights(context))


def test_it_works_inside_another_hydra_program(workdir: Path) -> None:
    write(workdir / "theirs" / "main.yaml", "x: 1\n")
    with initialize_config_dir(str(workdir / "theirs"), version_base=None), make() as context:
        assert context.train().stop_reason == "1 epoch done"


def test_silent_prints_nothing_and_keeps_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with make(callbacks=["console"], silent=True) as context:
        directory = context.train().directory
    assert capsys.readouterr() == ("", "")
    assert "Iteration 0" in (directory / "log.txt").read_text()


# Evaluation and actions


def test_evaluate_returns_statistics_of_exactly_these_episodes() -> None:
    with make() as context:
        statistics = context.evaluate(n_episodes=7)
    assert statistics["BaseEnvEvents/reward/episode_count"] == 7
    assert statistics["BaseEnvEvents/reward/min"] <= statistics["BaseEnvEvents/reward/mean"]


def test_evaluate_repeats_the_final_evaluation() -> None:
    with make() as context:
        summary = context.train()
        assert summary.final is not None
        final = summary.final.stages[0].values["BaseEnvEvents/reward/mean"]
        assert context.evaluate(20)["BaseEnvEvents/reward/mean"] == final


@pytest.mark.parametrize("n_episodes", [0, -1])
def test_evaluate_wants_at_least_one_episode(n_episodes: int) -> None:
    with make() as context, pytest.raises(UserError, match="n_episodes"):
        context.evaluate(n_episodes)


def test_an_action_for_a_box_env_is_a_member_of_its_action_space() -> None:
    with make(env={"gym_env": {"name": "Pendulum-v1"}}) as context:
        action = context.compute_action(np.array([1.0, 0.0, 0.0], np.float32))
        assert context.policy.actors.by_key["substep_0"].action_space.contains(action)


def test_an_action_is_that_of_the_best_policy() -> None:
    with scripted([1.0, 7.0, 3.0], overrides={"runner.n_epochs": 3}) as context:
        context.train()
        assert context.compute_action(np.zeros(2, np.float32)).tolist() == [7.0]


def test_a_continuous_action_is_clipped_to_its_bounds() -> None:
    with scripted([1000.0], overrides={"runner.n_epochs": 1}) as context:
        context.train()
        assert context.compute_action(np.zeros(2, np.float32)).tolist() == [100.0]


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_an_action_honours_the_mask(workdir: Path, allowed: int) -> None:
    copy_scripted(workdir)
    with make(env="masked") as context:
        for seed in range(5):
            position = np.random.default_rng(seed).normal(size=1).astype(np.float32)
            observation = {"position": position, "action_mask": np.eye(3, dtype=np.int8)[allowed]}
            assert context.compute_action(observation) == allowed


def test_a_mask_that_allows_nothing_is_a_fault(workdir: Path) -> None:
    copy_scripted(workdir)
    with make(env="masked") as context, pytest.raises(EnvFaultError, match="allows nothing"):
        context.compute_action({"position": np.zeros(1, np.float32), "action_mask": np.zeros(3, np.int8)})


def test_an_observation_without_its_mask_is_refused(workdir: Path) -> None:
    copy_scripted(workdir)
    with make(env="masked") as context, pytest.raises(UserError, match=r"does not fit the space.*'action_mask'"):
        context.compute_action({"position": np.zeros(1, np.float32)})


def test_a_masked_env_trains_without_a_forbidden_action() -> None:
    with make(env={"masked": {"allowed": [0, 2]}}, plugins=[str(SCRIPTED)]) as context:
        assert context.train().best_reward in (0, 2, 4, 6, 8, 10)


def test_weights_of_an_earlier_run_are_taken_over() -> None:
    with make(run_dir="first") as first, make(seed=2, input_dir="first") as second:
        first.train()
        assert same(weights(first), weights(second))


def test_a_closed_context_may_be_closed_again() -> None:
    context = make()
    context.train()
    context.close()
    context.close()


# What fits, and what does not


@pytest.mark.parametrize("env", [5, {"name": 3}, {"gym_env": None}, ["gym_env", 3], {"gym_env": "CartPole-v1"}])
def test_what_is_no_choice_is_refused_with_what_is_allowed(env: Any) -> None:
    with pytest.raises(UserError, match=r"^env=.* is not allowed: give a name, or \{name: \{field: value\}\}"):
        RunContext(env=env)


def test_a_tuple_is_a_list() -> None:
    record = settings(RunContext(overrides={"model.hidden_sizes": (3, 4)}))
    assert record["model"]["hidden_sizes"] == [3, 4]
    record = settings(RunContext(model={"flatten_concat": {"hidden_sizes": (5,)}}, callbacks=("jsonl",)))
    assert (record["model"]["hidden_sizes"], list(record["callbacks"])) == ([5], ["jsonl"])


def test_numbers_of_numpy_are_numbers() -> None:
    record = settings(RunContext(seed=np.int64(3), overrides={"algorithm.lr": np.float32(0.5)}))  # type: ignore[arg-type]
    assert (record["seed"], record["algorithm"]["lr"]) == (3, 0.5)


def test_a_single_override_may_be_a_text() -> None:
    assert settings(RunContext(overrides="algorithm.lr=0.1"))["algorithm"]["lr"] == 0.1


def test_a_single_plugin_may_be_a_text(workdir: Path) -> None:
    write_project(workdir / "other", "yonder")
    assert settings(RunContext(env="yonder", plugins="other"))["components"]["env"] == "yonder"


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("use", ["train", "evaluate", "compute_action"])
def test_a_closed_context_cannot_be_used(workdir: Path, built: bool, use: str) -> None:
    context = make()
    if built:
        context.evaluate(1)
    context.close()
    with pytest.raises(UserError, match="this RunContext is closed"):
        getattr(context, use)(*([np.zeros(4, np.float32)] if use == "compute_action" else []))
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("observation", [np.zeros(3, np.float32), np.zeros(5), 1.0, "text", {"x": 1}], ids=repr)
def test_an_observation_that_does_not_fit_is_refused_with_the_space(observation: Any) -> None:
    with make() as context, pytest.raises(UserError, match=r"the observation does not fit the space Box"):
        context.compute_action(observation)


def test_an_observation_without_one_of_its_keys_is_refused(workdir: Path) -> None:
    copy_scripted(workdir)
    with make(env="masked") as context, pytest.raises(UserError, match=r"does not fit the space Dict.*position"):
        context.compute_action({"action_mask": np.ones(3, np.int8)})


def test_an_action_for_an_observation_that_is_not_finite_is_a_fault() -> None:
    with make() as context, pytest.raises(EnvFaultError, match="observation is not finite"):
        context.compute_action(np.array([0, np.nan, 0, 0], np.float32))


def test_an_action_for_an_observation_outside_of_its_space_is_a_fault(workdir: Path) -> None:
    write_env(workdir, observation_space="spaces.Discrete(4, start=5)", first="5")
    with make(env="ours") as context:
        assert context.compute_action(5) in (0, 1)
        with pytest.raises(EnvFaultError, match="leaves its space"):
            context.compute_action(2)


@pytest.mark.parametrize("name", ["run_dir", "input_dir", "config_dir", "config_name", "plugins"])
def test_an_argument_of_another_type_is_named(name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}=5 is not allowed: it must be "):
        RunContext(**{name: 5})


def test_a_preset_that_builds_on_itself_is_told(workdir: Path) -> None:
    write(workdir / "mine" / "algorithm" / "es.yaml", "defaults: [es, _self_]\nlr: 0.5\n")
    with pytest.raises(ConfigError, match=r"a preset builds on itself \(algorithm=es\)\. Give it another name"):
        RunContext(algorithm="es", config_dir="mine")


def test_an_option_that_is_not_that_of_the_run_does_not_go_on_with_it() -> None:
    with make(run_dir="run", algorithm="es") as context:
        context.train()
    with pytest.raises(UserError, match="run has algorithm=es, and cannot go on with algorithm=ppo"):
        RunContext.resume("run", algorithm="ppo")
    with RunContext.resume("run", algorithm="es", overrides={"runner.n_epochs": 2}) as again:
        assert again.train().stop_reason == "2 epochs done"


def test_the_result_of_a_rollout_is_shown_in_a_line_without_its_steps() -> None:
    with make() as context:
        result = context.rollout(2)
    assert len(repr(result)) < 1000
    assert re.fullmatch(r"<Trajectory: seed \d+, \d+ env steps, return \d+, terminated>", repr(result.trajectories[0]))
