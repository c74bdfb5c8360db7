"""How we get along with other plugins; each integration is a plugin on our own hooks."""
