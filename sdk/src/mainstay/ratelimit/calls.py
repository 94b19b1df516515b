"""What all calls to the rate limits have in common: the channel, and when to repeat."""

from typing import TypedDict

from mainstay.channel import Channel
from mainstay.owned_tasks import OwnedTasks
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc


class Repeatable(TypedDict):
    """How `Channel.unary` may repeat a call."""

    retry: bool


# What changes nothing, or changes it to the same again.
REPEATABLE: Repeatable = {"retry": True}
# What would count twice: it may have arrived although it seems to have failed.
ONCE: Repeatable = {"retry": False}


class Calls:
    """The connection that the methods of the client share, and what they do beside their caller."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.RateLimitServiceStub(channel.raw)
        self._beside = OwnedTasks()
