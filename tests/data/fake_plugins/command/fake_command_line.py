"""Its command, which is imported when it is used."""

import click


@click.command()
@click.option("--up-to", default=3)
def count(up_to):
    """Count things, one after the other."""
    click.echo(" ".join(str(number) for number in range(up_to)))
