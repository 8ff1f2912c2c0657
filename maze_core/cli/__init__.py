"""The command line. The only home of click; one file per command, imported when it is used."""
