"""It raises whatever it likes at its import."""

{}["missing"]
