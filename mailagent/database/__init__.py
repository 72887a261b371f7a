"""The database: how it is opened, its tables and their migrations, one thread that writes and those that read."""
