"""The documentation is true: its code runs, its commands exist, and nothing public is missing from it."""

from __future__ import annotations

import importlib.util
import inspect
import operator
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from gymnasium.utils.env_checker import check_env

from maze_core import errors
from maze_core.cli.main import COMMANDS
from maze_core.config import ConfigRequest, configure, configure_stored, expand_sweeps
from maze_core.config.overrides import read_items
from maze_core.field_docs import as_text, field_docs
from maze_core.hookspecs import HOOKS
from maze_core.registry import GROUPS, KINDS, load_registry
from maze_core.run_config import CHANGEABLE, CheckpointConfig, RolloutConfig, RunnerConfig
from maze_core.testing import check_env as check_structure

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md",
    *(
        str(page.relative_to(ROOT))
        for pattern in ("docs/*.md", "benchmarks/*.md", "plugins/*/*/README.md")
        for page in ROOT.glob(pattern)
    ),
]  # fmt: skip
FEW = {
    "algorithm.epoch_length": 1, "algorithm.n_rollouts_per_update": 2, "runner.evaluation.n_episodes": 1,
    "runner.stop_at_reward": float("inf"),
}  # fmt: skip
"""A run whose epochs take some milliseconds."""


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_blocks(page: str, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    return [code for written_in, code in blocks if written_in == language]


def documented_commands() -> list[tuple[str, str]]:
    """Every ``maze ...`` line in a plain code block, comments and placeholders left out."""
    found = []
    for page in PAGES:
        for block in code_blocks(page, ""):
            lines = [line.partition("#")[0].partition("->")[0].strip() for line in block.splitlines()]
            found += [(page, line) for line in lines if re.match(r"(maze|maze-run|\.venv/bin/maze) ", line)]
    return found


@pytest.fixture
def run_code(monkeypatch):
    """Executes a documented snippet as a module and returns what it defines."""

    def run(source: str) -> dict[str, object]:
        module = ModuleType("documented")
        monkeypatch.setitem(sys.modules, "documented", module)
        exec(compile(source, "documentation", "exec"), vars(module))
        return vars(module)

    return run


@pytest.mark.learning
def test_readme_python_snippet_trains_and_acts(run_code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    snippet = next(block for block in code_blocks("README.md", "python") if "RunContext(" in block)
    run_code(snippet.replace("silent=True", "silent=True, seed=1"))
    score, action = capsys.readouterr().out.split()
    assert float(score) > 400
    assert int(action) in (0, 1)


def test_readme_env_trains_from_a_local_file(tmp_path, monkeypatch):
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(block for block in code_blocks("README.md", "python") if "class Guess" in block)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    with RunContext(env="guess", overrides={"runner.n_epochs": 10}, seed=1, silent=True) as rc:
        rc.train()
        assert rc.evaluate(5)["BaseEnvEvents/reward/mean"] == 10.0  # the optimum: every guess is right
        assert [rc.compute_action(sign) for sign in range(3)] == [0, 1, 2]


def test_plugin_guide_config_states_its_range(run_code):
    config = run_code(next(b for b in code_blocks("docs/plugins.md", "python") if "ShopConfig" in b))["ShopConfig"]
    with pytest.raises(errors.ConfigError, match="capacity=0 is not allowed: it must be a whole number >= 1"):
        config(capacity=0)


@pytest.mark.filterwarnings("ignore")  # gymnasium's checker warns about the unusual form of the spaces
def test_env_guide_structured_env_is_a_valid_gymnasium_env(run_code):
    env = run_code(next(b for b in code_blocks("docs/envs.md", "python") if "StructuredEnv" in b))["PickThenCut"](None)
    check_env(env, skip_render_check=True)
    check_structure(env)


def test_model_guide_model_learns_to_choose(tmp_path, monkeypatch):
    from maze_core.api import RunContext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(b for b in code_blocks("docs/models.md", "python") if "class Chooser" in b)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    shelf = str(Path(__file__).parent / "data" / "shelf.py")
    algorithm = {"ppo": {"lr": 3e-3, "n_optimization_epochs": 4, "batch_size": 256, "epoch_length": 1}}
    with RunContext(env="shelf", model="chooser", algorithm=algorithm, plugins=shelf, seed=1, silent=True) as rc:
        rc.train(n_epochs=5)
        assert rc.evaluate()["BaseEnvEvents/reward/mean"] > 6  # of 10; who takes any item gets 3


def test_plugin_guide_callback_tells_nothing_twice_when_a_run_goes_on(tmp_path, monkeypatch):
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(b for b in code_blocks("docs/plugins.md", "python") if "class Returns(" in b)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    with RunContext(callbacks=["returns"], overrides={**FEW, "runner.n_epochs": 2}, run_dir="run", seed=1) as rc:
        rc.train()
    told = Path("run/returns.csv").read_text()
    Path("run/returns.csv").write_text(told + "2,told after the checkpoint")
    with RunContext.resume("run", overrides={"runner.n_epochs": 3}) as rc:
        rc.train()
    lines = Path("run/returns.csv").read_text().splitlines()
    assert lines[:2] == told.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["0", "1", "2"]


def test_plugin_guide_config_of_a_stranger_may_not_start_a_program(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(b for b in code_blocks("docs/plugins.md", "python") if "def refuse_foreign" in b)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    registry = load_registry([str(tmp_path)], local_plugins=False)
    simulator = "env.simulator=touch_file"
    recorded = configure(registry, ConfigRequest(items=read_items(["env=plant", simulator]))).to_data()
    with pytest.raises(errors.UserError, match="starts a program"):
        configure_stored(registry, recorded, "config.yaml")
    vouched = configure_stored(registry, recorded, "config.yaml", read_items([simulator]))
    assert vouched.config.env.simulator == "touch_file"


def rows_below(page: str, header: str) -> list[list[str]]:
    """Cells of the table whose header begins like this, without backticks."""
    table = text(page).partition(f"\n| {header}")[2].partition("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_env_guide_wrapper_changes_what_is_learned_from_and_no_evaluation(tmp_path, monkeypatch):
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(b for b in code_blocks("docs/envs.md", "python") if "class ActionCost(" in b)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    costly = {"wrappers.action_cost.cost": 1000.0}
    with RunContext(wrappers=["action_cost"], overrides={**FEW, **costly, "runner.n_epochs": 1}, seed=1) as rc:
        rc.train()
        assert rc.stats["train"]["BaseEnvEvents/reward/mean"] < -1000
        assert rc.stats["eval"]["BaseEnvEvents/reward/mean"] > 0


def test_model_guide_lists_the_models_that_come_with_it():
    registry = load_registry(local_plugins=False)
    own = [spec.name for spec in registry.specs("model") if "cutting_2d" not in spec.name]
    assert sorted(row[0] for row in rows_below("docs/models.md", "`model=` |")) == own


def test_training_guide_lists_all_limits_with_their_defaults():
    limits = {
        row[0]: row[1] for row in rows_below("docs/training.md", "option | default | ends") if "runner." in row[0]
    }
    defaults = {f"runner.{doc.name}": as_text(doc.default) for doc in field_docs(RunnerConfig)}
    assert limits == {key: defaults[key] for key in limits}
    assert set(limits) == set(CHANGEABLE[:4])


def test_training_guide_names_all_files_of_a_run(tmp_path, monkeypatch):
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    normalized = {**FEW, "runner.n_epochs": 1, "wrappers.observation_normalization.n_samples": 10}
    with RunContext(
        wrappers=["observation_normalization"], overrides=normalized, run_dir="run", seed=1, silent=True
    ) as rc:
        rc.train()
    cells = [row[2] for row in rows_below("docs/training.md", "stage |")]
    named = {name.strip(" `/") for cell in cells for name in cell.split(",") if name}
    events = "events.out.tfevents"
    made = {f"{events}.*" if file.name.startswith(events) else file.name for file in Path("run").iterdir()}
    assert made == named


def test_plugin_reference_is_what_the_code_says():
    found = importlib.util.spec_from_file_location("make_reference", ROOT / "docs/make_reference.py")
    generator = importlib.util.module_from_spec(found)
    found.loader.exec_module(generator)
    assert text("docs/reference.md") == generator.reference(generator.own_plugins()), "run: make docs"


def test_runs_guide_lists_what_may_change_when_a_run_goes_on():
    rows = rows_below("docs/runs.md", "may change")
    assert [key.strip("` ") for row in rows for key in row[0].split(",")] == list(CHANGEABLE)


def test_runs_guide_lists_all_checkpoint_options_with_their_defaults():
    options = [row[:2] for row in rows_below("docs/runs.md", "`runner.checkpoint.`")]
    assert options == [[doc.name, as_text(doc.default)] for doc in field_docs(CheckpointConfig)]


def test_runs_guide_snippet_goes_on_and_says_what_the_text_shows(run_code, tmp_path, monkeypatch):
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    with RunContext(overrides={**FEW, "runner.n_epochs": 1}, run_dir="outputs/my_run", seed=1, silent=True) as rc:
        rc.train()
    run_code(code_blocks("docs/runs.md", "python")[0].replace("200", "2"))
    log = Path("outputs/my_run/log.txt").read_text().splitlines()
    shown = next(block for block in code_blocks("docs/runs.md", "") if "Resumed at" in block).splitlines()[0]
    assert re.sub(r"\d+", "N", shown) in [re.sub(r"\d+", "N", line) for line in log]


def test_env_guide_env_tells_the_statistics_that_the_text_names(run_code, tmp_path, monkeypatch):
    from maze_core.rl import Actors, InProcessVectorEnv, RandomPolicy, Streams, run_episodes
    from maze_core.stats import EpisodeTotals

    shop = run_code(next(b for b in code_blocks("docs/envs.md", "python") if "EventGroup(" in b))["Shop"]
    env = InProcessVectorEnv(shop, 3)
    actors = Actors(env.single_observation_space, env.single_action_space)
    policy = RandomPolicy(actors, Streams(1).generator("test"))
    statistics = EpisodeTotals().reduce("eval", [run_episodes(env, actors, policy.act, [1, 2, 3])])
    found = {*statistics.values, *statistics.histograms}
    named = re.findall(r"`((?:SalesEvents|KPIs)/[^`]+)`", text("docs/envs.md"))
    assert len(named) == 6
    assert [path for path in named if not any(known.startswith(path) for known in found)] == []


def python_blocks(page: str) -> list[tuple[str, str]]:
    """Snippets of Python, each with the object whose source it shows, or nothing."""
    return re.findall(r"(?:<!-- source: (\S+) -->\n)?^```python\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


WITH_PYTHON = [page for page in PAGES if python_blocks(page)]


@pytest.mark.learning
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_every_python_snippet_runs(page, tmp_path, monkeypatch, capsys):
    """In the order of the page: a snippet may use what an earlier one defined, and a run in outputs/my_run."""
    from maze_core import RunContext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if "outputs/my_run" in "".join(code for _, code in python_blocks(page)):
        with RunContext(overrides={**FEW, "runner.n_epochs": 1}, run_dir="outputs/my_run", seed=1, silent=True) as rc:
            rc.train()
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    for number, (source, code) in enumerate(python_blocks(page), 1):
        if not source:
            exec(compile(code.replace("n_epochs=200", "n_epochs=2"), f"{page}, snippet {number}", "exec"), vars(module))


@pytest.mark.parametrize(
    ("page", "source", "code"), [(page, *block) for page in WITH_PYTHON for block in python_blocks(page) if block[0]]
)
def test_source_in_a_guide_is_that_of_the_code(page, source, code):
    module, _, path = source.partition(":")
    shown = operator.attrgetter(path)(importlib.import_module(module))
    assert code == textwrap.dedent(inspect.getsource(shown))


def test_guides_show_the_training_loop_and_the_runner():
    assert {"maze_core.runs.train:TrainingLoop.run", "maze_core.protocols:Runner"} <= {
        source for source, _ in python_blocks("docs/python.md")
    }


def test_rollout_guide_lists_all_options_with_their_defaults():
    options = [row[:2] for row in rows_below("docs/rollouts.md", "option |")]
    assert sorted(options) == sorted(
        [doc.name, as_text(doc.default)] for doc in field_docs(RolloutConfig) if doc.name not in GROUPS
    )


def test_rollout_guide_lists_the_policies_of_the_core():
    registry = load_registry(local_plugins=False)
    core = [spec.name for spec in registry.specs("policy") if registry.owner(spec).origin == "core"]
    assert sorted(row[0] for row in rows_below("docs/rollouts.md", "policy |")) == core


def test_rollout_guide_names_all_files_of_a_rollout(tmp_path, monkeypatch):
    from maze_core import rollout

    monkeypatch.chdir(tmp_path)
    result = rollout(n_episodes=1, trajectories=True, render="gif", seed=1, silent=True)
    files = {str(file.relative_to(result.directory)) for file in result.directory.rglob("*") if file.is_file()}
    named = {name for row in rows_below("docs/rollouts.md", "file |") for name in re.findall(r"[\w/]+\.\w+", row[0])}
    assert files == named


def test_plugin_guide_policy_balances_the_pole(tmp_path, monkeypatch):
    from maze_core import rollout

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    snippet = next(b for b in code_blocks("docs/plugins.md", "python") if "class Lean:" in b)
    (tmp_path / "maze_plugins.py").write_text(snippet)
    result = rollout(policy="lean", n_episodes=5, seed=1, save=False, silent=True)
    assert result.statistics["BaseEnvEvents/reward/mean"] > 150  # random actions get 22


def test_every_hook_is_in_the_plugin_guide():
    assert [hook for hook in HOOKS if f"`{hook}`" not in text("docs/plugins.md")] == []


def test_every_group_is_in_the_configuration_guide():
    assert [group for group in GROUPS if f"| `{group}` |" not in text("docs/configuration.md")] == []


def test_every_command_is_in_the_readme():
    assert [command for command in COMMANDS if f"maze {command}" not in text("README.md")] == []


def test_every_exit_code_is_documented():
    codes = {
        cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.MazeError)
    }
    assert [code for code in codes if f"| {code} |" not in text("docs/exit_codes.md")] == []


def test_every_option_of_every_plugin_is_documented():
    registry = load_registry(local_plugins=False)
    bare = [
        f"{kind} {spec.name}: {doc.name}"
        for kind in KINDS
        for spec in registry.specs(kind)
        for doc in field_docs(spec.config)
        if not doc.doc
    ]
    assert bare == []


def test_there_are_documented_commands():
    assert len(documented_commands()) > 15


@pytest.mark.parametrize(("page", "line"), documented_commands())
def test_documented_command_is_understood(page, line, tmp_path, monkeypatch):
    """Its command, options and overrides exist; projects and runs that the text invents are left out."""
    if any(invented in line for invented in ("guess", "path/to", "outputs/", "my_conf", "...")):
        pytest.skip("names something that the reader makes")
    words = [word for word in shlex.split(line)[1:] if word not in ("-cn", "conf_train", "--multirun")]
    command = "train" if line.startswith("maze-run") else words.pop(0)
    assert command in COMMANDS
    if command in ("train", "config"):
        registry = load_registry(local_plugins=False)
        jobs = expand_sweeps(words)
        for job in {tuple(job): job for job in (jobs[0], jobs[-1])}.values():
            try:
                configure(registry, ConfigRequest(items=read_items(job)))
            except errors.MissingPackageError as error:
                pytest.skip(f"NOT COMPOSED: {error}")
    if command == "rollout":
        check_rollout(words)


def check_rollout(words: list[str]) -> None:
    """Whether the overrides of a rollout exist, of a run that was trained with the defaults."""
    registry = load_registry(local_plugins=False)
    base = configure(registry, ConfigRequest()) if "--run" in words else None
    words = [word for word in words if word not in ("--run", "RUN_DIR")]
    configure(registry, ConfigRequest("conf_rollout", read_items(words), (), RolloutConfig), base)


def test_documented_presets_are_those_of_the_example():
    example = ROOT / "examples/local_project/conf"
    blocks = {block.partition("\n")[0]: block for block in code_blocks("docs/configuration.md", "yaml")}
    documented = yaml.safe_load(blocks["# conf/env/cold_room.yaml -> env=cold_room"])
    assert documented == yaml.safe_load((example / "env/cold_room.yaml").read_text())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text(page))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_are_valid_shell(page):
    """As they are written, with comments and placeholders."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in lines:
        if re.match(r"\s*(\$ )?(maze|maze-run|\.venv/bin/maze) ", line):
            checked = subprocess.run(["bash", "-n"], input=line, capture_output=True, text=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, ""), line


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_every_metric_of_an_update_is_documented(algorithm, tmp_path):
    from maze_core import RunContext

    overrides = {"algorithm.n_rollout_steps": 4, "algorithm.n_envs": 2}
    overrides |= {"algorithm.batch_size": 4} if algorithm == "ppo" else {}
    with RunContext(algorithm=algorithm, overrides=overrides, run_dir=tmp_path / "run", callbacks=[], seed=1) as rc:
        metrics = rc.trainer.step()
    assert [name for name in metrics if f"`{name}`" not in text("docs/algorithms.md")] == []


def test_the_manifest_for_kubernetes_is_one_and_of_the_tested_version_of_ray():
    (manifest,) = code_blocks("docs/ray.md", "yaml")
    cluster, claim, policy = yaml.safe_load_all(manifest)
    assert [part["kind"] for part in (cluster, claim, policy)] == [
        "RayCluster", "PersistentVolumeClaim", "NetworkPolicy",
    ]  # fmt: skip
    assert f"ray=={cluster['spec']['rayVersion']}" in text("requirements.txt").splitlines()
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    (volume,) = cluster["spec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    labels = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
