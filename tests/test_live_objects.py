"""Live objects of a Python program as parts of a run: what may be given, what is recorded, what goes on with it."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces
from maze_perception.config import FlattenConcatConfig
from support.build import CPU, registry
from support.cli import run_cli
from support.envs import BanditEnv, CountdownEnv
from support.ids import shown
from support.resume import SMALL, Recipe, cut_off, differing, result, rows
from support.structured_envs import MineEnv
from support.workers import no_worker_is_left  # noqa: F401  # a fixture
from torch import nn

import maze_core
from maze_core import Callback, EvaluationConfig, RunContext
from maze_core.builtins.config import LocalRunnerConfig, RewardScalingConfig, SharedCriticConfig
from maze_core.builtins.runners import LocalRunner
from maze_core.errors import EnvFaultError, PluginError, UserError
from maze_core.live import LiveObjects
from maze_core.networks import build_policy
from maze_core.rl import Actors, Streams, Turn, concat_leaves, flat_size, split_heads
from maze_core.rl.spaces import batch_size
from maze_core.run_config import PerActorConfig, RunnerConfig

pytestmark = pytest.mark.usefixtures("workdir")

FEW: dict[str, Any] = {
    "runner.n_epochs": 1, "runner.n_workers": 0, "runner.evaluation.n_episodes": 2,
    "runner.stop_at_reward": float("inf"), "algorithm.epoch_length": 1,
}  # fmt: skip


def make(algorithm: Any = "es", **arguments: Any) -> RunContext:
    """A run of one update."""
    overrides = {**FEW, **SMALL.get(algorithm, {}), **arguments.pop("overrides", {})}
    defaults = {"env": CountdownEnv, "callbacks": [], "seed": 1, "silent": True}
    return RunContext(algorithm=algorithm, overrides=overrides, **{**defaults, **arguments})


def train(algorithm: Any = "es", **arguments: Any) -> RunContext:
    with make(algorithm, **arguments) as context:
        context.train()
    return context


def settings(context: RunContext) -> dict[str, Any]:
    record: dict[str, Any] = yaml.safe_load(context.config)
    return record


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()]).clone()


def learned(context: RunContext) -> torch.Tensor:
    """The last weights of a run, as it saved them."""
    state = torch.load(f"{context.run_dir}/final_state_dict.pt", weights_only=True)
    return torch.cat([value.reshape(-1) for value in state.values()])


def cartpole() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1")


class Net(nn.Module):
    """A dense layer from all that is observed to all that is asked for."""

    def __init__(self, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = dict(output_sizes)
        self.layer = nn.Linear(flat_size(observation_space), sum(output_sizes.values()))

    def forward(self, observation: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return split_heads(self.layer(concat_leaves(observation)), self.sizes)


SEEN = spaces.Dict({"observation": spaces.Box(0, 100, (2,))})
"""What a network for `CountdownEnv` gets."""


def net(**heads: int) -> Net:
    """A network for `CountdownEnv`, the same one every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net(SEEN, heads or {"action": 2})


def sequential(*sizes: int, inside: Sequence[nn.Module] = ()) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(sizes[0], 3), nn.Tanh(), *inside, nn.Linear(3, sizes[1]))


