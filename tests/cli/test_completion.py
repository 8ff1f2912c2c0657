"""TAB: what completes what, and how the answer reaches a real shell."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, get_completion_class
from support.cli import run_cli
from support.projects import write, write_project
from test_architecture import HEAVY

from maze_core.cli import complete, completion_command
from maze_core.cli.main import maze, maze_run
from maze_core.config import adopt, compose, overrides

pytestmark = pytest.mark.usefixtures("workdir")


def items(*words: str) -> list[CompletionItem[str]]:
    """What is offered for the last of these words after ``maze``."""
    shell = get_completion_class("zsh")
    assert shell is completion_command.Zsh
    return shell(maze, {}, "maze", "_MAZE_COMPLETE").get_completions(list(words[:-1]), words[-1])


def offered(*words: str) -> list[str]:
    return [item.value for item in items(*words)]


def help_of(*words: str) -> dict[str, str | None]:
    return {item.value: item.help for item in items(*words)}


# commands and options


def test_commands_with_their_summary() -> None:
    assert help_of("pl") == {"plugins": "List, show, check and begin plugins."}


def test_subcommands() -> None:
    assert offered("plugins", "") == ["check", "list", "new", "show"]


def test_options_of_a_command() -> None:
    assert offered("train", "--c") == ["--config-name", "--config-dir"]


def test_kinds_of_list() -> None:
    assert offered("list", "")[:2] == ["envs", "wrappers"]
    assert offered("list", "pre") == ["presets"]


def test_kind_and_name_of_info() -> None:
    assert offered("info", "al") == ["algorithm"]
    assert help_of("info", "env", "gy") == {"gym_env": "Any environment registered with Gymnasium; env.name is its id."}


def test_the_plural_of_a_kind_has_names_too() -> None:
    assert offered("info", "algorithms", "e") == ["es"]


@pytest.mark.parametrize("command", ["show", "check"])
def test_names_of_plugins(command: str) -> None:
    assert offered("plugins", command, "gym") == ["gym_env"]


def test_a_broken_plugin_can_be_named(install: Callable[..., None]) -> None:
    install("key_error")
    assert help_of("plugins", "check", "key") == {"key_error": "failed: KeyError: 'missing'"}


def test_root_configurations(workdir: Path) -> None:
    write(workdir / "mine" / "nightly.yaml", "# Every night.\ndefaults:\n  - conf_train\n  - _self_\n")
    assert help_of("train", "-cd", "mine", "-cn", "n") == {"nightly": "Every night."}
    roots = ["conf_rollout", "conf_sweep", "conf_train"]
    assert offered("train", "--config-name=conf") == [f"--config-name={root}" for root in roots]


def test_a_sweep_has_the_keys_of_a_run_and_its_own() -> None:
    assert offered("sweep", "sweeper.n_t") == ["sweeper.n_trials="]
    assert offered("sweep", "algorithm.lr") == ["algorithm.lr="]
    assert offered("sweep", "algorithm.optimizer=adam,") == ["algorithm.optimizer=adam,sgd"]
    assert offered("train", "sweeper") == []


@pytest.mark.parametrize(
    ("words", "kind", "before"),
    [
        (["--config-dir", "con"], "dir", ""),
        (["--config-dir=con"], "dir", "--config-dir="),
        (["--plugin", "con"], "file", ""),
        (["run_dir=out/a"], "dir", "run_dir="),
        (["input_dir="], "dir", "input_dir="),
    ],
)
def test_the_shell_completes_a_path_after_what_stands_before_it(words: list[str], kind: str, before: str) -> None:
    (item,) = items("train", *words)
    assert (item.type, item.value) == (kind, before)


# keys


@pytest.mark.parametrize("command", ["train", "config"])
def test_a_word_starts_with_a_group_or_a_key_of_the_root(command: str) -> None:
    assert {"env=", "wrappers=", "algorithm=", "experiment=", "seed=", "run_dir="} <= set(offered(command, ""))


def test_keys_of_the_default_options_with_their_meaning() -> None:
    assert help_of("train", "algorithm.l")["algorithm.lr="] == "Step size of the optimizer."
    assert "runner.evaluation.n_episodes=" in offered("train", "runner.e")
    assert "callbacks.console.terminal=" in offered("train", "callbacks.")


def test_keys_of_what_is_selected_before(workdir: Path) -> None:
    write_project(workdir, "here")
    assert offered("train", "env=here", "env.") == ["env.size="]


def test_keys_of_what_an_experiment_selects(workdir: Path) -> None:
    experiment = "# @package _global_\ndefaults:\n  - override /env: here\n  - override /callbacks: []\n"
    write_project(workdir, "here", {"experiment/try": experiment})
    assert offered("train", "experiment=try", "env.") == ["env.size="]
    assert offered("train", "+experiment=try", "callbacks.") == []


def test_keys_of_what_a_root_configuration_selects(workdir: Path) -> None:
    write_project(workdir, "here")
    write(workdir / "mine" / "nightly.yaml", "defaults:\n  - conf_train\n  - override /env: here # mine\n  - _self_\n")
    assert offered("train", "-cd", "mine", "-cn", "nightly", "env.") == ["env.size="]


def test_keys_of_the_option_behind_a_preset(workdir: Path) -> None:
    write_project(workdir, "here", {"env/far": "defaults: [here, _self_]\n", "env/farther": "defaults:\n- far\n"})
    assert offered("train", "env=farther", "env.") == ["env.size="]


def test_a_preset_that_names_itself_ends(workdir: Path) -> None:
    write_project(workdir, "here", {"env/here": "defaults: [here, _self_]\n"})
    assert offered("train", "env=here", "env.") == ["env.size="]


def test_a_wrapper_named_twice_has_two_keys() -> None:
    words = ("train", "wrappers=reward_scaling,reward_scaling", "wrappers.reward_scaling")
    assert offered(*words) == ["wrappers.reward_scaling.scale=", "wrappers.reward_scaling_2.scale="]


def test_an_appended_wrapper_has_keys() -> None:
    assert offered("train", "+wrappers=reward_scaling", "wrappers.") == ["wrappers.reward_scaling.scale="]


def test_the_model_of_an_actor_has_keys() -> None:
    words = ("train", "model=per_actor", "model.actors.cut=vector_obs", "model.actors.")
    assert "model.actors.cut.hidden_sizes=" in offered(*words)


def test_a_free_mapping_goes_on_with_a_dot() -> None:
    assert offered("train", "env.k") == ["env.kwargs."]


def test_what_is_set_is_not_offered_again() -> None:
    assert offered("train", "seed=1", "see") == []


def test_plus_appends() -> None:
    assert {"+wrappers=", "+callbacks=", "+experiment="} <= set(offered("train", "wrappers=reward_scaling", "+"))
    assert offered("train", "+callbacks=js") == ["+callbacks=jsonl"]


def test_tilde_leaves_out_what_is_selected() -> None:
    assert offered("train", "~callbacks.") == ["~callbacks.console", "~callbacks.jsonl", "~callbacks.tensorboard"]
    assert offered("train", "~callbacks.jsonl", "~callbacks.j") == []


# values


def test_options_and_presets_of_a_group_with_their_summary() -> None:
    assert help_of("train", "runner=") == {
        "runner=dev": "For debugging: one process, and errors with their traceback.",
        "runner=local": "This machine.",
        "runner=ray": "Workers of a Ray cluster, on this machine or on many.",
    }


def test_experiments() -> None:
    assert "experiment=es_pendulum" in offered("train", "experiment=es_")


def test_a_comma_asks_for_the_next_option() -> None:
    assert offered("train", "callbacks=jsonl,") == ["callbacks=jsonl,console", "callbacks=jsonl,tensorboard"]


def test_a_comma_asks_for_the_next_value_of_a_sweep() -> None:
    assert offered("train", "algorithm.optimizer=adam,") == []
    assert offered("train", "--multirun", "algorithm.optimizer=adam,") == ["algorithm.optimizer=adam,sgd"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("algorithm.optimizer", ["adam", "sgd"]),
        ("algorithm.antithetic", ["true", "false"]),
        ("runner.patience", ["null"]),
        ("seed", ["null"]),
        ("algorithm.lr", []),
        ("algorithm.nothing", []),
    ],
)
def test_values_that_a_type_names(key: str, values: list[str]) -> None:
    assert offered("train", f"{key}=") == [f"{key}={value}" for value in values]


def test_the_model_of_an_actor() -> None:
    assert offered("train", "model=per_actor", "model.actors.cut=v") == ["model.actors.cut=vector_obs"]


# rollouts


def test_a_rollout_has_keys_of_its_own() -> None:
    assert offered("rollout", "n_ep") == ["n_episodes="]
    assert {"env=", "policy=", "render=", "episode_seeds=", "runner=", "input_dir="} <= set(offered("rollout", ""))
    assert offered("rollout", "callb") == []
    assert offered("rollout", "~callb") == []
    assert offered("train", "n_ep") == []


def test_values_of_a_rollout() -> None:
    assert offered("rollout", "env=gy") == ["env=gym_env"]
    assert help_of("rollout", "policy=ra") == {
        "policy=random": "Valid actions with equal probability; masks are honoured."
    }
    assert offered("rollout", "render=") == [f"render={form}" for form in ("gif", "webp", "mp4", "terminal", "null")]
    assert offered("rollout", "trajectories=") == ["trajectories=true", "trajectories=false"]


def test_keys_of_the_policy_that_is_chosen() -> None:
    assert offered("rollout", "policy.") == []
    assert offered("rollout", "policy=trained", "policy.") == ["policy.deterministic="]


@pytest.mark.parametrize("words", [["--run", "run"], ["input_dir=run"]])
def test_a_run_that_is_named_brings_its_components(words: list[str], workdir: Path) -> None:
    recorded = "seed: 3\ncomponents:\n  env: cutting_2d_flat\n  wrappers.time_limit: time_limit\n  model: per_actor\n" \
               "  model.actors.cut: vector_obs\n  runner: nothing\nenv: {}\n"  # fmt: skip
    write(workdir / "run" / "config.yaml", recorded)
    assert "env.max_steps=" in offered("rollout", *words, "env.")
    assert offered("rollout", *words, "policy.") == ["policy.deterministic="]
    assert offered("rollout", *words, "wrappers.") == ["wrappers.time_limit.max_env_steps="]
    assert offered("rollout", *words, "~wrappers.") == ["~wrappers.time_limit"]
    assert "model.separate_agents=" in offered("rollout", *words, "model.")
    assert offered("rollout", *words, "env=gym_env", "env.na") == ["env.name="]
    assert "runner.n_workers=" in offered("rollout", *words, "runner.")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), Path.touch])
def test_a_run_that_cannot_be_read_brings_nothing(make: Callable[[Path], None], workdir: Path) -> None:
    (workdir / "run").mkdir()
    make(workdir / "run" / "config.yaml")
    assert offered("rollout", "--run", "run", "env.na") == ["env.name="]


def test_a_root_configuration_says_what_it_describes(workdir: Path) -> None:
    write(workdir / "mine" / "nightly.yaml", "defaults:\n  - conf_rollout\n  - _self_\n")
    assert offered("config", "-cn", "conf_rollout", "n_ep") == ["n_episodes="]
    assert offered("config", "n_ep") == []
    assert offered("config", "-cd", "mine", "-cn", "nightly", "n_ep") == ["n_episodes="]


# what may go wrong


def test_a_local_project_counts_unless_it_is_switched_off(workdir: Path) -> None:
    write_project(workdir, "here")
    assert offered("train", "env=h") == ["env=here"]
    assert offered("train", "--no-local", "env=h") == []


def test_a_plugin_named_on_the_line_counts(workdir: Path) -> None:
    write_project(workdir / "there", "here")
    assert offered("train", "--plugin", "there", "env=h") == ["env=here"]


def test_a_plugin_that_does_not_exist_costs_only_itself() -> None:
    assert offered("train", "--plugin", "no/where", "env=g") == ["env=gym_env"]


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_broken_local_project_costs_only_itself_and_says_nothing(
    workdir: Path, strict: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAZE_STRICT", strict)
    write(workdir / "maze_plugins.py", "import warnings\nprint('noise')\nwarnings.warn('noise')\nraise SystemExit(1)\n")
    assert offered("train", "env=g") == ["env=gym_env"]
    assert capfd.readouterr() == ("", "")


def test_options_that_cannot_be_read_cost_only_themselves(workdir: Path) -> None:
    write_project(workdir, "here")
    source = (workdir / "maze_plugins.py").read_text()
    (workdir / "maze_plugins.py").write_text(source.replace("size: int", "size: 'Nowhere'"))
    assert offered("train", "env=here", "env.") == []
    assert "algorithm.lr=" in offered("train", "env=here", "algorithm.")


@pytest.mark.parametrize("words", [("nothing", ""), ("info", "nothing", ""), ("train", "=")])
def test_nonsense_has_no_completion(words: tuple[str, ...]) -> None:
    assert offered(*words) == []


def test_names_are_those_of_the_configuration() -> None:
    names = (complete.LIST_GROUPS, complete.EXPERIMENT, complete.NESTED_MODEL.pattern)
    assert names == (overrides.LIST_GROUPS, overrides.EXPERIMENT, overrides.NESTED_MODEL.pattern)
    assert (complete.ADOPTED, complete.TRAINED) == (adopt.ADOPTED, adopt.TRAINED)
    assert {f"{what}_schema": root for root, what in compose.ROOTS.items()} == complete.SCHEMAS


# maze completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_both_programs(shell: str) -> None:
    script = run_cli("completion", shell).stdout
    assert f"{shell}_complete" in script
    assert "maze-run" in script


def test_without_a_shell_it_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "maze completion zsh > ~/.maze-completion.zsh" in run_cli("completion").stdout
    monkeypatch.setenv("SHELL", "/bin/unheard_of")
    assert run_cli("completion").stdout.startswith("Say which shell: maze completion bash,")


def test_another_shell_is_an_error() -> None:
    result = run_cli("completion", "tcsh")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "maze: no shell named 'tcsh'.")


# the protocols of the shells


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., list[str]]:
    """Asks as a shell does, through the environment."""

    def answer(shell: str, run: Callable[[], object], **variables: str) -> list[str]:
        for name, value in {"_MAZE_COMPLETE": f"{shell}_complete", **variables}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            run()
        monkeypatch.delenv("_MAZE_COMPLETE")
        return capfdbinary.readouterr().out.decode().splitlines()

    return answer


def as_maze() -> None:
    maze.main([], prog_name="maze")


def test_bash_gets_what_follows_its_word_break(ask: Callable[..., list[str]]) -> None:
    assert ask("bash", as_maze, COMP_LINE="maze train env=gy", COMP_WORD="gy") == ["plain,gym_env"]
    assert "plain,gym_env" in ask("bash", as_maze, COMP_LINE="maze train env=", COMP_WORD="")


def test_bash_without_word_breaks_gets_whole_words(ask: Callable[..., list[str]]) -> None:
    assert ask("bash", as_maze, COMP_LINE="maze train env=gy", COMP_WORD="env=gy") == ["plain,env=gym_env"]


def test_zsh_gets_words_with_their_meaning(ask: Callable[..., list[str]]) -> None:
    lines = ask("zsh", as_maze, COMP_WORDS="maze train runner=lo", COMP_CWORD="2")
    assert lines == ["plain", "runner=local", "This machine."]


def test_fish_gets_words_with_their_meaning(ask: Callable[..., list[str]]) -> None:
    lines = ask("fish", as_maze, COMP_WORDS="maze train runner=lo", COMP_CWORD="runner=lo")
    assert lines == ["plain,runner=local\tThis machine."]


@pytest.mark.parametrize(("line", "word", "lines"), [
    ("maze-run -cn conf_train env=gy", "gy", ["plain,gym_env"]),
    ("maze-run -cn conf_train --multi", "--multi", ["plain,--multirun"]),
    ("maze-run n_ep", "n_ep", ["plain,n_episodes="]),
    ("maze-run --ru", "--ru", ["plain,--run"]),
])  # fmt: skip
def test_maze_run_completes_as_the_command_that_it_stands_for(
    line: str, word: str, lines: list[str], ask: Callable[..., list[str]]
) -> None:
    assert ask("bash", maze_run, COMP_LINE=line, COMP_WORD=word) == lines
    number = str(len(line.split()) - 1)
    answer = ask("zsh", maze_run, COMP_WORDS=line, COMP_CWORD=number)
    assert answer[1] == line.split()[-1].replace(word, lines[0].partition(",")[2])


def test_an_answer_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom maze_core.cli.main import maze\ntry:\n    maze.main([])\nexcept SystemExit:\n"
        f"    print('HEAVY:', [heavy for heavy in (*{HEAVY}, 'yaml', 'rich') if heavy in sys.modules])\n"
    )
    env = {**os.environ, "_MAZE_COMPLETE": "bash_complete", "COMP_LINE": "maze train env=gym_env ", "COMP_WORD": ""}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "plain,algorithm.lr=" in result.stdout.splitlines()
    assert (result.stdout.splitlines()[-1], result.stderr) == ("HEAVY: []", "")


# real shells

MAZE = Path(sys.executable).with_name("maze")
TYPED = [
    ("maze tr\t", "<maze><train>"),
    ("maze train env=gy\tal\tx", "<maze><train><env=gym_env><algorithmx>"),
    ("maze train algorithm.o\tad\t", "<maze><train><algorithm.optimizer=adam>"),
    ("maze train run_dir=ou\tx", "<maze><train><run_dir=outputs/x>"),
    ("maze train 'env=gy\t", "<maze><train><env=gym_env>"),
    ("maze train callbacks=console,j\t", "<maze><train><callbacks=console,jsonl>"),
    ("maze-run -cn conf_t\tenv=g\t", "<maze-run><-cn><conf_train><env=gym_env>"),
]
START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}


@pytest.mark.parametrize("shell", START)
def test_a_real_shell_completes_what_is_typed(shell: str, workdir: Path) -> None:
    """Types lines with TAB, and lets the shell print what it then holds as words."""
    if not shutil.which(shell) or not MAZE.exists():
        pytest.skip(f"{shell} or {MAZE} is not installed: completion was not tried in a real {shell}")
    (workdir / "outputs").mkdir()
    script = write(workdir / "script", run_cli("completion", shell).stdout)
    environ = {**os.environ, "PATH": f"{MAZE.parent}:{os.environ['PATH']}", "HOME": str(workdir), "TERM": "dumb",
               "INPUTRC": "/dev/null", "PS1": "READY>", "ZDOTDIR": str(workdir)}  # fmt: skip
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [shell, *START[shell]], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    )
    try:
        held = [held_after(ours, "", f". {script}; ")] + [held_after(ours, typed) for typed, _ in TYPED]
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert held[1:] == [expected for _, expected in TYPED]


def held_after(terminal: int, typed: str, command: str = "") -> str:
    """Types a line, then turns it into one that prints its words, and waits for them."""
    os.write(terminal, f"{typed}\x01{command}printf '<%s>' \x05; printf ' WORDS\\n'\r".encode())
    output = ""
    while not (found := re.search(r"(<[^%]*>) WORDS\r?\n", output)):
        ready = select.select([terminal], [], [], 30)[0]
        assert ready, f"no answer; so far: {output!r}"
        output += os.read(terminal, 65536).decode(errors="replace")
    return found[1]


def test_a_real_fish_completes(workdir: Path) -> None:
    fish = shutil.which("fish")
    if not fish or not MAZE.exists():
        pytest.skip(f"fish or {MAZE} is not installed: completion was not tried in a real fish")
    script = write(workdir / "script", run_cli("completion", "fish").stdout)
    code = f"source {script}; complete -C 'maze train env=gy'; complete -C 'maze-run -cn conf_t'"
    environ = {**os.environ, "PATH": f"{MAZE.parent}:{os.environ['PATH']}", "HOME": str(workdir)}
    result = subprocess.run([fish, "--no-config", "-c", code], capture_output=True, text=True, env=environ, check=True)
    words = [line.partition("\t")[0] for line in result.stdout.splitlines()]
    assert (words, result.stderr) == (["env=gym_env", "conf_train"], "")


def test_what_may_change_when_a_run_goes_on() -> None:
    assert "runner.n_epochs=" in offered("resume", "outputs/run", "runner.")
    assert "runner.checkpoint.every_s=" in offered("resume", "outputs/run", "runner.checkpoint.")
    assert offered("resume", "outputs/run", "algorithm.") == []
