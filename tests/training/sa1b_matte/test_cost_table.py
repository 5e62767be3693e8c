"""The table of costs: hours are labels / rate, money is for all GPUs, disk is sizes times counts."""

import pytest

from training.sa1b_matte.cost import Workload, cost_table, main
from zim.errors import ConfigError


def test_numbers_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    load = Workload(name="ten", images=1_000_000, labels=7_200_000)
    table = cost_table(200, price=3.0, gpus=(1, 8), workloads=[load], jpg_bytes=400_000, matte_bytes=5_000)
    # 7.2 M / 200 = 36,000 s = 10 h; 10 x 3 = 30; 1 M x 0.4 MB + 7.2 M x 5 kB = 436 GB
    assert table.splitlines()[-1] == "| ten | 1,000,000 | 7,200,000 | 436 GB | 10.0 h, 30 | 1.2 h, 30 |"
    assert main(["--rate", "500"]) == 0
    printed = capsys.readouterr().out
    assert "| 1% of SA-1B | 110,000 | 2,200,000 |" in printed and "1.2 h | 0.2 h |" in printed
    assert "| 11,000,000 | 220,000,000 |" in printed and "5.1 days" in printed  # 220 M / 500 / 86,400


def test_impossible_rates_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="rate, price, gpus"):
        cost_table(0)
    assert main(["--rate", "-1"]) == 1 and "cost: error" in capsys.readouterr().err
