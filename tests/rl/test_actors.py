"""Whose turn it is, and which action goes where."""

import itertools

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st
from support.envs import PICK, PLACE, MaskedEnv, TwoStepEnv, best_pick
from support.spaces import any_space, sample_batch

from maze_core import EnvFaultError, UserError
from maze_core.rl import FLAT, Actors, InProcessVectorEnv, StructuredEnv, Turn, run_episodes
from maze_core.rl.spaces import unbatch

STRUCTURED = TwoStepEnv()


def actors_of(env):
    return Actors(env.observation_space, env.action_space)


def structured_batch(*acting):
    """Observations of `TwoStepEnv`s in which the actors with these indices act; row i sees i/10."""
    count = len(acting)
    numbers = np.arange(count, dtype=np.float32) / 10
    return {
        "actor": np.array(acting),
        "agent": np.zeros(count, np.int64),
        "new_step": np.array([index == 0 for index in acting], np.int64),
        PICK: {"values": numbers[:, None].repeat(4, axis=1), "action_mask": np.ones((count, 4), np.int8)},
        PLACE: numbers[:, None],
    }


def all_live(count):
    return np.ones(count, bool)


def test_a_flat_env_is_the_case_with_one_actor():
    actors = Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    assert actors.step_keys == (FLAT,)
    assert not actors.structured
    assert actors.by_key[FLAT].heads.output_sizes == {"action": 2}


def test_a_flat_env_is_always_at_the_beginning_of_an_env_step():
    assert Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)).step_begins(np.zeros((4, 3))) is None


def test_a_flat_batch_is_one_turn_with_all_observations_uncopied():
    observation = np.zeros((4, 3), np.float32)
    (turn,) = Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)).turns(observation, None, all_live(4))
    assert (turn.step_key, turn.rows) == (FLAT, None)
    assert turn.observation is observation


def test_a_flat_turn_holds_the_chosen_rows_only():
    observation = np.arange(4, dtype=np.float32)[:, None]
    (turn,) = Actors(spaces.Box(0, 9, (1,)), spaces.Discrete(2)).turns(observation, np.array([3, 1]), all_live(4))
    np.testing.assert_array_equal(turn.observation, [[3], [1]])


def test_a_dict_env_whose_keys_are_not_those_of_a_structured_env_is_flat():
    observation_space = spaces.Dict({"actor": spaces.Discrete(2), "x": spaces.Box(0, 1, (1,))})
    assert not Actors(observation_space, spaces.Dict({"x": spaces.Discrete(2)})).structured


def test_the_actors_of_a_structured_env_have_the_spaces_of_their_step_keys():
    actors = actors_of(STRUCTURED)
    assert actors.step_keys == (PICK, PLACE)
    assert actors.by_key[PICK].action_space == spaces.Discrete(4)
    assert actors.by_key[PLACE].observation_space == spaces.Box(-1, 1, (1,))


def test_in_lock_step_there_is_one_turn_for_all_rows():
    (turn,) = actors_of(STRUCTURED).turns(structured_batch(1, 1, 1), None, all_live(3))
    assert (turn.step_key, turn.rows) == (PLACE, None)
    np.testing.assert_array_equal(turn.observation[:, 0], np.float32([0, 0.1, 0.2]))


def test_envs_in_different_sub_steps_are_split_by_actor():
    first, second = actors_of(STRUCTURED).turns(structured_batch(1, 0, 1, 0), None, all_live(4))
    assert (first.step_key, first.rows.tolist()) == (PICK, [1, 3])
    assert (second.step_key, second.rows.tolist()) == (PLACE, [0, 2])
    np.testing.assert_array_equal(first.observation["values"][:, 0], np.float32([0.1, 0.3]))
    np.testing.assert_array_equal(second.observation[:, 0], np.float32([0, 0.2]))


def test_rows_that_are_left_out_appear_in_no_turn():
    turns = actors_of(STRUCTURED).turns(structured_batch(1, 0, 1, 0), np.array([0, 3]), all_live(4))
    assert {turn.step_key: turn.rows.tolist() for turn in turns} == {PICK: [3], PLACE: [0]}


def test_chosen_rows_that_agree_are_one_turn():
    (turn,) = actors_of(STRUCTURED).turns(structured_batch(1, 0, 1, 0), np.array([1, 3]), all_live(4))
    assert (turn.step_key, turn.rows.tolist()) == (PICK, [1, 3])


