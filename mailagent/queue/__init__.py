"""Durable outbound work: what waits, who has it in hand, and what came of it."""
