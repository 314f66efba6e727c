"""A lease: its due dates, and what is owed on a given day."""

from dataclasses import dataclass
from datetime import date

from rentbook.months import add_months


@dataclass(frozen=True)
class Lease:
    """Rent of `amount`, due on `first_due` and then monthly."""

    first_due: date
    amount: int

    def due_dates(self, count: int) -> list[date]:
        """Return the first `count` due dates."""
        dates = []
        due = self.first_due
        for _ in range(count):
            dates.append(due)
            due = add_months(due, 1)
        return dates

    def owed(self, today: date, paid: int) -> int:
        """Return what is owed today, after payments of `paid`; below zero where too much was paid."""
        months = (today.year - self.first_due.year) * 12 + today.month - self.first_due.month + 1
        fallen_due = [day for day in self.due_dates(months) if day <= today]
        return len(fallen_due) * self.amount - paid
