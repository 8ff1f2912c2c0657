"""A game as its envs play it: turn after turn, with rewards as soon as they are given."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from maze_pettingzoo.config import PettingZooConfig
from maze_pettingzoo.games import is_zero_sum, leaks, make_game
from maze_pettingzoo.sight import Sight


class Game:
    """An AEC env of PettingZoo, in which agents take turns.

    PettingZoo hands an agent its reward at its next turn, and asks those whose part has ended for one more turn
    without an action. Here rewards are known after each turn, and agents that are out have no more turns.

    Args:
        config: Which game.
        rendered: Whether it has to show images or text.

    Attributes:
        agents: All that may take part, in the order of the game.
        sights: What each of them sees and decides.
        is_zero_sum: Whether one of them wins what others lose.
        returns: Sum of the rewards of each in the present episode.
    """

    def __init__(self, config: PettingZooConfig, rendered: bool = False) -> None:
        self._make = partial(make_game, config, rendered)
        self._env, self._leaks = self._make(), leaks(config.name)
        self.agents: tuple[str, ...] = tuple(self._env.possible_agents)
        self.metadata, self.render_mode = self._env.metadata, getattr(self._env, "render_mode", None)
        self.is_zero_sum = is_zero_sum(config.name)
        self.reset(0)  # infos, in which masks may be, are known from then on
        self.sights = {agent: self._sight(agent) for agent in self.agents}

    def _sight(self, agent: str) -> Sight:
        env = self._env
        return Sight(env.observation_space(agent), env.action_space(agent), env.infos.get(agent, {}))

    def reset(self, seed: int) -> None:
        """Starts an episode; a game that would remember the last one is made anew."""
        if self._leaks:
            self._env = self._make()
        with _quiet():
            self._env.reset(seed=seed)
        self.returns = dict.fromkeys(self.agents, 0.0)

    @property
    def acting(self) -> str:
        """Whose turn it is; somebody who is out when the game is over."""
        return str(self._env.agent_selection)

    def is_out(self, agent: str) -> bool:
        """Whether an agent's part has ended, or it takes no part."""
        env = self._env
        return agent not in env.agents or bool(env.terminations[agent] or env.truncations[agent])

    @property
    def is_over(self) -> bool:
        """Whether all agents are out."""
        return all(map(self.is_out, self._env.agents))

    def cut_off(self, agent: str) -> bool:
        """Whether the game only cut the part of an agent off, instead of ending it."""
        env = self._env
        return bool(env.truncations.get(agent)) and not env.terminations.get(agent)

    @property
    def is_cut_off(self) -> bool:
        """Whether the game cut off the part of some agent that was still in it."""
        return any(map(self.cut_off, self._env.agents))

    def observation(self, agent: str, open_mask: bool = False) -> Any:
        """What an agent sees, a member of its observation space."""
        return self.sights[agent].seen(self._env.observe(agent), self._env.infos.get(agent, {}), open_mask)

    def step(self, action: Any) -> Mapping[str, float]:
        """Takes the turn of who acts.

        Args:
            action: A member of its action space.

        Returns:
            What each agent that is in the game gets for it.

        Raises:
            UserError: If that is no action.
        """
        decided = self.sights[self.acting].decided(action)
        with _quiet():
            self._env.step(decided)
        rewards = {agent: float(reward) for agent, reward in self._env.rewards.items()}
        for agent, reward in rewards.items():
            self.returns[agent] += reward
        return rewards

    def pass_over(self) -> None:
        """Takes the turn of somebody who is out, as PettingZoo wants it to be taken."""
        self._env.step(None)

    def render(self) -> Any:
        """What the game shows."""
        with _quiet():
            return self._env.render()

    def close(self) -> None:
        """Closes it."""
        self._env.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of games: some draw in each turn, and then say that they were not asked to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
