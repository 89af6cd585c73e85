"""Many recordings, or long ones: where they come from, who hears them, and how answers are written."""
