"""Wrappers, normalisation and events on the command line, and what they leave in a run directory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.cli import Result, run_cli
from support.projects import SMALL, write, write_component, write_env

from maze_core.api import RunContext

QUICK = (*SMALL, "runner.evaluation.n_episodes=2", "model.hidden_sizes=[4]")
NORMALIZED = ("wrappers=vector_obs", "wrappers.observation_normalization.n_samples=50")
PREFIX = "normalization.actors.substep_0."

pytestmark = pytest.mark.usefixtures("workdir")


def train(*args: str, run_dir: str = "run") -> Result:
    result = run_cli("train", *QUICK, f"run_dir={run_dir}", *args)
    assert result.exit_code == 0, result.stderr
    return result


def refused(*args: str) -> str:
    """What a training run says that ends with the code for mistakes of the user."""
    result = run_cli("train", *QUICK, "run_dir=run", *args)
    assert result.exit_code != 0
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def config(*args: str) -> Any:
    result = run_cli("config", *args)
    assert result.exit_code == 0, result.stderr
    return yaml.safe_load(result.stdout)["wrappers"]


def weights(folder: str = "run", name: str = "state_dict.pt") -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(Path(folder, name), weights_only=True)
    return loaded


def statistics(folder: str = "run", name: str = "state_dict.pt") -> dict[str, list[float]]:
    found = weights(folder, name)
    return {key: value.tolist() for key, value in found.items() if key.startswith("normalization.")}


def rows(folder: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


# Selecting


def test_vector_obs_is_a_preset_of_wrappers() -> None:
    assert list(config("wrappers=vector_obs")) == ["observation_normalization"]


def test_wrappers_are_listed_in_the_order_of_their_names() -> None:
    names = ["time_limit", "observation_stacking", "observation_normalization", "reward_clipping"]
    assert list(config("wrappers=" + ",".join(names))) == names


def test_a_wrapper_may_be_added_to_a_preset_and_taken_away() -> None:
    assert list(config("wrappers=vector_obs", "+wrappers=monitoring")) == ["observation_normalization", "monitoring"]
    assert list(config("wrappers=vector_obs,time_limit", "~wrappers.time_limit")) == ["observation_normalization"]
    assert config("wrappers=vector_obs", "~wrappers.observation_normalization") == {}


def test_a_wrapper_that_is_named_twice_has_two_sets_of_options() -> None:
    both = config("wrappers=time_limit,time_limit", "wrappers.time_limit_2.max_env_steps=5")
    assert both == {"time_limit": {"max_env_steps": 1000}, "time_limit_2": {"max_env_steps": 5}}


@pytest.mark.parametrize(
    ("wrapper", "field", "value"),
    [
        ("observation_normalization", "method", "range"),
        ("observation_normalization", "clip", None),
        ("observation_normalization", "exclude", ["observation"]),
        ("return_normalization", "gamma", 0.5),
        ("reward_clipping", "high", 7.0),
        ("time_limit", "max_env_steps", 3),
        ("observation_stacking", "n_observations", 2),
        ("action_repeat", "n_repeats", 2),
        ("mask_from_info", "key", "legal"),
        ("monitoring", "observations", False),
    ],
)
def test_every_wrapper_takes_its_options(wrapper: str, field: str, value: Any) -> None:
    written = json.dumps(value).replace('"', "")
    assert config(f"wrappers={wrapper}", f"wrappers.{wrapper}.{field}={written}")[wrapper][field] == value


def test_wrappers_take_part_in_a_run() -> None:
    train("wrappers=time_limit,action_repeat,monitoring", "wrappers.time_limit.max_env_steps=6")
    last = rows()[-1]["values"]
    assert last["BaseEnvEvents/reward/max"] <= 6
    assert last["BaseEnvEvents/reward/mean_step_count"] <= 2
    assert "MonitoredEvents/reward/mean_episode_mean" in last


def test_lunar_lander_trains_on_vector_observations() -> None:
    result = train("env.name=LunarLander-v3", "wrappers=vector_obs", "model=vector_obs")
    assert "epoch" in result.stdout or "Iteration" in result.stdout
    assert statistics()[PREFIX + "observation.count"] >= 1000  # type: ignore[operator]
    assert len(statistics()[PREFIX + "observation.mean"]) == 8


# Statistics of observations


def test_a_run_without_normalisation_leaves_no_statistics() -> None:
    train()
    assert statistics() == {}
    assert not Path("run/normalization.json").exists()


@pytest.mark.parametrize("source", ["sampled", "running"])
def test_the_readable_copy_has_the_statistics_of_the_weights(source: str) -> None:
    train(*NORMALIZED, f"wrappers.observation_normalization.statistics={source}")
    readable = json.loads(Path("run/normalization.json").read_text())["substep_0"]["observation"]
    saved = statistics()
    for name in ("count", "mean", "low", "high"):
        assert readable[name] == saved[f"{PREFIX}observation.{name}"], name
    deviation = np.sqrt(np.array(saved[f"{PREFIX}observation.m2"]) / readable["count"])
    np.testing.assert_allclose(readable["std"], deviation)


def test_the_readable_copy_is_json_that_every_reader_takes() -> None:
    train(*NORMALIZED, "wrappers.observation_normalization.statistics=running")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(Path("run/normalization.json").read_text(), parse_constant=refuse)


def test_sampled_statistics_do_not_change_in_training() -> None:
    train(*NORMALIZED, run_dir="short")
    train(*NORMALIZED, "runner.n_epochs=3", run_dir="long")
    assert statistics("short") == statistics("long", "final_state_dict.pt")


def test_running_statistics_count_every_env_step_of_training() -> None:
    train(*NORMALIZED, "wrappers.observation_normalization.statistics=running", "runner.n_epochs=3")
    trained = [row for row in rows() if row["stage"] == "train"]
    assert statistics(name="final_state_dict.pt")[PREFIX + "observation.count"] == trained[-1]["env_steps"]


def test_the_same_seed_leaves_the_same_statistics_and_weights() -> None:
    for folder in ("one", "two"):
        train(*NORMALIZED, run_dir=folder)
    one, two = weights("one"), weights("two")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_monitoring_and_reward_wrappers_do_not_change_what_is_learned() -> None:
    train(run_dir="plain")
    train("wrappers=monitoring,reward_scaling", "wrappers.reward_scaling.scale=3", run_dir="wrapped")
    one, two = weights("plain"), weights("wrapped")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_warm_start_takes_the_statistics_and_samples_nothing() -> None:
    train(*NORMALIZED, run_dir="first")
    train(*NORMALIZED, "seed=9", "input_dir=first", run_dir="second")
    assert statistics("second") == statistics("first")


def test_given_statistics_are_those_of_the_file() -> None:
    train(*NORMALIZED, run_dir="first")
    given = ("statistics=given", "file=first/normalization.json")
    train("wrappers=vector_obs", *(f"wrappers.observation_normalization.{option}" for option in given), "seed=5")
    found, expected = statistics(), statistics("first")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


def test_compute_action_takes_observations_as_the_env_shows_them() -> None:
    overrides = [*QUICK, *NORMALIZED, "callbacks=[]", "run_dir=run"]
    with RunContext(overrides=overrides) as context:
        context.train()
        policy = context.policy
        observation = np.array([0.5, 1.0, -0.2, 0.3], np.float32)
        assert policy.normalization is not None
        normalised = policy.normalization.apply_to("substep_0", {"observation": observation[None]})["observation"]
        with torch.no_grad():
            outputs = policy.models["substep_0"]({"observation": torch.from_numpy(normalised)})
        (logits,) = outputs.values()
        assert context.compute_action(observation) == int(logits.argmax())


def test_a_warm_started_policy_acts_as_the_one_it_came_from() -> None:
    def evaluation(*args: str) -> dict[str, float]:
        with RunContext(overrides=[*QUICK, *NORMALIZED, "callbacks=[]", *args]) as context:
            if "run_dir=first" in args:
                context.train()
            return context.evaluate(5)

    assert evaluation("run_dir=first") == evaluation("input_dir=first")


def test_progress_of_sampling_is_shown_to_callbacks(workdir: Path) -> None:
    source = """
