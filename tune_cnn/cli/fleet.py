"""The commands of a fleet: send a search there, look after it, and ask whether the machines are well."""

import typer

app = typer.Typer()
