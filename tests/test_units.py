from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdscope import units
from fwdscope.units import Figure


@pytest.mark.core
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (128, "128"),
        (999, "999"),
        (1000, "1.00 K"),
        (9_408, "9.41 K"),
        (75_008, "75.0 K"),
        (25_557_032, "25.6 M"),
        (117_964_800, "118 M"),
        (4_089_184_256, "4.09 G"),
        (405_853_388_800, "406 G"),
        (999_499, "999 K"),
        (999_500, "1.00 M"),  # not "1000 K"
        (9_996, "10.0 K"),  # not "10.00 K"
        (-1500, "-1.50 K"),
        (10**34, "1.00e34"),
    ],
)
def test_a_count_has_three_significant_digits(value: int, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (102_228_128, "97.5 MiB"),
        (1023.7 * 1024, "1.00 MiB"),  # not "1024 KiB"
        (551 * 2**30, "551 GiB"),
    ],
)
def test_bytes_are_in_powers_of_1024(value: float, text: str) -> None:
    assert units.byte_size(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.163, "16.3 %"), (1, "100.0 %"), (0, "0.0 %"), (1e-9, "<0.1 %"), (1 - 1e-9, ">99.9 %"), (0.0005, "0.1 %")],
)
def test_a_share_never_rounds_to_nothing_nor_to_all(fraction: float, text: str) -> None:
    assert units.share(fraction) == text


def test_shapes_are_written_as_python_does_and_bare_in_tables() -> None:
    assert units.shape((1, 64, 112, 112)) == "(1, 64, 112, 112)"
    assert units.shape((5,)) == "(5,)"
    assert units.shape_cell((1, 64, 112, 112)) == "1 64 112 112"
    assert units.shape_cell(()) == "()"


def test_a_column_of_counts_is_exact_while_it_fits_and_zero_is_empty() -> None:
    assert units.count_column([9_408, 0, 405_853_388_800]) == ["9,408", "", "405,853,388,800"]
    assert units.count_column([]) == []


def test_a_column_too_wide_to_be_exact_aligns_points_and_units() -> None:
    cells = units.count_column([1_800_000_000_000, 144_000_000_000, 16_384, 128, 0])
    assert [cell.rjust(9) for cell in cells] == [
        "   1.80 T",
        " 144    G",
        "  16.4  K",
        " 128     ",
        "         ",
    ]


@pytest.mark.parametrize(
    ("values", "digits", "texts"),
    [
        # The smallest is less than a tenth of the largest one's unit: one unit below.
        ([118_013_952, 1_468_006_400, 2_048_000, 0], 5, ["118.0 M", "1,468.0 M", "2.0 M", ""]),
        ([118_013_952, 1_468_006_400, 2_048_000, 0], 4, ["118 M", "1,468 M", "2 M", ""]),
        ([102_330_531_840, 603_979_776], 5, ["102.33 G", "0.60 G"]),
        ([38_597_376, 1_536], 4, ["38.60 M", "<0.01 M"]),
        ([999_999], 5, ["1.00 M"]),
        ([128, 9], 5, ["128", "9"]),
        ([0, 0], 5, ["", ""]),
        ([], 5, []),
    ],
)
def test_counts_in_one_unit_have_lengths_that_tell_their_size(values: list, digits: int, texts: list) -> None:
    assert units.shared_counts(values, digits) == texts


@given(st.lists(st.integers(0, 10**18), max_size=8), st.integers(4, 6))
def test_a_column_in_one_unit_is_never_nothing_for_something(values: list[int], digits: int) -> None:
    texts = units.shared_counts(values, digits)
    assert [bool(text) for text in texts] == [bool(value) for value in values]
    assert len({text.partition(" ")[2] for text in texts if text}) <= 1
    assert "0" not in {text.partition(" ")[0] for text in texts}


def test_bytes_share_a_unit_too() -> None:
    assert units.shared_bytes([3 * 2**20, 1000, 2**30]) == ["3.0 MiB", "<0.1 MiB", "1,024.0 MiB"]


def test_a_sum_of_bytes_has_its_parts_in_its_unit() -> None:
    parts = [("weights", 102_228_128), ("buffers", 1000), ("inputs", 0), ("activations", 25 * 2**20)]
    whole = sum(size for _, size in parts)
    assert units.byte_sum(whole, parts) == "122 MiB (weights 97.5, buffers <0.01, activations 25.0)"
    assert units.byte_sum(12, [("weights", 12)]) == "12 B (weights 12)"
    assert units.byte_sum(0, [("weights", 0)]) == "0 B"


def test_decimals_line_up_and_nothing_is_empty() -> None:
    assert units.decimal_column([1234.56, 0.01, 0.25, 0, None]) == ["1,234.6", "<0.1", "0.2", "", ""]


