"""Cutting stock in two dimensions: orders are cut out of an inventory of pieces."""
