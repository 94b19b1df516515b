"""A function gets its payload as the type that it asks for."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from mainstay.errors import ConfigurationError
from mainstay.jobs import JobContext, PayloadError
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.json_text import decode, encode
from mainstay.jobs.payload import payload_reader
from mainstay.jobs.typed_json import MisfitError, reader_of


class Quality(Enum):
    """How good a rendition is."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """One file of a video."""

    height: int
    quality: Quality = Quality.HIGH


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A video that has arrived."""

    video_id: UUID
    renditions: list[Rendition]
    seconds: float = 0.0
    at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    parent: "Upload | None" = None


class UploadModel(BaseModel):
    """The same as a pydantic model."""

    video_id: str
    seconds: float = Field(gt=0)
    renditions: list[int] = []


ID = UUID("0192d3c0-0000-7000-8000-000000000001")


async def as_dataclass(job: JobContext, upload: Upload) -> object:
    """Return what came."""
    return upload


async def as_model(job: JobContext, upload: UploadModel) -> object:
    """Return what came."""
    return upload


class Methods:
    """Has a function as a method."""

    async def run(self, job: JobContext, upload: Upload) -> object:
        """Return what came."""
        return upload


def read(handler: Callable[..., Awaitable[Any]], data: Mapping[str, Any]) -> Any:
    """Return the payload as the handler gets it."""
    reader = payload_reader("process-video", handler)
    assert reader is not None
    return reader(data)


class TestPayload:
    def test_is_a_dataclass(self) -> None:
        """With everything in it: lists, defaults, enums, times and itself."""
        data = {
            "video_id": str(ID),
            "renditions": [{"height": 720, "quality": "low"}, {"height": 1080}],
            "seconds": 3,
            "at": "2026-01-01T00:00:00+00:00",
            "parent": {"video_id": str(ID), "renditions": []},
            "unknown": "is left out",
        }

        assert Upload(
            video_id=ID,
            renditions=[Rendition(height=720, quality=Quality.LOW), Rendition(height=1080)],
            seconds=3.0,
            at=datetime(2026, 1, 1, tzinfo=UTC),
            parent=Upload(video_id=ID, renditions=[]),
        ) == read(as_dataclass, data)

    def test_is_a_model(self) -> None:
        """Read by pydantic, which is not imported for those who do without."""
        assert UploadModel(video_id="a", seconds=2.5) == read(
            as_model, {"video_id": "a", "seconds": 2.5}
        )

    @pytest.mark.parametrize("annotation", [Any, dict, dict[str, Any], Mapping[str, Any]])
    def test_is_plain_where_that_is_asked_for(self, annotation: Any) -> None:
        """As the event had it."""

        async def handler(job: JobContext, data: Any) -> None:
            """Do nothing."""

        handler.__annotations__["data"] = annotation

        assert {"a": [1]} == read(handler, {"a": [1]})

    def test_is_left_to_the_job_by_a_function_that_takes_only_that(self) -> None:
        """Further parameters that have a default are the function's own."""

        async def handler(job: JobContext, own: int = 1, *rest: int, more: int = 2) -> None:
            """Do nothing."""

        assert None is payload_reader("process-video", handler)

    @pytest.mark.parametrize("handler", [functools.partial(as_dataclass), Methods().run])
    def test_is_found_behind_partials_and_methods(self, handler: Handler) -> None:
        """It is what comes after the job."""
        expected = Upload(video_id=ID, renditions=[])

        assert expected == read(handler, {"video_id": str(ID), "renditions": []})


