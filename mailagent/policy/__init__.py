"""Verdicts about clients and what they send: here, who has failed to log in too often."""
