"""Every error that Maze raises on purpose, with the exit code that the command line gives it.

An error says in one or two sentences what was given, what is allowed and what to do next.
The command line prints the message without a traceback; ``--debug`` shows the traceback too.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any, ClassVar

MIN_SECRET = 4
"""Shorter values are not hidden: they would be found in every other word."""

_secrets: set[str] = set()


def hide(values: Iterable[str]) -> None:
    """Remembers values of environment variables that no message of this process may show.

    Args:
        values: Whole values; each of their lines is hidden too, since messages show first lines.
    """
    for value in values:
        forms = (value, *value.splitlines(), " ".join(value.split()))
        escaped = (repr(form)[1:-1] for form in forms)
        _secrets.update(form for form in (*forms, *escaped) if len(form) >= MIN_SECRET)


def hide_nothing() -> None:
    """Forgets all values that were to be hidden."""
    _secrets.clear()


def masked(text: str) -> str:
    """A text with ``***`` in place of all values that are hidden."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def printable(text: str) -> str:
    """A text on one line, without characters that could move the cursor or change colours of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int) -> str:
    """A text of a stranger in one printable line of bounded length."""
    line = printable(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 4]} ..."


class MazeError(Exception):
    """Base of all errors that Maze raises on purpose; its text shows no value that is hidden."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """The message."""
        return masked(super().__str__())

    def __repr__(self) -> str:
        """The message and its type."""
        return masked(super().__repr__())


class UserError(MazeError):
    """The user asked for something that cannot be done: an unknown name, a bad value, a clash."""

    exit_code = 2


class MissingPackageError(UserError):
    """Something needs a package that is not installed; the message names the command that installs it."""


class ConfigError(UserError):
    """A value in the configuration is not allowed; the message names its full key."""


class PluginError(UserError):
    """A plugin could not be loaded or offers something unusable."""


class EnvFaultError(MazeError):
    """An env raised, or broke its own contract; the message names env, episode seed and step."""

    exit_code = 3


class EnvRowError(EnvFaultError):
    """One env of a vector env broke its contract; `env` is its index.

    Who knows episode and step adds them.
    """

    def __init__(self, message: str, env: int) -> None:
        super().__init__(message)
        self.env = env


class NonFiniteError(MazeError):
    """NaN or infinity where learning needs numbers; nothing of it was saved."""

    exit_code = 4


class StorageError(MazeError):
    """The run directory could not be written."""

    exit_code = 5


class NothingUsableError(MazeError):
    """A directory was named to start from, and nothing in it can be used."""

    exit_code = 6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the nearest known name, or an empty string.

    Args:
        name: What the user wrote.
        known: The valid names.
    """
    candidates = list(known)
    by_case = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.6)
    return f" Did you mean {by_case[near[0]]!r}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str], note: str = "") -> str:
    """Builds the message for a name that nobody registered.

    Args:
        kind: What was looked for, such as ``"env"``.
        name: What the user wrote.
        known: The valid names.
        note: Further lines, such as why the plugin that offers it did not load.
    """
    names = sorted(known)
    lines = [f"no {kind} named {name!r}.{did_you_mean(name, names)}"]
    lines.append(f"Known: {', '.join(names)}." if names else f"No {kind} is registered.")
    return "\n".join(lines + ([note] if note else []))


def checked_path(name: str, value: Any) -> Any:
    """A path as it was given, or None.

    Args:
        name: Of the argument.
        value: What was given.

    Raises:
        UserError: If it is neither.
    """
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise UserError(f"{name}={value!r} is not allowed: it must be a path.")
    return value


def checked_texts(name: str, value: Any) -> list[str]:
    """One text or several, paths too, as a list of texts.

    Args:
        name: Of the argument.
        value: What was given.

    Raises:
        UserError: If it is neither.
    """
    texts = [value] if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, (str, os.PathLike)) for text in texts):
        raise UserError(f"{name}={value!r} is not allowed: it must be a text or a list of texts.")
    return [str(os.fspath(text)) for text in texts]


def require(config: object, field: str, condition: bool, allowed: str) -> None:
    """Checks the range of one config field; call it in ``__post_init__``.

    ``maze info`` reads the call from the source, so ``field`` and ``allowed`` are literal strings.

    Args:
        config: The config instance.
        field: Name of the field.
        condition: True when the value is allowed. Write it so that NaN makes it False.
        allowed: The allowed values in words, such as ``"a number > 0"``.

    Raises:
        ConfigFieldError: If the condition does not hold.
    """
    if not condition:
        raise ConfigFieldError(field, getattr(config, field), allowed)


class ConfigFieldError(ConfigError):
    """One field of a config is out of range; whoever knows the full key adds it with `under`."""

    def __init__(self, field: str, value: Any, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={_shown(value)} is not allowed: it must be {allowed}.")

    def under(self, path: str) -> ConfigFieldError:
        """Returns the same error with the field's full key."""
        return ConfigFieldError(f"{path}.{self.field}" if path else self.field, self.value, self.allowed)


def _shown(value: Any) -> str:
    return repr(value) if value == "" else str(value)
