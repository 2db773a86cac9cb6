"""Who is known: people and their samples in SQLite, the search index, encryption and backups."""