def test_step_begins_where_the_env_says_so():
    assert actors_of(STRUCTURED).step_begins(structured_batch(0, 1, 0)).tolist() == [True, False, True]


@pytest.mark.parametrize("rows", [None, np.array([2, 1])])
def test_an_empty_mask_of_a_live_env_is_an_error_naming_actor_and_env(rows):
    batch = structured_batch(0, 0, 0)
    batch[PICK]["action_mask"][1] = 0
    with pytest.raises(EnvFaultError, match=r"actor 'pick' .*allows nothing") as error:
        actors_of(STRUCTURED).turns(batch, rows, all_live(3))
    assert error.value.env == 1


def test_the_mask_of_an_idle_env_is_not_checked():
    batch = structured_batch(0, 0, 0)
    batch[PICK]["action_mask"][1] = 0
    (turn,) = actors_of(STRUCTURED).turns(batch, None, np.array([True, False, True]))
    assert turn.step_key == PICK


def test_the_mask_of_an_actor_that_does_not_act_is_not_checked():
    batch = structured_batch(0, 1)
    batch[PICK]["action_mask"][1] = 0
    assert len(actors_of(STRUCTURED).turns(batch, None, all_live(2))) == 2


def test_an_empty_mask_of_a_flat_env_is_an_error_naming_head_and_env():
    space = spaces.Dict({"x": spaces.Box(0, 1, (1,)), "action_mask": spaces.Dict({"b": spaces.MultiBinary(2)})})
    actors = Actors(space, spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)}))
    batch = {"x": np.zeros((3, 1), np.float32), "action_mask": {"b": np.array([[1, 0], [0, 1], [0, 0]], np.int8)}}
    with pytest.raises(EnvFaultError, match=r"'substep_0' for 'b' allows nothing") as error:
        actors.turns(batch, None, all_live(3))
    assert error.value.env == 2


def test_actions_of_a_flat_lock_step_turn_go_to_the_env_as_they_are():
    actors, actions = Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)), np.array([0, 1, 1])
    assert actors.env_actions(3, [(Turn(FLAT, None, None), actions)]) is actions


def test_actions_of_a_flat_turn_go_to_their_rows():
    actors = Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(3, start=5))
    actions = actors.env_actions(4, [(Turn(FLAT, np.array([3, 1]), None), np.array([7, 6]))])
    assert actions[[3, 1]].tolist() == [7, 6]
    assert batch_space(spaces.Discrete(3, start=5), 4).contains(actions)


def test_actions_of_several_turns_go_to_the_rows_and_keys_of_their_actors():
    decisions = [
        (Turn(PICK, np.array([1, 3]), None), np.array([2, 3])),
        (Turn(PLACE, np.array([0, 2]), None), np.float32([[0.25], [-0.5]])),
    ]
    actions = actors_of(STRUCTURED).env_actions(4, decisions)
    assert actions[PICK][[1, 3]].tolist() == [2, 3]
    assert actions[PLACE][[0, 2], 0].tolist() == [0.25, -0.5]
    assert batch_space(STRUCTURED.action_space, 4).contains(actions)


def test_actions_of_a_structured_lock_step_turn_go_to_all_rows():
    actions = actors_of(STRUCTURED).env_actions(2, [(Turn(PICK, None, None), np.array([3, 1]))])
    assert actions[PICK].tolist() == [3, 1]
    assert batch_space(STRUCTURED.action_space, 2).contains(actions)


@given(any_space(), st.integers(0, 99))
def test_actions_of_any_space_are_scattered_to_their_rows(space, seed):
    chosen = sample_batch(space, 2, seed)
    actors = Actors(spaces.Box(-1, 1, (1,)), space)
    actions = actors.env_actions(5, [(Turn(FLAT, np.array([4, 1]), None), chosen)])
    np.testing.assert_equal(unbatch(actions, 4), unbatch(chosen, 0))
    np.testing.assert_equal(unbatch(actions, 1), unbatch(chosen, 1))
    assert batch_space(space, 5).contains(actions)


@pytest.mark.parametrize("options", [{}, {"uneven": True, "varied": True}])
def test_a_structured_env_passes_the_env_checker_of_gymnasium(options):
    check_env(TwoStepEnv(**options), skip_render_check=True)


