"""Exported policies: they decide as the run's policy does, need little, and are data whoever wrote them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import make_policy, registry
from support.envs import CountdownEnv
from support.projects import write_component
from support.spaces import allowed, any_space, mask_space, random_mask, sample_batch
from support.structured_envs import PorterEnv
from support.trained import RUNS, Runs, context
from torch import nn

from maze_core import NothingUsableError, RunContext, load_policy
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.overrides import read_items
from maze_core.enums import BoxDistribution
from maze_core.errors import EnvFaultError, MazeError, UserError
from maze_core.exports import artefact
from maze_core.exports.artefact import HASH, KEY, ExportedPolicy, Trained, write_artefact
from maze_core.rl import Actors
from maze_core.rl.actors import Actor, has_mask
from maze_core.rl.policy import weights_of
from maze_core.rl.spaces import unbatch

pytestmark = pytest.mark.usefixtures("workdir")
FILE = Path("policy.safetensors")
N = 7


def observations(actor: Actor, seed: int = 0) -> Any:
    """A batch of what an actor may see, with masks that allow something."""
    batch = sample_batch(actor.observation_space, N, seed)
    if has_mask(actor.observation_space):
        batch["action_mask"] = random_mask(actor.action_space, N, np.random.default_rng(seed))
    return batch


def decisions(decide: Callable[..., Any], policy: ExportedPolicy) -> Any:
    """What is decided for each actor: of a batch, of its first row alone, and drawn where it can be."""
    found = {}
    for key, actor in policy.policy.actors.by_key.items():
        batch = observations(actor)
        found[key] = [decide(batch, actor=key), decide(unbatch(batch, 0), actor=key)]
    return found


def assert_equal(one: Any, other: Any) -> None:
    """Bit for bit, with types and shapes."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        one, other = np.asarray(one), np.asarray(other)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


# The same decisions


@pytest.mark.parametrize("name", RUNS)
def test_it_decides_as_the_policy_of_the_run(name: str, runs: Runs) -> None:
    with context(name, input_dir=runs(name)) as run:
        run.export(FILE)
        policy = load_policy(FILE)
        assert policy.actors == run.policy.actors.step_keys
        assert_equal(decisions(policy.compute_action, policy), decisions(run.compute_action, policy))


@pytest.mark.parametrize("separate", [False, True])
def test_agents_may_have_networks_of_their_own(separate: bool) -> None:
    overrides = {"model.separate_agents": separate, "model.default": "flatten_concat"}
    with RunContext(env=PorterEnv, model="per_actor", algorithm="ppo", overrides=overrides, seed=1) as run:
        run.export(FILE)
        policy = load_policy(FILE)
        assert len(policy.actors) == (3 if separate else 1)
        assert_equal(decisions(policy.compute_action, policy), decisions(run.compute_action, policy))


@cache
def small(box_distribution: str) -> Configured:
    items = [f"algorithm.box_distribution={box_distribution}", "model.hidden_sizes=[5]"]
    return configure(registry(), ConfigRequest(items=read_items(items)))


@settings(max_examples=20)
@given(any_space(), any_space(), st.booleans(), st.sampled_from(["gaussian", "squashed_gaussian"]))
def test_every_kind_of_space_comes_back_and_is_decided_alike(
    observed: spaces.Space[Any], decided: spaces.Space[Any], masked: bool, box_distribution: str
) -> None:
    mask = mask_space(decided) if masked else None
    if mask is not None:
        observed = spaces.Dict({"seen": observed, "action_mask": mask})
    try:
        actors = Actors(observed, decided, BoxDistribution[box_distribution])
        before = make_policy(actors, hidden_sizes=[5])
    except UserError:  # no policy could have been trained
        return
    trained = Trained(registry(), small(box_distribution), weights_of(before, None), (observed, decided), "it")
    write_artefact(trained, FILE)
    policy = load_policy(FILE)
    assert (policy.observation_space, policy.action_space) == (observed, decided)
    batch = sample_batch(observed, N, 0)
    if mask is not None:
        batch["action_mask"] = random_mask(decided, N, np.random.default_rng(0))
    expected = ExportedPolicy(before, {}).compute_action(batch)
    actions = policy.compute_action(batch)
    assert_equal(actions, expected)
    for row in range(N):
        assert unbatch(actions, row) in decided
        assert mask is None or allowed(decided, unbatch(batch["action_mask"], row), unbatch(actions, row))


