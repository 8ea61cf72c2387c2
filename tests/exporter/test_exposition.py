"""Both exposition formats, read back and compared with what the reference library writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as reference
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics_reference
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.exposition import Family, Format, encode, group, negotiate
from exporter.metrics import Kind, Metric, label_text

GAUGE = Metric("grid_test_bytes", Kind.GAUGE, "Bytes, a \\ and\na line feed.", "bytes", ("pid", "comm"))
COUNTER = Metric("grid_test_seconds_total", Kind.COUNTER, "Seconds.", "seconds", ("mode",))
INFO = Metric("grid_test_info", Kind.INFO, "Always 1.", "none", ("version",))
METRICS = (GAUGE, COUNTER, INFO)

values = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))


class Expected:
    """The same samples as the reference library's families."""

    def __init__(self, samples):
        self.samples = samples

    def collect(self):
        gauge = GaugeMetricFamily(GAUGE.name, GAUGE.help, labels=GAUGE.labels)
        counter = CounterMetricFamily("grid_test_seconds", COUNTER.help, labels=COUNTER.labels)
        info = InfoMetricFamily("grid_test", INFO.help)
        for metric, value, labels in self.samples:
            if metric is GAUGE:
                gauge.add_metric(labels, value)
            elif metric is COUNTER:
                counter.add_metric(labels, value)
            else:
                info.add_metric([], {"version": labels[0]})
        return [family for family in (gauge, counter, info) if family.samples]


@st.composite
def samples(draw):
    metric = draw(st.sampled_from(METRICS))
    value = 1.0 if metric is INFO else abs(draw(values)) if metric is COUNTER else draw(values)
    return metric, value, tuple(draw(texts) for _ in metric.labels)


def _read(families):
    return [
        (family.name, family.type, family.documentation, sample.name, sample.labels, sample.value)
        for family in families
        for sample in family.samples
    ]


@given(st.lists(samples(), max_size=6, unique_by=lambda sample: (sample[0].name, sample[2])))
def test_both_formats_say_what_the_reference_library_says(drawn):
    """Whatever the values and the label texts are."""
    families = group(METRICS, [metric.sample(value, *labels) for metric, value, labels in drawn])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Expected(drawn))
    text = encode(families, Format.TEXT).decode()
    assert _read(parse_text(text)) == _read(parse_text(reference.generate_latest(registry).decode()))
    openmetrics = encode(families, Format.OPENMETRICS).decode()
    expected = openmetrics_reference.generate_latest(registry).decode()
    assert _read(parse_openmetrics(openmetrics)) == _read(parse_openmetrics(expected))


def test_a_family_without_samples_is_left_out():
    assert group(METRICS, [COUNTER.sample(1, "user")]) == [Family(COUNTER, [COUNTER.sample(1, "user")])]


def test_large_and_tiny_values_keep_their_precision():
    """A counter of bytes beyond 2^53, and a ratio far below 1."""
    lines = encode(group(METRICS, [COUNTER.sample(2.0**60, "a"), COUNTER.sample(1e-7, "b")]), Format.TEXT).decode()
    assert [float(line.split()[-1]) for line in lines.splitlines() if line[0] != "#"] == [2.0**60, 1e-7]


def test_wrong_number_of_labels_is_a_mistake_that_shows():
    with pytest.raises(ValueError, match="takes the labels"):
        GAUGE.sample(1, "12")


@given(st.binary(max_size=16))
def test_a_command_name_of_any_bytes_becomes_a_label(raw):
    """man 2 prctl: any byte but NUL."""
    name = label_text(raw.decode("utf-8", "surrogateescape"))
    text = encode(group(METRICS, [GAUGE.sample(1, "1", name)]), Format.TEXT).decode()
    assert [sample.labels["comm"] for family in parse_text(text) for sample in family.samples] == [name]
    assert name.isprintable()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format.OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", Format.TEXT),
        ("application/openmetrics-text;q=0.2,text/plain", Format.TEXT),
        ("application/openmetrics-text;q=0,*/*", Format.TEXT),
        ("application/openmetrics-text;q=much", Format.TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", Format.TEXT),
    ],
)
def test_the_format_that_is_asked_for(accept, wanted):
    """What Prometheus 2 and 3, curl and browsers send."""
    assert negotiate(accept) is wanted
