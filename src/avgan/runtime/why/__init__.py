"""Why an answer was given: the part of the sound that made it, and what in training looks like it."""

from avgan.runtime.why.explanation import Explainer, Explanation, Stretch

__all__ = ["Explainer", "Explanation", "Stretch"]
