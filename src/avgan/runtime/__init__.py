"""The light half: a model bundle and a recording give a prediction, with numpy and onnxruntime only."""

from avgan.runtime.bundle import Bundle, Card, installed
from avgan.runtime.model import Model, load
from avgan.runtime.prediction import Prediction, WindowPrediction

__all__ = ["Bundle", "Card", "Model", "Prediction", "WindowPrediction", "installed", "load"]
