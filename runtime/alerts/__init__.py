"""Alerts: which appearances are worth a message, by rules of the configuration (docs/alerts.md)."""