def build(config):
    class Ours(maze_core.Callback):
        def on_progress(self, what, n, wanted):
            with open("told.txt", "a") as file:
                file.write(f"{what} {n} {wanted}\\n")

    return Ours()
"""
    write_component(workdir, "callback", source)
    train(*NORMALIZED, "callbacks=ours")
    assert Path("told.txt").read_text().splitlines()[-1].endswith("50 50")


# Sentences


def test_an_order_that_cannot_work_is_told_with_the_one_that_does() -> None:
    message = refused("wrappers=observation_normalization,observation_stacking,time_limit")
    works = re.search(r"Use (wrappers=[a-z_,0-9]+)", message)
    assert works is not None, message
    train(works.group(1), "wrappers.observation_normalization.n_samples=20")


@pytest.mark.parametrize(
    "wrappers",
    [
        "observation_normalization,observation_stacking,observation_stacking",
        "reward_scaling,observation_normalization,reward_scaling,observation_stacking",
    ],
)
def test_the_order_that_works_can_be_typed_even_with_repeats(wrappers: str) -> None:
    message = refused(f"wrappers={wrappers}")
    works = re.search(r"Use (wrappers=[a-z_,0-9]+)", message)
    assert works is not None, message
    result = run_cli("config", works.group(1))
    assert result.exit_code == 0, result.stderr


def test_two_normalisations_are_refused_with_a_sentence() -> None:
    message = refused("wrappers=observation_normalization,observation_normalization")
    assert "observation_normalization" in message
    works = re.search(r"Use (wrappers=[a-z_,0-9]+)", message)
    assert works is None or run_cli("config", works.group(1)).exit_code == 0, message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("observation_normalization.exclude=[speed]", "exclude='speed' is no part of it. Parts: observation"),
        ("observation_normalization.exclude=[observation]", "no part of the observations is left to normalise"),
        ("observation_normalization.n_samples=0", "wrappers.observation_normalization.n_samples=0"),
        ("observation_normalization.statistics=given", "a path with statistics=given"),
        ("observation_normalization.clip=-1", "null or a number > 0"),
    ],
)
def test_an_option_of_normalisation_that_cannot_work_is_told(options: str, expected: str) -> None:
    assert expected in refused("wrappers=vector_obs", f"wrappers.{options}")


@pytest.mark.parametrize(
    ("wrappers", "env", "expected"),
    [
        ("mask_from_info", "Pendulum-v1", "mask_from_info needs a Discrete or MultiDiscrete action space"),
        ("mask_from_info", "CartPole-v1", "mask_from_info: the info has no 'action_mask' (its keys: none)"),
        ("observation_stacking", "Taxi-v3", "observation_stacking stacks Boxes"),
        ("observation_normalization", "Taxi-v3", "no part of the observations is left to normalise"),
    ],
)
def test_a_wrapper_that_does_not_fit_the_env_is_told(wrappers: str, env: str, expected: str) -> None:
    assert expected in refused(f"wrappers={wrappers}", f"env.name={env}")


def test_statistics_of_another_env_are_told() -> None:
    train(*NORMALIZED, run_dir="first")
    options = ("statistics=given", "file=first/normalization.json")
    message = refused(
        "wrappers=vector_obs", "env.name=Acrobot-v1", *(f"wrappers.observation_normalization.{o}" for o in options)
    )
    assert "observation_normalization: first/normalization.json" in message
    assert "'observation' of actor 'substep_0'" in message
    assert "(4,)" in message
    assert "(6,)" in message


def test_a_missing_statistics_file_is_told() -> None:
    options = ("statistics=given", "file=nowhere.json")
    message = refused("wrappers=vector_obs", *(f"wrappers.observation_normalization.{option}" for option in options))
    assert "nowhere.json cannot be read" in message


@pytest.mark.parametrize("broken", ["first", "later"])
def test_an_observation_that_is_not_finite_is_told_with_wrapper_and_key(workdir: Path, broken: str) -> None:
    write_env(
        workdir, **{"later": "np.zeros(2, np.float32)", broken: "np.full(2, np.nan, np.float32)"}, terminated="False"
    )
    message = refused(*NORMALIZED, "env=ours")
    assert "observation_normalization" in message
    assert "not finite" in message


# Events

SHOP = """
def build(config):
    import gymnasium
    import numpy as np
    from gymnasium import spaces

    from maze_core.stats import Event, EventGroup, EventRecorder

    sales = EventGroup("SalesEvents", sold=Event("sum", "max"), price=Event("histogram"))

    class Shop(gymnasium.Env):
        observation_space, action_space = spaces.Box(0.0, 9.0, (1,)), spaces.Discrete(2)

        def __init__(self):
            self.events = EventRecorder(sales)

        def reset(self, *, seed=None, options=None):
            self.steps = 0
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.steps += 1
            self.events.fire(sales, "EVENT", self.steps)
            self.events.fire(sales, "price", 7)
            ended = self.steps == 3
            info = self.events.episode(turnover=21) if ended else {}
            return np.zeros(1, np.float32), 1.0, ended, False, info

    return Shop()
