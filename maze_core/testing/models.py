"""Checks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import nn
from torch.func import functional_call, vmap

from maze_core.env_factory import EnvFactory
from maze_core.rl.actors import Actors
from maze_core.rl.autograd_kernel import tensors
from maze_core.rl.critics import VALUE
from maze_core.rl.dense_kernel import DenseNet
from maze_core.rl.spaces import Encoded, ObservationEncoder, batch_size, concatenated, copied, flatten, take_rows
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.run_config import PerActorConfig
from maze_core.testing.candidates import InEnvs, actors_of
from maze_core.testing.conformance import other_randomness
from maze_core.testing.playing import VectorPlay

BATCH_SIZES = (1, 2, 7)
POPULATION, N_ENVS, N_TICKS, LARGE = 3, 4, 16, 10.0
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
CPU = torch.device("cpu")

Outputs = Mapping[str, torch.Tensor]


class Case:
    """A model for one actor of one env.

    Args:
        build: Makes it, ``(config, observation_space, output_sizes)``.
        config: Its config.
        actors: Of the env.
        step_key: Of the actor.
        observations: What the actor observed while the env was played, encoded, leaves [n, ...].
    """

    def __init__(self, build: Any, config: Any, actors: Actors, step_key: str, observations: Encoded) -> None:
        self._build, self._config, self._observations = build, config, observations
        self.space = ObservationEncoder(actors.by_key[step_key].observation_space).space
        self.step_key, self.output_sizes = step_key, dict(actors.by_key[step_key].heads.output_sizes)
        self.model()  # which raises if it cannot read this

    def model(self, seed: int = 0, output_sizes: Mapping[str, int] | None = None) -> nn.Module:
        """A new one in evaluation mode, made while torch's generator has this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: nn.Module = self._build(deepcopy(self._config), self.space, output_sizes or self.output_sizes)
        return model.eval()

    def encoded(self, n: int) -> Encoded:
        """Encoded observations, arrays [n, ...]."""
        rows = np.random.default_rng(n).integers(batch_size(self._observations), size=n)
        encoded: Encoded = take_rows(self._observations, rows)
        return encoded

    def outputs(self, model: nn.Module, encoded: Encoded) -> Outputs:
        """What a model puts out for encoded observations."""
        with torch.no_grad():
            outputs: Outputs = model(tensors(encoded, CPU))
        return outputs


def observed(factory: EnvFactory) -> dict[str, Encoded]:
    """What each actor of an env observes while it is played, and random members of its space, leaves [n, ...]."""
    play = VectorPlay(InProcessVectorEnv(factory, N_ENVS))
    encoders = {key: ObservationEncoder(actor.observation_space) for key, actor in play.actors.by_key.items()}
    found = {
        key: [encoders[key].encode(sampled(actor.observation_space, N_ENVS * N_TICKS))]
        for key, actor in play.actors.by_key.items()
    }
    for _ in play.ticks(N_TICKS):
        for turn, _ in play.decisions:
            found[turn.step_key].append(copied(encoders[turn.step_key].encode(turn.observation)))
    return {key: concatenated(parts) for key, parts in found.items()}


def sampled(space: spaces.Space[Any], n: int) -> Any:
    """Random members of a space as a batch, leaves [n, ...]; where a Box has no bounds they stay small."""
    batched = batch_space(space, n)
    batched.seed(0)
    return _bounded(batched.sample())


def _bounded(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: _bounded(part) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map(_bounded, batch))
    return batch.clip(-LARGE, LARGE) if batch.dtype.kind == "f" else batch


