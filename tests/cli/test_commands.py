"""The commands that look and do not train."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.cli import run_cli, run_maze_run
from support.projects import write, write_env, write_package, write_project
from test_plugins import PACKAGES

pytestmark = pytest.mark.usefixtures("workdir")


# list


def test_list_shows_name_plugin_and_summary() -> None:
    result = run_cli("list", "envs")
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["name", "plugin", "summary"]
    (row,) = [row for row in rows if row.startswith("gym_env")]
    assert row.split(maxsplit=3)[:3] == ["gym_env", "maze-gym-env", "0.1.0"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        (
            "envs",
            [
                "cutting_2d_flat",
                "cutting_2d_struct",
                "cutting_2d_struct_masked",
                "envpool",
                "gym_env",
                "minigrid",
                "pettingzoo",
            ],
        ),
        ("critics", ["none", "per_sub_step", "shared", "shared_embedding"]),
        ("algorithms", ["a2c", "es", "ppo"]),
        ("runners", ["local", "ray"]),
        ("policies", ["cutting_2d_greedy", "masked_random", "random", "trained"]),
        ("callbacks", ["console", "jsonl", "tensorboard"]),
        ("sweepers", ["optuna"]),
    ],
)
def test_list_as_json(what: str, names: list[str]) -> None:
    rows = run_cli("list", what, "--json").json
    assert [row["name"] for row in rows] == names
    assert all(set(row) == {"kind", "name", "plugin", "summary"} for row in rows)


def test_list_without_a_kind_lists_everything() -> None:
    kinds = [row["kind"] for row in run_cli("list", "--json").json]
    assert list(dict.fromkeys(kinds)) == [
        "env", "wrapper", "model", "critic", "algorithm", "runner", "policy", "callback", "sweeper"
    ]  # fmt: skip


def test_an_empty_list_says_how_to_add_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAZE_DISABLE_PLUGINS", "a2c,es,ppo")
    assert (
        run_cli("list", "algorithms").stdout
        == "There are no algorithms yet. A plugin adds one with the hook maze_trainers.\n"
    )


def test_list_presets_tells_plugin_and_file(workdir: Path) -> None:
    write_project(workdir, "here", {"env/far": "defaults: [here, _self_]\n", "experiment/try": "seed: 1\n"})
    rows = {(row["group"], row["name"]): row for row in run_cli("list", "presets", "--json").json}
    assert rows[("env", "far")] == {
        "group": "env", "name": "far", "plugin": workdir.name, "file": str(workdir / "conf" / "env" / "far.yaml"),
    }  # fmt: skip
    assert rows[("runner", "dev")]["plugin"] == "maze-core"
    assert Path(rows[("runner", "dev")]["file"]).is_file()
    assert ("experiment", "try") in rows


# info


def test_info_explains_every_option() -> None:
    result = run_cli("info", "env", "gym_env")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:7] == [
        "env gym_env: Any environment registered with Gymnasium; env.name is its id.",
        "Plugin: maze-gym-env 0.1.0. Select it with env=gym_env.",
        "",
        "env.name=CartPole-v1",
        "    text; the id of a Gymnasium env, such as CartPole-v1",
        "    Gymnasium id of the environment.",
        "env.kwargs={}",
    ]


def test_info_shows_types_and_ranges() -> None:
    text = run_cli("info", "algorithm", "es").stdout
    assert "algorithm.lr=" in text
    assert "    a number > 0, at most 1e3\n" in text
    assert "algorithm.optimizer=adam\n    one of adam, sgd\n" in text


def test_info_shows_defaults_as_one_types_them() -> None:
    assert "algorithm.antithetic=true\n" in run_cli("info", "algorithm", "es").stdout


def test_info_of_a_wrapper_uses_the_key_that_sets_it() -> None:
    assert "wrappers.reward_scaling.scale=1.0" in run_cli("info", "wrapper", "reward_scaling").stdout


def test_info_of_a_runner_shows_nested_options() -> None:
    assert "runner.evaluation.n_episodes=20" in run_cli("info", "runner", "local").stdout


def test_info_takes_the_plural_too() -> None:
    assert run_cli("info", "envs", "gym_env").stdout == run_cli("info", "env", "gym_env").stdout


def test_info_as_json() -> None:
    info = run_cli("info", "env", "gym_env", "--json").json
    assert (info["kind"], info["name"], info["plugin"]) == ("env", "gym_env", "maze-gym-env 0.1.0")
    assert info["fields"][0] == {
        "name": "name",
        "type": "text",
        "default": "CartPole-v1",
        "allowed": "the id of a Gymnasium env, such as CartPole-v1",
        "doc": "Gymnasium id of the environment.",
    }


@pytest.mark.parametrize(
    "row", run_cli("list", "--no-local", "--json").json, ids=lambda row: f"{row['kind']}-{row['name']}"
)
def test_everything_listed_can_be_explained(row: dict[str, str]) -> None:
    assert run_cli("info", row["kind"], row["name"]).exit_code == 0
    assert run_cli("info", row["kind"], row["name"], "--json").json["summary"] == row["summary"]


# plugins


def test_plugins_list_as_json() -> None:
    rows = run_cli("plugins", "list", "--json").json
    assert [row["plugin"] for row in rows] == ["builtins", *PACKAGES]
    assert rows[4] == {"plugin": "es", "version": "0.1.0", "from": "package", "offers": "algorithm es", "status": "ok"}


def test_plugins_list_tells_what_is_broken(install: Callable[..., None]) -> None:
    install("key_error", "twin_a", "twin_b")
    rows = {row["plugin"]: row for row in run_cli("plugins", "list", "--json").json}
    assert rows["key_error"]["status"] == "failed: KeyError: 'missing'"
    for twin in ("twin_a", "twin_b"):
        assert rows[twin]["status"] == "conflict: env twin also offered by another plugin"
    assert "failed: KeyError: 'missing'" in run_cli("plugins", "list").stdout


def test_plugins_show_tells_where_a_plugin_comes_from() -> None:
    text = run_cli("plugins", "show", "es").stdout
    assert text.startswith("es: maze-es 0.1.0, found as package, maze_es.plugin\nstatus: ok\n")
    assert "Evolution strategies" in text


def test_plugins_show_as_json(workdir: Path) -> None:
    write_project(workdir, "here", {"env/far": "defaults: [here]"})
    plugin = run_cli("plugins", "show", workdir.name, "--json").json
    assert (plugin["from"], plugin["location"]) == ("local", str(workdir / "maze_plugins.py"))
    assert plugin["conf"] == str(workdir / "conf")
    assert plugin["offers"] == [{"kind": "env", "name": "here", "summary": "An env."}]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_plugins_check_passes_what_ships() -> None:
    result = run_cli("plugins", "check")
    n = len(PACKAGES) + 1  # and the core's own
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == f"{n} of {n} plugins work."


def test_plugins_check_shows_a_line_for_each_thing() -> None:
    result = run_cli("plugins", "check", "es", "--fast")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok      es (maze-es 0.1.0)",
        "        ok      plugin es: 4 checks",
        "        ok      algorithm es: 8 checks",
        "1 of 1 plugins work.",
    ]


def test_plugins_check_tells_what_does_not_keep_its_contract(workdir: Path) -> None:
    write_env(workdir, later="np.ones(3, np.float32)", terminated="False")
    result = run_cli("plugins", "check", workdir.name)
    assert result.exit_code == 2
    assert "        FAILED  env ours: 16 checks, 3 do not apply, " in result.stdout
    assert "                env ours: observation does not lie in its space Box(-1.0, 1.0, (2,)" in result.stdout
    assert "Traceback" not in result.stdout


def test_plugins_check_shows_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maze_core.cli.plugins_command._on_terminal", lambda: True)
    result = run_cli("plugins", "check", "es", "--fast")
    lines = result.stderr.split("\r")  # the rest of what clears a line is not written to a file
    assert lines[1:3] == ["checking es: plugin es, 0 of 4", "checking es: plugin es, 1 of 4"]
    assert lines[-1] == ""


def test_plugins_check_shows_the_traceback_of_a_broken_one(install: Callable[..., None]) -> None:
    install("key_error")
    result = run_cli("plugins", "check", "key_error")
    assert result.exit_code == 2
    assert "FAILED  key_error (fake-key-error 1.0)" in result.stdout
    assert "Traceback" in result.stdout
    assert "KeyError: 'missing'" in result.stdout


def test_plugins_check_imports_what_is_built_lazily(workdir: Path) -> None:
    write_project(workdir, "here")
    result = run_cli("plugins", "check", workdir.name)
    assert result.exit_code == 2
    assert (
        "env here: 'nowhere:nothing': PluginError: 'nowhere:nothing', which a plugin registered, cannot be imported"
        in result.stdout
    )


def test_plugins_check_wants_docstrings(workdir: Path) -> None:
    write_project(workdir, "here")
    source = (workdir / "maze_plugins.py").read_text()
    (workdir / "maze_plugins.py").write_text(source.replace('    """How large it is."""\n', ""))
    assert "env here: the option 'size' has no docstring" in run_cli("plugins", "check", workdir.name).stdout


# config


def test_config_is_yaml_that_starts_with_the_components() -> None:
    result = run_cli("config", "algorithm.lr=0.5")
    assert (result.exit_code, result.stderr) == (0, "")
    record = yaml.safe_load(result.stdout)
    assert list(record) == [
        "components", "env", "wrappers", "model", "critic", "algorithm", "runner", "callbacks",
        "seed", "run_dir", "input_dir",
    ]  # fmt: skip
    assert record["components"]["env"] == "gym_env"
    assert record["algorithm"]["lr"] == 0.5


def test_config_as_json_is_the_same() -> None:
    assert run_cli("config", "--json").json == yaml.safe_load(run_cli("config").stdout)


def test_config_builds_and_writes_nothing(workdir: Path) -> None:
    assert run_cli("config", "env.name=Ant-v5", "run_dir=run").exit_code == 0
    assert list(workdir.iterdir()) == []


def test_config_diff_shows_what_differs() -> None:
    result = run_cli("config", "--diff", "seed=3", "algorithm.optimizer=sgd", "wrappers=reward_scaling")
    wrappers, optimizer, seed = result.stdout.splitlines()
    assert wrappers.startswith("wrappers: [] -> [")
    assert "reward_scaling" in wrappers
    assert (optimizer, seed) == ("algorithm.optimizer: adam -> sgd", "seed: null -> 3")


def test_config_diff_as_json() -> None:
    assert run_cli("config", "--diff", "--json", "seed=3").json == [{"key": "seed", "default": None, "value": 3}]


def test_config_diff_of_the_defaults_says_so() -> None:
    assert run_cli("config", "--diff").stdout == "Nothing differs from the defaults.\n"


def test_config_tells_of_an_id_that_was_replaced() -> None:
    result = run_cli("config", "env.name=LunarLander-v2")
    assert result.stderr == "maze: LunarLander-v2 is retired; running its successor LunarLander-v3.\n"
    assert yaml.safe_load(result.stdout)["env"]["name"] == "LunarLander-v3"


def test_config_takes_a_root_configuration_and_a_directory(workdir: Path) -> None:
    write(workdir / "mine" / "my_run.yaml", "defaults: [conf_train, _self_]\nseed: 3\n")
    assert yaml.safe_load(run_cli("config", "-cn", "my_run", "-cd", "mine").stdout)["seed"] == 3


def test_a_secret_of_the_environment_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    for options in ([], ["--json"], ["--diff"], ["--diff", "--json"]):
        result = run_cli("config", "env.kwargs.token=${oc.env:MY_SECRET}", *options)
        assert result.exit_code == 0
        assert "hunter2" not in result.stdout + result.stderr
        assert "${oc.env:MY_SECRET}" in result.stdout


# local projects, and help


def test_a_local_project_is_announced_and_can_be_switched_off(workdir: Path) -> None:
    write_project(workdir, "here")
    result = run_cli("list", "envs", "--json")
    assert {"gym_env", "here"} <= {row["name"] for row in result.json}
    assert (
        result.stderr
        == f"maze: using the local plugins of {workdir / 'maze_plugins.py'} (--no-local switches them off)\n"
    )
    result = run_cli("list", "envs", "--json", "--no-local")
    names = [row["name"] for row in result.json]
    assert ("gym_env" in names, "here" in names, result.stderr) == (True, False, "")


def test_a_project_elsewhere_is_named(workdir: Path) -> None:
    write_project(workdir / "project", "yonder", {"env/far": "defaults: [yonder, _self_]\nsize: 9\n"})
    assert yaml.safe_load(run_cli("config", "--plugin", "project", "env=far").stdout)["env"] == {"size": 9}


def test_maze_run_is_maze_train(workdir: Path) -> None:
    result = run_maze_run("-cn", "conf_train", "env=gym_enw")
    assert (result.exit_code, result.stderr) == (2, run_cli("train", "env=gym_enw").stderr)


@pytest.mark.parametrize(
    "args",
    [
        "",
        "--help",
        "-h",
        "train --help",
        "config -h",
        "list -h",
        "info -h",
        "plugins",
        "plugins -h",
        "plugins check -h",
    ],
)
def test_help_is_printed_as_it_is(args: str) -> None:
    result = run_cli(*args.split())
    assert (result.stdout + result.stderr).startswith("Usage: maze")
    assert "-h, --help" in result.stdout + result.stderr
    assert result.exit_code == (0 if "-h" in args else 2)


def test_help_lists_every_command() -> None:
    text = run_cli("--help").stdout
    for name in ("train", "config", "list", "info", "plugins"):
        assert f"  {name} " in text


def test_version() -> None:
    assert run_cli("--version").stdout == "maze, version 0.1.0\n"


# Presets, and options that cannot be read


def test_list_presets_leaves_out_what_two_packages_offer(workdir: Path) -> None:
    for name in ("twin_one", "twin_two"):
        preset = "defaults: [es, _self_]\n"
        sys.path.insert(0, str(write_package(workdir, name, {"algorithm/fast": preset, f"algorithm/{name}": preset})))
    names = [row["name"] for row in run_cli("list", "presets", "--json").json if row["group"] == "algorithm"]
    assert names == ["twin_one", "twin_two"]


def test_info_of_a_preset_shows_its_file() -> None:
    result = run_cli("info", "runner", "dev")
    assert (result.exit_code, result.stderr) == (0, "")
    (file,) = [row["file"] for row in run_cli("list", "presets", "--json").json if row["name"] == "dev"]
    assert file in result.stdout
    assert Path(file).read_text().rstrip() in result.stdout


@pytest.fixture
def unreadable(workdir: Path) -> str:
    """A plugin with an option whose type does not exist; returns its name."""
    source = (write_project(workdir, "here") / "maze_plugins.py").read_text()
    (workdir / "maze_plugins.py").write_text(source.replace("size: int", 'size: "NoSuchType"'))
    return workdir.name


def test_plugins_check_survives_options_that_cannot_be_read(unreadable: str) -> None:
    result = run_cli("plugins", "check", unreadable, "es", "--fast")
    assert result.exit_code == 2
    assert f"FAILED  {unreadable} " in result.stdout
    assert "NoSuchType" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "ok      es (maze-es 0.1.0)" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 2 plugins work."


def test_plugins_check_as_json_survives_options_that_cannot_be_read(unreadable: str) -> None:
    result = run_cli("plugins", "check", unreadable, "es", "--fast", "--json")
    assert result.exit_code == 2
    checked = {row["plugin"]: row for row in result.json}
    assert [name for name, row in checked.items() if not row["ok"]] == [unreadable]
    assert any("NoSuchType" in problem for problem in checked[unreadable]["problems"])
