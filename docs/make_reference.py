"""Writes docs/reference.md: every hook with its spec, and every option of what comes with Maze.

``python docs/make_reference.py`` writes the page, with ``--check`` it only says whether it is as the code is.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from maze_core import hookspecs, protocols
from maze_core.field_docs import as_text, field_docs
from maze_core.plugins import PluginSources, load_plugins
from maze_core.presets import group_options
from maze_core.registry import LIST_GROUPS, Registry
from maze_core.specs import SPEC_TYPES, Offer, Spec

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"

HEAD = """# Plugin reference

Every hook with the fields of its spec, every interface between the core and what plugins build, and every option of
what comes with Maze, as `maze info` shows it. How they fit together: [plugins.md](plugins.md).

<!-- Made from the code: python docs/make_reference.py -->
"""

TEXT = re.compile(r"(`[^`]*`)")
"""Code within a text."""

EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def reference(registry: Registry) -> str:
    """The page.

    Args:
        registry: The plugins whose options are shown.
    """
    return "\n".join([HEAD, *hook_lines(), *interface_lines(), *option_lines(registry)]).rstrip() + "\n"


def own_plugins() -> Registry:
    """The core's plugin and those of this repository, whatever else is installed."""
    sources = PluginSources(environ={})
    of_repository = {file.parent.name for file in ROOT.glob("plugins/*/*/maze_*/plugin.py")}
    plugins = [
        plugin
        for plugin in load_plugins(sources)
        if plugin.origin == "core" or plugin.location.partition(".")[0] in of_repository
    ]
    return Registry(sorted(plugins, key=lambda plugin: plugin.name), sources)


def hook_lines() -> Iterator[str]:
    """Every hook: what it is for, and its spec."""
    yield "## Hooks\n"
    yield "A hook takes no argument and yields specs; it is called once, when its plugin is loaded.\n"
    yield from table(
        ("hook", "yields", "what"),
        [
            (f"[`{hook}`](#{hook})", f"`{spec_type.__name__}`", sentence(getattr(hookspecs, hook)))
            for hook, spec_type in hookspecs.HOOKS.items()
        ],
    )
    yield "All specs of what a configuration selects have these fields:\n"
    yield from fields_table(Spec)
    for hook, spec_type in hookspecs.HOOKS.items():
        yield f"### `{hook}`\n"
        yield f"Yields `{spec_type.__name__}`. {prose(parsed(spec_type)[0])}\n"
        yield from fields_table(spec_type)
        for example in EXAMPLE.findall(inspect.getdoc(getattr(hookspecs, hook)) or ""):
            yield f"```python\nfrom maze_core import {spec_type.__name__}, hookimpl\n\n\n{example}```\n"


