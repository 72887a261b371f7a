"""One module for each step, each of which changes one table that is in use: who waits for two can be in others' way."""