class Told(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.notes: list[str] = []

    def on_run_start(self, run: Any) -> None:
        self.told.append("start")
        self.notes = list(run.notes)

    def on_epoch_end(self, report: Any) -> None:
        self.told.append(report.stages[-1].stage)

    def on_run_end(self, summary: Any) -> None:
        self.told.append("end")

    def close(self) -> None:
        self.told.append("close")


class Always:
    """Always takes the same action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def act(self, turn: Turn) -> Any:
        return np.full(batch_size(turn.observation), self.action)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """What `make` learns."""
    return learned(train(run_dir=tmp_path_factory.mktemp("plain") / "run"))


# Envs


class Maker:
    def __call__(self) -> CountdownEnv:
        return CountdownEnv()


@pytest.mark.parametrize(
    ("env", "described"),
    [
        (lambda: CountdownEnv(), "<lambda>"),
        (CountdownEnv, "support.envs.CountdownEnv"),
        (partial(CountdownEnv, longest=4), "a functools.partial"),
        (Maker(), "Maker"),
    ],
    ids=["function", "class", "partial", "object"],
)
def test_an_env_is_whatever_makes_one(env: Any, described: str) -> None:
    context = train(env=env)
    assert settings(context)["components"]["env"] == "live_env"
    assert settings(context)["env"]["object"].endswith(described)


def test_an_override_may_be_a_live_object() -> None:
    assert settings(make(env=None, overrides={"env": CountdownEnv}))["components"]["env"] == "live_env"


@pytest.mark.parametrize("algorithm", SMALL)
def test_a_live_env_trains_the_same_weights_as_the_same_env_by_name(algorithm: str) -> None:
    live, named = (train(algorithm, env=env) for env in (cartpole, "gym_env"))
    assert torch.equal(learned(live), learned(named))


def test_an_env_in_place_of_what_makes_one_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^env=a support\.envs\.CountdownEnv is one env, and several are needed\. Give"
    ):
        make(env=CountdownEnv())


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_function_that_returns_the_same_env_again_is_refused(wrapped: bool) -> None:
    env = cartpole()
    make_env = (lambda: gymnasium.wrappers.TransformReward(env, float)) if wrapped else (lambda: env)
    with make(env=make_env) as context, pytest.raises(UserError, match="returned the same env again, and several"):
        context.train()


def test_a_function_that_returns_no_env_is_refused() -> None:
    with (
        make(env=lambda: 5) as context,
        pytest.raises(UserError, match=r"returned a int; it must return a gymnasium\.Env"),
    ):
        context.train()


def test_a_constructor_that_raises_is_a_fault_of_the_env() -> None:
    with make(env=lambda: 1 / 0) as context, pytest.raises(EnvFaultError, match="'live_env' raised ZeroDivisionError"):
        context.train()


# Wrappers


def doubled(env: Any) -> Any:
    return gymnasium.wrappers.TransformReward(env, lambda reward: 2 * reward)


def increased(env: Any) -> Any:
    return gymnasium.wrappers.TransformReward(env, lambda reward: reward + 1)


@pytest.mark.parametrize(
    ("wrappers", "reward"),
    [
        (doubled, 2.0),
        ([doubled, increased], 3.0),
        ([increased, doubled], 4.0),
        ([doubled, {"reward_clipping": {"high": 1.5}}, increased], 2.5),
        (["reward_scaling", RewardScalingConfig(scale=5), increased], 6.0),
    ],
    ids=shown,
)
def test_wrappers_are_functions_and_names_in_the_order_of_their_list(wrappers: Any, reward: float) -> None:
    with make(env=lambda: BanditEnv([1.0]), wrappers=wrappers) as context:
        env = context.env_factory()
        env.reset(seed=0)
        assert env.step(0)[1] == reward


def test_a_wrapper_that_returns_no_env_is_refused() -> None:
    with make(wrappers=lambda env: None) as context, pytest.raises(UserError, match=r"returned a NoneType; it must"):
        context.train()


# Networks


@pytest.mark.parametrize(
    ("algorithm", "network"), [("es", net()), ("ppo", sequential(2, 2)), ("a2c", net())], ids=SMALL
)
def test_a_network_that_is_given_is_trained_in_place(algorithm: str, network: nn.Module) -> None:
    before = weights(network)
    with make(algorithm, model=network) as context:
        context.train(best=False)
        assert not torch.equal(weights(network), before)
        assert torch.equal(weights(network), weights(context.policy.models))


@pytest.mark.parametrize("model", [Net, lambda space, sizes: sequential(flat_size(space), sum(sizes.values()))],
                         ids=["class", "function"])  # fmt: skip
def test_what_makes_networks_makes_those_of_policy_and_critic(model: Any) -> None:
    with make("ppo", model=model) as context:
        context.train()
        assert context.critic is not None
        one, other = context.policy.models["substep_0"], context.critic.models["substep_0"]
        assert type(one) is type(other)
        assert one is not other


def test_the_seed_decides_the_weights_of_networks_that_are_made() -> None:
    found = []
    for seed in (1, 1, 2):
        with make(model=Net, seed=seed) as context:
            found.append(weights(context.policy))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_network_puts_out_no_value_so_that_the_critic_has_one_of_its_own() -> None:
    with make("ppo", model=net()) as context:
        assert context.critic is not None
        assert type(context.critic.models["substep_0"]).__name__ == "DenseObservationModel"


@pytest.mark.parametrize("critic", ["none", "shared_embedding"])
def test_a_critic_that_is_chosen_stays(critic: str) -> None:
    network = net(action=2, value=1)
    with make("ppo", model=network, critic=critic) as context:
        context.train()
        assert (context.critic is None) == (critic == "none")


def test_a_critic_of_an_experiment_stays(workdir: Path) -> None:
    (workdir / "experiment").mkdir()
    (workdir / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults: [override /critic: none]\n")
    with make("ppo", model=net(), experiment="mine", config_dir=workdir) as context:
        assert context.critic is None


class Value(nn.Module):
    """Looks at nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, observation: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"value": self.value.expand(len(next(iter(observation.values()))), 1)}


CRITICS: dict[str, Callable[[nn.Module], Any]] = {
    "network": lambda network: network,
    "config": lambda network: SharedCriticConfig(model=network),
    "override": lambda network: None,
    "function in a mapping": lambda network: {"per_sub_step": {"model": lambda space, sizes: network}},
}