def fields_table(spec_type: type[Offer]) -> list[str]:
    """Fields of a spec, without those that all specs of what a configuration selects have."""
    common = issubclass(spec_type, Spec) and spec_type is not Spec
    known = {field.name for field in dataclasses.fields(Spec)} if common else set()
    docs: dict[str, str] = {}
    for documented in reversed(spec_type.__mro__[:-1]):
        docs |= dict(parsed(documented)[1])
    rows = [
        (f"`{field.name}`", code(str(field.type)), default_of(field), prose(docs.get(field.name, "")))
        for field in dataclasses.fields(spec_type)
        if field.name not in known
    ]
    return table(("field", "type", "default", "meaning"), rows) if rows else []


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default of a field of a spec."""
    return "required" if field.default is dataclasses.MISSING else f"`{field.default}`"


def interface_lines() -> Iterator[str]:
    """What the core and the objects that plugins build know of each other."""
    yield "## Interfaces\n"
    yield "What `build` returns and what it is given, from `maze_core.protocols`.\n"
    for name, interface in vars(protocols).items():
        if inspect.isclass(interface) and interface.__module__ == protocols.__name__:
            yield f"### `{name}`\n"
            text, attributes = parsed(interface)
            yield prose(text) + "\n"
            types = interface.__annotations__
            rows = [(f"`{key}`", code(str(types[key])), prose(doc)) for key, doc in attributes if key in types]
            yield from table(("attribute", "type", "meaning"), rows) if rows else ()
            methods = [member for key, member in vars(interface).items() if is_public_function(key, member)]
            yield from table(("method", "what"), [(signature(m), described(m)) for m in methods]) if methods else ()


def is_public_function(name: str, member: object) -> bool:
    """Whether it is a method to call or to write."""
    return inspect.isfunction(member) and not name.startswith("_")


def signature(method: Callable[..., Any]) -> str:
    """How a method is called, as code."""
    text = str(inspect.signature(method)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")
    return code(f"{method.__name__}{text}")


def described(method: Callable[..., Any]) -> str:
    """What a method does and what its arguments are, in one cell."""
    text, arguments = parsed(method)
    return " ".join([prose(text), *(f"`{name}`: {prose(doc)}" for name, doc in arguments)])


def option_lines(registry: Registry) -> Iterator[str]:
    """Every option of every spec, and the presets."""
    yield "## What comes with Maze\n"
    for spec_type in SPEC_TYPES:
        for spec in registry.specs(spec_type.kind):
            yield f"### `{spec.group}={spec.name}`\n"
            yield f"{prose(spec.summary)} Plugin: `{registry.owner(spec).name}`.\n"
            group = f"{spec.group}.{spec.name}" if spec.group in LIST_GROUPS else spec.group
            rows = [
                (
                    f"`{group}.{doc.name}`",
                    code(as_text(doc.default)),
                    prose("; ".join(part for part in (doc.type, doc.allowed) if part)),
                    prose(doc.doc),
                )
                for doc in field_docs(spec.config)
            ]
            yield from table(("option", "default", "allowed", "meaning"), rows) if rows else ["It has no options.\n"]
    yield "## Presets and experiments\n"
    yield "YAML files that name an option and what differs from it: [configuration.md](configuration.md).\n"
    groups = [*dict.fromkeys(spec_type.group for spec_type in SPEC_TYPES), "experiment"]
    presets = [(group, option) for group in groups for option in group_options(registry, (), group) if option.file]
    yield from table(
        ("write", "plugin", "for"),
        [(f"`{group}={option.name}`", f"`{option.provider}`", comment(Path(option.file))) for group, option in presets],
    )


def comment(file: Path) -> str:
    """The comment that a preset begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    first = [line.removeprefix("#").strip() for line in lines if line.startswith("#") and "@package" not in line]
    return prose(first[0] if first else "")


def parsed(documented: object) -> tuple[str, list[tuple[str, str]]]:
    """A docstring of this repository: its text, and what it says of arguments or attributes."""
    text, *parts = re.split(
        r"^(Args|Attributes|Returns|Raises):\n", inspect.getdoc(documented) or "", flags=re.MULTILINE
    )
    entries: list[tuple[str, str]] = []
    for title, part in zip(parts[::2], parts[1::2], strict=True):
        if title in ("Args", "Attributes"):
            entries += re.findall(r"^    (\w+): (.*(?:\n(?:     .*|))*)", part, re.MULTILINE)
        elif title == "Returns":
            text += "\n" + part
    return text, entries


def sentence(documented: object) -> str:
    """The first sentence of a docstring."""
    return prose((inspect.getdoc(documented) or "").partition("\n\n")[0])


def prose(text: str) -> str:
    """Text of a docstring as Markdown that fits into a cell: on one line, with code in single backticks."""
    line = " ".join(text.replace("``", "`").split())
    parts = TEXT.split(line)
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else re.sub(r"([|<>*\[\]])", r"\\\1", part) for part in parts
    )


def code(text: str) -> str:
    """A value or a type as code in a cell."""
    return "`" + text.replace("|", "\\|") + "`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, with an empty line after it."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines] + [""]


def main(arguments: Sequence[str]) -> int:
    """Writes the page, or with ``--check`` says whether it is up to date."""
    text = reference(own_plugins())
    if "--check" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/reference.md is not what the code says. Write it anew: python docs/make_reference.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
