"""Gradients of policies and critics: both kernels against each other, and against finite differences."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import CPU, registry
from support.envs import PICK, PLACE, TwoStepEnv
from support.spaces import any_space, random_mask, sample_batch
from torch import nn
from torch.nn import functional

from maze_core import Activation, NonFiniteError, UserError
from maze_core.enums import BoxDistribution, KernelChoice
from maze_core.networks import build_networks
from maze_core.rl import (
    FLAT,
    ActorCriticLoss,
    Actors,
    Adam,
    AutogradKernel,
    Collector,
    Critic,
    DenseKernel,
    DenseSpec,
    FlatParameters,
    InProcessVectorEnv,
    Policy,
    RMSProp,
    Samples,
    Streams,
    StructuredEnv,
    Turn,
    clipped_surrogate,
    make_kernel,
    policy_gradient,
    set_vector,
)
from maze_core.rl.spaces import take_rows
from maze_core.run_config import TrainingConfig

CRITICS = ["shared", "per_sub_step", "shared_embedding", "none"]
VECTOR = spaces.Box(-1, 1, (3,))
PPO_LOSS = partial(clipped_surrogate, clip_range=0.2)


def make_networks(actors, critic="shared", seed=0, **model):
    """Policy and critic with weights that matter; new ones are almost zero in the last layer."""
    config = TrainingConfig(
        model=registry().get("model", "flatten_concat").config(**{"hidden_sizes": [5], **model}),
        critic=registry().get("critic", critic).config(),
        algorithm=registry().get("algorithm", "ppo").config(),
        seed=seed,
    )
    return spread(*build_networks(registry(), config, actors, CPU, None), seed)


def spread(policy, critic, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for module in (policy, critic):
        if module is not None:
            n = sum(parameter.numel() for parameter in module.parameters())
            set_vector(module, torch.randn(n, generator=generator) * 0.3)
    return policy, critic


def both_kernels(policy, critic):
    """Each with weights of its own; they move them into one vector."""
    kernels = DenseKernel(*copy.deepcopy((policy, critic))), AutogradKernel(policy, CPU, critic)
    assert make_kernel(policy, CPU, critic).name == "dense"
    return kernels


def small(encoded):
    return {key: small(v) if isinstance(v, dict) else np.tanh(v / 5) for key, v in encoded.items()}


def make_samples(policy, critic, n, seed=0, key=FLAT, masked=True):
    """Samples of an actor that have already been learned from: the policy has moved a little."""
    generator, actor = np.random.default_rng(seed), policy.actors.by_key[key]
    observation = small(policy.encode(Turn(key, None, sample_batch(actor.observation_space, n, seed))))
    mask = random_mask(actor.action_space, n, generator) if masked else None
    kernel, heads, log_std = AutogradKernel(policy, CPU, critic), actor.heads, policy.log_std(key)
    outputs = kernel.outputs(key, observation)
    actions = heads.sample(outputs, log_std, heads.noise(generator, (n,)), mask).astype(np.float32)
    log_probs = heads.evaluate(outputs, log_std, actions, mask).log_probs
    numbers = generator.normal(size=(4, n)).astype(np.float32)
    values = 0.2 * numbers[2] + (0 if critic is None else kernel.values(key, observation))
    valued = np.zeros(n, bool) if critic is None else None
    old_log_probs = log_probs + 0.2 * numbers[0]
    return Samples(key, observation, mask, actions, old_log_probs, numbers[1], valued, values, values + numbers[3])


def gradients(kernel, samples, policy_loss=PPO_LOSS, value_clip_range=None, normalize=True):
    loss = ActorCriticLoss(kernel.policy, samples, policy_loss, 0.01, 0.5, value_clip_range, normalize)
    with np.errstate(invalid="ignore"):  # as `Kernel.learning` does: kernels of OpenBLAS look at what is beside a row
        kernel.gradients(samples, loss)
    return kernel.parameters.gradients.numpy().copy()


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(1e-3, np.abs(expected).max()))


@settings(max_examples=40)
@given(
    any_space(), any_space(bounded=True), st.sampled_from(list(BoxDistribution)), st.sampled_from(CRITICS),
    st.sampled_from(list(Activation)), st.sampled_from([[], [4], [6, 5]]), st.booleans(), st.integers(1, 9),
)  # fmt: skip
def test_dense_equals_autograd(observation, action, distribution, critic, activation, hidden_sizes, masked, n):
    actors = Actors(observation, action, distribution)
    policy, critic = make_networks(actors, critic, hidden_sizes=hidden_sizes, activation=activation)
    samples = make_samples(policy, critic, n, masked=masked)
    dense, autograd = both_kernels(policy, critic)
    assert_close(gradients(dense, [samples]), gradients(autograd, [samples]))
    assert_close(dense.outputs(FLAT, samples.observation), autograd.outputs(FLAT, samples.observation))
    if critic is not None:
        assert_close(dense.values(FLAT, samples.observation), autograd.values(FLAT, samples.observation))


def structured_samples(policy, critic, **options):
    """What was experienced in a structured env with masks."""
    kernel = AutogradKernel(policy, CPU, critic)
    collector = Collector(InProcessVectorEnv(lambda: TwoStepEnv(varied=True, **options), 3), kernel, Streams(0))
    generator, found = np.random.default_rng(0), []
    for samples in collector.collect(7).experience(kernel, 0.9, 0.9).samples():
        noise = generator.normal(0, 0.2, (2, len(samples.log_probs))).astype(np.float32)
        values = samples.values + noise[0][: len(samples.values)]
        found.append(replace(samples, log_probs=samples.log_probs + noise[1], values=values))
    return found


def structured_actors():
    env = TwoStepEnv()
    return Actors(env.observation_space, env.action_space)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("uneven", [False, True])
def test_dense_equals_autograd_for_several_actors(critic, activation, uneven):
    policy, critic = make_networks(structured_actors(), critic, activation=activation)
    samples = structured_samples(policy, critic, uneven=uneven)
    dense, autograd = both_kernels(policy, critic)
    assert [part.step_key for part in samples] == [PICK, PLACE]
    for parts in (samples, samples[::-1], samples[:1], samples[1:]):
        assert_close(gradients(dense, parts), gradients(autograd, parts))
    for part in samples:
        assert_close(dense.outputs(part.step_key, part.observation), autograd.outputs(part.step_key, part.observation))
        if critic is not None and critic.values_of(part.step_key):
            assert_close(
                dense.values(part.step_key, part.observation), autograd.values(part.step_key, part.observation)
            )


BOTH = pytest.mark.parametrize("which", [0, 1], ids=["dense", "autograd"])
ACTIONS = spaces.Dict({"box": spaces.Box(-1, 1, (2,)), "way": spaces.MultiDiscrete([2, 3])})


def small_case(critic="shared", which=0, n=6):
    policy, critic = make_networks(Actors(VECTOR, ACTIONS), critic)
    samples = make_samples(policy, critic, n)
    return both_kernels(policy, critic)[which], [samples]


@BOTH
@pytest.mark.parametrize("critic", ["shared", "shared_embedding"])
def test_gradients_are_those_of_finite_differences(which, critic):
    kernel, (samples,) = small_case(critic, which)
    found = gradients(kernel, [samples], value_clip_range=0.2)
    policy, critic = copy.deepcopy((kernel.policy, kernel.critic))
    weights = [parameter for module in (policy.double(), critic.double()) for parameter in module.parameters()]
    observation = {key: torch.tensor(value, dtype=torch.float64) for key, value in samples.observation.items()}

    def loss():
        outputs = policy.models[FLAT](observation)
        values = (outputs if critic.in_policy else critic.models[FLAT](observation))["value"][:, 0].numpy()
        rows = torch.cat([outputs[head] for head in ("box", "way")], dim=1).numpy()
        whole = ActorCriticLoss(policy, [samples], PPO_LOSS, 0.01, 0.5, 0.2, True)
        whole(samples, rows, values)
        measured = whole.measured()
        return measured["policy_loss"] - 0.01 * measured["entropy"] + 0.5 * measured["value_loss"]

    expected = []
    with torch.no_grad():
        for weight in (element for parameter in weights for element in parameter.view(-1).split(1)):
            sides = [(weight.add_(step), loss())[1] for step in (1e-5, -2e-5)]
            weight.add_(1e-5)
            expected.append((sides[0] - sides[1]) / 2e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@BOTH
@pytest.mark.parametrize("critic", CRITICS)
def test_the_gradients_are_of_these_samples_only(which, critic):
    kernel, samples = small_case(critic, which)
    first = gradients(kernel, samples)
    gradients(kernel, [make_samples(kernel.policy, kernel.critic, 4, seed=3)])
    np.testing.assert_array_equal(gradients(kernel, samples), first)


@BOTH
def test_a_critic_learns_from_the_decisions_that_have_a_value(which):
    kernel, (samples,) = small_case(which=which)
    valued = np.array([False, True, True, False, False, True])
    parts = {name: part for name, part in vars(samples).items() if name not in ("step_key", "valued")}
    alone = replace(samples, **{name: take_rows(part, valued) for name, part in parts.items()})
    found = gradients(kernel, [replace(samples, valued=valued)], None)
    assert found.any()
    assert_close(found, gradients(kernel, [alone], None))


@BOTH
def test_before_the_first_step_a2c_and_ppo_have_the_same_gradients(which):
    kernel, (samples,) = small_case(which=which)
    outputs, heads = kernel.outputs(FLAT, samples.observation), kernel.policy.actors.by_key[FLAT].heads
    now = heads.evaluate(outputs, kernel.policy.log_std(FLAT), samples.actions, samples.mask).log_probs
    samples = [replace(samples, log_probs=now)]
    ppo, a2c = (gradients(kernel, samples, loss, normalize=False) for loss in (PPO_LOSS, policy_gradient))
    np.testing.assert_allclose(ppo, a2c, rtol=0, atol=1e-6 * np.abs(a2c).max())


@BOTH
@pytest.mark.parametrize("critic", CRITICS)
def test_without_a_policy_loss_a_policy_that_shares_nothing_has_no_gradients(which, critic):
    kernel, samples = small_case(critic, which)
    found, n = gradients(kernel, samples, None), kernel.policy.n_parameters
    assert found[:n].any() == (critic == "shared_embedding")
    assert found[n:].any() == (critic in ("shared", "per_sub_step"))


@BOTH
@pytest.mark.parametrize("critic", ["shared", "shared_embedding"])
def test_a_loss_may_leave_the_values_alone(which, critic):
    kernel, samples = small_case(critic, which)
    whole = ActorCriticLoss(kernel.policy, samples, PPO_LOSS, 0.01, 0.0)
    kernel.gradients(samples, whole)
    expected = kernel.parameters.gradients.clone()
    kernel.gradients(samples, lambda *args: replace(whole(*args), values=None))
    assert_close(kernel.parameters.gradients.numpy(), expected.numpy())


class Chain(nn.Module):
    """A dense model of given layers, one of which may occur twice, or elsewhere too."""

    def __init__(self, layers, outputs=("action",)):
        super().__init__()
        self.layers, self.outputs = nn.ModuleList(layers), outputs

    def forward(self, observation):
        hidden = observation["observation"]
        for layer in self.layers[:-1]:
            hidden = torch.tanh(layer(hidden))
        return {self.outputs[0]: self.layers[-1](hidden)}

    def dense_layers(self):
        return DenseSpec(list(self.layers), Activation.tanh, {self.outputs[0]: self.layers[-1].out_features})


def chain_networks(shared_layer):
    first, last = nn.Linear(3, 4), nn.Linear(4, 1)
    policy = Policy(Actors(VECTOR, spaces.Discrete(2)), {FLAT: Chain([first, nn.Linear(4, 2)])})
    return policy, Critic({FLAT: Chain([first if shared_layer else nn.Linear(3, 4), last], ["value"])}, True)


def test_a_layer_of_both_policy_and_critic_needs_autograd():
    assert make_kernel(chain_networks(False)[0], CPU, chain_networks(False)[1]).name == "dense"
    policy, critic = chain_networks(True)
    kernel = make_kernel(policy, CPU, critic)
    assert kernel.name == "autograd"
    assert kernel.parameters.values.numel() == (3 * 4 + 4) + (4 * 2 + 2) + (4 + 1)
    samples = [make_samples(policy, critic, 5)]
    both = gradients(kernel, samples)
    parts = [
        gradients(kernel, samples, None),
        gradients(AutogradKernel(policy, CPU), [replace(samples[0], valued=np.zeros(5, bool))]),
    ]
    np.testing.assert_allclose(both[:16], parts[0][:16] + parts[1][:16], atol=1e-6)


def test_a_layer_of_two_actors_needs_autograd():
    env = StructuredEnv({key: (VECTOR, spaces.Discrete(2)) for key in ("one", "two")})
    layer, actors = nn.Linear(3, 2), Actors(env.observation_space, env.action_space)
    assert make_kernel(Policy(actors, {"one": Chain([layer]), "two": Chain([layer])}), CPU).name == "autograd"


def test_a_layer_that_a_network_uses_twice_needs_autograd():
    twice = nn.Linear(4, 4)
    policy = Policy(Actors(VECTOR, spaces.Discrete(2)), {FLAT: Chain([nn.Linear(3, 4), twice, twice, nn.Linear(4, 2)])})
    assert make_kernel(policy, CPU).name == "autograd"


def test_in_a_population_a_layer_of_two_actors_is_that_of_the_member():
    space = spaces.Box(-np.inf, np.inf, (2,))
    env = StructuredEnv(dict.fromkeys(("one", "two"), (VECTOR, space)))
    layer, actors = nn.Linear(3, 2), Actors(env.observation_space, env.action_space)
    kernel = make_kernel(Policy(actors, {"one": Chain([layer]), "two": Chain([layer])}), CPU)
    parameters = np.random.default_rng(0).normal(size=(4, kernel.policy.n_parameters)).astype(np.float32)
    population, observation = kernel.population(parameters), np.ones((4, 3), np.float32)
    first, second = (population.act(Turn(key, None, observation)) for key in ("one", "two"))
    np.testing.assert_array_equal(first, second)


def test_autograd_can_be_asked_for():
    policy, critic = make_networks(Actors(VECTOR, ACTIONS))
    assert make_kernel(policy, CPU, critic, KernelChoice.auto).name == "dense"
    assert make_kernel(policy, CPU, critic, KernelChoice.autograd).name == "autograd"


@pytest.mark.parametrize("of_critic", [False, True])
def test_frozen_weights_need_autograd_and_stay_as_they_are(of_critic):
    policy, critic = make_networks(Actors(VECTOR, ACTIONS))
    frozen = [*(critic if of_critic else policy).models[FLAT].parameters()][:2]
    for weight in frozen:
        weight.requires_grad_(False)
    kernel = make_kernel(policy, CPU, critic)
    assert kernel.name == "autograd"
    before = [parameter.detach().clone() for module in (policy, critic) for parameter in module.parameters()]
    samples = [make_samples(policy, critic, 6)]
    optimizer = Adam(kernel.parameters)
    gradients(kernel, samples)
    optimizer.step(0.1, None)
    after = [parameter for module in (policy, critic) for parameter in module.parameters()]
    same = [any(now is weight for weight in frozen) for now in after]
    assert [torch.equal(now, then) for now, then in zip(after, before, strict=True)] == same


def test_a_network_without_trainable_weights_may_stand_beside_one_that_learns():
    policy, critic = make_networks(Actors(VECTOR, spaces.Discrete(2)))
    policy.requires_grad_(False)
    kernel = make_kernel(policy, CPU, critic)
    found = gradients(kernel, [make_samples(policy, critic, 6)])
    assert len(found) == sum(parameter.numel() for parameter in critic.parameters())
    assert found.any()


@BOTH
def test_a_frozen_standard_deviation_stays_as_it_is(which):
    policy, critic = make_networks(Actors(VECTOR, ACTIONS))
    policy.log_stds[FLAT].requires_grad_(False)
    before, samples = policy.log_std(FLAT).copy(), [make_samples(policy, critic, 6)]
    kernel = both_kernels(policy, critic)[which]
    optimizer = Adam(kernel.parameters)
    gradients(kernel, samples)
    optimizer.step(0.1, None)
    np.testing.assert_array_equal(kernel.policy.log_std(FLAT), before)


def flat_weights(seed=0, frozen=False):
    """Two modules, their weights as one vector, and gradients for them."""
    torch_generator = torch.Generator().manual_seed(seed)
    modules = [nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1), nn.Tanh())]
    modules[0].bias.requires_grad_(not frozen)
    for module in modules:
        set_vector(module, torch.randn(9, generator=torch_generator))
    return modules, FlatParameters(modules)


def test_the_vector_shares_memory_with_the_weights_and_keeps_their_values():
    modules, parameters = flat_weights()
    weights = [parameter for module in modules for parameter in module.parameters()]
    expected = torch.cat([weight.detach().reshape(-1) for weight in weights])
    assert torch.equal(parameters.values, expected)
    parameters.values.copy_(torch.arange(13.0))
    assert modules[0].weight.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert modules[1][0].bias.tolist() == [12]
    modules[0].bias.grad.fill_(7)
    assert parameters.gradients.tolist() == [0] * 6 + [7] * 3 + [0] * 4


def test_frozen_weights_are_no_part_of_the_vector():
    modules, parameters = flat_weights(frozen=True)
    before = modules[0].bias.detach().clone()
    parameters.values.zero_()
    assert parameters.values.numel() == 10
    assert torch.equal(modules[0].bias, before)


def test_nothing_to_train_is_an_error():
    with pytest.raises(UserError, match="no weights that could be trained"):
        FlatParameters([nn.Linear(2, 2).requires_grad_(False), nn.Tanh()])


def test_weights_of_two_types_are_an_error_that_names_them():
    with pytest.raises(UserError, match=r"one type and device.*float32.*float64"):
        FlatParameters([nn.Linear(2, 2), nn.Linear(2, 2).double()])


@BOTH
def test_a_kernel_sees_a_step_of_the_optimiser_and_weights_that_are_loaded(which):
    kernel, (samples,) = small_case(which=which)
    kernel.parameters.values.mul_(1.5)
    fresh = AutogradKernel(*copy.deepcopy((kernel.policy, CPU, kernel.critic)))
    assert_close(kernel.outputs(FLAT, samples.observation), fresh.outputs(FLAT, samples.observation))
    assert_close(kernel.values(FLAT, samples.observation), fresh.values(FLAT, samples.observation))

    policy, critic = make_networks(kernel.policy.actors, seed=9)
    kernel.policy.load_state_dict(policy.state_dict())
    kernel.critic.load_state_dict(critic.state_dict())
    other = AutogradKernel(policy, CPU, critic)
    assert_close(kernel.outputs(FLAT, samples.observation), other.outputs(FLAT, samples.observation))
    assert_close(kernel.values(FLAT, samples.observation), other.values(FLAT, samples.observation))
    assert_close(gradients(kernel, [samples]), gradients(other, [samples]))


@pytest.mark.parametrize(("max_norm", "factor"), [(None, 1), (100.0, 1), (2.5, 0.5)])
def test_gradients_are_scaled_down_to_the_largest_norm_and_the_old_one_is_told(max_norm, factor):
    _, parameters = flat_weights()
    parameters.gradients[:2] = torch.tensor([3.0, 4.0])
    assert parameters.clip_gradients(max_norm) == pytest.approx(5)
    np.testing.assert_allclose(parameters.gradients[:3], np.array([3.0, 4.0, 0.0]) * factor, rtol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_names_the_weights_and_leaves_them(value):
    modules, parameters = flat_weights()
    optimizer, before = Adam(parameters), parameters.values.clone()
    modules[1][0].weight.grad[0, 1] = value
    with pytest.raises(NonFiniteError, match=r"gradient of the weights '0\.weight' is no longer finite.*algorithm\.lr"):
        optimizer.step(0.1, 0.5)
    assert torch.equal(parameters.values, before)


def test_a_norm_that_is_not_finite_is_an_error_too():
    _, parameters = flat_weights()
    parameters.gradients.fill_(1e30)
    with pytest.raises(NonFiniteError, match="norm of the gradient"):
        parameters.clip_gradients(None)


OPTIMIZERS = {
    Adam: partial(torch.optim.Adam, eps=1e-5),
    RMSProp: partial(torch.optim.RMSprop, alpha=0.99, eps=1e-5),
}


def learn(optimizer, steps):
    for step in steps:
        optimizer.parameters.gradients.copy_(torch.sin(torch.arange(13.0) + step))
        optimizer.step(0.1 / (1 + step), 0.5)


@pytest.mark.parametrize("form", OPTIMIZERS)
@pytest.mark.parametrize("before", [0, 3])
def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(form, before):
    whole, first, second = (form(flat_weights(seed)[1]) for seed in (0, 0, 1))
    learn(whole, range(7))
    learn(first, range(before))
    learn(second, range(2))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    learn(second, range(before, 7))
    assert torch.equal(second.parameters.values, whole.parameters.values)


@pytest.mark.parametrize("form", OPTIMIZERS)
def test_optimisers_move_weights_as_those_of_torch_do(form):
    ours, weights = form(flat_weights()[1]), flat_weights()[1].values.clone()
    theirs = OPTIMIZERS[form]([weights])
    for step in range(20):
        learn(ours, [step])
        weights.grad = ours.parameters.gradients.clone()  # limited to the norm
        theirs.param_groups[0]["lr"] = 0.1 / (1 + step)
        theirs.step()
    torch.testing.assert_close(ours.parameters.values, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", OPTIMIZERS)
def test_the_state_of_an_optimiser_is_a_copy(form):
    first, second = (form(flat_weights(seed)[1]) for seed in (0, 1))
    learn(first, range(3))
    state = first.state_dict()
    expected = copy.deepcopy(state)
    learn(first, range(3, 5))
    second.load_state_dict(state)
    learn(second, range(3, 5))
    torch.testing.assert_close(state, expected, rtol=0, atol=0)


class Forgetful(nn.Module):
    """Drops out half of its units while it learns."""

    def __init__(self, n_outputs, name):
        super().__init__()
        self.first, self.last, self.name = nn.Linear(3, 32), nn.Linear(32, n_outputs), name

    def forward(self, observation):
        hidden = functional.dropout(torch.tanh(self.first(observation["observation"])), 0.5, self.training)
        return {self.name: self.last(hidden)}


def forgetful_kernel():
    policy = Policy(Actors(VECTOR, spaces.Discrete(2)), {FLAT: Forgetful(2, "action")})
    policy, critic = spread(policy, Critic({FLAT: Forgetful(1, "value")}, True))
    kernel = make_kernel(policy.eval(), CPU, critic.eval())
    return kernel, [make_samples(policy, critic, 8)]


def gradients_of_update(kernel, samples, update, seed=0):
    with kernel.learning(Streams(seed), update):
        return gradients(kernel, samples)


def test_while_it_learns_a_network_is_in_training_mode():
    kernel, samples = forgetful_kernel()
    with kernel.learning(Streams(0), 0):
        assert all(module.training for part in (kernel.policy, kernel.critic) for module in part.modules())
    assert not any(module.training for part in (kernel.policy, kernel.critic) for module in part.modules())
    assert not np.array_equal(gradients_of_update(kernel, samples, 0), gradients(kernel, samples))


def test_what_is_dropped_depends_on_root_seed_and_update_only():
    kernel, samples = forgetful_kernel()
    first = gradients_of_update(kernel, samples, 3)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        np.testing.assert_array_equal(gradients_of_update(kernel, samples, 3), first)
    assert not np.array_equal(gradients_of_update(kernel, samples, 4), first)
    assert not np.array_equal(gradients_of_update(kernel, samples, 3, seed=1), first)


def test_learning_leaves_the_generator_of_torch_alone():
    kernel, samples = forgetful_kernel()
    before = torch.get_rng_state()
    gradients_of_update(kernel, samples, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_after_an_error_networks_and_generator_are_as_they_were():
    kernel, samples = forgetful_kernel()
    before = torch.get_rng_state()
    with pytest.raises(NonFiniteError), kernel.learning(Streams(0), 0):
        gradients(kernel, samples)
        raise NonFiniteError("no")
    assert not kernel.policy.training and not kernel.critic.training
    assert torch.equal(torch.get_rng_state(), before)
