"""Configuration: from config groups, presets and overrides to typed, checked dataclass instances.

The only home of hydra, omegaconf and yaml. Nothing here instantiates a class that a config names:
a config can only choose among what plugins registered.
"""

from maze_core.config.compose import ConfigRequest
from maze_core.config.configured import Configured, configure
from maze_core.config.hydra_loader import check_specs
from maze_core.config.overrides import expand_sweeps
from maze_core.config.stored import (
    changed_keys,
    check_recordable,
    config_hash,
    configure_stored,
    parse_config,
    variables_in,
)

__all__ = [
    "ConfigRequest", "Configured", "changed_keys", "check_recordable", "check_specs", "config_hash", "configure",
    "configure_stored", "expand_sweeps", "parse_config", "variables_in",
]  # fmt: skip
