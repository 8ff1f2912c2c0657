"""What the kit finds of models and critics, and that it finds nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.conformance import failures, options
from torch import nn

from maze_core import CriticSpec, ModelSpec
from maze_core.rl import VALUE, Critic, DenseSpec
from maze_core.testing import CriticConformance, ModelConformance
from maze_core.testing.toy_search import Linear

FLAT = "toy_flat"


class Plain(Linear):
    """A linear network without shortcuts."""

    dense_layers: Any = None

    def __getattribute__(self, name: str) -> Any:
        if name == "dense_layers" and type(self) is Plain:
            raise AttributeError(name)
        return super().__getattribute__(name)


def changed(change: Callable[[Any, dict[str, torch.Tensor]], Any]) -> type[Linear]:
    """A linear network whose outputs are changed by a function of it and of them."""

    class Changed(Linear):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.unused = nn.Linear(2, 2)
            self.scale = torch.rand(1)

        def forward(self, observation: Any) -> Any:
            self.observation = observation
            return change(self, super().forward(observation))

    return Changed


def halved(model: Any, outputs: Any) -> Any:
    return {head: value[:, :1] for head, value in outputs.items()}


def doubled(model: Any, outputs: Any) -> Any:
    return {head: value.double() for head, value in outputs.items()}


def centred(model: Any, outputs: Any) -> Any:
    return {head: value - value.mean(dim=0) for head, value in outputs.items()}


def scaled(model: Any, outputs: Any) -> Any:
    return {head: value * model.scale for head, value in outputs.items()}


def overwriting(model: Any, outputs: Any) -> Any:
    model.observation["values"].zero_()
    return outputs


def depending_on_values(model: Any, outputs: Any) -> Any:
    return {head: value + float(value.sum() * 0) for head, value in outputs.items()}


class NoValue(Linear):
    """Knows no other heads than actions."""

    def __init__(self, config: Any, space: Any, sizes: Any) -> None:
        if VALUE in sizes:
            raise KeyError("value")
        super().__init__(config, space, sizes)


class DrawsFromNumPy(Linear):
    """Draws its first weights from NumPy."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.from_numpy(np.random.normal(size=tuple(weight.shape))))


class OtherLayers(Linear):
    """Describes another network."""

    def dense_layers(self) -> DenseSpec:
        layers = [nn.Linear(layer.in_features, layer.out_features) for layer in self.dense.linear_layers()]
        return DenseSpec(layers, self.dense.activation, self.output_sizes)


class DropsTooMuch(Linear):
    """Drops what counts."""

    def without_padding(self, observation: Any) -> Any:
        return {**observation, "values": observation["values"] * 0}


class RefusesAll(Linear):
    """Reads nothing."""

    def __init__(self, config: Any, space: Any, sizes: Any) -> None:
        raise KeyError("inventory")


def model(build: Any) -> ModelSpec:
    return ModelSpec(name="subject", summary="A model.", config=options(), build=build)


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (changed(halved), "test_outputs_have_the_sizes_of_the_heads", "action [1, 1]; it must be [1, 4]"),
        (changed(doubled), "test_outputs_have_the_sizes_of_the_heads", "it must be finite float32"),
        (RefusesAll, "test_outputs_have_the_sizes_of_the_heads", "KeyError: 'inventory'"),
        (NoValue, "test_puts_out_a_value", "it raised KeyError: 'value'"),
        (changed(centred), "test_rows_do_not_depend_on_the_batch", "no batch normalisation"),
        (changed(lambda _, outputs: outputs), "test_gradients_reach_all_weights", "no gradient reaches unused.weight"),
        (changed(scaled), "test_state_dict_says_all", "Register all that is learned"),
        (DrawsFromNumPy, "test_a_seed_says_the_first_weights", "Draw weights with torch"),
        (changed(overwriting), "test_inputs_stay_as_they_were", "forward writes into its inputs"),
        (changed(scaled), "test_populations_are_computed_at_once", "member 1 of a population puts out another action"),
        (OtherLayers, "test_shortcuts_give_the_same", "dense_layers() describes another network"),
        (DropsTooMuch, "test_shortcuts_give_the_same", "without_padding() changes action"),
    ],
    ids=lambda value: None,
)
def test_of_a_model_it_finds(build: Any, check: str, words: str) -> None:
    env = {} if build is RefusesAll else {"env": FLAT}
    assert words in failures(ModelConformance, model(build), only=check, **env).get(check, "nothing")


def test_a_model_that_keeps_the_contract_passes() -> None:
    assert failures(ModelConformance, model(Plain)) == {}


def test_a_model_that_cannot_be_batched_over_members_is_noted() -> None:
    noted: list[str] = []
    build = changed(depending_on_values)
    record = {"note": lambda self, text: noted.append(text), "env": FLAT}
    assert failures(ModelConformance, model(build), only="test_populations_are_computed_at_once", **record) == {}
    assert "torch.vmap cannot batch it, so es computes one member after the other" in noted[0]


class TestToyLinear(ModelConformance):
    name = "toy_linear"


def critic(build: Any, **fields: Any) -> CriticSpec:
    return CriticSpec(name="subject", summary="A critic.", config=options(), build=build, **fields)


def per_sub_step(config: Any, step_keys: Any, make_model: Any) -> Critic:
    return Critic({key: make_model(key) for key in step_keys}, per_sub_step=True)


def only_first(config: Any, step_keys: Any, make_model: Any) -> Critic:
    return Critic({step_keys[0]: make_model(step_keys[0])}, per_sub_step=True)


class Infinite(nn.Module):
    """Puts out infinite values."""

    def forward(self, observation: Any) -> Any:
        return {VALUE: torch.full((len(observation["values"]), 1), torch.inf)}


def infinite(config: Any, step_keys: Any, make_model: Any) -> Critic:
    return Critic({step_keys[0]: Infinite()}, per_sub_step=False)


CONTRACT = "test_has_a_network_for_all_that_has_a_value"


@pytest.mark.parametrize(
    ("subject", "check", "words"),
    [
        (critic(lambda *arguments: 3), CONTRACT, "build returned a int"),
        (critic(only_first), CONTRACT, "it has networks for pick; with per_sub_step=True they must be for pick, place"),
        (critic(per_sub_step, in_policy=True), CONTRACT, "its Critic has in_policy=False"),
        (critic(infinite), "test_values_are_finite_numbers", "finite values"),
    ],
    ids=lambda value: None,
)
def test_of_a_critic_it_finds(subject: CriticSpec, check: str, words: str) -> None:
    assert words in failures(CriticConformance, subject, only=check).get(check, "nothing")


def test_a_critic_that_keeps_the_contract_passes() -> None:
    assert failures(CriticConformance, critic(per_sub_step)) == {}
