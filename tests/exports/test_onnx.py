"""ONNX models: they decide what the policy decides, and say what they read."""

import json
from importlib import util

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from support.build import make_policy
from support.spaces import allowed, any_space, mask_space
from torch import nn

from maze_core import NothingUsableError, RunContext, UserError
from maze_core.enums import Activation, BoxDistribution, NormalizationMethod
from maze_core.exports.actor_module import ActorModule
from maze_core.exports.comparison import agreement
from maze_core.exports.onnx import check_onnx, write_onnx
from maze_core.rl import (
    FLAT,
    Actors,
    Attention,
    Dense,
    Moments,
    ObservationNormalization,
    Policy,
    SetScoring,
    Turn,
    filled_elements,
    make_kernel,
    masked_mean,
    without_last_zeros,
)
from maze_core.rl.spaces import unbatch

CPU = torch.device("cpu")
VECTOR, THREE = spaces.Box(-1, 1, (4,)), spaces.Discrete(3)
LEAVES = {
    "float": spaces.Box(-np.inf, np.inf, (2,)),
    "double": spaces.Box(-2, 9, (2, 2), np.float64),
    "bytes": spaces.Box(0, 255, (3,), np.uint8),
    "choice": spaces.Discrete(4, start=-1),
    "more": spaces.Tuple(
        [
            spaces.MultiDiscrete([[3, 1], [2, 4]], start=[[1, -2], [0, 5]]),
            spaces.Dict({"bits": spaces.MultiBinary((2, 2)), "add": spaces.Box(-5, 5, (), np.int64)}),
        ]
    ),
}
"""Observations of all types; `add` is what ONNX would call a sum."""

DECISIONS = spaces.Dict(
    {
        "choice": spaces.Discrete(3, start=5),
        "parts": spaces.Tuple(
            [
                spaces.MultiDiscrete([[3, 2], [4, 1]], start=[[0, 7], [-3, 1]]),
                spaces.MultiBinary((2, 2)),
                spaces.Box(-1, np.inf, (2, 1)),
                spaces.Box(0, 6, (3,), np.uint8),
                spaces.Box(-3.0, 1.0, (2,), np.float64),
            ]
        ),
    }
)


@pytest.fixture(autouse=True)
def one_thread():
    """Several would wait for each other in batches of one, where other tests run beside these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def louder(policy, gain=1.0):
    """With weights that make decisions vary."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            scale = gain / max(parameter.shape[-1], 1) ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return policy


def normalization_of(actors, **options):
    """Statistics of numbers around 3 that vary by about 2."""
    arguments = {"method": NormalizationMethod.mean_std, "clip": 1.5, "exclude": (), "running": False, **options}
    normalization = ObservationNormalization(actors, **arguments)
    for key in actors.by_key:
        for _, statistics in normalization.parts(key):
            shape = (50, *statistics.moments().mean.shape)
            statistics.set(Moments.of(np.random.default_rng(0).normal(3.0, 2.0, shape)))
    return normalization


def small(observation_space=VECTOR, action_space=THREE, box_distribution=BoxDistribution.gaussian, **options):
    return louder(make_policy(Actors(observation_space, action_space, box_distribution), **options))


def normalised(policy, **options):
    return Policy(policy.actors, dict(policy.models.items()), normalization_of(policy.actors, **options)).eval()


def of_model(model, observation_space=VECTOR, action_space=THREE):
    return louder(Policy(Actors(observation_space, action_space), {FLAT: model}).eval())


def everything(masked=True):
    mask = {"action_mask": mask_space(DECISIONS)} if masked else {}
    return small(spaces.Dict({**LEAVES, **mask}), DECISIONS)


def run(file, inputs):
    """What onnxruntime makes of a file, by name."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def in_torch(policy, step_key=FLAT):
    """An actor's module as something that `agreement` can run."""
    module = ActorModule(policy, step_key)
    names = [leaf.name for leaf in module.leaves.decided]

    def compute(inputs):
        with torch.no_grad():
            actions = module([torch.from_numpy(inputs[leaf.name]) for leaf in module.leaves.inputs])
        return {name: action.numpy() for name, action in zip(names, actions, strict=True)}

    return compute


# What is decided


@given(any_space(bounded=True), any_space(bounded=True), st.booleans(), st.sampled_from(BoxDistribution))
def test_the_module_of_an_actor_decides_what_its_policy_decides(observed, decided, masked, box_distribution):
    parts = {"seen": observed, **({"action_mask": mask_space(decided)} if masked and mask_space(decided) else {})}
    policy = small(spaces.Dict(parts), decided, box_distribution)
    assert agreement(policy, FLAT, in_torch(policy), 100) == 1.0


