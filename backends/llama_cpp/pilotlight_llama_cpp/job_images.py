"""The images of an engine's requests: which are encoded, where, and who waits for them.

The engine's thread alone; `encoder` has the other one.
"""

from collections.abc import Collection, Iterator

from pilotlight_backend import BackendError
from pilotlight_llama_cpp.encoder import Encoder
from pilotlight_llama_cpp.generation_job import GenerationJob


class JobImages:
    """Has *encoder* encode the images of jobs, and gives them the vectors."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def is_waiting(self) -> bool:
        """Whether an image waits for a decision where it is encoded."""
        return self._encoder.is_waiting

    @property
    def is_encoding(self) -> bool:
        """Whether an image is encoded beside the engine's steps."""
        return self._encoder.is_encoding

    def begin(self, job: GenerationJob) -> None:
        """Begin to encode the images of the prompt that are not cached, in their order."""
        needed = (span.image for span in job.spans if span.start >= job.cached_tokens)
        for image in dict.fromkeys(needed):
            job.encodings.append(self._encoder.want(image, job.scope))

    def deliver(
        self, jobs: Collection[GenerationJob]
    ) -> Iterator[tuple[GenerationJob, BackendError]]:
        """Give each of *jobs* the vectors that it waits for; yield those that failed.

        One whose prompt is evaluated needs none any more: a large image's take 60 MB.
        """
        for job in list(jobs):
            if job.pending is not None:
                self.release(job)
                continue
            for one in [one for one in job.encodings if job.has_encoded and one.done]:
                if one.error is not None:
                    yield job, one.error
                    break
                job.encoded[one.digest] = one.vectors

    def encode(self, jobs: Collection[GenerationJob], *, is_idle: bool) -> None:
        """Encode what waits beside *jobs* that wait for no image; without such, here and alone.

        If there are some, their steps go on. If not, what can be evaluated before an image is, and
        then (*is_idle*) the image is encoded on this thread.
        """
        if not self._encoder.is_waiting:
            return
        if any(job.pending is not None or not job.encodings for job in jobs):
            self._encoder.begin()
        elif is_idle:
            self._encoder.encode_next()

    def forget(self, owner: str | None) -> None:
        """Keep no image of *owner*'s requests, or of any."""
        self._encoder.forget(owner)

    def release(self, job: GenerationJob) -> None:
        """Note that *job* needs no image any more."""
        job.encoded.clear()
        while job.encodings:
            self._encoder.release(job.encodings.pop())
