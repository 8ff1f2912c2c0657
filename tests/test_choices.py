"""What arguments may be: names, mappings, configs, and mixes of them; and which contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from maze_cutting_2d.config import FlatCuttingConfig
from maze_es.config import ESConfig
from maze_gym_env.config import GymEnvConfig
from maze_perception.config import FlattenConcatConfig, VectorObsConfig
from maze_ppo.config import PPOConfig
from support.build import registry
from support.cli import run_cli
from support.ids import shown
from support.projects import write

from maze_core import EvaluationConfig, RunContext
from maze_core.builtins.config import (
    ConsoleConfig,
    JsonlConfig,
    LocalRunnerConfig,
    ObservationNormalizationConfig,
    PerSubStepCriticConfig,
    RewardClippingConfig,
    RewardScalingConfig,
    SharedCriticConfig,
    StatisticsSource,
)
from maze_core.config.arguments import Arguments
from maze_core.enums import KernelChoice, OnEnvError, Schedule
from maze_core.errors import UserError
from maze_core.live import LiveObjects
from maze_core.presets import CORE_CONF
from maze_core.run_config import CheckpointConfig, PerActorConfig

pytestmark = pytest.mark.usefixtures("workdir")

FIELDS = ("seed", "run_dir", "input_dir")


def said(overrides: Any = (), **arguments: Any) -> dict[str, Any]:
    """What arguments set, as single values by dotted path."""
    fields = {name: value for name, value in arguments.items() if name in FIELDS}
    groups = {name: value for name, value in arguments.items() if name not in FIELDS}
    items = Arguments(registry(), LiveObjects(), "conf_train").items(groups, fields, overrides)
    found: dict[str, Any] = {}
    for item in items:
        found |= leaves(item.key, item.value)
    return found


def leaves(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {path: leaf for name, part in value.items() for path, leaf in leaves(f"{key}.{name}", part).items()}
    return {key: value}


def settings(**arguments: Any) -> dict[str, Any]:
    """The configuration of a run."""
    record: dict[str, Any] = yaml.safe_load(RunContext(**{"seed": 1, "silent": True, **arguments}).config)
    return record


# A config is as good as a mapping


@pytest.mark.parametrize(
    ("config", "mapping"),
    [
        ({"env": GymEnvConfig(name="Pendulum-v1", kwargs={"g": 9.0})},
         {"env": {"gym_env": {"name": "Pendulum-v1", "kwargs": {"g": 9.0}}}}),
        ({"env": FlatCuttingConfig(max_steps=3)}, {"env": {"cutting_2d_flat": {"max_steps": 3}}}),
        ({"algorithm": ESConfig(lr=0.5)}, {"algorithm": {"es": {"lr": 0.5}}}),
        ({"algorithm": PPOConfig()}, {"algorithm": "ppo"}),
        ({"model": VectorObsConfig()}, {"model": "vector_obs"}),
        ({"model": FlattenConcatConfig(hidden_sizes=[3])}, {"model": {"flatten_concat": {"hidden_sizes": [3]}}}),
        ({"critic": PerSubStepCriticConfig()}, {"critic": "per_sub_step"}),
        ({"critic": SharedCriticConfig(model=FlattenConcatConfig(hidden_sizes=[3]))},
         {"critic": "shared", "overrides": {"critic.model": "flatten_concat", "critic.model.hidden_sizes": [3]}}),
        ({"critic": {"shared": {"model": FlattenConcatConfig(hidden_sizes=[3])}}},
         {"critic": {"shared": {"model": {"flatten_concat": {"hidden_sizes": [3]}}}}}),
        ({"critic": FlattenConcatConfig(hidden_sizes=[3])},
         {"critic": {"shared": {"model": {"flatten_concat": {"hidden_sizes": [3]}}}}}),
        ({"runner": LocalRunnerConfig(n_epochs=3, stop_at_reward=float("inf"), patience=None)},
         {"runner": {"local": {"n_epochs": 3, "stop_at_reward": float("inf"), "patience": None}}}),
        ({"runner": LocalRunnerConfig(evaluation=EvaluationConfig(n_episodes=3))},
         {"runner": {"local": {"evaluation": {"n_episodes": 3}}}}),
        ({"wrappers": RewardScalingConfig(scale=2)}, {"wrappers": {"reward_scaling": {"scale": 2}}}),
        ({"callbacks": ConsoleConfig(terminal=False)}, {"callbacks": {"console": {"terminal": False}}}),
        ({"callbacks": JsonlConfig()}, {"callbacks": ["jsonl"]}),
        ({"overrides": {"algorithm": PPOConfig(lr=0.5)}}, {"algorithm": {"ppo": {"lr": 0.5}}}),
        ({"overrides": {"wrappers": ["reward_clipping", RewardScalingConfig(scale=2)]}},
         {"wrappers": ["reward_clipping", {"reward_scaling": {"scale": 2}}]}),
        ({"overrides": {"runner.checkpoint": CheckpointConfig(keep=5)}},
         {"overrides": {"runner.checkpoint": {"keep": 5, "every_s": 60.0, "every_updates": None,
                                              "max_replay_steps": 100_000, "on_error": "stop"}}}),
        ({"overrides": {"critic.model": FlattenConcatConfig(hidden_sizes=[3])}},
         {"overrides": ["critic.model=flatten_concat", "critic.model.hidden_sizes=[3]"]}),
    ],
    ids=shown,
)  # fmt: skip
def test_a_config_says_what_a_mapping_says(config: dict[str, Any], mapping: dict[str, Any]) -> None:
    assert said(**config) == said(**mapping)


def test_configs_of_all_groups_make_a_configuration() -> None:
    record = settings(
        env=GymEnvConfig(name="Pendulum-v1"),
        wrappers=["reward_clipping", RewardScalingConfig(scale=2)],
        model=FlattenConcatConfig(hidden_sizes=[3]),
        critic=SharedCriticConfig(model=FlattenConcatConfig(hidden_sizes=[4])),
        algorithm=PPOConfig(lr_schedule=Schedule.linear),
        runner=LocalRunnerConfig(evaluation=EvaluationConfig(n_episodes=3), kernel=KernelChoice.autograd),
        callbacks=[JsonlConfig(), "console"],
    )
    assert list(record["components"].values()) == [
        "gym_env", "reward_clipping", "reward_scaling", "flatten_concat", "shared", "flatten_concat", "ppo", "local",
        "jsonl", "console",
    ]  # fmt: skip
    assert (record["env"]["name"], record["wrappers"]["reward_scaling"]) == ("Pendulum-v1", {"scale": 2.0})
    assert (record["model"]["hidden_sizes"], record["critic"]["model"]["hidden_sizes"]) == ([3], [4])
    assert (record["algorithm"]["lr_schedule"], record["runner"]["kernel"]) == ("linear", "autograd")
    assert record["runner"]["evaluation"] == {"n_episodes": 3, "every_epochs": 1}


@pytest.mark.parametrize(
    ("arguments", "path", "name"),
    [
        ({"runner": LocalRunnerConfig(kernel=KernelChoice.autograd)}, "runner.kernel", "autograd"),
        ({"runner": {"local": {"on_env_error": OnEnvError.restart}}}, "runner.on_env_error", "restart"),
        ({"overrides": {"runner.kernel": KernelChoice.autograd}}, "runner.kernel", "autograd"),
        ({"overrides": {"env.kwargs": {"x": [Schedule.linear]}}}, "env.kwargs.x", ["linear"]),
        ({"wrappers": ObservationNormalizationConfig(statistics=StatisticsSource.running)},
         "wrappers.observation_normalization.statistics", "running"),
    ],
    ids=shown,
)  # fmt: skip
def test_enums_are_written_by_name(arguments: dict[str, Any], path: str, name: Any) -> None:
    assert said(**arguments)[path] == name


def test_arrays_are_lists_and_their_numbers_plain() -> None:
    found = said(model={"flatten_concat": {"hidden_sizes": np.array([3, 4])}}, overrides={"seed": np.int64(1)})
    assert (found["model.hidden_sizes"], found["seed"]) == ([3, 4], 1)
    assert type(found["seed"]) is int
    config = FlattenConcatConfig(hidden_sizes=np.array([3, 4]))  # type: ignore[arg-type]
    assert said(model=config)["model.hidden_sizes"] == [3, 4]


def test_options_of_a_list_keep_their_order_whatever_form_they_have() -> None:
    wrappers = ["reward_clipping", RewardScalingConfig(scale=2), {"reward_clipping": {"high": 3}}, "reward_scaling"]
    assert list(settings(wrappers=wrappers)["wrappers"].items()) == [
        ("reward_clipping", {"low": -1.0, "high": 1.0}),
        ("reward_scaling", {"scale": 2.0}),
        ("reward_clipping_2", {"low": -1.0, "high": 3.0}),
        ("reward_scaling_2", {"scale": 1.0}),
    ]


@pytest.mark.parametrize(
    "wrappers",
    [
        [RewardScalingConfig(scale=2), RewardScalingConfig(scale=3)],
        [{"reward_scaling": {"scale": 2}}, {"reward_scaling": {"scale": 3}}],
    ],
    ids=["configs", "mappings"],
)
def test_each_of_two_options_of_the_same_name_has_its_own_fields(wrappers: list[Any]) -> None:
    assert said(wrappers=wrappers) == {
        "wrappers": ["reward_scaling", "reward_scaling"],
        "wrappers.reward_scaling.scale": 2,
        "wrappers.reward_scaling_2.scale": 3,
    }


def test_several_options_of_a_list_may_stand_in_one_mapping() -> None:
    assert said(wrappers={"reward_scaling": {"scale": 2}, "reward_clipping": {}}) == {
        "wrappers": ["reward_scaling", "reward_clipping"],
        "wrappers.reward_scaling.scale": 2,
    }


# A model for each actor


BY_ACTOR = {
    "names": {"choose": "flatten_concat", "dig": {"flatten_concat": {"hidden_sizes": [3]}}},
    "mappings": {"choose": {"flatten_concat": {}}, "dig": {"flatten_concat": {"hidden_sizes": [3]}}},
    "configs": {"choose": FlattenConcatConfig(), "dig": FlattenConcatConfig(hidden_sizes=[3])},
    "config": PerActorConfig(actors={"choose": "flatten_concat", "dig": FlattenConcatConfig(hidden_sizes=[3])}),
    "option": {"per_actor": {"actors": {"choose": "flatten_concat", "dig": FlattenConcatConfig(hidden_sizes=[3])}}},
}


def by_actor(model: str) -> dict[str, Any]:
    return {
        model: "per_actor",
        f"{model}.actors.choose": "flatten_concat",
        f"{model}.actors.dig": "flatten_concat",
        f"{model}.actors.dig.hidden_sizes": [3],
    }


@pytest.mark.parametrize("form", BY_ACTOR)
def test_step_keys_choose_models_in_any_form(form: str) -> None:
    assert said(model=BY_ACTOR[form]) == by_actor("model")


@pytest.mark.parametrize("form", ["names", "mappings", "configs"])
def test_step_keys_choose_the_models_of_a_critic_for_each_sub_step(form: str) -> None:
    assert said(critic=BY_ACTOR[form]) == {"critic": "per_sub_step", **by_actor("critic.model")}


@pytest.mark.parametrize("form", BY_ACTOR)
def test_any_critic_may_have_models_by_step_key(form: str) -> None:
    assert said(critic={"shared": {"model": BY_ACTOR[form]}}) == {"critic": "shared", **by_actor("critic.model")}


def test_a_preset_is_no_step_key() -> None:
    preset = {"cutting_2d_struct": {"actors": {"pick_piece": "flatten_concat"}}}
    assert said(model=preset) == {"model": "cutting_2d_struct", "model.actors.pick_piece": "flatten_concat"}


def test_models_by_step_key_make_a_configuration() -> None:
    mine: dict[str, Any] = {"env": "mine", "plugins": ["support.structured_envs"]}
    default = PerActorConfig(default=FlattenConcatConfig(hidden_sizes=[5]), actors={"dig": "flatten_concat"})
    record = settings(**mine, model=default, critic=BY_ACTOR["mappings"], algorithm="ppo")
    assert record["model"]["default"]["hidden_sizes"] == [5]
    assert list(record["model"]["actors"]) == ["dig"]
    assert [part["hidden_sizes"] for part in record["critic"]["model"]["actors"].values()] == [[64, 64], [3]]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"choose": 5}, "model.actors.choose=5 is not allowed: give a name, or"),
        ({"choose": None}, "model.actors.choose=None is not allowed"),
        ({"choose": "flatten_concat", "dig": {"flatten_concat": 3}}, "model.actors.dig={'flatten_concat': 3} is not"),
        ({"choose": "flatten_concat", "dig": {}}, "model.actors.dig={} is not allowed"),
        ({"a b": "flatten_concat"}, "model.actors: 'a b' is no step key of an actor; they have letters, digits"),
        ({"go-0": "flatten_concat"}, "model.actors: 'go-0' is no step key"),
        ({"choose": PPOConfig()}, "model: PPOConfig configures algorithm 'ppo' and no model."),
    ],
    ids=shown,
)
def test_what_is_no_model_of_an_actor_is_refused_with_its_key(model: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        said(model=model)
    assert words in str(error.value)


# A config says all its fields


@pytest.mark.parametrize("how", [{"experiment": "mine"}, {"overrides": {"experiment": "mine"}},
                                 {"overrides": ["+experiment=mine"]}], ids=shown)  # fmt: skip
def test_a_config_replaces_all_that_an_experiment_says_of_the_same_option(how: dict[str, Any], workdir: Path) -> None:
    text = "# @package _global_\ndefaults: [override /algorithm: es]\nalgorithm: {lr: 0.5, noise_stddev: 0.25}\n"
    write(workdir / "conf" / "experiment" / "mine.yaml", text)
    record = settings(algorithm=ESConfig(l2_penalty=0.125), config_dir="conf", **how)
    assert record["algorithm"] == {**settings()["algorithm"], "l2_penalty": 0.125}


def test_a_mapping_replaces_only_what_it_names(workdir: Path) -> None:
    text = "# @package _global_\ndefaults: [override /algorithm: es]\nalgorithm: {lr: 0.5, noise_stddev: 0.25}\n"
    write(workdir / "conf" / "experiment" / "mine.yaml", text)
    algorithm = settings(algorithm={"es": {"lr": 0.75}}, config_dir="conf", experiment="mine")["algorithm"]
    assert (algorithm["lr"], algorithm["noise_stddev"]) == (0.75, 0.25)


@pytest.mark.parametrize("name", ["my_run", "my_run.yaml", "conf_train"])
def test_a_config_replaces_what_a_configuration_of_ones_own_says(name: str, workdir: Path) -> None:
    write(workdir / "conf" / "my_run.yaml", "defaults: [conf_train, _self_]\nalgorithm: {lr: 0.5}\n")
    own = (CORE_CONF / "conf_train.yaml").read_text() + "algorithm: {lr: 0.5}\n"
    if name == "conf_train":
        write(workdir / "conf" / "conf_train.yaml", own)
    record = settings(algorithm=ESConfig(l2_penalty=0.125), config_dir="conf", config_name=name)
    assert (record["algorithm"]["lr"], record["algorithm"]["l2_penalty"]) == (ESConfig().lr, 0.125)


def test_nested_configs_say_all_their_fields_too() -> None:
    runner = LocalRunnerConfig(evaluation=EvaluationConfig(every_epochs=2))
    found = said(runner=runner, experiment="es_cartpole")
    assert (found["runner.evaluation.n_episodes"], found["runner.evaluation.every_epochs"]) == (20, 2)
    assert found["runner.n_epochs"] == 100


def test_where_nothing_else_can_have_set_them_defaults_are_not_repeated() -> None:
    assert said(algorithm=ESConfig(lr=0.5)) == {"algorithm": "es", "algorithm.lr": 0.5}


# Twice


@pytest.mark.parametrize("experiment", [None, "es_cartpole"])
def test_an_override_may_change_what_a_config_leaves_at_its_default(experiment: str | None) -> None:
    found = said(algorithm=ESConfig(), overrides={"algorithm.lr": 0.5}, experiment=experiment)
    assert found["algorithm.lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"algorithm": ESConfig(lr=0.5), "overrides": {"algorithm.lr": 0.25}},
         "algorithm.lr is given twice: algorithm.lr=0.5 as an argument, and algorithm.lr=0.25 in overrides."),
        ({"algorithm": ESConfig(), "overrides": ["algorithm=ppo"]}, "algorithm is given twice: algorithm=es"),
        ({"algorithm": "es", "overrides": {"algorithm": PPOConfig()}}, "algorithm is given twice: algorithm=es"),
        ({"runner": LocalRunnerConfig(evaluation=EvaluationConfig(n_episodes=3)),
          "overrides": {"runner.evaluation": {"n_episodes": 4}}}, "runner.evaluation.n_episodes is given twice"),
        ({"env": {"gym_env": {"kwargs": {"g": 9}}}, "overrides": {"env.kwargs.g": 10}},
         "env.kwargs.g is given twice: env.kwargs={g:9} as an argument, and env.kwargs.g=10 in overrides."),
        ({"env": {"gym_env": {"kwargs": {"g": 9}}}, "overrides": "env.kwargs={g: 10}"}, "env.kwargs.g is given twice"),
        ({"env": {"gym_env": {"kwargs": {"g": 9}}}, "overrides": ["~env.kwargs.g"]}, "env.kwargs.g is given twice"),
        ({"wrappers": [], "overrides": ["wrappers=reward_scaling"]}, "wrappers is given twice: wrappers=[]"),
        ({"wrappers": ["reward_scaling", "reward_clipping"], "overrides": ["wrappers=reward_clipping,reward_scaling"]},
         "wrappers is given twice"),
        ({"callbacks": "jsonl", "overrides": ["~callbacks"]}, "callbacks is given twice: callbacks=jsonl"),
        ({"model": {"a": "flatten_concat"}, "overrides": {"model.actors.a": "vector_obs"}},
         "model.actors.a is given twice: model.actors.a=flatten_concat as an argument, and model.actors.a=vector_obs"),
        ({"model": {"a": "flatten_concat"}, "overrides": ["model@model.actors.a=vector_obs"]},
         "model.actors.a is given twice"),
        ({"experiment": "one", "overrides": {"experiment": "two"}}, "experiment is given twice: experiment=one as an"),
        ({"seed": 1, "overrides": {"seed": 2}}, "seed is given twice: seed=1 as an argument, and seed=2 in overrides."),
        ({"run_dir": Path("a"), "overrides": ["run_dir=b"]}, "run_dir is given twice: run_dir=a"),
        ({"input_dir": "a", "overrides": {"input_dir": "b"}}, "input_dir is given twice: input_dir=a"),
    ],
    ids=shown,
)  # fmt: skip
def test_what_is_given_twice_and_differs_is_refused_with_both(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        said(**arguments)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"algorithm": ESConfig(lr=0.5), "overrides": {"algorithm.lr": 0.5, "algorithm": "es"}},
        {"wrappers": ["reward_scaling"], "overrides": ["wrappers=reward_scaling"]},
        {"wrappers": [], "overrides": ["wrappers=[]"]},
        {"env": {"gym_env": {"kwargs": {"g": 9}}}, "overrides": ["env.kwargs.g=9", "env.kwargs={h: 1}"]},
        {"experiment": "one", "overrides": ["+experiment=one"]},
        {"run_dir": Path("a"), "overrides": ["run_dir=a"]},
    ],
    ids=shown,
)
def test_saying_the_same_twice_is_no_contradiction(arguments: dict[str, Any]) -> None:
    once = {**arguments, "overrides": ()}
    assert said(**once).keys() <= said(**arguments).keys()


def test_an_override_may_append_to_a_list_that_is_an_argument() -> None:
    record = settings(wrappers=RewardScalingConfig(scale=2), overrides=["+wrappers=reward_clipping"])
    assert list(record["wrappers"]) == ["reward_scaling", "reward_clipping"]
    assert record["wrappers"]["reward_scaling"]["scale"] == 2.0


# What is no choice


@dataclass(kw_only=True)
class StrangeConfig:
    """Nobody registered it."""

    size: int = 1


@dataclass
class Demanding:
    """It has no defaults."""

    size: int


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env": ESConfig()}, "env: ESConfig configures algorithm 'es' and no env."),
        ({"algorithm": GymEnvConfig()}, "algorithm: GymEnvConfig configures env 'gym_env' and no algorithm."),
        ({"model": RewardClippingConfig()}, "model: RewardClippingConfig configures wrapper 'reward_clipping' and no"),
        ({"critic": ESConfig()}, "critic: ESConfig configures algorithm 'es' and no critic."),
        ({"wrappers": ["reward_scaling", JsonlConfig()]}, "wrappers: JsonlConfig configures callback 'jsonl' and no"),
        ({"env": StrangeConfig()},
         "env: no plugin that is loaded has registered the config StrangeConfig. See: maze list envs"),
        ({"policy": StrangeConfig()}, "has registered the config StrangeConfig. See: maze list policies"),
        ({"critic": StrangeConfig()}, "critic: no plugin that is loaded has registered the config StrangeConfig."),
        ({"env": GymEnvConfig}, "env=GymEnvConfig is the class of a config. Give a config: GymEnvConfig(...)."),
        ({"algorithm": PPOConfig}, "algorithm=PPOConfig is the class of a config."),
        ({"model": {"a": FlattenConcatConfig}}, "model.actors.a=FlattenConcatConfig is the class of a config"),
        ({"runner": LocalRunnerConfig(evaluation=ESConfig())},  # type: ignore[arg-type]
         "runner.evaluation: a maze_es.config.ESConfig is not allowed; give a EvaluationConfig(...)."),
        ({"overrides": {"env.kwargs.x": Demanding(1)}}, "env.kwargs.x=Demanding(size=1) is not allowed"),
        ({"algorithm": print}, "algorithm=<built-in function print> is not allowed: give a name"),
        ({"wrappers": [3]}, "wrappers=3 is not allowed: give a name"),
        ({"callbacks": {3: {}}}, "callbacks={3: {}} is not allowed"),
        ({"overrides": 5}, "overrides=5 is not allowed: give a mapping, or texts such as 'algorithm.lr=0.1'."),
        ({"overrides": ["seed=1", 5]}, "overrides=['seed=1', 5] is not allowed: give a mapping, or texts"),
        ({"overrides": {3: 4}}, "3 is no key of an override"),
        ({"experiment": 5}, "experiment=5 is not allowed: give the name of one."),
        ({"experiment": {"one": {}}}, "is not allowed: give the name of one."),
    ],
    ids=shown,
)  # fmt: skip
def test_what_is_no_choice_is_refused_with_what_is_allowed(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        said(**arguments)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"overrides": {"runner.evaluation": ESConfig()}}, "no 'n_rollouts_per_update'"),
        ({"seed": [1, 2]}, "seed=[1, 2] is not allowed"),
        ({"seed": np.arange(2)}, "seed=[0, 1] is not allowed"),
        ({"model": {"choose": "no_such"}}, "no model named 'no_such'"),
    ],
    ids=shown,
)
def test_what_fits_nowhere_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        RunContext(**arguments)
    assert words in str(error.value)


def test_a_value_that_was_changed_in_a_config_is_checked_with_its_full_key() -> None:
    config = ESConfig()
    config.lr = -1.0
    with pytest.raises(UserError, match=r"^algorithm\.lr=-1\.0 is not allowed: it must be"):
        RunContext(algorithm=config)


# The command line gives the same


def test_configs_train_the_same_weights_as_the_command_line() -> None:
    words = [
        "algorithm.n_envs=2",
        "algorithm.n_rollout_steps=16",
        "algorithm.batch_size=16",
        "algorithm.epoch_length=1",
    ]
    runner = ["runner.n_epochs=2", "runner.evaluation.n_episodes=2", "runner.n_workers=0"]
    sizes = ["model.hidden_sizes=[8]", "wrappers=reward_scaling", "wrappers.reward_scaling.scale=2.0"]
    assert run_cli("train", "algorithm=ppo", *words, *runner, *sizes, "seed=3", "run_dir=cli").exit_code == 0
    with RunContext(
        env=GymEnvConfig(),
        wrappers=RewardScalingConfig(scale=2),
        model=FlattenConcatConfig(hidden_sizes=[8]),
        algorithm=PPOConfig(n_envs=2, n_rollout_steps=16, batch_size=16, epoch_length=1),
        runner=LocalRunnerConfig(n_epochs=2, evaluation=EvaluationConfig(n_episodes=2), n_workers=0),
        seed=3,
        run_dir="python",
        silent=True,
    ) as context:
        context.train()
    for name in ("state_dict.pt", "final_state_dict.pt"):
        one, other = (torch.load(Path(folder, name), weights_only=True) for folder in ("cli", "python"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
