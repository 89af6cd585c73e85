"""Videos -> an audio-visual data set in the form of the paper's AV-10 (Sec. 4, Fig. 7).

A video goes through acquire, cut, measure, tag; then all clips together through select, split, write.
"""
