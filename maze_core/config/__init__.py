"""Configuration: from config groups, presets and overrides to typed, checked dataclass instances.

The only home of hydra, omegaconf and yaml. Nothing here instantiates a class that a config names:
a config can only choose among what plugins registered.
"""

from maze_core.config.compose import ConfigRequest, check_specs, expand_sweeps
from maze_core.config.configured import Configured, configure

__all__ = ["ConfigRequest", "Configured", "check_specs", "configure", "expand_sweeps"]
