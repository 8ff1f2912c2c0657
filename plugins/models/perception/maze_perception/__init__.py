"""Models that read observations."""
