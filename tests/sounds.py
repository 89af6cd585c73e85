"""Files of sound, made in memory."""

import io

import av
import numpy as np
import soundfile


def encoded(samples: np.ndarray, rate_hz: int = 16_000, kind: str = "WAV", **options: str) -> bytes:
    """The bytes of a file with samples (L,) or (L, C): a format of libsndfile's, or "M4A" (AAC, mono)."""
    file = io.BytesIO()
    if kind != "M4A":
        soundfile.write(file, samples, rate_hz, format=kind, **options)
        return file.getvalue()
    with av.open(file, mode="w", format="ipod") as container:
        stream = container.add_stream("aac", rate=rate_hz, layout="mono")
        for start in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[None, start : start + 1024], np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
