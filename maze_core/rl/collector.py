"""Lets a policy act in a vector env, and keeps what happens for an update."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError, EnvRowError, NonFiniteError
from maze_core.rl.actors import Turn, action_mask
from maze_core.rl.kernels import Kernel
from maze_core.rl.replay import KeepsState, restore
from maze_core.rl.rollouts import Rollout
from maze_core.rl.saved import saved_count, saved_counts, saved_numbers
from maze_core.rl.spaces import Encoded
from maze_core.rl.storage import ActionNoise, Decisions, EndedEpisodes, RawObservations, Seen, Ticks
from maze_core.rl.streams import MAX_SEED, Streams
from maze_core.rl.vector_env import AnyVectorEnv, prepare_episodes, reset_envs

SEED_BLOCK = 64
"""Episode seeds of an env that are drawn together."""


class Collector:
    """Collects rollouts; episodes go on from one to the next.

    Every tick each env takes one sub-step. An env whose episode ended is reset at once, with the seed
    of its next episode, so every stored row is a step that the env took.

    Args:
        env: The vector env, B envs.
        kernel: Computes the policy.
        streams: Random streams of the run.

    Attributes:
        env_steps: Env steps so far, over all envs.
        seconds: Time spent so far: in the env's own `step` and `reset` (``env``), in choosing actions
            (``forward``), and in storing (``store``).
    """

    def __init__(self, env: AnyVectorEnv, kernel: Kernel, streams: Streams) -> None:
        self.env, self.kernel, self.streams = env, kernel, streams
        self.policy, self.actors = kernel.policy, kernel.policy.actors
        self.env_steps = 0
        self.seconds = {"env": 0.0, "forward": 0.0, "store": 0.0}
        self._noise = ActionNoise(streams, env.num_envs)
        self._observation: Any = None
        n = env.num_envs
        self._live, self._returns = np.ones(n, bool), np.zeros(n)
        self._episodes, self._lengths = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._seed_blocks: list[tuple[int, NDArray[np.int64]]] = [(-1, np.zeros(0, np.int64))] * n
        self._decisions: dict[str, Decisions] = {}
        self._ended: EndedEpisodes = EndedEpisodes()

    def collect(self, n_steps: int) -> Rollout:
        """Lets every env take `n_steps` env steps at least; exactly so many if they stay in lock-step.

        Args:
            n_steps: T.

        Raises:
            EnvFaultError: If an env raises, or gives an observation or a mask that cannot be used.
            NonFiniteError: If a reward is not finite.
        """
        if self._observation is None:
            self._observation = reset_envs(self.env, np.arange(self.env.num_envs), self._next_seeds(self._live))
        for decisions in self._decisions.values():
            decisions.clear()
        self._ended = EndedEpisodes()
        ticks = Ticks(n_steps, self.env.num_envs, self.actors.step_begins(self._observation))
        observed = RawObservations() if self._learns_statistics() else None
        while not ticks.has(n_steps):
            self._tick(ticks, n_steps, observed)
        last = [Seen(ticks.n, _envs(turn, self.env.num_envs), turn.step_key, self._encode(turn, None))
                for turn in self._turns()]  # fmt: skip
        self._check_rewards(ticks)
        if observed is not None and self.policy.normalization is not None:
            observed.learn(self.policy.normalization)
        rollout = Rollout(
            {key: part for key, part in self._decisions.items() if part.count},
            ticks.rewards[: ticks.n], ticks.terminated[: ticks.n], ticks.truncated[: ticks.n], ticks.begins,
            ticks.cut, last, self._ended.batch(),
        )  # fmt: skip
        self.env_steps += int(np.count_nonzero(rollout.closes))
        return rollout

    def _tick(self, ticks: Ticks, n_steps: int, observed: RawObservations | None) -> None:
        """One call of the env's `step`, with all that belongs to it."""
        start = time.perf_counter()
        decided, kept = [], []
        for turn in self._turns():
            heads = self.actors.by_key[turn.step_key].heads
            encoded, mask = self._encode(turn, observed), action_mask(turn.observation)
            outputs = self.kernel.outputs(turn.step_key, encoded)
            drawn = self._noise.rows(self.actors.by_key[turn.step_key], turn)
            actions = heads.sample(outputs, self.policy.log_std(turn.step_key), drawn, mask)
            decided.append((turn, heads.to_env(actions)))
            kept.append((encoded, mask, outputs, actions))
        env_actions = self.actors.env_actions(self.env.num_envs, decided)
        chosen = time.perf_counter()
        for (turn, _), parts in zip(decided, kept, strict=True):
            if turn.step_key not in self._decisions:
                self._decisions[turn.step_key] = Decisions(n_steps * self.env.num_envs)
            self._decisions[turn.step_key].append(ticks.n, turn.rows, parts)
        stored = time.perf_counter()
        self._observation, rewards, terminated, truncated, infos = self.env.step(env_actions)
        stepped = time.perf_counter()
        ended = terminated | truncated
        begins = self.actors.step_begins(self._observation)
        tick = ticks.add(rewards, terminated, truncated, begins)
        self._returns += rewards
        self._lengths += 1 if begins is None else begins | ended
        self.seconds["forward"] += chosen - start
        self.seconds["store"] += stored - chosen + time.perf_counter() - stepped
        self.seconds["env"] += stepped - stored
        if ended.any():
            self._end_episodes(ticks, tick, ended, infos)

    def _end_episodes(self, ticks: Ticks, tick: int, ended: NDArray[np.bool_], infos: Mapping[str, Any]) -> None:
        start = time.perf_counter()
        cut = ticks.truncated[tick] & ~ticks.terminated[tick]
        if cut.any():
            for turn in self._turns(np.flatnonzero(cut)):
                envs = _envs(turn, self.env.num_envs)  # chosen rows are copies, so they outlive the reset
                ticks.cut.append(Seen(tick, envs, turn.step_key, self._encode(turn, None)))
        if not np.isfinite(self._returns[ended]).all():
            self._check_rewards(ticks)
        self._ended.add(np.flatnonzero(ended), self._returns, self._lengths, infos)
        self._returns[ended], self._lengths[ended] = 0.0, 0
        self._episodes[ended] += 1
        seeds = self._next_seeds(ended)
        self.seconds["store"] += time.perf_counter() - start
        start = time.perf_counter()
        self._observation = reset_envs(self.env, np.flatnonzero(ended), seeds)
        ticks.begin(ended)
        self.seconds["env"] += time.perf_counter() - start

    def _turns(self, finished: NDArray[np.intp] | None = None) -> list[Turn]:
        """Whose turn it is, or would be in episodes that are finished; nobody needs their masks."""
        live = self._live if finished is None else ~self._live
        try:
            return self.actors.turns(self._observation, finished, live)
        except EnvRowError as error:
            raise self._fault(error, error.env) from None

    def _encode(self, turn: Turn, observed: RawObservations | None) -> Encoded:
        try:
            if observed is None:
                return self.policy.encode(turn)
            assert self.policy.normalization is not None
            encoded = self.policy.encoders[turn.step_key].encode(turn.observation, np.float64)
            observed.add(turn.step_key, encoded, self.policy.normalization)
            return self.policy.normalization.apply_to(turn.step_key, encoded)
        except EnvRowError as error:  # counted within the turn
            raise self._fault(error, int(_envs(turn, self.env.num_envs)[error.env])) from None

    def _fault(self, error: EnvRowError, env: int) -> EnvFaultError:
        where = f"in env step {self._lengths[env]} of the episode with seed {self._seed(env, self._episodes[env])}"
        return EnvFaultError(f"{error}, {where} (env {env} of {self.env.num_envs})")

    def _learns_statistics(self) -> bool:
        return self.policy.normalization is not None and self.policy.normalization.running

    def _seed(self, env: int, episode: int) -> int:
        """Seed of an env's episode, a function of both and the root seed."""
        block, place = divmod(int(episode), SEED_BLOCK)
        if self._seed_blocks[env][0] != block:
            generator = self.streams.generator("training_episodes", env, block)
            self._seed_blocks[env] = (block, generator.integers(MAX_SEED, size=SEED_BLOCK, endpoint=True))
            prepare_episodes(self.env, env, self._seed_blocks[env][1])
        return int(self._seed_blocks[env][1][place])

    def _next_seeds(self, envs: NDArray[np.bool_]) -> list[int]:
        return [self._seed(env, self._episodes[env]) for env in np.flatnonzero(envs).tolist()]

    def _check_rewards(self, ticks: Ticks) -> None:
        """A reward that is not finite shows in the return of its episode."""
        bad = np.flatnonzero(~np.isfinite(self._returns))
        if len(bad):
            env = int(bad[0])
            rewards = ticks.rewards[: ticks.n, env][::-1]
            reward = next((reward for reward in rewards if not np.isfinite(reward)), rewards[0])
            raise NonFiniteError(
                f"env {env} of {self.env.num_envs} gave the reward {reward} in the first {self._lengths[env]} env "
                f"steps of the episode with seed {self._seed(env, self._episodes[env])}; rewards must be finite "
                "numbers."
            )

    def state_dict(self) -> dict[str, Any]:
        """Counters and the episodes under way, as arrays and JSON values."""
        envs = self.env.get_state() if self._observation is not None and isinstance(self.env, KeepsState) else None
        return {
            "env_steps": self.env_steps,
            "actions": dict(self._noise.used),
            "episodes": self._episodes.tolist(),
            "lengths": self._lengths.tolist(),
            "returns": self._returns.tolist(),
            "envs": envs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; envs whose episode cannot go on begin with their next one."""
        self.env_steps, actions, n = saved_count(state, "env_steps"), state["actions"], self.env.num_envs
        self._noise = ActionNoise(self.streams, n)
        self._noise.used = {key: saved_count(actions, key) for key in self.actors.by_key if key in actions}
        self._episodes[:], lengths = saved_counts(state, "episodes", n), saved_counts(state, "lengths", n)
        nothing, envs = (None, np.zeros(n, bool)), state["envs"]
        self._observation, kept = nothing if envs is None else restore(self.env, envs)
        self._episodes += ~kept & (lengths > 0)
        self._lengths[:], self._returns[:] = lengths * kept, saved_numbers(state, "returns", n) * kept
        if not kept.all():
            lost = np.flatnonzero(~kept)
            self._observation = reset_envs(self.env, lost, self._next_seeds(~kept)) if kept.any() else None


def _envs(turn: Turn, num_envs: int) -> NDArray[np.intp]:
    return np.arange(num_envs) if turn.rows is None else turn.rows
