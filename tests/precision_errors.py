"""Prints how each precision changes the weights of a training; the rounding of tensor cores is imitated on the CPU.

python tests/precision_errors.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

if __name__ == "__main__":
    from stand_in_gpu import install

    install()
    import on_gpu

    on_gpu.check_precision("cupy")
