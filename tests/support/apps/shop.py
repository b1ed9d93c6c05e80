"""A shop: web, catalog, checkout, payments, fraud, accounts, identity, reports, orders-db, warehouse, audit-trail.

In: a `Telemetry`. Out: about two hundred traces of one day, and which rules each of them breaks. The stories are about
personal data (logged? second factor?), reports (authorized?), the orders database (who, when?) and large payments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from opentelemetry.util.types import AttributeValue

from tests.support.apps.marks import Form, leave
from tests.support.apps.story import (
    DATA_AUTHORIZED,
    NIGHT_CONTRACTOR,
    PAYMENT_CHECKED,
    PII_AUDITED,
    PII_VERIFIED,
    Story,
    Truth,
    broken,
    clock_ns,
    tell,
)
from tests.support.apps.telemetry import Telemetry

BROWSERS = 30
LARGE_AMOUNT = 1000


@dataclass(frozen=True)
class Access:
    """One access to the orders database: its time of the day, and the span that tells of it."""

    at: timedelta
    attributes: Mapping[str, AttributeValue]
    name: str = "database.access"
    is_event: bool = False


def access(clock: str, role: AttributeValue) -> Access:
    """A span `database.access` by somebody in `role` at `clock`, written HH:MM:SS.mmm."""
    return Access(_time(clock), {"user.role": role})


def _time(clock: str) -> timedelta:
    hours, minutes, seconds = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


CONTRACTOR = {"user.role": "contractor"}
DOTTED: dict[str, AttributeValue] = {"database.access": True, "database.access.user.role": "contractor"}
NIGHT = _time("22:10:00")

AT_NIGHT_BY_CONTRACTORS: tuple[tuple[Access, ...], ...] = (
    (access("00:00:00", "contractor"),),
    (access("03:12:40.250", "contractor"),),
    (access("06:59:59.999", "contractor"),),
    (access("18:00:00", "contractor"),),
    (access("23:30:05", "contractor"),),
    (access("22:15:00", ["employee", "contractor"]),),
    # The rule speaks of two accesses, which need not be the same one.
    (access("17:59:58", "contractor"), access("18:00:01", "batch")),
    (Access(NIGHT, DOTTED, "SELECT orders"),),
    (Access(NIGHT, CONTRACTOR, "SELECT orders", is_event=True),),
)
BY_DAY_OR_BY_OTHERS: tuple[tuple[Access, ...], ...] = (
    (access("07:00:00", "contractor"),),
    (access("09:31:00", "contractor"),),
    (access("12:00:00", "contractor"),),
    (access("15:45:10.500", "contractor"),),
    (access("17:59:59.999", "contractor"),),
    (access("02:00:00", "employee"),),
    (access("21:05:00", "employee"), access("21:05:02", "batch")),
    (access("22:20:00", "Contractor"),),
    (access("22:25:00", "subcontractor"),),
    (access("17:59:58", "employee"), access("18:00:01", "employee")),
    # The dotted name is looked up first.
    (Access(NIGHT, {**CONTRACTOR, "database.access.user.role": "employee"}),),
    (Access(NIGHT, {**CONTRACTOR, "database.access": False}, "SELECT orders"),),
    # The contractor is named on another span than the access.
    (Access(NIGHT, CONTRACTOR, "authenticate"), access("22:10:02", "employee")),
)

AMOUNTS: tuple[tuple[AttributeValue, bool], ...] = (
    (12.5, False),
    (89, False),
    (999.99, False),
    (LARGE_AMOUNT, False),
    ("250.00", False),
    (LARGE_AMOUNT + 0.01, True),
    (2400, True),
    ("1500.00", True),
)


class CardDeclinedError(Exception):
    """The bank says no."""


class Shop:
    """The services and what customers and staff do with them."""

    def __init__(self, telemetry: Telemetry) -> None:
        service = partial(telemetry.service, "shop")
        self.telemetry = telemetry
        self.web = service("web", "3.8.1")
        self.catalog = service("catalog", "1.12.0")
        self.checkout = service("checkout", "2.4.0")
        self.payments = service("payments", "5.0.3")
        self.fraud = service("fraud", "0.9.2")
        self.accounts = service("accounts", "2.1.7")
        self.identity = service("identity", "4.4.4")
        self.reports = service("reports", "1.0.9")
        self.orders_db = service("orders-db", "17.2")
        self.warehouse = service("warehouse", "1.3.3")
        self.audit_trail = service("audit-trail", "1.1.0")

    def run(self) -> Truth:
        """A day in the shop; returns which traces break which rule."""
        self.web.log("configuration reloaded", {"config.revision": 41}, in_trace=False)
        stories = [*self._customers(), *self._support(), *self._analysts(), *self._engineers(), *self._browsers()]
        return tell(self.web, stories)

    def _browsers(self) -> Iterator[Story]:
        for _ in range(BROWSERS):
            yield Story(self._office_hours(), ("GET", "/products/{id}"), self.browse)

    def _customers(self) -> Iterator[Story]:
        for amount, is_large in AMOUNTS:
            for check in (Form.SPAN, Form.RECORD, Form.ATTRIBUTE, Form.FALSE, Form.ABSENT):
                breaks = broken(is_large, {PAYMENT_CHECKED: check.counts})
                yield self._story(("POST", "/cart/buy"), partial(self.buy, amount, check), breaks)

    def _support(self) -> Iterator[Story]:
        every = [(Form.SPAN, audit, verified) for audit in Form for verified in (Form.ATTRIBUTE, Form.ABSENT)]
        every += [(Form.SPAN, Form.RECORD, verified) for verified in Form]
        every += [(seen, audit, Form.SPAN) for seen in Form for audit in (Form.RECORD, Form.ABSENT)]
        for seen, audit, verified in every:
            breaks = broken(seen.counts, {PII_AUDITED: audit.counts, PII_VERIFIED: verified.counts})
            yield self._story(("POST", "/support/export"), partial(self.export, seen, audit, verified), breaks)

    def _analysts(self) -> Iterator[Story]:
        for seen, check in [(Form.SPAN, check) for check in Form] + [(seen, Form.ABSENT) for seen in Form]:
            breaks = broken(seen.counts, {DATA_AUTHORIZED: check.counts})
            yield self._story(("GET", "/reports/{name}"), partial(self.report, seen, check), breaks)

    def _engineers(self) -> Iterator[Story]:
        told = [(accesses, frozenset({NIGHT_CONTRACTOR})) for accesses in AT_NIGHT_BY_CONTRACTORS]
        told += [(accesses, frozenset()) for accesses in BY_DAY_OR_BY_OTHERS]
        for accesses, breaks in told:
            yield Story(accesses[0].at, ("POST", "/sql"), partial(self.query_orders, accesses), breaks)

    def browse(self) -> None:
        """Somebody looks at a product."""
        with self.web.call(self.catalog, "GET", "/products/{id}"):
            self.catalog.query("SELECT", "products")
            with self.catalog.span("render recommendations", {"recommendations.count": 4}):
                self.catalog.query("SELECT", "ratings")
        self.web.log("session refreshed", in_trace=False)

    def buy(self, amount: AttributeValue, check: Form) -> None:
        """A customer pays `amount`; the fraud check is left in the given form."""
        with self.web.call(self.checkout, "POST", "/checkout"):
            self.checkout.query("SELECT", "carts")
            with suppress(CardDeclinedError):
                self._pay(amount, check)
            with self.checkout.send(self.warehouse, "orders"):
                self.warehouse.query("INSERT", "parcels")

    def _pay(self, amount: AttributeValue, check: Form) -> None:
        with self.checkout.call(self.payments, "POST", "/payments"):
            payment = {"payment.amount": amount, "payment.currency": "EUR", "enduser.id": self._user("customer")}
            with self.payments.span("payment", payment):
                with self.payments.call(self.fraud, "POST", "/scores"):
                    leave(self.fraud, "fraud.check", check, {"fraud.score": 0.07})
                self.payments.query("INSERT", "payments")
                if self.telemetry.random.random() < 0.15:
                    raise CardDeclinedError("insufficient funds")

    def export(self, seen: Form, audit: Form, verified: Form) -> None:
        """Support exports a customer's data: seen, logged and verified in the given forms."""
        user = self._user("support")
        with self.web.call(self.identity, "POST", "/sessions"):
            self.identity.query("SELECT", "credentials")
            leave(self.identity, "auth.mfa_verified", verified, {"user.id": user})
        with self.web.call(self.accounts, "GET", "/customers/{id}") as span:
            span.set_attribute("enduser.id", user)
            self.accounts.query("SELECT", "customers")
            leave(self.accounts, "pii.access", seen, {"user.id": user, "pii.fields": ["email", "phone"]})
            with self.accounts.call(self.audit_trail, "POST", "/entries"):
                leave(self.audit_trail, "audit.log", audit, self._entry(user))

    def report(self, seen: Form, check: Form) -> None:
        """An analyst opens a report."""
        user = self._user("analyst")
        with self.web.call(self.reports, "GET", "/reports/{name}"):
            with self.reports.call(self.identity, "POST", "/authorize"):
                leave(self.identity, "auth.check", check, {"user.id": user})
            leave(self.reports, "data.access", seen, {"user.id": user, "report.name": "margins"})
            self.reports.query("SELECT", "margins")
            self.reports.query("SELECT", "margins_by_week")

    def query_orders(self, accesses: tuple[Access, ...]) -> None:
        """An engineer works in the orders database, at these times and in these roles."""
        with self.web.call(self.orders_db, "POST", "/sql"):
            for each in accesses:
                self.telemetry.clock.set(clock_ns(each.at))
                attributes = None if each.is_event else each.attributes
                with self.orders_db.span(each.name, attributes) as span:
                    if each.is_event:
                        span.add_event("database.access", each.attributes, self.telemetry.clock.now_ns)
                    self.orders_db.query("SELECT", "orders")

    def _story(self, request: tuple[str, str], tell: Callable[[], None], breaks: frozenset[str]) -> Story:
        return Story(self._office_hours(), request, tell, breaks)

    def _office_hours(self) -> timedelta:
        return timedelta(seconds=round(self.telemetry.random.uniform(8 * 3600, 17 * 3600), 3))

    def _user(self, role: str) -> str:
        return f"{role}-{self.telemetry.random.randrange(1, 30):02d}"

    def _entry(self, user: str) -> dict[str, AttributeValue]:
        return {"enduser.id": user, "audit.action": "customer_export", "audit.result": "success"}
