"""Data: one manifest row a clip, one declaration a data set, pairing, loading. No torch in here."""
