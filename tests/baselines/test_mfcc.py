"""The three classifiers on cepstral coefficients."""

from collections.abc import Callable

import librosa
import numpy as np
import pytest
from easy_sounds import easy_clips

from avgan.baselines import mfcc
from avgan.baselines.method import Budget

MAKERS = [mfcc.svm, mfcc.forest, mfcc.neighbours]


@pytest.mark.parametrize("make", MAKERS)
def test_it_learns_tones_from_noise_from_clicks(make: Callable[[], mfcc.MFCCRival]) -> None:
    rival, test = make(), easy_clips(6, seed=1)
    rival.fit(easy_clips(10), budget=Budget(), rng=np.random.default_rng(1))
    answers = rival.predict(test)
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(test.select(np.array([3]))).shape == (1, 3)
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)
    assert rival.cost().num_parameters > 0


def test_the_26_numbers_are_librosas() -> None:
    waveforms = easy_clips(1).read(44_100)
    vectors = mfcc.describe(waveforms)
    assert vectors.shape == (3, 26)
    for waveform, vector in zip(waveforms, vectors, strict=True):
        coefficients = librosa.feature.mfcc(y=waveform, sr=44_100, n_mfcc=13)[1:]
        np.testing.assert_allclose(vector[:12], coefficients.mean(1), atol=0.05)
        np.testing.assert_allclose(vector[13:25], coefficients.std(1), atol=0.05)
        crossings = librosa.feature.zero_crossing_rate(waveform, frame_length=512)
        np.testing.assert_allclose(vector[12], crossings.mean(), atol=0.003)


def test_a_label_without_clips_gets_nothing() -> None:
    clips = easy_clips(6)
    rival = mfcc.svm()
    rival.fit(clips.select(np.flatnonzero(clips.targets != 1)), budget=Budget(), rng=np.random.default_rng(0))
    assert not rival.predict(clips)[:, 1].any()
