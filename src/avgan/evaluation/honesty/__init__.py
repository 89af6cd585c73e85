"""How far answers may be believed: calibration, and what a model refuses to answer."""
