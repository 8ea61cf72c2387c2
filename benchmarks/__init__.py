"""Where the project's performance claims come from: one command each, see README.md in this folder."""
