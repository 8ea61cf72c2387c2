"""The dashboards as code: `grafana/build` writes them to grafana/dashboards/."""
