"""How well a bundle is calibrated: what it refuses to answer, and whether its probabilities are true."""