@pytest.mark.parametrize("form", CRITICS)
def test_a_critic_may_be_a_network_in_any_form(form: str) -> None:
    network = Value()
    overrides = {"critic.model": network} if form == "override" else {}
    context = train("ppo", critic=CRITICS[form](network), overrides=overrides)
    assert network.value.item() != 0
    assert settings(context)["components"]["critic.model"] == "live_critic"


# Networks of several actors


def mine(model: Any, algorithm: str = "es", **arguments: Any) -> RunContext:
    return make(algorithm, env=MineEnv, model=model, **arguments)


def test_each_actor_may_have_a_network_a_function_a_config_or_a_name() -> None:
    forms = [
        {"choose": sequential(2, 2), "dig": Net},
        {"choose": "flatten_concat", "dig": sequential(1, 2)},
        {"choose": FlattenConcatConfig(hidden_sizes=[3]), "dig": sequential(1, 2)},
        PerActorConfig(actors={"choose": sequential(2, 2)}, default=Net),
    ]
    found = []
    for model in forms:
        with mine(model) as context:
            found.append([type(part).__name__ for part in context.policy.models.values()])
    given, dense = "FlattenedModel", "DenseObservationModel"
    assert found == [[given, "Net"], [dense, given], [dense, given], [given, "Net"]]


def test_networks_of_actors_are_named_after_them_and_trained_in_place() -> None:
    networks = {"choose": sequential(2, 2), "dig": sequential(1, 2)}
    before = {key: weights(network) for key, network in networks.items()}
    with mine(networks, "ppo") as context:
        context.train(best=False)
        names = settings(context)["components"]
    assert [names[f"model.actors.{key}"] for key in networks] == ["live_model_choose", "live_model_dig"]
    assert all(not torch.equal(weights(network), before[key]) for key, network in networks.items())


def test_a_critic_may_have_a_network_for_each_actor() -> None:
    critic = {"choose": Value(), "dig": Value()}
    train("a2c", env=MineEnv, critic=critic)
    assert all(network.value.item() != 0 for network in critic.values())


def test_one_network_for_two_actors_is_refused() -> None:
    network = Value()
    with (
        mine("flatten_concat", "ppo", critic={"choose": network, "dig": network}) as context,
        pytest.raises(UserError, match=r"'critic\.choose' and 'critic\.dig' have the same network\. Give each its own"),
    ):
        context.train()


def test_one_network_for_policy_and_critic_is_refused() -> None:
    network = net(action=2, value=1)
    with (
        make("ppo", model=network, critic=network) as context,
        pytest.raises(
            UserError, match=r"'substep_0' and 'critic\.substep_0' have the same network\..*shared_embedding"
        ),
    ):
        context.train()


# Networks that do not fit


