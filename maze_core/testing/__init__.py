"""For authors of plugins: checks that what they write keeps the contracts that Maze relies on."""

from maze_core.testing.env_checker import check_env

__all__ = ["check_env"]
