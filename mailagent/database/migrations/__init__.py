"""The steps from one version's tables to the next's, for Alembic. They run when the daemon starts."""
