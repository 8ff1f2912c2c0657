"""A configuration that was recorded becomes the same objects again, and is never more than data."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from data.hostile import CASES, make_base, place
from data.hostile.tools import CANARY, SECRET, put, state_of
from support.projects import SCRIPTED

from maze_core.config import ConfigRequest, Configured, changed_keys, configure, configure_stored, parse_config
from maze_core.config.overrides import items_of_mapping, read_items
from maze_core.config.stored import MAX_BYTES, MAX_DEPTH, MAX_EVENTS, ForeignConfigError, _names_all
from maze_core.errors import ConfigError, MazeError, MissingPackageError, UserError
from maze_core.plugins import PluginSources, load_plugins
from maze_core.presets import group_options
from maze_core.registry import GROUPS, LIST_GROUPS, Registry

ROOT = Path(__file__).parents[2]
REGISTRY = Registry(load_plugins(PluginSources(named=[str(ROOT / "examples" / "local_project")], environ={})))
NAME = "run/config.yaml"


def composed(*overrides: str, registry: Registry = REGISTRY) -> Configured:
    return configure(registry, ConfigRequest(items=read_items(overrides)))


@cache
def default_text() -> str:
    return composed().to_yaml()


def default_data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(default_text())
    return data


def reread(text: str, *overrides: str, variables: tuple[str, ...] = (), registry: Registry = REGISTRY) -> Configured:
    """What a run that goes on makes of what it recorded."""
    data = parse_config(text.encode(), NAME)
    return configure_stored(registry, data, NAME, read_items(overrides), variables)


def presets() -> list[tuple[str, str]]:
    groups = (*GROUPS, "experiment")
    return [(group, source.name) for group in groups for source in group_options(REGISTRY, (), group) if source.file]


def assert_same(one: Configured, other: Configured) -> None:
    assert one.config == other.config
    assert one.components == other.components
    assert one.to_yaml() == other.to_yaml()


# What was recorded becomes the same again


@pytest.mark.parametrize(("group", "name"), presets(), ids="/".join)
def test_every_preset_and_experiment_is_the_same_after_it_was_recorded(group: str, name: str) -> None:
    value: Any = [name] if group in LIST_GROUPS else name
    try:
        before = configure(REGISTRY, ConfigRequest(items=items_of_mapping({group: value})))
    except MissingPackageError as error:
        pytest.skip(f"NOT COMPOSED: {error}")
    assert_same(reread(before.to_yaml()), before)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("algorithm=ppo", "algorithm.lr=1e-5", "algorithm.target_kl=null", "critic=per_sub_step"),
        ("algorithm=a2c", "critic=shared", "critic.model=flatten_concat", "critic.model.hidden_sizes=[3]"),
        ("wrappers=time_limit,reward_scaling,time_limit", "wrappers.time_limit_2.max_env_steps=5"),
        ("callbacks=[]",),
        ("callbacks=console,jsonl",),
        ("env.kwargs.a.b=[1,{c:null}]", "env.kwargs.t='true'", "env.kwargs.n='1e5'", "env.kwargs.e=''"),
        ("model=per_actor", "model.actors.substep_0=flatten_concat", "model.actors.substep_0.hidden_sizes=[]"),
        ("runner.stop_at_reward=inf", "runner.checkpoint.every_s=null", "runner.checkpoint.on_error=warn"),
        ("runner.stop_at_reward=-inf", "runner.device=cuda:1", "model.hidden_sizes=[]"),
        ("run_dir='a: b #c'", "input_dir='${not} \"one\"'".replace("${not}", "$not"), "seed=0"),
        ("env.kwargs.text='zeile\nzwei \\t ä 中'",),
        ("env.kwargs={on:off,y:1,null_:null}",),
    ],
)  # fmt: skip
def test_values_are_the_same_after_they_were_recorded(overrides: tuple[str, ...]) -> None:
    before = composed(*overrides)
    assert_same(reread(before.to_yaml()), before)


def test_a_local_plugin_is_named_like_any_other(workdir: Path) -> None:
    registry = Registry(load_plugins(PluginSources(named=[str(SCRIPTED)], environ={})))
    before = composed("env=masked", "env.allowed=[0,2]", "algorithm=scripted", registry=registry)
    assert_same(reread(before.to_yaml(), registry=registry), before)


def test_the_order_of_wrappers_stays() -> None:
    names = "reward_clipping,time_limit,action_repeat"
    after = reread(composed(f"wrappers={names}").to_yaml())
    assert ",".join(after.config.wrappers) == names


# What may change


@pytest.mark.parametrize(
    "override",
    ["runner.n_epochs=7", "runner.patience=null", "runner.checkpoint.keep=9", "callbacks=[jsonl]", "~callbacks"],
)
def test_what_changes_nothing_that_is_learned_may_change(override: str) -> None:
    before = composed("env.kwargs.sutton_barto_reward=true")
    after = reread(before.to_yaml(), override)
    assert after.config != before.config
    assert (after.config.env, after.config.algorithm) == (before.config.env, before.config.algorithm)


@pytest.mark.parametrize("override", ["algorithm.lr=0.1", "seed=3", "env.name=CartPole-v1", "algorithm=es",
                                      "wrappers=[]", "model.hidden_sizes=[32,32]"])  # fmt: skip
def test_what_is_as_recorded_may_be_said_again(override: str) -> None:
    before = composed("seed=3", "model.hidden_sizes=[32,32]")
    assert_same(reread(before.to_yaml(), override), before)


@pytest.mark.parametrize(
    "override",
    ["algorithm.lr=0.2", "seed=4", "algorithm=ppo", "env.name=Acrobot-v1", "wrappers=time_limit", "~env.kwargs.a",
     "run_dir=elsewhere", "runner.evaluation.n_episodes=3", "env.kwargs.a=2", "seed.a=1", "runner.kernel=autograd"],
)  # fmt: skip
def test_what_would_make_it_another_run_is_refused(override: str) -> None:
    before = composed("seed=3", "env.kwargs.a=1")
    with pytest.raises(UserError, match=re.escape(f"cannot change {override}: it would be another run")):
        reread(before.to_yaml(), override)


@pytest.mark.parametrize("override", ["algorithm.lrr=0.2", "evil=1"])
def test_a_key_that_is_not_there_is_told(override: str) -> None:
    with pytest.raises(ConfigError, match="the configuration of this run has no"):
        reread(default_text(), override)


def test_callbacks_are_added_and_chosen_anew_with_their_options() -> None:
    text = composed("callbacks=console,jsonl", "callbacks.console.terminal=false").to_yaml()
    added = reread(text, "+callbacks=tensorboard").config.callbacks
    assert list(added) == ["console", "jsonl", "tensorboard"]
    assert added["console"].terminal is False
    assert list(reread(text, "callbacks=[tensorboard,console]").config.callbacks) == ["tensorboard", "console"]
    assert list(reread(text, "~callbacks=console").config.callbacks) == ["jsonl"]
    assert list(reread(text, "~callbacks.console").config.callbacks) == ["jsonl"]
    with pytest.raises(UserError, match="no callback named 'evil'"):
        reread(text, "callbacks=[evil]")
    with pytest.raises(UserError, match="evil is not there to be removed"):
        reread(text, "~callbacks=evil")


def test_callbacks_of_any_key_may_stay() -> None:
    data = yaml.safe_load(composed("callbacks=[]").to_yaml())
    for key in ("", "_", "x_2"):
        data["components"][f"callbacks.{key}"] = "jsonl"
        data["callbacks"][key] = {}
    after = configure_stored(REGISTRY, data, NAME, read_items(["+callbacks=[console]"]))
    assert list(after.config.callbacks) == ["", "_", "x_2", "console"]


def test_keys_that_differ_are_named_with_both_values() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": float("nan"), "e": 1}
    now = {"a": {"b": 1, "c": [1, 3]}, "d": float("nan"), "f": "x" * 1000, "e": True}
    assert changed_keys(before, before) == []
    assert changed_keys(before, now)[:2] == ["a.c.1: 2 -> 3", "e: 1 -> True"]
    assert len(changed_keys(before, now)[2]) < 250


# Environment variables


def test_a_variable_is_only_used_if_it_is_allowed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "0.25")
    text = composed(f"algorithm.lr=${{oc.env:{SECRET}}}").to_yaml()
    assert "0.25" not in text
    with pytest.raises(UserError) as caught:
        reread(text)
    assert str(caught.value) == (
        f"{NAME} uses the environment variables {SECRET}. If this run may see them, add --env {SECRET}."
    )
    with pytest.raises(UserError, match=SECRET):
        reread(text, variables=("OTHER",))
    after = reread(text, variables=(SECRET,))
    assert after.config.algorithm.lr == 0.25
    assert "0.25" not in after.to_yaml()


def test_a_default_counts_where_the_variable_is_not_set() -> None:
    text = default_text().replace("lr: 0.1", f"lr: ${{oc.env:{SECRET},0.5}}")
    assert reread(text, variables=(SECRET,)).config.algorithm.lr == 0.5


@pytest.mark.parametrize(
    ("path", "value"), [("algorithm.lr", "${}"), ("seed", "${}"), ("model.activation", "${}"), ("runner.device", "${}"),
                        ("model.hidden_sizes", ["${}"]), ("runner.patience", "x${}")],
)  # fmt: skip
def test_an_error_does_not_tell_what_a_variable_holds(path: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "s3cr3t")
    variable = f"${{oc.env:{SECRET}}}"
    filled = [variable] if isinstance(value, list) else value.replace("${}", variable)
    data = default_data()
    put(data, path, filled)
    with pytest.raises(MazeError) as caught:
        configure_stored(REGISTRY, data, NAME, (), (SECRET,))
    assert "s3cr3t" not in str(caught.value)


def test_an_override_of_a_run_that_goes_on_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "s3cr3t")
    with pytest.raises(ConfigError, match="could not be converted") as caught:
        reread(default_text(), f"runner.n_epochs=${{oc.env:{SECRET}}}")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["${a}", "${oc.env:A} ${a}", "${oc.env:${oc.env:A}}", "${oc.env:A,${b}}", "${oc.decode:1}", "${oc.env: A}", "${",
     "${oc.env:A", "${oc.env:1A}", "${oc.env:A.B}", "${oc.env:}", "$${a}", "\\${a}", "${oc.env:A}${oc.env:B}${"],
)  # fmt: skip
def test_every_other_interpolation_is_refused_wherever_it_stands(text: str) -> None:
    for path, value in (("env.name", text), ("env.kwargs", {"a": [{"b": text}]}), ("run_dir", text)):
        data = default_data()
        put(data, path, value)
        with pytest.raises(ForeignConfigError, match="has the interpolation"):
            configure_stored(REGISTRY, data, NAME, (), ("A", "B"))


# What a stranger wrote


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "run")


@pytest.fixture
def make(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a hostile run."""
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    monkeypatch.setenv(SECRET, "s3cr3t")

    def made(name: str) -> Path:
        run = place(base, tmp_path / "home")
        CASES[name].make(run)
        return run

    return made


