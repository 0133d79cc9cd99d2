"""The plugin that core finds."""
