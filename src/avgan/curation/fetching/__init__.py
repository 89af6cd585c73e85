"""Videos behind addresses, brought here."""
