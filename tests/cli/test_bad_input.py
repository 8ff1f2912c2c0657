"""Bad input: one or two sentences, the right exit code, no traceback, and nothing that looks like a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import Result, run_cli
from support.projects import SCRIPTED, SMALL, SPECS, write, write_component, write_env, write_project

USER, ENV, NON_FINITE, STORAGE, NOTHING_USABLE = 2, 3, 4, 5, 6
MAX_LINES = 4
LOCAL = f"--plugin {SCRIPTED} env=dial algorithm=scripted"


def check(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert "{" not in result.stderr.replace("{'foo': 1}", "")
    lines = result.stderr.splitlines()
    assert 1 <= len(lines) <= MAX_LINES
    assert lines[0].startswith("maze: ")


ROWS: list[tuple[str, int, list[str]]] = [
    # misspelt names
    ("train envv=gym_env", USER, ["no 'envv'", "Did you mean 'env'?"]),
    ("train env=gym_enw", USER, ["no env named 'gym_enw'", "Did you mean 'gym_env'?"]),
    ("train algorithm=ess", USER, ["no algorithm named 'ess'", "Did you mean 'es'?"]),
    ("train model=flaten_concat", USER, ["no model named", "'flatten_concat'"]),
    ("train wrappers=reward_scalin", USER, ["no wrapper named", "'reward_scaling'"]),
    ("train runner=lokal", USER, ["no runner named 'lokal'", "dev, local"]),
    ("train callbacks=jsonl,tensorbord", USER, ["no callback named 'tensorbord'", "'tensorboard'"]),
    ("train +experiment=nothing", USER, ["no experiment named 'nothing'"]),
    ("train algorithm.lrr=1", USER, ["algorithm has no 'lrr'", "Did you mean 'lr'?"]),
    ("train +algorithm.lrr=1", USER, ["algorithm has no 'lrr'", "Did you mean 'lr'?"]),
    ("train env.nam=CartPole-v1", USER, ["env has no 'nam'", "Did you mean 'name'?"]),
    ("train model.actors.cut=vector_obs", USER, ["model=per_actor"]),
    ("train model=per_actor model.actors.cut=vector_obs", USER, ["model.actors.cut", "Its actors: substep_0"]),
    ("train wrappers.reward_scaling.scale=2", USER, ["Select it with +wrappers=reward_scaling"]),
    ("trian", USER, ["no command named 'trian'", "Did you mean 'train'?"]),
    ("plugins lst", USER, ["'lst'"]),
    ("train --multirn", USER, ["--multirn", "--multirun"]),
    ("list envz", USER, ["no kind named 'envz'", "'envs'"]),
    ("info en gym_env", USER, ["no kind named 'en'", "'env'"]),
    ("info env gym_enw", USER, ["'gym_env'"]),
    ("info env", USER, ["Missing argument 'NAME'"]),
    ("plugins show gym_enw", USER, ["no plugin named", "'gym_env'"]),
    ("plugins check gym_enw", USER, ["no plugin named", "'gym_env'"]),
    ("train -cn conf_tran", USER, ["no conf_tran.yaml", "conf_train"]),
    ("train -cd nowhere", USER, ["--config-dir nowhere", "no such directory"]),
    ("train --plugin ./nowhere", USER, ["--plugin ./nowhere", "no such file"]),
    ("train --plugin nowhere_at_all", USER, ["nowhere_at_all"]),
    # ids of Gymnasium
    ("train env.name=CartPol-v1", USER, ["no env 'CartPol-v1'", "Did you mean 'CartPole-v1'?"]),
    ("train env.name=CartPole-v9", USER, ["no env 'CartPole-v9'", "'CartPole-v1'"]),
    ("train env.name=Nothing-v0", USER, ["no env 'Nothing-v0'"]),
    ("train env.name=cart:Pole:v1", USER, ["cart:Pole"]),
    ("train env.name=nothing_like_it:X-v0", USER, ["module 'nothing_like_it' cannot be imported"]),
    ("train env.name=ALE/Pong-v5", USER, ["pip install", "gymnasium[atari]"]),
    ("train env.kwargs.foo=1", USER, ["does not take", "foo"]),
    # wrong types, ranges, NaN and infinity
    ("train algorithm.lr=fast", USER, ["algorithm.lr=fast", "must be a number"]),
    ("train algorithm.lr=null", USER, ["algorithm.lr=null", "must be a number"]),
    ("train algorithm.lr=[1]", USER, ["algorithm.lr=[1]", "must be a number"]),
    ("train algorithm.lr=-1", USER, ["algorithm.lr=-1.0", "must be a number > 0, at most 1e3"]),
    ("train algorithm.lr=nan", USER, ["algorithm.lr=nan", "must be a number > 0, at most 1e3"]),
    ("train algorithm.lr=inf", USER, ["algorithm.lr=inf", "must be a number > 0, at most 1e3"]),
    ("train algorithm.n_rollouts_per_update=3", USER, ["n_rollouts_per_update=3", "even"]),
    ("train algorithm.n_rollouts_per_update=2.5", USER, ["must be a whole number"]),
    ("train algorithm.antithetic=maybe", USER, ["algorithm.antithetic=maybe", "true or false"]),
    ("train algorithm.optimizer=adm", USER, ["must be one of adam, sgd"]),
    ("train model.hidden_sizes=3", USER, ["model.hidden_sizes=3", "must be a list"]),
    ("train model.hidden_sizes=[0]", USER, ["model.hidden_sizes=[0]", "whole numbers >= 1"]),
    ("train wrappers=reward_scaling wrappers.reward_scaling.scale=nan", USER, ["wrappers.reward_scaling.scale=nan"]),
    ("train runner.n_epochs=0", USER, ["runner.n_epochs=0", "null or a whole number >= 1"]),
    ("train runner.stop_at_reward=nan", USER, ["runner.stop_at_reward=nan"]),
    ("train runner.evaluation.n_episodes=0", USER, ["runner.evaluation.n_episodes=0"]),
    ("train runner.evaluation=3", USER, ["runner.evaluation=3"]),
    ("train runner.device=gpu", USER, ["runner.device=gpu", "cpu, cuda, or cuda:N"]),
    ("train seed=-1", USER, ["seed=-1", "from 0 to 2147483647"]),
    ("train seed=99999999999", USER, ["seed=99999999999"]),
    ("train seed=one", USER, ["seed=one", "null or a whole number"]),
    ("train env.kwargs=3", USER, ["env.kwargs=3", "must be a mapping"]),
    # empty values
    ("train env=", USER, ["env= is empty", "env=<name>"]),
    ("train wrappers=", USER, ["wrappers= is empty"]),
    ("train env.name=", USER, ["env.name=''", "must be the id of a Gymnasium env"]),
    ("train algorithm.lr=", USER, ["algorithm.lr=''", "must be a number"]),
    ("train run_dir=", USER, ["run_dir=''", "null or a path"]),
    ("train input_dir=", USER, ["input_dir=''", "null or a path"]),
    # what is no override
    ("train gym_env", USER, ["'gym_env' is no override", "<key>=<value>"]),
    ("train env=null", USER, ["env=null", "takes the name of one env"]),
    ("train ~env", USER, ["~env"]),
    ("train ~algorithm.lr", USER, ["~algorithm.lr"]),
    ("train env.name=[CartPole-v1", USER, ["cannot be read", "Quote"]),
    # sweeps without --multirun
    ("train algorithm.lr=0.1,0.2", USER, ["algorithm.lr=0.1,0.2 names several values", "--multirun"]),
    ("train algorithm=es,es", USER, ["names several values", "--multirun"]),
    ("train seed=range(0,3)", USER, ["names several values", "--multirun"]),
    ("config algorithm.lr=0.1,0.2", USER, ["names several values"]),
    ("train -m algorithm.lr=interval(0,1)", USER, ["algorithm.lr=interval(0,1)"]),
    ("train -m algorithm.lr=glob(*)", USER, ["algorithm.lr=glob(*)"]),
    # what Hydra knows, and this is not
    ("config env@env=gym_env", USER, ["env@env=gym_env"]),
    ("config -cn runner/dev", USER, ["runner/dev"]),
    # what is on the disk
    ("train run_dir=.", USER, ["run_dir=. exists already", "input_dir=."]),
    ("train run_dir=file/below", STORAGE, ["the run directory cannot be made", "'file", "run_dir=<path>"]),
    ("train run_dir=/proc/nothing/run", STORAGE, ["/proc/nothing", "run_dir=<path>"]),
    ("train input_dir=nowhere", NOTHING_USABLE, ["input_dir=nowhere is no directory"]),
    ("train input_dir=.", NOTHING_USABLE, ["input_dir=. has no state_dict.pt"]),
    # huge values
    ("train algorithm.noise_stddev=1e200", USER, ["algorithm.noise_stddev=1e+200", "from 1e-6 to 1e3"]),
    ("train algorithm.n_rollouts_per_update=1000000000000", USER, ["update=1000000000000", "from 2 to 1000000"]),
    ("train runner.device=cuda:99999999999", USER, ["runner.device=cuda:99999999999", "cpu, cuda, or cuda:N"]),
    ("train env.name=.foo:Bar-v0", USER, ["env.name=.foo:Bar-v0", "'.foo' cannot be imported"]),
    # envs that fail
    (f"train {LOCAL} env.fail_in=constructor", ENV, ["'dial'", "RuntimeError", "no luck in constructor"]),
]  # fmt: skip
LATER = [
    (f"train {LOCAL} env.fail_in=reset", ENV, ["Dial", "RuntimeError", "reset", "no luck in reset"]),
    (f"train {LOCAL} env.fail_in=step", ENV, ["Dial", "RuntimeError", "step", "seed", "no luck in step"]),
    (f"train {LOCAL} env.fail_in=nan", NON_FINITE, ["rewards must be finite numbers"]),
    (f"train --plugin {SCRIPTED} env=masked env.allowed=[]", ENV, ["mask", "allows nothing"]),
    (f"train {LOCAL} algorithm.script=[nan]", NON_FINITE, ["no longer finite"]),
]
"""What can only show once the run has begun: there is a run directory, with what was known until then."""


@pytest.mark.parametrize(("command", "code", "words"), ROWS, ids=[row[0].replace(str(SCRIPTED), "P") for row in ROWS])
def test_bad_input_is_told_and_leaves_nothing(workdir: Path, command: str, code: int, words: list[str]) -> None:
    write(workdir / "file", "")
    name, *rest = command.split(" ")
    result = run_cli(name, *(SMALL[:1] if name == "train" else ()), *rest)
    check(result, code, *words)
    assert result.stdout == ""
    assert [path.name for path in workdir.iterdir()] == ["file"]


@pytest.mark.parametrize(("command", "code", "words"), LATER, ids=[row[0].rpartition(" ")[2] for row in LATER])
def test_a_fault_in_a_run_is_told(workdir: Path, command: str, code: int, words: list[str]) -> None:
    check(run_cli(*command.split(" "), "run_dir=run"), code, *words)
    assert not (workdir / "run" / "state_dict.pt").exists()


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is not None, reason="mujoco is installed")
def test_a_missing_extra_names_the_one_install_command(workdir: Path) -> None:
    result = run_cli("train", "env.name=Ant-v5")
    check(result, USER, "'Ant-v5' needs a package that is not installed", 'pip install "gymnasium[mujoco]"')
    assert list(workdir.iterdir()) == []


def test_weights_of_another_network_are_refused(workdir: Path) -> None:
    assert run_cli("train", *SMALL, "run_dir=first").exit_code == 0
    other = ("env.name=Pendulum-v1", "model.hidden_sizes=[5]")
    result = run_cli("train", *SMALL, "input_dir=first", "run_dir=second", *other)
    check(result, NOTHING_USABLE, "input_dir=first", "another network", "[5, 3]")
    assert not (workdir / "second").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x04K\x01."])
def test_damaged_weights_are_refused(workdir: Path, content: bytes) -> None:
    (workdir / "old").mkdir()
    (workdir / "old" / "state_dict.pt").write_bytes(content)
    check(run_cli("train", "input_dir=old"), NOTHING_USABLE, "state_dict.pt holds no weights")
    assert [path.name for path in workdir.iterdir()] == ["old"]


def test_weights_that_would_run_code_are_refused(workdir: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> object:
            return (Path.touch, (workdir / "pwned",))

    (workdir / "old").mkdir()
    (workdir / "old" / "state_dict.pt").write_bytes(pickle.dumps(Evil()))
    check(run_cli("train", "input_dir=old"), NOTHING_USABLE, "holds no weights")
    assert not (workdir / "pwned").exists()


def test_an_existing_run_directory_is_left_as_it_is(workdir: Path) -> None:
    assert run_cli("train", *SMALL, "run_dir=run").exit_code == 0
    before = {path.name: path.read_bytes() for path in (workdir / "run").rglob("*") if path.is_file()}
    check(run_cli("train", *SMALL, "run_dir=run"), USER, "run_dir=run exists already", "input_dir=run")
    assert {path.name: path.read_bytes() for path in (workdir / "run").rglob("*") if path.is_file()} == before


# Plugins


def test_a_broken_plugin_is_told_in_one_line_and_the_rest_works(install: Callable[..., None]) -> None:
    install("key_error")
    result = run_cli("config")
    assert result.exit_code == 0
    assert result.stderr == "maze: plugin 'key_error' (fake-key-error 1.0) is not used: KeyError: 'missing'\n"


def test_the_plugin_that_would_have_provided_it_is_named(install: Callable[..., None]) -> None:
    install("broken_import")
    result = run_cli("train", "env=broken_import")
    assert result.exit_code == USER
    assert "no env named 'broken_import'" in result.stderr
    assert "failed to load" in result.stderr
    assert "No module named 'a_package_that_is_not_installed'" in result.stderr
    assert "maze plugins check broken_import" in result.stderr


def test_a_name_that_two_plugins_offer_names_both(install: Callable[..., None]) -> None:
    install("twin_a", "twin_b")
    check(run_cli("train", "env=twin"), USER, "fake-twin-a 1.0 and fake-twin-b 1.0", "MAZE_DISABLE_PLUGINS=<plugin>")


def test_any_plugin_that_failed_is_named_as_a_possible_reason(install: Callable[..., None]) -> None:
    install("foreign_version")
    result = run_cli("train", "env=fake_foreign")
    check(result, USER, "no env named 'fake_foreign'", "Plugins that failed to load: foreign_version")


def test_a_missing_default_plugin_names_its_package(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAZE_DISABLE_PLUGINS", "es")
    result = run_cli("train")
    check(result, USER, "no algorithm named 'es'", "pip install maze-es")


def test_strict_mode_ends_with_the_first_broken_plugin(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("key_error")
    monkeypatch.setenv("MAZE_STRICT", "1")
    check(run_cli("list", "envs"), USER, "plugin 'key_error' (fake-key-error 1.0) is unusable")


def test_a_build_that_cannot_be_imported_is_told(workdir: Path) -> None:
    write_project(workdir, "here")
    result = run_cli("train", "env=here")
    assert result.exit_code in (USER, ENV)
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_where_an_error_comes_from(workdir: Path) -> None:
    result = run_cli("train", "--debug", *LOCAL.split(), "env.fail_in=constructor")
    assert result.exit_code == ENV
    assert "RuntimeError: no luck in constructor" in result.stderr
    assert "Traceback" in result.stderr


def test_the_dev_runner_shows_a_traceback(workdir: Path) -> None:
    result = run_cli("train", *LOCAL.split(), "env.fail_in=constructor", "runner=dev")
    assert result.exit_code == ENV
    assert "Traceback" in result.stderr
    assert "no luck in constructor" in result.stderr.splitlines()[-1]


# What a local project may get wrong

BUILDS = {
    "no module": '"nowhere:nothing"',
    "no attribute": '"maze_core.specs:nothing"',
    "imports what is missing": '"beside_missing:build"',
    "raises at import": '"beside_raising:build"',
    "no python": '"beside_broken:build"',
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("kind", SPECS)
def test_a_lazy_build_that_cannot_be_imported_is_told(workdir: Path, kind: str, build: str) -> None:
    write(workdir / "beside_missing.py", "import a_package_that_is_not_installed\n")
    write(workdir / "beside_raising.py", "raise RuntimeError('half way')\n")
    write(workdir / "beside_broken.py", "def build(:\n")
    write_component(workdir, kind, "", build)
    group = {"wrapper": "wrappers", "callback": "callbacks"}.get(kind, kind)
    before = sorted(path.name for path in workdir.iterdir())
    command = "rollout" if kind == "policy" else "train"
    result = run_cli(command, "runner.n_epochs=1", f"{group}=ours", "run_dir=run")
    check(without_announcement(result), USER, build.strip('"').partition(":")[0], "cannot be imported")
    assert sorted(path.name for path in workdir.iterdir() if path.name != "__pycache__") == before


def without_announcement(result: Result) -> Result:
    """Without the line that a local project is used."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("maze: using the local plugins of ")]
    return Result(result.exit_code, result.stdout, "\n".join(lines))


