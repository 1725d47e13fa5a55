"""What a kernel's text is once it has patched itself, without booting it."""

from pvspec.prediction.predict import Prediction, Site, predict

__all__ = ["Prediction", "Site", "predict"]
