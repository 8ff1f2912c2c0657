"""The configuration files that users read and edit."""
