"""The slow, obviously right reference of each term, and small models to try things on."""
