"""It ends the program at its import."""

raise SystemExit(3)