def test_drawn_actions_are_those_of_the_seed_and_differ(runs: Runs) -> None:
    with context("squashed", input_dir=runs("squashed")) as run:
        run.export(FILE)
    observation = np.array([1.0, 0.0, 0.5], np.float32)
    first, second = ([load.compute_action(observation, deterministic=False) for _ in range(3)]
                     for load in (load_policy(FILE), load_policy(FILE)))  # fmt: skip
    assert_equal(first, second)
    assert len({float(action[0]) for action in first}) == 3


def test_a_structured_observation_says_itself_who_acts(runs: Runs) -> None:
    with context("structured", input_dir=runs("structured")) as run:
        run.export(FILE)
        policy, env = load_policy(FILE), run.env_factory(training=False)
        observation, _ = env.reset(seed=1)
        for _ in range(4):
            action = policy.compute_action(observation)
            assert_equal(action, run.compute_action(observation))
            observation, *_ = env.step({**env.action_space.sample(), _acting(policy, observation): action})
        env.close()


def _acting(policy: ExportedPolicy, observation: Mapping[str, Any]) -> str:
    return policy.actors[int(observation["actor"])]


def test_what_is_no_observation_is_told(runs: Runs) -> None:
    with context("structured", input_dir=runs("structured")) as run:
        run.export(FILE)
    policy = load_policy(FILE)
    with pytest.raises(UserError, match="actor='nobody' is not allowed"):
        policy.compute_action({}, actor="nobody")
    with pytest.raises(UserError, match="does not fit the space"):
        policy.compute_action({}, actor="select_piece")
    batch = observations(policy.policy.actors.by_key["select_piece"])
    nothing = {key: np.zeros_like(mask) for key, mask in batch["action_mask"].items()}
    with pytest.raises(EnvFaultError, match="allows nothing"):
        policy.compute_action({**batch, "action_mask": nothing}, actor="select_piece")


# What it says


def test_it_says_where_it_comes_from_and_which_wrappers_must_be_applied(runs: Runs) -> None:
    for name, wrappers in (("wrapped", ["observation_stacking", "time_limit"]), ("sampled", [])):
        with context(name, input_dir=runs(name)) as run:
            run.export(f"{name}.safetensors")
        about = load_policy(f"{name}.safetensors").about
        assert about["wrappers"] == wrappers
        assert about["origin"]["env"] == "gym_env"
        assert about["format"] == 1


def test_any_reader_of_safetensors_can_open_it(runs: Runs) -> None:
    with context("sampled", input_dir=runs("sampled")) as run:
        run.export(FILE)
        expected = run.policy.state_dict()
    tensors = safetensors.torch.load_file(FILE)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert not any(name.startswith("critic") for name in tensors)


def test_the_same_policy_is_the_same_file(runs: Runs) -> None:
    for path in ("one", "two"):
        with context("per actor", input_dir=runs("per actor")) as run:
            run.export(path)
    assert Path("one").read_bytes() == Path("two").read_bytes()


def test_a_file_of_given_statistics_is_neither_named_nor_needed(runs: Runs, workdir: Path) -> None:
    file = workdir / "given.json"
    file.write_text((runs("sampled") / "normalization.json").read_text())
    given = {"statistics": "given", "file": str(file)}
    with context("sampled", wrappers={"observation_normalization": given}) as run:
        run._build()
        file.unlink()
        run.export(FILE)
        assert b"given" not in FILE.read_bytes()
        policy = load_policy(FILE)
        assert_equal(decisions(policy.compute_action, policy), decisions(run.compute_action, policy))


# What it needs

APART = """
import importlib.abc, json, sys

BLOCKED = ("maze_gym_env", "maze_cutting_2d", "maze_es", "maze_ppo", "maze_a2c")


class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not there")


sys.meta_path.insert(0, Blocked())
from maze_core import load_policy

found = {}
for path in sys.argv[1:]:
    policy = load_policy(path)
    asked = json.loads(open(path + ".json").read())
    found[path] = [str(policy.compute_action(observation, actor=actor)) for actor, observation in asked]
loaded = [name for name in sys.modules if name.partition(".")[0] in BLOCKED]
print(json.dumps([found, loaded]))
"""


