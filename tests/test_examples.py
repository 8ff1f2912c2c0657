"""The examples work as their texts say."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maze_core import RunContext, load_policy

EXAMPLES = Path(__file__).parents[1] / "examples"
PROJECT = EXAMPLES / "local_project"


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def test_local_project_learns_in_its_own_folder(project, monkeypatch):
    """It becomes nearly as good as heating exactly when it is too cold."""
    monkeypatch.chdir(project)
    with RunContext(experiment="cold_room_es", seed=1, silent=True) as rc:
        rc.train()
        assert rc.evaluate(20)["BaseEnvEvents/reward/mean"] > mean_return_of_a_thermostat(rc) - 10


def mean_return_of_a_thermostat(rc: RunContext) -> float:
    env, total = rc.env_factory(), 0.0
    for seed in range(20):
        (observation, _), ended = env.reset(seed=seed), False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(int(observation[0] < 0))
            total, ended = total + reward, terminated or truncated
    return total / 20


def test_local_project_is_found_from_another_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"runner.n_epochs": 1, "algorithm.n_rollouts_per_update": 4}
    with RunContext(env="cold_room", model="linear", plugins=[str(project)], overrides=small, silent=True) as rc:
        rc.train()
        assert "outside: -10.0" in (rc.run_dir / "config.yaml").read_text()


def load_example(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.learning
def test_plain_python_solves_cartpole(capsys):
    threads = torch.get_num_threads()
    try:
        assert load_example("plain_python").main(seed=1) >= 475
    finally:
        torch.set_num_threads(threads)
    assert "env steps  return" in capsys.readouterr().out


def test_plain_python_is_as_short_as_the_text_says():
    """About twenty statements from the env to the trained policy."""
    tree = ast.parse((EXAMPLES / "plain_python.py").read_text())
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert sum(isinstance(node, ast.stmt) for node in ast.walk(main)) - 1 <= 22


def test_decisions_are_served_to_a_simulation_elsewhere(tmp_path, monkeypatch):
    """The simulation steps the structured env itself; it gets the returns that the policy gets in rollouts."""
    monkeypatch.chdir(tmp_path)
    with RunContext(
        env="cutting_2d_struct_masked", overrides={"env.max_steps": 6}, callbacks=[], seed=1, silent=True
    ) as rc:
        rc.export("policy.safetensors")
        expected = rc.rollout(episode_seeds=[3, 4]).episodes
        env = rc.env_factory(training=False)
    command = [sys.executable, str(EXAMPLES / "serve_decisions.py"), "policy.safetensors"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as server:

        def ask(**request):
            server.stdin.write(json.dumps(request) + "\n")
            return json.loads(server.stdout.readline())

        returns = [simulate(env, seed, ask) for seed in (3, 4)]
        refused = ask(episode=3, observation={})
        server.stdin.close()
    assert returns == [row["return"] for row in expected]
    assert refused == {"episode": 3, "error": "episode 3 is finished; begin another one under a new name."}
    assert server.returncode == 0


def simulate(env, seed, ask) -> float:
    """Plays an episode with the decisions of somebody else."""
    (observation, _), total, ended = env.reset(seed=seed), 0.0, False
    keys = list(env.action_space)
    while not ended:
        actor = keys[int(observation["actor"])]
        own = {key: plain(value) for key, value in observation[actor].items()}
        action = ask(episode=seed, actor=actor, observation=own)["action"]
        observation, reward, terminated, truncated, _ = env.step({actor: action})
        total, ended = total + reward, terminated or truncated
    assert ask(episode=seed, end=True) == {"episode": seed, "ended": True}
    return total


def plain(value):
    return {key: plain(part) for key, part in value.items()} if isinstance(value, dict) else value.tolist()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "one line of JSON"),
        ("[1]", "an object with an episode"),
        ('{"episode": 1, "observatoin": [0]}', "an object with an episode"),
        ('{"episode": [1], "observation": [0]}', "an object with an episode"),
        ('{"episode": 1}', "needs an observation"),
        ('{"episode": 1, "observation": [1, 2]}', "does not fit the space"),
        ('{"episode": 1, "observation": [0, 0, 0, 0], "actor": "x"}', "the env's actors are substep_0"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why_and_the_next_one_is_answered(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunContext(callbacks=[], seed=1, silent=True) as rc:
        rc.export("policy.safetensors")
    decider = load_example("serve_decisions").Decider(load_policy("policy.safetensors"))
    assert words in decider.answer(line)["error"]
    assert decider.answer('{"episode": "b", "observation": [0, 0, 0, 0]}')["action"] in (0, 1)
