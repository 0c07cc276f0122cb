# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files go back, images stay, and only what they concern restarts."""

from __future__ import annotations

from support.scenario import Case


def test_the_files_go_back_and_the_images_stay() -> None:
    case = Case("bad-configuration")
    assert case.at("deployed", "unhealthy") != []
    assert case.rc == 0, case.text
    assert case.at("after", "unhealthy") == []
    assert case.at("after", "commit") == case.at("before", "commit")
    assert case.code("after") == case.code("before")


def test_what_the_files_do_not_concern_is_not_restarted() -> None:
    case = Case("bad-configuration")
    before, after = set(case.at("deployed", "containers")), set(case.at("after", "containers"))
    assert len(before & after) >= 5, "database, cache, object store, proxy and front end have no part in it"
    assert before - after, "what reads the file was restarted"


def test_keys_are_told_and_values_are_not() -> None:
    case = Case("bad-configuration")
    assert ".env" in case.text
    assert "(hidden" in case.text


def test_no_acknowledged_write_is_lost() -> None:
    ledger = Case("bad-configuration").ledger
    assert ledger["sent"] > 0
    assert ledger["lost"] == []


def test_going_back_to_a_bad_file_is_refused_or_put_back() -> None:
    case = Case("bad-configuration")
    assert case.again_rc != 0, case.again_text
    assert case.at("after_again", "unhealthy") == []


def test_another_release_has_no_configuration_to_go_back_to() -> None:
    case = Case("nothing-to-go-back-to")
    assert case.rc != 0
    assert (
        "its services run other images now" in case.text or "no restore point has the images that run now" in case.text
    )
    assert case.code("after") == case.code("deployed")
