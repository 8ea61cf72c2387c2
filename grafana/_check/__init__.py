"""The checker of dashboards: `grafana/check`."""
