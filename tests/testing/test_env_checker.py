"""What the env checker finds, and that it finds nothing where there is nothing."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import NormalizeReward, TimeAwareObservation, TimeLimit
from support.envs import PICK, CountdownEnv, IdentityEnv, MaskedEnv, TwoStepEnv

from maze_core import EnvFaultError, UserError
from maze_core.testing import check_env

SEEN = spaces.Box(0, 1, (2,), np.float32)


class Env(gymnasium.Env):
    """Keeps the contract, but for what a test replaces in what it returns; episodes have three steps."""

    observation_space, action_space = SEEN, spaces.Discrete(2)

    def __init__(self, **replaced):
        self.replaced = replaced

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.steps += 1
        returned = {
            "observation": self.seen(), "reward": 0.5, "terminated": self.steps == 3, "truncated": False, "info": {},
        }  # fmt: skip
        return tuple((returned | self.replaced).values())

    def seen(self):
        return self.np_random.random(2, np.float32)


@pytest.mark.parametrize("env", [Env(), CountdownEnv(), MaskedEnv(), IdentityEnv(spaces.MultiDiscrete([2, 3]))])
def test_flat_envs_that_keep_the_contract_pass(env):
    check_env(env)


@pytest.mark.parametrize("options", [{}, {"varied": True}, {"uneven": True}])
def test_structured_envs_that_keep_the_contract_pass(options):
    check_env(TwoStepEnv(**options))


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"observation": np.full(2, 2, np.float32)}, r"observation does not lie in its space.*array\(\[2\., 2\.\]"),
        ({"observation": np.zeros(3, np.float32)}, r"of shape \(3,\)"),
        ({"observation": np.zeros(2)}, "type float64"),
        ({"reward": np.nan}, "the reward is nan; it must be a finite number"),
        ({"reward": np.zeros(1)}, "the reward is array"),
        ({"reward": None}, "the reward is None"),
        ({"terminated": 1}, "terminated is 1; it must be True or False"),
        ({"truncated": None}, "truncated is None; it must be True or False"),
        ({"more": 1}, "step must return"),
    ],
)
def test_what_a_step_returns_wrongly_is_told_with_its_place(replaced, message):
    with pytest.raises(EnvFaultError, match=rf"(?s){message}.*in env step 0 of the episode with seed 5"):
        check_env(Env(**replaced), seed=5)


def test_what_an_env_raises_is_told_with_its_place():
    env = Env()
    env.step = lambda action: 1 / 0
    with pytest.raises(
        EnvFaultError, match=r"<lambda> raised ZeroDivisionError.*in env step 0 of the episode with seed 0"
    ):
        check_env(env)


def test_observations_must_be_finite_and_masks_whole_numbers():
    env = Env(observation=np.full(2, np.inf, np.float32))
    env.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(EnvFaultError, match=r"observation\.observation is not finite"):
        check_env(env)
    masked = MaskedEnv()
    seen = masked._observation
    masked._observation = lambda: {**seen(), "action_mask": masked.allowed.astype(np.float32)}
    with pytest.raises(EnvFaultError, match=r"observation\.action_mask does not lie in its space.*type float32"):
        check_env(masked)


def test_observations_that_no_network_can_read_are_refused():
    env = Env()
    env.observation_space = spaces.Text(3)
    with pytest.raises(UserError, match="cannot be fed to a network"):
        check_env(env)


def test_reset_must_return_an_observation_and_an_info():
    env = Env()
    env.reset = lambda seed=None: np.zeros(2, np.float32)
    with pytest.raises(EnvFaultError, match="reset must return"):
        check_env(env)


def test_a_seed_must_give_the_same_episode_again():
    env, generator = Env(), np.random.default_rng(0)
    env.seen = lambda: generator.random(2, np.float32)
    with pytest.raises(EnvFaultError, match=r"another observation in env step 0.*self.np_random"):
        check_env(env)


def test_an_episode_must_end_where_it_ended_before():
    env = Env()
    seen, lengths = env.seen, iter(range(2, 100))

    def reset(seed=None):
        Env.reset(env, seed=seed)
        env.steps = 3 - next(lengths)
        return seen(), {}

    env.reset = reset
    with pytest.raises(EnvFaultError, match="another terminated in env step"):
        check_env(env, n_env_steps=2)


def test_a_mask_that_allows_nothing_is_told_with_env_step_and_seed():
    with pytest.raises(EnvFaultError, match="allows nothing, in env step 4 of the episode with seed 9"):
        check_env(MaskedEnv(empty_at=4), seed=9)


def test_a_mask_of_another_shape_is_told_with_its_actor():
    env = TwoStepEnv()
    turn_of = env.turn_of

    def broken(step_key, observation, **options):
        if step_key == PICK:
            observation["action_mask"] = np.ones(3, np.int8)
        return turn_of(step_key, observation, **options)

    env.turn_of = broken
    with pytest.raises(EnvFaultError, match=r"observation.pick.action_mask does not lie in its space MultiBinary\(4\)"):
        check_env(env)


def test_parts_that_are_missing_are_named():
    env = TwoStepEnv()
    turn_of = env.turn_of
    env.turn_of = lambda *args, **options: {k: v for k, v in turn_of(*args, **options).items() if k != PICK}
    with pytest.raises(EnvFaultError, match=r"has the keys actor, agent, new_step, place and needs .*pick"):
        check_env(env)


def test_an_episode_begins_with_an_env_step():
    env = TwoStepEnv()
    turn_of = env.turn_of
    env.turn_of = lambda *args, new_step: turn_of(*args, new_step=False)
    with pytest.raises(EnvFaultError, match="the first observation of an episode has new_step=0"):
        check_env(env)


def test_env_steps_must_end():
    class Endless(TwoStepEnv):
        def step(self, action):
            return self.turn_of("place", np.zeros(1, np.float32), new_step=False), 0.0, False, False, {}

    with pytest.raises(EnvFaultError, match=r"no env step began within .* after actor 'place' acted"):
        check_env(Endless())


@pytest.mark.parametrize(
    ("wrapper", "instead"),
    [
        (lambda env: TimeLimit(env, 3), "TimeLimit.*wrappers=time_limit"),
        (NormalizeReward, "NormalizeReward.*wrappers=return_normalization"),
        (lambda env: TimeAwareObservation(TimeLimit(env, 3)), "TimeAwareObservation.*own observation"),
    ],
)
def test_wrappers_that_count_sub_steps_are_refused_with_what_to_do_instead(wrapper, instead):
    with pytest.raises(UserError, match=f"'TwoStepEnv' is structured, and Gymnasium's {instead}"):
        check_env(wrapper(TwoStepEnv()))


def test_a_space_without_a_distribution_is_refused():
    env = Env()
    env.action_space = spaces.Text(3)
    with pytest.raises(UserError, match="no action distribution"):
        check_env(env)
