"""Processes on this machine that step envs and run episodes, and that may fail without costing the run."""
