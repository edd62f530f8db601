"""What stands below the table of claims: the paper's words, the rules, and what was measured in sentences."""

from dataclasses import dataclass

from analysis.formats import grouped, rows
from analysis.report.words.headlines import of_plain_methods
from analysis.tables import Tables


@dataclass(frozen=True)
class Quote:
    """Of the abstract. rules: the claims that each judges, and the rule. measured: claim and method, and a
    sentence."""

    words: str
    rules: list[tuple[str, str]]
    measured: list[tuple[str, str]]


def quotes(found: Tables) -> list[Quote]:
    """In the order of the table of claims."""
    made = []
    for words, table in grouped(of_plain_methods(found.claims), "quote"):
        judged = [
            (", ".join(filter(None, (row["claim"], str(row["method"])))), row["measured"])
            for row in rows(table)
        ]
        of_rule = {rule: "; ".join(dict.fromkeys(group["claim"])) for rule, group in grouped(table, "rule")}
        made.append(Quote(words, _without_repeats(of_rule), judged))
    return made


def _without_repeats(claims: dict[str, str]) -> list[tuple[str, str]]:
    """claims: by rule. A rule that begins with another says only what it adds."""
    made = []
    for rule in sorted(claims, key=len):
        shorter = max((one for one in claims if one != rule and rule.startswith(one)), key=len, default="")
        added = rule.removeprefix(shorter).strip()
        made.append((claims[rule], f"As the rule before. {added}" if shorter else rule))
    return made
