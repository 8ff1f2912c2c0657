"""``maze train``: what a run leaves behind, what it says, and how it ends."""

from __future__ import annotations

import json
import math
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.cli import run_cli, run_maze_run
from support.projects import SCRIPTED, SMALL, copy_scripted, write, write_env
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from test_plugins import PACKAGES

FILES = {
    "checkpoints",
    "command.txt",
    "config.yaml",
    "environment.json",
    "final_state_dict.pt",
    "log.txt",
    "metrics.jsonl",
    "networks",
    "overrides.txt",
    "run.lock",
    "spaces.json",
    "state_dict.pt",
}


def train(*args: str) -> str:
    result = run_cli("train", *SMALL, "run_dir=run", *args)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def rows(folder: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def weights(folder: str = "run", name: str = "state_dict.pt") -> dict[str, torch.Tensor]:
    return torch.load(Path(folder, name), weights_only=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


pytestmark = pytest.mark.usefixtures("workdir")


# What a run leaves behind


def test_a_run_leaves_exactly_these_files(workdir: Path) -> None:
    train()
    found = {path.name for path in (workdir / "run").iterdir()}
    events = {name for name in found if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert found - events == FILES
    assert [path.name for path in workdir.iterdir()] == ["run"]


def test_without_run_dir_a_run_gets_its_own_directory_below_outputs(workdir: Path) -> None:
    for _ in range(2):
        assert run_cli("train", *SMALL, "runner=dev").exit_code == 0
    (parent,) = (workdir / "outputs").iterdir()
    assert parent.name == "gym_env-flatten_concat-es-dev"
    assert len(list(parent.iterdir())) == 2


def test_the_recorded_configuration_is_complete() -> None:
    train("algorithm.lr=0.5")
    record = yaml.safe_load(Path("run/config.yaml").read_text())
    expected = yaml.safe_load(run_cli("config", *SMALL, "run_dir=run", "algorithm.lr=0.5").stdout)
    assert record == expected
    assert record["components"]["algorithm"] == "es"
    assert record["run_dir"] == "run"


def test_a_seed_that_was_drawn_is_recorded() -> None:
    train("seed=null")
    seed = yaml.safe_load(Path("run/config.yaml").read_text())["seed"]
    assert isinstance(seed, int)
    assert json.loads(Path("run/environment.json").read_text())["seed"] == seed


def test_the_command_is_recorded_so_that_it_can_be_typed_again() -> None:
    train("env.kwargs.render_mode=null", "model.hidden_sizes=[3, 4]")
    words = shlex.split(Path("run/command.txt").read_text())
    assert words == ["maze", "train", *SMALL, "run_dir=run", "env.kwargs.render_mode=null", "model.hidden_sizes=[3, 4]"]
    assert Path("run/overrides.txt").read_text().splitlines() == words[2:]


def test_the_recorded_command_names_configuration_and_plugins(workdir: Path) -> None:
    write(workdir / "mine" / "my_run.yaml", "defaults: [conf_train, _self_]\n")
    train("-cn", "my_run", "-cd", "mine", "--plugin", str(SCRIPTED), "env=dial")
    words = shlex.split(Path("run/command.txt").read_text())
    assert words[:8] == [
        "maze", "train", "--config-name", "my_run", "--config-dir", "mine", "--plugin", str(SCRIPTED),
    ]  # fmt: skip


def test_a_run_without_the_local_project_is_recorded_so(workdir: Path) -> None:
    copy_scripted(workdir)
    train("--no-local")
    assert "--no-local" in Path("run/command.txt").read_text()


def test_the_environment_of_a_run_is_recorded() -> None:
    train()
    record = json.loads(Path("run/environment.json").read_text())
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["packages"]["torch"] == metadata.version("torch")
    assert record["packages"]["maze-core"] == "0.1.0"
    assert record["plugins"] == dict.fromkeys(["builtins", *PACKAGES], "0.1.0")
    assert record["torch_threads"] == 1  # enough for a small network
    assert record["seed"] == 1
    assert "git_revision" in record


def test_metrics_have_a_row_for_each_epoch_and_stage() -> None:
    train("runner.n_epochs=2", "runner.stop_at_reward=inf")
    found = rows()
    assert [(row["epoch"], row["stage"]) for row in found] == [
        (0, "train"), (0, "eval"), (1, "train"), (1, "eval"), (1, "final_eval"),
    ]  # fmt: skip
    assert all(list(row) == ["epoch", "stage", "update", "env_steps", "time", "values"] for row in found)
    assert [row["update"] for row in found] == [1, 1, 2, 2, 2]
    assert all(set(row["time"]) == {"train_s", "evaluation_s", "wall_s"} for row in found)
    evaluation = found[1]["values"]
    assert evaluation["BaseEnvEvents/reward/episode_count"] == 20
    assert found[3]["values"]["BaseEnvEvents/reward/total_episode_count"] == 40
    assert {"BaseEnvEvents/reward/mean", "BaseEnvEvents/reward/std"} <= set(evaluation)
    assert "TrainerEvents/gradient_norm/mean" in found[0]["values"]


def test_env_steps_are_those_of_training() -> None:
    train("runner.n_epochs=2", "runner.stop_at_reward=inf")
    steps = [row["env_steps"] for row in rows() if row["stage"] == "train"]
    assert steps == [
        row["values"]["BaseEnvEvents/reward/total_step_count"] for row in rows() if row["stage"] == "train"
    ]


def test_tensorboard_shows_what_metrics_jsonl_holds() -> None:
    train("runner.n_epochs=2", "runner.stop_at_reward=inf")
    events = EventAccumulator("run", size_guidance={"scalars": 0, "tensors": 0}).Reload()
    expected: dict[str, list[tuple[int, float]]] = {}
    for row in rows():
        for path, value in row["values"].items():
            expected.setdefault(f"{row['stage']}_{path}", []).append((row["epoch"] + 1, value))
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found.keys() == expected.keys()
    for tag, values in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in values]
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in values], rel=1e-6)


