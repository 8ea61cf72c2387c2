"""What a scrape of the exporter costs, beside node_exporter and process-exporter on the same node."""
