"""Games keep the contract of envs, for one agent and for a team."""

from __future__ import annotations

from typing import Any

import pytest

from maze_core.testing import EnvConformance, PluginConformance

GAMES = {
    "butterfly/cooperative_pong_v6": 20, "butterfly/knights_archers_zombies_v11": 60, "classic/chess_v6": 12,
    "classic/connect_four_v3": 40, "classic/go_v5": 20, "classic/hanabi_v5": 20, "classic/leduc_holdem_v4": 30,
    "classic/rps_v2": 40, "classic/texas_holdem_no_limit_v6": 30, "classic/texas_holdem_v4": 30,
    "classic/tictactoe_v3": 40, "sisl/multiwalker_v9": 60, "sisl/pursuit_v5": 20,
}  # fmt: skip
"""All games that need no more than what is installed here, and how many env steps each is played in a check."""

PACKAGES = {"classic/hanabi_v5": "pyspiel", "sisl/pursuit_v5": "scipy", "sisl/multiwalker_v9": "Box2D"}


def games(*short: str) -> Any:
    """A fixture that makes each check one of each game; those that are named are in the short form of the tests."""
    params = [pytest.param(game, marks=[] if game in short else pytest.mark.long) for game in sorted(GAMES)]

    @pytest.fixture(autouse=True, params=params)
    def chosen(self: Game, request: pytest.FixtureRequest) -> None:
        pytest.importorskip(PACKAGES.get(request.param, "numpy"))
        self.n_env_steps = GAMES[request.param]
        limit = 15 if self.n_env_steps < 60 else None
        self.overrides = {"name": request.param, "reward": self.reward, "max_env_steps": limit}

    return chosen


class TestPlugin(PluginConformance):
    name = "pettingzoo"


class TestDefaultGame(EnvConformance):
    name = "pettingzoo"


class Game(EnvConformance):
    """Each game as it is played; what does not depend on the game is checked above."""

    name = "pettingzoo"
    reward = "agent"
    test_summary_is_one_line = None
    test_what_builds_it_can_be_imported = None
    test_config_is_keyword_only_and_documented = None
    test_config_has_valid_defaults = None
    test_config_says_what_numbers_may_be = None
    test_config_survives_its_record = None
    test_imports_are_light = None
    test_vector_form_is_like_the_scalar_one = None
    test_vector_form_keeps_its_state = None


class TestOneAgent(Game):
    chosen = games(
        "classic/connect_four_v3", "classic/go_v5", "classic/hanabi_v5", "classic/rps_v2", "classic/texas_holdem_v4",
        "classic/texas_holdem_no_limit_v6",
    )  # fmt: skip


class TestTeam(Game):
    reward = "sum"
    chosen = games(
        "butterfly/knights_archers_zombies_v11", "classic/chess_v6", "classic/leduc_holdem_v4", "classic/tictactoe_v3"
    )
