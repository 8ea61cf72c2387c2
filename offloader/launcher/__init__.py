"""The one program that acts on nodes: standard library only, copied to each node as one file."""
