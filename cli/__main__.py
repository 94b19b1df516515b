"""Runs the command line: `python -m cli`."""

from cli.main import run

run()
