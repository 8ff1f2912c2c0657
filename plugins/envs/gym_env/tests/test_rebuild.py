"""An episode depends on its seed and actions only, for envs that do not see to it themselves."""

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import error
from gymnasium.spaces import Box, Discrete
from maze_gym_env.cartpole import SeededCartPoleVectorEnv
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_env, make_native_vector_env
from maze_gym_env.rebuild import LEAKING_ENVS, RebuiltEnv, leaks

from maze_core import EnvFaultError, UserError
from maze_core.config import ConfigRequest, configure
from maze_core.config.overrides import items_of_mapping, read_items
from maze_core.plugins import PluginSources, load_plugins
from maze_core.registry import Registry
from maze_core.rl import InProcessVectorEnv, reset_envs

BIPEDAL = "BipedalWalker-v3"
N_EARLIER, SEEDS = 4, range(12)
VARIANTS = [
    ("LunarLander-v3", {"enable_wind": True}),
    ("CarRacing-v3", {"domain_randomize": True}),
    ("CarRacing-v3", {"continuous": False}),
    ("Taxi-v4", {"is_rainy": True, "fickle_passenger": True}),
    ("FrozenLake-v1", {"is_slippery": False}),
    ("Blackjack-v1", {"natural": True}),
]


class Counting(gymnasium.Env):
    """An env whose observations count the steps of its whole life, or only those of the episode."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 30}
    observation_space, action_space = Box(0, np.inf, (1,)), Discrete(2)
    open_envs = 0

    def __init__(self, leaking=True, render_mode=None):
        self.leaking, self.render_mode, self.count = leaking, render_mode, 0
        self.is_open = True
        Counting.open_envs += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = self.count if self.leaking else 0
        return self.observed(), {"options": options}

    def step(self, action):
        self.count += 1
        return self.observed(), float(self.np_random.random()), False, False, {}

    def observed(self):
        return np.array([self.count], np.float32)

    def render(self):
        return np.full((2, 2, 3), self.count, np.uint8)

    def close(self):
        Counting.open_envs -= self.is_open
        self.is_open = False


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    """Registers `Counting`."""
    monkeypatch.setattr(Counting, "open_envs", 0)
    spec = gymnasium.envs.registration.EnvSpec("MazeTestCounting-v0", Counting, max_episode_steps=5)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)


def counting_env(rebuild=True, **kwargs):
    return make_env(GymEnvConfig(name="MazeTestCounting-v0", kwargs=kwargs, rebuild_each_episode=rebuild))


def built(name, kwargs, rebuild):
    try:
        return make_env(GymEnvConfig(name=name, kwargs=kwargs, rebuild_each_episode=rebuild))
    except UserError as problem:
        if isinstance(problem.__cause__, (ImportError, error.DependencyNotInstalled)):
            pytest.skip(f"{name} is not installed")
        raise


def bits(value):
    """What can be compared bit for bit."""
    if isinstance(value, dict):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [bits(entry) for entry in value]
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


def episode(env, seed, n_steps):
    """Observation, reward and flags of all steps under random actions."""
    env.action_space.seed(seed)
    yield bits(env.reset(seed=seed)[0])
    for _ in range(n_steps):
        step = env.step(env.action_space.sample())
        yield bits(tuple(step[:4]))
        if step[2] or step[3]:
            return


def depends_on_earlier_episodes(name, kwargs, n_steps, rebuild=False):
    """True if a used env and a fresh one ever differ after a reset with the same seed."""
    used = built(name, kwargs, rebuild)
    for seed in range(1000, 1000 + N_EARLIER):
        list(episode(used, seed, n_steps))
    differ = False
    for seed in SEEDS:
        fresh = built(name, kwargs, False)
        differ |= list(episode(used, seed, n_steps)) != list(episode(fresh, seed, n_steps))
        fresh.close()
    used.close()
    return differ


def n_steps_of(name):
    return 10 if name.startswith("CarRacing") else 100  # it draws every observation


ALL_ENVS = [(name, {}) for name in sorted(gymnasium.registry)] + VARIANTS


@pytest.mark.parametrize(("name", "kwargs"), ALL_ENVS)
def test_the_list_of_leaking_envs_has_those_that_leak_and_no_others(name, kwargs):
    listed = leaks(built(name, kwargs, False))
    assert depends_on_earlier_episodes(name, kwargs, n_steps_of(name)) == listed


@pytest.mark.long
@pytest.mark.parametrize(("name", "kwargs"), ALL_ENVS)
def test_the_list_is_right_for_long_episodes_too(name, kwargs):
    listed = leaks(built(name, kwargs, False))
    assert depends_on_earlier_episodes(name, kwargs, 10 * n_steps_of(name)) == listed


@pytest.mark.parametrize("entry", sorted(LEAKING_ENVS))
def test_every_entry_of_the_list_is_a_class_that_some_id_uses(entry):
    module, _, name = entry.partition(":")
    package = pytest.importorskip(module)
    assert issubclass(getattr(package, name), gymnasium.Env)
    assert entry in {spec.entry_point for spec in gymnasium.registry.values()}


@pytest.mark.parametrize("leaking", [True, False])
def test_the_comparison_itself_tells_an_env_that_leaks_from_one_that_does_not(leaking):
    assert depends_on_earlier_episodes("MazeTestCounting-v0", {"leaking": leaking}, 5) == leaking


@pytest.mark.parametrize("name", [BIPEDAL, "BipedalWalkerHardcore-v3"])
def test_by_default_an_env_that_is_known_to_leak_is_rebuilt_and_leaks_no_more(name):
    assert isinstance(built(name, {}, None), RebuiltEnv)
    assert not depends_on_earlier_episodes(name, {}, 100, rebuild=None)


def test_an_env_that_is_known_to_leak_is_known_under_other_names_and_as_a_base_class_too(monkeypatch):
    box2d = pytest.importorskip("gymnasium.envs.box2d.bipedal_walker")
    mine = type("Mine", (box2d.BipedalWalker,), {})
    for entry_point in ("gymnasium.envs.box2d:BipedalWalker", mine):
        spec = gymnasium.envs.registration.EnvSpec("MazeTestWalker-v0", entry_point)
        monkeypatch.setitem(gymnasium.registry, spec.id, spec)
        assert isinstance(make_env(GymEnvConfig(name=spec.id)), RebuiltEnv)


def test_envs_of_one_batch_that_are_rebuilt_give_the_episodes_of_fresh_ones():
    config = GymEnvConfig(name=BIPEDAL)
    built(BIPEDAL, {}, None).close()
    vector, rows = InProcessVectorEnv(lambda: make_env(config), 2), np.arange(2)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 2, 4)).astype(np.float32)

    def played(seeds):
        return [reset_envs(vector, rows, seeds).copy()] + [vector.step(action)[0].copy() for action in actions]

    first = played([7, 8])
    played([9, 10])
    np.testing.assert_array_equal(played([7, 8]), first)


def test_false_builds_the_env_once():
    assert not isinstance(built(BIPEDAL, {}, False), RebuiltEnv)


def test_true_rebuilds_any_env():
    assert not depends_on_earlier_episodes("MazeTestCounting-v0", {"leaking": True}, 5, rebuild=True)


def test_by_default_other_envs_are_built_once():
    assert not isinstance(counting_env(rebuild=None), RebuiltEnv)


# What a wrapper of Gymnasium offers


def test_the_first_reset_takes_the_env_that_is_there_and_each_further_one_closes_it_for_another():
    env = counting_env()
    seen = []
    for seed in range(3):
        env.reset(seed=seed)
        seen.append(env.unwrapped)
        assert Counting.open_envs == 1
    assert len({id(inner) for inner in seen}) == 3
    assert [inner.is_open for inner in seen] == [False, False, True]
    env.close()
    assert Counting.open_envs == 0


def test_its_spec_is_that_of_the_env_and_makes_one():
    env = counting_env(leaking=False)
    env.reset(seed=0)
    env.reset(seed=0)
    assert (env.spec.id, env.spec.max_episode_steps) == ("MazeTestCounting-v0", 5)
    assert gymnasium.make(env.spec, disable_env_checker=True).unwrapped.leaking is False


def test_arguments_options_and_render_mode_reach_every_env():
    env = counting_env(leaking=False, render_mode="rgb_array")
    for _ in range(2):
        assert env.reset(seed=0, options={"a": 1})[1] == {"options": {"a": 1}}
        env.step(0)
        assert env.unwrapped.leaking is False
        assert env.render_mode == "rgb_array"
        np.testing.assert_array_equal(env.render(), np.ones((2, 2, 3)))


def test_without_a_seed_the_generator_goes_on():
    plain, rebuilt = counting_env(rebuild=False), counting_env()
    rewards = []
    for env in (plain, rebuilt):
        env.reset(seed=5)
        drawn = []
        for _ in range(3):
            drawn += [env.step(0)[1] for _ in range(2)]
            env.reset()
            assert env.np_random_seed == 5
        rewards.append(drawn)
    assert rewards[0] == rewards[1]


def test_a_generator_that_is_set_is_used():
    env = counting_env()
    env.reset(seed=5)
    env.np_random = np.random.default_rng(3)
    assert env.step(0)[1] == np.random.default_rng(3).random()


def test_a_seeded_action_space_stays_the_same_over_episodes():
    drawn = []
    for rebuild in (False, True):
        env = counting_env(rebuild=rebuild)
        env.action_space.seed(1)
        samples = []
        for seed in range(4):
            env.reset(seed=seed)
            samples += [env.action_space.sample() for _ in range(4)]
        drawn.append(samples)
    assert drawn[0] == drawn[1]


def test_an_episode_is_truncated_where_it_would_be():
    env = counting_env()
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]


def test_an_env_that_cannot_be_built_again_is_a_fault_of_the_env(monkeypatch):
    env = counting_env()
    env.reset(seed=0)

    def broken(*_, **__):
        raise ValueError("the lamp is broken")

    monkeypatch.setattr(Counting, "__init__", broken)
    with pytest.raises(EnvFaultError, match="raised ValueError in its constructor: the lamp is broken"):
        env.reset(seed=1)


@pytest.mark.parametrize("rebuild", [None, True, False])
def test_the_native_cartpole_is_used_whatever_is_chosen_because_it_does_not_leak(rebuild):
    config = GymEnvConfig(rebuild_each_episode=rebuild)
    assert isinstance(make_native_vector_env(config, 2), SeededCartPoleVectorEnv)


# How it is chosen


def configured(items, **request):
    return configure(Registry(load_plugins(PluginSources())), ConfigRequest(items=items, **request))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("null", None)])
def test_it_is_chosen_on_the_command_line_in_yaml_and_in_python_and_its_record_reads_back(tmp_path, text, value):
    (tmp_path / "experiment").mkdir()
    preset = f"# @package _global_\nenv:\n  rebuild_each_episode: {text}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(preset)
    line = f"env.rebuild_each_episode={text}"
    results = [
        configured(read_items([line])),
        configured(items_of_mapping({"env.rebuild_each_episode": value})),
        configured(read_items(["+experiment=mine"]), config_dirs=[tmp_path]),
    ]
    for result in results:
        assert result.config.env == GymEnvConfig(rebuild_each_episode=value)
        recorded = yaml.safe_load(result.to_yaml())["env"]
        assert recorded["rebuild_each_episode"] is value
        assert GymEnvConfig(**recorded) == result.config.env


def test_another_value_is_refused_with_those_that_are_allowed():
    with pytest.raises(UserError) as caught:
        configured(read_items(["env.rebuild_each_episode=sometimes"]))
    assert str(caught.value) == ("env.rebuild_each_episode=sometimes is not allowed: it must be null or true or false.")
