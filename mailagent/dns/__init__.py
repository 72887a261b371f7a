"""The resolver everybody shares: what the DNS says, bounded in time, threads and memory."""
