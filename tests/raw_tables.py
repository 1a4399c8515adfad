"""Tables as people have them: ids, names, dates, blanks and stray texts.  All are made from a seed."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path
from typing import Any

import numpy as np

FIRST = ("John", "William", "Mary", "Anna", "Karl", "Ida", "Owen", "Emma", "Hilda", "Jean")
LAST = ("Braund", "Cumings", "Heikkinen", "Allen", "Moran", "Palsson", "Nasser", "Sandström", "O'Dwyer", "Rice")


def titanic(path: Path, n: int = 600) -> Path:
    """Passengers: a row number, names, tickets, cabins that are mostly missing, and who survived (0 or 1)."""
    rng = np.random.default_rng(0)
    rows: list[list[Any]] = []
    for i in range(1, n + 1):
        is_female, first_class = rng.random() < 0.35, rng.random() < 0.25
        survived = rng.random() < 0.15 + 0.55 * is_female + 0.2 * first_class
        name = f'{rng.choice(LAST)}, {"Mrs" if is_female else "Mr"}. {rng.choice(FIRST)} "{i}"'
        age = "" if rng.random() < 0.2 else f"{max(0.5, rng.normal(30, 14)):.1f}".removesuffix(".0")
        cabin = f"C{rng.integers(1, 400)}" if rng.random() < 0.2 else ""
        fare = f"{rng.gamma(2, 16) * (1 + 2 * first_class):.4f}"
        port = rng.choice(["S", "C", "Q", ""], p=[0.7, 0.2, 0.09, 0.01])
        cabin_class = 1 if first_class else int(rng.integers(2, 4))
        sex = "female" if is_female else "male"
        relatives, ticket = int(rng.integers(0, 4)), f"A/5 {rng.integers(10**4, 10**6)}"
        rows.append([i, int(survived), cabin_class, name, sex, age, relatives, ticket, fare, cabin, port])
    header = ["PassengerId", "Survived", "Pclass", "Name", "Sex", "Age", "SibSp", "Ticket", "Fare", "Cabin", "Embarked"]
    return _write(path, header, rows)


def churn(path: Path, n: int = 700) -> Path:
    """Customers: ids, dates, blanks and texts among numbers, a constant, an empty column, and who left."""
    rng = np.random.default_rng(1)
    rows: list[list[Any]] = []
    for _ in range(n):
        months = int(rng.integers(0, 72))
        joined = datetime.date(2024, 6, 30) - datetime.timedelta(days=30 * months + int(rng.integers(0, 28)))
        contract = rng.choice(["Month-to-month", "One year", "Two year"], p=[0.55, 0.21, 0.24])
        charge = rng.uniform(18, 118)
        left = rng.random() < 0.03 + 0.45 * (contract == "Month-to-month") * (months < 24)
        total = " " if months == 0 else f"{months * charge:.2f}"
        customer = f"{rng.integers(1000, 9999)}-{''.join(rng.choice(list('ABCDEFGHIJKLMNOPQRSTUVWXYZ'), 5))}"
        city = f"city {int(rng.zipf(1.6)) % 300}"
        partner = rng.choice(["Yes", "No", "?"], p=[0.48, 0.5, 0.02])
        rows.append(
            [
                customer, joined.isoformat(), rng.choice(["Female", "Male"]), partner, months, contract, city, "NO",
                f"{charge:.2f}", total, "", "Yes" if left else "No",
            ]
        )  # fmt: skip
    rows[5][8] = "unknown"
    rows[9][8] = "see contract"
    header = ["customerID", "joined", "gender", "Partner", "tenure", "Contract", "city", "country", "MonthlyCharges"]
    return _write(path, [*header, "TotalCharges", "notes", "Churn"], rows)


def houses(path: Path, n: int = 500) -> Path:
    """Sold houses: an unnamed row number, times of the sale, NA, and whole prices, some of them missing."""
    rng = np.random.default_rng(2)
    rows: list[list[Any]] = []
    quarters = [f"quarter {i}" for i in range(25)]
    for i in range(n):
        area, built = int(rng.integers(40, 320)), int(rng.integers(1900, 2020))
        sold = datetime.datetime(2019, 1, 1) + datetime.timedelta(minutes=int(rng.integers(0, 4 * 365 * 24 * 60)))
        quarter = int(rng.choice(25, p=np.arange(25, 0, -1) / 325))
        price = 1500 * area + 300 * (built - 1900) + 4000 * quarter + rng.normal(0, 9000)
        garage = rng.choice(["Attchd", "Detchd", "NA"], p=[0.6, 0.25, 0.15])
        rows.append(
            [
                i, sold.isoformat(sep=" ", timespec="minutes"), area, built, quarters[quarter], garage,
                rng.choice(["true", "false"]), "" if i % 50 == 7 else round(price / 100) * 100,
            ]
        )  # fmt: skip
    return _write(path, ["", "sold", "area", "built", "quarter", "garage", "pool", "SalePrice"], rows)


def _write(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
