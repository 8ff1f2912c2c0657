"""From groups, presets and overrides to typed, checked objects; and what is recorded of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from maze_es.config import ESConfig, Optimizer
from maze_gym_env.config import GymEnvConfig
from maze_perception.config import FlattenConcatConfig, VectorObsConfig
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from support.projects import SCRIPTED, write, write_package, write_project

from maze_core.builtins.config import LocalRunnerConfig, RewardScalingConfig, SharedCriticConfig
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.overrides import items_of_mapping, read_items
from maze_core.enums import Activation
from maze_core.errors import ConfigError, EnvFaultError, UserError
from maze_core.plugins import PluginSources, load_plugins
from maze_core.registry import Registry


def make(*overrides: str, plugins: tuple[str, ...] = (), config_name: str = "conf_train", **request: Any) -> Configured:
    registry = Registry(load_plugins(PluginSources(named=plugins, local_dir=Path.cwd())))
    return configure(registry, ConfigRequest(config_name, read_items(overrides), **request))


def error_of(*overrides: str, **request: Any) -> str:
    with pytest.raises(UserError) as caught:
        make(*overrides, **request)
    return str(caught.value)


pytestmark = pytest.mark.usefixtures("workdir")


# Defaults and types


def test_the_defaults_are_typed_objects() -> None:
    config = make().config
    assert config.env == GymEnvConfig(name="CartPole-v1")
    assert config.wrappers == {}
    assert config.model == FlattenConcatConfig()
    assert config.critic == SharedCriticConfig()
    assert config.algorithm == ESConfig()
    assert config.runner == LocalRunnerConfig()
    assert list(config.callbacks) == ["console", "jsonl", "tensorboard"]
    assert (config.seed, config.run_dir, config.input_dir) == (None, None, None)


def test_values_have_the_types_of_their_fields() -> None:
    config = make("algorithm.lr=1", "algorithm.optimizer=sgd", "model.hidden_sizes=[]", "model.activation=relu").config
    assert type(config.algorithm.lr) is float
    assert config.algorithm.optimizer is Optimizer.sgd
    assert config.model.hidden_sizes == []
    assert type(config.model.hidden_sizes) is list
    assert config.model.activation is Activation.relu


def test_the_same_values_come_from_python() -> None:
    registry = Registry(load_plugins(PluginSources()))
    values = {"algorithm.lr": 0.5, "algorithm.optimizer": Optimizer.sgd, "model.hidden_sizes": [3], "seed": 4}
    config = configure(registry, ConfigRequest(items=items_of_mapping(values))).config
    assert (config.algorithm.lr, config.algorithm.optimizer) == (0.5, Optimizer.sgd)
    assert (config.model.hidden_sizes, config.seed) == ([3], 4)


def test_a_threshold_may_be_infinite() -> None:
    assert make("runner.stop_at_reward=inf").config.runner.stop_at_reward == float("inf")


def test_the_last_of_two_overrides_counts() -> None:
    assert make("seed=1", "seed=2").config.seed == 2


# Groups


def test_another_option_of_a_group_brings_its_own_class() -> None:
    assert make("model=vector_obs").config.model == VectorObsConfig()


def test_components_name_the_spec_behind_each_node() -> None:
    assert make("wrappers=reward_scaling", "runner=dev").components == {
        "env": "gym_env",
        "wrappers.reward_scaling": "reward_scaling",
        "model": "flatten_concat",
        "critic": "shared",
        "algorithm": "es",
        "runner": "local",
        "callbacks.console": "console",
        "callbacks.jsonl": "jsonl",
        "callbacks.tensorboard": "tensorboard",
    }


@pytest.mark.parametrize("critic", ["shared", "per_sub_step"])
def test_a_critic_may_have_a_model_of_its_own(critic: str) -> None:
    configured = make(f"critic={critic}", "critic.model=vector_obs", "critic.model.hidden_sizes=[5]")
    assert configured.config.critic.model == VectorObsConfig(hidden_sizes=[5])
    assert configured.config.model == FlattenConcatConfig()
    assert (configured.components["critic"], configured.components["critic.model"]) == (critic, "vector_obs")


@pytest.mark.parametrize("critic", ["shared_embedding", "none"])
def test_a_critic_without_networks_of_its_own_takes_no_model(critic: str) -> None:
    message = error_of(f"critic={critic}", "critic.model=vector_obs")
    assert message.startswith(f"critic.model=vector_obs: critic={critic} has no 'model'.")
    assert "critic=shared or critic=per_sub_step" in message


def test_a_bad_value_of_a_critics_model_is_told_with_its_full_key() -> None:
    message = error_of("critic.model=vector_obs", "critic.model.hidden_sizes=[0]")
    assert message.startswith("critic.model.hidden_sizes=[0] is not allowed")


def test_a_preset_is_its_option_with_other_values() -> None:
    configured = make("runner=dev")
    assert configured.config.runner == LocalRunnerConfig(raw_errors=True, n_workers=0)
    assert configured.choices["runner"] == "dev"


def test_wrappers_are_applied_in_the_order_named(workdir: Path) -> None:
    write(workdir / "conf" / "wrappers" / "strong.yaml", "defaults: [reward_scaling, _self_]\nscale: 9\n")
    preset = write(
        workdir / "conf" / "callbacks" / "quiet.yaml", "defaults: [console, _self_]\nconsole: {terminal: false}"
    )
    assert preset.is_file()
    config = make("callbacks=jsonl,console", config_dirs=[workdir / "conf"]).config
    assert list(config.callbacks) == ["jsonl", "console"]
    config = make("callbacks=tensorboard,quiet,jsonl", config_dirs=[workdir / "conf"]).config
    assert list(config.callbacks) == ["tensorboard", "console", "jsonl"]
    assert config.callbacks["console"].terminal is False


def test_a_repeated_wrapper_is_configured_by_its_own_key() -> None:
    config = make("wrappers=reward_scaling,reward_scaling", "wrappers.reward_scaling_2.scale=3").config
    assert config.wrappers == {
        "reward_scaling": RewardScalingConfig(),
        "reward_scaling_2": RewardScalingConfig(scale=3),
    }


def test_plus_appends_to_the_defaults() -> None:
    assert list(make("callbacks=jsonl", "+callbacks=console").config.callbacks) == ["jsonl", "console"]
    assert list(make("+wrappers=reward_scaling").config.wrappers) == ["reward_scaling"]
    config = make("+callbacks=record", plugins=(str(SCRIPTED),)).config
    assert list(config.callbacks) == ["console", "jsonl", "tensorboard", "record"]


def test_one_entry_of_a_list_can_be_deleted() -> None:
    assert list(make("~callbacks.jsonl").config.callbacks) == ["console", "tensorboard"]


def test_a_list_can_be_emptied() -> None:
    assert make("~callbacks").config.callbacks == {}


def test_a_group_cannot_be_deleted() -> None:
    assert "env" in error_of("~env")


def test_a_field_cannot_be_deleted() -> None:
    assert "algorithm.lr" in error_of("~algorithm.lr")


# Models of actors


def test_an_actors_model_is_chosen_and_configured_by_its_key() -> None:
    configured = make("model=per_actor", "model.actors.cut=vector_obs", "model.actors.cut.hidden_sizes=[3]")
    assert configured.config.model.actors == {"cut": VectorObsConfig(hidden_sizes=[3])}
    assert configured.components["model.actors.cut"] == "vector_obs"


def test_actors_that_are_not_named_get_the_default_model() -> None:
    model = make("model=per_actor", "model.default=flatten_concat", "model.default.hidden_sizes=[3]").config.model
    assert model.default == FlattenConcatConfig(hidden_sizes=[3])


def test_a_range_error_below_an_actors_model_has_its_full_key() -> None:
    message = error_of("model=per_actor", "model.actors.cut=vector_obs", "model.actors.cut.hidden_sizes=[0]")
    assert message.startswith("model.actors.cut.hidden_sizes=[0] is not allowed")


def test_an_actors_model_without_per_actor_is_told_in_a_sentence() -> None:
    message = error_of("model.actors.cut=vector_obs")
    assert "model=per_actor" in message
    assert "ConfigKeyError" not in message


def test_a_preset_chooses_models_with_hydras_group_form(workdir: Path) -> None:
    text = "defaults: [per_actor, {/model@actors.cut: vector_obs}, _self_]\nactors: {cut: {hidden_sizes: [7]}}\n"
    write(workdir / "conf" / "model" / "mine.yaml", text)
    assert make("model=mine", config_dirs=[workdir / "conf"]).config.model.actors == {
        "cut": VectorObsConfig(hidden_sizes=[7])
    }


# Free-form mappings


@pytest.mark.parametrize("text", ["env.kwargs.gravity=1", "+env.kwargs.gravity=1", "env.kwargs={gravity:1}"])
def test_a_free_form_mapping_takes_any_key_without_plus(text: str) -> None:
    assert make(text).config.env.kwargs == {"gravity": 1}


def test_a_free_form_mapping_may_be_deep() -> None:
    assert make("env.kwargs.a.b.c=1", "env.kwargs.a.d=[2]").config.env.kwargs == {"a": {"b": {"c": 1}, "d": [2]}}


def test_an_entry_of_a_free_form_mapping_can_be_deleted() -> None:
    assert make("env.kwargs.a=1", "env.kwargs.b=2", "~env.kwargs.a").config.env.kwargs == {"b": 2}


def test_a_list_entry_is_set_by_its_index() -> None:
    assert make("model.hidden_sizes=[1,2]", "model.hidden_sizes.1=5").config.model.hidden_sizes == [1, 5]


# Unknown keys


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algorithm.lrr=1", "algorithm has no 'lrr'. Did you mean 'lr'?"),
        ("runner.evaluation.n_episode=1", "runner.evaluation has no 'n_episode'. Did you mean 'n_episodes'?"),
        ("sed=1", "the configuration has no 'sed'. Did you mean 'seed'?"),
        ("algorithm.lr.x=1", "algorithm.lr is a single value"),
        ("nothing.at.all=1", "the configuration has no 'nothing'"),
        ("components=1", "the configuration has no 'components'"),
        ("hydra.run.dir=x", "the configuration has no 'hydra'"),
        ("defaults=x", "the configuration has no 'defaults'"),
    ],
)
def test_keys_that_no_schema_knows_are_refused_also_with_plus(prefix: str, override: str, words: str) -> None:
    assert words in error_of(prefix + override)


def test_an_unknown_key_in_a_preset_is_refused(workdir: Path) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", "defaults: [es, _self_]\nlrr: 1\n")
    message = error_of("algorithm=mine", config_dirs=[workdir / "conf"])
    assert "lrr" in message


def test_a_preset_that_does_not_say_what_it_configures_is_refused(workdir: Path) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", "lr: 1\n")
    assert "add 'defaults: [<name>]' to the preset" in error_of("algorithm=mine", config_dirs=[workdir / "conf"])


def test_a_preset_of_another_kind_is_refused(workdir: Path) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", "defaults: ['/model@_here_: vector_obs', _self_]\n")
    assert "algorithm" in error_of("algorithm=mine", config_dirs=[workdir / "conf"])


@pytest.mark.parametrize("text", ["lr: [1", "a: b: c"])
def test_a_preset_that_cannot_be_read_is_told_in_a_sentence(workdir: Path, text: str) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", text)
    assert "cannot be composed" in error_of("algorithm=mine", config_dirs=[workdir / "conf"])


def test_a_preset_of_an_unknown_option_names_it(workdir: Path) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", "defaults: [nothing_like_it]\n")
    assert "nothing_like_it" in error_of("algorithm=mine", config_dirs=[workdir / "conf"])


def test_a_config_class_cannot_be_named_by_import_path() -> None:
    assert "algorithm has no '_target_'" in error_of("+algorithm._target_=os.system")


# Presets and root configurations of the user


def test_a_local_conf_adds_presets(workdir: Path) -> None:
    write_project(workdir, "here", {"env/far": "defaults: [here, _self_]\nsize: 9\n"})
    assert make("env=far").config.env.size == 9


def test_a_local_preset_overrides_one_of_the_core(workdir: Path) -> None:
    write_project(workdir, "here", {"runner/dev": "defaults: [local, _self_]\nn_epochs: 7\n"})
    assert make("runner=dev").config.runner.n_epochs == 7


def test_config_dir_comes_before_the_local_conf(workdir: Path) -> None:
    write_project(workdir, "here", {"runner/mine": "defaults: [local, _self_]\nn_epochs: 7\n"})
    write(workdir / "other" / "runner" / "mine.yaml", "defaults: [local, _self_]\nn_epochs: 8\n")
    assert make("runner=mine", config_dirs=[workdir / "other"]).config.runner.n_epochs == 8


@pytest.mark.parametrize("suffix", ["", ".yaml"])
def test_a_root_configuration_of_ones_own_inherits_conf_train(workdir: Path, suffix: str) -> None:
    text = "defaults: [conf_train, {override algorithm: es}, _self_]\nseed: 3\nalgorithm: {lr: 0.5}\n"
    write(workdir / "mine" / "my_run.yaml", text)
    config = make(config_name=f"my_run{suffix}", config_dirs=[workdir / "mine"]).config
    assert (config.seed, config.algorithm.lr, config.env) == (3, 0.5, GymEnvConfig())


def test_a_root_configuration_may_choose_options_of_hydra(workdir: Path) -> None:
    """They mean nothing here, but programs that used Hydra have them."""
    text = "defaults: [conf_train, {override hydra/job_logging: disabled}, _self_]\nseed: 3\nhydra: {run: {dir: x}}\n"
    write(workdir / "mine" / "my_run.yaml", text)
    assert make(config_name="my_run", config_dirs=[workdir / "mine"]).config.seed == 3


def test_overrides_win_over_the_root_configuration(workdir: Path) -> None:
    write(workdir / "mine" / "my_run.yaml", "defaults: [conf_train, _self_]\nseed: 3\n")
    assert make("seed=4", config_name="my_run", config_dirs=[workdir / "mine"]).config.seed == 4


def test_an_unknown_root_configuration_lists_the_known_ones() -> None:
    known = "conf_rollout, conf_sweep, conf_train"
    assert f"there is no conf_tran.yaml. Known: {known}." in error_of(config_name="conf_tran")


# Experiments


EXPERIMENT = "# @package _global_\ndefaults:\n  - override /model: vector_obs\n  - _self_\n"


def test_an_experiment_chooses_options_and_sets_values(workdir: Path) -> None:
    write(workdir / "conf" / "experiment" / "try.yaml", EXPERIMENT + "model:\n  hidden_sizes: [5]\nseed: 3\n")
    configured = make("+experiment=try", config_dirs=[workdir / "conf"])
    assert configured.config.model == VectorObsConfig(hidden_sizes=[5])
    assert configured.config.seed == 3
    assert configured.choices["experiment"] == "try"


def test_the_command_line_wins_over_an_experiments_values(workdir: Path) -> None:
    write(workdir / "conf" / "experiment" / "try.yaml", EXPERIMENT + "model:\n  hidden_sizes: [5]\nseed: 3\n")
    config = make("experiment=try", "seed=4", "model.hidden_sizes=[6]", config_dirs=[workdir / "conf"]).config
    assert (config.seed, config.model.hidden_sizes) == (4, [6])


def test_an_experiment_may_not_be_contradicted(workdir: Path) -> None:
    """Hydra would carry its fields into the other option."""
    write(workdir / "conf" / "experiment" / "try.yaml", EXPERIMENT + "model:\n  hidden_sizes: [5]\n")
    message = error_of("experiment=try", "model=flatten_concat", config_dirs=[workdir / "conf"])
    assert "experiment 'try' sets model.hidden_sizes for model=vector_obs" in message
    assert "the command line selects model=flatten_concat" in message


def test_an_experiment_and_the_same_choice_agree(workdir: Path) -> None:
    write(workdir / "conf" / "experiment" / "try.yaml", EXPERIMENT + "model:\n  hidden_sizes: [5]\n")
    config = make("experiment=try", "model=vector_obs", config_dirs=[workdir / "conf"]).config
    assert config.model == VectorObsConfig(hidden_sizes=[5])


def test_a_group_that_an_experiment_leaves_alone_may_be_chosen(workdir: Path) -> None:
    write(workdir / "conf" / "experiment" / "try.yaml", EXPERIMENT + "seed: 3\n")
    config = make("experiment=try", "model=flatten_concat", config_dirs=[workdir / "conf"]).config
    assert (config.model, config.seed) == (FlattenConcatConfig(), 3)


# Interpolations, and secrets


def test_an_environment_variable_is_used_but_recorded_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    configured = make("env.kwargs.token=${oc.env:MY_SECRET}", "env.kwargs.deep.list=['a-${oc.env:MY_SECRET}']")
    assert configured.config.env.kwargs == {"token": "hunter2", "deep": {"list": ["a-hunter2"]}}
    assert "hunter2" not in configured.to_yaml()
    assert yaml.safe_load(configured.to_yaml())["env"]["kwargs"]["token"] == "${oc.env:MY_SECRET}"


def test_what_refers_to_a_secret_is_recorded_as_text_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    configured = make("env.kwargs.a=${oc.env:MY_SECRET}", "env.kwargs.b=${env.kwargs.a}", "env.kwargs.c=x${.b}")
    assert configured.config.env.kwargs == {"a": "hunter2", "b": "hunter2", "c": "xhunter2"}
    assert "hunter2" not in configured.to_yaml()


def test_a_typed_field_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_RATE", "0.4321")
    configured = make("algorithm.lr=${oc.env:MY_RATE}")
    assert configured.config.algorithm.lr == 0.4321
    assert "0.4321" not in configured.to_yaml()


def test_a_retired_id_from_the_environment_stays_secret_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    configured = make("env.name=LunarLander-v2", "env.kwargs.token=${oc.env:MY_SECRET}")
    assert configured.config.env.name == "LunarLander-v3"
    assert "hunter2" not in configured.to_yaml()


def test_a_difference_does_not_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    configured = make("env.kwargs.token=${oc.env:MY_SECRET}")
    assert "hunter2" not in str(configured.differences(make()))


def test_an_error_about_another_field_does_not_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    assert "hunter2" not in error_of("algorithm.lr=-1", "env.kwargs.token=${oc.env:MY_SECRET}")


@pytest.mark.parametrize(
    "override",
    ["algorithm.lr=${}", "algorithm.n_rollouts_per_update=${}", "seed=${}", "model.activation=${}",
     "model.hidden_sizes=[${}]", "model.hidden_sizes=${}", "env.rebuild_each_episode=${}",
     "runner.device=${}", "env.name=${}", "env.kwargs=${}",
     "algorithm.lr=a${}"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["${oc.env:MY_SECRET}", "${oc.env: 'MY_SECRET'}"])
def test_no_error_shows_a_secret(override: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2 and\nmore")
    if "=[" in override or "=a" in override:
        form = "${oc.env:MY_SECRET}"
    with pytest.raises(UserError) as caught:
        make(override.replace("${}", form))
    assert "hunter" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert "***" in str(caught.value)


def test_an_error_that_comes_later_does_not_show_a_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    monkeypatch.setenv("SHORT", "abc")
    make("env.kwargs.token=${oc.env:MY_SECRET}", "env.kwargs.short=${oc.env:SHORT}")
    assert str(EnvFaultError("no env for 'hunter2' in abc")) == "no env for '***' in abc"


def test_where_the_run_directory_is_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/fast/disk")
    make("run_dir='${oc.env:SCRATCH}/a'")
    assert str(UserError("/fast/disk/a exists")) == "/fast/disk/a exists"


def test_a_text_in_place_of_a_list_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZES", "many")
    message = error_of("model.hidden_sizes=${oc.env:SIZES}")
    assert message == "model.hidden_sizes=*** is not allowed: it must be a list, each a whole number."
    monkeypatch.setenv("SIZES", "[3, 4]")
    assert make("model.hidden_sizes='${oc.decode:${oc.env:SIZES}}'").config.model == FlattenConcatConfig(
        hidden_sizes=[3, 4]
    )


def test_a_missing_variable_is_told_with_its_name() -> None:
    assert "NO_SUCH_VARIABLE" in error_of("seed=${oc.env:NO_SUCH_VARIABLE}")


def test_the_resolver_of_environment_variables_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    make("env.kwargs.token=${oc.env:MY_SECRET}").to_yaml()
    assert OmegaConf.create({"a": "${oc.env:MY_SECRET}"}).a == "hunter2"


def test_other_interpolations_are_resolved_in_the_record() -> None:
    configured = make("algorithm.lr=${runner.n_epochs}", "env.kwargs.n=${model.hidden_sizes}", "runner.n_epochs=3")
    assert configured.config.algorithm.lr == 3.0
    record = yaml.safe_load(configured.to_yaml())
    assert (record["algorithm"]["lr"], record["env"]["kwargs"]["n"]) == (3, [64, 64])


# Errors of values name the full key, the value and what is allowed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.lr=fast", "algorithm.lr=fast is not allowed: it must be a number."),
        ("algorithm.lr=nan", "algorithm.lr=nan is not allowed: it must be a number > 0, at most 1e3."),
        ("algorithm.optimizer=adm", "algorithm.optimizer=adm is not allowed: it must be one of adam, sgd."),
        ("runner.patience=0", "runner.patience=0 is not allowed: it must be null or a whole number >= 1."),
        ("runner.evaluation.n_episodes=x", "runner.evaluation.n_episodes=x is not allowed: it must be a whole number."),
        ("runner.n_epochs=2.5", "runner.n_epochs=2.5 is not allowed: it must be null or a whole number."),
        ("model.hidden_sizes=[x]", "model.hidden_sizes=['x'] is not allowed: it must be a list, each a whole number."),
        ("seed=-1", "seed=-1 is not allowed: it must be null or a whole number from 0 to 2147483647."),
        ("env.kwargs=3", "env.kwargs=3 is not allowed: it must be a mapping."),
    ],
)  # fmt: skip
def test_a_bad_value_is_told_with_its_full_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(override)
    assert str(caught.value) == message


def test_a_bad_value_in_a_preset_is_told_with_its_full_key(workdir: Path) -> None:
    write(workdir / "conf" / "algorithm" / "mine.yaml", "defaults: [es, _self_]\nlr: -1\n")
    message = error_of("algorithm=mine", config_dirs=[workdir / "conf"])
    assert message == "algorithm.lr=-1.0 is not allowed: it must be a number > 0, at most 1e3."


# Differences


def test_nothing_differs_from_itself() -> None:
    assert make().differences(make()) == []


def test_changed_fields_and_options_are_told() -> None:
    differences = make("algorithm.lr=0.5", "model=vector_obs", "seed=3", "runner.evaluation.n_episodes=5").differences(
        make()
    )
    assert sorted(differences, key=lambda row: row[0]) == [
        ("algorithm.lr", ESConfig().lr, 0.5),
        ("model", "flatten_concat", "vector_obs"),
        ("runner.evaluation.n_episodes", 20, 5),
        ("seed", None, 3),
    ]  # fmt: skip


def test_another_list_of_options_is_told() -> None:
    differences = make("wrappers=reward_scaling", "callbacks=jsonl").differences(make())
    assert differences == [
        ("wrappers", [], ["reward_scaling"]),
        ("callbacks", ["console", "jsonl", "tensorboard"], ["jsonl"]),
    ]


def test_a_free_form_mapping_is_told() -> None:
    assert make("env.kwargs.x=1").differences(make()) == [("env.kwargs", {}, {"x": 1})]


# Other people's Hydra programs, and threads


@pytest.fixture
def foreign_program(workdir: Path) -> Callable[[], Any]:
    """Another program that uses Hydra, with an option of the same group and name as ours."""
    write(workdir / "theirs" / "main.yaml", "defaults: [{env: gym_env}, _self_]\nx: 1\n")
    store = ConfigStore.instance()
    repo = store.repo
    store.repo = dict(repo)
    store.store(group="env", name="gym_env", node={"theirs": True})
    with initialize_config_dir(str(workdir / "theirs"), version_base="1.2"):

        def program() -> Any:
            config = OmegaConf.to_container(compose("main", return_hydra_config=True))
            return {**config, "hydra": config["hydra"]["job_logging"]}

        yield program
    store.repo = repo


def test_another_hydra_program_goes_on_undisturbed(foreign_program: Callable[[], Any]) -> None:
    hydra, before = GlobalHydra.instance().hydra, foreign_program()
    stored = dict(ConfigStore.instance().repo)
    assert make("algorithm.lr=0.5").config.env == GymEnvConfig()
    assert GlobalHydra.instance().hydra is hydra
    assert ConfigStore.instance().repo == stored
    assert before["hydra"]["version"] == 1
    assert foreign_program() == before == {"env": {"theirs": True}, "x": 1, "hydra": before["hydra"]}


def test_hydras_globals_are_restored_after_an_error() -> None:
    repo = ConfigStore.instance().repo
    error_of("algorithm=nothing_like_it")
    assert ConfigStore.instance().repo is repo
    assert not GlobalHydra.instance().is_initialized()


def test_threads_do_not_disturb_each_other() -> None:
    registry = Registry(load_plugins(PluginSources()))

    def rate(number: int) -> tuple[float, Any]:
        overrides = [f"algorithm.lr={number}", "env.kwargs.n=${algorithm.lr}", "env.kwargs.home=${oc.env:HOME}"]
        configured = configure(registry, ConfigRequest(items=read_items(overrides)))
        return configured.config.algorithm.lr, yaml.safe_load(configured.to_yaml())["env"]["kwargs"]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(rate, range(1, 13)))
    assert results == [(n, {"n": n, "home": "${oc.env:HOME}"}) for n in range(1, 13)]


# Presets of installed packages


def install_package(folder: Path, name: str, presets: dict[str, str]) -> None:
    sys.path.insert(0, str(write_package(folder, name, presets)))


def test_a_package_cannot_change_what_is_there(workdir: Path) -> None:
    before = make().to_yaml()
    presets = {"algorithm/es": "defaults: [es, _self_]\nlr: 9\n", "model/flatten_concat": "hidden_sizes: [1]\n"}
    install_package(workdir, "intruder", presets)
    assert make().to_yaml() == before
    assert make("algorithm=es", "model=flatten_concat").to_yaml() == before


def test_a_package_cannot_change_a_preset_of_the_core_or_of_the_user(workdir: Path) -> None:
    install_package(workdir, "intruder", {"runner/dev": "defaults: [local, _self_]\nn_epochs: 7\n"})
    assert make("runner=dev").config.runner == LocalRunnerConfig(raw_errors=True, n_workers=0)


@pytest.fixture
def twins(workdir: Path) -> None:
    for name, rate in (("twin_one", 3), ("twin_two", 4)):
        preset = f"defaults: [es, _self_]\nlr: {rate}\n"
        install_package(workdir, name, {"algorithm/fast": preset, f"algorithm/fast_{name}": preset})


def test_a_preset_that_two_packages_offer_is_an_error_that_names_both(twins: None) -> None:
    message = error_of("algorithm=fast")
    assert "algorithm=fast" in message
    assert "twin_one and twin_two" in message
    assert "MAZE_DISABLE_PLUGINS" in message


def test_the_other_presets_of_two_packages_in_conflict_work(twins: None) -> None:
    assert make().config.algorithm == ESConfig()
    assert make("algorithm=fast_twin_one").config.algorithm.lr == 3
    assert make("algorithm=fast_twin_two").config.algorithm.lr == 4


def test_a_preset_conflict_ends_when_one_of_the_two_is_switched_off(
    twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAZE_DISABLE_PLUGINS", "twin_two")
    assert make("algorithm=fast").config.algorithm.lr == 3


# One experiment


@pytest.mark.parametrize("overrides", [["experiment=[a,b]"], ["+experiment=a", "+experiment=b"]])
def test_two_experiments_are_refused(workdir: Path, overrides: list[str]) -> None:
    for name, lr in (("a", 3), ("b", 4)):
        write(workdir / "conf" / "experiment" / f"{name}.yaml", f"# @package _global_\nalgorithm: {{lr: {lr}}}\n")
    message = error_of(*overrides, config_dirs=[workdir / "conf"])
    assert "one experiment" in message
    assert "\n" not in message


def test_an_experiment_may_be_named_twice(workdir: Path) -> None:
    write(workdir / "conf" / "experiment" / "a.yaml", "# @package _global_\nalgorithm: {lr: 3}\n")
    assert make("+experiment=a", "experiment=a", config_dirs=[workdir / "conf"]).config.algorithm.lr == 3


# Fields of a root configuration


def test_fields_of_a_root_configuration_are_not_carried_into_another_option(workdir: Path) -> None:
    text = "defaults: [conf_train, _self_]\nmodel: {hidden_sizes: [5], activation: relu}\n"
    write(workdir / "mine" / "my_run.yaml", text)
    request = {"config_name": "my_run", "config_dirs": [workdir / "mine"]}
    message = error_of("model=vector_obs", **request)
    assert "'my_run' sets model.hidden_sizes, model.activation for model=flatten_concat" in message
    assert "the command line selects model=vector_obs" in message
    assert make("model=flatten_concat", **request).config.model.hidden_sizes == [5]


def test_another_option_may_be_chosen_for_what_a_root_configuration_leaves_alone(workdir: Path) -> None:
    write(workdir / "mine" / "my_run.yaml", "defaults: [conf_train, _self_]\nmodel: {hidden_sizes: [5]}\n")
    configured = make("runner=dev", config_name="my_run", config_dirs=[workdir / "mine"])
    assert configured.config.runner.raw_errors
    assert configured.config.model.hidden_sizes == [5]


# Types, and resolvers, of others


def test_a_path_is_recorded_as_text(workdir: Path) -> None:
    source = (write_project(workdir, "here") / "maze_plugins.py").read_text()
    source = source.replace("size: int = 1", 'place: Path = Path("data") / "in"')
    write(
        workdir / "maze_plugins.py",
        source.replace("import dataclass\n", "import dataclass\nfrom pathlib import Path\n"),
    )
    configured = make("env=here")
    assert configured.config.env.place == Path("data/in")
    assert yaml.safe_load(configured.to_yaml())["env"] == {"place": "data/in"}
    assert make("env=here", "env.place=else/where").to_data()["env"] == {"place": "else/where"}


def test_the_resolver_of_another_program_survives() -> None:
    resolvers = BaseContainer._resolvers
    saved = resolvers["oc.env"]
    try:
        OmegaConf.register_new_resolver("oc.env", lambda name, default=None: f"theirs {name}", replace=True)
        make("env.kwargs.a=${oc.env:HOME}").to_yaml()
        assert OmegaConf.create({"a": "${oc.env:HOME}"}).a == "theirs HOME"
    finally:
        resolvers["oc.env"] = saved
