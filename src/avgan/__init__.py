"""avgan hears a place and pictures it: a recording in, its scene and an imagined picture out.

>>> import avgan
>>> model = avgan.load()                          # the shipped bundle; no torch needed
>>> prediction = model.classify("street.wav")     # doctest: +SKIP
>>> prediction.scene, prediction.picture.shape    # doctest: +SKIP
('street_traffic', (128, 128, 3))

Importing this package is fast and silent: what is heavy is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avgan.errors import AvganError
    from avgan.runtime import Model, Prediction, load

__version__ = "0.1.0"
__all__ = ["AvganError", "Model", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in {"Model", "Prediction", "load"}:
        from avgan import runtime

        return getattr(runtime, name)
    if name == "AvganError":
        from avgan.errors import AvganError

        return AvganError
    raise AttributeError(f"module 'avgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
