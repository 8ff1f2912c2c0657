"""Who acts for a context: the policy that it trains, or one that was named instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maze_core.api import commands
from maze_core.api.asked import choose_policy
from maze_core.api.rollout_request import Prepared, RolloutRequest, as_seeds, rollout_config
from maze_core.api.rollouts import RolloutResult, perform
from maze_core.build import BuiltRun, build_acting
from maze_core.config import Configured
from maze_core.config.adopt import TRAINED
from maze_core.config.arguments import Arguments, Choice
from maze_core.config.overrides import Item
from maze_core.console import Output
from maze_core.enums import RenderForm
from maze_core.errors import UserError
from maze_core.live import GivenRunner, LiveObjects
from maze_core.protocols import Acting, DrawsActions
from maze_core.registry import Registry
from maze_core.rl.acting import KernelPolicy
from maze_core.rl.decisions import Decisions
from maze_core.rl.policy import weights_of
from maze_core.run_config import RolloutConfig
from maze_core.runs.evaluate import evaluate
from maze_core.runs.launch import one_thread
from maze_core.runs.opened import with_statistics_of_weights
from maze_core.runs.threads import limited_threads
from maze_core.specs import PolicySpec
from maze_core.stats import EpisodeTotals

FINAL = "final_eval"


class Player:
    """Lets a policy act in the env of a run.

    Args:
        registry: All specs.
        configured: The run.
        named: Overrides that choose another policy than the one that is trained; empty for that one.

    Raises:
        UserError: If there is no such policy.
    """

    def __init__(self, registry: Registry, configured: Configured, named: Sequence[Item] = ()) -> None:
        self._registry, self._configured, self._named = registry, configured, list(named)
        self._acting: dict[bool, Acting] = {}
        if named:
            self._config({}, self._named, registry)  # what is wrong with it shows now

    def rollout(
        self, built: BuiltRun, fields: Mapping[str, Any], policy: Choice, deterministic: bool, record: bool
    ) -> RolloutResult:
        """Runs episodes; see `RunContext.rollout`."""
        seeds = as_seeds(fields.get("episode_seeds"))
        prepared = self._prepared(built, {**fields, "episode_seeds": seeds}, policy, deterministic)
        config = prepared.config
        shown = config.render not in (None, RenderForm.terminal)
        save = config.trajectories or shown or config.run_dir is not None
        return perform(prepared, record, save, Output(terminal=False))

    def evaluate(self, built: BuiltRun, n_episodes: int) -> dict[str, float]:
        """Statistics of episodes; see `RunContext.evaluate`."""
        if self._named:
            prepared = self._prepared(built, {"n_episodes": n_episodes}, stage=FINAL)
            return dict(perform(prepared, record=False, save=False, out=Output(terminal=False)).statistics)
        with limited_threads(one_thread(built)):
            return dict(evaluate(built.runner, built.streams, FINAL, n_episodes, EpisodeTotals()).values)

    def decide(self, built: BuiltRun, observation: Any, actor: str | None, deterministic: bool) -> Any:
        """What is done for an observation; see `RunContext.compute_action`."""
        return Decisions(built.workspace.actors).decide(self._who(built, deterministic), observation, actor)

    def _who(self, built: BuiltRun, deterministic: bool) -> Acting:
        if deterministic not in self._acting:
            randomness = built.streams.generator("compute_action")
            if self._named:
                registry, items = self._choice(None, deterministic)
                config = self._config({}, items, registry).config
                assert isinstance(config, RolloutConfig)
                acting = build_acting(registry, config.policy, built.workspace.actors, built.kernel)
                if isinstance(acting, DrawsActions):
                    acting.begin(randomness)
                self._acting[deterministic] = acting
            else:
                self._acting[deterministic] = KernelPolicy(built.kernel, deterministic, randomness)
        return self._acting[deterministic]

    def _choice(self, policy: Choice, deterministic: bool) -> tuple[Registry, list[Item]]:
        """All specs, and overrides that choose who acts.

        Raises:
            UserError: If actions are to be drawn of a policy that decides as it does.
        """
        registry, items = (self._registry, self._named) if policy is None else choose_policy(self._registry, policy)
        if deterministic:
            return registry, items
        name = str(items[0].value) if items else TRAINED
        spec = registry.get("policy", name) if name in registry.names("policy") else None  # a preset has another name
        if isinstance(spec, PolicySpec) and not spec.networks:
            raise UserError(
                f"deterministic=False is for trained policies; policy={name} decides as it does. Leave it out."
            )
        drawn = Arguments(registry, LiveObjects()).items({}, {"policy.deterministic": False}, ())
        return registry, [*items, *drawn]

    def _prepared(
        self,
        built: BuiltRun,
        fields: Mapping[str, Any],
        policy: Choice = None,
        deterministic: bool = True,
        stage: str = "rollout",
    ) -> Prepared:
        """A rollout with the present weights."""
        registry, items = self._choice(policy, deterministic)
        configured = self._config(fields, items, registry)
        asked = commands.command("conf_rollout", (), (), True, [item.text for item in items], "rollout")
        weights = weights_of(built.policy, built.kernel.critic)
        return Prepared(registry, configured, weights, "the policy", f"{asked}  # of a RunContext, from Python", stage)

    def _config(self, fields: Mapping[str, Any], items: Sequence[Item], registry: Registry) -> Configured:
        config = self._configured.config
        spec = self._registry.of_config(type(config.runner))
        lent = spec is not None and isinstance(spec.build, GivenRunner)  # and at work for the training
        here = {"runner.n_workers": 0, "runner.kernel": config.runner.kernel.name} if lent else {}
        values = {**fields, "seed": config.seed, **here}
        given = {key: value for key, value in values.items() if value is not None}
        items = [*items, *Arguments(registry, LiveObjects()).items({}, given, ())]
        base = with_statistics_of_weights(self._configured)
        return rollout_config(registry, items, RolloutRequest(), base, with_runner=not lent)
