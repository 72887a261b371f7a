"""The directory in the database: read, changed, and followed as others change it."""
