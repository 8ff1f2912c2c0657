"""Parameters of a policy as one vector, and weights from elsewhere."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from support.build import make_policy
from support.envs import PICK, PLACE, TwoStepEnv
from torch import nn

from maze_core import NonFiniteError, NothingUsableError, UserError
from maze_core.networks import warm_start
from maze_core.rl import FLAT, Actors, StructuredEnv, get_vector, set_vector
from maze_core.rl.policy import take_weights


def flat_policy(seed=0, **options):
    return make_policy(Actors(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)), seed, **options)


def structured_policy():
    env = TwoStepEnv()
    return make_policy(Actors(env.observation_space, env.action_space))


def test_a_policy_has_a_model_and_an_encoder_for_each_actor():
    policy = structured_policy()
    assert set(policy.models) == set(policy.encoders) == {PICK, PLACE}


def test_the_model_of_a_masked_actor_does_not_see_the_mask():
    assert list(structured_policy().encoders[PICK].space) == ["values"]


def test_n_parameters_counts_all_weights():
    assert flat_policy().n_parameters == (3 * 7 + 7) + (7 * 2 + 2)


def test_the_vector_holds_the_parameters_in_the_order_of_their_names():
    policy = structured_policy()
    expected = torch.cat([parameter.flatten() for _, parameter in policy.named_parameters()])
    torch.testing.assert_close(get_vector(policy), expected, rtol=0, atol=0)


@pytest.mark.parametrize("module", [nn.Linear(2, 2, bias=False), nn.Linear(2, 2)])
def test_the_vector_is_a_copy(module):
    before = module.weight.detach().clone()
    get_vector(module).fill_(99)
    assert torch.equal(module.weight, before)


def test_a_vector_that_is_set_is_got_back():
    policy = structured_policy()
    vector = torch.arange(policy.n_parameters, dtype=torch.float32)
    set_vector(policy, vector)
    assert torch.equal(get_vector(policy), vector)


def test_setting_a_vector_keeps_views_of_the_parameters_valid():
    module = nn.Linear(2, 1)
    view = module.weight.detach().numpy()
    set_vector(module, torch.tensor([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(view, [[1, 2]])


def test_new_weights_depend_on_the_root_seed_only():
    torch.manual_seed(1)
    one = get_vector(flat_policy(seed=4))
    torch.manual_seed(2)
    assert torch.equal(get_vector(flat_policy(seed=4)), one)
    assert not torch.equal(get_vector(flat_policy(seed=5)), one)


def test_building_a_policy_leaves_the_generator_of_torch_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    flat_policy()
    assert torch.equal(torch.rand(3), expected)


def test_weights_that_fit_are_taken_over():
    policy, other = flat_policy(0), flat_policy(1)
    taken, missing = take_weights(policy, other.state_dict())
    assert (len(taken), missing) == (4, [])
    assert torch.equal(get_vector(policy), get_vector(other))


def test_taken_weights_are_no_references():
    policy, other = flat_policy(0), flat_policy(1)
    take_weights(policy, other.state_dict())
    expected = get_vector(policy)
    set_vector(other, torch.zeros(other.n_parameters))
    assert torch.equal(get_vector(policy), expected)


def test_weights_of_another_shape_or_name_are_left_out_and_told():
    policy, other = flat_policy(), flat_policy(1, hidden_sizes=[5])
    taken, missing = take_weights(policy, {**other.state_dict(), "unknown": torch.zeros(3)})
    assert taken == [f"models.{FLAT}.dense.layers.1.bias"]
    assert len(missing) == 3


def test_weights_that_are_not_finite_are_refused_and_nothing_is_changed():
    policy, weights = flat_policy(), flat_policy(1).state_dict()
    before = get_vector(policy)
    weights[f"models.{FLAT}.dense.layers.1.bias"][0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"layers\.1\.bias' are not finite"):
        take_weights(policy, weights)
    assert torch.equal(get_vector(policy), before)


def test_weights_of_a_network_that_fits_in_part_are_refused():
    policy, other = flat_policy(), flat_policy(1, hidden_sizes=[7, 7])
    with pytest.raises(NothingUsableError, match="input_dir=old holds the weights of another network"):
        warm_start(policy, other.state_dict(), "old")


def test_a_warm_start_names_what_it_has_no_use_for():
    policy, other = flat_policy(), flat_policy(1)
    note = warm_start(policy, {**other.state_dict(), "critic.bias": torch.zeros(3)}, "old")
    assert note == "input_dir=old: took over all 4 weight tensors; not used: critic.bias."
    assert torch.equal(get_vector(policy), get_vector(other))


@pytest.mark.parametrize("key", ["type", "values", "keys", "forward"])
def test_a_step_key_that_torch_uses_itself_is_refused(key):
    env = StructuredEnv({key: (spaces.Box(-1, 1, (3,)), spaces.Discrete(2))})
    with pytest.raises(UserError, match=f"'{key}' cannot be a step key"):
        make_policy(Actors(env.observation_space, env.action_space))
