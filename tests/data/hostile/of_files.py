"""Hostile folders: links, pipes, giants and code where files are expected."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.hostile.tools import (
    CANARY,
    MANIFEST,
    RED,
    SECRET,
    STATE,
    TENSORS,
    TOUCH,
    VICTIM,
    VICTIM_TEXT,
    add,
    case,
    full_folder,
    hard_link,
    link_to,
    newest,
    replaced,
    sign,
    signed,
    sparse,
)


def event_file(run: Path) -> str:
    """Name of the event file."""
    return next(path.name for path in run.glob("events.out.tfevents.*"))


READ = ("config.yaml", "newest/state.json", "newest/tensors.safetensors", "newest/manifest.json")
NO_FILE: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo, "a folder": full_folder, "a link": link_to(VICTIM),
    "a link to zeros": link_to("/dev/zero"), "a link to nothing": link_to("/nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name), "the victim": hard_link,
    "a sparse giant": sparse(2**42), "sparse": sparse(2**26), "missing": lambda path: None,
}  # fmt: skip
for _file in READ:
    for _name, _make in NO_FILE.items():
        add(f"{_file} {_name}", replaced(_file, _make))


def _space(observation: Any) -> Callable[[Path], Any]:
    """A file of spaces, which only an export reads."""
    action = {"kind": "Discrete", "dtype": "int64", "n": 2, "start": 0}
    return lambda path: path.write_text(json.dumps({"observation": observation, "action": action}))


_BOX = {"kind": "Box", "dtype": "float32", "shape": [4], "low": -1.0, "high": 1.0}
for _name, _make in {
    **NO_FILE,
    "empty": Path.touch,
    "a list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 10**6),
    "control characters": lambda path: path.write_text(json.dumps({RED: RED, "observation": RED, "action": RED})),
    "of text": _space(RED),
    "of another kind": _space({"kind": RED}),
    "of a huge shape": _space({**_BOX, "shape": [2**20, 2**20]}),
    "of a large shape": _space({**_BOX, "shape": [2**24]}),
    "of another shape": _space({**_BOX, "shape": [5]}),
    "of many bounds": _space({**_BOX, "low": [-1.0] * 10**6}),
    "of code": _space({**_BOX, "_target_": "os.system"}),
    "of keys that are code": _space({"kind": "Dict", "spaces": [["__class__", _BOX], [RED, _BOX]]}),
    "of many parts": _space({"kind": "Tuple", "spaces": [_BOX] * 10**5}),
}.items():
    add(f"spaces.json {_name}", replaced("spaces.json", _make), goes_on="link" not in _name)
WRITTEN = (
    "metrics.jsonl", "log.txt", "command.txt", "state_dict.pt", "final_state_dict.pt", "run.lock", "events",
    ".state_dict.pt.tmp", ".metrics.jsonl.tmp", ".command.txt.tmp", ".log.txt.tmp", ".config.yaml.tmp",
)  # fmt: skip


def _in_place_of(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda run: replaced(event_file(run) if name == "events" else name, make)(run)


for _file in WRITTEN:
    add(f"{_file} a link", _in_place_of(_file, link_to(VICTIM)))
    add(f"{_file} the victim", _in_place_of(_file, hard_link), goes_on=_file != "run.lock")
    add(f"{_file} a pipe", _in_place_of(_file, os.mkfifo), goes_on=_file != "run.lock")
    add(f"{_file} a folder", _in_place_of(_file, full_folder), goes_on=_file.startswith(".config"))
    add(f"{_file} a sparse giant", _in_place_of(_file, sparse(2**42)), goes_on=True)
for _name, _target in (("networks", "victims"), ("checkpoints", "victims"), ("checkpoints/.tmp-000009", "victims"),
                       ("checkpoints/000009", "victims"), ("checkpoints/damaged-000002", "victims")):  # fmt: skip

    @case(f"{_name} a link to a folder", goes_on="/" in _name)
    def _folder_link(run: Path, name: str = _name, target: str = _target) -> None:
        (run.parent / target).mkdir()
        (run.parent / target / "inner").write_text(VICTIM_TEXT)
        replaced(name, link_to(target))(run)


add("checkpoints a file", replaced("checkpoints", Path.touch))
add("checkpoints a pipe", replaced("checkpoints", os.mkfifo))
add("checkpoints empty", replaced("checkpoints", Path.mkdir))
add("checkpoints temporary file", lambda run: (run / "checkpoints" / ".tmp-x").touch(), goes_on=True)
add("checkpoints temporary pipe", lambda run: os.mkfifo(run / "checkpoints" / ".tmp-x"), goes_on=True)


@case("checkpoints of names that are no numbers", goes_on=True)
def _no_numbers(run: Path) -> None:
    for name in ("٣", "-1", "1e9", "9", "0x10", " 5", RED, "a\nb"):
        shutil.copytree(newest(run), run / "checkpoints" / name)


def renumbered(name: str) -> Callable[[Path], None]:
    """A case whose only checkpoint has another number."""

    def make(run: Path) -> None:
        path = newest(run)
        path.rename(path.with_name(name))
        sign(run)

    return make


for _number, _goes_on in (("999999", True), ("99999999999999999", False), ("999999999999999999", False),
                          ("9" * 200, False)):  # fmt: skip
    add(f"checkpoint of number {_number}", renumbered(_number), goes_on=_goes_on)


@case("checkpoints that are many")
def _many_checkpoints(run: Path) -> None:
    for number in range(10, 10_010):
        (run / "checkpoints" / f"{number:06d}").mkdir()


@case("checkpoints that are many and none is intact")
def _many_damaged(run: Path) -> None:
    shutil.rmtree(newest(run))
    for number in range(10_000):
        (run / "checkpoints" / f"{number:06d}").mkdir()


@case("checkpoints that are large and many")
def _large_checkpoints(run: Path) -> None:
    path = newest(run)
    (path / TENSORS).unlink()
    sparse(2**28)(path / TENSORS)
    sign(run)
    record = json.loads((path / MANIFEST).read_text())
    del record["sha256"]
    for number in range(100, 150):
        other = path.with_name(f"{number:06d}")
        other.mkdir()
        os.link(path / TENSORS, other / TENSORS)
        shutil.copy(path / STATE, other)
        (other / MANIFEST).write_text(signed({**record, "number": number}))


@case("folders that are deep", goes_on=True)
def _deep_folders(run: Path) -> None:
    (run / ("d/" * 500)).mkdir(parents=True)


@case("names with control characters", goes_on=True)
def _names(run: Path) -> None:
    for name in (RED, "a\nb", "\udcff"):
        (run / name).mkdir()
        (run / name / "config.yaml").touch()


# Code in the directory

CODE = f"import os; open(os.environ[{CANARY!r}], 'w').write('ran')\n"


@case("a plugin", goes_on=True, inside=True)
def _plugin(run: Path) -> None:
    (run / "maze_plugins.py").write_text(CODE)


@case("a plugin in what does not look like a run", goes_on=True, inside=True)
def _plugin_alone(run: Path) -> None:
    _plugin(run)
    for name in ("environment.json", "command.txt", "overrides.txt"):
        (run / name).unlink()


@case("a plugin that is a link", inside=True)
def _plugin_link(run: Path) -> None:
    evil = run.parent / "evil"
    evil.mkdir()
    (evil / "maze_plugins.py").write_text(CODE)
    (run / "maze_plugins.py").symlink_to("../evil/maze_plugins.py")


@case("modules and presets", goes_on=True, inside=True)
def _modules(run: Path) -> None:
    for name in ("torch", "numpy", "maze_core", "sitecustomize", "yaml", "json", "gymnasium"):
        (run / f"{name}.py").write_text(CODE)
    (run / "conf" / "env").mkdir(parents=True)
    (run / "conf" / "conf_train.yaml").write_text(f"defaults: [_self_]\nseed: ${{oc.env:{SECRET}}}\n")
    (run / "conf" / "env" / "gym_env.yaml").write_text(f"name: ${{oc.env:{SECRET}}}\n")


@case("a git repository that starts a program", goes_on=True, inside=True)
def _git(run: Path) -> None:
    program = make_git(run, "[core]\n\tfsmonitor = {program}\n")
    assert os.access(program, os.X_OK)


@case("a git repository with a filter", goes_on=True, inside=True)
def _git_filter(run: Path) -> None:
    make_git(run, '[filter "evil"]\n\tclean = {program}\n')
    (run / ".gitattributes").write_text("* filter=evil\n")


@case("a plugin beside nothing but weights", inside=True)
def _plugin_and_weights(run: Path) -> None:
    only_weights(run)
    _plugin(run)


@case("a git repository beside nothing but weights", inside=True)
def _git_and_weights(run: Path) -> None:
    only_weights(run)
    make_git(run, '[core]\n\tfsmonitor = {program}\n[filter "evil"]\n\tclean = {program}\n')
    (run / ".gitattributes").write_text("* filter=evil\n")


def only_weights(run: Path) -> None:
    """Leaves what `input_dir` needs, so that nothing else tells that it is a run."""
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "state_dict.pt":
            path.unlink()


def make_git(run: Path, config: str) -> Path:
    """Makes a repository, one file of which git takes for changed, so that it looks into it.

    Args:
        run: Where.
        config: Further configuration; ``{program}`` stands for a program.

    Returns:
        The program.
    """
    git = run / ".git"
    for folder in ("objects", "refs/heads"):
        (git / folder).mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    program = git / "program"
    program.write_text(f"#!/bin/sh\n{TOUCH}\ncat\n")
    program.chmod(0o755)
    (git / "config").write_text("[core]\n\trepositoryformatversion = 0\n" + config.format(program=program))
    tracked = run / "state_dict.pt"
    size = tracked.stat().st_size
    entry = struct.pack(">10I20sH", 0, 0, 0, 0, 0, 0, 0o100644, 0, 0, size, bytes(20), len(tracked.name))
    entry += tracked.name.encode().ljust(-(-(62 + len(tracked.name) + 1) // 8) * 8 - 62, b"\0")
    data = b"DIRC" + struct.pack(">II", 2, 1) + entry
    (git / "index").write_bytes(data + hashlib.sha1(data).digest())
    return program
