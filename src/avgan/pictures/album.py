"""What long recordings look like, as files: for each its picture, and a folder of pictures, strip and film."""

import re
from contextlib import suppress
from pathlib import Path

from avgan.archive.batch import PICTURE_SCALE, FileNames, Sink, save_pictures
from avgan.archive.sources import Recording
from avgan.errors import AudioError
from avgan.images import to_png
from avgan.pictures.film import write_film
from avgan.pictures.strip import write_strip
from avgan.pictures.thinning import Thinning
from avgan.runtime.drawing import imagined, plain
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.timeline import segments
from avgan.runtime.wording import clock

STRIP, FILM = "strip.png", "film.mp4"
_PICTURE = re.compile(r"\d{4} [\d.]+ .+\.png")


class Album(Sink):
    """Writes the picture of each recording as `NAME.png` and, where it is longer than a window, a folder `NAME`.

    In it are `strip.png`, `film.mp4`, and the picture of each stretch of one scene: `0001 0.00 SCENE.png`, by number
    and start. Of a recording of any length at most 1500 windows are held, and at most so many pictures written.
    """

    def __init__(self, folder: Path, names: FileNames | None = None, *, num_pictures: int = 1) -> None:
        self._folder = folder
        self._num_pictures = num_pictures
        self._names = names or FileNames()
        self._recording = Recording("", b"")
        self._windows = Thinning()

    def begin(self, recording: Recording) -> None:
        self._recording = recording
        self._windows = Thinning()

    def window(self, window: WindowPrediction) -> None:
        self._windows.add(window)

    def end(self, prediction: Prediction) -> None:
        name = self._names.of(self._recording.name)
        save_pictures(prediction, self._folder, name, self._num_pictures)
        windows, duration_s, decode = self._windows, prediction.duration_s, prediction.decode
        if len(windows.windows()) < 2:
            return
        folder = self._folder / name
        self._write_pictures(folder, prediction)
        began = self._recording.recorded_at
        write_strip(folder / STRIP, windows, duration_s, decode=decode, began=began)
        try:
            source, track = self._recording.source, self._recording.track
            write_film(folder / FILM, windows, duration_s, decode=decode, source=source, track=track)
        except AudioError:  # a pipe, which cannot be read again
            write_film(folder / FILM, windows, duration_s, decode=decode)

    def _write_pictures(self, folder: Path, prediction: Prediction) -> None:
        """The pictures of the stretches, in place of those that an earlier run has left there."""
        written = set()
        for number, stretch in enumerate(segments(self._windows.windows()), 1):
            start = clock(int(stretch.start_s)).replace(":", ".")
            scene = re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", plain(stretch.answer))[:60]
            path = folder / f"{number:04} {start} {scene}.png"
            to_png(imagined(stretch, prediction.decode), path, PICTURE_SCALE)
            written.add(path.name)
        for old in folder.iterdir():
            if _PICTURE.fullmatch(old.name) and old.name not in written:
                with suppress(OSError):
                    old.unlink()