def test_tensorboard_shows_configuration_and_command() -> None:
    train()
    events = EventAccumulator("run").Reload()
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in ("config/text_summary", "command/text_summary")
    }
    assert texts["config/text_summary"] == f"```yaml\n{Path('run/config.yaml').read_text()}```"
    assert texts["command/text_summary"] == f"`{Path('run/command.txt').read_text().strip()}`"


def test_tensorboard_shows_histograms_networks_and_hyper_parameters() -> None:
    train("wrappers=monitoring")
    events = EventAccumulator("run", size_guidance={"images": 0, "histograms": 0}).Reload()
    action = events.Histograms("eval_DiscreteActionEvents/action/substep_0/action")[0]
    assert action.histogram_value.num == rows()[1]["values"]["BaseEnvEvents/reward/total_step_count"]
    assert "eval_MonitoredEvents/observation:3/histogram" in events.Tags()["histograms"]
    image = events.Images("networks/policy-substep_0")[0]
    assert image.encoded_image_string == Path("run/networks/policy-substep_0.png").read_bytes()
    data = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    assert data.session_start_info.hparams["algorithm.lr"].number_value == 0.1
    assert data.session_start_info.hparams["algorithm.optimizer"].string_value == "adam"
    experiment = HParamsPluginData.FromString(events.summary_metadata["_hparams_/experiment"].plugin_data.content)
    (metric,) = experiment.experiment.metric_infos
    assert metric.name.tag in events.Tags()["scalars"]
    assert list(Path("run").rglob("events*")) == list(Path("run").glob("events*"))  # no sub-runs


# What a run says


def test_the_console_shows_configuration_statistics_and_what_to_do_next() -> None:
    text = train()
    assert text.startswith(Path("run/config.yaml").read_text())
    for part in (
        "********** Iteration 0 **********\n step|path",
        "    1|eval                  DiscreteActionEvents  action                substep_0/action      |",
        "    1|train                 BaseEnvEvents         reward                mean                  |",
        "-> new overall best model ",
        "Run ended: 1 epoch done.",
        "    1|final_eval            BaseEnvEvents",
        "Results: run ",
        "maze board run",
        "Go on from these weights:  maze train runner.n_epochs=1",
        " input_dir=run\n",
    ):
        assert part in text


def test_the_log_holds_the_same_text_as_the_console() -> None:
    assert train() == Path("run/log.txt").read_text()


def test_the_summary_tells_the_best_model_that_was_announced() -> None:
    text = train("runner.n_epochs=3", "runner.stop_at_reward=inf")
    announced = [float(line.split()[-1].rstrip("!")) for line in text.splitlines() if line.startswith("-> new")]
    best = max(row["values"]["BaseEnvEvents/reward/mean"] for row in rows() if row["stage"] == "eval")
    assert announced[-1] == pytest.approx(best, abs=1e-5)
    assert f"Best evaluation: {best:.3f} in iteration " in text


def test_without_callbacks_a_run_is_silent_and_saves_its_weights(workdir: Path) -> None:
    assert train("callbacks=[]") == ""
    assert {path.name for path in (workdir / "run").iterdir()} == FILES - {"log.txt", "metrics.jsonl"}


