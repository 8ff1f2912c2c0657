"""Who acts for a context: the policy that it trains, or one that was named instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maze_core.api import commands
from maze_core.api.rollouts import Prepared, RolloutRequest, RolloutResult, perform, rollout_config
from maze_core.build import BuiltRun, build_rollout
from maze_core.config import Configured
from maze_core.config.arguments import Arguments, Choice
from maze_core.config.overrides import Item
from maze_core.console import Output
from maze_core.enums import RenderForm
from maze_core.live import LiveObjects
from maze_core.protocols import Acting
from maze_core.registry import Registry
from maze_core.rl.acting import KernelPolicy
from maze_core.rl.decisions import Decisions
from maze_core.rl.policy import weights_of
from maze_core.runs.evaluate import evaluate
from maze_core.runs.launch import one_thread
from maze_core.runs.threads import limited_threads
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
        prepared = self._prepared(built, fields, policy, deterministic)
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
        key = deterministic or bool(self._named)  # who is named does what it does
        if key not in self._acting:
            if self._named:
                configured = self._config({}, self._named, self._registry)
                rollout = build_rollout(self._registry, configured, weights_of(built.policy, built.kernel.critic))
                self._acting[key] = rollout.workspace.acting
                rollout.close()
            else:
                self._acting[key] = KernelPolicy(built.kernel, key, built.streams.generator("compute_action"))
        return self._acting[key]

    def _prepared(
        self,
        built: BuiltRun,
        fields: Mapping[str, Any],
        policy: Choice = None,
        deterministic: bool = True,
        stage: str = "rollout",
    ) -> Prepared:
        """A rollout with the present weights."""
        live = LiveObjects()
        arguments = Arguments(self._registry, live)
        items = self._named if policy is None else arguments.group_items("policy", policy)
        if not deterministic:
            items = [*items, *arguments.items({}, {}, {"policy.deterministic": False})]
        registry = live.known_to(self._registry)
        configured = self._config(fields, items, registry)
        asked = commands.command("conf_rollout", (), (), True, [item.text for item in items], "rollout")
        weights = weights_of(built.policy, built.kernel.critic)
        return Prepared(registry, configured, weights, "the policy", f"{asked}  # of a RunContext, from Python", stage)

    def _config(self, fields: Mapping[str, Any], items: Sequence[Item], registry: Registry) -> Configured:
        seeded = {**fields, "seed": self._configured.config.seed}
        given = {key: value for key, value in seeded.items() if value is not None}
        items = [*items, *Arguments(registry, LiveObjects()).items({}, given, ())]
        return rollout_config(registry, items, RolloutRequest(), self._configured, with_runner=True)
