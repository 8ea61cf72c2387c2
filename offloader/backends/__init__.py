"""Where moved work runs: one backend per file, all of one shape."""