def test_a_secret_of_the_environment_appears_nowhere(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "reset_hunter2")
    out = train("--plugin", str(SCRIPTED), "env=dial", "env.fail_in=${oc.env:MY_SECRET}")
    files = [path for path in (workdir / "run").rglob("*") if path.is_file()]
    checkpoints = [path for path in files if path.parent.parent.name == "checkpoints"]
    assert len(checkpoints) == 2 * 3
    assert len(files) == len(FILES) + 1 + len(checkpoints)  # the event file, and two pictures in networks/
    assert not [file.name for file in files if b"hunter2" in file.read_bytes()]
    assert "hunter2" not in out
    assert "${oc.env:MY_SECRET}" in out


def test_a_replaced_id_is_told_and_recorded(workdir: Path) -> None:
    copy_scripted(workdir)
    write(workdir / "conf" / "env" / "mountain.yaml", "defaults: [gym_env, _self_]\nname: LunarLander-v2\n")
    result = run_cli("config", "env=mountain")
    assert yaml.safe_load(result.stdout)["env"]["name"] == "LunarLander-v3"
    assert "LunarLander-v2 is retired; running its successor LunarLander-v3." in result.stderr


# Same seed, same bits


def test_the_same_seed_gives_the_same_weights_and_metrics() -> None:
    options = ("runner.n_epochs=2", "runner.stop_at_reward=inf", "seed=5")
    for name in ("one", "two"):
        assert run_cli("train", *SMALL, *options, f"run_dir={name}").exit_code == 0
    assert same(weights("one"), weights("two"))
    assert same(weights("one", "final_state_dict.pt"), weights("two", "final_state_dict.pt"))
    assert [{**row, "time": None} for row in rows("one")] == [{**row, "time": None} for row in rows("two")]


def test_another_seed_gives_other_weights() -> None:
    for seed in (1, 2):
        assert run_cli("train", *SMALL, f"seed={seed}", f"run_dir={seed}").exit_code == 0
    assert not same(weights("1"), weights("2"))


# Going on with an earlier run


def test_input_dir_takes_over_the_weights_and_says_so() -> None:
    train()
    text = run_cli("train", *SMALL, "seed=9", "input_dir=run", "run_dir=next", "algorithm.lr=1e-30").stdout
    assert "input_dir=run: took over all 6 weight tensors.\n" in text
    assert all(torch.allclose(value, weights("run")[name], atol=1e-6) for name, value in weights("next").items())
    assert yaml.safe_load(Path("next/config.yaml").read_text())["input_dir"] == "run"


def test_input_dir_of_another_network_is_refused_even_if_some_weights_would_fit(workdir: Path) -> None:
    train()
    result = run_cli("train", *SMALL, "input_dir=run", "run_dir=next", "env.name=MountainCar-v0")
    assert result.exit_code == 6
    assert "input_dir=run holds the weights of another network" in result.stderr
    assert not (workdir / "next").exists()


def test_the_command_that_a_run_ends_with_goes_on_from_its_weights(workdir: Path) -> None:
    other = ("env.name=Pendulum-v1", "wrappers=vector_obs")  # neither is the default
    text = run_cli("train", *SMALL, *other, "run_dir='my runs/first'").stdout
    command = next(line for line in text.splitlines() if line.startswith("Go on from these weights:")).partition(":")[2]
    words = shlex.split(command)
    assert words[:2] == ["maze", "train"]
    result = run_cli(*words[1:])
    assert result.exit_code == 0, result.stderr
    assert "input_dir=my runs/first: took over all" in result.stdout


# Signals

SCRIPT = (f"--plugin={SCRIPTED}", "env=dial", "algorithm=scripted", "model.hidden_sizes=[]", "run_dir=run")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_run_with_its_exit_code(name: str, code: int) -> None:
    result = run_cli("train", *SCRIPT, "algorithm.interrupt_at=3", f"algorithm.signals=[{name}]")
    assert result.exit_code == code
    assert f"Run ended: interrupted by {name}." in result.stdout
    assert result.stderr == ""


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal; what is started in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_a_second_interrupt_acts_at_once(workdir: Path) -> None:
    result = run_cli("train", *SCRIPT, "algorithm.interrupt_at=3", "algorithm.signals=[SIGINT,SIGINT]")
    assert (result.exit_code, result.stderr.strip()) == (130, "maze: interrupted")
    assert (workdir / "run" / "state_dict.pt").is_file()
    assert not (workdir / "run" / "final_state_dict.pt").exists()


# maze-run, and a local project


def test_maze_run_trains(workdir: Path) -> None:
    result = run_maze_run("-cn", "conf_train", "env=gym_env", "env.name=CartPole-v0", *SMALL, "run_dir=run")
    assert result.exit_code == 0
    assert yaml.safe_load((workdir / "run" / "config.yaml").read_text())["env"]["name"] == "CartPole-v0"
    assert "CartPole-v0 is out of date" in result.stdout