def test_the_observation_of_a_turn_is_zero_for_those_who_do_not_act():
    env = TwoStepEnv()
    observation, _ = env.reset(seed=0)
    assert (observation["actor"], observation["new_step"]) == (0, 1)
    np.testing.assert_array_equal(observation[PLACE], [0])
    observation, *_ = env.step({PICK: 0, PLACE: np.float32([0])})
    assert (observation["actor"], observation["new_step"]) == (1, 0)
    np.testing.assert_array_equal(observation[PICK]["values"], [0, 0, 0, 0])


def test_a_structured_env_needs_an_actor():
    with pytest.raises(UserError, match="at least one actor"):
        StructuredEnv({})


@pytest.mark.parametrize("key", ["actor", "agent", "new_step", "a.b", "2nd", ""])
def test_a_step_key_must_be_a_name_of_its_own(key):
    with pytest.raises(UserError, match="cannot be a step key"):
        StructuredEnv({key: (spaces.Discrete(2), spaces.Discrete(2))})


def play(env, n, act, count=None):
    vector = InProcessVectorEnv(env, count or n)
    return run_episodes(vector, Actors(vector.single_observation_space, vector.single_action_space), act, range(n))


def choose_well(turn):
    return best_pick(turn.observation) if turn.step_key == PICK else turn.observation


def test_choosing_well_reaches_the_known_optimum():
    batch = play(TwoStepEnv, 6, choose_well)
    np.testing.assert_allclose(batch.returns, 10.0)


def test_env_steps_are_counted_not_sub_steps():
    assert play(TwoStepEnv, 6, choose_well).lengths.tolist() == [5] * 6


def test_env_steps_are_counted_where_they_have_different_numbers_of_sub_steps():
    batch = play(lambda: TwoStepEnv(uneven=True), 8, choose_well)
    assert batch.lengths.tolist() == [5] * 8
    assert len(set(batch.returns.round(6))) > 1  # some placed more often than others


def test_an_episode_that_ends_within_an_env_step_counts_that_step():
    class EndsAfterPick(TwoStepEnv):
        def step(self, action):
            observation, reward, *_ = super().step(action)
            return observation, reward, observation["new_step"] == 0 and self.steps_left == 3, False, {}

    assert play(EndsAfterPick, 2, choose_well).lengths.tolist() == [3, 3]


def test_a_policy_that_honours_changing_masks_gets_through_a_masked_env():
    masked = actors_of(MaskedEnv()).by_key[FLAT].heads

    def act(turn):
        count = len(turn.observation["step"])
        preferred = masked.mode(np.tile(np.float32([3, 2, 1]), (count, 1)), turn.observation["action_mask"])
        return masked.to_env(preferred)

    assert play(MaskedEnv, 5, act).returns.tolist() == [6.0] * 5


def test_an_empty_mask_met_in_an_episode_names_env_actor_step_and_seed():
    lengths = itertools.chain([None, 2], itertools.repeat(None))

    def act(turn):
        return turn.observation["action_mask"].argmax(axis=1) + 5

    with pytest.raises(EnvFaultError, match=r"'substep_0'.*, in env step 2 of the episode with seed \d+ \(env 1 of"):
        play(lambda: MaskedEnv(next(lengths)), 3, act)


class TurnsEnv(StructuredEnv):
    """Two agents take the same turn, one after the other."""

    def __init__(self):
        super().__init__({"act": (spaces.Box(0, 9, (1,)), spaces.Discrete(3))}, n_agents=2)


def batch_of_agents(*agents):
    count = len(agents)
    return {
        "actor": np.zeros(count, np.int64),
        "agent": np.array(agents),
        "new_step": np.array([agent == 0 for agent in agents], np.int64),
        "act": np.arange(count, dtype=np.float32)[:, None],
    }


def test_agents_share_the_networks_of_their_step_key():
    actors = actors_of(TurnsEnv())
    assert actors.step_keys == ("act",)
    assert [turn.step_key for turn in actors.turns(batch_of_agents(1, 0), None, all_live(2))] == ["act"]


def test_agents_that_are_kept_apart_are_actors_of_their_own():
    env = TurnsEnv()
    actors = Actors(env.observation_space, env.action_space, separate_agents=True)
    assert actors.step_keys == ("act-0", "act-1")
    first, second = actors.turns(batch_of_agents(1, 0, 1), None, all_live(3))
    assert (first.step_key, first.rows.tolist(), first.observation.tolist()) == ("act-0", [1], [[1.0]])
    assert (second.step_key, second.rows.tolist(), second.observation.tolist()) == ("act-1", [0, 2], [[0.0], [2.0]])


