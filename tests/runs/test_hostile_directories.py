"""Run directories of strangers: nothing of them is executed, nothing outside changes, no secret is told.

All commands run in forked children with a limit of time and memory; see data/hostile for what they are
given. What can be asked of single functions is in test_checkpoints, test_weights, test_stored_run and
test_stored; here are whole commands.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data.hostile import CASES, make_base, place
from data.hostile.tools import CANARY, RED, SECRET, VICTIM, VICTIM_TEXT, configure, newest, put, sign, state_of
from support.prepared import Ended, Prepared

pytestmark = pytest.mark.workers

VALUE = "s3cr3t-9f31"
"""What the secret is."""

DOCUMENTED = {0, 2, 3, 4, 5, 6}
REFUSED = DOCUMENTED - {0}
MAX_SECONDS, MAX_MEMORY = 20.0, 3 * 2**29
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\ud800-\udfff]")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    server = Prepared()
    yield server
    server.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "run")


class Attack:
    """A hostile run directory, and commands that open it.

    Args:
        prepared: Runs them.
        base: The run that it begins with.
        home: Where it is.
        name: Of its folder.
    """

    def __init__(self, prepared: Prepared, base: Path, home: Path, name: str = "run") -> None:
        self._prepared, self.home = prepared, home
        self.run = place(base, home)
        if name != "run":
            self.run = self.run.rename(home / name)

    def maze(self, *args: str, cwd: Path | None = None, debug: bool = False, told: bool = False) -> Ended:
        """Runs a command, and checks all that must hold whatever it is given.

        Args:
            args: Its words.
            cwd: The current directory; if not given, the folder that the run is in.
            debug: Whether the traceback of an error is asked for.
            told: Whether the user allowed the secret to be used.
        """
        environ = {SECRET: VALUE, CANARY: str(self.home / "canary")}
        words = [*args, *(["--debug"] if debug else []), *(["--env", SECRET] if told else [])]
        cwd = cwd or self.home
        ended = self._prepared.run(*words, cwd=cwd, environ=environ, seconds=MAX_SECONDS, memory=MAX_MEMORY)
        self._check(ended, debug)
        return ended

    def train(self, place: str = "", cwd: Path | None = None) -> Ended:
        """Starts another run from its weights; `place` says where they are from `cwd`."""
        small = ["model.hidden_sizes=[4]", "runner.n_epochs=1", "algorithm.n_rollouts_per_update=2",
                 "runner.evaluation.n_episodes=1", "seed=1", f"run_dir={self.home / 'new'}"]  # fmt: skip
        shutil.rmtree(self.home / "new", ignore_errors=True)
        return self.maze("train", f"input_dir={place or self.run.name}", *small, cwd=cwd)

    def play(self, place: str = "", cwd: Path | None = None) -> Ended:
        """Runs its policy."""
        shutil.rmtree(self.home / "played", ignore_errors=True)
        few = ["n_episodes=2", "seed=1", "runner.n_workers=0", f"run_dir={self.home / 'played'}"]
        return self.maze("rollout", "--run", place or self.run.name, *few, cwd=cwd)

    def export(self, place: str = "", cwd: Path | None = None) -> Ended:
        """Exports its policy."""
        policy = self.home / "policy"
        policy.unlink(missing_ok=True)
        return self.maze("export", place or self.run.name, "--to", str(policy), cwd=cwd)

    def _check(self, ended: Ended, debug: bool) -> None:
        output = ended.stdout + ended.stderr
        assert ended.code in DOCUMENTED, ended
        assert not (self.home / "canary").exists(), "code ran"
        assert (self.home / VICTIM).read_text() == VICTIM_TEXT
        assert VALUE not in output
        assert not UNPRINTABLE.search(output), ended
        assert len(ended.stdout) < 40_000  # the statistics of three epochs have 21,000
        if not debug:
            assert "Traceback" not in output, ended
            assert len(ended.stderr.splitlines()) <= 3, ended
            assert len(ended.stderr) < 3000
        told = [path for path in self.home.rglob("*") if VALUE.encode() in content_of(path)]
        assert told == []


def content_of(path: Path) -> bytes:
    """Of a plain file that is not large."""
    status = path.lstat()
    return path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size < 2**22 else b""


@pytest.fixture
def attack(prepared: Prepared, base: Path, tmp_path: Path) -> Attack:
    """A run that nobody changed so far."""
    return Attack(prepared, base, tmp_path / "home")


# What the checks are worth


def test_a_run_that_nobody_changed_passes(attack: Attack) -> None:
    for ended in (attack.maze("runs", "run"), attack.maze("runs"), attack.maze("resume", "run"), attack.train()):
        assert ended.code in (0, 6), ended  # there are no outputs/
    assert (attack.play().code, attack.export().code) == (0, 0)
    assert "Resumed at update 2" in (attack.run / "log.txt").read_text()
    assert (attack.home / "new" / "state_dict.pt").exists()


def test_code_of_ones_own_shows(attack: Attack) -> None:
    CASES["a plugin"].make(attack.run)
    (attack.run / "maze_plugins.py").rename(attack.home / "maze_plugins.py")
    with pytest.raises(AssertionError, match="code ran"):
        attack.maze("resume", "run")


@pytest.mark.long
def test_an_endless_command_and_one_that_fills_the_memory_show(attack: Attack) -> None:
    module = attack.home / "greedy" / "maze_plugins.py"
    module.parent.mkdir()
    for code, expected in (("import time; time.sleep(100)", -14), ("x = bytearray(2**33)", 0)):
        module.write_text(code)
        ended = attack._prepared.run("list", "--plugin", str(module.parent), cwd=attack.home, seconds=1, memory=2**29)
        assert ended.code == expected
        assert expected or "MemoryError" in ended.stderr


def test_a_secret_that_was_written_shows(attack: Attack) -> None:
    (attack.run / "notes.txt").write_text(VALUE)
    with pytest.raises(AssertionError):
        attack.maze("runs", "run")


# The corpus


ESSENTIAL = (
    "yaml tag python apply", "yaml alias bomb", "yaml sexagesimal float", "yaml long hexadecimal integer",
    "config target deep in kwargs", "config module in an env id", "config secret", "config secret in kwargs",
    "config run_dir", "config input_dir", "config env that is long", "normalization a pipe", "normalization deep",
    "state started is a tensor", "state callbacks are null", "state callbacks are a list", "state negative size",
    "state event file above", "state many kept envs", "state generation negative", "state epoch huge",
    "state file many mappings", "tensors that are many",
    "tensors state.weights not a number", "tensors state.weights of complex numbers", "tensors state.best empty",
    "manifest signed and deep", "fingerprint many", "fingerprint control characters", "summary newlines",
    "config.yaml a pipe", "config.yaml a link to zeros", "newest/state.json a sparse giant", "run.lock the victim",
    "run.lock a pipe", "metrics.jsonl the victim", "metrics.jsonl a link", "log.txt the victim", "events the victim",
    "command.txt a pipe", "state_dict.pt the victim", ".state_dict.pt.tmp the victim", "networks a link to a folder",
    "checkpoints/.tmp-000009 a link to a folder", "checkpoints temporary pipe", "checkpoints that are many",
    "checkpoint of number 99999999999999999", "names with control characters", "weights a pickle inside",
    "weights a pickle in capitals", "weights a compressed bomb", "weights a script", "weights not a number",
    "weights another shape", "weights a pipe", "weights many names",
)  # fmt: skip
SHORT = [name for name in ESSENTIAL if not CASES[name].inside]
"""One of each kind, and all that ever did harm."""


CONFIGURED = {
    name for name, case in CASES.items() if name.startswith(("config", "yaml")) and not case.goes_on
} - {"config device"}  # fmt: skip
"""What a rollout must refuse; it does not compute where the run did."""

OF_ENVS = {"config env that is none", "config env that is a number", "config kwargs unknown", "config kwargs id"}
EXPORTED = {name for name in CASES if name.startswith("spaces.json")} | CONFIGURED - OF_ENVS
"""What an export must refuse; it makes no env."""

OPENED = (
    "yaml tag python apply", "config target deep in kwargs", "config module in an env id", "config secret in kwargs",
    "config.yaml a pipe", "normalization a pipe", "state_dict.pt the victim", "weights a pickle inside",
    "weights a compressed bomb", "weights not a number", "spaces.json a pipe", "spaces.json of a large shape",
    "spaces.json of keys that are code", "names with control characters",
)  # fmt: skip
"""What rollouts and exports read of each kind."""


def open_with(attack: Attack, name: str, command: str) -> None:
    """Opens a case with one command, and checks how that ends."""
    case = CASES[name]
    if command == "train":
        assert attack.train().code in (REFUSED if case.weights else DOCUMENTED)
    elif command == "rollout":
        assert attack.play().code in (REFUSED if case.weights or name in CONFIGURED else DOCUMENTED)
    elif command == "export":
        assert attack.export().code in (REFUSED if case.weights or name in EXPORTED else DOCUMENTED)
    elif command == "resume":
        assert attack.maze("resume", "run").code in ({0} if case.goes_on else REFUSED)
    else:
        assert attack.maze(*command.split()).code in (0, 6)


@pytest.mark.parametrize("name", SHORT)
def test_it_is_refused_or_does_no_harm(name: str, attack: Attack) -> None:
    CASES[name].make(attack.run)
    open_with(attack, name, "train" if CASES[name].weights else "resume")


@pytest.mark.parametrize("name", OPENED)
def test_who_plays_or_exports_it_is_refused_or_comes_to_no_harm(name: str, attack: Attack) -> None:
    CASES[name].make(attack.run)
    open_with(attack, name, "rollout")
    open_with(attack, name, "export")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.inside])
def test_each_of_the_corpus_is_refused_or_does_no_harm(name: str, attack: Attack) -> None:
    CASES[name].make(attack.run)
    for command in ("runs run", "runs .", "runs . --json", "runs run --json", "train", "rollout", "export", "resume"):
        open_with(attack, name, command)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.inside])
def test_who_is_inside_of_it_runs_nothing_either(name: str, attack: Attack) -> None:
    CASES[name].make(attack.run)
    attack.maze("runs", ".", cwd=attack.run)
    for open_it in (attack.train, attack.play, attack.export):
        open_it(".", attack.run)
    attack.maze("resume", ".", cwd=attack.run, debug=True)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.inside])
def test_who_is_in_a_folder_inside_of_it_runs_nothing_either(name: str, attack: Attack) -> None:
    CASES[name].make(attack.run)
    inner = attack.run / "inner"
    inner.mkdir()
    for path in (attack.run / "maze_plugins.py", attack.run / "conf", attack.run / ".git"):
        if path.is_symlink():
            (inner / path.name).symlink_to(f"../{path.readlink()}")
            path.unlink()
        elif path.exists():
            path.rename(inner / path.name)
    attack.maze("runs", "..", cwd=inner)
    for open_it in (attack.train, attack.play, attack.export):
        open_it("..", inner)
        open_it(str(attack.run), inner)
    attack.maze("resume", "..", cwd=inner)


@pytest.mark.parametrize("file", ["/dev/zero", "/etc/passwd", "pipe"])
def test_a_file_of_statistics_that_is_none_is_refused(file: str, attack: Attack) -> None:
    os.mkfifo(attack.home / "pipe")
    name = "wrappers.observation_normalization"
    given = (f"{name.replace('.', '=')}", f"{name}.statistics=given", f"{name}.file={file}")
    ended = attack.maze("train", *given)
    assert ended.code == 2
    assert file in ended.stderr


# Names of folders


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", [f"a {RED}", "a\nmaze: all is well\nb", "a [red] 'b'"])
def test_the_name_of_a_folder_moves_no_cursor(
    name: str, debug: bool, prepared: Prepared, base: Path, tmp_path: Path
) -> None:
    attack = Attack(prepared, base, tmp_path / "home", name)
    assert attack.maze("resume", name, debug=debug).code == 0
    assert attack.maze("resume", name, debug=debug).code == 0  # it is finished
    assert attack.maze("resume", name, "seed=7", debug=debug).code == 2
    assert attack.maze("runs", name, debug=debug).code == 0
    assert attack.maze("runs", ".", debug=debug).code == 0
    (newest(attack.run) / "state.json").write_text("")
    (attack.run / "config.yaml").write_text("")
    assert attack.maze("resume", name, debug=debug).code == 6
    assert attack.maze("runs", name, debug=debug).code == 0


# Errors with their traceback


@pytest.mark.parametrize(("name", "code"), [
    ("config key of the env with control characters", 6), ("config secret", 2), ("state callbacks of texts", 6),
    ("config component with control characters", 6), ("newest/state.json a pipe", 6), ("run.lock the victim", 5),
])  # fmt: skip
def test_a_traceback_has_the_same_code_and_moves_no_cursor_either(name: str, code: int, attack: Attack) -> None:
    CASES[name].make(attack.run)
    ended = attack.maze("resume", "run", debug=True)
    assert ended.code == code
    assert "Traceback" in ended.stderr


# Secrets


def test_an_allowed_variable_is_used_and_told_nowhere(attack: Attack) -> None:
    configure(attack.run, lambda data: put(data, "env.kwargs", {"render_mode": f"${{oc.env:{SECRET}}}"}))
    for extra in ([], ["runner.n_epochs=4"]):
        ended = attack.maze("resume", "run", *extra, told=True)
        assert ended.code == 0
        assert "Run ended" in ended.stdout
    assert attack.maze("resume", "run").code == 2


@pytest.mark.parametrize("path", ["algorithm.lr", "seed", "runner.n_epochs", "model.activation", "env.kwargs",
                                  "model.hidden_sizes", "env.rebuild_each_episode"])  # fmt: skip
@pytest.mark.parametrize("debug", [False, True])
def test_an_allowed_variable_that_does_not_fit_is_told_nowhere(path: str, debug: bool, attack: Attack) -> None:
    variable = f"${{oc.env:{SECRET}}}"
    value: Any = {"evil": variable} if path == "env.kwargs" else [variable] if "sizes" in path else variable
    configure(attack.run, lambda data: put(data, path, value))
    assert attack.maze("resume", "run", told=True, debug=debug).code in REFUSED


# Every place of a state


VALUES: list[Any] = [None, "", [], {}, -1, 0, 1.5, 1e308, 10**300, float("nan"), float("inf"), True, [[[1]]], RED,
                     {"a": {"b": [1]}}, {"$tensor": "x"}]  # fmt: skip
REMOVED = object()
RUNS = {
    "es": ("es", []),
    "ppo": ("ppo", ["wrappers=return_normalization"]),
    "ppo, its own vector form": ("ppo", []),
    "a2c": ("a2c", ["wrappers=observation_normalization,monitoring", "env.name=Pendulum-v1",
                    "wrappers.observation_normalization.statistics=running"]),
    "cutting": ("ppo", ["env=cutting_2d_struct_masked", "env.max_steps=5"]),
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a state, of long lists the first two."""
    if path:
        yield path
    if isinstance(value, dict) and set(value) not in ({"$tensor"}, {"$array"}):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from places(value[index], (*path, index))


