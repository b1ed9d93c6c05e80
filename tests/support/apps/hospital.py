"""A hospital: portal, identity, records, lab, roster, assistant, toolbox, directory, audit-trail.

In: a `Telemetry`. Out: about a hundred and forty traces of one day, and which rules each of them breaks. The stories
are about patients' charts (audited?), the roster (authorized?), the AI assistant's tools and goals, and role changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from opentelemetry.util.types import AttributeValue

from tests.support.apps.marks import Form, leave
from tests.support.apps.story import (
    AGENT_GOAL,
    DATA_AUTHORIZED,
    PHI_AUDITED,
    ROLE_CHANGE_APPROVED,
    TOOL_POLICY,
    Story,
    Truth,
    broken,
    tell,
)
from tests.support.apps.telemetry import Telemetry

VISITORS = 30
LEGAL = "legal_research_agent"
HEALTH = "healthcare_info_agent"
HR = "hr_database"


@dataclass(frozen=True)
class Step:
    """One step of the assistant, as a span or as an event on a span."""

    name: str
    attributes: Mapping[str, AttributeValue]
    is_event: bool = False


def tool(role: str, name: AttributeValue) -> Step:
    """A span `agent.tool`: an agent in `role` uses the tool `name`."""
    return Step("agent.tool", {"role": role, "name": name})


def goal(role: str, score: AttributeValue) -> Step:
    """A span `agent.goal`: an agent in `role` is this far from what it was asked to do."""
    return Step("agent.goal", {"role": role, "deviation_score": score})


# The rules speak of two steps, which need not be the same one: hence the breaks by two agents in one trace.
BREAKING_TOOLS: tuple[tuple[Step, ...], ...] = (
    (tool(LEGAL, HR),),
    (tool(LEGAL, "case_law"), tool(LEGAL, HR)),
    (tool(LEGAL, "case_law"), tool("hr_agent", HR)),
    (tool(LEGAL, ["case_law", HR]),),
    (Step("execute_tool hr_database", {"agent.tool.role": LEGAL, "agent.tool.name": HR}),),
    (Step("execute_tool hr_database", {"agent.tool": True, "role": LEGAL, "name": HR}),),
    (Step("agent.tool", {"role": LEGAL, "name": HR}, is_event=True),),
)
ALLOWED_TOOLS: tuple[tuple[Step, ...], ...] = (
    (tool(LEGAL, "case_law"),),
    (tool(LEGAL, "case_law"), tool("hr_agent", "payroll")),
    (tool("hr_agent", HR),),
    (tool("Legal_Research_Agent", HR),),
    (tool(LEGAL, "hr_database_archive"),),
    (Step("agent.tool", {"role": LEGAL, "name": HR, "agent.tool.role": "hr_agent"}),),
    (Step("agent.tool.planned", {"agent.tool": False, "role": LEGAL, "name": HR}),),
)

DEVIATING_GOALS: tuple[tuple[Step, ...], ...] = (
    (goal(HEALTH, 0.95),),
    (goal(HEALTH, 0.61),),
    (goal(HEALTH, 0.6000000001),),
    (goal(HEALTH, 1),),
    (goal(HEALTH, "0.75"),),
    (goal(HEALTH, 0.1), goal(HEALTH, 0.8)),
    (goal(HEALTH, 0.2), goal("billing_agent", 0.9)),
    (Step("plan", {"agent.goal.role": HEALTH, "agent.goal.deviation_score": 0.8}),),
)
STEADY_GOALS: tuple[tuple[Step, ...], ...] = (
    (goal(HEALTH, 0.6),),
    (goal(HEALTH, 0.59),),
    (goal(HEALTH, 0),),
    (goal(HEALTH, -0.9),),
    (goal(HEALTH, "high"),),
    (goal(HEALTH, "0.6"),),
    (goal(HEALTH, True),),  # noqa: FBT003 a score of the wrong type
    (goal(HEALTH, float("nan")),),
    (goal("billing_agent", 0.9),),
    (Step("agent.goal", {"role": HEALTH}),),
    (Step("plan", {"role": HEALTH, "deviation_score": 0.9}),),
)


class Hospital:
    """The services and what patients, staff and the assistant do with them."""

    def __init__(self, telemetry: Telemetry) -> None:
        service = partial(telemetry.service, "hospital")
        self.telemetry = telemetry
        self.portal = service("portal", "7.2.0")
        self.identity = service("identity", "4.4.4")
        self.records = service("records", "12.0.1")
        self.lab = service("lab", "3.3.0")
        self.roster = service("roster", "2.0.5")
        self.assistant = service("assistant", "0.6.0")
        self.toolbox = service("toolbox", "0.6.0")
        self.directory = service("directory", "8.1.2")
        self.audit_trail = service("audit-trail", "1.1.0")

    def run(self) -> Truth:
        """A day in the hospital; returns which traces break which rule."""
        self.portal.log("certificate valid for 61 days", {"tls.server.subject": "CN=portal"}, in_trace=False)
        stories = [*self._visitors(), *self._doctors(), *self._planners(), *self._agents(), *self._administrators()]
        return tell(self.portal, stories)

    def _visitors(self) -> Iterator[Story]:
        for _ in range(VISITORS):
            yield self._story(("GET", "/appointments"), self.visit)

    def _doctors(self) -> Iterator[Story]:
        every = [(Form.SPAN, audit) for audit in Form] + [(Form.ATTRIBUTE, audit) for audit in Form]
        every += [(seen, audit) for seen in Form for audit in (Form.RECORD, Form.ABSENT)]
        for seen, audit in every:
            breaks = broken(seen.counts, {PHI_AUDITED: audit.counts})
            yield self._story(("GET", "/patients/{id}"), partial(self.open_chart, seen, audit), breaks)

    def _planners(self) -> Iterator[Story]:
        for check in Form:
            breaks = broken(applicable=True, kept={DATA_AUTHORIZED: check.counts})
            yield self._story(("GET", "/roster"), partial(self.plan_shift, check), breaks)

    def _agents(self) -> Iterator[Story]:
        told = [(steps, frozenset({TOOL_POLICY})) for steps in BREAKING_TOOLS]
        told += [(steps, frozenset({AGENT_GOAL})) for steps in DEVIATING_GOALS]
        told += [(steps, frozenset()) for steps in (*ALLOWED_TOOLS, *STEADY_GOALS)]
        for steps, breaks in told:
            yield self._story(("POST", "/assistant/chat"), partial(self.ask, steps), breaks)

    def _administrators(self) -> Iterator[Story]:
        for approval in Form:
            breaks = broken(applicable=True, kept={ROLE_CHANGE_APPROVED: approval.counts})
            yield self._story(("PUT", "/users/{id}/role"), partial(self.change_role, approval), breaks)

    def visit(self) -> None:
        """A patient looks at the next appointments."""
        with self.portal.call(self.roster, "GET", "/slots"):
            self.roster.query("SELECT", "slots")
            with self.roster.span("merge calendars", {"calendar.count": 3}):
                self.roster.query("SELECT", "holidays")
        self.roster.log("calendar cache warmed", in_trace=False)

    def open_chart(self, seen: Form, audit: Form) -> None:
        """A doctor opens a chart with its lab results: seen and audited in the given forms."""
        user = self._user("doctor")
        with self.portal.call(self.records, "GET", "/charts/{id}") as span:
            span.set_attribute("enduser.id", user)
            self.records.query("SELECT", "charts")
            leave(self.records, "phi.access", seen, {"user.id": user, "phi.kind": "chart"})
            with self.records.call(self.lab, "GET", "/results"):
                self.lab.query("SELECT", "results")
            with self.records.send(self.audit_trail, "audit-entries"):
                entry = {"enduser.id": user, "audit.action": "chart_read", "audit.result": "success"}
                leave(self.audit_trail, "audit.log", audit, {**entry, "log_type": "hipaa_audit"})

    def plan_shift(self, check: Form) -> None:
        """A nurse looks at who works when."""
        with self.portal.call(self.roster, "GET", "/shifts"):
            with self.roster.call(self.identity, "POST", "/authorize"):
                leave(self.identity, "auth.check", check, {"user.id": self._user("nurse")})
            with self.roster.span("data.access", {"data.classification": "internal"}):
                self.roster.query("SELECT", "shifts")

    def ask(self, steps: tuple[Step, ...]) -> None:
        """Somebody asks the assistant, which takes these steps."""
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "assistant"}
        with (
            self.portal.call(self.assistant, "POST", "/chat"),
            self.assistant.span("invoke_agent assistant", agent),
        ):
            for step in steps:
                self._think()
                self._take(step)
            self._think()

    def _think(self) -> None:
        tokens = self.telemetry.random.randrange(200, 4000)
        chat: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "small",
            "gen_ai.usage.input_tokens": tokens,
        }
        with self.assistant.span("chat small", chat):
            self.telemetry.clock.advance(tokens / 4)

    def _take(self, step: Step) -> None:
        with self.assistant.call(self.toolbox, "POST", "/steps"):
            if step.is_event:
                with self.toolbox.span("step") as span:
                    span.add_event(step.name, step.attributes, self.telemetry.clock.now_ns)
            else:
                with self.toolbox.span(step.name, step.attributes):
                    self.toolbox.query("SELECT", "documents")

    def change_role(self, approval: Form) -> None:
        """An administrator gives somebody another role; the approval is left in the given form."""
        change = {
            "enduser.id": self._user("admin"),
            "audit.action": "role_update",
            "audit.target_user": self._user("nurse"),
            "audit.old_value": "nurse",
            "audit.new_value": "charge_nurse",
            "audit.result": "success",
        }
        with self.portal.call(self.directory, "PUT", "/users/{id}/role"):
            leave(self.directory, "change.approval", approval, {"approval.ticket": "IAM-2231"})
            with self.directory.span("role.update", change):
                self.directory.query("UPDATE", "roles")

    def _story(self, request: tuple[str, str], tell: Callable[[], None], breaks: frozenset[str] = frozenset()) -> Story:
        at = timedelta(seconds=round(self.telemetry.random.uniform(6 * 3600, 22 * 3600), 3))
        return Story(at, request, tell, breaks)

    def _user(self, role: str) -> str:
        return f"{role}-{self.telemetry.random.randrange(1, 30):02d}"