def test_the_actions_of_agents_that_are_kept_apart_go_to_their_common_part():
    env = TurnsEnv()
    actors = Actors(env.observation_space, env.action_space, separate_agents=True)
    first, second = actors.turns(batch_of_agents(1, 0, 1), None, all_live(3))
    actions = actors.env_actions(3, [(first, np.array([2])), (second, np.array([0, 1]))])
    assert list(actions) == ["act"]
    assert actions["act"].tolist() == [0, 2, 1]


def test_a_flat_env_has_no_agents_to_keep_apart():
    assert Actors(spaces.Box(0, 1, (1,)), spaces.Discrete(2), separate_agents=True).step_keys == (FLAT,)


@pytest.mark.parametrize("pair", [None, spaces.Discrete(3), (spaces.Discrete(3), None), (spaces.Discrete(3),)])
def test_an_actor_without_spaces_is_refused_by_name(pair):
    class Blind(StructuredEnv):
        def __init__(self):
            super().__init__({"pick": pair})

    with pytest.raises(UserError, match=r"actor 'pick' of Blind has no spaces: give a pair of spaces"):
        Blind()


MASKED_ACTION = spaces.Dict({"item": spaces.Discrete(4), "force": spaces.Box(0, 1, (2,))})


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"item": spaces.MultiBinary(3)}, r"for 'item' has the shape \(3,\); it must be \(4,\)"),
        ({"tool": spaces.MultiBinary(4)}, "has an entry 'tool'; its actions are 'force', 'item'"),
        ({"force": spaces.MultiBinary(2)}, "for 'force' cannot be honoured: only Discrete and MultiDiscrete"),
    ],
)
def test_a_mask_that_does_not_mirror_the_actions_is_refused_with_its_actor(mask, message):
    class Masked(StructuredEnv):
        def __init__(self):
            seen = spaces.Dict({"x": spaces.Box(0, 1, (1,)), "action_mask": spaces.Dict(mask)})
            super().__init__({"pick": (seen, MASKED_ACTION)})

    with pytest.raises(UserError, match=f"action mask of actor 'pick' {message}"):
        actors_of(Masked())


def test_a_mask_that_is_a_tuple_is_refused():
    mask = spaces.Tuple([spaces.MultiBinary(2), spaces.MultiBinary(3)])
    seen = spaces.Dict({"x": spaces.Box(0, 1, (1,)), "action_mask": mask})
    with pytest.raises(UserError, match="action mask of actor 'substep_0' is a Tuple, and must be a Dict"):
        Actors(seen, spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]))


def test_a_mask_of_a_part_of_the_actions_is_enough():
    mask = spaces.Dict({"item": spaces.MultiBinary(4)})
    Actors(spaces.Dict({"x": spaces.Box(0, 1, (1,)), "action_mask": mask}), MASKED_ACTION)


def test_step_keys_and_agents_that_do_not_exist_are_refused():
    env = TurnsEnv()
    with pytest.raises(UserError, match="TurnsEnv has no step key 'akt'; it has act"):
        env.turn_of("akt", np.zeros(1, np.float32), new_step=True)
    with pytest.raises(UserError, match="TurnsEnv has no agent 2; they count from 0 to 1"):
        env.turn_of("act", np.zeros(1, np.float32), new_step=True, agent=2)


def test_a_structured_env_has_at_least_one_agent():
    with pytest.raises(UserError, match="n_agents=0 of StructuredEnv is not allowed"):
        StructuredEnv({"act": (spaces.Box(0, 9, (1,)), spaces.Discrete(3))}, n_agents=0)


def test_an_agent_that_does_not_exist_never_acts_as_another():
    env = TurnsEnv()
    actors = Actors(env.observation_space, env.action_space, separate_agents=True)
    with pytest.raises(EnvFaultError, match="there is no agent 2") as error:
        actors.turns(batch_of_agents(0, 2), None, all_live(2))
    assert error.value.env == 1


def test_a_structured_env_of_which_an_actor_cannot_act_is_not_taken_for_a_flat_one():
    observation_space = STRUCTURED.observation_space
    with pytest.raises(UserError, match="actor 'place' of a structured env has no spaces to act with: it lacks an act"):
        Actors(observation_space, spaces.Dict({PICK: spaces.Discrete(4)}))