def changed(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a state with another value."""
    copy = json.loads(json.dumps(state))
    node = copy
    for key in path[:-1]:
        node = node[key]
    if value is REMOVED:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return copy


def try_all(attack: Attack, n: int | None = None) -> None:
    """Resumes with other values in all places of the state, or in so many that are drawn."""
    state = state_of(attack.run)
    paths = [path for path in places(state) if path[0] not in ("config", "started")]
    changes = [(path, value) for path in paths for value in (*VALUES, REMOVED)]
    assert len(changes) > 700
    if n is not None:
        changes = random.Random(n).sample(changes, n)
    kept = attack.run.rename(attack.home / "kept")
    codes = set()
    for path, value in changes:
        shutil.copytree(kept, attack.run)
        sign(attack.run, state=changed(state, path, value))
        ended = attack.maze("resume", "run")
        codes.add(ended.code)
        shutil.rmtree(attack.run)
    assert codes >= ({0, 6} if n is None else {6})


@pytest.mark.parametrize("which", ["es", "ppo"])
def test_any_value_in_any_place_of_a_state_is_refused_or_does_no_harm(
    which: str, prepared: Prepared, tmp_path: Path
) -> None:
    algorithm, overrides = RUNS[which]
    base = make_base(tmp_path / "base", *overrides, algorithm=algorithm)
    try_all(Attack(prepared, base, tmp_path / "home"), 25)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("which", RUNS)
def test_every_value_in_every_place_of_a_state_is_refused_or_does_no_harm(
    which: str, prepared: Prepared, tmp_path: Path
) -> None:
    algorithm, overrides = RUNS[which]
    base = make_base(tmp_path / "base", *overrides, algorithm=algorithm)
    try_all(Attack(prepared, base, tmp_path / "home"))


def test_the_corpus_can_be_made_by_hand(tmp_path: Path) -> None:
    """As a script, but without its largest cases."""
    from data.hostile import make_hostile

    base = make_base(tmp_path / "base")
    names = ("a plugin", "weights a pickle", "yaml alias bomb")
    for name in names:
        CASES[name].make(place(base, tmp_path / make_hostile.folder_name(name)))
    assert {path.name for path in tmp_path.iterdir()} == {"a_plugin", "base", "weights_a_pickle", "yaml_alias_bomb"}