def test_an_env_of_the_local_project_trains(workdir: Path) -> None:
    copy_scripted(workdir)
    write(workdir / "conf" / "env" / "two_ways.yaml", "defaults: [masked, _self_]\nallowed: [0, 2]\n")
    result = run_cli("train", *SMALL, "env=two_ways", "run_dir=run")
    assert result.exit_code == 0
    assert result.stderr.startswith("maze: using the local plugins of ")
    assert rows()[0]["stage"] == "train"
    assert rows()[-1]["values"]["BaseEnvEvents/reward/max"] in (0, 2, 4, 6, 8, 10)


def test_each_actor_may_have_a_model_of_its_own() -> None:
    train("model=per_actor", "model.actors.substep_0=vector_obs", "model.actors.substep_0.hidden_sizes=[7]")
    assert {tuple(value.shape) for value in weights().values()} == {(7, 4), (7,), (2, 7), (2,)}


def test_reward_wrappers_act_on_training_and_leave_evaluation_alone(workdir: Path) -> None:
    result = run_cli(
        "train", *SMALL, "wrappers=reward_scaling,reward_scaling", "run_dir=run",
        "wrappers.reward_scaling.scale=10", "wrappers.reward_scaling_2.scale=-1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    train, evaluation = rows()[0]["values"], rows()[1]["values"]
    steps = "BaseEnvEvents/reward/mean_step_count"
    assert train["BaseEnvEvents/reward/mean"] == pytest.approx(-10 * train[steps])
    assert evaluation["BaseEnvEvents/reward/mean"] == pytest.approx(evaluation[steps])


# Interruption, in a process of its own


def test_sigint_ends_a_run_with_its_results_saved(workdir: Path) -> None:
    endless = ("runner.n_epochs=null", "runner.patience=null", "runner.stop_at_reward=inf", "run_dir=run")
    command = [sys.executable, "-c", "from maze_core.cli.main import maze; maze.main()", "train", *SMALL[1:], *endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "Iteration 2" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert "Run ended: interrupted by SIGINT." in out
    assert "Traceback" not in out + err
    assert {"state_dict.pt", "final_state_dict.pt"} <= {path.name for path in Path("run").iterdir()}
    assert rows()[-1]["stage"] != "final_eval"
    assert all(math.isfinite(value) for value in rows()[-1]["values"].values())


# Learning


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_cartpole_is_solved_with_the_defaults(seed: int) -> None:
    result = run_cli("train", f"seed={seed}", "run_dir=run")
    assert result.exit_code == 0
    assert "Run ended: solved: mean evaluation return" in result.stdout
    assert rows()[-1]["epoch"] < 40
    assert rows()[-1]["values"]["BaseEnvEvents/reward/mean"] > 400


# Training and evaluation


def test_training_and_evaluation_have_envs_of_their_own_at_equal_sizes() -> None:
    train("algorithm.n_rollouts_per_update=16", "wrappers=reward_scaling", "wrappers.reward_scaling.scale=10")
    steps, mean = "BaseEnvEvents/reward/mean_step_count", "BaseEnvEvents/reward/mean"
    factors = {row["stage"]: row["values"][mean] / row["values"][steps] for row in rows()}
    assert factors == {"train": pytest.approx(10), "eval": pytest.approx(1), "final_eval": pytest.approx(1)}


def test_a_signal_during_the_final_evaluation_counts(workdir: Path) -> None:
    """The second episode is that of the final evaluation."""
    early = "import signal; RESETS.append(0); len(RESETS) == 2 and signal.raise_signal(signal.SIGINT)"
    write_env(workdir, before_step=early)
    file = workdir / "maze_plugins.py"
    file.write_text(file.read_text() + "\n\nRESETS = []\n")
    once = ("runner.n_epochs=1", "runner.evaluation.n_episodes=1", "runner.n_workers=0")
    options = (f"--plugin={SCRIPTED}", "env=ours", "algorithm=scripted", *once, "seed=1", "run_dir=run")
    result = run_cli("train", *options)
    assert result.exit_code == 130
    assert {"state_dict.pt", "final_state_dict.pt"} <= {path.name for path in (workdir / "run").iterdir()}


def test_weights_that_the_policy_has_no_use_for_are_named() -> None:
    train()
    torch.save({**weights(), "critic.weight": torch.zeros(3)}, "run/state_dict.pt")
    result = run_cli("train", *SMALL, "input_dir=run", "run_dir=next")
    assert result.exit_code == 0
    assert "input_dir=run: took over all 6 weight tensors; not used: critic.weight." in result.stdout


def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(workdir: Path) -> None:
    """As in ``maze train | head -1``."""
    endless = ("runner.n_epochs=null", "runner.patience=null", "runner.stop_at_reward=inf", "run_dir=run")
    command = [sys.executable, "-c", "from maze_core.cli.main import maze; maze.main()", "train", *SMALL[1:], *endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (141, "")
