"""Decisions for observations that somebody brings: one or a batch, of a flat env or a structured one, with masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from support.build import CPU, registry
from support.spaces import allowed, any_space, mask_space, random_mask, sample_batch
from support.structured_envs import CARRY, CHOOSE, DIG, MineEnv, PorterEnv

from maze_core.errors import EnvFaultError, UserError
from maze_core.networks import build_policy
from maze_core.rl import Actors, Kernel, KernelPolicy, RandomPolicy, Streams, make_kernel
from maze_core.rl.decisions import Decisions
from maze_core.rl.spaces import ACTION_MASK, unbatch

FLAT = spaces.Box(-1, 1, (2,))
MASKED = spaces.Dict({"x": FLAT, ACTION_MASK: spaces.MultiBinary(3)})
N = 4


def make_policy(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], log_std: float | None = 0.0, **actors: Any
) -> Kernel:
    """A policy whose weights matter; new ones are nearly uniform."""
    config = registry().get("model", "flatten_concat").config(hidden_sizes=[7])
    who = Actors(observation_space, action_space, **actors)
    policy = build_policy(registry(), config, who, Streams(0), CPU, initial_log_std=log_std)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.models.parameters():
            weight.normal_(0, 0.5, generator=generator)
    return make_kernel(policy, CPU)


def decide(
    kernel: Kernel, observation: Any, actor: str | None = None, *, deterministic: bool = True, seed: int = 0
) -> Any:
    acting = KernelPolicy(kernel, deterministic, np.random.default_rng(seed))
    return Decisions(kernel.policy.actors).decide(acting, observation, actor)


def assert_close(one: Any, other: Any) -> None:
    """The same choices; numbers of a Box may differ in their last bits, as those of a matrix product do."""
    if isinstance(one, (dict, tuple)):
        keys = list(one) if isinstance(one, dict) else range(len(one))
        assert type(one) is type(other) and len(one) == len(other)
        for key in keys:
            assert_close(one[key], other[key])
    else:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def as_lists(value: Any) -> Any:
    """An observation as it comes out of JSON: tuples and arrays are lists."""
    if isinstance(value, dict):
        return {key: as_lists(part) for key, part in value.items()}
    return [as_lists(part) for part in value] if isinstance(value, tuple) else np.asarray(value).tolist()


def mine_observations(n: int) -> list[dict[str, Any]]:
    """What `MineEnv` shows in the first sub-steps of an episode, of both actors."""
    env = MineEnv()
    shown = [env.reset(seed=0)[0]]
    while len(shown) < n:
        shown.append(env.step({CHOOSE: 1, DIG: 0})[0])
    return shown


def stacked(observations: list[dict[str, Any]]) -> Any:
    first = observations[0]
    if not isinstance(first, dict):
        return np.stack(observations)
    return {key: stacked([observation[key] for observation in observations]) for key in first}


# One observation, or a batch


@given(any_space(), any_space(bounded=True), st.integers(0, 2**16))
def test_each_row_of_a_batch_is_decided_as_if_it_were_alone(
    observed: spaces.Space[Any], decided: spaces.Space[Any], seed: int
) -> None:
    kernel, batch = make_policy(observed, decided), sample_batch(observed, N, seed)
    actions = decide(kernel, batch)
    for row in range(N):
        alone = decide(kernel, unbatch(batch, row))
        assert_close(unbatch(actions, row), alone)
        assert decided.contains(alone)


@given(any_space(), st.integers(0, 2**16))
def test_lists_are_as_good_as_arrays(observed: spaces.Space[Any], seed: int) -> None:
    kernel, batch = make_policy(observed, spaces.Discrete(5)), sample_batch(observed, N, seed)
    assert decide(kernel, as_lists(batch)).tolist() == decide(kernel, batch).tolist()
    assert decide(kernel, as_lists(unbatch(batch, 0))) == decide(kernel, unbatch(batch, 0))


def test_a_tensor_is_as_good_as_an_array() -> None:
    kernel = make_policy(FLAT, spaces.Discrete(5))
    assert decide(kernel, torch.ones(3, 2)).tolist() == decide(kernel, np.ones((3, 2))).tolist()


def test_a_batch_of_one_is_a_batch() -> None:
    kernel = make_policy(FLAT, spaces.Discrete(5))
    assert decide(kernel, [[0.5, 1.0]]).tolist() == [decide(kernel, [0.5, 1.0])]


def test_a_number_is_one_observation_of_a_discrete_space_and_a_list_several() -> None:
    kernel = make_policy(spaces.Discrete(4), spaces.Discrete(5))
    assert decide(kernel, [3, 1]).tolist() == [decide(kernel, 3), decide(kernel, 1)]


@pytest.mark.parametrize(
    ("space", "observation", "words"),
    [
        (FLAT, np.zeros((0, 2)), "the batch is empty"),
        (FLAT, [], r"observation has the shape \[0\]; needed: \[2\], or \[n, 2\] for n of them"),
        (FLAT, np.zeros((1, 1, 2)), r"observation has the shape \[1, 1, 2\]"),
        (FLAT, np.zeros(3), r"observation has the shape \[3\]"),
        (FLAT, 1.0, r"observation has the shape \[\]"),
        (FLAT, "0.5", "observation is no array of numbers: '0.5'"),
        (FLAT, ["0.5", "1"], "observation is no array of numbers: "),
        (FLAT, [None, 1], "observation is no array of numbers: "),
        (FLAT, None, "observation is no array of numbers: None"),
        (FLAT, {"x": 1}, "observation is no array of numbers: "),
        (FLAT, np.zeros(2, complex), "observation is no array of numbers: "),
        (FLAT, [[0, 1], [2]], "inhomogeneous"),
        (FLAT, torch.zeros(2, requires_grad=True), "requires grad"),
        (spaces.Discrete(4), 1.5, r"observation has 1\.5, and its numbers must be whole"),
        (spaces.Discrete(4), [1.0, np.nan], "observation has nan, and its numbers must be whole"),
        (spaces.MultiBinary(2), [0, 2], "observation has numbers other than 0 and 1"),
        (MASKED, np.zeros(2), "observation is no mapping with the keys action_mask, x"),
        (MASKED, {"x": [0, 0]}, "observation has no part 'action_mask'"),
        (spaces.Dict({"x": FLAT}), {"x": [0, 0], ACTION_MASK: [1, 0]}, "observation has an unknown part 'action_mask'"),
        (MASKED, {"x": [[0, 0]] * 2, ACTION_MASK: [1, 1, 1]},
         r"observation\.action_mask is a single one, and observation\.x is a batch of 2"),
        (MASKED, {"x": [[0, 0]] * 2, ACTION_MASK: [[1, 1, 1]] * 3},
         r"observation\.action_mask is a batch of 3, and observation\.x is a batch of 2"),
        (MASKED, {"x": [0, 0], ACTION_MASK: [1, 0]}, r"observation\.action_mask has the shape \[2\]"),
        (MASKED, {"x": [0, 0], ACTION_MASK: [0.5, 0, 0]}, r"action_mask has 0\.5, and its numbers must be whole"),
        (MASKED, {"x": [0, 0], ACTION_MASK: [2, 0, 0]}, "action_mask has numbers other than 0 and 1"),
        (spaces.Tuple([FLAT, FLAT]), ([0, 0],), "observation is no tuple of 2 parts"),
        (spaces.Tuple([FLAT, spaces.Dict({"a": FLAT})]), ([0, 0], {"a": [0]}), r"observation\.1\.a has the shape"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_observation_is_refused_with_the_space_and_the_part(
    space: spaces.Space[Any], observation: Any, words: str
) -> None:
    with pytest.raises(
        UserError, match=rf"(?s)^the observation does not fit the space {type(space).__name__}.*{words}"
    ):
        decide(make_policy(space, spaces.Discrete(3)), observation)


def test_a_huge_value_is_cut_in_the_message() -> None:
    with pytest.raises(UserError) as error:
        decide(make_policy(FLAT, spaces.Discrete(3)), ["x" * 10_000] * 2)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("row", [0, 1])
def test_a_number_that_is_not_finite_names_its_row(row: int) -> None:
    batch = np.zeros((3, 2))
    batch[row] = np.inf
    with pytest.raises(EnvFaultError, match=rf"observation is not finite: .*\(row {row} of the batch\)$"):
        decide(make_policy(FLAT, spaces.Discrete(3)), batch)


def test_of_a_single_observation_no_row_is_named() -> None:
    with pytest.raises(EnvFaultError, match=r"is not finite: \[nan  0\.\]$"):
        decide(make_policy(FLAT, spaces.Discrete(3)), [np.nan, 0])


def test_what_a_policy_raises_is_not_blamed_on_the_observation() -> None:
    class Broken:
        def act(self, turn: Any) -> Any:
            raise ValueError("the lamp is broken")

    with pytest.raises(ValueError, match=r"^the lamp is broken$"):
        Decisions(Actors(FLAT, spaces.Discrete(3))).decide(Broken(), [0, 0])


# Masks


@given(any_space(), st.booleans(), st.integers(0, 2**16))
def test_every_action_of_a_batch_respects_its_own_mask(
    decided: spaces.Space[Any], deterministic: bool, seed: int
) -> None:
    masks = mask_space(decided)
    observed = spaces.Dict({"x": FLAT, **({} if masks is None else {ACTION_MASK: masks})})
    mask = random_mask(decided, N, np.random.default_rng(seed))
    batch = {"x": sample_batch(FLAT, N, seed), **({} if mask is None else {ACTION_MASK: mask})}
    actions = decide(make_policy(observed, decided), batch, deterministic=deterministic, seed=seed)
    assert all(
        allowed(decided, None if mask is None else unbatch(mask, row), unbatch(actions, row)) for row in range(N)
    )


@pytest.mark.parametrize(
    "mask", [[0, 0, 1], [False, False, True], [0.0, 0.0, 1.0], np.array([0, 0, 1], np.uint8)], ids=str
)
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_mask_may_have_any_kind_of_zeros_and_ones(mask: Any, deterministic: bool) -> None:
    kernel = make_policy(MASKED, spaces.Discrete(3))
    actions = [
        decide(kernel, {"x": [x, -x], ACTION_MASK: mask}, deterministic=deterministic, seed=seed)
        for seed, x in enumerate(np.linspace(-1, 1, 9))
    ]
    assert actions == [2] * 9


@pytest.mark.parametrize("row", [0, 2])
def test_a_mask_that_allows_nothing_names_its_row(row: int) -> None:
    mask = np.ones((3, 3), np.int8)
    mask[row] = 0
    with pytest.raises(EnvFaultError, match=rf"'action' allows nothing \(row {row} of the batch\)$"):
        decide(make_policy(MASKED, spaces.Discrete(3)), {"x": np.zeros((3, 2)), ACTION_MASK: mask})


def test_the_mask_of_a_single_observation_that_allows_nothing_names_no_row() -> None:
    with pytest.raises(EnvFaultError, match=r"'action' allows nothing$"):
        decide(make_policy(MASKED, spaces.Discrete(3)), {"x": [0, 0], ACTION_MASK: [0, 0, 0]})


# Drawn actions


def test_the_same_seed_draws_the_same_actions_and_another_one_others() -> None:
    kernel, batch = make_policy(FLAT, spaces.Discrete(5)), np.zeros((50, 2))
    first, again, other = (decide(kernel, batch, deterministic=False, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_drawn_actions_follow_each_other() -> None:
    kernel = make_policy(FLAT, spaces.Discrete(5))
    acting = KernelPolicy(kernel, False, np.random.default_rng(0))
    drawn = [int(Decisions(kernel.policy.actors).decide(acting, [0, 0])) for _ in range(50)]
    assert set(drawn) == set(range(5))


def test_actions_of_a_box_are_drawn_around_their_mean() -> None:
    kernel = make_policy(FLAT, spaces.Box(-100, 100, (1,)), log_std=np.log(3.0))
    drawn = decide(kernel, np.zeros((2000, 2)), deterministic=False) - decide(kernel, np.zeros((2000, 2)))
    assert (float(drawn.mean()), float(drawn.std())) == pytest.approx((0, 3), abs=0.2)


@pytest.mark.parametrize(
    "decided", [spaces.Box(-1, 1, (1,)), spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1, (2,))})]
)
def test_actions_of_a_box_whose_deviations_were_never_learned_cannot_be_drawn(decided: spaces.Space[Any]) -> None:
    kernel = make_policy(FLAT, decided, log_std=None)
    with pytest.raises(UserError, match=r"actor 'substep_0' cannot be drawn: .*most probable actions"):
        decide(kernel, [0, 0], deterministic=False)


def test_choices_can_be_drawn_whatever_trained_them() -> None:
    kernel = make_policy(FLAT, spaces.Discrete(3), log_std=None)
    assert decide(kernel, [0, 0], deterministic=False) in (0, 1, 2)


# Structured envs


def structured(make_env: Callable[[], Any] = MineEnv, **actors: Any) -> Kernel:
    env = make_env()
    return make_policy(env.observation_space, env.action_space, **actors)


@pytest.mark.parametrize("deterministic", [True, False])
def test_whole_observations_get_a_list_of_actions_in_their_order(deterministic: bool) -> None:
    shown = mine_observations(12)
    assert len({int(observation["actor"]) for observation in shown}) == 2
    actions = decide(structured(), stacked(shown), deterministic=deterministic)
    assert isinstance(actions, list)
    spaces_of = MineEnv().action_space
    for observation, action in zip(shown, actions, strict=True):
        key = (CHOOSE, DIG)[int(observation["actor"])]
        mask = observation[DIG][ACTION_MASK] if key == DIG else None
        assert spaces_of[key].contains(action)
        assert allowed(spaces_of[key], mask, action)


def test_a_whole_observation_is_decided_as_in_a_batch() -> None:
    kernel, shown = structured(), mine_observations(12)
    assert decide(kernel, stacked(shown)) == [decide(kernel, observation) for observation in shown]


def test_an_actor_may_be_asked_about_what_it_sees_itself() -> None:
    kernel, shown = structured(), mine_observations(12)
    whole = decide(kernel, stacked(shown))
    own = [decide(kernel, seen[key], key) for seen in shown for key in [(CHOOSE, DIG)[int(seen["actor"])]]]
    assert own == whole


def test_a_batch_for_one_actor_is_an_array() -> None:
    digs = [seen[DIG] for seen in mine_observations(12) if seen["actor"] == 1]
    actions = decide(structured(), stacked(digs), DIG)
    assert actions.tolist() == [decide(structured(), seen, DIG) for seen in digs]


def test_the_actor_of_a_flat_env_has_a_name_too() -> None:
    kernel = make_policy(FLAT, spaces.Discrete(3))
    assert decide(kernel, [0, 0], "substep_0") == decide(kernel, [0, 0])


def test_an_agent_with_networks_of_its_own_is_known_by_the_observation_or_by_name() -> None:
    kernel = structured(PorterEnv, separate_agents=True)
    shown, _ = PorterEnv().reset(seed=0)
    own = {**shown, "agent": np.int64(2)}
    assert decide(kernel, own) == decide(kernel, shown[CARRY], f"{CARRY}-2")


@pytest.mark.parametrize("kernel", [structured, lambda: make_policy(FLAT, spaces.Discrete(3))])
def test_an_actor_that_does_not_exist_is_refused_with_those_that_do(kernel: Callable[[], Kernel]) -> None:
    with pytest.raises(UserError, match=r"actor='dog' is not allowed: the env's actors are (choose, dig|substep_0)\."):
        decide(kernel(), [0, 0], "dog")


@pytest.mark.parametrize("actor", [2, -1])
def test_an_observation_of_an_actor_that_does_not_exist_names_its_row(actor: int) -> None:
    batch = stacked(mine_observations(3))
    batch["actor"][1] = actor
    with pytest.raises(
        EnvFaultError, match=rf"there is no actor {actor}; they count from 0 to 1 \(row 1 of the batch\)"
    ):
        decide(structured(), batch)


def test_an_agent_that_does_not_exist_is_refused() -> None:
    shown, _ = PorterEnv().reset(seed=0)
    with pytest.raises(EnvFaultError, match="there is no agent -1; they count from 0 to 2"):
        decide(structured(PorterEnv, separate_agents=True), {**shown, "agent": np.int64(-1)})


def test_who_acts_may_be_said_with_a_whole_float() -> None:
    shown = mine_observations(12)
    batch = stacked(shown)
    batch["actor"] = batch["actor"].astype(float)
    assert decide(structured(), batch) == decide(structured(), stacked(shown))


def test_a_fault_of_an_actor_names_the_row_of_the_whole_batch() -> None:
    batch = stacked(mine_observations(12))
    row = int(np.flatnonzero(batch["actor"] == 1)[0])
    assert row > 0
    batch[DIG]["below"][row] = np.nan
    with pytest.raises(EnvFaultError, match=rf"below is not finite: \[nan\] \(row {row} of the batch\)"):
        decide(structured(), batch)


def test_a_structured_observation_without_who_acts_is_refused() -> None:
    (shown,) = mine_observations(1)
    del shown["actor"]
    with pytest.raises(UserError, match="observation has no part 'actor'"):
        decide(structured(), shown)


def test_a_policy_without_networks_decides_too() -> None:
    actors = Actors(MASKED, spaces.Discrete(3))
    random = RandomPolicy(actors, np.random.default_rng(0))
    batch = {"x": np.zeros((30, 2)), ACTION_MASK: np.tile([1, 0, 1], (30, 1))}
    assert set(Decisions(actors).decide(random, batch).tolist()) == {0, 2}