class Returns(nn.Module):
    """Returns what a function makes of the observation."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.zeros(1))

    def forward(self, observation: Any) -> Any:
        return self.function(observation)


NEEDED = "It gets a mapping with observation [B, 2], and must put out one with action [B, 2]."


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (sequential(3, 2), "raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (sequential(2, 3), "raised ValueError: it puts out [3] numbers; needed: 2"),
        (nn.Linear(2, 2), "raised TypeError: linear(): argument 'input' (position 1) must be Tensor, not dict"),
        (net().double(), "raised RuntimeError: mat1 and mat2 must have the same dtype"),
        (net(move=2), "raised ValueError: of 2 observations it puts out move [2, 2]"),
        (net(action=3), "raised ValueError: of 2 observations it puts out action [2, 3]"),
        (Returns(lambda seen: seen["image"]), "raised KeyError: 'image'"),
        (Returns(lambda seen: seen.mean()), "raised AttributeError: 'dict' object has no attribute 'mean'"),
        (Returns(lambda seen: seen["observation"]), "raised ValueError: it puts out a Tensor"),
        (Returns(lambda seen: {}), "raised ValueError: of 2 observations it puts out nothing"),
        (Returns(lambda seen: {"action": seen["observation"][0]}), "it puts out action [2]"),
        (Returns(lambda seen: {"action": None}), "of 2 observations it puts out action []"),
        (nn.Linear, "raised TypeError: "),
    ],
    ids=shown,
)  # fmt: skip
def test_a_network_that_does_not_fit_is_refused_with_what_is_needed(model: Any, words: str) -> None:
    message = error_of(model)
    assert message.startswith("model 'live_model' of actor 'substep_0' raised ")
    assert words in message
    assert message.endswith(NEEDED)


@pytest.mark.parametrize("made", [None, 5, "a text", CountdownEnv])
def test_a_function_that_makes_no_network_is_refused(made: Any) -> None:
    assert "; it must return a torch.nn.Module." in error_of(lambda space, sizes: made)


def test_a_network_is_checked_as_it_acts_and_left_as_it_was() -> None:
    network = sequential(2, 2, inside=[nn.BatchNorm1d(3), nn.Dropout(0.5)])
    before, randomness = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    build(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), randomness)


def build(model: Any) -> Any:
    """The policy that a live model gets for `CountdownEnv`."""
    live = LiveObjects()
    name, known = live.add("model", model), live.known_to(registry())
    actors = Actors(CountdownEnv.observation_space, CountdownEnv.action_space)
    return build_policy(known, known.get("model", name).config(), actors, Streams(0), CPU)


def error_of(model: Any) -> str:
    with pytest.raises(UserError) as error:
        build(model)
    return str(error.value)


# Callbacks


def test_callbacks_are_instances_and_names() -> None:
    told = Told()
    context = train(callbacks=["jsonl", told])
    assert told.told == ["start", "eval", "final_eval", "end", "close"]
    assert list(settings(context)["callbacks"]) == ["jsonl", "live_callback"]
    assert context.run_dir is not None and len(rows(context.run_dir)) == 3


def test_several_callbacks_of_a_kind_are_all_told() -> None:
    told = [Told(), Told()]
    train(callbacks=told)
    assert told[0].told == told[1].told == ["start", "eval", "final_eval", "end", "close"]


@dataclasses.dataclass
class Counting(Callback):
    """A callback that is a dataclass is no config."""

    epochs: int = 0

    def on_epoch_end(self, report: Any) -> None:
        self.epochs += 1


def test_a_callback_may_be_a_dataclass() -> None:
    counting = Counting()
    train(callbacks=counting)
    assert counting.epochs == 2


@pytest.mark.parametrize("callback", [Told, print, object()])
def test_what_is_no_callback_is_refused(callback: Any) -> None:
    with pytest.raises(UserError, match=r"^callbacks=.* is not allowed: .*, or an instance of maze_core\.Callback\.$"):
        make(callbacks=[callback])


# Runners


class CountingRunner(LocalRunner):
    """Counts what it executes."""

    n_tasks = 0

    def map(self, function: Any, tasks: Any, training: bool = False) -> Any:
        self.n_tasks += len(tasks)
        return super().map(function, tasks, training)


class OwnRunner:
    """Executes in this process, last task first."""

    def __init__(self, config: Any = None) -> None:
        self.given, self.closed = config, 0

    def start(self, workspace: Any, blueprint: Any, probe: Any) -> str:
        self.workspace = workspace
        return "by hand"

    def vector_env(self, num_envs: int, training: bool) -> None:
        return None

    def n_slots(self, training: bool) -> int:
        return 1

    def map(self, function: Any, tasks: Any, training: bool = False) -> list[Any]:
        return [function(self.workspace, task) for task in reversed(tasks)][::-1]

    def close(self) -> None:
        self.closed += 1


def test_a_runner_that_is_given_executes_the_run(plain: torch.Tensor) -> None:
    runner = CountingRunner(LocalRunnerConfig(n_workers=0))
    assert torch.equal(learned(train(runner=runner, overrides={"runner.evaluation.n_episodes": 40})), plain)
    assert runner.n_tasks == 2 * 3 + 1  # slices of two evaluations, and a generation


@pytest.mark.parametrize(
    "runner", [OwnRunner(), OwnRunner, lambda config: OwnRunner(config)], ids=["object", "class", "function"]
)
def test_a_runner_needs_no_base_class(runner: Any, plain: torch.Tensor) -> None:
    told = Told()
    assert torch.equal(learned(train(runner=runner, callbacks=told)), plain)
    assert any("by hand" in note for note in told.notes)


def test_what_makes_a_runner_gets_the_options_of_the_run() -> None:
    made: list[OwnRunner] = []

    def make_runner(config: Any) -> OwnRunner:
        made.append(OwnRunner(config))
        return made[-1]

    with make(runner=make_runner, overrides={"runner.patience": 7}) as context:
        context.evaluate(1)
    assert made[0].given.patience == 7
    assert made[0].closed == 1


def test_the_options_of_a_runner_are_those_of_the_run() -> None:
    runner = CountingRunner(LocalRunnerConfig(patience=7, evaluation=EvaluationConfig(n_episodes=3), raw_errors=True))
    with make(runner=runner, overrides={"runner.max_worker_restarts": 5}) as context:
        record = settings(context)["runner"]
        context.evaluate(1)
    assert (record["patience"], record["raw_errors"], record["max_worker_restarts"]) == (7, True, 5)
    assert (record["evaluation"]["n_episodes"], record["n_workers"]) == (2, 0)  # as the overrides have it
    assert (runner.config.patience, runner.config.n_workers, runner.config.max_worker_restarts) == (7, 0, 5)


@dataclasses.dataclass(kw_only=True)
class FarConfig(RunnerConfig):
    """Options that only one runner has."""

    host: str = "here"


def test_a_runner_may_have_options_of_its_own() -> None:
    runner = CountingRunner(FarConfig(host="there"))  # type: ignore[arg-type]
    assert settings(make(runner=runner))["runner"]["host"] == "there"
    with make(runner=runner, overrides={"runner.host": "elsewhere"}) as context:
        context.evaluate(1)
        assert runner.config.host == "elsewhere"  # type: ignore[attr-defined]


@pytest.mark.parametrize("runner", [CountingRunner(LocalRunnerConfig()), CountingRunner], ids=["object", "class"])
def test_episodes_may_be_run_between_two_trainings(runner: Any) -> None:
    with make(runner=runner) as context, make() as other:
        for each in (context, other):
            each.train(1)
        assert context.rollout(3).statistics == other.rollout(3).statistics
        assert context.rollout(3, policy=Always(1)).episodes == other.rollout(3, policy=Always(1)).episodes
        for each in (context, other):
            each.train(1)
        assert torch.equal(learned(context), learned(other))


def test_a_runner_works_for_one_run_at_a_time() -> None:
    runner = OwnRunner()
    with make(runner=runner) as first, make(runner=runner) as second:
        first.train()
        with pytest.raises(UserError, match=r"^runner=a .*OwnRunner is at work for another run\. Close that one, or"):
            second.train()
    assert runner.closed == 1
    train(runner=runner)
    assert runner.closed == 2


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        (object(), "runner=<object object"),
        (lambda config: object(), "returned a object; it must return a maze_core.Runner, which has the methods start"),
    ],
    ids=["object", "function"],
)
def test_what_is_no_runner_is_refused(runner: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        train(runner=runner)
    assert words in str(error.value)


# Policies


CARTPOLE: dict[str, Any] = {"env": "gym_env"}
BANDIT: dict[str, Any] = {"env": lambda: BanditEnv([1.0, 5.0])}


@dataclasses.dataclass
class Second:
    """A policy that is a dataclass is no config."""

    action: int = 1

    def act(self, turn: Turn) -> Any:
        return np.full(batch_size(turn.observation), self.action)


def second(actors: Actors) -> Always:
    (actor,) = actors.by_key.values()
    return Always(int(actor.action_space.n) - 1)  # type: ignore[attr-defined]


def test_a_policy_acts_in_place_of_what_is_trained() -> None:
    with make(**BANDIT, policy=Always(1)) as context:
        assert context.evaluate(3)["BaseEnvEvents/reward/mean"] == 5.0
        assert [row["return"] for row in context.rollout(3).episodes] == [5.0] * 3
        assert context.compute_action([1.0]) == 1
        assert context.compute_action([[1.0], [1.0]]).tolist() == [1, 1]


@pytest.mark.parametrize("policy", [second, Second()], ids=["function", "dataclass"])
def test_a_policy_is_an_object_or_what_makes_one(policy: Any) -> None:
    with make(**BANDIT, policy=policy) as context:
        assert context.compute_action([1.0]) == 1


def test_a_single_rollout_may_have_another_policy() -> None:
    with make(**BANDIT, policy=Always(1)) as context:
        assert context.rollout(1, policy=Always(0)).statistics["BaseEnvEvents/reward/mean"] == 1.0
        assert context.rollout(1, policy=lambda actors: Always(0)).statistics["BaseEnvEvents/reward/mean"] == 1.0
        assert context.rollout(1, policy="random").episodes[0]["return"] in (1.0, 5.0)
        assert context.rollout(1).statistics["BaseEnvEvents/reward/mean"] == 5.0


def test_a_policy_that_acts_in_the_place_of_another_does_not_change_the_training(plain: torch.Tensor) -> None:
    with make(policy=Always(1)) as context:
        context.evaluate(2)
        context.rollout(2)
        context.train()
    assert torch.equal(learned(context), plain)


def test_the_trained_policy_by_name_plays_the_episodes_of_the_trained_policy() -> None:
    with make(**CARTPOLE, policy="trained") as named, make(**CARTPOLE) as plain:
        for context in (named, plain):
            context.train()
        assert named.evaluate(5) == plain.evaluate(5)
        assert named.rollout(5).episodes == plain.rollout(5).episodes
        for context in (named, plain):
            context.compute_action([0.0] * 4)
            context.train(2)
        batch = np.random.default_rng(0).normal(size=(100, 4))
        assert named.compute_action(batch).tolist() == plain.compute_action(batch).tolist()


class SeededEnv(CountdownEnv):
    """Keeps the seeds of its episodes."""

    seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        return super().reset(seed=seed)


def test_every_policy_is_evaluated_on_the_same_episodes() -> None:
    found = []
    for policy in (None, "trained", "random", Always(1)):
        with make(env=SeededEnv, policy=policy) as context:
            SeededEnv.seeds.clear()
            context.evaluate(3)
            found.append(SeededEnv.seeds.copy())
    assert len(found[0]) == 3
    assert found == [found[0]] * 4


def test_random_actions_come_from_the_root_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        with make(policy="random", seed=seed) as context:
            found.append([int(context.compute_action([0, 5])) for _ in range(20)])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("policy", ["random", Always(1)])
def test_only_actions_of_a_trained_policy_can_be_drawn(policy: Any) -> None:
    with make(policy=policy) as context:
        for use in (
            lambda: context.rollout(1, deterministic=False),
            lambda: context.compute_action([0, 5], deterministic=False),
        ):
            with pytest.raises(
                UserError, match=r"^deterministic=False is for trained policies; policy=\w+ decides as it"
            ):
                use()


def test_drawn_actions_are_not_always_the_most_probable_ones() -> None:
    with make(**CARTPOLE) as context:
        drawn = context.compute_action(np.zeros((100, 4)), deterministic=False)
        assert set(drawn.tolist()) == {0, 1}
        assert context.rollout(5, deterministic=False).episodes != context.rollout(5).episodes


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (lambda observation: int(observation[0] > 0), "policy 'live_policy' raised TypeError when it was built"),
        (lambda observation: 0, "int has no method act"),
        (Always(np.array([1, 2])), "policy 'live_policy' cannot act as actor 'substep_0'"),  # type: ignore[arg-type]
    ],
    ids=["function of observations", "number", "shape"],
)
def test_what_is_no_policy_is_refused_when_it_acts(policy: Any, words: str) -> None:
    with make(policy=policy) as context, pytest.raises(PluginError) as error:
        context.evaluate(2)
    assert words in str(error.value)


def test_a_policy_that_is_neither_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"^policy=3\.5 is not allowed: .*, or an object with a method act\.$"):
        make(policy=3.5)
    with pytest.raises(UserError, match=r"^no policy named 'tained'\. Did you mean 'trained'\?"):
        make(policy="tained")


# What is recorded


def test_the_record_says_what_was_given_and_that_it_is_needed_again() -> None:
    told = Told()
    context = train(env=CountdownEnv, wrappers=["reward_scaling", doubled], model=net(), callbacks=[told],
                    policy=Always(1), run_dir="run")  # fmt: skip
    record = yaml.safe_load(Path("run/config.yaml").read_text())
    assert record["env"] == {"object": "support.envs.CountdownEnv"}
    assert record["wrappers"]["live_wrapper"]["object"].endswith(".doubled")
    assert record["model"]["object"].endswith(".Net")
    command = Path("run/command.txt").read_text()
    assert command.startswith("maze train env=live_env wrappers=reward_scaling,live_wrapper model=live_model")
    assert command.endswith("  # with live objects, from Python only\n")
    assert told.notes[0].startswith("Live objects, which going on with this run needs again: live_env (support.envs.Co")
    assert context.resume_command == "RunContext.resume('run', env=..., wrappers=..., model=..., callbacks=...)"


def test_a_run_whose_policy_alone_is_live_can_be_repeated_on_the_command_line() -> None:
    context = train(env="gym_env", policy=Always(1), run_dir="run")
    assert "live" not in Path("run/command.txt").read_text()
    assert context.resume_command == "maze resume run"


def test_nothing_that_could_be_executed_is_recorded(workdir: Path) -> None:
    train(env=lambda: CountdownEnv(), model=net(), run_dir="run")
    kinds = {path.suffix for path in (workdir / "run").rglob("*") if path.is_file()}
    assert kinds <= {".yaml", ".txt", ".json", ".pt", ".png", ".svg", ".safetensors", ".lock", ""}


# Going on


def counting_down() -> CountdownEnv:
    return CountdownEnv()


def live_arguments(algorithm: str) -> dict[str, Any]:
    """Objects of every kind, made anew."""
    critic = {} if algorithm == "es" else {"critic": {"shared": {"model": net(value=1)}}}
    wrappers = [RewardScalingConfig(scale=2), doubled]
    return {
        "env": counting_down,
        "wrappers": wrappers,
        "model": net(),
        "callbacks": ["jsonl", "tensorboard", Told()],
    } | critic


@pytest.mark.parametrize("algorithm", SMALL)
def test_a_run_goes_on_with_its_objects_as_if_nothing_had_happened(algorithm: str, workdir: Path) -> None:
    whole = Recipe(algorithm, groups=live_arguments(algorithm)).train(workdir / "whole")
    copy = cut_off(whole, workdir / "copy", after=2)
    with RunContext.resume(copy, silent=True, **live_arguments(algorithm)) as context:
        context.train()
    assert differing(result(whole), result(copy)) == []


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch with objects of every kind."""
    directory = tmp_path_factory.mktemp("stored") / "run"
    critic = {"critic": {"shared": {"model": net(value=1)}}}
    arguments = {**live_arguments("es"), **critic, "runner": CountingRunner(LocalRunnerConfig(n_workers=0))}
    train("ppo", run_dir=directory, **arguments)
    return directory


