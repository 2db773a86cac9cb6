"""Rules for alerts that were made or changed in the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..alerts.rule import Rule
from ..core.text import in_a_line
from ..core.toml import load_table
from ..core.toml_writer import dump, dump_key


@dataclass(frozen=True)
class RuleChanges:
    """``rules``: by name; each takes precedence over a rule of the configuration with the same name."""

    rules: Mapping[str, Rule] = field(default_factory=dict)

    def apply(self, configured: Mapping[str, Rule]) -> dict[str, Rule]:
        """The rules that are in effect."""
        return {**configured, **self.rules}

    def changed(self, name: str, rule: Rule | None, configured: Mapping[str, Rule]) -> RuleChanges:
        """These changes with another ``rule``; None, and that of the configuration, end a change."""
        others = {key: one for key, one in self.rules.items() if key != name}
        return RuleChanges(others if rule in (None, configured.get(name)) else {**others, name: rule})

    def dump(self) -> str:
        """These changes as TOML."""
        return "\n".join(f"[rules.{dump_key(name)}]\n{dump(rule)}" for name, rule in self.rules.items())


NO_RULES = RuleChanges()


def load_rule_changes(tables: object, problems: list[str]) -> RuleChanges:
    """The changes in the table ``rules`` of the file. What cannot be used is a problem, and does not count."""
    if not isinstance(tables, Mapping):
        problems.append("rules must be a table")
        return RuleChanges()
    loaded = {
        name: load_table(Rule, table, problems, where=f"rules.{in_a_line(name)}.") for name, table in tables.items()
    }
    return RuleChanges({name: rule for name, rule in loaded.items() if rule is not None})
