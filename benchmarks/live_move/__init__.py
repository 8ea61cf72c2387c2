"""How long a program stands still in a live move, beside the same steps done by hand with criu in the same run."""
