"""What the envs show is what PettingZoo's own loop shows, with the same seed and the same actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pettingzoo
import pytest
from maze_pettingzoo.config import PettingZooConfig, Reward
from maze_pettingzoo.envs import make_env
from maze_pettingzoo.games import games

from maze_core.rl import Actors, RandomPolicy
from maze_core.rl.spaces import copied, repeat, unbatch

CLASSIC = sorted(name for name in games() if name.startswith("classic/"))
PONG = "butterfly/cooperative_pong_v6"
OTHERS = [PONG, "butterfly/knights_archers_zombies_v11", "sisl/multiwalker_v9", "sisl/pursuit_v5"]
MOST_TURNS = {"classic/chess_v6": 30, "classic/go_v5": 30, PONG: 40, **dict.fromkeys(OTHERS[1:], 300)}
"""Games that random play does not end soon are left before their end."""


@dataclass
class Seen:
    """What there was when an agent had its turn.

    Args:
        agent: Who.
        observation: What it saw; its mask included.
        action: What it did.
    """

    agent: str
    observation: Any
    action: Any


@pytest.fixture(params=[*CLASSIC, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def game(request: pytest.FixtureRequest) -> str:
    if request.param == "classic/hanabi_v5":
        pytest.importorskip("pyspiel")
    return str(request.param)


def played(env: Any, seed: int, most_turns: int) -> tuple[list[Seen], list[float], bool]:
    """Plays an episode at random: all turns, the rewards of all steps, and whether it was played to its end."""
    turns: list[Seen] = []
    actors = Actors(env.observation_space, env.action_space)
    policy = RandomPolicy(actors, np.random.default_rng(seed))
    game, step = env._game, env._game.step

    def noted(action: Any) -> Any:
        turns.append(Seen(game.acting, game.observation(game.acting), action))
        return step(action)

    game.step = noted
    rewards: list[float] = []
    observation, _ = env.reset(seed=seed)
    while len(turns) < most_turns:
        (turn,) = actors.turns(repeat(observation, 1), None, np.ones(1, bool))
        action = copied(unbatch(actors.env_actions(1, [(turn, policy.act(turn))]), 0))
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            return turns, rewards, True
    return turns, rewards, False


def check_turn(raw: Any, turn: Seen) -> float:
    """Compares a turn with PettingZoo's, takes it there, and returns the reward that the agent is handed."""
    observation, reward, terminated, truncated, _ = raw.last()
    assert not terminated and not truncated
    assert raw.agent_selection == turn.agent
    expected = observation if isinstance(observation, dict) else {"": observation}
    shown = turn.observation if isinstance(turn.observation, dict) else {"": turn.observation}
    assert set(shown) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(shown[key], value)
        assert np.asarray(shown[key]).dtype == np.asarray(value).dtype
    raw.step(int(turn.action) if np.ndim(turn.action) == 0 else turn.action)
    return float(reward)


def replayed(game: str, seed: int, turns: list[Seen]) -> dict[str, list[float]]:
    """Takes the same turns in PettingZoo's own loop: the rewards that each agent is handed, turn by turn."""
    drawn = {"render_mode": "rgb_array"} if game == PONG else {}  # else it shows nothing
    raw = pettingzoo.make("aec", game, **drawn)
    raw.reset(seed=seed)
    handed: dict[str, list[float]] = {agent: [] for agent in raw.possible_agents}

    def bury() -> None:
        while raw.agents and (raw.terminations[raw.agent_selection] or raw.truncations[raw.agent_selection]):
            handed[raw.agent_selection].append(float(raw.last()[1]))
            raw.step(None)

    for turn in turns:
        bury()
        handed[turn.agent].append(check_turn(raw, turn))
    bury()
    for agent in raw.agents:  # of a game that was left, what they would be handed at their next turns
        handed[agent].append(float(raw._cumulative_rewards[agent]))
    return handed


@pytest.mark.filterwarnings("ignore::UserWarning")  # PettingZoo itself is used here
def test_a_team_sees_and_gets_what_pettingzoo_shows_and_hands_out(game: str) -> None:
    env = make_env(PettingZooConfig(name=game, reward=Reward.sum))
    for seed in range(4):
        turns, rewards, _ = played(env, seed, MOST_TURNS.get(game, 10**6))
        handed = replayed(game, seed, turns)
        assert sum(rewards) == pytest.approx(sum(map(sum, handed.values())))
    env.close()


@pytest.mark.filterwarnings("ignore::UserWarning")  # PettingZoo itself is used here
@pytest.mark.parametrize("seat", [0, 1])
def test_one_agent_gets_at_each_step_what_pettingzoo_hands_it_at_its_next_turn(game: str, seat: int) -> None:
    agent = pettingzoo.make("aec", game).possible_agents[seat]
    env = make_env(PettingZooConfig(name=game, agent=agent))
    for seed in range(4):
        turns, rewards, ended = played(env, seed, MOST_TURNS.get(game, 10**6))
        handed = replayed(game, seed, turns)[agent]
        if all(turn.agent != agent for turn in turns):
            assert (rewards, ended) == (handed, True)  # it had no turn, and one env step that changes nothing
        elif len(handed) > 1:
            first, *later = handed[1:]
            expected = [handed[0] + first, *later]  # what it got before it could act comes with its first step
            np.testing.assert_allclose(rewards[: len(expected)], expected)
            assert not ended or len(rewards) == len(expected)
    env.close()
