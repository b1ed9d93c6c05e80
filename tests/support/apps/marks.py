"""The ways in which an application says that something happened, and the ways that only look like it.

In: a service in the middle of its work, a name such as `audit.log`. Out: telemetry that carries the name. A form knows
whether `has(name)` is true of the trace afterwards; that is how the applications know which rules they break.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from tests.support.apps.telemetry import Service


class Form(Enum):
    """How a name is left in a trace."""

    SPAN = "a span of that name"
    ATTRIBUTE = "an attribute that is true"
    TEXT = "an attribute with a text"
    EVENT = "a span event of that name"
    RECORD = "a log record whose event name it is"
    RECORD_ATTRIBUTE = "a log record whose attribute `event.name` it is"

    ABSENT = "nothing"
    FALSE = "an attribute that is false"
    FALSE_TEXT = "an attribute with the text False"
    LONGER = "a span with a longer name"
    BODY = "a log record that only talks of it"
    OUTSIDE = "a log record of that event name in no trace"

    @property
    def counts(self) -> bool:
        """Whether the trace has the name."""
        return self in _COUNTING


_COUNTING = {Form.SPAN, Form.ATTRIBUTE, Form.TEXT, Form.EVENT, Form.RECORD, Form.RECORD_ATTRIBUTE}


def leave(service: Service, name: str, form: Form, attributes: Mapping[str, AttributeValue] | None = None) -> None:
    """Leaves `name` in the current trace in the given form; `attributes` describe it where the form has room."""
    current = trace.get_current_span()
    match form:
        case Form.ABSENT:
            pass
        case Form.SPAN | Form.LONGER:
            with service.span(name if form is Form.SPAN else f"{name}.queue", attributes):
                pass
        case Form.EVENT:
            current.add_event(name, attributes, service.telemetry.clock.now_ns)
        case Form.RECORD | Form.OUTSIDE:
            service.log(f"recorded {name}", attributes, event_name=name, in_trace=form is Form.RECORD)
        case Form.RECORD_ATTRIBUTE:
            service.log(f"recorded {name}", {"event.name": name, **(attributes or {})})
        case Form.BODY:
            service.log(name)
        case _:
            current.set_attribute(name, _ONE_ATTRIBUTE[form])


_ONE_ATTRIBUTE: dict[Form, AttributeValue] = {
    Form.ATTRIBUTE: True,
    Form.TEXT: "done",
    Form.FALSE: False,
    Form.FALSE_TEXT: "False",
}
