"""The demo: a real cluster in trouble on its head node, and out of it again, with a report of what was measured."""
