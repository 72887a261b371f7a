"""Session processes: several that serve the same listeners, and the one that owns the queue and looks after them."""
