"""What the Grafana dashboards show; `scripts/build_dashboards.py` makes their JSON of it."""
