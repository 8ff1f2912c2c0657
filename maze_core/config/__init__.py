"""Configuration: from config groups, presets and overrides to typed, checked dataclass instances.

The only home of hydra, omegaconf and yaml. Nothing here instantiates a class that a config names:
a config can only choose among what plugins registered.
"""

from maze_core.config.compose import ConfigRequest, ConfigSource, check_specs, expand_sweeps, group_options
from maze_core.config.configured import Configured, configure

__all__ = ["ConfigRequest", "ConfigSource", "Configured", "check_specs", "configure", "expand_sweeps", "group_options"]