def assert_refusal(error: MazeError, tmp_path: Path) -> None:
    assert not (tmp_path / "canary").exists()
    assert "s3cr3t" not in str(error)
    assert len(str(error)) < 1000
    assert len(str(error).splitlines()) <= 2


NO_REFUSALS = ("yaml said twice",)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("yaml ") and name not in NO_REFUSALS])
def test_yaml_that_is_more_than_data_or_something_else_is_not_that_of_the_run(
    name: str, make: Callable[[str], Path], tmp_path: Path
) -> None:
    run = make(name)
    try:
        data = parse_config((run / "config.yaml").read_bytes(), NAME)
    except ForeignConfigError as error:
        assert str(error).startswith(f"{NAME} is not used: ")
        assert_refusal(error, tmp_path)
    else:
        assert changed_keys(state_of(run)["started"], data)


def test_the_tags_of_these_cases_would_do_something(make: Callable[[str], Path], tmp_path: Path) -> None:
    """For who loads YAML with all its tags; else they would show nothing."""
    text = (make("yaml tag python apply") / "config.yaml").read_text()
    yaml.unsafe_load(text)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", [name for name, case in CASES.items()
                                  if name.startswith("config ") and not case.goes_on])  # fmt: skip
def test_what_a_configuration_must_not_ask_for_is_refused(
    name: str, make: Callable[[str], Path], tmp_path: Path
) -> None:
    run = make(name)
    with pytest.raises(MazeError) as caught:
        data = parse_config((run / "config.yaml").read_bytes(), NAME)
        after = configure_stored(REGISTRY, data, NAME)
        raise_what_building_does(after)
    assert_refusal(caught.value, tmp_path)


