"""Durable local delivery: staging, publishing, power-cut-proof order."""
