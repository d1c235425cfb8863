"""One course of training: so many steps at rates that rise and fall, saved every so often.

Step and seed alone decide what a step learns from, so that a course which is interrupted and run
again comes to the same end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_LAST_RATE = 0.02
_PRINT_EVERY = 40
SAVE_EVERY = 200


@dataclass(frozen=True, slots=True)
class Course:
    """So many steps of so many pictures.

    The rates rise for ``warmup`` steps, stay, and fall in a straight line over the last
    ``falling`` of the course.
    """

    name: str
    seed: int
    steps: int
    pictures: int
    matrix_rate: float
    other_rate: float
    warmup: int = 60
    falling: float = 0.6
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Return the share of the rates at *step*."""
        left = (self.steps - step) / (self.steps * self.falling)
        return min((step + 1) / self.warmup, max(_LAST_RATE, min(1.0, left)))


class Training:
    """A course under way."""

    def __init__(
        self,
        course: Course,
        learned: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        folder: Path,
    ) -> None:
        self._course, self._learned = course, learned
        self._path = folder / f"{course.name}.pt"
        schedule = torch.optim.lr_scheduler.LambdaLR
        self._optimizers = tuple(optimizers)
        self._schedules = tuple(schedule(each, course.rate) for each in optimizers)
        self._parameters = [
            parameter
            for each in optimizers
            for group in each.param_groups
            for parameter in group["params"]
        ]
        self._done = 0
        if self._path.exists():
            self._restore(torch.load(self._path, weights_only=False))

    def _restore(self, saved: dict[str, Any]) -> None:
        if saved["course"] != asdict(self._course):
            return
        self._learned.load_state_dict(saved["learned"])
        for each, state in zip((*self._optimizers, *self._schedules), saved["states"], strict=True):
            each.load_state_dict(state)
        self._done = saved["done"]

    def _save(self) -> None:
        saved = {
            "course": asdict(self._course),
            "learned": self._learned.state_dict(),
            "states": [each.state_dict() for each in (*self._optimizers, *self._schedules)],
            "done": self._done,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(saved, self._path.with_suffix(".new"))
        self._path.with_suffix(".new").replace(self._path)

    def _apply(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, self._course.clip)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def finish(self, loss: Callable[[int], Tensor], report: Callable[[], str]) -> None:
        """Take the steps that are left; print *report* whenever the course is saved."""
        started, mean, steps = time.process_time(), 0.0, self._course.steps
        for count, step in enumerate(range(self._done, steps), 1):
            value = loss(step)
            self._apply(value)
            self._done = step + 1
            mean += (value.item() - mean) / min(count, _PRINT_EVERY)
            last = self._done == steps
            if last or self._done % _PRINT_EVERY == 0:
                spent = time.process_time() - started
                name = self._course.name
                print(f"{name}: step {self._done} loss {mean:.4f} {spent:.0f} CPU s", flush=True)
            if last or self._done % SAVE_EVERY == 0:
                self._save()
                print(f"{self._course.name}: {report()}", flush=True)
