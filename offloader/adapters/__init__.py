"""The shell around the pure core: implementations of `ports`, each around one library or kernel interface."""
