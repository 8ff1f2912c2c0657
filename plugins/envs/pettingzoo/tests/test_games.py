"""Which games there are, what a user is told about others, and what the configuration of a stranger may not do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from maze_pettingzoo.config import PettingZooConfig, Reward
from maze_pettingzoo.games import canonical, games, make_game, refuse_foreign, resolve

from maze_core import ConfigError, EnvFaultError, UserError


def refusal(function: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*args, **options)
    return str(caught.value)


def test_all_families_of_pettingzoo_are_known() -> None:
    assert {name.partition("/")[0] for name in games()} == {"atari", "butterfly", "classic", "sisl"}


def test_a_version_may_be_written_as_pettingzoo_writes_it() -> None:
    config = PettingZooConfig(name="classic/rps-v2")
    assert resolve(config) == []
    assert config.name == "classic/rps_v2"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("classic/tictactoe_v2", "'classic/tictactoe_v3'"),
        ("classic/tictactoe", "'classic/tictactoe_v3'"),
        ("tictactoe_v3", "'classic/tictactoe_v3'"),
        ("classic/conect_four_v3", "'classic/connect_four_v3'"),
        ("clasic/go_v5", "'classic/go_v5'"),
        ("sisl/waterworld_v4", None),
    ],
)
def test_a_name_that_nobody_has_is_refused_with_what_may_be_meant(name: str, near: str | None) -> None:
    message = refusal(canonical, name)
    assert message.startswith(f"PettingZoo has no game {name!r}.")
    assert ("Did you mean" in message) == (near is not None)
    assert near is None or f"Did you mean {near}?" in message


def test_a_name_that_nobody_has_is_refused_with_the_games_of_its_family() -> None:
    assert (
        refusal(canonical, "sisl/waterworld_v4").splitlines()[1]
        == "Games of sisl: sisl/multiwalker_v9, sisl/pursuit_v5."
    )
    assert refusal(canonical, "chess").splitlines()[1] == "Families of games: atari, butterfly, classic, sisl."


@pytest.mark.parametrize("name", ["os/path", "maze_core.testing:toys", "../evil", "pettingzoo.utils:env", "classic/"])
def test_a_name_never_imports_anything(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    games()
    monkeypatch.setattr("importlib.import_module", lambda *_: pytest.fail("something was imported"))
    assert "PettingZoo has no game" in refusal(canonical, name)


def test_what_others_register_with_pettingzoo_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import pettingzoo

    other = pettingzoo.EnvSpec("classic/evil-v0", "pettingzoo_evil.classic:env")
    monkeypatch.setitem(pettingzoo.aec_registry, "classic/evil-v0", other)
    assert "classic/evil_v0" not in games()


def test_without_pettingzoo_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    first, second = refusal(canonical, "classic/chess_v6").splitlines()
    assert first.startswith("env=pettingzoo needs a package that is not installed or too old (")
    assert second == 'Next: pip install "pettingzoo[classic]>=1.27"'


def test_without_the_package_of_a_game_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import pettingzoo

    lacking = pettingzoo.EnvSpec("sisl/lacking-v1", "pettingzoo.sisl.lacking:env")
    monkeypatch.setitem(pettingzoo.aec_registry, lacking.id, lacking)
    assert refusal(make_game, PettingZooConfig(name="sisl/lacking_v1")) == (
        "sisl/lacking_v1 needs a package that is not installed (No module named 'pettingzoo.sisl.lacking').\n"
        'Next: pip install "pettingzoo[sisl]"'
    )


def test_arguments_reach_the_game() -> None:
    assert make_game(PettingZooConfig(name="classic/rps_v2", kwargs={"num_actions": 5})).action_space("player_0").n == 5


def test_an_argument_that_a_game_does_not_take_is_an_error_that_names_it_and_not_its_value() -> None:
    message = refusal(make_game, PettingZooConfig(kwargs={"size": "a secret"}))
    assert message.startswith("classic/tictactoe_v3 does not take env.kwargs (size): ")
    assert "a secret" not in message


def test_a_game_that_raises_is_named() -> None:
    with pytest.raises(EnvFaultError, match="classic/rps_v2 raised AssertionError in its constructor: The number of"):
        make_game(PettingZooConfig(name="classic/rps_v2", kwargs={"num_actions": 4}))


@pytest.mark.parametrize(("name", "said"), [("classic/connect_four_v3", True), ("classic/hanabi_v5", False)])
def test_a_team_in_a_zero_sum_game_is_told_that_it_learns_nothing(name: str, said: bool) -> None:
    lines = resolve(PettingZooConfig(name=name, reward=Reward.sum))
    assert ["is a zero-sum game" in line for line in lines] == [True] * said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": Reward.sum, "agent": "player_1"}, "agent=player_1 is not allowed: it must be null with reward=sum"),
        ({"reward": Reward.sum, "opponent": "x"}, "opponent=x is not allowed: it must be random with reward=sum"),
        ({"max_env_steps": 0}, "max_env_steps=0 is not allowed: it must be null, or a whole number from 1"),
        ({"name": " "}, "name= .* is not allowed: it must be family and name of a game"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PettingZooConfig(**options)


# Rendering


def test_a_game_that_is_to_be_shown_gives_images() -> None:
    assert make_game(PettingZooConfig(), rendered=True).render_mode == "rgb_array"
    assert make_game(PettingZooConfig()).render_mode is None


def test_a_game_that_observes_what_it_draws_is_told_to_draw() -> None:
    game = make_game(PettingZooConfig(name="butterfly/cooperative_pong_v6"))
    game.reset(seed=0)
    assert game.observe("paddle_0").any()


def test_a_render_mode_that_was_chosen_stays() -> None:
    config = PettingZooConfig(name="classic/chess_v6", kwargs={"render_mode": "ansi"})
    game = make_game(config, rendered=True)
    game.reset(seed=0)
    assert game.render().startswith("r n b q k b n r\n")


def test_a_game_without_images_and_text_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from pettingzoo.classic.tictactoe.tictactoe import raw_env

    monkeypatch.setitem(raw_env.metadata, "render_modes", ["human"])
    assert refusal(make_game, PettingZooConfig(), rendered=True) == (
        "classic/tictactoe_v3 cannot be shown: its render modes are human, and one of rgb_array, ansi is needed."
    )


# The configuration of a stranger


@pytest.mark.parametrize(
    ("kwargs", "key"),
    [
        ({"auto_rom_install_path": "/etc"}, "env.kwargs.auto_rom_install_path"),
        ({"inner": {"files": ["plain", "..\\up"]}}, "env.kwargs.inner.files.1"),
        ({"home": "~"}, "env.kwargs.home"),
        ({"hidden": ".profile"}, "env.kwargs.hidden"),
    ],
)
def test_an_argument_that_may_be_a_path_is_refused_and_the_message_tells_what_to_do(
    kwargs: dict[str, Any], key: str
) -> None:
    assert refusal(refuse_foreign, PettingZooConfig(kwargs=kwargs)) == (
        f"{key} may name a file, which the configuration of a run may not decide; if you trust it, give the arguments "
        "on your own command line: 'env.kwargs={...}'"
    )


def test_plain_arguments_are_accepted() -> None:
    kwargs = {"players": 3, "observation_type": "card_knowledge", "render_mode": "rgb_array", "komi": 7.5, "seer": True}
    refuse_foreign(PettingZooConfig(kwargs=kwargs))


def test_an_opponent_is_accepted_because_its_file_is_data(tmp_path: Path) -> None:
    refuse_foreign(PettingZooConfig(opponent=str(tmp_path / "policy.safetensors")))
