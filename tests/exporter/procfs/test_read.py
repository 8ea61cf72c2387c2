import pytest

from exporter.procfs.read import natural, read_optional


def test_absent_is_none_and_broken_is_an_error(tmp_path):
    """A kernel without a file is normal; a directory in its place, or a disk that fails, is not."""
    (tmp_path / "file").write_text("x")
    assert read_optional(tmp_path / "file") == "x"
    assert read_optional(tmp_path / "none") is None
    assert read_optional(tmp_path / "file" / "below") is None
    with pytest.raises(IsADirectoryError):
        read_optional(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        read_optional("/proc/self/mem")  # address 0 is not mapped


@pytest.mark.parametrize("word", ["", "-1", "+1", " 1", "1_0", "0x1", "\u0665", "1.0", "nan", "9" * 21])
def test_numbers_are_as_the_kernel_writes_them(word):
    """int() takes more than that, and a number without end."""
    with pytest.raises(ValueError, match="no number"):
        natural(word)
    assert natural(str(2**64 - 1)) == natural(str(2**64 - 1).encode()) == 2**64 - 1
