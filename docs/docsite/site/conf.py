# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx builds the site; `tests/tools/site.py` puts the pages beside this file."""

from __future__ import annotations

project = "schedgen.rollback"
author = "schedgen.rollback contributors"
copyright = "2026, schedgen.rollback contributors"  # noqa: A001  Sphinx's own name
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

html_theme = "alabaster"
html_theme_options = {"description": "Bring the previous release back", "page_width": "70em", "fixed_sidebar": False}
html_copy_source = False
html_show_sphinx = False
pygments_style = "ansible"
highlight_language = "yaml+jinja"

nitpicky = True
# A site is built without a network: no inventory of another project is asked for what is documented there.
nitpick_ignore_regex = [("std:ref", r"ansible_collections\.ansible\..*")]
myst_heading_anchors = 3
