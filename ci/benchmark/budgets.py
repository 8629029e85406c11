"""What is measured beside what it may be."""

import tomllib
from pathlib import Path


def read():
    """Of the agent, and of the collector."""
    budgets = tomllib.loads((Path(__file__).resolve().parent / "budgets.toml").read_text())
    return budgets["agent"], budgets["collector"]


def compare(budgets, measured):
    """Prints the table of budgets; gives how many are missed."""
    missed = 0
    print(f"{'':56} measured   budget")
    for name, budget in budgets.items():
        digits = budget["digits"]
        value = round(measured[name], digits)
        if "least" in budget:
            bound, word = budget["least"], "under" if value < budget["least"] else ""
        else:
            bound, word = budget["most"], "over" if value > budget["most"] else ""
        missed += bool(word)
        numbers = f"{value:8.{digits}f} {bound:8.{digits}f} {budget['unit']:5}"
        print(f"{budget['what']:56} {numbers} {word}".rstrip())
    print(f"\n{len(budgets) - missed} of {len(budgets)} within budget")
    return missed
