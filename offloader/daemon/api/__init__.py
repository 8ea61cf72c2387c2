"""The controller's interface to the outside: HTTP over a unix socket for people, a TCP listener for Prometheus."""
