"""Measures the bars. `make bench` runs all; `python -m bench NAME` one."""
