"""What an exporter says, read by the reference library."""

from prometheus_client.parser import text_string_to_metric_families


def samples_of(text):
    """Value by metric name and label values, these in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
