"""Text with units: what is read, what is refused, and that what is shown can be read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.config.units import duration_text, parse_duration, parse_ratio, parse_size, ratio_text, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h30m", 5400), ("1d", 86400), ("1w", 604800), ("90s", 90)],
)
def test_durations_are_prometheus_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "1.5m", "2 m", "m", "30m1h", "1m1m", "-1s", "1M", "1:30", "٣s", "1s\n", "s" * 99]
)
def test_what_is_no_duration_is_refused_with_how_one_looks(text):
    with pytest.raises(ValueError, match="no duration; write it as in"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "ratio"), [("70%", 0.7), ("0.7", 0.7), ("0", 0), ("1", 1), ("100%", 1), ("65.5 %", 0.655)]
)
def test_ratios_as_percent_or_fraction(text, ratio):
    assert parse_ratio(text) == pytest.approx(ratio)


def test_a_bare_number_above_one_is_no_ratio_because_70_might_mean_either():
    with pytest.raises(ValueError, match="write 70% if percent is meant"):
        parse_ratio("70")
    assert parse_ratio("70", bare_percent=True) == pytest.approx(0.7)


@pytest.mark.parametrize("text", ["", "%", "-5%", "nan", "inf", "101%", "1e9%", "7O%"])
def test_nonsense_is_no_ratio(text):
    with pytest.raises(ValueError, match=r"no ratio|above"):
        parse_ratio(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("2GiB", 2 << 30), ("2GB", 2_000_000_000), ("1.5 GB", 1_500_000_000), ("512MiB", 512 << 20)],
)
def test_sizes_tell_powers_of_ten_from_powers_of_two(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "2", "2G", "GiB", "2 gib", "-1GB", "1e3B", "2GiBs"])
def test_sizes_without_a_known_unit_are_refused(text):
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**10))
def test_shown_durations_read_back(milliseconds):
    assert round(parse_duration(duration_text(milliseconds / 1000)) * 1000) == milliseconds


@given(st.integers(min_value=0, max_value=10**15))
def test_shown_sizes_read_back(count):
    assert parse_size(size_text(count)) == count


@given(st.integers(min_value=0, max_value=1000))
def test_shown_ratios_read_back(thousandths):
    assert parse_ratio(ratio_text(thousandths / 1000)) == pytest.approx(thousandths / 1000)
