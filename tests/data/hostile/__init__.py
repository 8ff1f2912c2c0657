"""Run directories as a stranger could make them: `CASES` by name. See make_hostile.py."""

from data.hostile import of_checkpoints, of_config, of_files, of_weights
from data.hostile.tools import CASES, Case, make_base, place

__all__ = ["CASES", "Case", "make_base", "of_checkpoints", "of_config", "of_files", "of_weights", "place"]