def test_plural_counts_one_alone() -> None:
    assert [units.plural(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a figure is missing"),
        ("<=", "a number is missing"),
        ("25,557,032", "has commas: write 25_557_032"),
        ("1e9", "has an exponent"),
        ("8B", "may mean bytes or billions"),
        ("4 mib", "unknown unit 'mib' in '4 mib': did you mean MiB?"),
        ("4 apples", "known are K M G T, KiB MiB GiB TiB"),
        ("about 4", "'about 4' is no number; numbers look like 25_557_032, 4.09G or 250 MiB"),
        ("1__0", "is no number"),
        ("-3", "is no number"),
        ("5 MiB +- 3", "mixes two kinds of units"),
    ],
)
def test_a_text_that_is_no_figure_raises_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Figure.parse(text)
    assert message in str(caught.value)


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("25_557_032", [25_557_032], [25_557_031, 25_557_033]),
        ("0", [0], [1]),
        # 4.09G is 4.085G up to 4.095G, both ends in: halves may round either way.
        ("4.09G", [4_085_000_000, 4_089_184_256, 4_095_000_000], [4_084_999_999, 4_095_000_001]),
        ("4G", [3_500_000_000, 4_499_999_999], [3_499_999_999, 4_500_000_001]),
        ("4.00G", [4_004_000_000], [4_006_000_000]),
        ("97.5 MiB", [102_228_128], [97_500_000]),
        ("4.5", [4.46, 4.55], [4.56]),
        ("100 +- 5", [95, 100, 105], [94, 106]),
        ("1M +- 1K", [999_000, 1_001_000], [998_999, 1_001_001]),
        ("100 +- 5%", [95, 105], [94.9, 105.1]),
        ("100 ± 5 %", [95, 105], [94.9, 105.1]),
        ("<= 250 MiB", [0, 250 * 2**20], [250 * 2**20 + 1]),
        (">= 10", [10, 11], [9]),
        ("< 10", [9], [10]),
        (">10", [11], [10]),
        ("≤ 10", [10], [11]),
        ("40 ms", [0.0395, 0.0404], [0.0394, 0.0406]),
    ],
)
def test_a_figure_holds_inside_what_it_states_and_not_outside(text: str, inside: list, outside: list) -> None:
    figure = Figure.parse(text)
    assert [value for value in inside if not figure.holds(value)] == []
    assert [value for value in outside if figure.holds(value)] == []


def test_a_figure_knows_what_it_measures() -> None:
    assert [Figure.parse(text).measure for text in ("4", "4G", "<= 4 MiB", "4 ms +- 1 ms")] == [
        None,
        None,
        "bytes",
        "seconds",
    ]


def test_no_figure_holds_for_what_is_no_number() -> None:
    assert not Figure.parse(">= 0").holds(float("nan"))
    assert not Figure.parse(">= 0").holds(float("inf"))


@given(st.integers(0, 10**20))
def test_every_whole_number_holds_for_itself_alone(value: int) -> None:
    figure = Figure.parse(f"{value:_}")
    assert figure.holds(value)
    assert not figure.holds(value + 1)
    assert not figure.holds(value - 1)


@given(st.integers(1, 10**15))
def test_a_rounded_count_holds_for_what_it_was_rounded_from(value: int) -> None:
    figure = Figure.parse(units.count(value))
    assert figure.holds(value)


# --- times and values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 ns"), (8.5e-7, "850 ns"), (1.2e-5, "12.0 µs"), (0.0123, "12.3 ms"), (1.0, "1.00 s"), (4000.0, "4000 s")],
)
def test_a_time_in_three_digits(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.core
def test_times_under_one_another_share_a_unit() -> None:
    assert units.shared_seconds([0.0345, 3e-6, 0.0]) == ["34.50 ms", "<0.01 ms", ""]
    assert units.shared_seconds([1.2e-3, 3e-6]) == ["1,200 µs", "3 µs"]
    assert units.shared_seconds([3.204, 0.0268]) == ["3,204 ms", "27 ms"]


def test_times_that_one_unit_would_hide_have_their_own() -> None:
    assert units.shared_seconds([3.2, 2.68e-4, 9e-8, 0.0]) == ["3.20  s", "268 µs", "90 ns", ""]
    # Of two one is told: the other is small, which is what matters.
    assert units.shared_seconds([3.2, 2.68e-4]) == ["3,200 ms", "<1 ms"]


@pytest.mark.parametrize(("value", "text"), [(9.89e14, "989 TFLOP/s"), (512, "512 FLOP/s"), (0, "0 FLOP/s")])
def test_a_prefix_stands_before_its_unit(value: float, text: str) -> None:
    assert units.measure(value, "FLOP/s") == text


def test_a_column_of_zeros_needs_no_decimals() -> None:
    assert units.value_column([0.0, None, 0.0]) == ["0.0", "", "0.0"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0123, "−0.0123"),
        (0.5, "0.500"),
        (1.5, "1.50"),
        (-88.72, "−88.7"),
        (65504.0, "65,504"),
        (1.23e-8, "1.23e−8"),
        (-3.4e38, "−3.40e38"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (float("nan"), "NaN"),
    ],
)
def test_a_value_of_a_tensor(number: float, text: str) -> None:
    assert units.value(number) == text


def test_values_under_one_another_have_as_many_decimals() -> None:
    assert units.value_column([0.0123, -1.234, None, 12.5, 0.0]) == ["0.012", "−1.234", "", "12.500", "0.000"]
    assert units.value_column([120.0, 0.5]) == ["120.00", "0.50"]
    assert units.value_column([0.02, 0.00123]) == ["0.0200", "0.0012"]
    assert units.value_column([-1.234, 12.5], fewer=1) == ["−1.23", "12.50"]


def test_what_a_column_s_decimals_would_hide_has_an_exponent() -> None:
    assert units.value_column([1.5, 2e-5, 3.2e7, float("inf")]) == ["1.500", "2.0e−5", "3.2e7", "∞"]
    # Beside a spread of 1 a mean of 1e-9 is nothing; beside one of 1e-8 it is something.
    assert units.value_column([1.5, -1e-9, 1e-9], [1.0, 1.0, 1e-8]) == ["1.500", "0.000", "1.0e−9"]
