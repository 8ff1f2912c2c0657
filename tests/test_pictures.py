"""Pictures of networks: what they say, what they look like, and that drawing leaves no trace."""

import io
import random
import struct
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from gymnasium import spaces
from matplotlib import image
from support.build import make_policy
from torch import nn

from maze_core.enums import Activation
from maze_core.pictures import FONT, network_pictures
from maze_core.rl import Actors, Critic, Dense, Policy


def box(*shape):
    return spaces.Box(-1, 1, shape, np.float32)


OBSERVATION = spaces.Dict(observation=box(4))


class Model(nn.Module):
    """Calls a function of the leaves of the observation."""

    def __init__(self, function=None, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, observation):
        return {"action": self.function(self, *observation.values())}


class Heads(nn.Module):
    """Two layers side by side."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, observation):
        return {"a": self.a(observation["observation"]), "b": self.b(observation["observation"])}


class PolicyOf(Policy):
    """These models as a policy without an env; all of them read the same space."""

    def __init__(self, space=OBSERVATION, **models):
        nn.Module.__init__(self)
        self.models = nn.ModuleDict(models)
        self.encoders = {key: SimpleNamespace(space=space) for key in models}


def critic_of(**models):
    return Critic(models, per_sub_step=True)


def draw(model, space=OBSERVATION):
    (picture,) = network_pictures({"policy": PolicyOf(space, substep_0=model)})
    return picture


def texts(picture):
    return [element.text for element in ET.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}text")]


def after(picture, name):
    """What the box with this name says, and all that follows."""
    lines = texts(picture)
    return lines[lines.index(name) + 1 :]


def n_arrows(picture):
    return picture.svg.count("h8 z")


def dense_policy():
    return make_policy(Actors(box(4), spaces.Discrete(2)))


def test_a_picture_is_named_by_role_and_actor():
    assert [picture.name for picture in network_pictures({"policy": dense_policy()})] == ["policy-substep_0"]


def test_a_dense_network_shows_inputs_layers_outputs_and_the_total():
    model = Model(lambda m, x: m.dense(x), dense=Dense([4, 64, 64, 2], Activation.tanh))
    assert texts(draw(model)) == [
        "policy-substep_0", "4,610 parameters in total",
        "input", "observation [4]",
        "dense.layers.0", "Linear, tanh → [64]", "320 parameters",
        "dense.layers.1", "Linear, tanh → [64]", "4,160 parameters",
        "dense.layers.2", "Linear → [2]", "130 parameters",
        "output", "action [2]",
    ]  # fmt: skip


def test_every_actor_and_role_has_a_picture():
    first, second, third = (Model(lambda m, x: m.layer(x), layer=nn.Linear(4, n)) for n in (1, 2, 3))
    pictures = network_pictures({"policy": PolicyOf(pick=first, place=second), "critic": critic_of(pick=third)})
    assert [picture.name for picture in pictures] == ["policy-pick", "policy-place", "critic-pick"]


def test_one_network_of_several_actors_is_drawn_once_and_says_whose_it_is():
    model = Model(lambda m, x: m.layer(x), layer=nn.Linear(4, 2))
    (picture,) = network_pictures({"policy": PolicyOf(pick=model, place=model), "critic": critic_of(pick=model)})
    assert "one network, shared by policy-pick, policy-place, critic-" in texts(picture)
    assert "pick" in texts(picture)


def test_a_layer_in_two_networks_is_marked_in_both():
    shared = nn.Linear(4, 2)
    policy = Model(lambda m, x: m.head(m.body(x)), body=shared, head=nn.Linear(2, 2))
    critic = Model(lambda m, x: m.head(m.body(x)), body=shared, head=nn.Linear(2, 1))
    first, second = network_pictures({"policy": PolicyOf(pick=policy), "critic": critic_of(pick=critic)})
    assert after(first, "body")[:3] == ["Linear → [2]", "10 parameters", "shared with critic-pick"]
    assert after(second, "body")[2] == "shared with policy-pick"
    assert sum("shared" in text for text in texts(first)) == 1


def test_branches_meet_where_their_tensors_meet():
    space = spaces.Dict(image=box(3, 8, 8), state=box(2))
    model = Model(
        lambda m, image, state: m.head(torch.cat([m.conv(image).flatten(1), torch.tanh(m.dense(state))], 1)),
        conv=nn.Conv2d(3, 4, 3), dense=nn.Linear(2, 5), head=nn.Linear(4 * 36 + 5, 2),
    )  # fmt: skip
    picture = draw(model, space)
    assert after(picture, "conv")[:2] == ["Conv2d → [4, 6, 6]", "112 parameters"]
    assert after(picture, "cat")[0] == "→ [149]"
    assert picture.svg.count("<polyline") == 6  # two inputs, two branches, into the head, out of it


def test_a_skip_connection_is_drawn():
    model = Model(lambda m, x: x + torch.relu(m.layer(x)), layer=nn.Linear(4, 4))
    assert n_arrows(draw(model)) == 3
    assert draw(model).svg.count("<polyline") == 5  # input, layer, add, output, and past the layer in two pieces


def test_heads_of_different_layers_have_their_own_outputs():
    lines = texts(draw(Heads()))
    assert lines.count("output") == 2
    assert {"a [2]", "b [3]"} <= set(lines)


def test_nested_observations_have_dotted_names():
    space = spaces.Dict(arm=spaces.Dict(angle=box(1), speed=box(2)))
    model = Model(lambda m, arm: m.layer(torch.cat(list(arm.values()), 1)), layer=nn.Linear(3, 2))
    assert after(draw(model, space), "inputs")[:2] == ["arm.angle [1]", "arm.speed [2]"]


def test_an_input_that_nothing_reads_is_marked():
    model = Model(lambda m, x, y: m.layer(x), layer=nn.Linear(4, 2))
    picture = draw(model, spaces.Dict(seen=box(4), unseen=box(3)))
    assert after(picture, "input (not used)")[0] == "unseen [3]"


def test_a_recurrent_layer_that_returns_tuples():
    model = Model(lambda m, x: m.head(m.lstm(x[:, None])[0][:, 0]), lstm=nn.LSTM(4, 8, batch_first=True),
                  head=nn.Linear(8, 2))  # fmt: skip
    assert after(draw(model), "lstm")[:2] == ["LSTM → [1, 8] and 2 more", "448 parameters"]
    assert n_arrows(draw(model)) == 3


def test_a_layer_used_twice_counts_once():
    model = Model(lambda m, x: m.layer(m.layer(x)), layer=nn.Linear(4, 4))
    lines = texts(draw(model))
    assert lines.count("layer") == 2
    assert [line for line in lines if "parameters" in line] == [
        "20 parameters in total", "20 parameters", "parameters counted above",
    ]  # fmt: skip


def test_parameters_outside_of_layers_are_shown():
    model = Model(lambda m, x: m.layer(x) * m.scale, layer=nn.Linear(4, 2), scale=nn.Parameter(torch.ones(2)))
    assert after(draw(model), "scale") == ["Parameter", "2 parameters", "outside of layers"]


def test_a_layer_that_is_not_called_is_shown():
    model = Model(lambda m, x: m.layer(x), layer=nn.Linear(4, 2), later=nn.Linear(3, 3))
    assert after(draw(model), "later") == ["Linear", "12 parameters", "not called"]


def test_a_model_without_modules_is_one_box():
    model = Model(lambda m, x: x @ m.weight, weight=nn.Parameter(torch.ones(4, 2)))
    assert after(draw(model), "(model)")[:2] == ["Model → [2]", "8 parameters"]


def test_a_model_that_fails_on_zeros_lists_its_layers():
    def fail(module, x):
        raise ValueError("a <b> & $c_1^2$\x00")

    picture = draw(Model(fail, first=nn.Linear(4, 8), act=nn.ReLU(), second=nn.Linear(8, 2)))
    assert "ValueError" in " ".join(texts(picture))
    assert after(picture, "first") == ["Linear", "40 parameters", "act", "ReLU", "no parameters", "second", "Linear",
                                       "18 parameters"]  # fmt: skip
    assert n_arrows(picture) == 0


def test_tensors_that_leave_torch_make_a_column():
    model = Model(lambda m, x: torch.from_numpy(m.first(x).numpy().copy()).requires_grad_(False), first=nn.Linear(4, 3))
    assert n_arrows(draw(model)) == 2


MODELS = [
    Model(lambda m, x: m.layer(m.layer(x)), layer=nn.Linear(4, 4)),
    Model(lambda m, x: m.a(x[:, None], x[:, None], x[:, None])[0], a=nn.MultiheadAttention(4, 2, batch_first=True)),
    Model(lambda m, x: m.n(x), n=torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))),
    Model(lambda m, x: m.e(x[:, None]), e=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)),
    Model(lambda m, x: m.lines(x), lines=nn.Sequential(*(nn.Linear(4, 4) for _ in range(40)))),
    Model(lambda m, x: m.missing, a=nn.Linear(2, 2), b=nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))),
]


@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_add_up(model):
    _, total, *rest = texts(draw(model))
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert total == f"{expected:,} parameters in total"
    counts = [line.removesuffix(" parameters").replace(",", "") for line in rest if line.endswith(" parameters")]
    assert sum(int(count) for count in counts if count != "no") == expected


@pytest.mark.parametrize("model", MODELS)
def test_both_files_are_valid_and_of_one_shape(model):
    picture = draw(model)
    assert picture.png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture.png[16:24])
    *_, svg_width, svg_height = map(float, ET.fromstring(picture.svg).attrib["viewBox"].split())
    assert width / height == pytest.approx(svg_width / svg_height, rel=0.02)
    assert FONT >= 9
    assert width / svg_width * 72 >= 100  # dots per inch


@pytest.mark.parametrize("model", MODELS)
def test_boxes_do_not_overlap_and_nothing_is_cut_off(model):
    root = ET.fromstring(draw(model).svg)
    *_, width, height = map(float, root.attrib["viewBox"].split())
    all_rects = [tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height")) for r in root if r.tag[-4:] == "rect"]
    rects = all_rects[::2]  # each second one is a bar inside of its box
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in rects)
    for i, (x, y, w, h) in enumerate(rects):
        assert not any(x < a + c and a < x + w and y < b + d and b < y + h for a, b, c, d in rects[:i])


def test_a_long_chain_is_broken_into_columns():
    width, height = struct.unpack(">II", draw(MODELS[4]).png[16:24])
    assert max(width, height) < 2000


def test_a_long_name_is_shortened_in_the_middle():
    name = "start_" + 20 * "very_" + "long_end"
    model = Model(lambda m, x: getattr(m, name)(x), **{name: nn.Linear(4, 2)})
    (shown,) = [line for line in texts(draw(model)) if "…" in line]
    assert shown.startswith("start_")
    assert shown.endswith("long_end")
    assert len(shown) == 40


def test_characters_that_the_font_lacks_do_no_harm():
    model = Model(lambda m, x: m.layer(x), layer=nn.Linear(4, 2))
    assert "观察 [4]" in texts(draw(model, spaces.Dict({"观察": box(4)})))


def test_the_background_is_transparent_and_boxes_are_not():
    pixels = image.imread(io.BytesIO(draw(MODELS[0]).png))
    assert pixels[0, 0, 3] == 0
    assert pixels[40, 60, 3] == 1


def test_the_same_network_gives_the_same_files():
    assert network_pictures({"policy": dense_policy()}) == network_pictures({"policy": dense_policy()})


def test_drawing_leaves_the_model_as_it_was():
    model = Model(lambda m, x: m.drop(m.norm(x)), norm=nn.BatchNorm1d(4), drop=nn.Dropout())
    model.drop.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    draw(model)
    assert [module.training for module in (model, model.norm, model.drop)] == [True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("result", [lambda noise: noise, lambda noise: noise.missing])
def test_drawing_leaves_global_state_as_it_was(result):
    def state():
        return torch.get_rng_state().tolist(), random.getstate(), torch.is_grad_enabled(), dict(matplotlib.rcParams)

    model = Model(lambda m, x: m.layer(x) + result(torch.randn(2)), layer=nn.Linear(4, 2))
    before = state()
    draw(model)
    assert state() == before
