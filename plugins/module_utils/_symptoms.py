# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator's words say about a failure. Pure; private to this collection.

The scenarios are those of the operators' rollback guide, and their like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

QUICK, CONFIGURATION, DATABASE, CORRUPTION, FULL = "quick", "configuration", "database", "corruption", "full"


@dataclass(frozen=True)
class Symptom:
    """A scenario: its name for people, what it points to, and the words that tell it."""

    name: str
    points_to: str
    words: str


# The first that matches counts: data come before the schema, and both before what any failure shows.
SCENARIOS = (
    Symptom(
        "complete failure",
        FULL,
        r"(complete|total)(ly)? (system )?(failure|outage|down)|(everything|all services?|whole system) (is |are )?"
        r"(down|broken|failing|dead)|(multiple|several|many) (components?|services?)",
    ),
    Symptom(
        "data corruption",
        CORRUPTION,
        r"corrupt|(invalid|wrong|bad|damaged|inconsistent) (data|records?|rows?|values?|amounts?)"
        r"|(data|records?|rows?|jobs?|users?|orders?|entries) (is |are |was |were |have |has )?(been )?"
        r"(gone|lost|missing|wrong|damaged|deleted|overwritten|disappeared)"
        r"|(missing|lost|deleted|duplicate) (data|records?|rows?|jobs?|users?|orders?|entries)",
    ),
    Symptom(
        "failed migration",
        DATABASE,
        r"migration|schema|(column|relation|table|type)\b.{0,60}(does not exist|missing|unknown)|database errors?"
        r"|sql errors?|queryfailed",
    ),
    Symptom(
        "configuration error",
        CONFIGURATION,
        r"config|(won'?t|will not|does ?n[o']t|do not|cannot|can'?t|fails? to) (start|boot|connect)"
        r"|connection (errors?|refused|failed)|environment variable|\.env\b|(wrong|bad|expired) (password|secret|host)",
    ),
    Symptom(
        "bad code deploy",
        QUICK,
        r"\b5(00|02|03|04|xx)s?\b|crash|errors?\b|exception|stack ?trace|slow|latency|time[- ]?outs?\b|times? out\b"
        r"|bad (code|deploy|release|version)|bugs?\b|unhealthy|restart(s|ing)|out of memory|not respond|down\b",
    ),
)


def recognise(text: str) -> Symptom | None:
    """Return the scenario that the words tell, None where they tell none."""
    plain = " ".join(text.lower().replace("\u2019", "'").split())
    return next((entry for entry in SCENARIOS if re.search(entry.words, plain)), None)
