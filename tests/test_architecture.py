"""The shape of the code: imports go downwards, each third-party package has one home, files stay short."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "errors": 0, "locks": 0, "specs": 0, "sweeps": 0, "protocols": 0, "hookspecs": 0, "enums": 0, "run_config": 0,
    "field_docs": 0,
    "rl": 1, "stats": 1, "plugins": 1, "registry": 1, "presets": 1, "isolation": 1, "spec_checks": 1,
    "config": 2, "build": 2, "blueprint": 2, "env_factory": 2, "networks": 2, "workspace": 2, "live": 2, "workers": 2,
    "runs": 3, "api": 3, "builtins": 3, "console": 3, "pictures": 3, "exports": 3, "animations": 3, "terminal_film": 3,
    "scaffold": 3, "reports": 3, "progress_view": 3, "live_block": 3, "board": 3,
    "cli": 4, "testing": 4,
}  # fmt: skip
HOMES = {
    "pluggy": ("maze_core/hookspecs.py", "maze_core/plugins.py"),
    "hydra": ("maze_core/config/",),
    "omegaconf": ("maze_core/config/",),
    "yaml": ("maze_core/config/",),
    "click": ("maze_core/cli/",),
    "rich": ("maze_core/console.py",),
    "matplotlib": ("maze_core/pictures.py", "maze_core/reports/charts.py"),
    "PIL": (
        "maze_core/animations.py",
        "plugins/envs/cutting_2d/maze_cutting_2d/rendering.py",
        "plugins/envs/cutting_2d/maze_cutting_2d/figures.py",
    ),
    "imageio_ffmpeg": ("maze_core/animations.py",),
    "safetensors": ("maze_core/runs/checkpoints.py", "maze_core/exports/artefact.py"),
    "cloudpickle": ("maze_core/blueprint.py", "maze_core/workers/"),
    "envpool": ("plugins/envs/envpool/maze_envpool/envs.py",),
    "minigrid": ("plugins/envs/minigrid/maze_minigrid/envs.py",),
    "optuna": ("plugins/sweepers/optuna/maze_optuna/sweeper.py",),
    "ray": ("plugins/runners/ray/maze_ray/",),
    "pettingzoo": ("plugins/envs/pettingzoo/maze_pettingzoo/games.py",),
    "onnx": ("maze_core/exports/onnx.py",),
    "onnxscript": ("maze_core/exports/onnx.py",),
    "onnxruntime": ("maze_core/exports/onnx.py",),
    "threadpoolctl": ("maze_core/runs/threads.py",),
    "tensorboard": ("maze_core/builtins/tensorboard_callback.py", "maze_core/board.py"),
}
PUBLIC = {"maze_core", "maze_core.rl", "maze_core.stats", "maze_core.testing"}
"""What a plugin may import of the core."""

HEAVY = ("torch", "gymnasium", "numpy", "hydra", "omegaconf")
MAX_LINES = 400


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import that is executed, those inside functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            if node.module == "maze_core":
                yield from (
                    (node.lineno, f"maze_core.{a.name}" if a.name in LAYERS else "maze_core") for a in node.names
                )
            else:
                yield node.lineno, str(node.module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(ast.Module(node.orelse, []))
        else:
            yield from imports(node)


def violations(path: str, source: str) -> list[str]:
    """What a file imports that it must not.

    Args:
        path: Where it lies, relative to the repository.
        source: Its text.
    """
    layer = LAYERS.get(Path(path).parts[1].removesuffix(".py"))
    own = Path(path).parts[-2] if path.startswith("plugins/") else None
    found = []
    for line, module in imports(ast.parse(source)):
        package, _, rest = module.partition(".")
        target = LAYERS.get(rest.split(".")[0])
        homes = HOMES.get(package)
        if homes and not path.startswith(homes):
            found.append(f"{path}:{line} imports {package}, whose home is {' and '.join(homes)}")
        elif own and package.startswith("maze_") and module not in PUBLIC and package != own:
            found.append(f"{path}:{line} imports {module}; a plugin may import {', '.join(sorted(PUBLIC))}")
        elif (
            path.startswith("maze_core/") and package.startswith("maze_") and package not in ("maze_core", "maze_conf")
        ):
            found.append(f"{path}:{line} imports {module}; the core knows no plugin")
        elif layer is not None and target is not None and target > layer:
            found.append(f"{path}:{line} (layer {layer}) imports {module} of layer {target}; imports go downwards only")
        elif layer is not None and module == "maze_core" and own is None:
            found.append(
                f"{path}:{line} imports maze_core, the interface for plugins; import the module that defines it"
            )
    return found


def sources() -> list[Path]:
    """All code of the core and of the plugins, without tests."""
    return sorted([*ROOT.glob("maze_core/**/*.py"), *ROOT.glob("conf/*.py"), *ROOT.glob("plugins/*/*/maze_*/**/*.py")])


def test_imports_go_downwards_and_each_package_has_one_home() -> None:
    found = [v for file in sources() for v in violations(file.relative_to(ROOT).as_posix(), file.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source", "words"),
    [
        ("maze_core/rl/x.py", "import maze_core.config", "(layer 1) imports maze_core.config of layer 2"),
        ("maze_core/rl/x.py", "from maze_core import api", "imports maze_core.api of layer 3"),
        ("maze_core/rl/x.py", "def f():\n    from maze_core.cli.main import maze", "x.py:2 (layer 1)"),
        ("maze_core/errors.py", "import maze_es", "the core knows no plugin"),
        ("maze_core/errors.py", "from maze_core import Spec", "import the module that defines it"),
        ("maze_core/api.py", "import hydra.core", "imports hydra, whose home is maze_core/config/"),
        ("maze_core/api.py", "import os, rich", "imports rich, whose home is maze_core/console.py"),
        ("maze_core/registry.py", "import pluggy", "maze_core/hookspecs.py and maze_core/plugins.py"),
        ("plugins/envs/e/maze_e/x.py", "import click", "imports click, whose home is maze_core/cli/"),
        ("plugins/envs/e/maze_e/x.py", "from maze_core.api import RunContext", "a plugin may import maze_core"),
        ("plugins/envs/e/maze_e/x.py", "import maze_f", "a plugin may import maze_core"),
        ("maze_core/rl/x.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import yaml", "x.py:4 imports yaml"),
        ("maze_core/rl/x.py", "try:\n    import yaml\nexcept ImportError:\n    pass", "x.py:2 imports yaml"),
    ],
)
def test_the_checker_finds(path: str, source: str, words: str) -> None:
    (violation,) = violations(path, source)
    assert words in violation


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("maze_core/rl/x.py", "from maze_core.errors import MazeError\nimport numpy"),
        ("maze_core/rl/x.py", "if TYPE_CHECKING:\n    from maze_core.api import RunContext"),
        ("maze_core/__init__.py", "from maze_core.api import RunContext"),
        (
            "plugins/envs/e/maze_e/x.py",
            "from maze_core import UserError\nfrom maze_core.rl import Dense\nimport maze_e.y",
        ),
    ],
)
def test_the_checker_allows(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_every_module_of_the_core_has_a_layer() -> None:
    modules = {
        path.stem for path in (ROOT / "maze_core").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert modules - {"__init__"} == set(LAYERS)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_training_with_autograd_does_not_import_the_compiler_of_torch() -> None:
    """It takes seconds and tens of megabytes that small runs do not have."""
    code = """
