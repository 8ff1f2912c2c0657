"""It ends the program."""

raise SystemExit(7)
