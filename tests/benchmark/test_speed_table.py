from captum_heta.benchmark.speed_table import Row, table


def test_scaled_times_are_marked():
    assert table({8: [Row("naive", 2.0, whole=False)]}).splitlines()[-1] == "| 8 | naive | ~2 |  |  |"


def test_rates_are_no_seconds():
    row = Row("arithmetic rate of exact", 61.7, True, 0.5, "of a matrix product's (GFLOP/s)")
    assert "| 8 | arithmetic rate of exact | 62 GFLOP/s | 0.50 |" in table({8: [row]})
    row.whole = False
    assert "| ~62 GFLOP/s |" in table({8: [row]})


def test_columns_are_there_where_a_row_has_something():
    rows = [Row("a", 1.25, True, 12.3, "of b", products=16, skipped=0), Row("c", 0.00123)]
    assert table({8: rows}).splitlines() == [
        "| tokens | part | seconds | ratio | | products | skipped |",
        "|---:|---|---:|---:|---|---:|---:|",
        "| 8 | a | 1.25 | 12 | of b | 16 | 0 |",
        "| 8 | c | 0.00123 |  |  |  |  |",
    ]
    assert "| MiB more |" in table({8: [Row("a", 1.0, memory=3.6)], 9: [Row("a", 1.0)]})
