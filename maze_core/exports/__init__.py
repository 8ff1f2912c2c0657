"""Policies as files for other programs."""
