"""The calls that `mainstay up` prints."""

import shlex

from cli.calls import calls_to_paste
from cli.layout import Layout


class TestCallsToPaste:
    def test_every_indented_line_is_a_command(self) -> None:
        """What stands around the commands is not indented, so that lines can be taken whole."""
        lines = list(calls_to_paste(Layout.on_free_ports()))
        commands = {shlex.split(line)[0] for line in lines if line.startswith("  ")}

        assert commands == {"grpcurl", "buf", "curl"}

    def test_shows_where_metrics_are(self) -> None:
        """They are on the operations port, which nobody would guess."""
        layout = Layout.on_free_ports()

        assert f"  curl http://{layout.services[0].ops_address}/metrics" in calls_to_paste(layout)

    def test_says_where_buf_is(self) -> None:
        """It is not on PATH of somebody who has just cloned and run `make`."""
        lines = list(calls_to_paste(Layout.on_free_ports()))
        headings = [line for line in lines if line.startswith("or with buf")]

        assert len(headings) == 1
        assert "bin" in headings[0]
