"""Many recordings, or long ones: where they come from, who classifies them, and how predictions are written."""