@pytest.mark.parametrize("method", list(NormalizationMethod))
@pytest.mark.parametrize("options", [{}, {"clip": None}, {"exclude": ["double"]}])
def test_the_module_normalises_as_its_policy_does(method, options):
    policy = normalised(everything(), method=method, **options)
    assert agreement(policy, FLAT, in_torch(policy)) == 1.0


@pytest.mark.parametrize("observation_space", [spaces.Tuple([VECTOR, spaces.Discrete(2)]), spaces.Discrete(5, start=2)])
def test_observations_that_are_no_dict_are_encoded(observation_space):
    policy = small(observation_space)
    assert agreement(policy, FLAT, in_torch(policy)) == 1.0


class Chooser(nn.Module):
    """Attention over a padded set, of torch and of Maze; each head scores the elements."""

    def __init__(self):
        super().__init__()
        self.items = Dense([2, 8], Activation.relu, 1.0)
        self.torchs = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.others = Attention(8, n_heads=4)
        self.scores = SetScoring(5)

    def forward(self, observation):
        filled = filled_elements(observation["items"])
        items = self.others(self.torchs(self.items(observation["items"])), filled)
        return {"action": self.scores(items, items.mean(dim=1), filled), "value": items.sum(dim=(1, 2))[:, None]}


class PaddedChooser(Chooser):
    """Drops padding where the policy computes it."""

    def __init__(self):
        super().__init__()
        self.torchs = nn.Identity()

    def forward(self, observation):
        filled = filled_elements(observation["items"])
        items = self.others(torch.relu(self.items(observation["items"])), filled)
        return {"action": self.scores(items, masked_mean(items, filled), filled)}

    def without_padding(self, observation):
        return {**observation, "items": without_last_zeros(observation["items"])}


def choosing(model):
    space = {"items": spaces.Box(-1, 1, (5, 2)), "action_mask": spaces.MultiBinary(5)}
    return of_model(model, spaces.Dict(space), spaces.Discrete(5))


def cutting():
    env, model = "cutting_2d_struct_masked", "tutorial_cutting_2d_struct_masked"
    with RunContext(env=env, model=model, callbacks=[], seed=1) as rc:
        return louder(rc.policy)


