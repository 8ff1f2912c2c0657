"""Hostile configurations: YAML that is more than data, and what they ask for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.hostile.tools import RED, SECRET, TOUCH, add, configure, setting, yaml_text

for _name, _text in {
    "tag python apply": f"evil: !!python/object/apply:os.system ['{TOUCH}']\n",
    "tag python name": "evil: !!python/name:os.system\n",
    "tag python module": "evil: !!python/module:this\n",
    "tag own": "evil: !evil {a: 1}\n",
    "tag binary": "evil: !!binary aGVsbG8=\n",
    "tag set": "evil: !!set {a, b}\n",
    "tag verbatim": "evil: !<tag:yaml.org,2002:python/name:os.system> ''\n",
    "tag of a key": "? !!python/name:os.system ''\n: 1\n",
    "tag directive": f"---\n!!python/object/apply:os.system ['{TOUCH}']\n",
    "alias": "a: &x [1]\nb: *x\n",
    "alias of itself": "a: &x [*x]\n",
    "anchor": "a: &x 1\n",
    "alias bomb": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    "merge key with alias": "a: &x {b: 1}\nc:\n  <<: *x\n",
    "deep flow": f"a: {'[' * 100_000}\n",
    "deep mappings": f"a: {'{a: ' * 20_000}\n",
    "deep block": "".join(f"{' ' * i}a:\n" for i in range(600)),
    "deep sequences": f"{'- ' * 50_000}a\n",
    "many values": f"a: [{','.join('1' for _ in range(60_000))}]\n",
    "many keys": "".join(f"k{i}: 1\n" for i in range(20_000)),
    "large": f"a: '{'x' * 400_000}'\n",
    "two documents": "---\na: 1\n",
    "sexagesimal float": f"a: 1{':59' * 400}.5\n",
    "sexagesimal integer": f"a: 1{':59' * 60_000}\n",
    "long hexadecimal integer": f"seed: 0x{'f' * 200_000}\n",
    "long hexadecimal key": f"0x{'f' * 200_000}: 1\n",
    "long decimal integer": f"seed: {'9' * 200_000}\n",
    "date": "seed: 2020-01-01\n",
    "date that is none": "seed: 2020-99-99\n",
    "time far away": "seed: 0001-01-01T00:00:00+23:59\n",
    "value key": "seed: =\n",
    "list as key": "? [a, b]\n: 1\n",
    "mapping as key": "? {a: b}\n: 1\n",
    "number as key": "1: 1\n",
    "null as key": "~: 1\n",
    "unclosed": "a: [1, 2\n",
    "control characters": "a: \x00\x1b[31m\n",
    "escaped control characters in a key": f'"{RED.encode("unicode_escape").decode()}": 1\n',
    "tab": "a:\n\t- 1\n",
}.items():  # fmt: skip
    add(f"yaml {_name}", yaml_text(_text))
for _name, _text in {
    "empty": "", "a list": "[1, 2]\n", "text": "hello\n", "null": "~\n", "a number": "5\n", "only a comment": "# no\n",
    "only keys": "{env, model}\n", "zeros": "\x00" * 1000, "percent": "%YAML 9.9\n---\na: 1\n",
}.items():  # fmt: skip
    add(f"yaml {_name}", yaml_text(_text, whole=True))
add("yaml utf-16", lambda run: (run / "config.yaml").write_bytes("a: 1".encode("utf-16")) and None)
add("yaml invalid utf-8", lambda run: (run / "config.yaml").write_bytes(b"a: \xff\xfe\xfa") and None)
add("yaml said twice", yaml_text("seed: 1\n"), goes_on=True)

# The configuration: what it asks for


for _name, _path, _value in (
    ("target in kwargs", "env.kwargs._target_", "os.system"),
    ("target deep in kwargs", "env.kwargs", {"a": [{"_target_": "os.system", "_args_": [TOUCH]}]}),
    ("target of the env", "env._target_", "os.system"),
    ("target at the root", "_target_", "os.system"),
    ("target as env", "env", {"_target_": "os.system"}),
    ("target in wrappers", "wrappers", {"time_limit": {"_target_": "os.system"}}),
    ("module in an env id", "env.name", "this:CartPole-v1"),
    ("module in an env id after a space", "env.name", " this:CartPole-v1"),
    ("module with dots", "env.name", "os.path:CartPole-v1"),
    ("bridge to old Gym", "env.name", "GymV26Environment-v0"),
    ("env that is none", "env.name", "Nothing-v0"),
    ("env with control characters", "env.name", RED),
    ("env with a newline", "env.name", "CartPole-v1\nmaze: all is well"),
    ("env that is long", "env.name", "x" * 100_000),
    ("env that is empty", "env.name", ""),
    ("env that is a number", "env.name", 5),
    ("env that is missing", "env.name", "???"),
    ("kwargs that are no mapping", "env.kwargs", [1]),
    ("kwargs unknown", "env.kwargs", {"evil": 1}),
    ("kwargs with control characters", "env.kwargs", {RED: 1}),
    ("kwargs id", "env.kwargs", {"id": "this:CartPole-v1"}),
    ("kwargs render mode", "env.kwargs", {"render_mode": RED}),
    ("secret", "env.name", f"${{oc.env:{SECRET}}}"),
    ("secret with a default", "algorithm.lr", f"${{oc.env:{SECRET},0.1}}"),
    ("secret in kwargs", "env.kwargs", {"a": [{"b": f"x${{oc.env:{SECRET}}}y"}]}),
    ("secret inside a secret", "env.name", f"${{oc.env:${{oc.env:{SECRET}}}}}"),
    ("secret by another resolver", "env.name", f"${{env:{SECRET}}}"),
    ("secret decoded", "env.name", f"${{oc.decode:${{oc.env:{SECRET}}}}}"),
    ("secret created", "env.kwargs", f"${{oc.create:{{a: ${{oc.env:{SECRET}}}}}}}"),
    ("secret with spaces", "env.name", f"${{ oc.env : {SECRET} }}"),
    ("secret unclosed", "env.name", f"${{oc.env:{SECRET}"),
    ("interpolation of a key", "env.name", "${algorithm.lr}"),
    ("interpolation of itself", "env.name", "${env.name}"),
    ("interpolation of the parent", "env", "${model}"),
    ("interpolation in a list", "model.hidden_sizes", ["${seed}"]),
    ("unknown key at the root", "evil", 1),
    ("unknown key of the env", "env.evil", 1),
    ("unknown key of the runner", "runner.evil", {"a": 1}),
    ("unknown key of the evaluation", "runner.evaluation.evil", 1),
    ("key with control characters", RED, 1),
    ("key of the env with control characters", f"env.{RED.replace('.', '')}", RED),
    ("key that is long", "x" * 100_000, 1),
    ("text for a number", "algorithm.lr", "quick"),
    ("control characters for a number", "algorithm.lr", RED),
    ("secret of another kind", "seed", f"${{oc.env:{SECRET}}}"),
    ("number too large", "algorithm.n_rollouts_per_update", 10**7),
    ("infinite", "algorithm.lr", float("inf")),
    ("not a number", "algorithm.lr", float("nan")),
    ("negative", "seed", -1),
    ("list for a number", "algorithm.lr", [1]),
    ("mapping for a number", "seed", {"a": 1}),
    ("null for an env", "env", None),
    ("number for a runner", "runner", 5),
    ("list for a runner", "runner", [1]),
    ("text for callbacks", "callbacks", "console"),
    ("list for wrappers", "wrappers", ["time_limit"]),
    ("callback not named", "callbacks.evil", {}),
    ("device", "runner.device", "cuda:999"),
    ("device that is a text", "runner.device", RED),
    ("components null", "components", None),
    ("components a list", "components", ["env"]),
    ("components of numbers", "components", {"env": 5}),
    ("components empty", "components", {}),
    ("component of the wrong kind", "components.env", "es"),
    ("component that is none", "components.env", "evil"),
    ("component with control characters", "components.env", RED),
    ("component that looks like a path", "components.env", "../../evil"),
    ("component that is code", "components.env", "os:system"),
    ("component for a value", "components.seed", "gym_env"),
    ("component without a place", "components", {"env": "gym_env", "wrappers.evil": "time_limit"}),
    ("component deep", "components", {"env": "gym_env", f"model{'.x' * 5000}": "flatten_concat"}),
    ("component at a path that is none", "components.a b c", "flatten_concat"),
    ("component below a number", "components", {"env": "gym_env", "env.name": "gym_env"}),
    ("component below hidden sizes", "components", {"env": "gym_env", "model": "flatten_concat",
                                                   "model.hidden_sizes": "flatten_concat"}),
):  # fmt: skip
    add(f"config {_name}", setting(_path, _value))
add("config input_dir", setting("input_dir", "/dev/zero"), goes_on=True)
add("config run_dir", setting("run_dir", "/etc"), goes_on=True)


def _other_components(run: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        names = data["components"]
        names["env"], names["algorithm"] = names["algorithm"], names["env"]

    configure(run, change)


add("config components exchanged", _other_components)


def _statistics(value: float, count: int = 1) -> dict[str, Any]:
    values = {name: [value] * 4 for name in ("mean", "std", "low", "high")}
    return {"substep_0": {"observation": {**values, "count": count}}}


def _normalized(run: Path, place: Callable[[Path], Any]) -> None:
    """Given statistics, whose file is something else."""

    def change(data: dict[str, Any]) -> None:
        data["components"]["wrappers.observation_normalization"] = "observation_normalization"
        data["wrappers"] = {"observation_normalization": {"statistics": "given", "file": "/dev/zero"}}

    configure(run, change)
    path = run / "normalization.json"
    path.unlink(missing_ok=True)
    place(path)


for _name, _make in {
    "missing": lambda path: None,
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a sparse giant": lambda path: path.touch() or os.truncate(path, 2**40),
    "sparse": lambda path: path.touch() or os.truncate(path, 2**26),
    "deep": lambda path: path.write_text("[" * 10**6),
    "no JSON": lambda path: path.write_text(RED),
    "a list": lambda path: path.write_text("[]"),
    "of nothing": lambda path: path.write_text("{}"),
    "of text": lambda path: path.write_text(json.dumps({"substep_0": {"observation": RED}})),
    "of infinity": lambda path: path.write_text(json.dumps(_statistics(1e999))),
    "of huge numbers": lambda path: path.write_text(json.dumps(_statistics(10**400))),
    "of negative counts": lambda path: path.write_text(json.dumps(_statistics(1.0, count=-1))),
}.items():  # fmt: skip
    add(f"normalization {_name}", lambda run, make=_make: _normalized(run, make))  # type: ignore[misc]
