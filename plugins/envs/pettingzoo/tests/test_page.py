"""The page about games names all that there are."""

from __future__ import annotations

import re
from pathlib import Path

from maze_pettingzoo.envs import make_env
from maze_pettingzoo.games import PettingZooConfig, games

PAGE = (Path(__file__).parents[4] / "docs/pettingzoo.md").read_text(encoding="utf-8")
ROWS = {cells[0].strip(" `"): cells[1:] for cells in (row.split("|")[1:-1] for row in PAGE.splitlines() if "_v" in row)
        if len(cells) == 5}  # fmt: skip
UNTRIED = {"butterfly/pistonball_v6"}


def test_every_game_is_in_the_table_but_for_those_that_were_not_tried() -> None:
    assert set(ROWS) | UNTRIED == {game for game in games() if not game.startswith("atari/")}
    assert all(f"`{game}`" in PAGE for game in UNTRIED)


def test_the_table_says_how_many_agents_and_actions_a_game_has_and_whether_it_has_masks() -> None:
    for name, (agents, actions, masks, _) in ROWS.items():
        if not name.startswith("classic/") or name == "classic/hanabi_v5":
            continue
        env = make_env(PettingZooConfig(name=name))
        shown = (len(env._game.agents), int(env.action_space.n), env._game.sights[env._game.agents[0]].masked)  # type: ignore[attr-defined]
        assert shown == (int(agents), int(actions), masks.strip() == "yes")
        assert re.fullmatch(r"[a-z_]+/[a-z_]+_v\d+", name)
