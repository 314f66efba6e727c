"""python -m rentbook FIRST_DUE AMOUNT MONTHS"""

import sys
from datetime import date

from rentbook.lease import Lease


def main(first_due: str, amount: str, months: str) -> None:
    lease = Lease(date.fromisoformat(first_due), int(amount))
    for day in lease.due_dates(int(months)):
        print(f"{day:%a %d %b %Y}  {lease.amount:>8,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
