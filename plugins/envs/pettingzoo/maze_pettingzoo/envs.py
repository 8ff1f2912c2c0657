"""The two envs of a game: one agent against others, and all agents as a team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from maze_core import UserError, did_you_mean
from maze_core.rl import StructuredEnv
from maze_core.stats import EventRecorder
from maze_pettingzoo.config import PettingZooConfig, Reward
from maze_pettingzoo.game import Game
from maze_pettingzoo.opponents import make_opponent
from maze_pettingzoo.outcomes import outcome_of, outcomes_of_all
from maze_pettingzoo.seats import seats_of

Info = dict[str, Any]


def make_env(config: PettingZooConfig) -> gymnasium.Env[Any, Any]:
    """Builds the env of one agent, or that of all as a team.

    Raises:
        UserError: If a package is missing, or an argument, agent or opponent does not fit the game.
        EnvFaultError: If the constructor of the game raises anything else.
    """
    return _env_of(Game(config), config)


def make_rendering_env(config: PettingZooConfig) -> gymnasium.Env[Any, Any]:
    """Builds the same env so that it gives images when it is rendered, or text if it has no images.

    Raises:
        UserError: If the game has neither.
    """
    return _env_of(Game(config, rendered=True), config)


def _env_of(game: Game, config: PettingZooConfig) -> gymnasium.Env[Any, Any]:
    return AgentEnv(game, config) if config.reward is Reward.agent else TeamEnv(game, config)


class _Played:
    """What both envs have in common: an episode of a game, its seed and its length.

    Args:
        game: The game.
        max_env_steps: Where an episode is truncated, or None.
    """

    def __init__(self, game: Game, max_env_steps: int | None) -> None:
        self.game, self._limit = game, max_env_steps
        self.n_env_steps = 0
        self.events = EventRecorder()

    def begin(self, env: gymnasium.Env[Any, Any], seed: int | None) -> None:
        """Starts an episode; without a seed it has one that the env draws."""
        self.n_env_steps = 0
        self.game.reset(int(env.np_random.integers(2**31)) if seed is None else seed)

    @property
    def too_long(self) -> bool:
        """Whether the limit of env steps is reached."""
        return self._limit is not None and self.n_env_steps >= self._limit


class AgentEnv(gymnasium.Env[Any, Any]):
    """One agent decides, and gets its own reward; opponents play the others. An env step is a turn of the agent.

    Args:
        game: The game.
        config: Who learns, and against whom.

    Raises:
        UserError: If there is no such agent, or the opponent cannot play the others.
    """

    def __init__(self, game: Game, config: PettingZooConfig) -> None:
        self._played, self._game = _Played(game, config.max_env_steps), game
        self.metadata, self.render_mode = game.metadata, game.render_mode
        self._agent = game.agents[0] if config.agent is None else config.agent
        if self._agent not in game.agents:
            known = ", ".join(game.agents)
            hint = did_you_mean(self._agent, game.agents)
            raise UserError(f"env.agent={self._agent} takes no part in {config.name}.{hint} Its agents are {known}.")
        sight, seats = game.sights[self._agent], seats_of(game.sights)
        self.observation_space, self.action_space = sight.observation_space, sight.action_space
        self._opponents = {
            agent: make_opponent(config, agent, seats[agent], game.sights[agent])
            for agent in game.agents
            if agent != self._agent
        }
        self._owed, self._idle = 0.0, False

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Starts an episode, in which others may act first.

        Where the game is over before the agent's first turn, the episode still has one env step, in which any action
        is valid and changes nothing: its outcome counts.
        """
        super().reset(seed=seed)
        self._played.begin(self, seed)
        (generator,) = self.np_random.spawn(1)  # the game may draw from the same seed
        for opponent in self._opponents.values():
            opponent.begin(generator)
        self._owed = 0.0
        self._let_others_act()
        self._idle = self._game.is_out(self._agent)
        return self._game.observation(self._agent, open_mask=self._idle), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Acts, and lets the others act until it is the agent's turn again, or its part has ended."""
        if not self._idle:
            self._owed += self._game.step(action).get(self._agent, 0.0)
            self._let_others_act()
        self._played.n_env_steps += 1
        reward, self._owed = self._owed, 0.0
        out = self._game.is_out(self._agent)
        cut_off = self._game.cut_off(self._agent) if out else self._played.too_long
        info = self._told(finished=out) if out or cut_off else {}
        return self._game.observation(self._agent), reward, out and not cut_off, cut_off, info

    def _let_others_act(self) -> None:
        game = self._game
        while not game.is_out(self._agent) and game.acting != self._agent:
            acting = game.acting
            if game.is_out(acting):
                game.pass_over()
            else:
                action = self._opponents[acting].act(game.observation(acting))
                self._owed += game.step(action).get(self._agent, 0.0)

    def _told(self, finished: bool) -> Info:
        if not self._game.is_zero_sum:
            return {}
        return self._played.events.episode(**outcome_of(self._game.returns[self._agent], finished))

    def render(self) -> Any:
        """What the game shows: an image [H, W, 3], or text."""
        return self._game.render()

    def close(self) -> None:
        """Closes the game."""
        self._game.close()


class TeamEnv(StructuredEnv):
    """All agents decide, and the reward is the sum of theirs.

    An env step is a round: it begins with an agent, and ends before the first that would act in it a second time.

    Args:
        game: The game.
        config: How long an episode may be.
    """

    def __init__(self, game: Game, config: PettingZooConfig) -> None:
        self._played, self._game = _Played(game, config.max_env_steps), game
        self.metadata, self.render_mode = game.metadata, game.render_mode
        self._seats = seats_of(game.sights)
        kinds = {seat.step_key: game.sights[agent] for agent, seat in reversed(self._seats.items())}
        order = dict.fromkeys(seat.step_key for seat in self._seats.values())
        n_agents = 1 + max(seat.index for seat in self._seats.values())
        super().__init__({key: (kinds[key].observation_space, kinds[key].action_space) for key in order}, n_agents)
        self._acted: set[str] = set()

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Info, Info]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._played.begin(self, seed)
        self._acted.clear()
        return self._turn(new_step=True), {}

    def step(self, action: Mapping[str, Any]) -> tuple[Info, float, bool, bool, Info]:
        """Takes the turn of one agent."""
        game = self._game
        agent = game.acting
        self._acted.add(agent)
        reward = sum(game.step(action[self._seats[agent].step_key]).values())
        while not game.is_over and game.is_out(game.acting):
            game.pass_over()
        over = game.is_over
        new_step = over or game.acting in self._acted
        if new_step:
            self._played.n_env_steps += 1
            self._acted.clear()
        cut_off = game.is_cut_off if over else new_step and self._played.too_long
        info = self._told(finished=over) if over or cut_off else {}
        return self._turn(new_step), reward, over and not cut_off, cut_off, info

    def _turn(self, new_step: bool) -> Info:
        agent = self._game.acting
        seat = self._seats[agent]
        return self.turn_of(seat.step_key, self._game.observation(agent), new_step=new_step, agent=seat.index)

    def _told(self, finished: bool) -> Info:
        if not self._game.is_zero_sum:
            return {}
        return self._played.events.episode(**outcomes_of_all(self._game.returns, finished))

    def render(self) -> Any:
        """What the game shows: an image [H, W, 3], or text."""
        return self._game.render()

    def close(self) -> None:
        """Closes the game."""
        self._game.close()