def test_it_needs_neither_env_nor_algorithm(runs: Runs) -> None:
    expected = {}
    for name in ("flat", "structured", "sampled", "squashed", "embedded", "per actor"):
        path = f"{name.replace(' ', '_')}.safetensors"
        with context(name, input_dir=runs(name)) as run:
            run.export(path)
            actors = run.policy.actors.by_key
            asked = [(key, plain(observations(actor))) for key, actor in actors.items()]
            expected[path] = [str(run.compute_action(observation, actor=actor)) for actor, observation in asked]
        Path(f"{path}.json").write_text(json.dumps(asked))
    environ = {**os.environ, "MAZE_LOAD_PLUGINS": "perception"}
    command = [sys.executable, "-W", "error", "-c", APART, *expected]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [expected, []]


def plain(value: Any) -> Any:
    return {key: plain(part) for key, part in value.items()} if isinstance(value, dict) else value.tolist()


def test_the_plugin_of_its_model_is_needed(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with context("flat", input_dir=runs("flat")) as run:
        run.export(FILE)
    monkeypatch.setenv("MAZE_LOAD_PLUGINS", "es")
    with pytest.raises(UserError, match=r"no model named 'flatten_concat'[\s\S]*pip install maze-perception"):
        load_policy(FILE)


MODEL = """
def build(config, observation_space, output_sizes):
    import torch

    class Ours(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, observation):
            return {"action": self.layer(observation["observation"])}

    return Ours()
"""


def test_a_model_of_a_local_project_comes_from_there(workdir: Path) -> None:
    write_component(workdir / "ours", "model", MODEL)
    with context("flat", model="ours", plugins=["ours"]) as run:
        run.export(FILE)
        expected = run.compute_action(np.ones(4, np.float32))
    assert load_policy(FILE, plugins="ours").compute_action(np.ones(4, np.float32)) == expected
    with pytest.raises(UserError, match="no model named 'ours'"):
        load_policy(FILE)


class Halves(nn.Module):
    """A network of the user."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.layer = nn.Linear(4, 2)

    def forward(self, observation: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"action": self.layer(observation["observation"])}


def test_a_live_network_is_given_again() -> None:
    with context("flat", model=Halves()) as run:
        run.export(FILE)
        batch = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        expected = run.compute_action(batch)
    assert_equal(load_policy(FILE, model=Halves()).compute_action(batch), expected)
    with pytest.raises(UserError, match=r"model=\.\.\."):
        load_policy(FILE)


def test_a_live_env_is_not_needed() -> None:
    with context("flat", env=CountdownEnv) as run:
        run.export(FILE)
        expected = run.compute_action(np.ones(2, np.float32))
    assert load_policy(FILE).compute_action(np.ones(2, np.float32)) == expected


# Damaged files


@pytest.fixture(scope="module")
def content(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An exported policy."""
    path = tmp_path_factory.mktemp("policy") / FILE
    with context("sampled", input_dir=runs("sampled")) as run:
        run.export(path)
    return path.read_bytes()


ASKED = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)


def refused_or_the_same(content: bytes, expected: Any) -> bool:
    """True if it is refused."""
    FILE.write_bytes(content)
    try:
        policy = load_policy(FILE)
    except (NothingUsableError, UserError) as error:
        assert len(str(error).splitlines()) <= 4
        return True
    assert_equal(policy.compute_action(ASKED), expected)
    return False


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing(position: float, bit: int, content: bytes) -> None:
    FILE.write_bytes(content)
    expected = load_policy(FILE).compute_action(ASKED)
    changed = bytearray(content)
    changed[int(position * len(content))] ^= 1 << bit
    refused_or_the_same(bytes(changed), expected)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_flipped_bit_is_noticed_or_changes_nothing(content: bytes) -> None:
    FILE.write_bytes(content)
    expected, refused = load_policy(FILE).compute_action(ASKED), 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        refused += refused_or_the_same(bytes(changed), expected)
    assert refused > 0.9 * len(content)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(share: float, content: bytes) -> None:
    FILE.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NothingUsableError, match=r"policy\.safetensors "):
        load_policy(FILE)


