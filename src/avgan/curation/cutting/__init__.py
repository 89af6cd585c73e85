"""A video -> clips with their sound and pictures, and what is measured of them."""