FAULTS = {
    "nan observation": ({"first": "np.array([0, np.nan], np.float32)"}, ["observation", "not finite"]),
    "nan later": ({"later": "np.array([0, np.nan], np.float32)", "terminated": "False"}, ["observation", "not finite"]),
    "infinite observation": ({"first": "np.array([0, np.inf], np.float32)"}, ["observation", "not finite"]),
    "not in a discrete space": (
        {"observation_space": "spaces.Discrete(4, start=5)", "first": "2"},
        ["leaves its space"],
    ),
    "wrong shape": ({"first": "np.zeros(3, np.float32)"}, ["Ours", "does not lie in its space"]),
    "wrong shape later": ({"later": "np.zeros(3, np.float32)"}, ["Ours", "does not lie in its space"]),
    "a missing key": ({"observation_space": "spaces.Dict(a=spaces.Discrete(2))", "first": "{}"}, ["Ours"]),
    "no number as reward": ({"reward": "'x'"}, ["Ours", "step"]),
    "ends the program": ({"before_step": "raise SystemExit(0)"}, ["Ours", "SystemExit", "step"]),
}


@pytest.mark.parametrize(("parts", "words"), FAULTS.values(), ids=FAULTS)
def test_an_env_that_misbehaves_is_told(workdir: Path, parts: dict[str, str], words: list[str]) -> None:
    write_env(workdir, **parts)
    result = run_cli("train", *SMALL, "env=ours", "run_dir=run")
    check(without_announcement(result), ENV, *words)
    assert not (workdir / "run" / "state_dict.pt").exists()


