"""Reports that overtake one another are taken in the order in which they were made."""

import threading
import time

from demos.common.event_order import EventOrder


def report(serial: object, page: object = "a") -> dict[str, object]:
    return {"kind": "point", "page": page, "serial": serial}


def test_a_later_report_waits_for_the_earlier_one() -> None:
    order = EventOrder(patience=30)
    taken: list[int] = []

    def take(serial: int) -> None:
        order.wait(report(serial))
        taken.append(serial)
        order.done(report(serial))

    threads = [threading.Thread(target=take, args=(serial,)) for serial in (3, 2, 1)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.1)
    assert taken == []  # both wait for the first one
    threads[2].start()
    for thread in threads:
        thread.join(30)
    assert taken == [1, 2, 3]


def test_a_lost_report_holds_nobody_up_for_long() -> None:
    order = EventOrder(patience=1.0)
    order.wait(report(1))
    order.done(report(1))
    began = time.monotonic()
    order.wait(report(3))
    assert 0.9 < time.monotonic() - began < 20
    order.done(report(3))
    began = time.monotonic()
    order.wait(report(4))
    order.wait(report(2))  # late, but it goes
    assert time.monotonic() - began < 0.9


def test_a_new_page_and_what_has_no_number_go_at_once() -> None:
    order = EventOrder(patience=30)
    began = time.monotonic()
    order.wait(report(1))
    order.done(report(1))
    order.wait(report(1, page="b"))
    for event in ({}, report("8"), report(True), report(9, page=3), report(2.5)):
        order.wait(event)
        order.done(event)
    assert time.monotonic() - began < 5
