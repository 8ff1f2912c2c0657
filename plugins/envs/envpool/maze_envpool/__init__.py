"""Native vector environments of EnvPool."""