class ModelConformance(InEnvs):
    """Checks of a model: ``name = "my_model"``.

    It is made for every actor of the toys, or of `env`, whose observations it reads.
    """

    what = "model"

    @property
    def cases(self) -> list[tuple[str, Case]]:
        """What it is made for: where, and the model."""
        if issubclass(self.spec.config, PerActorConfig):
            self.skip("it chooses models, and is none itself")
        made = self.once("cases", lambda: self.tried(self._of_actors))
        return [(f"env {name!r}, actor {case.step_key!r}", case) for name, cases in made for case in cases]

    def _of_actors(self, factory: EnvFactory) -> list[Case]:
        """Models for those actors of an env that it reads.

        Raises:
            Exception: Whatever it raised, if it reads none.
        """
        actors, found, problem = actors_of(factory), [], ValueError("no actor had a turn")
        for step_key, observations in observed(factory).items():
            try:
                found.append(Case(self.make, self.config(), actors, step_key, observations))
            except Exception as error:  # it may be made for other observations
                problem = error  # type: ignore[assignment]
        if not found:
            raise problem
        return found

    def test_outputs_have_the_sizes_of_the_heads(self) -> None:
        """Finite float32, whatever the batch."""
        for where, case in self.cases:
            for n in BATCH_SIZES:
                self._expect_sizes(where, case, case.model(), case.output_sizes, n)

    def test_puts_out_a_value(self) -> None:
        """Critics ask the same model for one number."""
        for where, case in self.cases:
            with self.telling(f"{where}, asked for a value"):
                model = case.model(output_sizes={VALUE: 1})
            self._expect_sizes(where, case, model, {VALUE: 1}, 2)

    def _expect_sizes(self, where: str, case: Case, model: nn.Module, sizes: Mapping[str, int], n: int) -> None:
        outputs = case.outputs(model, case.encoded(n))
        self.expect(isinstance(outputs, Mapping), f"{where}: it puts out a {type(outputs).__name__}, not a mapping.")
        for head, size in sizes.items():
            value = outputs.get(head)
            shape = None if value is None else list(value.shape)
            self.expect(
                shape == [n, size],
                f"{where}: of {n} observations it puts out {head} {shape}; it must be {[n, size]}.",
            )
            assert value is not None
            sound = value.dtype == torch.float32 and bool(torch.isfinite(value).all())
            self.expect(sound, f"{where}: {head} is {value.dtype}, {value}; it must be finite float32.")

    def test_rows_do_not_depend_on_the_batch(self) -> None:
        """An observation means the same with whatever neighbours."""
        for where, case in self.cases:
            model, batch = case.model(), case.encoded(max(BATCH_SIZES))
            together = case.outputs(model, batch)
            for row in range(max(BATCH_SIZES)):
                alone = case.outputs(model, take_rows(batch, slice(row, row + 1)))
                for head, value in alone.items():
                    close = torch.allclose(value[0], together[head][row], **TOLERANCE)  # type: ignore[arg-type]
                    self.expect(
                        close,
                        f"{where}: {head} of row {row} is {together[head][row]} in a batch and {value[0]} alone. In "
                        "evaluation mode nothing may be computed over the batch; no batch normalisation.",
                    )

    def test_gradients_reach_all_weights(self) -> None:
        """Every parameter that is registered learns."""
        for where, case in self.cases:
            model = case.model().train()
            with torch.no_grad():
                generator = torch.Generator().manual_seed(0)
                for parameter in model.parameters():  # what begins as zeros hides what lies before it
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            outputs = model(tensors(case.encoded(64), CPU))
            torch.stack([(value**2).sum() for value in outputs.values()]).sum().backward()  # type: ignore[no-untyped-call]
            self._expect_gradients(where, case, model)

    def _expect_gradients(self, where: str, case: Case, model: nn.Module) -> None:
        learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.expect(bool(learning), f"{where}: it has no weights to learn.")
        for name, parameter in learning:
            reached = parameter.grad is not None and bool(parameter.grad.any())
            self.expect(
                reached, f"{where}: no gradient reaches {name}. Use it in forward, or leave it out; do not detach."
            )

    def test_state_dict_says_all(self) -> None:
        """Another one with the same state puts out the same bits."""
        for where, case in self.cases:
            one, other, batch = case.model(1), case.model(2), case.encoded(5)
            other.load_state_dict(one.state_dict())
            found = _difference(case.outputs(one, batch), case.outputs(other, batch))
            self.expect(
                found is None,
                f"{where}: after load_state_dict(other.state_dict()) {found} differs. Register all that is learned or "
                "drawn as nn.Parameter or buffer.",
            )

    def test_a_seed_says_the_first_weights(self) -> None:
        """They are drawn from torch's generator alone."""
        for where, case in self.cases:
            weights = []
            for number in (1, 2):
                with other_randomness(number):
                    weights.append(case.model(3).state_dict())
            found = _difference(*weights)
            self.expect(found is None, f"{where}: with the same torch seed {found} differs. Draw weights with torch.")

    def test_inputs_stay_as_they_were(self) -> None:
        """The same arrays are used again."""
        for where, case in self.cases:
            batch = case.encoded(3)
            before = flatten(batch).copy()
            case.outputs(case.model(), batch)
            self.expect(bool((flatten(batch) == before).all()), f"{where}: forward writes into its inputs. Copy them.")

    def test_populations_are_computed_at_once(self) -> None:
        """`torch.vmap` gives what each member gives; if it cannot be used, that is noted."""
        for where, case in self.cases:
            model, batch = case.model(), case.encoded(POPULATION)
            members = [dict(case.model(seed).named_parameters()) for seed in range(POPULATION)]
            stacked = {name: torch.stack([member[name].detach() for member in members]) for name in members[0]}

            def member(weights: Any, observation: Any, model: nn.Module = model) -> Any:
                row = _map(observation, lambda leaf: leaf[None])
                return {head: value[0] for head, value in functional_call(model, weights, (row,)).items()}

            try:
                with torch.no_grad():
                    together = vmap(member)(stacked, tensors(batch, CPU))
            except (RuntimeError, ValueError, NotImplementedError) as error:
                self.note(f"{where}: torch.vmap cannot batch it, so es computes one member after the other: {error}")
                continue
            for index in range(POPULATION):
                alone = case.outputs(case.model(index), take_rows(batch, slice(index, index + 1)))
                for head, value in alone.items():
                    close = torch.allclose(value[0], together[head][index], **TOLERANCE)  # type: ignore[arg-type]
                    self.expect(close, f"{where}: member {index} of a population puts out another {head} than alone.")

    def test_shortcuts_give_the_same(self) -> None:
        """`dense_layers` and `without_padding`, where they are offered, change no output."""
        for where, case in self.cases:
            model, batch = case.model(), case.encoded(5)
            expected = case.outputs(model, batch)
            if hasattr(model, "dense_layers"):
                dense: Any = model
                joined = DenseNet.of(dense.dense_layers()).outputs(flatten(batch))
                parts = np.split(joined, np.cumsum(list(case.output_sizes.values()))[:-1], axis=1)
                for (head, _), part in zip(case.output_sizes.items(), parts, strict=True):
                    close = np.allclose(part, expected[head].numpy(), **TOLERANCE)  # type: ignore[arg-type]
                    self.expect(close, f"{where}: dense_layers() describes another network, which differs in {head}.")
            if hasattr(model, "without_padding"):
                padded: Any = model
                shorter = case.outputs(model, padded.without_padding(batch))
                for head, value in expected.items():
                    close = torch.allclose(value, shorter[head], **TOLERANCE)  # type: ignore[arg-type]
                    self.expect(close, f"{where}: without_padding() changes {head}; drop only what does not count.")


def _difference(one: Outputs, other: Outputs) -> str | None:
    """The first tensor whose bits differ, or None."""
    return next((name for name, value in one.items() if not torch.equal(value, other[name])), None)


def _map(tree: Any, function: Any) -> Any:
    return {key: _map(value, function) for key, value in tree.items()} if isinstance(tree, Mapping) else function(tree)
