"""The two envs of a game: whose turn it is, what is rewarded, how episodes end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces
from maze_pettingzoo import game as game_module
from maze_pettingzoo.config import PettingZooConfig, Reward
from maze_pettingzoo.envs import make_env

from maze_core import UserError
from maze_core.rl import Actors
from maze_core.rl.episodes import EPISODE_EVENTS
from maze_core.testing import check_env


def one_agent(name: str = "classic/tictactoe_v3", **options: Any) -> Any:
    return make_env(PettingZooConfig(name=name, **options))


def team(name: str = "classic/tictactoe_v3", **options: Any) -> Any:
    return make_env(PettingZooConfig(name=name, reward=Reward.sum, **options))


def valid(observation: Any) -> int:
    """The first action that is allowed."""
    return int(np.flatnonzero(observation["action_mask"])[0])


def episode(env: Any, seed: int, act: Callable[[Any], Any] = valid) -> list[Any]:
    """All that an env of one agent returns in an episode."""
    returned = [env.reset(seed=seed)]
    over = False
    while not over:
        returned.append(env.step(act(returned[-1][0])))
        over = returned[-1][2] or returned[-1][3]
    return returned


def rates(info: dict[str, Any]) -> dict[str, float]:
    return {path.split("/")[1]: value for path, value in info[EPISODE_EVENTS].values.items()}


# One agent


def test_the_first_agent_learns_and_begins() -> None:
    observation, _ = one_agent().reset(seed=0)
    assert observation["observation"].sum() == 0
    assert observation["action_mask"].sum() == 9


def test_another_agent_learns_and_others_act_before_it() -> None:
    observation, _ = one_agent(agent="player_2").reset(seed=0)
    assert observation["observation"][:, :, 1].sum() == 1
    assert observation["action_mask"].sum() == 8


def test_a_step_is_the_turn_of_the_agent_and_those_of_the_others() -> None:
    env = one_agent()
    first, _ = env.reset(seed=0)
    second, reward, terminated, truncated, info = env.step(valid(first))
    assert second["observation"].sum(axis=(0, 1)).tolist() == [1, 1]
    assert (reward, terminated, truncated, info) == (0.0, False, False, {})


def test_masks_are_those_of_maze() -> None:
    env = one_agent()
    assert env.observation_space["action_mask"] == spaces.MultiBinary(9)
    observation, _ = env.reset(seed=0)
    assert observation["action_mask"].dtype == np.int8


def test_an_observation_that_is_kept_is_not_written_to() -> None:
    env = one_agent()
    first, _ = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    env.step(valid(first))
    for key, value in first.items():
        np.testing.assert_array_equal(value, kept[key])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_and_actions_give_the_same_episode_whatever_was_before(seed: int) -> None:
    used, fresh = one_agent("classic/leduc_holdem_v4"), one_agent("classic/leduc_holdem_v4")
    for other in range(3):
        episode(used, 100 + other)
    for one, other in zip(episode(used, seed), episode(fresh, seed), strict=True):
        np.testing.assert_equal(one, other)


def test_opponents_do_something_else_in_other_episodes() -> None:
    env = one_agent()
    replies = {episode(env, seed)[1][0]["observation"][:, :, 1].argmax() for seed in range(20)}
    assert len(replies) > 3


def test_an_agent_that_wins_or_loses_or_neither_is_told_so() -> None:
    env, seen = one_agent(), {}
    for seed in range(60):
        *_, (_, reward, terminated, truncated, info) = episode(env, seed)
        assert (terminated, truncated) == (True, False)
        seen[reward] = rates(info)
    assert seen == {
        1.0: {"win_rate": 1, "draw_rate": 0, "loss_rate": 0},
        0.0: {"win_rate": 0, "draw_rate": 1, "loss_rate": 0},
        -1.0: {"win_rate": 0, "draw_rate": 0, "loss_rate": 1},
    }


def test_a_limit_truncates_and_what_it_cuts_off_is_neither_won_nor_lost() -> None:
    returned = episode(one_agent("classic/connect_four_v3", max_env_steps=2), 0)
    assert [step[2:4] for step in returned[1:]] == [(False, False), (False, True)]
    assert set(rates(returned[-1][4]).values()) == {0.0}
    assert returned[-1][0]["action_mask"].any()  # values go on behind it


def test_a_game_that_ends_with_the_limit_is_terminated() -> None:
    env = one_agent()
    seed = next(seed for seed in count() if len(episode(env, seed)) == 4)
    *_, (_, _, terminated, truncated, info) = episode(one_agent(max_env_steps=3), seed)
    assert (terminated, truncated) == (True, False)
    assert sum(rates(info).values()) == 1


def test_a_game_that_cuts_itself_off_is_truncated_and_has_an_outcome() -> None:
    returned = episode(one_agent("classic/rps_v2", kwargs={"max_cycles": 3}), 1, lambda _: 0)
    assert [step[2:4] for step in returned[1:]] == [(False, False), (False, False), (False, True)]
    assert sum(rates(returned[-1][4]).values()) == 1


def test_a_game_that_is_over_before_the_first_turn_is_an_episode_of_one_step_that_changes_nothing() -> None:
    env = one_agent("classic/leduc_holdem_v4")
    folds = [seed for seed in range(60) if env.reset(seed=seed) and env._game.is_over]
    assert folds
    for action in range(4):
        observation, _ = env.reset(seed=folds[0])
        assert observation["action_mask"].all()
        _, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated, rates(info)["win_rate"]) == (0.5, True, False, 1.0)


def test_games_without_winners_tell_no_rates() -> None:
    pytest.importorskip("pyspiel")
    assert episode(one_agent("classic/hanabi_v5"), 0)[-1][4] == {}


def test_an_agent_that_takes_no_part_is_an_error_that_names_those_who_do() -> None:
    with pytest.raises(UserError) as caught:
        one_agent(agent="player_3")
    assert str(caught.value) == (
        "env.agent=player_3 takes no part in classic/tictactoe_v3. Did you mean 'player_2'? "
        "Its agents are player_1, player_2."
    )


@pytest.mark.parametrize("action", [9, -1, 1.5, "a", [1], None])
def test_what_is_no_action_is_an_error(action: Any) -> None:
    env = one_agent()
    env.reset(seed=0)
    with pytest.raises(UserError, match="is not allowed: it must be a member of Discrete"):
        env.step(action)


def test_without_a_seed_the_generator_goes_on() -> None:
    env, shown = one_agent("classic/leduc_holdem_v4"), []
    for _ in range(2):
        env.reset(seed=5)
        shown.append([env.reset()[0]["observation"].tobytes() for _ in range(6)])
    assert shown[0] == shown[1]
    assert len(set(shown[0])) > 1


# A team


def turns_of(
    env: Any, seed: int, act: Callable[[Any], int] = valid, most: int = 50
) -> Iterator[tuple[int, bool, float]]:
    """Agent, whether an env step begins and reward of each sub-step."""
    actors = Actors(env.observation_space, env.action_space)
    observation, _ = env.reset(seed=seed)
    for _ in range(most):
        key = actors.step_keys[int(observation["actor"])]
        agent, begins = int(observation["agent"]), bool(observation["new_step"])
        seen = observation[key]
        observation, reward, terminated, truncated, _ = env.step({key: act(seen)})
        yield agent, begins, reward
        if terminated or truncated:
            return


def test_an_env_step_of_a_team_is_a_round() -> None:
    turns = [turn[:2] for turn in turns_of(team(), 0)]
    assert turns[:4] == [(0, True), (1, False), (0, True), (1, False)]


def test_an_agent_that_acts_twice_in_a_row_begins_an_env_step() -> None:
    env, generator = team("classic/leduc_holdem_v4"), np.random.default_rng(0)
    steps: list[list[int]] = []
    for seed in range(20):
        for agent, begins, _ in turns_of(env, seed, lambda seen: generator.choice(np.flatnonzero(seen["action_mask"]))):
            steps += [[]] if begins else []
            steps[-1].append(agent)
    assert all(len(set(agents)) == len(agents) for agents in steps)
    assert {tuple(agents) for agents in steps} >= {(0, 1), (1, 0)}


def test_in_a_zero_sum_game_every_step_of_a_team_is_worth_nothing() -> None:
    assert {reward for seed in range(5) for *_, reward in turns_of(team("classic/leduc_holdem_v4"), seed)} == {0.0}


def test_a_team_is_told_who_won() -> None:
    env = team()
    env.reset(seed=0)
    for place in (0, 3, 1, 4):
        assert env.step({"player": place})[2:] == (False, False, {})
    *_, info = env.step({"player": 2})
    assert rates(info) == {"player_1_win_rate": 1.0, "player_2_win_rate": 0.0, "draw_rate": 0.0}


def test_a_limit_of_a_team_counts_rounds() -> None:
    turns = list(turns_of(team("classic/connect_four_v3", max_env_steps=3), 0))
    assert len(turns) == 6


# Games of other kinds


class Court(pettingzoo.AECEnv):
    """A king, who sees and decides otherwise than two pawns, of whom one falls early; masks are in the info.

    Each turn brings the one who takes it 1 and the next one 0.5; the game cuts itself off after three rounds.
    """

    metadata = {"name": "court", "render_modes": ["ansi"]}
    render_mode = None

    def __init__(self) -> None:
        self.possible_agents = ["king", "pawn_0", "pawn_1"]

    def observation_space(self, agent: str) -> Any:
        return spaces.Discrete(4) if agent == "king" else spaces.Box(0, 9, (2,))

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(3 if agent == "king" else 2)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict(self.rewards)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, Any] = {agent: {"action_mask": np.array([0, 1], np.int8)} for agent in self.agents}
        self.infos["king"] = {"action_mask": np.array([0, 1, 1], np.int8)}
        self.agent_selection, self.round = "king", 0

    def observe(self, agent: str) -> Any:
        return self.round if agent == "king" else np.full(2, self.round, np.float32)

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        place = self.agents.index(agent)
        self._cumulative_rewards[agent] = 0.0
        self.agent_selection = self.agents[(place + 1) % len(self.agents)]
        self.rewards = {a: float(a == agent) + 0.5 * (a == self.agent_selection) for a in self.agents}
        self._accumulate_rewards()
        if agent == self.agents[-1]:
            self.round += 1
            self.terminations["pawn_0"] = self.round == 1
            if self.round == 3:
                self.truncations = dict.fromkeys(self.agents, True)
        self._deads_step_first()

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def court(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game_module, "make_game", lambda config, rendered: Court())


@pytest.mark.usefixtures("court")
def test_agents_with_other_spaces_have_step_keys_of_their_own() -> None:
    env = team()
    assert Actors(env.observation_space, env.action_space).step_keys == ("king", "pawn")
    assert env.observation_space["agent"] == spaces.Discrete(2)
    assert [turn[:2] for turn in turns_of(env, 0)] == [
        (0, True), (0, False), (1, False),
        (0, True), (1, False),
        (0, True), (1, False),
    ]  # fmt: skip


@pytest.mark.usefixtures("court")
def test_masks_in_the_info_become_part_of_the_observation() -> None:
    env = one_agent(agent="king")
    assert env.observation_space == spaces.Dict(
        {"observation": spaces.Discrete(4), "action_mask": spaces.MultiBinary(3)}
    )
    assert env.reset(seed=0)[0]["action_mask"].tolist() == [0, 1, 1]


@pytest.mark.usefixtures("court")
def test_an_agent_that_falls_has_an_episode_that_terminates_there() -> None:
    returned = episode(one_agent(agent="pawn_0"), 0)
    assert [step[1:4] for step in returned[1:]] == [(1.5, True, False)]


@pytest.mark.usefixtures("court")
def test_agents_that_are_left_are_cut_off_with_the_game() -> None:
    returned = episode(one_agent(agent="king"), 0)
    assert [step[1:4] for step in returned[1:]] == [(1.5, False, False), (1.5, False, False), (1.5, False, True)]


@pytest.mark.usefixtures("court")
def test_a_team_gets_what_all_get() -> None:
    assert [reward for *_, reward in turns_of(team(), 0)] == [1.5] * 7


@pytest.mark.usefixtures("court")
@pytest.mark.parametrize("make", [one_agent, team])
def test_such_games_keep_the_contract(make: Callable[..., Any]) -> None:
    check_env(make())


def test_a_mask_that_does_not_fit_the_actions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Court, "action_space", lambda self, agent: spaces.Discrete(5))
    monkeypatch.setattr(game_module, "make_game", lambda config, rendered: Court())
    with pytest.raises(UserError, match=r"a mask of shape \[3\] does not fit the action space Discrete\(5\)"):
        one_agent()