class TestPayloadThatDoesNotFit:
    @pytest.mark.parametrize(
        ("handler", "data", "pointer", "why"),
        [
            (as_dataclass, {"renditions": []}, "/video_id", "is missing"),
            (as_dataclass, {"video_id": 1, "renditions": []}, "/video_id", "must be a UUID"),
            (
                as_dataclass,
                {"video_id": str(ID), "renditions": [{"height": 1}, {"height": "2"}]},
                "/renditions/1/height",
                "must be an integer",
            ),
            (
                as_dataclass,
                {"video_id": str(ID), "renditions": [], "tags": {"a/b~c": 1}},
                "/tags/a~1b~0c",
                "must be a string",
            ),
            (
                as_dataclass,
                {"video_id": str(ID), "renditions": [], "parent": {"renditions": []}},
                "/parent/video_id",
                "is missing",
            ),
            (as_model, {"video_id": "a", "seconds": 0}, "/seconds", "greater than 0"),
            (
                as_model,
                {"video_id": "a", "seconds": 1, "renditions": [1, "x"]},
                "/renditions/1",
                "",
            ),
        ],
    )
    def test_says_where_and_why(
        self, handler: Handler, data: Mapping[str, Any], pointer: str, why: str
    ) -> None:
        """By its JSON pointer; no retry can help."""
        with pytest.raises(
            PayloadError, match=f"of function process-video at {pointer}: "
        ) as caught:
            read(handler, data)
        assert pointer == caught.value.pointer
        assert why in str(caught.value)


class TestTypeThatNoPayloadHas:
    @pytest.mark.parametrize("annotation", [bytes, set[str], dict[int, str], Callable[[], None]])
    def test_is_refused_where_the_function_is_registered(self, annotation: Any) -> None:
        """Not with the first event, in production."""

        async def handler(job: JobContext, data: Any) -> None:
            """Do nothing."""

        handler.__annotations__["data"] = annotation

        with pytest.raises(ConfigurationError, match="annotate its second parameter"):
            Function(name="process-video", handler=handler)

    def test_is_refused_when_it_is_not_known(self) -> None:
        """An annotation that is text has to be found."""

        async def handler(job: JobContext, data: "Nowhere") -> None:  # type: ignore[name-defined] # noqa: F821
            """Do nothing."""

        with pytest.raises(ConfigurationError, match="define it at the top of the module"):
            Function(name="process-video", handler=handler)


class TestReader:
    @pytest.mark.parametrize(
        ("kind", "value", "expected"),
        [
            (int, 3.0, 3),
            (float, 3, 3.0),
            (date, "2026-01-02", date(2026, 1, 2)),
            (Literal["a", 1], 1, 1),
            (int | None, None, None),
            (tuple[int, str], [1, "a"], (1, "a")),
            (tuple[int, ...], [1, 2], (1, 2)),
            (list, [1, "a"], [1, "a"]),
            (Quality | int, "low", Quality.LOW),
        ],
    )
    def test_takes(self, kind: Any, value: Any, expected: object) -> None:
        """What JSON has, as what was asked for."""
        made = reader_of(kind)(value, "")

        assert (type(expected), expected) == (type(made), made)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (int, True),
            (float, False),
            (int, 1.5),
            (int, "1"),
            (str, 1),
            (bool, 1),
            (type(None), 0),
            (Literal[1], True),
            (tuple[int, str], [1]),
            (list[int], "ab"),
            (dict[str, int], [1]),
            (Quality, "medium"),
        ],
    )
    def test_refuses(self, kind: Any, value: Any) -> None:
        """What only looks alike."""
        with pytest.raises(MisfitError, match="must be"):
            reader_of(kind)(value, "")

    def test_tells_of_the_alternative_that_fits_best(self) -> None:
        """Not that it is not null, but what is wrong with the rendition."""
        with pytest.raises(MisfitError) as caught:
            reader_of(Rendition | None)({"height": "2"}, "")
        assert "/height" == caught.value.pointer

    @pytest.mark.parametrize(
        "value",
        [
            Rendition(height=1),
            Upload(
                video_id=ID, renditions=[Rendition(height=1)], at=datetime(2026, 1, 1, tzinfo=UTC)
            ),
            UploadModel(video_id="a", seconds=1),
        ],
    )
    def test_makes_what_was_encoded(self, value: object) -> None:
        """There and back."""
        assert value == reader_of(type(value))(decode(encode(value)), "")