@pytest.fixture
def run(stored: Path, workdir: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(stored, workdir / "run")).relative_to(workdir)


GIVEN = "env=..., wrappers=..., model=..., critic=..., runner=..., callbacks=..."


def test_a_run_that_was_given_objects_does_not_go_on_without_them(run: Path) -> None:
    words = f"run was given objects by a Python program, and needs them again: RunContext.resume('run', {GIVEN})"
    with pytest.raises(UserError) as error:
        RunContext.resume(run)
    assert str(error.value) == words
    ended = run_cli("resume", "run")
    assert (ended.exit_code, ended.stderr) == (2, f"maze: {words}\n")


def test_objects_that_are_missing_are_named(run: Path) -> None:
    arguments = {**live_arguments("ppo"), "runner": CountingRunner}
    del arguments["env"]
    with pytest.raises(UserError, match=r"needs them again: RunContext\.resume\('run', env=\.\.\.\)$"):
        RunContext.resume(run, **arguments)


def resumed(run: Path, **more: Any) -> RunContext:
    arguments = {**live_arguments("ppo"), "runner": CountingRunner(LocalRunnerConfig(n_workers=0)), **more}
    return RunContext.resume(run, overrides={"runner.n_epochs": 2}, silent=True, **arguments)


def test_a_run_goes_on_with_objects_of_every_kind(run: Path) -> None:
    with resumed(run) as context:
        assert context.train().stop_reason == "2 epochs done"
    command = (run / "command.txt").read_text().splitlines()[-1]
    assert command.startswith("maze resume run runner.n_epochs=2")
    assert command.endswith("# with live objects, from Python only")


