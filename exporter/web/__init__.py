"""HTTP for the exporter: connections, TLS, passwords, and the web configuration file that turns the latter two on."""
