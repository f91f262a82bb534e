"""Commands that measure attribution methods."""
