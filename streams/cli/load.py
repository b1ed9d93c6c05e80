"""Loads rules from files, for every command that needs them to be valid."""

from __future__ import annotations

from collections.abc import Iterable

from dsl import RulesError, RuleSet
from dsl import load as load_rules
from dsl.show import render_text
from streams.errors import ConfigError


def load(paths: Iterable[str]) -> RuleSet:
    """Return the rule set in files and directories.

    Raises:
        ConfigError: the rules have errors; the message lists every problem.
    """
    try:
        rules, _ = load_rules(paths)
    except RulesError as error:
        raise ConfigError("the rules have errors\n" + render_text(error.problems)) from error
    return rules