EMPTY = {
    "only a mask": {
        "observation_space": "spaces.Dict(action_mask=spaces.MultiBinary(2))",
        "first": "{'action_mask': np.ones(2, np.int8)}",
    },
    "box without numbers": {"observation_space": "spaces.Box(0, 1, (0,))", "first": "np.zeros(0, np.float32)"},
    "no observation": {"observation_space": "spaces.Dict({})", "first": "{}"},
    "no action": {"action_space": "spaces.Dict({})"},
    "box action without numbers": {"action_space": "spaces.Box(0, 1, (0,))"},
}


@pytest.mark.parametrize("parts", EMPTY.values(), ids=EMPTY)
def test_empty_spaces_are_refused_before_there_is_a_run(workdir: Path, parts: dict[str, str]) -> None:
    write_env(workdir, **parts)
    check(without_announcement(run_cli("train", *SMALL, "env=ours", "run_dir=run")), USER, "nothing to")
    assert not (workdir / "run").exists()


@pytest.mark.parametrize("key", ["type", "values"])
def test_a_step_key_that_cannot_be_used_is_told(workdir: Path, key: str) -> None:
    source = f"""
def build(config):
    from gymnasium import spaces
    from maze_core.rl import StructuredEnv

    return StructuredEnv({{"{key}": (spaces.Box(0, 1, (2,)), spaces.Discrete(2))}})
"""
    write_component(workdir, "env", source)
    check(without_announcement(run_cli("train", *SMALL, "env=ours", "run_dir=run")), USER, f"'{key}'", "step key")
    assert not (workdir / "run").exists()


def test_a_model_without_weights_cannot_be_evolved(workdir: Path) -> None:
    source = """
def build(config, observation_space, output_sizes):
    import torch

    class Constant(torch.nn.Module):
        def forward(self, observation):
            return {head: torch.zeros(len(observation["observation"]), size) for head, size in output_sizes.items()}

    return Constant()
"""
    write_component(workdir, "model", source)
    result = run_cli("train", *SMALL, "model=ours", "run_dir=run")
    check(without_announcement(result), USER, "algorithm es needs a model with weights")
    assert not (workdir / "run").exists()