def test_callbacks_of_a_run_that_goes_on_may_be_new(run: Path) -> None:
    more = Told()
    with resumed(run, callbacks=["jsonl", Told(), more]) as context:
        context.train()
        assert list(settings(context)["callbacks"]) == ["jsonl", "tensorboard", "live_callback", "live_callback_2"]
    assert more.told == ["start", "eval", "final_eval", "end", "close"]


def test_callbacks_of_a_run_that_goes_on_may_be_left_out(workdir: Path) -> None:
    train(env="gym_env", callbacks=["jsonl", Told()], run_dir="run")
    assert run_cli("resume", "run", "runner.n_epochs=2").exit_code == 2
    ended = run_cli("resume", "run", "runner.n_epochs=2", "callbacks=jsonl")
    assert ended.exit_code == 0, ended.stderr
    assert run_cli("resume", "run", "runner.n_epochs=3").exit_code == 0


def test_a_policy_may_act_in_place_of_that_of_a_run_that_goes_on(run: Path) -> None:
    with resumed(run, policy=Always(1)) as context:
        assert context.compute_action([0, 5]) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"wrappers": [doubled, increased]},
            "run was not given wrappers=test_live_objects.increased, and cannot use it.",
        ),
        ({"envv": counting_down}, "there is no argument 'envv'; live objects are given for env, wrappers, model"),
        ({"env": CountdownEnv()}, "is one env, and several are needed"),
        ({"model": 5}, "model=5 is not allowed"),
    ],
    ids=shown,
)
def test_what_a_run_was_not_given_is_refused_when_it_goes_on(more: dict[str, Any], words: str, run: Path) -> None:
    with pytest.raises(UserError) as error:
        resumed(run, **more)
    assert words.replace("test_live_objects", __name__) in str(error.value)