def raise_what_building_does(configured: Configured) -> None:
    """Values that are of the right form are refused when the env or the device is looked for."""
    from maze_core.build import build_run

    configured.config.seed = configured.config.seed or 0
    build_run(REGISTRY, configured).close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1", "it has an alias"),
        ("a: &x [1]\nb: *x", "it has an alias"),
        ("a: !!str 1", "it has the tag 'tag:yaml.org,2002:str'"),
        ("a: !evil 1", "it has the tag '!evil'"),
        ("a: " + "[" * (MAX_DEPTH + 1), "it is nested too deep"),
        ("a: [" + "1," * MAX_EVENTS + "]", "it has too many values"),
        ("a: '" + "x" * MAX_BYTES + "'", f"it has more than {MAX_BYTES} bytes"),
        ("[a]", "it holds no configuration"),
        ("", "it holds no configuration"),
        ("a: 2020-01-01", "a is a date"),
        ("a: {b: [2020-01-01 00:00:00]}", "a.b.0 is a datetime"),
        ("1: a", "the configuration has a key that is no text"),
        ("a: {null: a}", "a has a key that is no text"),
        ('a: "\\e[31m"', "a has control characters"),
        ('a: {"\\x9b": 1}', "a has control characters"),
        ("a: 0x" + "f" * 1000, "a is too large"),
        ("a: 18446744073709551616", "a is too large"),
    ],
)
def test_what_is_no_plain_data_is_refused_in_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(ForeignConfigError) as caught:
        parse_config(text.encode(), NAME)
    assert str(caught.value) == f"{NAME} is not used: {reason}."