import sys
from maze_core import RunContext
overrides = {"env.name": "CartPole-v1", "runner.kernel": "autograd", "algorithm.n_rollout_steps": 8}
with RunContext(env="gym_env", algorithm="a2c", overrides=overrides, callbacks=[], local_plugins=False) as rc:
    rc.trainer.step()
print([name for name in ("sympy", "torch._dynamo", "torch._inductor") if name in sys.modules])
"""
    assert run_python(code).strip().endswith("[]")


def test_what_every_command_imports_is_light() -> None:
    """The public interface, every plugin.py and config.py, and ``maze --help``."""
    modules = [
        "maze_core",
        "maze_core.plugins",
        "maze_core.registry",
        "maze_core.builtins.plugin",
        "maze_core.builtins.config",
    ]
    modules += [f"{p.parent.name}.{p.stem}" for p in sources() if p.parts[-4:-3] and p.stem in ("plugin", "config")
                and "plugins" in p.parts]  # fmt: skip
    assert len(modules) >= 11
    code = (
        f"import sys, importlib\nfor name in {modules}:\n    importlib.import_module(name)\n"
        f"    print([name, *(heavy for heavy in {HEAVY} if heavy in sys.modules)])\n"
    )
    assert run_python(code).splitlines() == [str([name]) for name in modules]


def test_help_and_the_list_of_plugins_are_light() -> None:
    code = "\n".join((
        "import sys",
        "from maze_core.cli.main import maze",
        "def heavy_after(args, *more):",
        "    try:",
        "        maze.main(args)",
        "    except SystemExit as ended:",
        f"        print('HEAVY:', ended.code, [heavy for heavy in (*{HEAVY}, *more) if heavy in sys.modules])",
        "heavy_after(['--help'], 'rich')",
        "heavy_after(['plugins', 'list'])",
    ))  # fmt: skip
    assert [line for line in run_python(code).splitlines() if "HEAVY" in line] == ["HEAVY: 0 []"] * 2


SETUPS = sorted([ROOT / "setup.cfg", *ROOT.glob("plugins/*/*/setup.cfg")])


@pytest.mark.parametrize("setup", SETUPS, ids=[str(path.parent.relative_to(ROOT)) for path in SETUPS])
def test_a_distribution_lists_all_its_packages(setup: Path) -> None:
    config = configparser.ConfigParser()
    config.read(setup)
    listed = set(config["options"]["packages"].split())
    tops = [ROOT / "maze_core"] if setup.parent == ROOT else [p for p in setup.parent.glob("maze_*") if p.is_dir()]
    folders = {file.parent for top in tops for file in top.rglob("__init__.py")}
    found = {folder.relative_to(setup.parent).as_posix().replace("/", ".") for folder in folders}
    assert listed - {"maze_conf"} == found
    assert [str(folder) for top in tops for folder in top.rglob("*") if folder.is_dir() and folder not in folders
            and any(folder.glob("*.py"))] == []  # fmt: skip


def test_presets_of_the_core_are_part_of_its_distribution() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["maze_conf"].replace(",", " ").split()
    packed = {file for pattern in patterns for file in (ROOT / "conf").glob(pattern)}
    assert packed == set((ROOT / "conf").rglob("*.yaml"))


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_short_and_finished(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert "TO" + "DO" not in text


READING_LISTS = {
    "es": [
        "plugins/algorithms/es/maze_es/config.py",
        "plugins/algorithms/es/maze_es/es.py",
        "maze_core/rl/episodes.py",
        "maze_core/rl/policy.py",
        "maze_core/rl/streams.py",
        "maze_core/rl/kernels.py",
    ],
    **{
        name: [
            f"plugins/algorithms/{name}/maze_{name}/config.py",
            f"plugins/algorithms/{name}/maze_{name}/{name}.py",
            "maze_core/rl/collector.py",
            "maze_core/rl/rollouts.py",
            "maze_core/rl/losses.py",
            "maze_core/rl/optimization.py",
        ]
        for name in ("ppo", "a2c")
    },
}
"""What to read to understand an algorithm from config to update."""

RECORDS = {"EpisodeBatch", "Estimates", "saved_count", "saved_horizon", "saved_tensor"}
"""Say by themselves what is in them, or what they read."""


@pytest.mark.parametrize("name", READING_LISTS)
def test_an_algorithm_is_read_in_six_files_and_a_thousand_lines(name: str) -> None:
    texts = [(ROOT / file).read_text() for file in READING_LISTS[name]]
    assert len(texts) <= 6
    assert sum(len(text.splitlines()) for text in texts) <= 1000


@pytest.mark.parametrize("name", READING_LISTS)
def test_the_reading_list_defines_all_that_an_algorithm_uses(name: str) -> None:
    trees = [ast.parse((ROOT / file).read_text()) for file in READING_LISTS[name]]
    defined = {node.name for tree in trees for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    nodes = [node for node in ast.walk(trees[1]) if isinstance(node, ast.ImportFrom)]
    modules = ("maze_core.rl", f"maze_{name}.config")
    used = {alias.name for node in nodes if node.module in modules for alias in node.names}
    assert used
    assert used - defined - RECORDS == set()
