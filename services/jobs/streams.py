"""The worker streams of this process."""

from services.jobs import metrics
from services.jobs.dealing import Opening
from services.jobs.job import SessionId
from services.jobs.session import WorkerStream


class Streams:
    """Finds the stream of a session, and the openings of all."""

    def __init__(self) -> None:
        self._streams: dict[SessionId, WorkerStream] = {}
        self._draining_reason = ""

    @property
    def draining(self) -> bool:
        """Return whether workers are sent away."""
        return bool(self._draining_reason)

    def attach(self, stream: WorkerStream) -> None:
        """Take a stream in; of two streams of one session the newer stays, the other ends."""
        other = self._streams.get(stream.session_id)
        if other is not None and other.stream > stream.stream:
            stream.finish()
            return
        if other is not None:
            other.finish()
        self._streams[stream.session_id] = stream
        metrics.streams.set(len(self._streams))
        if self.draining:
            # It was opened while draining began.
            stream.go_away(self._draining_reason)

    def detach(self, stream: WorkerStream) -> None:
        """Forget a stream that has ended."""
        if self._streams.get(stream.session_id) is stream:
            del self._streams[stream.session_id]
            metrics.streams.set(len(self._streams))

    def find(self, session_id: SessionId) -> WorkerStream | None:
        """Return the session's stream, if it is here."""
        return self._streams.get(session_id)

    def sessions(self) -> list[SessionId]:
        """Return the sessions whose streams are here."""
        return list(self._streams)

    def openings(self) -> list[Opening]:
        """Return where jobs are wanted now."""
        found = (stream.opening() for stream in self._streams.values())
        return [opening for opening in found if opening is not None]

    def drain(self, reason: str) -> None:
        """Send every worker away, also those that come from now on."""
        self._draining_reason = reason
        for stream in list(self._streams.values()):
            stream.go_away(reason)
