"""A service whose background tasks end with an error; `python -m` runs it."""

from shared.config import CommonSettings
from shared.service import Service, run_service


class SweepError(Exception):
    """What a task ends with."""


def build(settings: CommonSettings) -> Service:
    """Put the service together."""
    service = Service("crashing", settings, port=0, ops_port=0)

    async def sweep() -> None:
        raise SweepError("cannot sweep redis://user:" + "planted" * 2 + "@cache:6379/0")

    async def count() -> None:
        raise LookupError("cannot count")

    service.background("sweep", sweep)
    service.background("count", count)
    return service


if __name__ == "__main__":
    run_service("crashing", CommonSettings, build)