# Using what was trained


def test_a_rollout_of_a_run_with_live_objects_says_what_it_needs(run: Path) -> None:
    words = "run was given objects by a Python program, and needs them again: rollout('run', env=..., wrappers=..., "
    ended = run_cli("rollout", "--run", "run")
    assert (ended.exit_code, ended.stderr[: len(words) + 6]) == (2, f"maze: {words}")
    with pytest.raises(UserError, match=r"rollout\('run', env=\.\.\., wrappers=\.\.\., model=\.\.\., critic=\.\.\.\)$"):
        maze_core.rollout(input_dir=run, silent=True, save=False)


def test_a_rollout_of_a_run_takes_its_objects(run: Path) -> None:
    arguments = live_arguments("ppo")
    del arguments["callbacks"]
    found = maze_core.rollout(input_dir=run, n_episodes=2, save=False, silent=True, seed=1, **arguments)
    with resumed(run) as context:
        assert context.rollout(episode_seeds=[row["seed"] for row in found.episodes]).episodes == found.episodes


def test_what_replaces_a_live_object_in_a_rollout_needs_none(workdir: Path) -> None:
    train(env=cartpole, callbacks=[Told()], run_dir="run")
    ended = run_cli("rollout", "--run", "run", "env=gym_env", "n_episodes=1", "run_dir=out")
    assert ended.exit_code == 0, ended.stderr
    assert (workdir / "out").is_dir()


