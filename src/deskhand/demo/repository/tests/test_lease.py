from datetime import date

from rentbook.lease import Lease


def test_rent_is_due_on_the_same_day_of_every_month():
    lease = Lease(date(2026, 1, 5), 950)
    assert lease.due_dates(3) == [date(2026, 1, 5), date(2026, 2, 5), date(2026, 3, 5)]


def test_rent_due_on_the_31st_is_due_on_the_31st_again_after_february():
    lease = Lease(date(2026, 1, 31), 950)
    assert lease.due_dates(4) == [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30)]


def test_two_months_are_owed_after_two_due_dates():
    lease = Lease(date(2026, 1, 5), 950)
    assert lease.owed(date(2026, 2, 20), paid=0) == 1900


def test_march_is_not_owed_before_its_last_day():
    lease = Lease(date(2026, 1, 31), 950)
    assert lease.owed(date(2026, 3, 30), paid=1900) == 0
    assert lease.owed(date(2026, 3, 31), paid=1900) == 950
