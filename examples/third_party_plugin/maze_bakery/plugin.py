"""Registers all that belongs to the bakery."""

from collections.abc import Iterator

from maze_bakery.config import BakeryConfig, RuleConfig, TableConfig, WasteConfig, WeekendConfig
from maze_core import CallbackSpec, CommandSpec, EnvSpec, ModelSpec, PolicySpec, WrapperSpec, hookimpl

maze_api_version = 1


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """The env ``bakery``."""
    yield EnvSpec(
        name="bakery",
        summary="A bakery that decides each morning how many loaves it bakes.",
        config=BakeryConfig,
        build="maze_bakery.env:Bakery",
    )


@hookimpl
def maze_wrappers() -> Iterator[WrapperSpec]:
    """The wrapper ``bakery_weekend``."""
    yield WrapperSpec(
        name="bakery_weekend",
        summary="Shows of the day only whether it belongs to the weekend.",
        config=WeekendConfig,
        build="maze_bakery.wrapper:Weekend",
    )


@hookimpl
def maze_models() -> Iterator[ModelSpec]:
    """The model ``bakery_table``."""
    yield ModelSpec(
        name="bakery_table",
        summary="A number for each output and each value of what is observed.",
        config=TableConfig,
        build="maze_bakery.model:Table",
    )


@hookimpl
def maze_policies() -> Iterator[PolicySpec]:
    """The policy ``bakery_rule``."""
    yield PolicySpec(
        name="bakery_rule",
        summary="Bakes a share of the customers that are expected on such a weekday.",
        config=RuleConfig,
        build="maze_bakery.policy:Rule",
    )


@hookimpl
def maze_callbacks() -> Iterator[CallbackSpec]:
    """The callback ``bakery_waste``."""
    yield CallbackSpec(
        name="bakery_waste",
        summary="Writes to waste.csv how many loaves are thrown away in evaluations.",
        config=WasteConfig,
        build="maze_bakery.callback:Waste",
    )


@hookimpl
def maze_commands() -> Iterator[CommandSpec]:
    """The command ``maze bakery``."""
    yield CommandSpec(
        name="bakery",
        summary="Show what a trained policy bakes on each weekday.",
        build="maze_bakery.command:command",
    )