def test_an_export_needs_the_network_only(run: Path) -> None:
    ended = run_cli("export", "run")
    assert ended.exit_code == 2
    assert ended.stderr.endswith("needs them again: export('run', model=...)\n")
    path = maze_core.export(run, "policy.safetensors", model=net())
    policy = maze_core.load_policy(path, model=net())
    with resumed(run) as context:
        assert policy.compute_action([[0, 5], [3, 5]]).tolist() == context.compute_action([[0, 5], [3, 5]]).tolist()


def test_a_policy_with_a_network_of_a_plugin_is_exported_without_any_object(workdir: Path) -> None:
    train(env=CountdownEnv, wrappers=doubled, callbacks=[Told()], run_dir="run")
    ended = run_cli("export", "run")
    assert ended.exit_code == 0, ended.stderr
    assert maze_core.load_policy("policy.safetensors").compute_action([0, 5]) in (0, 1)


def test_runs_with_live_objects_are_listed(run: Path) -> None:
    ended = run_cli("runs", ".")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "run  finished" in ended.stdout


EVIL = "from pathlib import Path\nPath('executed').touch()\n\ndef make(*arguments):\n    return None\n"


@pytest.mark.parametrize("command", [["resume", "run"], ["rollout", "--run", "run"], ["export", "run"], ["runs", "."],
                                     ["rollout", "--run", "run", "env=gym_env", "wrappers=[]"]], ids=shown)  # fmt: skip
def test_a_run_directory_that_names_live_objects_executes_nothing(command: list[str], run: Path, workdir: Path) -> None:
    (workdir / "evil.py").write_text(EVIL)
    (run / "evil.py").write_text(EVIL)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for group in ("env", "model", "runner"):
        config[group]["object"] = "evil.make"
    config["runner"] |= {"__init__": "evil.make", "class": 1, "a-b": 2, "__post_init__": 3}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    ended = run_cli(*command)
    assert ended.exit_code in ((0,) if command[0] == "runs" else (2, 6))
    assert "Traceback" not in ended.stderr
    assert not (workdir / "executed").exists()


@pytest.mark.parametrize(
    "components", [5, [1], {"env": 5}, {"env": "live_"}, {"env": "live_x", 3: "live_y"}, None], ids=shown
)
def test_a_damaged_list_of_components_is_a_sentence(components: Any, run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["components"] = components
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for command in (["rollout", "--run", "run"], ["export", "run"]):
        ended = run_cli(*command)
        assert ended.exit_code in (2, 6)
        assert ended.stderr.startswith("maze: ")


def test_the_recorded_command_of_a_run_with_live_objects_ends_in_a_sentence() -> None:
    ended = run_cli("train", "env=live_env")
    assert ended.exit_code == 2
    assert "It stands for an object that a Python program gives: env=..." in ended.stderr


# Workers


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[] if name == "ppo" else [pytest.mark.long]) for name in SMALL]
)
@pytest.mark.workers
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("no_worker_is_left")
def test_live_objects_learn_the_same_bits_in_workers(algorithm: str) -> None:
    found, episodes = [], []
    for n_workers in (0, 2):
        arguments = {**live_arguments(algorithm), "callbacks": [], "overrides": {"runner.n_workers": n_workers}}
        with make(algorithm, **arguments) as context:
            context.train()
            found.append(learned(context))
            episodes.append(context.rollout(3, policy=Second()).episodes)
    assert torch.equal(*found)
    assert episodes[0] == episodes[1]


class Locked:
    """An env factory that cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self) -> CountdownEnv:
        return CountdownEnv()


class Fragile:
    """An env factory whose copy cannot be made."""

    def __call__(self) -> CountdownEnv:
        return CountdownEnv()

    def __reduce__(self) -> Any:
        return int, ("not a number",)


def test_an_object_that_cannot_be_copied_does_not_reach_workers_and_is_named() -> None:
    with (
        make(env=Locked(), model=net(), overrides={"runner.n_workers": 2}) as context,
        pytest.raises(
            UserError, match=r"^live_env \(a .*Locked, a live object\) cannot be sent to workers: cannot pickle"
        ),
    ):
        context.train()
    train(env=Locked())


@pytest.mark.workers
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("no_worker_is_left")
def test_an_object_that_workers_cannot_make_again_ends_in_a_sentence() -> None:
    with (
        make(env=Fragile(), overrides={"runner.n_workers": 1}) as context,
        pytest.raises(UserError, match=r"workers cannot take over a live object: ValueError: .*runner\.n_workers=0"),
    ):
        context.train()
