from datetime import date

from rentbook.months import add_months


def test_the_day_of_the_month_stays():
    assert add_months(date(2026, 3, 15), 1) == date(2026, 4, 15)


def test_december_is_followed_by_january():
    assert add_months(date(2026, 12, 5), 1) == date(2027, 1, 5)


def test_a_short_month_gives_its_last_day():
    assert add_months(date(2026, 1, 31), 1) == date(2026, 2, 28)
    assert add_months(date(2028, 1, 31), 1) == date(2028, 2, 29)