POLICIES = {
    "everything normalised": lambda: normalised(everything(masked=False)),
    "squashed": lambda: small(
        LEAVES["bytes"],
        spaces.Dict({"one": spaces.Box(-2, 5, (2,)), "whole": spaces.Box(-9, 9, (2,), np.int64)}),
        BoxDistribution.squashed_gaussian,
    ),
    "image": lambda: small(spaces.Box(0, 1, (20, 24, 3)), n_channels=[3, 5], kernel_sizes=[4, 3], strides=[2, 2],
                           model="pixel_obs"),
    "attention": lambda: choosing(Chooser()),
    "padded": lambda: choosing(PaddedChooser()),
    "cutting": cutting,
}  # fmt: skip
LARGE = ("everything normalised", "padded")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LARGE else []) for name in POLICIES]
)
def test_a_written_model_decides_what_its_policy_decides(name, tmp_path):
    policy = POLICIES[name]()
    files = write_onnx(policy, tmp_path)
    assert [file.name for file in files] == [f"{key}.onnx" for key in policy.actors.step_keys]
    assert set(check_onnx(policy, tmp_path, seed=1).values()) == {1.0}
    for file in files:
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        assert {output.name.partition("/")[0] for output in model.graph.output} == {"action"}  # and no value


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A policy that sees and decides things of all types, with its file."""
    policy = everything()
    (file,) = write_onnx(policy, tmp_path_factory.mktemp("onnx"))
    return policy, file


def observations(count, seed=0):
    """Observations with masks, as inputs of the model and as the policy takes them."""
    generator, rows = np.random.default_rng(seed), spaces.Dict(LEAVES)
    rows.seed(seed)
    sampled = [rows.sample() for _ in range(count)]
    flat = {
        **{key: np.stack([row[key] for row in sampled]) for key in ("float", "double", "bytes", "choice")},
        "more/0": np.stack([row["more"][0] for row in sampled]),
        "more/1/bits": np.stack([row["more"][1]["bits"] for row in sampled]),
        "more/1/add": np.stack([row["more"][1]["add"] for row in sampled]),
        "action_mask/choice": generator.integers(2, size=(count, 3), dtype=np.int8),
        "action_mask/parts/0": generator.integers(2, size=(count, 10), dtype=np.int8),
    }
    flat["action_mask/choice"][:, 1] = 1
    flat["action_mask/parts/0"][:, [0, 4, 5, 9]] = 1
    nested = {key: flat[key] for key in ("float", "double", "bytes", "choice")}
    nested["more"] = (flat["more/0"], {"bits": flat["more/1/bits"], "add": flat["more/1/add"]})
    masks = {"choice": flat["action_mask/choice"], "parts": {"0": flat["action_mask/parts/0"]}}
    return flat, {**nested, "action_mask": masks}


def test_a_model_of_all_types_of_spaces_decides_what_its_policy_decides(written):
    assert check_onnx(written[0], written[1].parent, seed=1) == {FLAT: 1.0}


@pytest.mark.parametrize("count", [1, 300])
def test_actions_are_those_of_the_policy_and_members_of_the_space(written, count):
    policy, file = written
    inputs, observation = observations(count)
    found, expected = run(file, inputs), make_kernel(policy, CPU).act(Turn(FLAT, None, observation))
    actions = {"choice": found["action/choice"], "parts": tuple(found[f"action/parts/{i}"] for i in range(5))}
    for one, other in zip(
        (actions["choice"], *actions["parts"]), (expected["choice"], *expected["parts"]), strict=True
    ):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for row in range(count):
        action = unbatch(actions, row)
        assert DECISIONS.contains({**action, "choice": np.int64(action["choice"])})
        assert allowed(DECISIONS, unbatch(observation["action_mask"], row), action)


def test_decisions_vary(written):
    found = run(written[1], observations(300)[0])
    assert all(len(np.unique(action)) > 1 for action in found.values())


# What a file says


def test_inputs_and_outputs_have_the_names_types_and_shapes_of_the_spaces(written):
    session = onnxruntime.InferenceSession(written[1], providers=["CPUExecutionProvider"])
    assert {i.name: (i.type, i.shape) for i in session.get_inputs()} == {
        "float": ("tensor(float)", ["batch", 2]),
        "double": ("tensor(double)", ["batch", 2, 2]),
        "bytes": ("tensor(uint8)", ["batch", 3]),
        "choice": ("tensor(int64)", ["batch"]),
        "more/0": ("tensor(int64)", ["batch", 2, 2]),
        "more/1/bits": ("tensor(int8)", ["batch", 2, 2]),
        "more/1/add": ("tensor(int64)", ["batch"]),
        "action_mask/choice": ("tensor(int8)", ["batch", 3]),
        "action_mask/parts/0": ("tensor(int8)", ["batch", 10]),
    }
    assert {o.name: (o.type, o.shape) for o in session.get_outputs()} == {
        "action/choice": ("tensor(int64)", ["batch"]),
        "action/parts/0": ("tensor(int64)", ["batch", 2, 2]),
        "action/parts/1": ("tensor(int8)", ["batch", 2, 2]),
        "action/parts/2": ("tensor(float)", ["batch", 2, 1]),
        "action/parts/3": ("tensor(uint8)", ["batch", 3]),
        "action/parts/4": ("tensor(double)", ["batch", 2]),
    }


def test_a_file_says_its_format_its_actor_and_its_names(written):
    session = onnxruntime.InferenceSession(written[1], providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert (said["maze.format"], said["maze.step_key"]) == ("1", FLAT)
    assert json.loads(said["maze.names"]) == {
        "inputs": [i.name for i in session.get_inputs()],
        "outputs": [o.name for o in session.get_outputs()],
    }


def test_a_file_does_not_say_where_the_code_was(written):
    assert b".py" not in written[1].read_bytes()


def test_writing_says_nothing_and_changes_nothing_and_is_the_same_every_time(tmp_path, capfd, caplog):
    policy = small(spaces.Dict({"linear": VECTOR, "tanh": VECTOR, "action_mask": spaces.MultiBinary(3)}))
    weights, state = {n: w.clone() for n, w in policy.state_dict().items()}, torch.get_rng_state()
    first, second = (write_onnx(policy, tmp_path / name)[0].read_bytes() for name in "ab")
    assert first == second
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name != "torch.__trace"]  # goes nowhere unless asked for
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[name], value) for name, value in policy.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


# What is compared


def test_other_weights_are_noticed(written):
    policy = everything()
    with torch.no_grad():
        next(policy.parameters()).mul_(1.5)
    assert check_onnx(policy, written[1].parent)[FLAT] < 0.9


def constant(policy, action):
    return lambda inputs: {"action": np.repeat(np.asarray(action)[None], len(next(iter(inputs.values()))), axis=0)}


def with_logits(*logits, action_space=THREE, observation_space=VECTOR):
    """A policy that puts out the same always."""
    policy = make_policy(Actors(observation_space, action_space), hidden_sizes=[])
    with torch.no_grad():
        weight, bias = policy.parameters()
        weight.zero_()
        bias.copy_(torch.tensor(logits))
    return policy


@pytest.mark.parametrize(("action", "share"), [(0, 1.0), (1, 1.0), (2, 0.0), (3, 0.0), (-1, 0.0)])
def test_only_choices_that_are_as_good_agree(action, share):
    policy = with_logits(1.0, 1.0 - 1e-6, 0.999)
    assert agreement(policy, FLAT, constant(policy, action)) == share


def test_a_forbidden_choice_does_not_agree():
    seen = spaces.Dict({"seen": VECTOR, "action_mask": spaces.MultiBinary(3)})
    policy = with_logits(1.0, 2.0, 1.0, observation_space=seen)
    assert 0.4 < agreement(policy, FLAT, constant(policy, 1)) < 0.8


def test_an_allowed_choice_is_made_however_improbable_it_is():
    seen = spaces.Dict({"seen": VECTOR, "action_mask": spaces.MultiBinary(3)})
    decide = in_torch(with_logits(2.0, -np.inf, -np.inf, observation_space=seen))
    decided = decide({"seen": np.zeros((1, 4), np.float32), "action_mask": np.array([[0, 0, 1]], np.int8)})
    assert decided["action"].tolist() == [2]


@pytest.mark.parametrize(
    ("space", "output", "action", "share"),
    [
        (spaces.Box(-1, 1, (1,)), 0.5, np.float32([0.500004]), 1.0),
        (spaces.Box(-1, 1, (1,)), 0.5, np.float32([0.5001]), 0.0),
        (spaces.Box(-9, 9, (1,), np.int64), 2.5, [2], 1.0),
        (spaces.Box(-9, 9, (1,), np.int64), 2.5, [3], 1.0),
        (spaces.Box(-9, 9, (1,), np.int64), 2.4, [3], 0.0),
        (spaces.MultiBinary(1), 1e-6, [0], 1.0),
        (spaces.MultiBinary(1), 0.1, [0], 0.0),
    ],
)
def test_only_numbers_that_rounding_explains_agree(space, output, action, share):
    policy = with_logits(output, action_space=space)
    assert agreement(policy, FLAT, constant(policy, action)) == share


# What cannot be written


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)


class DecidesByValues(Linear):
    def forward(self, observation):
        outputs = self.layer(observation["observation"])
        return {"action": outputs if outputs.sum() > 0 else -outputs}


class HasNoOperation(Linear):
    def forward(self, observation):
        return {"action": torch.special.bessel_j0(self.layer(observation["observation"]))}


class DecidesByRows(Linear):
    def forward(self, observation):
        outputs = self.layer(observation["observation"])
        return {"action": outputs if len(outputs) > 1 else -outputs}


@pytest.mark.parametrize("model", [DecidesByValues, HasNoOperation])
def test_what_onnx_cannot_express_is_told_on_one_line(model, tmp_path, capfd):
    expected = rf"model {model.__name__} of actor 'substep_0' cannot be written as ONNX \(\w+: .+\)\. Compose"
    with pytest.raises(UserError, match=expected) as caught:
        write_onnx(of_model(model()), tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_model_that_decides_otherwise_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"decides as the policy does for only .*%.*See that forward of DecidesByRows"):
        write_onnx(of_model(DecidesByRows()), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("observation_space", [
    spaces.Dict({"action": VECTOR}), spaces.Dict({"a/b": VECTOR, "a": spaces.Dict({"b": VECTOR})}),
    spaces.Dict({"": VECTOR}),
])  # fmt: skip
def test_names_that_cannot_be_told_apart_are_refused(observation_space, tmp_path):
    with pytest.raises(UserError, match=r"cannot be written as ONNX: the name .* Rename keys of its spaces\."):
        write_onnx(small(observation_space), tmp_path)


@pytest.mark.parametrize(("package", "function"), [
    ("onnx", write_onnx), ("onnxscript", write_onnx), ("onnxruntime", check_onnx),
])  # fmt: skip
def test_a_missing_package_is_told_with_the_way_to_install_it(package, function, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "maze_core.exports.onnx.find_spec", lambda name: None if name == package else util.find_spec(name)
    )
    with pytest.raises(UserError, match=rf'need {package}, .*pip install "maze-core\[onnx\]"'):
        function(small(), tmp_path)


def test_without_onnxruntime_a_model_is_written_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr("maze_core.exports.onnx.find_spec", lambda name: name != "onnxruntime")
    (file,) = write_onnx(of_model(DecidesByRows()), tmp_path)
    assert file.is_file()


def test_a_file_that_is_not_there_cannot_be_checked(tmp_path):
    with pytest.raises(NothingUsableError, match=r"substep_0\.onnx cannot be read"):
        check_onnx(small(), tmp_path)


def test_a_file_that_is_no_model_cannot_be_checked(tmp_path):
    (tmp_path / "substep_0.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"onnxruntime cannot run the ONNX model of actor 'substep_0' \("):
        check_onnx(small(), tmp_path)


def test_nothing_to_compare_is_an_error(written):
    with pytest.raises(UserError, match="n_observations=0 is not allowed: it must be a whole number >= 1"):
        check_onnx(written[0], written[1].parent, n_observations=0)
