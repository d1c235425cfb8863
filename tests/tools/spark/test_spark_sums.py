"""spark adds numbers that it was never shown together, as the service answers them."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.config import Settings
from pilotlight.generation import ChatPrompt, GenerationParams
from pilotlight.models.loaded import Hold
from pilotlight.output.events import ContentDelta
from pilotlight.prompt.conversation import Conversation, TextPart, UserTurn
from pilotlight.service import Service
from pilotlight_backend import SamplingParams
from tools.spark.conversations import ask_addition, held_out_additions

pytestmark = pytest.mark.slow

EVERY = 8
"""Of the thousand held-out pairs every eighth is asked."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(
        models_dir=tmp_path,
        models_file=tmp_path / "none.yaml",
        parallel=8,
        max_queue=1000,
        max_held=1000,
    )
    service = Service(settings)
    yield service
    await service.pool.close()


async def content(service: Service, question: str, *, thinking: bool) -> str:
    params = GenerationParams(
        model="spark",
        prompts=(
            ChatPrompt(
                Conversation(
                    turns=(UserTurn((TextPart(question),)),),
                    template_options={"enable_thinking": thinking},
                )
            ),
        ),
        max_tokens=256,
        sampling=SamplingParams(temperature=0),
    )
    pieces: list[str] = []
    async for events in service.generator.generate(params, hold=Hold(30)):
        pieces += [event.text for _, event in events if isinstance(event, ContentDelta)]
    return "".join(pieces)


@pytest.mark.parametrize(("thinking", "least"), [(True, 0.95), (False, 0.85)])
async def test_held_out_additions_are_right(service: Service, *, thinking: bool, least: float):
    """Sums of numbers below 100 that training never saw are right, thinking or not."""
    pairs = held_out_additions()[::EVERY]
    assert len(pairs) > 120

    answers = await asyncio.gather(
        *(content(service, ask_addition(a, b), thinking=thinking) for a, b in pairs)
    )

    right = [
        re.findall(r"-?[0-9]+", answer)[-1:] == [str(a + b)]
        for (a, b), answer in zip(pairs, answers, strict=True)
    ]
    assert sum(right) / len(right) >= least
