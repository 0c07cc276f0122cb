# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times and commands, as systemd and as cron have them."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.schedgen.rollback.plugins.module_utils._schedule import (
    cron_command,
    cron_fields,
    systemd_command,
)


@pytest.mark.parametrize(
    ("at", "fields"),
    [
        ("02:15", "15 2 * * *"),
        ("00:00", "0 0 * * *"),
        ("02,14:05", "5 2,14 * * *"),
        ("*:20", "20 * * * *"),
        ("Sun 04:30", "30 4 * * 7"),
        ("Mon,Thu 23:59", "59 23 * * 1,4"),
        ("Mon..Fri 02:15", "15 2 * * 1,2,3,4,5"),
        ("Sat..Mon 02:15", "15 2 * * 1,6,7"),
        ("Mon..Wed,Sun *:00", "0 * * * 1,2,3,7"),
    ],
)
def test_times(at: str, fields: str) -> None:
    assert cron_fields(at) == fields


@pytest.mark.parametrize(
    "at",
    ["", "2:15", "24:00", "02:60", "daily", "Son 02:15", "02:15:00", "02:15\n", "*-*-* 02:15", "Mon..Tue..Wed 02:15"],
)
def test_what_is_no_time_for_both(at: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        cron_fields(at)


WORDS = ["/usr/bin/env", "plain-1.2=x:y,@z", "two words", 'a"b', "it's", "back\\slash", "100%", "$HOME", "", "ü"]


def test_a_command_for_systemd() -> None:
    assert systemd_command(WORDS) == (
        '/usr/bin/env plain-1.2=x:y,@z "two words" "a\\"b" "it\'s" "back\\\\slash" 100%% "$$HOME" "" ü'
    )


def test_a_shell_reads_the_command_of_cron_as_it_was() -> None:
    # Cron takes the backslash before a percent sign away.
    told = cron_command(["printf", "%s\n".replace("\n", "|"), *WORDS]).replace(r"\%", "%")
    said = subprocess.run(["sh", "-c", told], capture_output=True, text=True, check=True).stdout
    assert said.split("|")[:-1] == WORDS
    assert "%" not in cron_command(WORDS).replace(r"\%", "")


@pytest.mark.parametrize("word", ["a\nb", "a\0", "a\tb"])
def test_what_cannot_stand_in_a_line(word: str) -> None:
    for command in (systemd_command, cron_command):
        with pytest.raises(ValueError, match="control character"):
            command(["/usr/bin/env", word])