def test_what_it_says_of_itself_cannot_change_unnoticed(content: bytes) -> None:
    assert b'high\\": 2.0' in content
    FILE.write_bytes(content.replace(b'high\\": 2.0', b'high\\": 0.1'))  # the actions would be others
    with pytest.raises(NothingUsableError, match="it is not as it was written"):
        load_policy(FILE)


def test_more_behind_its_end_is_refused(content: bytes) -> None:
    FILE.write_bytes(content + bytes(8))
    with pytest.raises(NothingUsableError):
        load_policy(FILE)


FOREIGN: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a folder": FILE.mkdir,
    "a pipe": lambda: os.mkfifo(FILE),
    "an endless file": lambda: FILE.symlink_to("/dev/zero"),
    "a link to itself": lambda: FILE.symlink_to(FILE.name),
    "text": lambda: FILE.write_text("hello, here is a policy"),
    "a state dict": lambda: torch.save({"a": torch.zeros(3)}, FILE),
    "other tensors": lambda: safetensors.torch.save_file({"a": torch.zeros(3)}, FILE),
    "other metadata": lambda: safetensors.torch.save_file({"a": torch.zeros(3)}, FILE, {KEY: "[]"}),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_such_file_is_refused(make: Callable[[], Any]) -> None:
    make()
    with pytest.raises(NothingUsableError, match=r"policy\.safetensors|/dev/zero"):
        load_policy(FILE)


def test_a_link_of_the_user_is_followed(content: bytes) -> None:
    Path("of_may").write_bytes(content)
    FILE.symlink_to("of_may")
    assert list(load_policy(FILE).actors) == ["substep_0"]


# Hostile files, with the right hash


def forged(content: bytes, change: Callable[[dict[str, Any]], Any], **tensors: Any) -> bytes:
    """A policy that says something else about itself, or has other tensors, as a stranger could write it."""
    size = struct.unpack("<Q", content[:8])[0]
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    del about[HASH]
    change(about)
    kept = {**safetensors.torch.load(content), **tensors}
    kept = {name: value for name, value in kept.items() if value is not None}
    about[HASH] = artefact._hash(about, kept)
    return safetensors.torch.save(kept, {KEY: json.dumps(about)})


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(about: dict[str, Any]) -> None:
        *keys, last = path.split("/")
        node: Any = about
        for key in keys:
            node = node[int(key) if isinstance(node, list) else key]
        if isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value

    return change


BOX = {"kind": "Box", "dtype": "float32", "shape": [3], "low": -1.0, "high": 1.0}


def deep(levels: int) -> dict[str, Any]:
    """A space in spaces."""
    return {"kind": "Tuple", "spaces": [deep(levels - 1)]} if levels else BOX