"""


def test_events_and_key_figures_are_in_the_metrics_and_the_table(workdir: Path) -> None:
    write_component(workdir, "env", SHOP.replace("EVENT", "sold"))
    table = train("env=ours").stdout
    for row in rows():
        assert row["values"]["SalesEvents/sold/mean_episode_total"] == 6
        assert row["values"]["SalesEvents/sold/mean_episode_max"] == 3
        assert row["values"]["KPIs/turnover/mean"] == 21
    for word in ("SalesEvents", "sold", "mean_episode_total", "KPIs", "turnover"):
        assert word in table


def test_an_event_that_was_not_declared_is_told(workdir: Path) -> None:
    write_component(workdir, "env", SHOP.replace("EVENT", "sodl"))
    assert "SalesEvents has no event 'sodl'. Declared: sold, price." in refused("env=ours")


def test_normalisation_and_events_work_on_an_env_of_ones_own(workdir: Path) -> None:
    write_component(workdir, "env", SHOP.replace("EVENT", "sold"))
    write(
        workdir / "conf" / "wrappers" / "mine.yaml",
        "defaults: [observation_normalization, _self_]\nobservation_normalization: {n_samples: 9}\n",
    )
    train("env=ours", "wrappers=mine,time_limit")
    assert statistics()[PREFIX + "observation.count"] >= 9  # type: ignore[operator]


def test_wrappers_with_a_vector_form_share_what_they_learn_between_scalar_envs() -> None:
    """Otherwise the fitness of a member would depend on the env that it happens to play in."""
    from maze_core.build import env_factory
    from maze_core.config import ConfigRequest, configure
    from maze_core.config.overrides import read_items
    from maze_core.registry import load_registry
    from maze_core.rl import reset_envs

    registry = load_registry(local_plugins=False)
    items = read_items(["env.name=Pendulum-v1", "wrappers=return_normalization"])
    env = env_factory(registry, configure(registry, ConfigRequest(items=items)).config).vector(3)
    for seeds in ([1, 2, 3], [7, 7, 7]):  # the envs differ in the first episode, and are alike in the second
        reset_envs(env, np.arange(3), seeds)
        rewards = [env.step(np.zeros((3, 1), np.float32))[1] for _ in range(20)]
    assert all(len(set(step)) == 1 for step in rewards)


def test_a_given_file_and_an_input_dir_contradict_each_other(workdir: Path) -> None:
    assert run_cli("train", *SMALL, "wrappers=vector_obs", "run_dir=first").exit_code == 0
    given = "wrappers.observation_normalization.statistics=given"
    file = "wrappers.observation_normalization.file=first/normalization.json"
    result = run_cli("train", *SMALL, "wrappers=vector_obs", given, file, "input_dir=first", "run_dir=second")
    assert result.exit_code == 2
    assert "Leave out one of the two" in result.stderr


@pytest.mark.parametrize(
    ("before", "now", "words"), [([], "vector_obs", "Leave out"), ("vector_obs", [], "Add wrappers=")]
)
def test_normalised_and_plain_policies_are_no_start_for_each_other(before: Any, now: Any, words: str) -> None:
    arguments = [f"wrappers={wrappers or '[]'}" for wrappers in (before, now)]
    assert run_cli("train", *SMALL, arguments[0], "run_dir=first").exit_code == 0
    result = run_cli("train", *SMALL, arguments[1], "input_dir=first", "run_dir=second")
    assert result.exit_code == 6
    assert words in result.stderr


def test_a_wrapper_that_a_preset_has_already_is_refused() -> None:
    result = run_cli("config", "wrappers=observation_stacking,pixel_obs")
    assert result.exit_code == 2
    assert "observation_stacking is part of a preset" in result.stderr


def test_what_learns_from_all_copies_cannot_lie_inside_what_wraps_each(workdir: Path) -> None:
    result = run_cli("train", *SMALL, "wrappers=return_normalization,mask_from_info")
    assert result.exit_code == 2
    assert "Use wrappers=mask_from_info,return_normalization." in result.stderr
    assert not (workdir / "outputs").exists()