def test_folders_may_have_any_name() -> None:
    before = composed()
    before.set("run_dir", "a\x1b[31m")
    assert reread(before.to_yaml()).config.run_dir == "a\x1b[31m"


def test_what_is_just_small_enough_is_read() -> None:
    assert parse_config(b"a: " + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1), NAME)
    assert parse_config(b"a: 18446744073709551615", NAME) == {"a": 2**64 - 1}
    assert parse_config("a: 'tab\t, zeile\n\n, ä'".encode(), NAME) == {"a": "tab\t, zeile\n, ä"}


@pytest.mark.parametrize("value", [object(), {1: 2}, b"x", [[[object()]]], 2**70, "\x1b", {"\x1b": 1}])
def test_data_that_did_not_come_from_yaml_is_checked_too(value: Any) -> None:
    data = default_data()
    put(data, "env.kwargs", {"a": value})
    with pytest.raises(ForeignConfigError, match=r"env\.kwargs\.a"):
        configure_stored(REGISTRY, data, NAME)


def test_data_that_is_deep_is_refused() -> None:
    data = default_data()
    deep: Any = 1
    for _ in range(900):
        deep = {"a": deep}
    data["env"]["kwargs"] = deep
    with pytest.raises(ForeignConfigError, match="it is nested too deep"):
        configure_stored(REGISTRY, data, NAME)


@pytest.mark.parametrize(
    ("given", "value", "all_named"),
    [
        ("evil:Env-v0", "evil:Env-v0", True),
        ({}, {"env_id": "evil:Env-v0"}, False),
        ({"size": 3}, {"size": 3, "env_id": "evil:Env-v0"}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": "evil:Env-v0"}}, False),
        ({"size": 3, "env_id": "mine:Env-v0"}, {"size": 3, "env_id": "evil:Env-v0"}, True),
    ],
)
def test_a_mapping_is_the_users_own_only_if_they_name_all_of_it(given: object, value: object, all_named: bool) -> None:
    """What they give is added to what is recorded, so that the rest of it is still a stranger's."""
    assert _names_all(given, value) is all_named


@pytest.mark.parametrize("given", [{}, {"num_actions": 5}])
def test_arguments_of_a_stranger_are_refused_although_the_user_adds_one(given: dict[str, object]) -> None:
    data = configure(REGISTRY, ConfigRequest(items=read_items(["env=pettingzoo"]))).to_data()
    data["env"]["kwargs"] = {"map": "/home/of/a/stranger"}
    with pytest.raises(UserError, match=r"env\.kwargs"):
        configure_stored(REGISTRY, data, "config.yaml", (), (), {"env.kwargs": given})
    configure_stored(REGISTRY, data, "config.yaml", (), (), {"env.kwargs": {"map": "mine"}})
