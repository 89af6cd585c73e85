"""Recordings heard in this process, one after another or side by side in threads.

onnxruntime and the decoders let go of Python's lock, so threads fill all cores. Each thread hears a recording of its
own and the network uses one core for it: how many cores add up a sum can change its last bits, and an answer must not
depend on how many recordings are heard at a time.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from avgan.archive.engines import Answer, Hearing, Task
from avgan.archive.sources import Recording
from avgan.runtime.model import Model
from avgan.runtime.prediction import Prediction, WindowPrediction

MAX_BLOCKS = 8
MAX_BEGUN = 1024
"""Recordings begun and not yet handed out: as many short ones need not wait for a long one before them."""
MAX_WAITING = 65_536
"""Windows, about 1 kB each, that wait for the recordings before theirs to be handed out."""
MIN_WAITING = 256
"""Windows of the recording whose turn it is that may wait in any case, or nothing would go on."""


def hear_in_turn(
    model: Model, task: Task, recordings: Sequence[Recording]
) -> Generator[Answer, None, None]:
    """One after another; parts of each side by side where the model has several threads."""
    for recording in recordings:
        yield Hearing(model, recording, task)


def hear_in_threads(
    model: Model, task: Task, recordings: Sequence[Recording], *, num_threads: int
) -> Generator[Answer, None, None]:
    """So many side by side; what is heard ahead of its turn waits, in bounded memory."""
    crew = _Crew(model, task, recordings)
    threads = [threading.Thread(target=crew.work) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        for _ in recordings:
            yield crew.first()
            crew.drop_first()
    finally:
        crew.stop()
        for thread in threads:
            thread.join()


class _StoppedError(Exception):
    """Ends a thread whose work nobody waits for any more."""


class _Waiting:
    """The answer for one recording: its windows on their way from the thread that hears it to the caller's."""

    def __init__(self, crew: "_Crew", number: int) -> None:
        self._crew = crew
        self.number = number
        self.windows: list[WindowPrediction] = []
        self.result: Prediction | Exception | None = None

    def __iter__(self) -> Iterator[WindowPrediction]:
        while windows := self._crew.fetch(self):
            yield from windows
        if isinstance(self.result, Exception):
            raise self.result

    def conclude(self) -> Prediction:
        assert isinstance(self.result, Prediction), "conclude before the last window"
        return self.result


class _Crew:
    """Threads that hear recordings, and what they have heard that waits for its turn."""

    def __init__(self, model: Model, task: Task, recordings: Sequence[Recording]) -> None:
        self._model = model
        self._recordings = recordings
        self._task = task
        self._changed = threading.Condition()
        self._begun: deque[_Waiting] = deque()  # the first is the one whose turn it is
        self._num_begun = 0
        self._num_waiting = 0  # windows of all of them
        self._stopped = False

    def work(self) -> None:
        """Hear recordings until there are none left: the body of a thread."""
        try:
            while (answer := self._begin()) is not None:
                self._hear(answer)
        except _StoppedError:
            pass

    def first(self) -> _Waiting:
        """The answer whose turn it is."""
        with self._changed:
            self._wait(lambda: bool(self._begun))
            return self._begun[0]

    def fetch(self, answer: _Waiting) -> list[WindowPrediction]:
        """Windows that follow in the answer whose turn it is; none at its end."""
        with self._changed:
            self._wait(lambda: bool(answer.windows) or answer.result is not None)
            windows, answer.windows = answer.windows, []
            self._num_waiting -= len(windows)
            self._changed.notify_all()
            return windows

    def drop_first(self) -> None:
        """The answer whose turn it was has been handed out."""
        with self._changed:
            self._begun.popleft()
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _begin(self) -> _Waiting | None:
        with self._changed:
            self._wait(lambda: len(self._begun) < MAX_BEGUN)
            if self._num_begun == len(self._recordings):
                return None
            answer = _Waiting(self, self._num_begun)
            self._begun.append(answer)
            self._num_begun += 1
            self._changed.notify_all()
            return answer

    def _hear(self, answer: _Waiting) -> None:
        hearing = Hearing(self._model, self._recordings[answer.number], self._task)
        result: Prediction | Exception
        try:
            for window in hearing:
                self._put(answer, window)
            result = hearing.conclude()
        except _StoppedError:
            raise
        except Exception as error:  # whatever it is, the caller is to deal with it
            # Without its frames, which would hold the file open until the garbage collector comes.
            result = error.with_traceback(None)
        with self._changed:
            answer.result = result
            self._changed.notify_all()

    def _put(self, answer: _Waiting, window: WindowPrediction) -> None:
        with self._changed:
            self._wait(
                lambda: (
                    self._num_waiting < MAX_WAITING
                    or (answer is self._begun[0] and len(answer.windows) < MIN_WAITING)
                )
            )
            answer.windows.append(window)
            self._num_waiting += 1
            if answer is self._begun[0]:
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._stopped or ready())
        if self._stopped:
            raise _StoppedError