NORMALIZATION = "policy/wrappers/observation_normalization"
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another format": (put("format", 2), "it is not of format 1"),
    "no policy": (put("policy", []), "it is not of format 1"),
    "one space": (put("spaces", [BOX]), "it is not of format 1"),
    "code in the model": (put("policy/model/_target_", "os.system"), "names code"),
    "code in the policy": (put("policy/_target_", "os.system"), "names code"),
    "an unknown model": (put("policy/components/model", "evil"), "no model named 'evil'"),
    "an env for a model": (put("policy/components/model", "gym_env"), "no model named 'gym_env'"),
    "an unknown option": (put("policy/model/evil", 1), "has no 'evil'"),
    "an unknown part": (put("policy/evil", 1), "has no 'evil'"),
    "an env": (put("policy/components/env", "gym_env"), "'env'"),
    "no components": (put("policy/components", None), "does not say what it configures"),
    "no model": (lambda about: about["policy"].pop("model"), "model"),
    "a model that is none": (put("policy/model", 3), "model"),
    "sizes that are none": (put("policy/model/hidden_sizes", "[4]"), "hidden_sizes"),
    "negative sizes": (put("policy/model/hidden_sizes", [-1]), "hidden_sizes"),
    "other sizes": (put("policy/model/hidden_sizes", [5]), "another network"),
    "an unknown distribution": (put("policy/box_distribution", "evil"), "box_distribution"),
    "a variable": (put("policy/model/activation", "${oc.env:HOME}"), "HOME"),
    "an interpolation": (put("policy/model/activation", "${has_value}"), "interpolation"),
    "no normalisation": (put("policy/wrappers", {}), "observation_normalization"),
    "wrappers that are none": (put("policy/wrappers", [1]), "wrappers"),
    "spaces of text": (put("spaces", ["x", "y"]), "is no space"),
    "a space of an unknown kind": (put("spaces/0", {"kind": "Evil"}), "unknown kind"),
    "a larger space": (put("spaces/0", {**BOX, "shape": [4]}), "another network"),
    "an enormous space": (put("spaces/0", {**BOX, "shape": [2**40]}), "is no shape"),
    "an empty space": (put("spaces/0", {**BOX, "shape": [0]}), "nothing to"),
    "spaces that are deep": (put("spaces/0", deep(100)), "levels"),
    "a structured space for a flat policy": (
        put("spaces/0", {"kind": "Dict", "spaces": [["actor", BOX], ["agent", BOX], ["new_step", BOX]]}), "",
    ),
    "a value that nobody has": (put("policy/has_value", True), "another network"),
    "an unknown kernel": (put("policy/kernel", "evil"), "kernel"),
    "no kernel": (lambda about: about["policy"].pop("kernel"), "kernel"),
    "deviations that nobody has": (lambda about: about["policy"].update(has_deviations="maybe"), "has_deviations"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(change: Callable[[dict[str, Any]], Any], words: str, content: bytes) -> None:
    FILE.write_bytes(forged(content, change))
    with pytest.raises((NothingUsableError, UserError)) as caught:
        load_policy(FILE)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_file_that_is_only_written_anew_is_not_refused(content: bytes) -> None:
    FILE.write_bytes(forged(content, lambda about: None))
    assert load_policy(FILE).about["origin"]["algorithm"] == "a2c"


def test_a_file_of_another_process_is_not_read_because_a_policy_names_it(content: bytes) -> None:
    """Statistics are among the weights; what stands for them elsewhere is not looked at."""
    os.mkfifo("pipe")
    change = put(NORMALIZATION, {"statistics": "given", "file": str(Path("pipe").absolute())})
    FILE.write_bytes(content)
    expected = load_policy(FILE).compute_action(ASKED)
    FILE.write_bytes(forged(content, change))
    assert_equal(load_policy(FILE).compute_action(ASKED), expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value: float, content: bytes) -> None:
    name, weight = next((n, w) for n, w in safetensors.torch.load(content).items() if n.startswith("models."))
    FILE.write_bytes(forged(content, lambda about: None, **{name: torch.full_like(weight, value)}))
    with pytest.raises(NothingUsableError, match="not finite"):
        load_policy(FILE)


def test_weights_that_are_missing_are_refused(content: bytes) -> None:
    for prefix in ("models.", "normalization.", "log_stds."):
        name = next(name for name in safetensors.torch.load(content) if name.startswith(prefix))
        FILE.write_bytes(forged(content, lambda about: None, **{name: None}))
        with pytest.raises(NothingUsableError, match=r"policy\.safetensors"):
            load_policy(FILE)


HEADERS: dict[str, Any] = {
    "a list": [], "metadata that is a list": {"__metadata__": []}, "metadata that is null": {"__metadata__": None},
    "a number for a text": {"__metadata__": {KEY: 3}}, "half of a character": {"__metadata__": {KEY: "\ud800"}},
    "nothing": {"__metadata__": {KEY: ""}}, "null": {"__metadata__": {KEY: "null"}},
    "deep": {"__metadata__": {KEY: "[" * 10**5}}, "a long number": {"__metadata__": {KEY: "9" * 10**5}},
    "no hash": {"__metadata__": {KEY: '{"format": 1, "policy": {}, "spaces": [1, 2]}'}},
    "a hash that is none": {"__metadata__": {KEY: '{"format": 1, "policy": {}, "spaces": [1, 2], "sha256": {}}'}},
    "offsets that are none": {"__metadata__": {KEY: '{"format": 1, "policy": {}, "spaces": [1, 2], "sha256": 1}'},
                              "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_none_is_refused(header: Any) -> None:
    text = json.dumps(header).encode()
    FILE.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(NothingUsableError):
        load_policy(FILE)


def test_names_in_it_move_no_cursor(content: bytes) -> None:
    FILE.write_bytes(forged(content, put("policy/components/model", "\x1b[31mred\u202e")))
    with pytest.raises(MazeError) as caught:
        load_policy(FILE)
    assert str(caught.value).replace("\n", "").isprintable()
