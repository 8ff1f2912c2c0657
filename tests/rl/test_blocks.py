"""What models are composed of: sets of elements, padded to one length."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from maze_core import Activation
from maze_core.rl import (
    Actors,
    Attention,
    AutogradKernel,
    Dense,
    PaddedModel,
    Policy,
    SetScoring,
    filled_elements,
    masked_mean,
    without_last_zeros,
)

N, SIZE = 6, 4


def padded_sets(n_filled, seed=0):
    """Sets of so many random elements, padded with zeros to `N`: [B, N, SIZE] and which are filled."""
    elements = np.random.default_rng(seed).normal(size=(len(n_filled), N, SIZE)).astype(np.float32)
    filled = np.arange(N) < np.array(n_filled)[:, None]
    elements[~filled] = 0.0
    return torch.from_numpy(elements), torch.from_numpy(filled)


def random_attention():
    torch.manual_seed(0)
    return Attention(SIZE, n_heads=2)


def test_elements_are_filled_unless_they_are_all_zeros():
    elements, filled = padded_sets([0, 2, N])
    assert torch.equal(filled_elements(elements), filled)


def test_a_masked_mean_is_that_of_the_filled_elements():
    elements, filled = padded_sets([2, N])
    torch.testing.assert_close(
        masked_mean(elements, filled), torch.stack([elements[0, :2].mean(0), elements[1].mean(0)])
    )


def test_the_masked_mean_of_an_empty_set_is_zero():
    assert not masked_mean(*padded_sets([0])).any()


def test_attention_does_not_look_at_padding():
    elements, filled = padded_sets([3])
    attention = random_attention()
    short = attention(elements[:, :3], filled[:, :3])
    torch.testing.assert_close(attention(elements + ~filled[..., None] * 9.0, filled)[:, :3], short)


def test_attention_follows_the_order_of_elements():
    elements, filled = padded_sets([N])
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    attention = random_attention()
    torch.testing.assert_close(attention(elements[:, order], filled), attention(elements, filled)[:, order])


def test_attention_is_that_of_torch():
    elements, filled = padded_sets([3, 5])
    own, torchs = random_attention(), nn.MultiheadAttention(SIZE, 2, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": own.inputs.weight,
            "in_proj_bias": own.inputs.bias,
            "out_proj.weight": own.outputs.weight,
            "out_proj.bias": own.outputs.bias,
        }
    )
    seen, _ = torchs(elements, elements, elements, key_padding_mask=~filled)
    torch.testing.assert_close(own(elements, filled), elements + seen)


def test_attention_stays_finite_where_all_is_padding():
    elements, filled = padded_sets([0])
    assert random_attention()(elements, filled).isfinite().all()


def test_heads_of_attention_share_its_dimensions_evenly():
    with pytest.raises(ValueError, match="3 heads cannot share 4 dimensions"):
        Attention(4, n_heads=3)


def test_elements_are_scored_by_dot_products_and_padding_by_one_learned_number():
    elements, filled = padded_sets([2])
    query, scoring = torch.ones(1, SIZE), SetScoring(N + 1)
    nn.init.constant_(scoring.of_padding, 7.0)
    expected = [*elements[0, :2].sum(dim=1).tolist(), *[7.0] * (N - 1)]
    assert scoring(elements, query, filled)[0].tolist() == pytest.approx(expected)


def test_sets_are_cut_after_the_last_element_in_use():
    elements, _ = padded_sets([2, 4, 0])
    np.testing.assert_array_equal(without_last_zeros(elements.numpy()), elements[:, :4])


def test_of_sets_that_are_all_empty_one_element_is_left():
    assert without_last_zeros(np.zeros((3, N, SIZE), np.float32)).shape == (3, 1, SIZE)


class Picker(nn.Module):
    """Scores elements for a query after they looked at each other; puts out a value, too, if asked for."""

    def __init__(self, skips_padding: bool) -> None:
        super().__init__()
        self.elements, self.attention = Dense([SIZE, 8], Activation.relu, 1.0), Attention(8, n_heads=2)
        self.query, self.scoring = Dense([2, 8], Activation.relu, 1.0), SetScoring(N)
        if skips_padding:
            self.without_padding = lambda seen: {**seen, "elements": without_last_zeros(seen["elements"])}

    def forward(self, seen):
        filled = filled_elements(seen["elements"])
        elements = self.attention(self.elements(seen["elements"]), filled)
        return {"action": self.scoring(elements, self.query(seen["query"]), filled)}


def picker_kernel(skips_padding):
    torch.manual_seed(1)
    seen = spaces.Dict({"elements": spaces.Box(-9, 9, (N, SIZE)), "query": spaces.Box(-9, 9, (2,))})
    actors = Actors(seen, spaces.Discrete(N))
    policy = Policy(actors, {key: Picker(skips_padding) for key in actors.step_keys})
    return AutogradKernel(policy, torch.device("cpu"))


def test_a_model_that_skips_padding_computes_the_same():
    elements, _ = padded_sets([1, 3, 2])
    seen = {"elements": elements.numpy(), "query": np.ones((3, 2), np.float32)}
    with_padding, without = picker_kernel(False), picker_kernel(True)
    (key,) = without.policy.models
    lengths = []
    without.policy.models[key].elements.register_forward_hook(lambda _, args, __: lengths.append(args[0].shape[1]))
    np.testing.assert_allclose(without.outputs(key, seen), with_padding.outputs(key, seen), atol=1e-6)
    assert lengths == [3]


def test_a_model_says_by_its_method_that_it_skips_padding():
    assert isinstance(Picker(True), PaddedModel)
    assert not isinstance(Picker(False), PaddedModel)


def test_a_population_of_models_of_sets_is_batched():
    elements, _ = padded_sets([1, 3])
    kernel = picker_kernel(True)
    turn = kernel.policy.actors.turns(
        {"elements": elements.numpy(), "query": np.ones((2, 2), np.float32)}, None, np.ones(2, bool)
    )[0]
    vector = torch.nn.utils.parameters_to_vector(kernel.policy.parameters()).detach().numpy()
    np.testing.assert_array_equal(kernel.population(np.stack([vector, vector])).act(turn), kernel.act(turn))
    assert not kernel.looped
