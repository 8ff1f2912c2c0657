"""New projects and plugins: working ones, to be changed into one's own."""

from maze_core.scaffold.files import KINDS, distribution_files, project_files, write_new
from maze_core.scaffold.names import check_free, check_name, check_package

__all__ = ["KINDS", "check_free", "check_name", "check_package", "distribution_files", "project_files", "write_new"]
