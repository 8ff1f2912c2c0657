"""Which games there are, and how one is made, with every way that can fail told in a sentence.

The home of pettingzoo, which is imported when a game is looked for.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maze_core import EnvFaultError, MazeError, MissingPackageError, UserError, did_you_mean
from maze_pettingzoo.config import RANDOM, PettingZooConfig, Reward
from maze_pettingzoo.policy_files import hash_of, path_of

ZERO_SUM = frozenset({
    "classic/chess", "classic/connect_four", "classic/go", "classic/leduc_holdem", "classic/rps",
    "classic/texas_holdem", "classic/texas_holdem_no_limit", "classic/tictactoe",
})  # fmt: skip
"""Games, without their versions, in which one agent wins what others lose."""

LEAKING = frozenset({"butterfly/knights_archers_zombies"})
"""Games whose episodes depend on those before: in this one an agent that fell is missing in all later ones."""

DRAWN = frozenset({"butterfly/cooperative_pong"})
"""Games that observe what they draw, and draw nothing unless they are told to: all that they showed would be black."""

RENDER_MODES = ("rgb_array", "ansi")
"""In which a game shows what can be kept: an image, or text; the first that it has is used."""

VERSION = re.compile(r"[-_]v\d+$")
PACKAGE = "pettingzoo"


def games() -> dict[str, Any]:
    """PettingZoo's own games: what makes each, by a name such as ``classic/tictactoe_v3``.

    Raises:
        MissingPackageError: If PettingZoo is not installed.
    """
    try:
        from pettingzoo import aec_registry
    except ImportError as error:
        raise MissingPackageError(
            f"env=pettingzoo needs a package that is not installed or too old ({error}).\n"
            'Next: pip install "pettingzoo[classic]>=1.27"'
        ) from None
    own = (s for s in aec_registry.values() if str(s.entry_point).startswith(f"{PACKAGE}.{s.namespace}."))
    return {f"{spec.namespace}/{spec.name}_v{spec.version}": spec for spec in own}


def canonical(name: str) -> str:
    """The name of a game as `games` has it, from one whose version is written ``-v3``.

    Raises:
        UserError: If there is no such game.
    """
    wanted = re.sub(r"-v(?=\d+$)", "_v", name.strip())
    known = games()
    if wanted in known:
        return wanted
    raise UserError(_unknown(name, wanted, sorted(known)))


def _unknown(name: str, wanted: str, known: Sequence[str]) -> str:
    """What a user is told about a game that is not there: what may be meant, and what there is."""
    family, _, game = wanted.rpartition("/")
    there = [other for other in known if other.startswith(f"{family}/")] if family else []
    parts = {VERSION.sub("", other.rpartition("/")[2]): other for other in there or known}
    near = did_you_mean(VERSION.sub("", game), parts)
    for short, full in parts.items():
        near = near.replace(repr(short), repr(full))
    families = ", ".join(dict.fromkeys(other.partition("/")[0] for other in known))
    listed = f"Games of {family}: {', '.join(there)}." if there else f"Families of games: {families}."
    return f"PettingZoo has no game {name!r}.{near}\n{listed}"


def is_zero_sum(name: str) -> bool:
    """Whether one agent wins what others lose, as far as that is known of the game."""
    return VERSION.sub("", name) in ZERO_SUM


def leaks(name: str) -> bool:
    """Whether a game is known to carry something of an episode into the next one."""
    return VERSION.sub("", name) in LEAKING


def resolve(config: PettingZooConfig) -> list[str]:
    """Checks that game and opponent exist; writes both in full, with the hash of the opponent's file.

    Returns:
        Lines for the user.

    Raises:
        UserError: If there is no such game or file.
    """
    config.name = canonical(config.name)
    lines = _resolve_opponent(config)
    if config.reward is Reward.sum and is_zero_sum(config.name):
        lines.append(
            f"{config.name} is a zero-sum game: with env.reward=sum every env step is worth 0, and nothing can be "
            "learned; env.reward=agent trains one agent against the others."
        )
    return lines


def _resolve_opponent(config: PettingZooConfig) -> list[str]:
    recorded = config.opponent_sha256
    if config.opponent == RANDOM:
        config.opponent_sha256 = None
        return []
    path = path_of(config.opponent)
    config.opponent, config.opponent_sha256 = str(path), hash_of(path)
    if recorded in (None, config.opponent_sha256):
        return []
    return [f"the opponent {path} is not the file that the configuration was recorded with."]


def refuse_foreign(config: PettingZooConfig) -> None:
    """Refuses a configuration that somebody else may have written if a game could read files of their choice.

    Only PettingZoo's own games are known by name, so that nothing else is imported; the opponent's file is data, of
    which nothing is executed, whoever wrote it.

    Raises:
        UserError: If an argument looks like a path.
    """
    keys = list(_paths(config.kwargs, "env.kwargs"))
    if keys:
        raise UserError(
            f"{keys[0]} may name a file, which the configuration of a run may not decide; if you trust it, give the "
            "arguments on your own command line: 'env.kwargs={...}'"
        )


def _paths(value: Any, key: str) -> Iterator[str]:
    """Dotted keys at which there is a text that could be a path."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _paths(entry, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _paths(entry, f"{key}.{index}")
    elif isinstance(value, str) and re.search(r"[/\\~]|^\.", value):
        yield key


def make_game(config: PettingZooConfig, rendered: bool = False) -> Any:
    """Makes the game, an AEC env of PettingZoo with its own wrappers.

    Args:
        config: Which one.
        rendered: Whether it has to show images, or text if it has no images. A `render_mode` among its arguments
            stays as it is.

    Raises:
        MissingPackageError: If it needs a package that is not installed.
        UserError: If it does not take an argument, or cannot be shown.
        EnvFaultError: If its constructor raises anything else.
    """
    name = canonical(config.name)
    game = _constructed(name, config.kwargs)
    drawn = rendered or VERSION.sub("", name) in DRAWN
    if not drawn or getattr(game, "render_mode", None) is not None:
        return game
    modes = list(game.metadata.get("render_modes") or [])
    game.close()
    mode = next((mode for mode in RENDER_MODES if mode in modes), None)
    if mode is None:
        known = f"its render modes are {', '.join(map(str, modes))}" if modes else "it has no render modes"
        raise UserError(f"{name} cannot be shown: {known}, and one of {', '.join(RENDER_MODES)} is needed.")
    return _constructed(name, {**config.kwargs, "render_mode": mode})


def _constructed(name: str, kwargs: Mapping[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries behind a game, which a user cannot change
            return games()[name].make(**kwargs)
    except MazeError:
        raise
    except Exception as problem:
        raise _explained(problem, name, kwargs) from problem


def _explained(problem: Exception, name: str, kwargs: Mapping[str, Any]) -> MazeError:
    """What a user is told when a game cannot be made; of its arguments, the keys only."""
    if isinstance(problem, ImportError):
        family = name.partition("/")[0]
        return MissingPackageError(
            f"{name} needs a package that is not installed ({' '.join(str(problem).split())}).\n"
            f'Next: pip install "pettingzoo[{family}]"'
        )
    if isinstance(problem, TypeError) and "argument" in str(problem):
        keys = ", ".join(map(str, kwargs)) or "none"
        return UserError(f"{name} does not take env.kwargs ({keys}): {problem}.")
    return EnvFaultError(f"{name} raised {type(problem).__name__} in its constructor: {problem}")
