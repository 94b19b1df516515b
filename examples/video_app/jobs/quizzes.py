"""A quiz about a video, written by a language model: one job, and a child for each chapter."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from examples.video_app.fakes.ai import MODEL, PROVIDER, FakeModel
from mainstay.jobs import JobContext, RateLimit, Worker
from mainstay.ratelimit.client import RateLimitClient

WRITE_CHAPTER = "write-chapter-questions"

Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuizRequest:
    """The payload of `quiz/generation.requested`.

    `requested_by` is a subject of limits, such as `user:42`: it is that user's AI budget that pays.
    """

    quiz_id: str
    video_id: str
    requested_by: str
    question_count: int = 10
    difficulty: Difficulty = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterRequest:
    """What one child has to write."""

    chapter: str
    requested_by: str
    question_count: int
    difficulty: Difficulty


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """Questions by chapter."""

    quiz_id: str
    questions: dict[str, list[str]]


class QuizWriter:
    """The model, within the AI budget of the user who asks.

    A budget that is used up raises AiQuotaError, whose `retry_after` the job keeps to.
    """

    def __init__(self, model: FakeModel, limits: RateLimitClient) -> None:
        self._model = model
        self._limits = limits

    async def chapters(self, user: str, video_id: str) -> list[str]:
        """Return the chapters of a video."""
        async with self._limits.ai_call(
            user,
            provider=PROVIDER,
            model=MODEL,
            input_tokens=1_000,
            max_output_tokens=200,
            operation="quiz-outline",
        ) as call:
            answer = await self._model.outline(video_id)
            call.used(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
        return answer.lines

    async def questions(self, request: ChapterRequest) -> list[str]:
        """Return questions about a chapter."""
        async with self._limits.ai_call(
            request.requested_by,
            provider=PROVIDER,
            model=MODEL,
            input_tokens=500,
            max_output_tokens=50 * request.question_count,
            operation="quiz-questions",
        ) as call:
            answer = await self._model.questions(
                request.chapter, request.question_count, request.difficulty
            )
            call.used(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
        return answer.lines


def register(worker: Worker, writer: QuizWriter) -> None:
    """Add `generate-quiz`, and what it invokes."""

    @worker.function(
        "generate-quiz",
        on="quiz/generation.requested",
        retries=4,
        idempotency="/quiz_id",
    )
    async def generate_quiz(job: JobContext, request: QuizRequest) -> Quiz:
        """Find the chapters, then have all of them written at the same time.

        While the children write, this job keeps no worker busy.
        """
        chapters = await job.step.run(
            "chapters", writer.chapters, request.requested_by, request.video_id, retries=2
        )
        await job.progress(0.2, f"writing {len(chapters)} chapters", partial={"chapters": chapters})
        orders = _orders(request, chapters)
        written = await asyncio.gather(
            *(
                job.step.invoke(f"chapter-{number}", WRITE_CHAPTER, order)
                for number, order in enumerate(orders, start=1)
            )
        )
        return Quiz(
            quiz_id=request.quiz_id,
            questions={
                order.chapter: questions for order, questions in zip(orders, written, strict=True)
            },
        )

    # Nobody may keep the model to themselves: each user has a rate of calls.
    @worker.function(
        WRITE_CHAPTER,
        retries=5,
        concurrency=8,
        rate_limit=RateLimit(endpoint="ai_chat", subject="/requested_by"),
    )
    async def write_chapter(job: JobContext, request: ChapterRequest) -> list[str]:
        """Ask the model; one that is busy says when the next attempt may begin."""
        return await job.step.run("questions", writer.questions, request, timeout=120)


def _orders(request: QuizRequest, chapters: list[str]) -> list[ChapterRequest]:
    """Share the questions out; the first chapters get what is left over."""
    each, over = divmod(request.question_count, len(chapters))
    counts = [each + (number < over) for number in range(len(chapters))]
    return [
        ChapterRequest(
            chapter=chapter,
            requested_by=request.requested_by,
            question_count=count,
            difficulty=request.difficulty,
        )
        for chapter, count in zip(chapters, counts, strict=True)
        if count
    ]
